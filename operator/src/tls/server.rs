//! Inbound TLS.

use std::{
    fmt, io,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::{TlsError, authorities, certificates, private_key, provider};
use crate::{
    config::CertificateFiles,
    host::{BoxedIo, Files},
};

/// How long a handshake may take; a client that is slower is sent away.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The certificate of a port. It can be exchanged while the port serves: connections keep what they were opened with.
#[derive(Clone, Debug, Default)]
pub struct Certificate(Arc<RwLock<Option<Arc<CertifiedKey>>>>);

impl Certificate {
    /// A port without a certificate: every handshake fails until there is one.
    pub fn missing() -> Self {
        Self::default()
    }

    /// From PEM texts, which `place` names in errors.
    pub fn of(place: &str, chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let certificate = Self::default();
        certificate.exchange(place, chain, key)?;
        Ok(certificate)
    }

    /// Takes another chain and key, from now on.
    pub fn exchange(&self, place: &str, chain: &[u8], key: &[u8]) -> Result<(), TlsError> {
        let (chain, key) = (certificates(place, chain)?, private_key(place, key)?);
        let refused = |source| TlsError::Refused { place: place.to_owned(), source };
        let next = CertifiedKey::from_der(chain, key, &provider()).map_err(refused)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(next));
        Ok(())
    }

    /// Whether there is one.
    pub fn present(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How often the files of a certificate are looked at.
pub const FILES_REREAD_EVERY: Duration = Duration::from_secs(10);

/// A certificate that is kept the one in its files, whoever renews them.
pub struct FileCertificate {
    certificate: Certificate,
    files: Arc<dyn Files>,
    paths: CertificateFiles,
    held: (Vec<u8>, Vec<u8>),
}

impl FileCertificate {
    /// Reads the files for the first time.
    pub fn new(certificate: Certificate, files: Arc<dyn Files>, paths: &CertificateFiles) -> Result<Self, TlsError> {
        let mut source = Self { certificate, files, paths: paths.clone(), held: Default::default() };
        source.look()?;
        Ok(source)
    }

    /// Takes over what the files hold; says whether that is new. A chain and a key that do not belong together (they are exchanged one
    /// after the other) leave the last pair in use.
    pub fn look(&mut self) -> Result<bool, TlsError> {
        let read =
            |path: &str| self.files.read(path).map_err(|source| TlsError::File { path: path.to_owned(), source });
        let present = (read(&self.paths.certificate)?, read(&self.paths.key)?);
        if present == self.held {
            return Ok(false);
        }
        self.certificate.exchange(&self.paths.certificate, &present.0, &present.1)?;
        self.held = present;
        Ok(true)
    }

    /// Looks again and again. Never ends.
    pub async fn follow(mut self) {
        let mut failing = false;
        loop {
            sleep(FILES_REREAD_EVERY).await;
            match self.look() {
                Ok(true) => tracing::info!(path = %self.paths.certificate, "certificate renewed"),
                Ok(false) => {}
                Err(error) if !failing => {
                    tracing::warn!(error = %error, "the certificate cannot be read again; the last one is used");
                    failing = true;
                    continue;
                }
                Err(_) => continue,
            }
            failing = false;
        }
    }
}

/// TLS in front of a port.
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// With this certificate, for whoever comes.
    pub fn new(certificate: Certificate) -> Result<Self, TlsError> {
        Self::build(certificate, None)
    }

    /// With this certificate; a client may show one of its own, which has to come from these authorities (PEM, which `place` names
    /// in errors).
    pub fn with_client_authorities(certificate: Certificate, place: &str, pem: &[u8]) -> Result<Self, TlsError> {
        let roots = Arc::new(authorities(place, pem)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .allow_unauthenticated()
            .build()
            .map_err(|error| TlsError::Refused {
            place: place.to_owned(),
            source: rustls::Error::General(error.to_string()),
        })?;
        Self::build(certificate, Some(verifier))
    }

    fn build(certificate: Certificate, clients: Option<Arc<dyn ClientCertVerifier>>) -> Result<Self, TlsError> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|source| TlsError::Refused { place: "TLS".to_owned(), source })?;
        let builder = match clients {
            Some(clients) => builder.with_client_cert_verifier(clients),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificate));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // No session is taken up again: a client whose certificate is no longer good has to show another one.
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(Arc::new(config)))
    }

    /// The server's side of a handshake. Says whether the client showed a certificate (which then was found good).
    pub async fn accept(&self, io: BoxedIo) -> io::Result<(BoxedIo, bool)> {
        let handshake = TlsAcceptor::from(self.0.clone()).accept(io);
        let stream = timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))??;
        let known = stream.get_ref().1.peer_certificates().is_some_and(|shown| !shown.is_empty());
        Ok((Box::new(stream), known))
    }
}
