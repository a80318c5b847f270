//! Keyed count in memory: Weir's tables with epochs of a given length against a bare hash-map loop and a bare RocksDB loop.
//!
//! ```text
//! cargo run --release -p weir-state --example keyed_count -- [keys=1000000] [records=80000000] [epoch=8000000] [rocks=0] [backend=rocksdb]
//! ```
//! Prints one JSON object per measurement. Keys are drawn outside the clock: u64, zipf 0.99. CPU time is the whole process's, so that what
//! happens behind the stream counts. All loops must end with the same sum.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use weir_protocol::{CheckpointId, Generation, MaxParallelism, OperatorId};
use weir_state::{Backend, BackendKind, MemoryBudget, StateDescriptor, StoreConfig, WorkerStore, hash_key};
use weir_storage::MemoryStore;

const BATCH: usize = 4096;

/// Zipf-distributed ranks by rejection-inversion (Hörmann and Derflinger), scrambled so that hot keys lie apart.
struct Zipf {
    count: f64,
    exponent: f64,
    low: f64,
    high: f64,
    state: u64,
}

impl Zipf {
    fn new(count: u64, exponent: f64) -> Self {
        let mut zipf = Self { count: count as f64, exponent, low: 0.0, high: 0.0, state: 42 };
        zipf.low = zipf.integral(1.5) - 1.0;
        zipf.high = zipf.integral(zipf.count + 0.5);
        zipf
    }

    fn integral(&self, x: f64) -> f64 {
        let power = 1.0 - self.exponent;
        (x.powf(power) - 1.0) / power
    }

    fn inverse(&self, y: f64) -> f64 {
        let power = 1.0 - self.exponent;
        (1.0 + y * power).powf(1.0 / power)
    }

    fn random(&mut self) -> f64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.state >> 11) as f64) / ((1u64 << 53) as f64)
    }

    fn next(&mut self) -> u64 {
        loop {
            let u = self.high + self.random() * (self.low - self.high);
            let rank = self.inverse(u).round().clamp(1.0, self.count);
            if u >= self.integral(rank + 0.5) - rank.powf(-self.exponent) {
                return (rank as u64 - 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) % self.count as u64;
            }
        }
    }
}

/// CPU time of this process, all threads.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs is there");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}

fn report(name: &str, records: usize, wall: Duration, cpu: Duration, extra: &str) {
    let per = |time: Duration| time.as_nanos() as f64 / records as f64;
    println!(
        "{{\"name\":\"{name}\",\"records\":{records},\"wall_ns_per_record\":{:.2},\"cpu_ns_per_record\":{:.2}{extra}}}",
        per(wall),
        per(cpu)
    );
}

fn argument(name: &str, default: u64) -> u64 {
    let prefix = format!("{name}=");
    let given = std::env::args().find_map(|argument| argument.strip_prefix(&prefix).map(str::to_owned));
    given.map_or(default, |value| value.parse().expect("a number"))
}

fn plain(keys: &[u64], records: usize) -> u64 {
    let hasher = foldhash::fast::FixedState::default();
    let mut table: HashTable<(u64, u64)> = HashTable::new();
    let (started, before) = (Instant::now(), cpu());
    for index in 0..records {
        let key = keys[index % keys.len()];
        let hash = hasher.hash_one(key);
        let entry = table.entry(hash, |held| held.0 == key, |held| hasher.hash_one(held.0));
        entry.or_insert((key, 0)).get_mut().1 += 1;
    }
    report("plain-hash-map", records, started.elapsed(), cpu() - before, "");
    table.iter().map(|(key, count)| key.wrapping_mul(*count)).fold(0, u64::wrapping_add)
}

fn weir(keys: &[u64], records: usize, epoch_records: usize, kind: BackendKind) -> u64 {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let dir = std::env::temp_dir().join(format!("weir-keyed-count-{}", std::process::id()));
    let max = MaxParallelism::new(128).expect("in bounds");
    let mut config = StoreConfig::new(&dir, Arc::new(MemoryStore::new()), runtime.handle().clone(), max, Generation(1));
    config.backend = kind;
    config.memory = MemoryBudget::split(1 << 30);
    let store = WorkerStore::open(config, None).expect("an empty directory");
    let mut backend: Backend<u64> = store.backend(&OperatorId::from("count"), 0, max.all());
    let handle = backend.value::<u64>(StateDescriptor::new("count")).expect("a new state");
    let mut scratch = Vec::new();
    let (mut epoch, mut longest_seal, mut paused) = (0, Duration::ZERO, Duration::ZERO);
    let (started, before) = (Instant::now(), cpu());
    let mut done = 0;
    let (tx, rx) = std::sync::mpsc::channel();
    while done < records {
        let batch = BATCH.min(records - done);
        let table = backend.value_mut(handle);
        for index in done..done + batch {
            let key = keys[index % keys.len()];
            let hash = hash_key(&key, &mut scratch);
            let count = table.entry(hash, &key).expect("in memory");
            *count = Some(count.unwrap_or(0) + 1);
        }
        done += batch;
        backend.maintain();
        if backend.must_pause() {
            let since = Instant::now();
            while backend.must_pause() {
                backend.maintain();
                std::thread::sleep(Duration::from_micros(200));
            }
            paused += since.elapsed();
        }
        if done / epoch_records > epoch {
            epoch += 1;
            let id = CheckpointId(epoch as u64);
            let tx = tx.clone();
            store.begin_epoch(id, 1, Box::new(move |result| drop(tx.send(result.map(|result| result.epoch)))));
            let sealing = Instant::now();
            let sealed = backend.seal(id);
            store.submit(id, sealed);
            longest_seal = longest_seal.max(sealing.elapsed());
        }
        while let Ok(result) = rx.try_recv() {
            store.acknowledge(result.expect("an epoch"));
        }
    }
    let epochs = epoch;
    let stats = store.stats();
    let extra = format!(
        ",\"epoch_records\":{epoch_records},\"epochs\":{epochs},\"longest_seal_us\":{},\"paused_ms\":{},\"bases\":{},\"ingesting\":{}",
        longest_seal.as_micros(),
        paused.as_millis(),
        stats.bases_built,
        stats.ingesting
    );
    report("weir", records, started.elapsed(), cpu() - before, &extra);
    let mut sum = 0u64;
    let distinct: std::collections::BTreeSet<u64> = keys.iter().copied().collect();
    for key in distinct {
        let hash = hash_key(&key, &mut scratch);
        let count = backend.value_mut(handle).get(hash, &key).expect("in memory").copied().unwrap_or(0);
        sum = sum.wrapping_add(key.wrapping_mul(count));
    }
    drop(backend);
    store.shutdown();
    let _ = std::fs::remove_dir_all(&dir);
    sum
}

fn rocks(keys: &[u64], records: usize) -> u64 {
    let dir = std::env::temp_dir().join(format!("weir-bare-rocks-{}", std::process::id()));
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    options.set_allow_mmap_reads(true);
    options.set_write_buffer_size(64 << 20);
    let mut table = rocksdb::BlockBasedOptions::default();
    table.disable_cache();
    table.set_bloom_filter(10.0, false);
    options.set_block_based_table_factory(&table);
    let family = rocksdb::ColumnFamilyDescriptor::new("default", options.clone());
    let db = rocksdb::DB::open_cf_descriptors(&options, &dir, [family]).expect("an empty directory");
    let mut write = rocksdb::WriteOptions::default();
    write.disable_wal(true);
    let (started, before) = (Instant::now(), cpu());
    let mut done = 0;
    while done < records {
        let mut counts: HashMap<u64, u64> = HashMap::new();
        let batch = BATCH.min(records - done);
        for index in done..done + batch {
            *counts.entry(keys[index % keys.len()]).or_default() += 1;
        }
        let mut sorted: Vec<[u8; 8]> = counts.keys().map(|key| key.to_be_bytes()).collect();
        sorted.sort_unstable();
        let family = db.cf_handle("default").expect("it is there");
        let values = db.batched_multi_get_cf(&family, sorted.iter(), true);
        let mut out = rocksdb::WriteBatch::default();
        for (key, value) in sorted.iter().zip(values) {
            let held =
                value.expect("a read").map_or(0, |value| u64::from_le_bytes((*value).try_into().expect("8 bytes")));
            let number = u64::from_be_bytes(*key);
            out.put(key, (held + counts[&number]).to_le_bytes());
        }
        db.write_opt(out, &write).expect("a write");
        done += batch;
    }
    report("bare-rocksdb", records, started.elapsed(), cpu() - before, "");
    let mut sum = 0u64;
    for entry in db.iterator(rocksdb::IteratorMode::Start) {
        let (key, value) = entry.expect("a read");
        let key = u64::from_be_bytes((*key).try_into().expect("8 bytes"));
        sum = sum.wrapping_add(key.wrapping_mul(u64::from_le_bytes((*value).try_into().expect("8 bytes"))));
    }
    drop(db);
    let _ = std::fs::remove_dir_all(&dir);
    sum
}

fn main() {
    let count = argument("keys", 1_000_000);
    let records = argument("records", 80_000_000) as usize;
    let epoch = argument("epoch", 8_000_000) as usize;
    let memory = std::env::args().any(|argument| argument == "backend=memory");
    let kind = if memory { BackendKind::Memory } else { BackendKind::RocksDb };
    let mut zipf = Zipf::new(count, 0.99);
    let keys: Vec<u64> = (0..(records.min(16_000_000))).map(|_| zipf.next()).collect();
    let expected = plain(&keys, records);
    assert_eq!(weir(&keys, records, epoch, kind), expected, "the counts differ");
    let rocks_records = argument("rocks", 0) as usize;
    if rocks_records > 0 {
        assert_eq!(rocks(&keys, rocks_records), plain(&keys, rocks_records), "the counts differ");
    }
}
