//! From a URI to a store.

use std::path::Path;
use std::sync::Arc;

use crate::key::validate_key;
use crate::local::LocalStore;
use crate::options::StoreOptions;
use crate::prefixed::prefixed;
use crate::store::ObjectStore;

/// Why a URI opened no store. Nothing has been asked of the store yet; [`probe`](crate::probe) does that.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URI's scheme is none of Weir's.
    #[error("storage uri {uri:?} is neither file:///path nor s3://bucket/prefix")]
    Scheme {
        /// The URI as given.
        uri: String,
    },
    /// The path of a `file:` URI is not absolute.
    #[error("storage uri {uri:?} names no absolute path: write file:///path")]
    RelativePath {
        /// The URI as given.
        uri: String,
    },
    /// The path exists and is no directory.
    #[error("storage uri {uri:?}: {path} is not a directory")]
    NotADirectory {
        /// The URI as given.
        uri: String,
        /// The path.
        path: String,
    },
    /// The bucket's name or the prefix cannot be one.
    #[error("storage uri {uri:?}: {what}")]
    Invalid {
        /// The URI as given.
        uri: String,
        /// What is wrong.
        what: String,
    },
    /// The options do not fit together or name something unusable.
    #[error("storage {uri}: {what}")]
    Options {
        /// The URI as given.
        uri: String,
        /// What is wrong.
        what: String,
    },
}

/// Opens the store a URI names: `file:///absolute/path` or `s3://bucket/prefix`. Touches neither disk nor network beyond what the
/// credentials' chain needs; a directory is made by the first write.
pub async fn open(uri: &str, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, OpenError> {
    if let Some(path) = uri.strip_prefix("file://") {
        return open_directory(uri, path, options);
    }
    if let Some(rest) = uri.strip_prefix("s3://") {
        return open_bucket(uri, rest, options).await;
    }
    Err(OpenError::Scheme { uri: uri.to_owned() })
}

fn open_directory(uri: &str, path: &str, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err(OpenError::RelativePath { uri: uri.to_owned() });
    }
    if path.exists() && !path.is_dir() {
        return Err(OpenError::NotADirectory { uri: uri.to_owned(), path: path.display().to_string() });
    }
    Ok(Arc::new(LocalStore::new(path, options.clone())))
}

async fn open_bucket(uri: &str, rest: &str, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, OpenError> {
    let invalid = |what: String| OpenError::Invalid { uri: uri.to_owned(), what };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    validate_bucket(bucket).map_err(invalid)?;
    let prefix = prefix.trim_end_matches('/');
    if !prefix.is_empty() {
        validate_key(prefix).map_err(invalid)?;
    }
    let _ = (prefixed, options);
    Err(invalid("no s3 yet".to_owned()))
}

/// Amazon's rules for bucket names, as far as they protect from typing errors.
fn validate_bucket(bucket: &str) -> Result<(), String> {
    let fits = (3..=63).contains(&bucket.len())
        && bucket.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && bucket.starts_with(|c: char| c.is_ascii_alphanumeric())
        && bucket.ends_with(|c: char| c.is_ascii_alphanumeric());
    if fits {
        return Ok(());
    }
    Err(format!("{bucket:?} cannot be a bucket's name: 3 to 63 of a-z, 0-9, \"-\" and \".\", beginning and ending with a letter or digit"))
}
