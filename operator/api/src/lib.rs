//! The StreamJob resource: types, defaults, validation and reading. No client, no tokio, no I/O.
//!
//! One manifest serves the laptop and the cluster. `weir run job.yaml` reads it with [`yaml`], the Weir operator gets it
//! from the API server; both hand the [`StreamJob`] to [`resolve()`], which applies every default and refuses what cannot
//! run, in the same words. What comes out, a [`ResolvedJob`], is all a runtime process ever sees.
//!
//! ```
//! use weir_api::{Surface, yaml};
//!
//! let manifest = "
//! apiVersion: weir.dev/v1alpha1
//! kind: StreamJob
//! metadata: {name: hello}
//! spec: {job: nexmark-q0}
//! ";
//! let (_, job) = yaml::read("hello.yaml", manifest, Surface::CommandLine)?;
//! assert_eq!(job.checkpoint.interval.as_millis(), 10_000);
//! # Ok::<(), yaml::ManifestError>(())
//! ```

pub mod spec;
pub mod status;

pub mod duration;
pub mod form;
pub mod name;
pub mod quantity;
pub mod uri;

pub mod bounds;
pub mod defaults;
pub mod invalid;
pub mod path;
pub mod resolve;
pub mod resolved;
pub mod revision;

pub mod yaml;

pub mod crd;
pub mod reference;
mod schema;

pub use duration::Duration;
pub use invalid::Invalid;
pub use name::JobName;
pub use path::FieldPath;
pub use quantity::Quantity;
pub use resolve::{Surface, resolve};
pub use resolved::ResolvedJob;
pub use spec::{StreamJob, StreamJobSpec};
pub use status::StreamJobStatus;
pub use uri::StorageUri;
