//! Scripted cases, and random events against a model that recomputes everything from the event list.

use proptest::prelude::*;

use super::*;

fn advanced(watermark: i64) -> WatermarkStep {
    WatermarkStep { advanced: Some(watermark), idle: None }
}

const NOTHING: WatermarkStep = WatermarkStep { advanced: None, idle: None };

#[test]
fn a_split_trails_its_largest_time_by_the_bound() {
    let mut split = BoundedDisorder::new(10, None);
    assert_eq!(split.current(), None);
    split.observe(100);
    split.observe(95);
    assert_eq!(split.current(), Some(89), "a record at 90 may follow");
    split.observe(i64::MIN);
    assert_eq!(split.current(), Some(89));
    split.end();
    assert_eq!(split.current(), Some(END));
}

#[test]
fn a_restored_split_does_not_fall_back_even_with_a_larger_bound() {
    let mut split = BoundedDisorder::new(1000, Some(500));
    split.observe(600);
    assert_eq!(split.current(), Some(500));
}

#[test]
fn the_slowest_live_input_decides() {
    let mut merge = WatermarkMerge::new(2, None);
    assert_eq!(merge.handle_watermark(0, 50), NOTHING, "the other one has not delivered any");
    assert_eq!(merge.handle_watermark(1, 30), advanced(30));
    assert_eq!(merge.handle_watermark(1, 20), NOTHING, "backwards");
    assert_eq!(merge.handle_watermark(1, 70), advanced(50));
    assert_eq!(merge.handle_end(0), advanced(70));
    assert_eq!(merge.handle_end(1), advanced(END));
}

#[test]
fn idle_inputs_are_left_out_and_do_not_pull_back_when_they_wake() {
    let mut merge = WatermarkMerge::new(2, None);
    merge.handle_watermark(0, 10);
    merge.handle_watermark(1, 40);
    assert_eq!(merge.handle_idle(0), advanced(40));
    assert_eq!(merge.handle_watermark(0, 20), NOTHING);
    assert_eq!(merge.current(), Some(40));
    assert_eq!(merge.handle_watermark(1, 90), NOTHING, "the woken input holds back");
    assert_eq!(merge.handle_watermark(0, 60), advanced(60));
}

#[test]
fn all_idle_stands_still_and_says_so() {
    let mut merge = WatermarkMerge::new(2, None);
    merge.handle_watermark(0, 10);
    assert_eq!(merge.handle_idle(1), advanced(10));
    assert_eq!(merge.handle_idle(0), WatermarkStep { advanced: None, idle: Some(true) });
    assert_eq!(merge.handle_active(0), WatermarkStep { advanced: None, idle: Some(false) });
    assert_eq!(merge.handle_idle(0), WatermarkStep { advanced: None, idle: Some(true) });
    assert_eq!(merge.handle_end(0), NOTHING, "an idle input may still deliver");
    assert_eq!(merge.handle_end(1), WatermarkStep { advanced: Some(END), idle: Some(false) });
}

#[test]
fn the_order_in_which_inputs_fall_idle_does_not_matter() {
    for (first, last) in [(0, 1), (1, 0)] {
        let mut merge = WatermarkMerge::new(2, None);
        merge.handle_watermark(0, 10);
        merge.handle_watermark(1, 40);
        merge.handle_idle(first);
        merge.handle_idle(last);
        assert_eq!((merge.current(), merge.is_idle()), (Some(40), true), "input {last} fell idle last");
    }
}

#[test]
fn a_restored_watermark_is_a_floor() {
    let mut merge = WatermarkMerge::new(1, Some(100));
    assert_eq!(merge.handle_watermark(0, 80), NOTHING);
    assert_eq!(merge.handle_watermark(0, 120), advanced(120));
}

#[test]
fn a_new_split_holds_back_until_it_delivers() {
    let mut merge = WatermarkMerge::new(1, None);
    merge.handle_watermark(0, 10);
    let added = merge.add_input(None);
    assert_eq!(merge.handle_watermark(0, 50), NOTHING);
    assert_eq!(merge.handle_watermark(added, 30), advanced(30));
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Watermark(usize, i64),
    Active(usize),
    Idle(usize),
    End(usize),
}

fn event(inputs: usize) -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..inputs, -50i64..50).prop_map(|(input, watermark)| Event::Watermark(input, watermark)),
        2 => (0..inputs).prop_map(Event::Active),
        2 => (0..inputs).prop_map(Event::Idle),
        1 => (0..inputs).prop_map(Event::End),
    ]
}

/// Recomputes one input from all events so far: watermark, idle, ended.
fn naive_input(input: usize, events: &[Event]) -> (Option<i64>, bool, bool) {
    let (mut watermark, mut idle, mut ended) = (None, false, false);
    for event in events {
        match *event {
            _ if ended => {}
            Event::Watermark(i, w) if i == input => {
                (watermark, idle) = (Some(watermark.map_or(w, |old: i64| old.max(w))), false)
            }
            Event::Active(i) if i == input => idle = false,
            Event::Idle(i) if i == input => idle = true,
            Event::End(i) if i == input => (watermark, idle, ended) = (Some(END), false, true),
            _ => {}
        }
    }
    (watermark, idle, ended)
}

/// The merged watermark right after the last event, from all prefixes: the largest that any prefix justified.
fn naive(inputs: usize, events: &[Event]) -> Option<i64> {
    let at = |prefix: &[Event]| {
        let states: Vec<_> = (0..inputs).map(|input| naive_input(input, prefix)).collect();
        let live: Vec<_> = states.iter().filter(|(_, idle, _)| !idle).collect();
        let all_idle = states.iter().any(|(_, idle, _)| *idle) && live.iter().all(|(_, _, ended)| *ended);
        if all_idle {
            return states.iter().filter(|(_, idle, _)| *idle).filter_map(|(watermark, ..)| *watermark).max();
        }
        if live.iter().any(|(watermark, ..)| watermark.is_none()) {
            return None;
        }
        live.iter().filter_map(|(watermark, ..)| *watermark).min()
    };
    (1..=events.len()).filter_map(|end| at(&events[..end])).max()
}

proptest! {
    #[test]
    fn the_merge_equals_the_model_and_never_goes_back((inputs, events) in (1usize..5).prop_flat_map(|n| (Just(n), prop::collection::vec(event(n), 0..40)))) {
        let mut merge = WatermarkMerge::new(inputs, None);
        for (index, event) in events.iter().enumerate() {
            let before = merge.current();
            let step = match *event {
                Event::Watermark(input, watermark) => merge.handle_watermark(input, watermark),
                Event::Active(input) => merge.handle_active(input),
                Event::Idle(input) => merge.handle_idle(input),
                Event::End(input) => merge.handle_end(input),
            };
            prop_assert_eq!(merge.current(), naive(inputs, &events[..=index]));
            prop_assert!(merge.current() >= before);
            prop_assert_eq!(step.advanced, merge.current().filter(|_| merge.current() != before));
        }
    }

    #[test]
    fn a_split_stays_just_below_maximum_minus_bound(times in prop::collection::vec(any::<i64>(), 1..50), bound in 0u64..1_000_000) {
        let mut split = BoundedDisorder::new(bound, None);
        for &time in &times {
            split.observe(time);
        }
        let expected = times.iter().max().unwrap().saturating_sub(bound as i64 + 1);
        prop_assert_eq!(split.current(), Some(expected));
    }
}
