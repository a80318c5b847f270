//! From a URI to a store.

use std::path::Path;
use std::sync::Arc;

use crate::isolated::Isolated;
use crate::key::validate_key;
use crate::local::LocalStore;
use crate::options::StoreOptions;
use crate::prefixed::prefixed;
use crate::s3::S3Store;
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
    let path = Path::new(if path == "/" { path } else { path.trim_end_matches('/') });
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
    let unusable = |what: String| OpenError::Options { uri: uri.to_owned(), what };
    let store = S3Store::connect(bucket, options).await.map_err(unusable)?;
    let store =
        Isolated::new(Arc::new(store)).map_err(|error| unusable(format!("no thread can be started: {error}")))?;
    Ok(prefixed(Arc::new(store), prefix))
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
    Err(format!(
        "{bucket:?} cannot be a bucket's name: 3 to 63 of a-z, 0-9, \"-\" and \".\", beginning and ending with a letter or digit"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(uri: &str, options: &StoreOptions) -> String {
        open(uri, options).await.map(|store| store.describe()).unwrap_err().to_string()
    }

    #[tokio::test]
    async fn uris_that_name_no_store_are_refused_with_the_form_they_should_have() {
        let options = StoreOptions { endpoint: Some("http://127.0.0.1:1".to_owned()), ..StoreOptions::default() };
        for (uri, says) in [
            ("", "is neither file:///path nor s3://bucket/prefix"),
            ("/tmp/x", "is neither file:///path nor s3://bucket/prefix"),
            ("gs://bucket", "is neither file:///path nor s3://bucket/prefix"),
            ("file://tmp/x", "names no absolute path: write file:///path"),
            ("file:///dev/null", "/dev/null is not a directory"),
            ("s3://", "cannot be a bucket's name"),
            ("s3://Bucket/x", "cannot be a bucket's name"),
            ("s3://bucket/a/../b", "would leave the store"),
            ("s3://bucket//a", "empty part"),
        ] {
            let message = refusal(uri, &options).await;
            assert!(message.contains(says), "{uri}: {message}");
        }
    }

    #[tokio::test]
    async fn an_unusable_endpoint_is_refused_before_any_request() {
        let options = StoreOptions { endpoint: Some("minio:9000".to_owned()), ..StoreOptions::default() };
        assert_eq!(
            refusal("s3://bucket/jobs", &options).await,
            "storage s3://bucket/jobs: endpoint \"minio:9000\" is not a URL: write http://host:port or https://host"
        );
    }

    #[tokio::test]
    async fn a_store_describes_itself_by_its_uri() {
        let options = StoreOptions { endpoint: Some("http://127.0.0.1:1".to_owned()), ..StoreOptions::default() };
        for (uri, description) in [
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/a/b/", "s3://bucket/a/b"),
            ("file:///nowhere/x/", "file:///nowhere/x"),
        ] {
            assert_eq!(open(uri, &options).await.unwrap().describe(), description);
        }
    }
}
