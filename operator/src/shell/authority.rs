//! The authority, and the certificates it issues.

use std::sync::Arc;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, PostParams};
use kube::core::ObjectMeta;
use parking_lot::Mutex;
use weir_control::{Authority, ClientIdentity, IdentityError};

use super::apply::{ApplyError, create};
use crate::build::build_secret;
use crate::names::{Job, MANAGED_BY, MANAGER};
use crate::permissions::AUTHORITY;

/// The most serials tried for one certificate.
const MOST_TRIES: u64 = 50;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The authority's Secret cannot be read or created.
    #[error("cannot have Secret {AUTHORITY}")]
    Secret(#[source] kube::Error),
    /// The authority's Secret holds no authority.
    #[error("Secret {AUTHORITY} holds no {0}")]
    Missing(&'static str),
    /// A certificate cannot be made or read.
    #[error("cannot issue a certificate")]
    Identity(#[source] IdentityError),
    /// The job's Secret cannot be created.
    #[error("cannot keep a certificate")]
    Keep(#[source] ApplyError),
    /// Every serial is taken.
    #[error("no serial is free for the certificate of {0}")]
    Serials(String),
}

/// Issues certificates to jobs, and one to this process.
pub struct Issuer {
    authority: Arc<Authority>,
    own: Mutex<(SystemTime, ClientIdentity)>,
}

impl Issuer {
    /// Reads the authority from its Secret, or makes the first one. Of several processes that try, one wins.
    ///
    /// # Errors
    /// When there is none to be had.
    pub async fn open(client: &Client, namespace: &str) -> Result<Self, IssuerError> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let found = match api.get_opt(AUTHORITY).await.map_err(IssuerError::Secret)? {
            Some(found) => found,
            None => {
                let fresh = Authority::new(SystemTime::now()).map_err(IssuerError::Identity)?;
                match api.create(&PostParams::default(), &secret(&fresh)).await {
                    Ok(created) => created,
                    Err(kube::Error::Api(status)) if status.is_already_exists() => {
                        api.get(AUTHORITY).await.map_err(IssuerError::Secret)?
                    }
                    Err(source) => return Err(IssuerError::Secret(source)),
                }
            }
        };
        let text = |key: &'static str| {
            let bytes = found.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.clone());
            bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(IssuerError::Missing(key))
        };
        let authority = Authority::from_pem(&text("tls.crt")?, &text("tls.key")?).map_err(IssuerError::Identity)?;
        let own = own(&authority)?;
        Ok(Issuer { authority: Arc::new(authority), own: Mutex::new(own) })
    }

    /// What this process shows to coordinators. Renewed when half of its time is over.
    ///
    /// # Errors
    /// When it cannot be renewed.
    pub fn identity(&self) -> Result<ClientIdentity, IssuerError> {
        let mut held = self.own.lock();
        if held.0.elapsed().unwrap_or_default() > weir_control::identity::LEAF_VALIDITY / 2 {
            *held = own(&self.authority)?;
        }
        Ok(held.1.clone())
    }

    /// Issues a certificate to a job and keeps it in a Secret: with `serial`, or the next one that is free.
    ///
    /// # Errors
    /// When it cannot be issued or kept.
    pub async fn issue(&self, client: &Client, job: &Job, serial: u64) -> Result<u64, IssuerError> {
        let api: Api<Secret> = Api::namespaced(client.clone(), &job.namespace);
        for serial in serial..serial + MOST_TRIES {
            let leaf = self.authority.issue_job(&job.uid, serial, SystemTime::now()).map_err(IssuerError::Identity)?;
            let secret = build_secret(job, serial, &leaf.certificate, &leaf.key, &leaf.authority);
            if create(&api, &secret).await.map_err(IssuerError::Keep)?.is_some() {
                return Ok(serial);
            }
        }
        Err(IssuerError::Serials(job.name.clone()))
    }
}

fn own(authority: &Authority) -> Result<(SystemTime, ClientIdentity), IssuerError> {
    let now = SystemTime::now();
    let leaf = authority.issue_operator(1, now).map_err(IssuerError::Identity)?;
    let identity = ClientIdentity::from_pem(&leaf.certificate, &leaf.key, &leaf.authority);
    Ok((now, identity.map_err(IssuerError::Identity)?))
}

fn secret(authority: &Authority) -> Secret {
    let data = [("tls.crt", authority.certificate().to_owned()), ("tls.key", authority.key())];
    Secret {
        metadata: ObjectMeta {
            name: Some(AUTHORITY.to_owned()),
            labels: Some([(MANAGED_BY.to_owned(), MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        immutable: Some(true),
        string_data: Some(data.into_iter().map(|(key, text)| (key.to_owned(), text)).collect()),
        ..Secret::default()
    }
}
