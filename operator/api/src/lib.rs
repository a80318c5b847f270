//! StreamJob types, defaults and validation. No client, no tokio, no I/O.
