//! The object store behind one trait: local directory, S3, memory with faults.
//!
//! Weir keeps everything that must survive in an object store: journal, manifests, runs. This crate is the only place that
//! knows what kind of store that is. [`ObjectStore`] says what a store must promise; [`open`] makes one from a URI, [`prefixed`]
//! narrows one to a folder, [`probe`] finds out whether a store keeps the one promise exactly-once stands on.
//!
//! **Contract.** No object name is ever written with two contents, so every write except [`ObjectStore::create`] may be repeated
//! blindly. An error says by type whether a retry can help and whether the write may have happened; nothing here ever turns an
//! unknown outcome into a failure or a success. Every call ends within a bound that [`StoreOptions`] names.

mod confirm;
#[cfg(feature = "testing")]
pub mod conformance;
mod error;
mod isolated;
mod key;
mod local;
mod memory;
mod open;
mod options;
mod prefixed;
mod probe;
mod random;
mod s3;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use confirm::{Confirmed, create_confirmed};
pub use error::{Effect, Operation, Retry, StoreError, StoreErrorKind};
pub use key::{MAX_KEY_BYTES, validate_key, validate_prefix};
pub use local::LocalStore;
pub use memory::{Fault, FaultRates, MemoryStore};
pub use open::{OpenError, open};
pub use options::{Credentials, Secret, StoreOptions};
pub use prefixed::prefixed;
pub use probe::{ProbeError, probe, remove_old_probes};
pub use store::{Created, Guard, Listed, ObjectStore, OpenUpload};
