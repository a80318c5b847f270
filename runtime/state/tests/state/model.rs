//! The reference: ordered maps, no layers.

use std::collections::{BTreeMap, BTreeSet};

/// Everything the states under test hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Model {
    pub values: BTreeMap<String, u64>,
    pub texts: BTreeMap<String, String>,
    pub maps: BTreeMap<String, BTreeMap<i64, String>>,
    pub lists: BTreeMap<String, Vec<u32>>,
    pub timers: BTreeSet<(i64, String)>,
    pub rules: BTreeMap<u16, String>,
}

/// A small generator of random numbers (SplitMix64), so that a seed repeats a run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
