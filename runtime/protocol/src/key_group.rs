//! From key to key group and from key group to subtask: the only functions that do either.
//!
//! Part of the stored format. Routing and restore call the same functions, so a record and the state it needs always meet
//! in the same subtask. A key group's number never changes with the parallelism; `max parallelism` is fixed for the job's
//! life. Ranges are contiguous, so that a subtask's state is one range of the ordered key space.

use serde::{Deserialize, Serialize};

use crate::ids::SubtaskIndex;

/// A key group: the unit of keyed state and of rescaling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyGroup(pub u16);

impl KeyGroup {
    /// The group under which broadcast state is stored; no key ever hashes into it.
    pub const BROADCAST: Self = Self(u16::MAX);
}

impl std::fmt::Display for KeyGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// A number of key groups that is out of bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("max parallelism {0} is out of bounds: allowed are 1 to {max}", max = MaxParallelism::LIMIT)]
pub struct MaxParallelismError(pub u32);

/// Number of key groups of a job, 1 to 32768, fixed for the job's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct MaxParallelism(u32);

impl MaxParallelism {
    /// The largest allowed number of key groups.
    pub const LIMIT: u32 = 32_768;

    /// Checks the bounds.
    ///
    /// # Errors
    /// When `groups` is 0 or above [`Self::LIMIT`].
    pub fn new(groups: u32) -> Result<Self, MaxParallelismError> {
        if (1..=Self::LIMIT).contains(&groups) { Ok(Self(groups)) } else { Err(MaxParallelismError(groups)) }
    }

    /// The number of key groups.
    pub fn get(self) -> u32 {
        self.0
    }

    /// All key groups of a job.
    pub fn all(self) -> KeyGroupRange {
        KeyGroupRange { start: 0, end_exclusive: self.0 }
    }
}

impl TryFrom<u32> for MaxParallelism {
    type Error = MaxParallelismError;

    fn try_from(groups: u32) -> Result<Self, Self::Error> {
        Self::new(groups)
    }
}

impl From<MaxParallelism> for u32 {
    fn from(max: MaxParallelism) -> Self {
        max.0
    }
}

impl std::fmt::Display for MaxParallelism {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}

/// A contiguous range of key groups. The bounds are `u32`, so that the end of the full range can be written down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyGroupRange {
    /// First key group.
    pub start: u32,
    /// One past the last key group.
    pub end_exclusive: u32,
}

impl KeyGroupRange {
    /// The range of a run that holds nothing but broadcast state. A run may also reach from a subtask's first group up to
    /// here; its groups beyond the job's are then broadcast state alone.
    pub const BROADCAST: Self = Self { start: u16::MAX as u32, end_exclusive: u16::MAX as u32 + 1 };

    /// The range `start..end_exclusive`.
    pub fn new(start: u32, end_exclusive: u32) -> Self {
        Self { start, end_exclusive }
    }

    /// True if the range holds no key group.
    pub fn is_empty(self) -> bool {
        self.start >= self.end_exclusive
    }

    /// Number of key groups.
    pub fn len(self) -> u32 {
        self.end_exclusive.saturating_sub(self.start)
    }

    /// True if `group` lies in the range.
    pub fn contains(self, group: KeyGroup) -> bool {
        (self.start..self.end_exclusive).contains(&u32::from(group.0))
    }

    /// The key groups that both ranges hold; possibly empty.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self { start, end_exclusive: self.end_exclusive.min(other.end_exclusive).max(start) }
    }

    /// True if both ranges hold a common key group.
    pub fn overlaps(self, other: Self) -> bool {
        !self.intersection(other).is_empty()
    }

    /// The key groups, ascending.
    pub fn groups(self) -> impl Iterator<Item = KeyGroup> {
        (self.start..self.end_exclusive).map_while(|group| u16::try_from(group).ok()).map(KeyGroup)
    }
}

impl std::fmt::Display for KeyGroupRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.start, self.end_exclusive)
    }
}

/// Stable hash of a key's canonical encoding: XXH3-64 with seed 0.
#[inline]
pub fn key_hash(encoded: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(encoded)
}

/// The key group of a hash: the hash's high bits scaled to the number of groups (Lemire's multiply-shift; no division).
#[inline]
pub fn key_group(hash: u64, max: MaxParallelism) -> KeyGroup {
    // Below `max` ≤ 32768, so it fits.
    KeyGroup(((u128::from(hash) * u128::from(max.0)) >> 64) as u16)
}

/// The subtask that owns `group` at this parallelism (at least 1).
#[inline]
pub fn subtask_of(group: KeyGroup, max: MaxParallelism, parallelism: u32) -> u32 {
    debug_assert!(parallelism > 0, "a parallelism of 0 owns nothing");
    (u64::from(group.0) * u64::from(parallelism) / u64::from(max.0)) as u32
}

/// The key groups that `subtask` owns at this parallelism: exactly those for which [`subtask_of`] names it. Empty for some
/// subtasks if the parallelism exceeds the number of groups, and for subtasks that do not exist.
pub fn key_groups_of(subtask: SubtaskIndex, max: MaxParallelism, parallelism: u32) -> KeyGroupRange {
    debug_assert!(parallelism > 0, "a parallelism of 0 owns nothing");
    let bound = |index: u32| (u64::from(index) * u64::from(max.0)).div_ceil(u64::from(parallelism)) as u32;
    if subtask.0 >= parallelism {
        return KeyGroupRange { start: max.0, end_exclusive: max.0 };
    }
    KeyGroupRange { start: bound(subtask.0), end_exclusive: bound(subtask.0 + 1) }
}

#[cfg(test)]
mod tests;
