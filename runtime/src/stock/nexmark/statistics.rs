//! What q15 to q17 have in common: bids counted by rank of price.

use serde::{Deserialize, Serialize};

/// Ranks of price: below 10 000, below 1 000 000, and above, in cents.
pub(super) fn rank(price: u64) -> usize {
    match price {
        0..10_000 => 0,
        10_000..1_000_000 => 1,
        _ => 2,
    }
}

/// A total and its parts by rank.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ranked {
    /// All.
    pub total: u64,
    /// By rank of price.
    pub ranks: [u64; 3],
}

impl Ranked {
    /// Counts one of this rank.
    pub fn add(&mut self, rank: usize) {
        self.total += 1;
        self.ranks[rank] += 1;
    }

    /// Counts something seen in the ranks of `before`, and now in `rank`; returns the ranks it was seen in now.
    pub fn add_distinct(&mut self, before: u8, rank: usize) -> u8 {
        let bit = 1u8 << rank;
        if before == 0 {
            self.total += 1;
        }
        if before & bit == 0 {
            self.ranks[rank] += 1;
        }
        before | bit
    }
}
