//! Inbound TLS.

use std::{
    fmt, io,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::{Pem, TlsError, authorities, certificates, pki, private_key, provider};
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

    /// From when until when the present one counts; nothing where there is none.
    pub fn validity(&self) -> Option<(SystemTime, SystemTime)> {
        let present = self.0.read().unwrap_or_else(PoisonError::into_inner).clone()?;
        pki::validity_of(present.cert.first()?)
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
        let mut source = Self::unread(certificate, files, paths);
        source.look()?;
        Ok(source)
    }

    /// Reads nothing yet.
    pub fn unread(certificate: Certificate, files: Arc<dyn Files>, paths: &CertificateFiles) -> Self {
        Self { certificate, files, paths: paths.clone(), held: Default::default() }
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
        let path = self.paths.certificate.clone();
        let told = Told {
            renewed: "certificate renewed",
            failed: "the certificate cannot be read again; the last one is used",
        };
        follow(&path, told, || self.look()).await;
    }
}

/// What is said of a file that is looked at again and again.
struct Told {
    renewed: &'static str,
    failed: &'static str,
}

/// Looks again and again, and says once when that begins to fail. Never ends.
async fn follow(path: &str, told: Told, mut look: impl FnMut() -> Result<bool, TlsError>) {
    let mut failing = false;
    loop {
        sleep(FILES_REREAD_EVERY).await;
        let looked = look();
        match &looked {
            Ok(true) => tracing::info!(path = %path, "{}", told.renewed),
            Err(error) if !failing => tracing::warn!(error = %error, "{}", told.failed),
            Ok(false) | Err(_) => {}
        }
        failing = looked.is_err();
    }
}

/// Authorities of clients that are kept those in their file, whoever renews it.
pub struct FileAuthorities {
    tls: ServerTls,
    certificate: Certificate,
    files: Arc<dyn Files>,
    path: String,
    held: Vec<u8>,
}

impl FileAuthorities {
    /// Reads the file for the first time, and makes the port's TLS: with this certificate; a client may show one of its own, which has to come
    /// from the file's authorities.
    pub fn new(certificate: Certificate, files: Arc<dyn Files>, path: &str) -> Result<(ServerTls, Self), TlsError> {
        let held = Pem::File(path.to_owned()).read(files.as_ref())?;
        let tls = ServerTls::with_client_authorities(certificate.clone(), path, &held)?;
        let source = Self { tls: tls.clone(), certificate, files, path: path.to_owned(), held };
        Ok((tls, source))
    }

    /// Takes over what the file holds; says whether that is new. Connections that are open stay.
    pub fn look(&mut self) -> Result<bool, TlsError> {
        let present = Pem::File(self.path.clone()).read(self.files.as_ref())?;
        if present == self.held {
            return Ok(false);
        }
        let next = ServerTls::with_client_authorities(self.certificate.clone(), &self.path, &present)?;
        self.tls.take_over(&next);
        self.held = present;
        Ok(true)
    }

    /// Looks again and again. Never ends.
    pub async fn follow(mut self) {
        let path = self.path.clone();
        let told = Told {
            renewed: "authorities of clients renewed",
            failed: "the authorities of clients cannot be read again; the last ones count",
        };
        follow(&path, told, || self.look()).await;
    }
}

/// TLS in front of a port. Clones are of the same port.
#[derive(Clone)]
pub struct ServerTls(Arc<RwLock<Arc<ServerConfig>>>);

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
        Ok(Self(Arc::new(RwLock::new(Arc::new(config)))))
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Accepts connections as the other does, from now on.
    fn take_over(&self, other: &Self) {
        let config = other.config();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    /// The server's side of a handshake. Says whether the client showed a certificate (which then was found good).
    pub async fn accept(&self, io: BoxedIo) -> io::Result<(BoxedIo, bool)> {
        let handshake = TlsAcceptor::from(self.config()).accept(io);
        let stream = timeout(HANDSHAKE_TIMEOUT, handshake)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"))??;
        let known = stream.get_ref().1.peer_certificates().is_some_and(|shown| !shown.is_empty());
        Ok((Box::new(stream), known))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Mutex};

    use rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::{
        host::system_time,
        testing::in_runtime,
        tls::pki::{Pair, authority, self_signed},
    };

    const DAY: Duration = Duration::from_secs(86_400);

    #[derive(Clone, Default)]
    struct Changing(Arc<Mutex<BTreeMap<String, String>>>);

    impl Files for Changing {
        fn read(&self, path: &str) -> io::Result<Vec<u8>> {
            let files = self.0.lock().unwrap();
            files.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    /// A certificate of a client.
    fn client(signer: &Pair) -> Pair {
        let mut wanted = rcgen::CertificateParams::new(["client".to_owned()]).unwrap();
        wanted.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let issuer = rcgen::KeyPair::from_pem(&signer.key).unwrap();
        let issuer = rcgen::Issuer::from_ca_cert_pem(&signer.certificate, issuer).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = wanted.signed_by(&key, &issuer).unwrap().pem();
        Pair { certificate, key: key.serialize_pem() }
    }

    /// Whether a client that shows `identity` is known to the port.
    async fn is_known(tls: &ServerTls, serving: &Pair, identity: &Pair) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(serving.certificate.as_bytes()).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let client = async {
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, near).await?;
            stream.write_all(b"x").await?;
            stream.read(&mut [0]).await
        };
        let server = async {
            let (mut io, known) = tls.accept(Box::new(far)).await?;
            io.write_all(b"y").await?;
            io::Result::Ok(known)
        };
        tokio::join!(client, server).1.unwrap_or(false)
    }

    #[test]
    fn authorities_of_clients_are_those_that_the_file_holds_now() {
        in_runtime(async {
            let now = system_time();
            let names = ["localhost".to_owned()];
            let serving = self_signed(&names, now, DAY).unwrap();
            let certificate =
                Certificate::of("a test", serving.certificate.as_bytes(), serving.key.as_bytes()).unwrap();
            let (first, second) = (authority("first", now, DAY).unwrap(), authority("second", now, DAY).unwrap());
            let files = Changing::default();
            let put = |text: &str| files.0.lock().unwrap().insert("ca.crt".to_owned(), text.to_owned());
            put(&first.certificate);
            let (tls, mut source) = FileAuthorities::new(certificate, Arc::new(files.clone()), "ca.crt").unwrap();
            assert!(!source.look().unwrap());
            put(&second.certificate);
            assert!(source.look().unwrap());
            put("nonsense");
            source.look().unwrap_err();
            assert!(!is_known(&tls, &serving, &client(&first)).await);
            assert!(is_known(&tls, &serving, &client(&second)).await);
        });
    }
}
