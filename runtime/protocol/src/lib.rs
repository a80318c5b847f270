//! Sans-IO protocol: ids, key groups, alignment, coordinator, journal and manifest.

pub mod ids;

pub use ids::CheckpointId;
