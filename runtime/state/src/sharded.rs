//! A hash table in shards: every layer of every state is one.
//!
//! Callers bring the key's stable 64-bit hash. Its high bits choose the key group, so within one subtask they hardly vary;
//! [`mix`] multiplies by an odd constant, after which the high bits depend on all others. A table starts as one shard and
//! becomes [`SHARDS`] when it has [`SPLIT_AT`] entries, so that a tiny table stays tiny and no resize of a large one moves more
//! than 1/64 of it. Splitting and sizing happen in [`Sharded::tend`], between batches, never on the record path.
//!
//! What a hit costs is a cache miss, so tables should be full: a table that knows how many entries to expect takes as many shards
//! (from 64 to 127) as make each of them, a power of two in size, nearly full.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::key::{Key, hash_again};

/// Shards of a table that is no longer tiny.
pub(crate) const SHARDS: usize = 64;
/// Entries at which a table is split into shards.
const SPLIT_AT: usize = 2048;
/// The 32 bits of a mixed hash from here on choose the shard; above them lie the seven bits that hashbrown tags entries with,
/// below them those that choose the bucket.
const SHARD_SHIFT: u32 = 25;

/// Spreads the stable hash over all bits.
#[inline]
pub(crate) fn mix(hash: u64) -> u64 {
    hash.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// An entry that knows its key.
pub(crate) trait Keyed {
    type Key: Key;

    fn key(&self) -> &Self::Key;
}

#[inline]
fn rehash<S: Keyed>(slot: &S) -> u64 {
    mix(hash_again(slot.key()))
}

#[derive(Debug)]
pub(crate) struct Sharded<S> {
    shards: Vec<HashTable<S>>,
    len: usize,
    /// Entries each shard is sized for, one shard after the other.
    shard_capacity: usize,
    sized: usize,
}

impl<S> Default for Sharded<S> {
    fn default() -> Self {
        Self { shards: vec![HashTable::new()], len: 0, shard_capacity: 0, sized: 0 }
    }
}

/// Where a walk over all buckets stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    shard: usize,
    bucket: usize,
}

impl<S> Sharded<S> {
    /// An empty table that will probably get `expected` entries. O(1): memory is taken later, shard by shard.
    pub(crate) fn expecting(expected: usize) -> Self {
        let (count, shard_capacity) = if expected >= SPLIT_AT { full_shards(expected) } else { (1, 0) };
        let shards = std::iter::repeat_with(HashTable::new).take(count).collect();
        Self { shards, len: 0, shard_capacity, sized: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that this many entries take in the table itself, roughly, without what they own on the heap. O(1).
    pub(crate) fn inline_bytes(&self) -> usize {
        // Load lies between 7/16 and 7/8; one control byte per bucket.
        self.len * (size_of::<S>() + 1) * 3 / 2
    }

    /// Bytes that the table itself takes, occupied or not. One look at each shard.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.shards.iter().map(HashTable::num_buckets).sum::<usize>() * (size_of::<S>() + 1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &S> {
        self.shards.iter().flat_map(HashTable::iter)
    }

    #[inline]
    fn shard(&self, mixed: u64) -> usize {
        let bits = u64::from((mixed >> SHARD_SHIFT) as u32);
        ((bits * self.shards.len() as u64) >> 32) as usize
    }
}

impl<S: Keyed> Sharded<S> {
    #[inline]
    pub(crate) fn find(&self, mixed: u64, key: &S::Key) -> Option<&S> {
        self.shards[self.shard(mixed)].find(mixed, |slot| slot.key() == key)
    }

    #[inline]
    pub(crate) fn find_mut(&mut self, mixed: u64, key: &S::Key) -> Option<&mut S> {
        let shard = self.shard(mixed);
        self.shards[shard].find_mut(mixed, |slot| slot.key() == key)
    }

    /// The entry of `key`, and the count to increment if the caller fills it. One probe.
    #[inline]
    pub(crate) fn entry(&mut self, mixed: u64, key: &S::Key) -> (Entry<'_, S>, &mut usize) {
        let shard = self.shard(mixed);
        (self.shards[shard].entry(mixed, |slot| slot.key() == key, rehash), &mut self.len)
    }

    /// Inserts an entry whose key is known to be absent.
    pub(crate) fn insert_new(&mut self, mixed: u64, slot: S) -> &mut S {
        let shard = self.shard(mixed);
        self.len += 1;
        self.shards[shard].insert_unique(mixed, slot, rehash).into_mut()
    }

    /// Inserts or replaces.
    pub(crate) fn put(&mut self, mixed: u64, slot: S) -> Option<S> {
        let (entry, len) = {
            let shard = self.shard(mixed);
            (self.shards[shard].entry(mixed, |held| held.key() == slot.key(), rehash), &mut self.len)
        };
        match entry {
            Entry::Occupied(mut held) => Some(std::mem::replace(held.get_mut(), slot)),
            Entry::Vacant(vacant) => {
                *len += 1;
                vacant.insert(slot);
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, mixed: u64, key: &S::Key) -> Option<S> {
        let shard = self.shard(mixed);
        let found = self.shards[shard].find_entry(mixed, |slot| slot.key() == key).ok()?;
        self.len -= 1;
        Some(found.remove().0)
    }

    /// Splits and sizes shards as the number of entries asks for; a little per call.
    #[inline]
    pub(crate) fn tend(&mut self) {
        if self.shards.len() == 1 && self.len >= SPLIT_AT {
            self.split();
        } else if self.sized < self.shards.len() && self.len > 0 && self.shards.len() > 1 {
            let shard = &mut self.shards[self.sized];
            let missing = self.shard_capacity.saturating_sub(shard.len());
            if missing > 0 {
                shard.reserve(missing, rehash);
            }
            self.sized += 1;
        }
    }

    #[cold]
    fn split(&mut self) {
        let mut whole = std::mem::take(&mut self.shards);
        self.shards = std::iter::repeat_with(HashTable::new).take(SHARDS).collect();
        self.sized = SHARDS;
        for slot in whole.drain(..).flatten() {
            let mixed = rehash(&slot);
            let shard = self.shard(mixed);
            self.shards[shard].insert_unique(mixed, slot, rehash);
        }
    }

    /// The entries in the next `buckets` places, wherever the cursor stands: a sample, since hashes scatter entries.
    pub(crate) fn sample(&self, cursor: &mut Cursor, buckets: usize) -> impl Iterator<Item = &S> {
        if self.shards.get(cursor.shard).is_none_or(|shard| cursor.bucket >= shard.num_buckets()) {
            let shard = cursor.shard + 1;
            *cursor = Cursor { shard: if shard < self.shards.len() { shard } else { 0 }, bucket: 0 };
        }
        let shard = &self.shards[cursor.shard];
        let from = cursor.bucket;
        cursor.bucket += buckets;
        (from..cursor.bucket.min(shard.num_buckets())).filter_map(|bucket| shard.get_bucket(bucket))
    }

    /// Visits the next occupied buckets, at most `buckets` of them, occupied or not, and takes out those for which `take`
    /// says so. A shard that this left rather empty gives memory back. Returns false at the end of the table, with the cursor back
    /// at its start.
    pub(crate) fn sweep(
        &mut self,
        cursor: &mut Cursor,
        buckets: usize,
        mut take: impl FnMut(&mut S) -> bool,
        mut taken: impl FnMut(S),
    ) -> bool {
        for _ in 0..buckets {
            loop {
                let Some(shard) = self.shards.get(cursor.shard) else {
                    *cursor = Cursor::default();
                    return false;
                };
                if !shard.is_empty() && cursor.bucket < shard.num_buckets() {
                    break;
                }
                give_back(&mut self.shards[cursor.shard]);
                *cursor = Cursor { shard: cursor.shard + 1, bucket: 0 };
            }
            let shard = &mut self.shards[cursor.shard];
            if let Ok(mut held) = shard.get_bucket_entry(cursor.bucket)
                && take(held.get_mut())
            {
                self.len -= 1;
                taken(held.remove().0);
            }
            cursor.bucket += 1;
        }
        true
    }
}

/// Halves a shard, or more, of which hardly more than a third is occupied; what comes back has room for some more.
fn give_back<S: Keyed>(shard: &mut HashTable<S>) {
    if shard.is_empty() {
        *shard = HashTable::new();
    } else if shard.len() * 20 < shard.num_buckets() * 7 {
        shard.shrink_to(0, rehash);
    }
}

/// How many shards of which capacity hold `expected` entries with little room to spare.
fn full_shards(expected: usize) -> (usize, usize) {
    let mut buckets = 16usize;
    loop {
        let capacity = buckets / 8 * 7;
        // The fullest of about a hundred shards lies three standard deviations above the average.
        let average = capacity - 3 * capacity.isqrt();
        let shards = expected.div_ceil(average);
        if shards < 2 * SHARDS {
            return (shards.max(SHARDS), capacity);
        }
        buckets *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Pair(u64, u32);

    impl Keyed for Pair {
        type Key = u64;

        fn key(&self) -> &u64 {
            &self.0
        }
    }

    fn mixed(key: u64) -> u64 {
        mix(hash_again(&key))
    }

    fn fill(table: &mut Sharded<Pair>, keys: impl Iterator<Item = u64>) {
        for key in keys {
            table.put(mixed(key), Pair(key, 0));
        }
    }

    #[test]
    fn entries_survive_splitting_and_sizing() {
        let mut table = Sharded::default();
        for key in 0..10_000u64 {
            assert_eq!(table.put(mixed(key), Pair(key, 1)), None);
            if key % 100 == 0 {
                table.tend();
            }
        }
        assert_eq!((table.len(), table.shards.len()), (10_000, SHARDS));
        assert_eq!(table.put(mixed(7), Pair(7, 2)), Some(Pair(7, 1)));
        assert_eq!(table.remove(mixed(8), &8), Some(Pair(8, 1)));
        assert_eq!(table.remove(mixed(8), &8), None);
        assert!((0..10_000u64).filter(|key| *key != 8).all(|key| table.find(mixed(key), &key).is_some()));
        assert_eq!(table.iter().count(), 9_999);
        let largest = table.shards.iter().map(HashTable::len).max().unwrap();
        assert!(largest < 2 * 10_000 / SHARDS, "one shard holds {largest} of 10000");
    }

    #[test]
    fn a_table_that_was_expected_is_nearly_full_and_never_resized() {
        for expected in [10_000, 100_000, 719_000, 1_000_000] {
            let mut table = Sharded::expecting(expected);
            fill(&mut table, 0..SHARDS as u64 * 4);
            (0..2 * SHARDS).for_each(|_| table.tend());
            let buckets = |table: &Sharded<Pair>| table.shards.iter().map(HashTable::num_buckets).sum::<usize>();
            let before = buckets(&table);
            fill(&mut table, 0..expected as u64);
            // The odd shard may be fuller than expected.
            assert!(buckets(&table) <= before + before / 40, "{expected}");
            assert!(expected * 100 / before >= 60, "{expected} entries in {before} buckets");
        }
    }

    #[test]
    fn keys_of_one_key_group_spread_over_all_shards() {
        let max = weir_protocol::MaxParallelism::new(128).unwrap();
        let in_group = |key: &u64| weir_protocol::key_group(hash_again(key), max).0 == 3;
        let mut table = Sharded::expecting(SPLIT_AT);
        fill(&mut table, (0..2_000_000).filter(in_group));
        let sizes: Vec<_> = table.shards.iter().map(HashTable::len).collect();
        let mean = table.len() / SHARDS;
        assert!(sizes.iter().all(|&size| size > mean / 2 && size < mean * 2), "{sizes:?}");
    }

    #[test]
    fn a_sweep_in_slices_takes_every_entry_once() {
        let mut table = Sharded::expecting(5_000);
        fill(&mut table, 0..5_000);
        let (mut cursor, mut taken) = (Cursor::default(), Vec::new());
        while table.sweep(&mut cursor, 37, |slot| slot.0 % 2 == 0, |slot| taken.push(slot.0)) {}
        taken.sort_unstable();
        assert_eq!(taken, (0..5_000).step_by(2).collect::<Vec<_>>());
        assert_eq!(table.len(), 2_500);
        while table.sweep(&mut cursor, 1000, |_| true, drop) {}
        assert!(table.is_empty());
    }
}
