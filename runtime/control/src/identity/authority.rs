//! The authority: one certificate that issues those of jobs and callers. Time is an argument.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use time::OffsetDateTime;
use x509_parser::pem::parse_x509_pem;

use super::{IdentityError, OPERATOR_NAME, job_name};

/// How long a leaf is valid.
pub const LEAF_VALIDITY: Duration = Duration::from_secs(365 * DAY);
/// How long an authority is valid.
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(20 * 365 * DAY);
/// Clocks of other machines may be behind by so much.
const SKEW: Duration = Duration::from_secs(3600);
const DAY: u64 = 86_400;
/// What the authority calls itself.
const AUTHORITY_SUBJECT: &str = "weir authority";

/// Issues certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// Never shows the key.
impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A certificate that was issued, with its key and the authority's certificate: the three files of an identity.
#[derive(Clone)]
pub struct Issued {
    /// `tls.crt`.
    pub certificate: String,
    /// `tls.key`.
    pub key: String,
    /// `ca.crt`.
    pub authority: String,
}

/// Never shows the key.
impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From this moment.
    pub from: SystemTime,
    /// To this one.
    pub to: SystemTime,
}

impl Validity {
    /// Reads the validity of the first certificate in a text.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn of_pem(certificate: &str) -> Result<Self, IdentityError> {
        let damaged = |reason: String| IdentityError::Damaged { place: "certificate".to_owned(), reason };
        let (_, pem) = parse_x509_pem(certificate.as_bytes()).map_err(|error| damaged(error.to_string()))?;
        let parsed = pem.parse_x509().map_err(|error| damaged(error.to_string()))?;
        let at = |time: x509_parser::time::ASN1Time| -> SystemTime { time.to_datetime().into() };
        Ok(Self { from: at(parsed.validity().not_before), to: at(parsed.validity().not_after) })
    }

    /// The share of the validity that is left at `now`, from 1 to 0.
    pub fn left(&self, now: SystemTime) -> f64 {
        let whole = self.to.duration_since(self.from).unwrap_or_default().as_secs_f64();
        let left = self.to.duration_since(now).unwrap_or_default().as_secs_f64();
        if whole > 0.0 { (left / whole).clamp(0.0, 1.0) } else { 0.0 }
    }
}

impl Authority {
    /// A new authority with a key of its own, valid from `now`.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(now: SystemTime) -> Result<Self, IdentityError> {
        let mut params = params(AUTHORITY_SUBJECT, now, AUTHORITY_VALIDITY);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(IdentityError::Issue)?;
        let certificate = params.self_signed(&key).map_err(IdentityError::Issue)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate })
    }

    /// An authority that was stored: its certificate and its key.
    ///
    /// # Errors
    /// When one of them is damaged.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pem(key).map_err(IdentityError::Issue)?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key).map_err(IdentityError::Issue)?;
        Ok(Self { issuer, certificate: certificate.to_owned() })
    }

    /// The authority's certificate: `ca.crt` of whoever trusts it.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The authority's key, to be stored where nobody else reads it.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A leaf for the pods of the job that `uid` owns. `serial` orders a job's leaves.
    ///
    /// # Errors
    /// When the uid makes no name.
    pub fn issue_job(&self, uid: &str, serial: u64, now: SystemTime) -> Result<Issued, IdentityError> {
        let purposes = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&job_name(uid)?, serial, purposes, now)
    }

    /// A leaf for whoever may call jobs' control APIs.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn issue_operator(&self, serial: u64, now: SystemTime) -> Result<Issued, IdentityError> {
        self.issue(OPERATOR_NAME, serial, vec![ExtendedKeyUsagePurpose::ClientAuth], now)
    }

    fn issue(
        &self,
        name: &str,
        serial: u64,
        purposes: Vec<ExtendedKeyUsagePurpose>,
        now: SystemTime,
    ) -> Result<Issued, IdentityError> {
        let mut params = params(name, now, LEAF_VALIDITY);
        let name = name.try_into().map_err(IdentityError::Issue)?;
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
        params.serial_number = Some(SerialNumber::from(serial));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = purposes;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(IdentityError::Issue)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(IdentityError::Issue)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem(), authority: self.certificate.clone() })
    }
}

fn params(subject: &str, now: SystemTime, validity: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.not_before = OffsetDateTime::from(now - SKEW);
    params.not_after = OffsetDateTime::from(now + validity);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_tells_its_validity_and_how_much_of_it_is_left() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let leaf = Authority::new(now).unwrap().issue_job("0f", 1, now).unwrap();
        let validity = Validity::of_pem(&leaf.certificate).unwrap();
        assert_eq!(validity, Validity { from: now - SKEW, to: now + LEAF_VALIDITY });
        assert!(validity.left(now) > 0.99);
        assert!((validity.left(now + LEAF_VALIDITY / 2) - 0.5).abs() < 0.01);
        assert_eq!(validity.left(now + LEAF_VALIDITY * 2), 0.0);
    }

    #[test]
    fn owners_that_make_no_name_are_refused() {
        let authority = Authority::new(SystemTime::now()).unwrap();
        for uid in ["", "A", "a.b", "a/b", "a-", &"a".repeat(60)] {
            let refused = authority.issue_job(uid, 1, SystemTime::now()).unwrap_err();
            assert!(matches!(refused, IdentityError::Name(_)), "{uid}: {refused}");
        }
    }

    #[test]
    fn keys_are_never_printed() {
        let authority = Authority::new(SystemTime::now()).unwrap();
        let leaf = authority.issue_operator(1, SystemTime::now()).unwrap();
        assert!(!format!("{authority:?} {leaf:?}").contains("PRIVATE"));
    }
}
