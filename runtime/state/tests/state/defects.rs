//! Planted defects: with each of them on, the comparison with the reference model must find a difference. A check that stays green
//! with a defect in place checks nothing.

use weir_state::{BackendKind, Defects, MemoryBudget};

use crate::scenario::{Plan, TINY, run};

/// True if one of the first seeds shows a difference (or the state engine's own checks panic).
fn is_found(backend: BackendKind, memory: MemoryBudget, defects: Defects) -> bool {
    let plan = Plan { backend, memory, steps: 2500, keys: 80, burst: 0, defects };
    std::panic::set_hook(Box::new(|_| {}));
    let found = (0..6).any(|seed| !matches!(std::panic::catch_unwind(|| run(plan, seed)), Ok(Ok(_))));
    let _ = std::panic::take_hook();
    found
}

#[test]
fn clean_that_survives_a_hand_over_is_found() {
    let defects = Defects { clean_survives_hand_over: true, ..Defects::default() };
    assert!(is_found(BackendKind::RocksDb, MemoryBudget::default(), defects), "with everything in memory");
    assert!(is_found(BackendKind::RocksDb, TINY, defects), "while state outgrows memory");
}

#[test]
fn a_base_cut_from_live_state_is_found() {
    let defects = Defects { base_from_live_state: true, ..Defects::default() };
    assert_eq!(crate::durability::value_after_late_acknowledgement(defects), Some(3), "the later value shines through");
}

#[test]
fn a_key_group_range_without_its_last_group_is_found() {
    let defects = Defects { range_end_off_by_one: true, ..Defects::default() };
    assert!(is_found(BackendKind::Memory, TINY, defects));
    assert!(is_found(BackendKind::RocksDb, TINY, defects));
}
