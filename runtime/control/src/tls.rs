//! TLS 1.3 on both sides, with the names that each side demands of the other.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme, version::TLS13,
};

use crate::identity::{ClientIdentity, IdentityError, OPERATOR_NAME, ServerIdentity};

/// What both sides speak inside.
const PROTOCOL: &[u8] = b"h2";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// How a job's process receives callers.
pub(crate) fn server_config(identity: &ServerIdentity) -> Result<Arc<ServerConfig>, IdentityError> {
    let bundle = identity.0.clone();
    let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(bundle.roots), provider())
        .build()
        .map_err(|error| IdentityError::Unusable(Error::General(error.to_string())))?;
    let name = ServerName::try_from(OPERATOR_NAME).expect("the operator's name is a DNS name");
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(IdentityError::Unusable)?
        .with_client_cert_verifier(Arc::new(NamedCaller { chains, name }))
        .with_single_cert(bundle.chain, bundle.key)
        .map_err(IdentityError::Unusable)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    // Every connection proves itself; none is resumed.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// How a caller reaches a job's process. The name that it demands is given with each connection.
pub(crate) fn client_config(identity: &ClientIdentity) -> Result<Arc<ClientConfig>, IdentityError> {
    let bundle = identity.0.clone();
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(IdentityError::Unusable)?
        .with_root_certificates(bundle.roots)
        .with_client_auth_cert(bundle.chain, bundle.key)
        .map_err(IdentityError::Unusable)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// A certificate of the authority is not enough: it must also carry the caller's name.
#[derive(Debug)]
struct NamedCaller {
    chains: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl ClientCertVerifier for NamedCaller {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chains.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chains.verify_client_cert(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
