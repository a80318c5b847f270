//! Which keys a store takes. The rules are the same for all stores, so that a job that runs in a directory runs in a bucket.

use std::sync::Arc;

use crate::error::{Operation, StoreError, StoreErrorKind};

/// Longest key in bytes, the prefix of a [`prefixed`](crate::prefixed) view included: S3's limit.
pub const MAX_KEY_BYTES: usize = 1024;

/// Longest part of a key between slashes, in bytes: what common file systems take.
const MAX_COMPONENT_BYTES: usize = 255;

/// The folder in which a local store keeps files that are not objects yet.
pub(crate) const SCRATCH: &str = ".weir-scratch";

/// Checks a key: 1 to [`MAX_KEY_BYTES`] bytes, no control characters or backslashes, parts between slashes not empty, not `.`,
/// not `..`, at most 255 bytes, and not the scratch folder's name. The error says what is wrong.
pub fn validate_key(key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("the key is empty".to_owned());
    }
    validate_characters(key)?;
    key.split('/').try_for_each(validate_component)
}

/// Checks the prefix of a listing: empty, or the beginning of a valid key.
pub fn validate_prefix(prefix: &str) -> Result<(), String> {
    validate_characters(prefix)?;
    let (folders, _) = prefix.rsplit_once('/').unwrap_or(("", ""));
    if prefix.is_empty() || !prefix.contains('/') {
        return if prefix == ".." { Err("\"..\" begins no key".to_owned()) } else { Ok(()) };
    }
    folders.split('/').try_for_each(validate_component)
}

fn validate_characters(key: &str) -> Result<(), String> {
    if key.len() > MAX_KEY_BYTES {
        return Err(format!("the key has {} bytes, at most {MAX_KEY_BYTES} are allowed", key.len()));
    }
    match key.chars().find(|c| c.is_control() || *c == '\\') {
        Some(c) => Err(format!("the key contains {c:?}, control characters and backslashes are not allowed")),
        None => Ok(()),
    }
}

fn validate_component(component: &str) -> Result<(), String> {
    match component {
        "" => Err("the key has an empty part: it may not begin or end with \"/\" or contain \"//\"".to_owned()),
        "." | ".." => Err(format!("the key has the part {component:?}, which would leave the store")),
        SCRATCH => Err(format!("the key has the part {component:?}, which is the store's own")),
        _ if component.len() > MAX_COMPONENT_BYTES => {
            Err(format!("the key has a part of {} bytes, at most {MAX_COMPONENT_BYTES} are allowed", component.len()))
        }
        _ => Ok(()),
    }
}

/// [`validate_key`] as a [`StoreError`].
pub(crate) fn check_key(operation: Operation, key: &str, store: &Arc<str>) -> Result<(), StoreError> {
    validate_key(key).map_err(|what| StoreError::new(operation, key, store.clone(), StoreErrorKind::Invalid, what))
}

/// [`validate_prefix`] as a [`StoreError`].
pub(crate) fn check_prefix(operation: Operation, prefix: &str, store: &Arc<str>) -> Result<(), StoreError> {
    validate_prefix(prefix)
        .map_err(|what| StoreError::new(operation, prefix, store.clone(), StoreErrorKind::Invalid, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_keys_are_taken() {
        for key in [
            "a",
            "journal/18446744073709551615.json",
            "runs/g3/0/x.sst",
            ".probe/x",
            "ä/ö",
            "a..b/...",
            "k/".repeat(511).trim_end_matches('/'),
        ] {
            assert_eq!(validate_key(key), Ok(()), "{key}");
        }
    }

    #[test]
    fn keys_that_leave_the_store_or_cannot_be_stored_are_refused() {
        let long = "a".repeat(256);
        let longer = "a/".repeat(512) + "a";
        for key in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "../a",
            "a/..",
            "a/./b",
            "a\\b",
            "a\0b",
            "a\nb",
            ".weir-scratch/x",
            &long,
            &longer,
        ] {
            assert!(validate_key(key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn prefixes_are_beginnings_of_keys() {
        for prefix in ["", "a", "a/", "a/b", "journal/0", ".", "a/."] {
            assert_eq!(validate_prefix(prefix), Ok(()), "{prefix}");
        }
        for prefix in ["/", "/a", "../", "a/../", "a//", "..", "a\0"] {
            assert!(validate_prefix(prefix).is_err(), "{prefix:?}");
        }
    }
}
