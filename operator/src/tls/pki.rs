//! Making and judging certificates: ECDSA P-256, signed by an authority of the operator's own or by themselves.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls::{
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use super::{TlsError, authorities, provider};

/// Certificates count from a little before they are made, for peers whose clocks are behind.
pub const BACKDATED: Duration = Duration::from_secs(3600);

/// A certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

fn params(common_name: &str, now: SystemTime, valid: Duration) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = epoch + since.saturating_sub(BACKDATED);
    params.not_after = epoch + since + valid;
    params
}

fn failed(subject: &str) -> impl Fn(rcgen::Error) -> TlsError + '_ {
    |source| TlsError::Make { subject: subject.to_owned(), source }
}

/// An authority.
pub fn authority(common_name: &str, now: SystemTime, valid: Duration) -> Result<Pair, TlsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed(common_name))?;
    let mut wanted = params(common_name, now, valid);
    wanted.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = wanted.self_signed(&key).map_err(failed(common_name))?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn serving(names: &[String], now: SystemTime, valid: Duration) -> Result<CertificateParams, TlsError> {
    let subject = names.first().map(String::as_str).unwrap_or_default();
    let mut wanted = params(subject, now, valid);
    wanted.subject_alt_names = CertificateParams::new(names.to_vec()).map_err(failed(subject))?.subject_alt_names;
    wanted.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    wanted.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(wanted)
}

/// A serving certificate for names and addresses, signed by an authority.
pub fn leaf(signer: &Pair, names: &[String], now: SystemTime, valid: Duration) -> Result<Pair, TlsError> {
    let subject = names.first().map(String::as_str).unwrap_or_default();
    let mut wanted = serving(names, now, valid)?;
    wanted.use_authority_key_identifier_extension = true;
    let signer_key = KeyPair::from_pem(&signer.key).map_err(failed("the authority"))?;
    let issuer = Issuer::from_ca_cert_pem(&signer.certificate, signer_key).map_err(failed("the authority"))?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed(subject))?;
    let certificate = wanted.signed_by(&key, &issuer).map_err(failed(subject))?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// A serving certificate that nobody vouches for.
pub fn self_signed(names: &[String], now: SystemTime, valid: Duration) -> Result<Pair, TlsError> {
    let subject = names.first().map(String::as_str).unwrap_or_default();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed(subject))?;
    let certificate = serving(names, now, valid)?.self_signed(&key).map_err(failed(subject))?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Whether a client that trusts `authority_pem` takes the certificate for each of these names at that instant.
pub fn is_good(certificate_pem: &str, authority_pem: &str, names: &[String], at: SystemTime) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_slice(certificate_pem.as_bytes()) else { return false };
    let Ok(roots) = authorities("the authority", authority_pem.as_bytes()) else { return false };
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build() else {
        return false;
    };
    let at = UnixTime::since_unix_epoch(at.duration_since(UNIX_EPOCH).unwrap_or_default());
    names.iter().all(|name| {
        ServerName::try_from(name.as_str())
            .is_ok_and(|name| verifier.verify_server_cert(&certificate, &[], &name, &[], at).is_ok())
    })
}

/// From when until when a certificate counts; nothing where it cannot be read.
pub fn validity(certificate_pem: &str) -> Option<(SystemTime, SystemTime)> {
    validity_of(&CertificateDer::from_pem_slice(certificate_pem.as_bytes()).ok()?)
}

/// The same of a certificate that is no PEM.
pub fn validity_of(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let time = |at: x509_parser::time::ASN1Time| {
        UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(at.timestamp()).ok()?))
    };
    Some((time(certificate.validity().not_before)?, time(certificate.validity().not_after)?))
}

/// What the issuer of a certificate calls itself; nothing where it cannot be read.
pub fn issuer(certificate_pem: &str) -> Option<String> {
    let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate).ok()?;
    let name = certificate.issuer().iter_common_name().next()?.as_str().ok()?;
    Some(name.to_owned())
}

/// The certificates of a text for which `is_wanted` holds, each as a text of its own again.
pub fn chosen(bundle_pem: &str, is_wanted: impl Fn(&str) -> bool) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let found = bundle_pem.split_inclusive(END).map(str::trim).filter(|one| one.ends_with(END) && is_wanted(one));
    found.flat_map(|one| [one, "\n"]).collect()
}

/// Whether key and certificate belong together and can sign.
pub fn can_sign(pair: &Pair) -> bool {
    KeyPair::from_pem(&pair.key).is_ok_and(|key| {
        let Ok(certificate) = CertificateDer::from_pem_slice(pair.certificate.as_bytes()) else { return false };
        x509_parser::parse_x509_certificate(&certificate).is_ok_and(|(_, certificate)| {
            certificate.is_ca() && certificate.public_key().raw == key.subject_public_key_info()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(days: u32) -> SystemTime {
        UNIX_EPOCH + DAY * (20_000 + days)
    }

    fn names() -> Vec<String> {
        ["hooks.operator.svc", "hooks.operator.svc.cluster.local"].map(str::to_owned).into()
    }

    #[test]
    fn a_leaf_is_good_for_its_names_and_its_time_and_its_authority() {
        let (ours, other) =
            (authority("ours", at(0), DAY * 3650).unwrap(), authority("other", at(0), DAY * 3650).unwrap());
        let made = leaf(&ours, &names(), at(0), DAY * 365).unwrap();
        assert!(is_good(&made.certificate, &ours.certificate, &names(), at(0)));
        assert!(is_good(&made.certificate, &ours.certificate, &names(), at(364)));
        assert!(!is_good(&made.certificate, &ours.certificate, &names(), at(366)));
        assert!(!is_good(&made.certificate, &other.certificate, &names(), at(0)));
        assert!(!is_good(&made.certificate, &ours.certificate, &["else.operator.svc".to_owned()], at(0)));
        let both = format!("{}{}", other.certificate, ours.certificate);
        assert!(is_good(&made.certificate, &both, &names(), at(0)));
        assert!(!is_good("nonsense", &both, &names(), at(0)));
    }

    #[test]
    fn of_several_certificates_those_are_chosen_that_are_wanted() {
        let (first, second) = (authority("a", at(0), DAY).unwrap(), authority("b", at(0), DAY).unwrap());
        let both = format!("{}{}", first.certificate, second.certificate);
        let made = leaf(&second, &names(), at(0), DAY).unwrap();
        assert_eq!(chosen(&both, |one| is_good(&made.certificate, one, &names(), at(0))), second.certificate);
        assert_eq!(issuer(&made.certificate).as_deref(), Some("b"));
        assert_eq!(chosen("nonsense", |_| true), "");
        assert_eq!(issuer("nonsense"), None);
    }

    #[test]
    fn an_authority_can_be_read_again() {
        let ours = authority("ours", at(0), DAY * 10).unwrap();
        assert_eq!(validity(&ours.certificate), Some((at(0) - BACKDATED, at(10))));
        assert!(can_sign(&ours));
        let other = authority("other", at(0), DAY).unwrap();
        assert!(!can_sign(&Pair { key: other.key, ..ours.clone() }));
        assert!(!can_sign(&self_signed(&names(), at(0), DAY).unwrap()));
        assert!(!format!("{ours:?}").contains("PRIVATE"));
    }
}
