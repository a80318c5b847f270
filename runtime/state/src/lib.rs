//! Keyed state: dirty, sealed, clean and RocksDB; runs, bases, timers, memory.
