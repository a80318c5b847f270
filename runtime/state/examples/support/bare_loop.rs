//! A running count per key as one would write it by hand over RocksDB: a batch of keys is read with one multi-get and
//! written with one write batch, without a log. The options are the store's own.

use std::collections::HashMap;
use std::path::Path;

use weir_state::RocksTuning;

/// The counts.
pub struct BareLoop {
    db: rocksdb::DB,
    write: rocksdb::WriteOptions,
}

impl BareLoop {
    /// No counts yet, in an empty directory.
    pub fn open(dir: &Path, tuning: &RocksTuning, write_buffer: usize) -> Self {
        let mut options = weir_state::bench_options(tuning);
        options.set_write_buffer_size(write_buffer);
        let family = rocksdb::ColumnFamilyDescriptor::new("default", options.clone());
        let db = rocksdb::DB::open_cf_descriptors(&options, dir, [family]).expect("an empty directory");
        let mut write = rocksdb::WriteOptions::default();
        write.disable_wal(true);
        Self { db, write }
    }

    /// Counts every key, and tells each one's count as it then is.
    pub fn add(&mut self, keys: &[u64], mut tell: impl FnMut(u64, u64)) {
        let mut counts: HashMap<u64, u64, foldhash::fast::FixedState> = HashMap::default();
        counts.extend(keys.iter().map(|key| (*key, 0)));
        let mut sorted: Vec<[u8; 8]> = counts.keys().map(|key| key.to_be_bytes()).collect();
        sorted.sort_unstable();
        let family = self.db.cf_handle("default").expect("it is there");
        let values = self.db.batched_multi_get_cf(&family, sorted.iter(), true);
        for (key, value) in sorted.iter().zip(values) {
            let held = value.expect("a read").map_or(0, |value| decode(&value));
            counts.insert(u64::from_be_bytes(*key), held);
        }
        for key in keys {
            let count = counts.get_mut(key).expect("every key was read");
            *count += 1;
            tell(*key, *count);
        }
        let mut out = rocksdb::WriteBatch::default();
        sorted.iter().for_each(|key| out.put(key, counts[&u64::from_be_bytes(*key)].to_le_bytes()));
        self.db.write_opt(out, &self.write).expect("a write");
    }

    /// Writes what is still in memory to a file.
    #[allow(dead_code, reason = "not everyone who includes this file needs it")]
    pub fn flush(&mut self) {
        self.db.flush().expect("a flush");
    }

    /// The count of a key.
    #[allow(dead_code, reason = "not everyone who includes this file needs it")]
    pub fn get(&self, key: u64) -> u64 {
        self.db.get_pinned(key.to_be_bytes()).expect("a read").map_or(0, |value| decode(&value))
    }

    /// One of RocksDB's integer properties.
    #[allow(dead_code, reason = "not everyone who includes this file needs it")]
    pub fn property(&self, name: &str) -> u64 {
        self.db.property_int_value(name).ok().flatten().unwrap_or(0)
    }
}

fn decode(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("8 bytes"))
}
