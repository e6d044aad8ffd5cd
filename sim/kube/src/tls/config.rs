//! rustls configurations: ring, the world's clock, HTTP/2 and HTTP/1.1.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    time_provider::TimeProvider,
};

use super::{Authority, Certified, TlsError};

/// HTTP/2 first, as the real server offers.
const PROTOCOLS: &[&[u8]] = &[b"h2", b"http/1.1"];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The world's clock, as rustls asks for it.
#[derive(Debug)]
struct WorldClock;

fn unix_time() -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(sim_clock::now().as_secs().max(0) as u64))
}

impl TimeProvider for WorldClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time())
    }
}

fn roots(authorities: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for authority in authorities {
        store.add(authority.clone())?;
    }
    Ok(store)
}

/// A server's configuration: its certificate, and client certificates asked for but not required.
///
/// As at the real server a certificate is not judged in the handshake (there only the proof of its key counts): what a
/// client without a good one may do is decided for each request, by [`ClientCertificates`].
///
/// # Errors
/// If certificate and key do not fit.
pub fn server_config(serving: &Certified, clients: &Authority) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let hints = roots(&[clients.der().clone()])?.subjects();
    let asked = Arc::new(AskForCertificate { hints, provider: provider.clone() });
    let mut config = ServerConfig::builder_with_details(provider, Arc::new(WorldClock))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(asked)
        .with_single_cert(serving.chain.clone(), serving.key())?;
    config.alpn_protocols = PROTOCOLS.iter().map(|p| p.to_vec()).collect();
    Ok(Arc::new(config))
}

/// A client's configuration: whom it trusts (the authority's PEM), and who it is.
///
/// # Errors
/// If the PEM holds no certificate.
pub fn client_config(authority_pem: &str, client: Option<&Certified>) -> Result<Arc<ClientConfig>, TlsError> {
    let parsed: Result<Vec<_>, _> =
        rustls::pki_types::pem::PemObject::pem_slice_iter(authority_pem.as_bytes()).collect();
    let authorities: Vec<CertificateDer<'static>> = parsed.map_err(|e| TlsError::Pem(e.to_string()))?;
    if authorities.is_empty() {
        return Err(TlsError::Pem("no certificate found".into()));
    }
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(WorldClock))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(&authorities)?);
    let mut config = match client {
        Some(client) => builder.with_client_auth_cert(client.chain.clone(), client.key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = PROTOCOLS.iter().map(|p| p.to_vec()).collect();
    Ok(Arc::new(config))
}

/// A client's configuration that trusts nobody: what a host without authorities of its own has.
///
/// # Errors
/// If rustls refuses its own defaults.
pub fn client_config_without_authority() -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_details(provider(), Arc::new(WorldClock));
    let config = builder.with_safe_default_protocol_versions()?.with_root_certificates(RootCertStore::empty());
    Ok(Arc::new(config.with_no_client_auth()))
}

/// Takes any certificate whose key the client holds.
#[derive(Debug)]
struct AskForCertificate {
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AskForCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Judges client certificates against an authority, at the present instant.
#[derive(Debug)]
pub struct ClientCertificates(Arc<dyn ClientCertVerifier>);

impl ClientCertificates {
    /// Certificates of this authority are good.
    ///
    /// # Errors
    /// If rustls refuses the authority's certificate.
    pub fn of(authority: &Authority) -> Result<Self, TlsError> {
        let store = Arc::new(roots(&[authority.der().clone()])?);
        let verifier = WebPkiClientVerifier::builder_with_provider(store, provider()).build();
        verifier.map(Self).map_err(|e| TlsError::Pem(e.to_string()))
    }

    /// Whether a chain (the client's own certificate first) is signed by the authority, for clients, and valid now.
    ///
    /// # Errors
    /// Why not (`certificate expired: …`).
    pub fn verify(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let Some((own, others)) = chain.split_first() else { return Err("no certificate".into()) };
        self.0.verify_client_cert(own, others, unix_time()).map(drop).map_err(|e| e.to_string())
    }
}
