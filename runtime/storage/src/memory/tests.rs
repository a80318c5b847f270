//! Faults do what they say.

use super::*;

fn body(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn a_fault_before_leaves_no_object_and_one_after_does() {
    let store = MemoryStore::new();
    store.script(Operation::Put, Fault::FailBefore(StoreErrorKind::Unreachable));
    store.script(Operation::Put, Fault::FailAfter(StoreErrorKind::Unreachable));
    let error = store.put("a", body("1")).await.unwrap_err();
    assert!(!error.may_be_done() && error.can_retry());
    assert_eq!(store.head("a").await.unwrap(), None);
    assert!(store.put("a", body("1")).await.unwrap_err().may_be_done());
    assert_eq!(store.get("a").await.unwrap(), body("1"));
    assert_eq!((store.faults_injected(), store.calls(Operation::Put)), (2, 2));
}

#[tokio::test]
async fn a_late_write_happens_at_its_call() {
    let store = MemoryStore::new();
    store.script(Operation::Create, Fault::LandLater { calls: 2 });
    assert!(store.create("a", body("1")).await.unwrap_err().may_be_done());
    assert_eq!(store.head("a").await.unwrap(), None);
    assert_eq!(store.head("a").await.unwrap(), Some(1));
}

#[tokio::test]
async fn an_outage_ends_by_the_clock() {
    let store = MemoryStore::new();
    store.outage_for(Duration::from_millis(50));
    assert_eq!(store.put("a", body("1")).await.unwrap_err().kind, StoreErrorKind::Unreachable);
    tokio::time::sleep(Duration::from_millis(60)).await;
    store.put("a", body("1")).await.unwrap();
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let rates = FaultRates {
        fail_before: 0.2,
        fail_after: 0.2,
        land_later: 0.1,
        delay: 0.1,
        delay_by: Duration::from_millis(1),
        ..FaultRates::default()
    };
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let store = MemoryStore::new();
        store.set_rates(seed, rates);
        let mut outcomes = Vec::new();
        for call in 0..200 {
            outcomes.push(
                store.create(&format!("k{}", call % 20), body("x")).await.map_err(|error| (error.kind, error.effect)),
            );
        }
        runs.push((format!("{outcomes:?}"), store.faults_injected()));
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert!((80..160).contains(&runs[0].1), "{}", runs[0].1);
}

#[tokio::test]
async fn a_short_read_is_short_and_silent() {
    let store = MemoryStore::new();
    store.put("a", body("1234")).await.unwrap();
    store.script(Operation::Get, Fault::ShortRead);
    assert_eq!(store.get("a").await.unwrap(), body("12"));
}
