//! The job of `bench/job` with so much state: filled once, then stopped and started again for every phase of a benchmark.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;
use weir_storage::StoreOptions;

use crate::bucket::{Bucket, Collected, LOOK};
use crate::probe::{Probe, now};
use crate::process::{Binary, Ended, Job, Running, quantity};

/// How long a fill may take.
const FILL: Duration = Duration::from_secs(3600);
/// Time between the start of a phase and its measurement.
const SETTLE: Duration = Duration::from_secs(2);

/// How much state.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Number of keys.
    pub keys: u64,
    /// Bytes of a value.
    pub value: u64,
}

impl Size {
    /// So many gigabytes (10⁹) of keys and values.
    pub fn gigabytes(gigabytes: f64, value: u64) -> Self {
        Self { keys: ((gigabytes * 1e9) as u64 / (value + 8)).max(1000), value }
    }

    /// Bytes of `keys` keys and their values.
    pub fn bytes_of(self, keys: u64) -> u64 {
        keys * (self.value + 8)
    }
}

/// What one phase showed.
pub struct Phase {
    /// The output.
    pub probe: Probe,
    /// From when to when it was measured, in microseconds since the Unix epoch.
    pub window: (u64, u64),
    /// Its checkpoints.
    pub checkpoints: Collected,
}

impl Phase {
    /// Records per second.
    pub fn rate(&self) -> f64 {
        let (from, to) = self.window;
        self.probe.count_between(from, to) as f64 * 1e6 / (to - from) as f64
    }

    /// The longest time without output, in milliseconds.
    pub fn longest_gap_ms(&self) -> f64 {
        self.probe.gaps(self.window.0, self.window.1).into_iter().max().unwrap_or(0) as f64 / 1e3
    }
}

/// A job and where its checkpoints are.
pub struct StateJob {
    /// The job.
    pub job: Job,
    /// Its storage.
    pub bucket: Bucket,
    /// Its state.
    pub size: Size,
    written: u64,
}

impl StateJob {
    /// In a directory.
    ///
    /// # Errors
    /// When there is no room.
    pub fn in_directory(size: Size, slots: u32, memory: u64) -> Result<Self> {
        // Every split has as many.
        let size = Size { keys: size.keys.next_multiple_of(u64::from(slots)), ..size };
        let job = job(size, slots, memory)?;
        let uri = job.spec["storage"]["uri"].as_str().unwrap_or_default().to_owned();
        let bucket = Bucket::open(&uri, &StoreOptions::default())?;
        Ok(Self { job, bucket, size, written: 0 })
    }

    /// Behind this S3 endpoint, in a folder of its own; the bucket is read through `options`.
    ///
    /// # Errors
    /// When there is no room.
    pub fn in_bucket(size: Size, memory: u64, uri: &str, endpoint: &str, options: &StoreOptions) -> Result<Self> {
        let mut job = job(size, 1, memory)?;
        job.spec["storage"] = json!({"uri": uri, "endpoint": endpoint});
        let credentials = options.credentials.as_ref().context("a server has credentials")?;
        job.environment = vec![
            ("AWS_ACCESS_KEY_ID", credentials.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", credentials.secret_key.expose().to_owned()),
        ];
        Ok(Self { job, bucket: Bucket::open(uri, options)?, size, written: 0 })
    }

    /// Writes every key once.
    ///
    /// # Errors
    /// When the job fails.
    pub fn fill(&mut self) -> Result<Ended> {
        self.job.set("args", "hold", true);
        let mut running = self.job.start()?;
        let (output, keys) = (self.job.path("out"), self.size.keys);
        running.until("filled", FILL, || Ok((Probe::newest(&output)?.count() >= keys).then_some(())))?;
        let ended = running.stop()?;
        self.job.set("args", "hold", false);
        self.note_output()?;
        Ok(ended)
    }

    /// Runs for so long after it has settled, and stops.
    ///
    /// # Errors
    /// When the job fails.
    pub fn phase(&mut self, rate: Option<u64>, interval: &str, time: Duration) -> Result<Phase> {
        match (rate, self.job.spec["args"].as_object_mut()) {
            (None, Some(args)) => _ = args.remove("rate"),
            (rate, _) => self.job.set("args", "rate", rate),
        }
        self.job.set("checkpoint", "interval", interval);
        let mut running = self.job.start()?;
        let output = self.job.path("out");
        let before = now();
        running.until("output", FILL, || Ok(Probe::newest(&output)?.first().filter(|first| *first > before)))?;
        std::thread::sleep(SETTLE);
        let mut checkpoints = Collected::default();
        let (from, began) = (now(), Instant::now());
        while began.elapsed() < time {
            checkpoints.look(&self.bucket)?;
            running.check_alive()?;
            std::thread::sleep(LOOK);
        }
        let window = (from, now());
        checkpoints.0.retain(|_, manifest| manifest.triggered_at.0 as u64 * 1000 >= from);
        running.stop()?;
        let probe = Probe::newest(&output)?;
        self.note_output()?;
        Ok(Phase { probe, window, checkpoints })
    }

    /// Counts the output of a process that was stopped.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn note_output(&mut self) -> Result<()> {
        self.written += Probe::newest(&self.job.path("out"))?.count();
        Ok(())
    }

    /// True if every record that was read went through the state once: the job itself has compared every value that it
    /// replaced; this compares how many there were. Only for jobs that were always stopped, never killed.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub fn is_exact(&self) -> Result<bool> {
        let manifests = self.bucket.manifests()?;
        let newest = manifests.last().context("there is no checkpoint")?;
        Ok(position(newest) == self.written)
    }

    /// Starts it as it is.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn start(&self) -> Result<Running> {
        self.job.start()
    }
}

/// Records that the sources had delivered.
pub fn position(manifest: &weir_protocol::Manifest) -> u64 {
    let next = |split: &weir_protocol::SplitPosition| split.position.as_ref()?["next"].as_u64();
    manifest.splits.iter().filter_map(next).sum()
}

fn job(size: Size, slots: u32, memory: u64) -> Result<Job> {
    let slots = u64::from(slots);
    let args = json!({"keys": size.keys, "splits": slots, "valueBytes": size.value});
    let mut job = Job::new(Binary::BenchJob, "update", args)?;
    job.set("args", "output", job.path("out").to_string_lossy().into_owned());
    job.set("worker", "slots", slots);
    job.set("worker", "memory", quantity(memory));
    Ok(job)
}
