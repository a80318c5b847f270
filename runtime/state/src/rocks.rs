//! RocksDB: options, and its use as the past.
//!
//! It is only ever written by ingesting sorted files. Reads go through the page cache (`mmap`), uncompressed, without a block cache:
//! what the operating system caches it can also give back, and a point read decodes nothing. See `docs/adr/0001-state-layout.md`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, CompactionDecision, DB, DBCompactionStyle, DBCompressionType,
    DEFAULT_COLUMN_FAMILY_NAME, DataBlockIndexType, IngestExternalFileOptions, LogLevel, Options, ReadOptions,
};

use crate::config::RocksTuning;
use crate::error::StateError;
use crate::past::{Direction, Found, Past, Visit};
use crate::value::split_expiry;

/// Options of the files that runs are written to.
pub(crate) fn file_options(tuning: &RocksTuning) -> Options {
    let mut options = Options::default();
    options.set_compression_type(if tuning.compress { DBCompressionType::Lz4 } else { DBCompressionType::None });
    options.set_block_based_table_factory(&table_options(tuning));
    options
}

fn table_options(tuning: &RocksTuning) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    match tuning.block_cache {
        0 => table.disable_cache(),
        bytes => table.set_block_cache(&Cache::new_hyper_clock_cache(bytes, 0)),
    }
    table.set_block_size(tuning.block_bytes);
    if tuning.ribbon {
        table.set_ribbon_filter(tuning.filter_bits);
    } else {
        table.set_bloom_filter(tuning.filter_bits, false);
    }
    if tuning.hash_index {
        table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        table.set_data_block_hash_ratio(0.75);
    }
    table.set_format_version(6);
    table
}

/// Options of a database that only takes in files; with a clock, compaction drops what has expired by it.
pub(crate) fn database_options(tuning: &RocksTuning, clock: Option<Arc<AtomicI64>>) -> Options {
    let mut options = file_options(tuning);
    options.create_if_missing(true);
    options.set_allow_mmap_reads(tuning.mmap);
    options.set_max_open_files(-1);
    // Nothing is ever put; the memtable stays empty.
    options.set_write_buffer_size(64 << 10);
    options.set_max_background_jobs(tuning.threads);
    options.set_level_zero_file_num_compaction_trigger(tuning.level0_files);
    options.set_max_bytes_for_level_base(tuning.level_base);
    options.set_target_file_size_base(tuning.file_bytes);
    if tuning.universal {
        options.set_compaction_style(DBCompactionStyle::Universal);
    }
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Error);
    options.set_keep_log_file_num(1);
    options.set_skip_stats_update_on_db_open(true);
    options.set_level_compaction_dynamic_level_bytes(true);
    if let Some(clock) = clock {
        options.set_compaction_filter("weir-expiry", move |_level: u32, _key: &[u8], value: &[u8]| match split_expiry(
            value,
        ) {
            Ok((expiry, _)) if expiry.is_over(clock.load(Ordering::Relaxed)) => CompactionDecision::Remove,
            _ => CompactionDecision::Keep,
        });
    }
    options
}

/// What a database is opened for.
#[derive(Debug, Clone)]
pub(crate) enum Purpose {
    /// Serves reads; compacts, and drops what has expired by this clock.
    Serve(Arc<AtomicI64>),
    /// Is read through once, as it was ingested.
    Merge,
}

/// An ordered store of everything that was ingested.
pub(crate) struct Rocks {
    db: DB,
    path: PathBuf,
    /// Where it is noted that something is damaged.
    suspicion: PathBuf,
    read: ReadOptions,
}

impl std::fmt::Debug for Rocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rocks({})", self.path.display())
    }
}

impl Rocks {
    /// Opens an empty database in `path`, which must not exist. Damage that is found is noted by creating the file `suspicion`.
    pub(crate) fn create(
        path: PathBuf,
        suspicion: PathBuf,
        tuning: &RocksTuning,
        purpose: Purpose,
    ) -> Result<Self, StateError> {
        let options = match purpose {
            Purpose::Serve(clock) => database_options(tuning, Some(clock)),
            Purpose::Merge => {
                let mut options = database_options(tuning, None);
                options.set_disable_auto_compactions(true);
                options
            }
        };
        // Named, because only a named family has the handle that multi-get asks for.
        let family = ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, options.clone());
        let db = DB::open_cf_descriptors(&options, &path, [family])
            .map_err(|source| StateError::rocks("create database", &path, source))?;
        Ok(Self { db, path, suspicion, read: ReadOptions::default() })
    }

    /// Takes the files in, in this order: where they overlap, the later one hides the earlier. The files stay where they are
    /// and share their bytes with the database.
    pub(crate) fn ingest(&self, files: &[PathBuf], links: &Path) -> Result<(), StateError> {
        if files.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(links).map_err(|source| StateError::local("create directory", links, source))?;
        let mut linked = Vec::with_capacity(files.len());
        for (at, file) in files.iter().enumerate() {
            // Ingestion by moving unlinks its source, so it gets a link of its own.
            let link = links.join(format!("{at:06}.sst"));
            match std::fs::remove_file(&link) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StateError::local("remove link", link, source));
                }
                _ => {}
            }
            std::fs::hard_link(file, &link).map_err(|source| StateError::local("link run", file, source))?;
            linked.push(link);
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        options.set_snapshot_consistency(true);
        self.db.ingest_external_file_opts(&options, linked).map_err(self.error("ingest into"))
    }

    /// The value of one of RocksDB's integer properties.
    pub(crate) fn property(&self, name: &str) -> u64 {
        self.db.property_int_value(name).ok().flatten().unwrap_or(0)
    }

    /// Stops background work; the database is dropped afterwards.
    pub(crate) fn cancel(&self) {
        self.db.cancel_all_background_work(true);
    }

    /// Names an error of an operation. What it hit may be a file that the next deployment would use again.
    fn error(&self, operation: &'static str) -> impl FnOnce(rocksdb::Error) -> StateError {
        move |source| {
            if let Err(error) = std::fs::write(&self.suspicion, source.to_string()) {
                let file = self.suspicion.display();
                tracing::warn!(%file, error = &error as &dyn std::error::Error, "suspected damage not noted");
            }
            StateError::rocks(operation, &self.path, source)
        }
    }
}

impl Past for Rocks {
    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8]) -> Result<(), StateError>) -> Result<(), StateError> {
        match self.db.get_pinned_opt(key, &self.read).map_err(self.error("read from"))? {
            Some(value) => found(&value),
            None => Ok(()),
        }
    }

    fn multi_get(&self, keys: &[&[u8]], found: &mut Found<'_>) -> Result<(), StateError> {
        let family = self.db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME).expect("every database has it");
        let values = self.db.batched_multi_get_cf_opt(&family, keys, true, &self.read);
        for (index, value) in values.into_iter().enumerate() {
            if let Some(value) = value.map_err(self.error("read from"))? {
                found(index, &value)?;
            }
        }
        Ok(())
    }

    fn scan(&self, lower: &[u8], upper: &[u8], direction: Direction, visit: &mut Visit<'_>) -> Result<(), StateError> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(lower);
        options.set_iterate_upper_bound(upper);
        let mut entries = self.db.raw_iterator_opt(options);
        match direction {
            Direction::Ascending => entries.seek_to_first(),
            Direction::Descending => entries.seek_to_last(),
        }
        while let Some((key, value)) = entries.item() {
            if visit(key, value)? == ControlFlow::Break(()) {
                return Ok(());
            }
            match direction {
                Direction::Ascending => entries.next(),
                Direction::Descending => entries.prev(),
            }
        }
        entries.status().map_err(self.error("scan"))
    }
}
