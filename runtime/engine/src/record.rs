//! What may travel through a stream: the bounds on record types, and an estimate of a record's bytes.

use serde::{Serialize, de::DeserializeOwned};

/// A value that streams can carry: cheap to move, cloneable for broadcast and side outputs, and encodable for exchange
/// between workers. Implemented for every type that qualifies; derive `Clone`, `Serialize` and `Deserialize`.
pub trait Record: Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}

impl<T: Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Record for T {}

/// Estimated bytes of one record in memory: its inline size plus its encoded size where that is larger (heap data).
/// Called on samples, not on every record.
pub fn estimate_bytes<T: Serialize>(record: &T) -> usize {
    let inline = std::mem::size_of::<T>();
    let encoded = postcard::serialize_with_flavor(record, postcard::ser_flavors::Size::default()).unwrap_or(inline);
    inline.max(encoded)
}
