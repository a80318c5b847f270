//! Who is who: names in certificates, and the authority that issues them.
//!
//! An identity is a DNS name in the certificate's SAN below a zone that nobody resolves. A job's pods share
//! `job-<uid>.weir.internal`, so that neither their IP addresses nor their pod names need to be in a certificate; callers
//! of the control API are `operator.weir.internal`. A leaf of a job may serve and call (workers will call each other),
//! that of the operator only call.

mod authority;
mod pem;

use std::path::Path;

pub use authority::{Authority, Issued, LEAF_VALIDITY, Validity};

use pem::Bundle;

/// The name of whoever may call a job's control API.
pub const OPERATOR_NAME: &str = "operator.weir.internal";
/// The zone of all identities.
const ZONE: &str = "weir.internal";
/// Characters of an owner in a name, at most: a DNS label has 63, of which `job-` takes four.
const MOST_UID: usize = 59;

/// Files of an identity in a directory, as in a Secret of type `kubernetes.io/tls`.
pub mod file {
    /// The certificate, with intermediate ones if there are any.
    pub const CERTIFICATE: &str = "tls.crt";
    /// Its private key.
    pub const KEY: &str = "tls.key";
    /// The authority's certificate.
    pub const AUTHORITY: &str = "ca.crt";
}

/// Why an identity cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file of it cannot be read.
    #[error("cannot read {file}")]
    Read {
        /// The file.
        file: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A text holds no such thing.
    #[error("{place} holds no {what}")]
    Missing {
        /// Where it was looked for.
        place: String,
        /// What was looked for.
        what: &'static str,
    },
    /// A text is damaged.
    #[error("{place} cannot be understood: {reason}")]
    Damaged {
        /// Where.
        place: String,
        /// Why not.
        reason: String,
    },
    /// Certificate, key and authority do not fit together.
    #[error("certificate, key and authority do not fit together")]
    Unusable(#[source] rustls::Error),
    /// An owner that makes no DNS label.
    #[error("found owner {0:?}; allowed: 1 to 59 lower-case letters, digits and '-', such as a uid")]
    Name(String),
    /// A certificate cannot be made.
    #[error("cannot issue a certificate")]
    Issue(#[source] rcgen::Error),
}

/// The name that a job's pods show. `uid` is the owner of the job's journal: a StreamJob's uid, or `local`.
///
/// # Errors
/// When that is no DNS label.
pub fn job_name(uid: &str) -> Result<String, IdentityError> {
    let is_allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if uid.is_empty() || uid.len() > MOST_UID || !uid.chars().all(is_allowed) || uid.ends_with('-') {
        return Err(IdentityError::Name(uid.to_owned()));
    }
    Ok(format!("job-{uid}.{ZONE}"))
}

/// What a job's process shows and trusts.
#[derive(Debug, Clone)]
pub struct ServerIdentity(pub(crate) Bundle);

/// What a caller shows and trusts.
#[derive(Debug, Clone)]
pub struct ClientIdentity(pub(crate) Bundle);

impl ServerIdentity {
    /// Reads `tls.crt`, `tls.key` and `ca.crt`.
    ///
    /// # Errors
    /// When one is missing or damaged.
    pub fn from_directory(directory: &Path) -> Result<Self, IdentityError> {
        Bundle::read(directory).map(Self)
    }

    /// The same from texts.
    ///
    /// # Errors
    /// When one is damaged.
    pub fn from_pem(certificate: &str, key: &str, authority: &str) -> Result<Self, IdentityError> {
        Bundle::parse("certificate", certificate, key, authority).map(Self)
    }
}

impl ClientIdentity {
    /// Reads `tls.crt`, `tls.key` and `ca.crt`.
    ///
    /// # Errors
    /// When one is missing or damaged.
    pub fn from_directory(directory: &Path) -> Result<Self, IdentityError> {
        Bundle::read(directory).map(Self)
    }

    /// The same from texts.
    ///
    /// # Errors
    /// When one is damaged.
    pub fn from_pem(certificate: &str, key: &str, authority: &str) -> Result<Self, IdentityError> {
        Bundle::parse("certificate", certificate, key, authority).map(Self)
    }
}
