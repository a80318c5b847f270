//! Delays, reset and budget.

use proptest::prelude::*;

use super::*;

const MIDDLE: f64 = 0.5;

fn delays(restarts: &mut Restarts, failures: usize) -> Vec<RestartDecision> {
    (0..failures).map(|_| restarts.handle_failure(Millis(0), MIDDLE)).collect()
}

#[test]
fn delays_double_up_to_the_maximum() {
    let mut restarts = Restarts::new(RestartPolicy::default());
    let expected = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000].map(RestartDecision::After);
    assert_eq!(delays(&mut restarts, 8), expected);
}

#[test]
fn stability_forgets_and_short_runs_do_not() {
    let mut restarts = Restarts::new(RestartPolicy::default());
    delays(&mut restarts, 3);
    restarts.handle_running(Millis(0));
    assert_eq!(restarts.handle_failure(Millis(599_999), MIDDLE), RestartDecision::After(8_000));
    restarts.handle_running(Millis(600_000));
    assert_eq!(restarts.handle_failure(Millis(1_200_000), MIDDLE), RestartDecision::After(1_000));
    assert_eq!(
        restarts.handle_failure(Millis(9_000_000), MIDDLE),
        RestartDecision::After(2_000),
        "it never ran in between"
    );
}

#[test]
fn a_budget_ends_in_giving_up_and_comes_back_with_stability() {
    let mut restarts = Restarts::new(RestartPolicy { budget: Some(2), ..RestartPolicy::default() });
    let expected = [RestartDecision::After(1_000), RestartDecision::After(2_000), RestartDecision::GiveUp];
    assert_eq!(delays(&mut restarts, 3), expected);
    restarts.handle_running(Millis(0));
    assert_eq!(restarts.handle_failure(Millis(600_000), MIDDLE), RestartDecision::After(1_000));
}

proptest! {
    #[test]
    fn jitter_stays_in_its_share(failures in 0u32..80, random in 0.0f64..1.0, jitter in 0.0f64..0.9) {
        let policy = RestartPolicy { jitter, ..RestartPolicy::default() };
        let mut restarts = Restarts { policy, in_a_row: failures, running_since: None };
        let plain = (1_000.0 * 2f64.powi(failures as i32)).min(60_000.0);
        let RestartDecision::After(delay) = restarts.handle_failure(Millis(0), random) else {
            return Err(TestCaseError::fail("there is no budget"));
        };
        prop_assert!(delay as f64 >= plain * (1.0 - jitter) - 1.0 && delay as f64 <= plain * (1.0 + jitter) + 1.0);
    }
}
