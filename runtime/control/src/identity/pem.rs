//! Certificates and keys as they are stored: PEM, in files or texts.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{IdentityError, file};

/// A certificate with its key, and the authority that is trusted.
pub(crate) struct Bundle {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
    pub roots: RootCertStore,
}

impl Clone for Bundle {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key(), roots: self.roots.clone() }
    }
}

/// Never shows the key.
impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bundle").field("chain", &self.chain.len()).field("roots", &self.roots.len()).finish()
    }
}

impl Bundle {
    pub fn read(directory: &Path) -> Result<Self, IdentityError> {
        let text = |name: &str| {
            let path = directory.join(name);
            std::fs::read_to_string(&path)
                .map_err(|source| IdentityError::Read { file: path.display().to_string(), source })
        };
        let (certificate, key, authority) = (text(file::CERTIFICATE)?, text(file::KEY)?, text(file::AUTHORITY)?);
        Self::parse(&directory.display().to_string(), &certificate, &key, &authority)
    }

    pub fn parse(place: &str, certificate: &str, key: &str, authority: &str) -> Result<Self, IdentityError> {
        let chain = certificates(&format!("{place}: {}", file::CERTIFICATE), certificate)?;
        let key_place = format!("{place}: {}", file::KEY);
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => {
                IdentityError::Missing { place: key_place, what: "private key" }
            }
            error => IdentityError::Damaged { place: key_place, reason: error.to_string() },
        })?;
        let mut roots = RootCertStore::empty();
        let authority_place = format!("{place}: {}", file::AUTHORITY);
        for root in certificates(&authority_place, authority)? {
            roots.add(root).map_err(|error| IdentityError::Damaged {
                place: authority_place.clone(),
                reason: error.to_string(),
            })?;
        }
        Ok(Self { chain, key, roots })
    }
}

fn certificates(place: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| IdentityError::Damaged { place: place.to_owned(), reason: error.to_string() })?;
    if found.is_empty() {
        return Err(IdentityError::Missing { place: place.to_owned(), what: "certificate" });
    }
    Ok(found)
}
