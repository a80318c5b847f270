//! Keyed count over a state much larger than memory, uniform keys: Weir's layers against an equally tuned bare RocksDB loop.
//!
//! ```text
//! cargo run --release -p weir-state --example state_layout -- [who=weir|bare] [keys=20000000] [records=40000000] [epoch=2000000]
//!     [memory_mb=64] [block=4096] [bits=10] [ribbon=0] [hash=1] [mmap=1] [lz4=0] [cache_mb=0] [universal=0] [l0=4] [base_mb=256] [file_mb=64]
//! ```
//! First all keys are written once, outside the clock; then records are counted, and a line of JSON is printed per epoch and for
//! the second half, when compaction has become steady. Keys are drawn outside the clock. CPU time is the whole process's. Run it inside a cgroup whose limit is
//! what the job would have: the page cache is part of the comparison. See `docs/adr/0001-state-layout.md`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_protocol::{CheckpointId, Generation, MaxParallelism, OperatorId};
use weir_state::{
    Backend, MemoryBudget, RocksTuning, StateDescriptor, StoreConfig, ValueHandle, WorkerStore, hash_key,
};
use weir_storage::{LocalStore, StoreOptions};

#[path = "support/bare_loop.rs"]
mod bare_loop;

use bare_loop::BareLoop;

const BATCH: usize = 4096;

fn text(name: &str) -> Option<String> {
    let prefix = format!("{name}=");
    std::env::args().find_map(|argument| argument.strip_prefix(&prefix).map(str::to_owned))
}

fn number(name: &str, default: u64) -> u64 {
    text(name).map_or(default, |value| value.parse().expect("a number"))
}

fn tuning() -> RocksTuning {
    let usual = RocksTuning::default();
    RocksTuning {
        block_bytes: number("block", usual.block_bytes as u64) as usize,
        filter_bits: number("bits", usual.filter_bits as u64) as f64,
        ribbon: number("ribbon", u64::from(usual.ribbon)) == 1,
        hash_index: number("hash", u64::from(usual.hash_index)) == 1,
        mmap: number("mmap", u64::from(usual.mmap)) == 1,
        compress: number("lz4", u64::from(usual.compress)) == 1,
        block_cache: (number("cache_mb", 0) << 20) as usize,
        universal: number("universal", u64::from(usual.universal)) == 1,
        level0_files: number("l0", usual.level0_files as u64) as i32,
        level_base: number("base_mb", usual.level_base >> 20) << 20,
        file_bytes: number("file_mb", usual.file_bytes >> 20) << 20,
        threads: number("threads", usual.threads as u64) as i32,
    }
}

/// CPU time of this process, all threads.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs is there");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
    Duration::from_millis(ticks * 10)
}

/// The same stream of keys for everyone.
struct Keys {
    state: u64,
    count: u64,
}

impl Keys {
    fn batch(&mut self) -> Vec<u64> {
        let mut next = || {
            self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            (mixed ^ (mixed >> 27)) % self.count
        };
        (0..BATCH).map(|_| next()).collect()
    }
}

trait Counter {
    fn add(&mut self, keys: &[u64]);
    fn end_epoch(&mut self);
    fn get(&mut self, key: u64) -> u64;
    fn describe(&self) -> String;
}

impl Counter for BareLoop {
    fn add(&mut self, keys: &[u64]) {
        BareLoop::add(self, keys, |_, _| ());
    }

    fn end_epoch(&mut self) {
        self.flush();
    }

    fn get(&mut self, key: u64) -> u64 {
        BareLoop::get(self, key)
    }

    fn describe(&self) -> String {
        format!("\"compact_mb\":{}", self.property("rocksdb.estimate-pending-compaction-bytes") >> 20)
    }
}

struct Weir {
    store: Arc<WorkerStore>,
    backend: Backend<u64>,
    handle: ValueHandle<u64>,
    epoch: u64,
    paused: Duration,
    results: (std::sync::mpsc::Sender<CheckpointId>, std::sync::mpsc::Receiver<CheckpointId>),
    _runtime: tokio::runtime::Runtime,
}

impl Weir {
    fn open(dir: &std::path::Path, tuning: RocksTuning) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let objects = Arc::new(LocalStore::new(dir.join("objects"), StoreOptions::default()));
        let max = MaxParallelism::new(128).expect("in bounds");
        let mut config = StoreConfig::new(dir.join("work"), objects, runtime.handle().clone(), max, Generation(1));
        config.memory = MemoryBudget::split((number("memory_mb", 64) << 20) as usize);
        config.tuning = tuning;
        config.base_factor = 1e9;
        config.base_max_runs = usize::MAX;
        config.max_pending_bytes = u64::MAX;
        let store = WorkerStore::open(config, None).expect("an empty directory");
        let mut backend: Backend<u64> = store.backend(&OperatorId::from("count"), 0, max.all());
        let handle = backend.value::<u64>(StateDescriptor::new("count")).expect("a new state");
        Self {
            store,
            backend,
            handle,
            epoch: 0,
            paused: Duration::ZERO,
            results: std::sync::mpsc::channel(),
            _runtime: runtime,
        }
    }
}

impl Counter for Weir {
    fn add(&mut self, keys: &[u64]) {
        let since = Instant::now();
        self.backend.maintain();
        while self.backend.must_pause() {
            if !self.backend.maintain() {
                std::thread::sleep(Duration::from_micros(200));
            }
            self.paused = self.paused.max(since.elapsed());
        }
        let mut scratch = Vec::new();
        let hashed: Vec<(u64, u64)> = keys.iter().map(|key| (hash_key(key, &mut scratch), *key)).collect();
        let table = self.backend.value_mut(self.handle);
        table.prefetch(hashed.iter().map(|(hash, key)| (*hash, key))).expect("a read");
        for (hash, key) in &hashed {
            let count = table.entry(*hash, key).expect("a read");
            *count = Some(count.unwrap_or(0) + 1);
        }
    }

    fn end_epoch(&mut self) {
        self.epoch += 1;
        let id = CheckpointId(self.epoch);
        let tx = self.results.0.clone();
        self.store.begin_epoch(id, 1, Box::new(move |result| drop(result.map(|result| tx.send(result.epoch)))));
        let sealed = self.backend.seal(id);
        self.store.submit(id, sealed);
        while let Ok(epoch) = self.results.1.try_recv() {
            self.store.acknowledge(epoch);
        }
    }

    fn get(&mut self, key: u64) -> u64 {
        let hash = hash_key(&key, &mut Vec::new());
        self.backend.value_mut(self.handle).get(hash, &key).expect("a read").copied().unwrap_or(0)
    }

    fn describe(&self) -> String {
        let stats = self.store.stats();
        format!(
            "\"compact_mb\":{},\"past_mb\":{},\"write_mb\":{},\"clean_mb\":{},\"longest_pause_ms\":{},\"chain_files\":{}",
            stats.past_compaction_bytes >> 20,
            stats.past_bytes >> 20,
            stats.write_bytes >> 20,
            stats.clean_bytes >> 20,
            self.paused.as_millis(),
            stats.chain_files
        )
    }
}

fn main() {
    let (count, records) = (number("keys", 20_000_000), number("records", 40_000_000) as usize);
    let epoch = number("epoch", 2_000_000) as usize;
    let who = text("who").unwrap_or_else(|| "weir".into());
    let root = text("dir").map_or_else(std::env::temp_dir, Into::into);
    let dir = root.join(format!("weir-layout-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut counter: Box<dyn Counter> = match who.as_str() {
        "weir" => Box::new(Weir::open(&dir, tuning())),
        "bare" => Box::new(BareLoop::open(&dir.join("db"), &tuning(), (number("memory_mb", 64) << 17) as usize)),
        other => panic!("who={other}: weir or bare"),
    };
    let fill = Instant::now();
    let mut since_epoch = 0;
    let all: Vec<u64> = (0..count).collect();
    for batch in all.chunks(BATCH) {
        counter.add(batch);
        since_epoch += batch.len();
        if since_epoch >= epoch {
            counter.end_epoch();
            since_epoch = 0;
        }
    }
    drop(all);
    counter.end_epoch();
    eprintln!("filled in {:?}, {}", fill.elapsed(), counter.describe());
    let mut keys = Keys { state: 7, count };
    let (mut done, mut wall, mut busy) = (0, Duration::ZERO, Duration::ZERO);
    let mut halves = [(0usize, Duration::ZERO, Duration::ZERO); 2];
    let mut last = (Duration::ZERO, Duration::ZERO, 0);
    let mut expected = HashMap::new();
    while done < records {
        let batches: Vec<Vec<u64>> = (0..64).map(|_| keys.batch()).collect();
        batches.iter().flatten().filter(|key| **key < 2000).for_each(|key| *expected.entry(*key).or_insert(1) += 1);
        let (started, before) = (Instant::now(), cpu());
        let at = done;
        for batch in &batches {
            counter.add(batch);
            done += batch.len();
        }
        if done / epoch != at / epoch {
            counter.end_epoch();
        }
        wall += started.elapsed();
        busy += cpu() - before;
        let half = &mut halves[usize::from(done > records / 2)];
        *half = (half.0 + done - at, half.1 + started.elapsed(), half.2 + (cpu() - before));
        if done / epoch != at / epoch {
            let (count, wall_of, busy_of) = (done - last.2, wall - last.0, busy - last.1);
            last = (wall, busy, done);
            println!(
                "{{\"who\":\"{who}\",\"records\":{done},\"k_per_s\":{:.1},\"k_per_cpu_s\":{:.1},{}}}",
                count as f64 / wall_of.as_secs_f64() / 1e3,
                count as f64 / busy_of.as_secs_f64() / 1e3,
                counter.describe()
            );
        }
    }
    let (count, wall, busy) = halves[1];
    println!(
        "{{\"name\":\"keyed-count-large\",\"who\":\"{who}\",\"second_half_records\":{count},\"k_per_s\":{:.1},\"k_per_cpu_s\":{:.1},\"arguments\":\"{}\"}}",
        count as f64 / wall.as_secs_f64() / 1e3,
        count as f64 / busy.as_secs_f64() / 1e3,
        std::env::args().skip(1).collect::<Vec<_>>().join(" ")
    );
    for (key, count) in expected {
        assert_eq!(counter.get(key), count, "count of {key}");
    }
    drop(counter);
    let _ = std::fs::remove_dir_all(&dir);
}
