//! The object store behind one trait: local directory, S3, memory with faults.
