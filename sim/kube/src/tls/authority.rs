//! The certificate authority of a world.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sim_clock::Timestamp;

use super::TlsError;

/// How long issued certificates are valid: a year, as kubeadm's.
pub const CERTIFICATE_VALIDITY: Duration = Duration::from_secs(365 * 86_400);
/// How long the authority itself is valid: ten years, as kubeadm's.
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(3650 * 86_400);
/// Certificates are valid from a little before they are made, for peers whose clocks are behind.
const BACKDATED: Duration = Duration::from_secs(300);
/// Names and addresses under which an API server is reached, in the cluster and on loopback.
pub const SERVING_NAMES: &[&str] = &[
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
    "127.0.0.1",
    "::1",
    "10.96.0.1",
    "10.0.0.1",
];
/// Object identifier of organizationName (RFC 4519), written out.
const ORGANIZATION: &[u64] = &[2, 5, 4, 10];
/// Groups that fit a certificate made here: rcgen keeps one value for each way of naming an attribute, and there are two.
const GROUPS_MAX: usize = 2;

/// A certificate with its key.
#[derive(Debug)]
pub struct Certified {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// Its private key, PKCS#8 PEM.
    pub key_pem: String,
    pub(super) chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Certified {
    /// The key as rustls takes it.
    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    /// The certificate, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }
}

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: CertificateDer<'static>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("pem", &self.pem).finish_non_exhaustive()
    }
}

impl Authority {
    /// A new authority of this common name, valid from `now` on.
    ///
    /// # Errors
    /// If rcgen refuses the name.
    pub fn new(common_name: &str, now: Timestamp) -> Result<Self, TlsError> {
        let failed = |source| TlsError::Certificate { subject: common_name.to_owned(), source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = params(common_name, now, AUTHORITY_VALIDITY);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: Issuer::new(params, key) })
    }

    /// The authority's certificate, PEM: what clients trust (`ca.crt`).
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The authority's certificate, DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// A serving certificate for names and addresses (see [`SERVING_NAMES`]).
    ///
    /// # Errors
    /// If a name is neither a DNS name nor an address.
    pub fn serving(&self, names: &[&str], now: Timestamp, valid: Duration) -> Result<Certified, TlsError> {
        let subject = names.first().copied().unwrap_or("kube-apiserver");
        let failed = |source| TlsError::Certificate { subject: subject.to_owned(), source };
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut wanted = params("kube-apiserver", now, valid);
        wanted.subject_alt_names = CertificateParams::new(names).map_err(failed)?.subject_alt_names;
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(subject, wanted)
    }

    /// A client certificate: the user is its common name, the groups are its organizations.
    ///
    /// # Errors
    /// If there are more than two groups (a limit of the library that writes the certificate).
    pub fn client(&self, user: &str, groups: &[&str], now: Timestamp, valid: Duration) -> Result<Certified, TlsError> {
        if groups.len() > GROUPS_MAX {
            return Err(TlsError::Groups { user: user.to_owned(), groups: groups.len(), max: GROUPS_MAX });
        }
        let mut wanted = params(user, now, valid);
        let kinds = [DnType::OrganizationName, DnType::CustomDnType(ORGANIZATION.to_vec())];
        for (kind, group) in kinds.into_iter().zip(groups) {
            wanted.distinguished_name.push(kind, *group);
        }
        wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(user, wanted)
    }

    /// Signs what a certificate signing request (PEM) asks for: its names and its key; the use is the signer's.
    ///
    /// # Errors
    /// If the request cannot be read or is not signed by its own key.
    pub fn sign_request(&self, pem: &str, client: bool, now: Timestamp, valid: Duration) -> Result<String, TlsError> {
        let failed = |source| TlsError::Certificate { subject: "a certificate signing request".to_owned(), source };
        let mut request = CertificateSigningRequestParams::from_pem(pem).map_err(failed)?;
        let validity = params("", now, valid);
        let wanted = &mut request.params;
        (wanted.not_before, wanted.not_after) = (validity.not_before, validity.not_after);
        wanted.is_ca = IsCa::NoCa;
        wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        wanted.extended_key_usages =
            vec![if client { ExtendedKeyUsagePurpose::ClientAuth } else { ExtendedKeyUsagePurpose::ServerAuth }];
        wanted.use_authority_key_identifier_extension = true;
        request.signed_by(&self.issuer).map(|certificate| certificate.pem()).map_err(failed)
    }

    fn issue(&self, subject: &str, mut params: CertificateParams) -> Result<Certified, TlsError> {
        let failed = |source| TlsError::Certificate { subject: subject.to_owned(), source };
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(Certified {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            chain: vec![certificate.der().clone()],
            key: key.serialize_der(),
        })
    }
}

fn params(common_name: &str, now: Timestamp, valid: Duration) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = Duration::from_secs(now.as_secs().max(0) as u64);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = epoch + since.saturating_sub(BACKDATED);
    params.not_after = epoch + since + valid;
    params
}
