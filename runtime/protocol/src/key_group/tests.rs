//! Golden vectors and properties of the key-group functions.

use proptest::prelude::*;

use super::*;

fn max(groups: u32) -> MaxParallelism {
    MaxParallelism::new(groups).unwrap()
}

#[test]
fn hashes_equal_the_published_xxh3_vectors() {
    // The first three are XXH3_64bits as published with xxHash; the others pin what we stored since.
    assert_eq!(key_hash(b""), 0x2d06_8005_38d3_94c2);
    let golden: [(&[u8], u64); 4] = [
        (b"a", 0xe6c6_32b6_1e96_4e1f),
        (b"abc", 0x78af_5f94_892f_3950),
        (b"auction-1007", 0x5296_6fd3_3ca8_5b90),
        (&[0x80, 0, 0, 0, 0, 0, 0, 1], 0xce5e_29c5_f1ee_5d11),
    ];
    for (input, expected) in golden {
        assert_eq!(key_hash(input), expected, "{input:?}");
    }
}

#[test]
fn groups_and_subtasks_equal_the_golden_vectors() {
    let cases: [(u64, u32, u16); 8] = [
        (0, 1, 0),
        (u64::MAX, 1, 0),
        (0, 128, 0),
        (u64::MAX, 128, 127),
        (1 << 57, 128, 1),
        ((1 << 57) - 1, 128, 0),
        (u64::MAX, 32_768, 32_767),
        (0x2d06_8005_38d3_94c2, 128, 22),
    ];
    for (hash, groups, expected) in cases {
        assert_eq!(key_group(hash, max(groups)), KeyGroup(expected), "hash {hash:#x} of {groups}");
    }
    let cases: [(u16, u32, u32, u32); 6] =
        [(0, 128, 3, 0), (42, 128, 3, 0), (43, 128, 3, 1), (85, 128, 3, 1), (86, 128, 3, 2), (127, 128, 3, 2)];
    for (group, groups, parallelism, expected) in cases {
        assert_eq!(subtask_of(KeyGroup(group), max(groups), parallelism), expected, "group {group}");
    }
    assert_eq!(key_groups_of(SubtaskIndex(1), max(128), 3), KeyGroupRange::new(43, 86));
}

#[test]
fn bounds_of_max_parallelism_are_checked() {
    for bad in [0, 32_769, u32::MAX] {
        assert_eq!(MaxParallelism::new(bad), Err(MaxParallelismError(bad)));
        assert!(serde_json::from_str::<MaxParallelism>(&bad.to_string()).is_err());
    }
    assert_eq!(serde_json::from_str::<MaxParallelism>("32768").unwrap().get(), 32_768);
}

#[test]
fn every_small_layout_partitions_the_groups_and_inverts() {
    for groups in 1..=130 {
        for parallelism in 1..=groups + 2 {
            check_partition(groups, parallelism);
        }
    }
}

fn check_partition(groups: u32, parallelism: u32) {
    let max = max(groups);
    let mut expected_start = 0;
    for subtask in 0..parallelism {
        let range = key_groups_of(SubtaskIndex(subtask), max, parallelism);
        assert_eq!(range.start, expected_start, "gap or overlap before {subtask} of {parallelism}, {groups} groups");
        assert!(range.len() <= groups.div_ceil(parallelism), "{range} is too large");
        assert!(range.len() >= groups / parallelism, "{range} is too small");
        expected_start = range.end_exclusive;
        for group in range.groups() {
            assert_eq!(subtask_of(group, max, parallelism), subtask);
            assert!(range.contains(group));
        }
    }
    assert_eq!(expected_start, groups, "groups are left over");
    assert!(key_groups_of(SubtaskIndex(parallelism), max, parallelism).is_empty());
}

proptest! {
    #[test]
    fn any_layout_partitions_the_groups_and_inverts(groups in 1u32..=MaxParallelism::LIMIT, share in 1u32..=MaxParallelism::LIMIT) {
        check_partition(groups, share.min(groups));
    }

    #[test]
    fn a_hash_lands_in_exactly_one_subtask(hash: u64, groups in 1u32..=MaxParallelism::LIMIT, share in 1u32..=64) {
        let max = max(groups);
        let group = key_group(hash, max);
        prop_assert!(u32::from(group.0) < groups);
        let owner = subtask_of(group, max, share);
        prop_assert!(owner < share);
        prop_assert!(key_groups_of(SubtaskIndex(owner), max, share).contains(group));
    }

    #[test]
    fn intersection_is_what_both_hold(a in 0u32..300, b in 0u32..300, c in 0u32..300, d in 0u32..300) {
        let (left, right) = (KeyGroupRange::new(a, b), KeyGroupRange::new(c, d));
        let both = left.intersection(right);
        for group in (0..310).map(KeyGroup) {
            prop_assert_eq!(both.contains(group), left.contains(group) && right.contains(group));
        }
    }
}
