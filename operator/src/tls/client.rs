//! Outbound TLS.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http::Uri;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio_rustls::TlsConnector;

use super::{Pem, TlsError, authorities, certificates, private_key, provider};
use crate::host::{BoxedIo, Connector, Files, HostIo};

/// Where distributions keep the authorities that they trust; the first that can be read counts.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom a client trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// The authorities of the system's bundle.
    #[default]
    System,
    /// These authorities, and no others.
    Authorities(Pem),
    /// Everybody (`insecure-skip-tls-verify`).
    Anybody,
}

/// How a client speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Whom it trusts.
    pub trust: Trust,
    /// Its own certificate and key.
    pub identity: Option<(Pem, Pem)>,
    /// The name that the server's certificate has to be for, where that is not the URL's host.
    pub server_name: Option<String>,
    /// Whether HTTP/2 is spoken (gRPC); else HTTP/1.1.
    pub http2: bool,
}

impl ClientTls {
    fn material(&self, files: &dyn Files) -> Result<Material, TlsError> {
        let trust = match &self.trust {
            Trust::Anybody => None,
            Trust::Authorities(pem) => Some((pem.place().to_owned(), pem.read(files)?)),
            Trust::System => {
                let found = SYSTEM_BUNDLES.iter().find_map(|path| Some(((*path).to_owned(), files.read(path).ok()?)));
                Some(found.ok_or_else(|| TlsError::NoAuthorities(SYSTEM_BUNDLES.join(", ")))?)
            }
        };
        let identity = match &self.identity {
            Some((certificate, key)) => Some((certificate.read(files)?, key.read(files)?)),
            None => None,
        };
        Ok(Material { trust, identity })
    }

    fn config(&self, material: &Material) -> Result<Arc<ClientConfig>, TlsError> {
        let refused = |place: &str| {
            let place = place.to_owned();
            move |source| TlsError::Refused { place, source }
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(refused("TLS"))?;
        let builder = match &material.trust {
            Some((place, pem)) => builder.with_root_certificates(authorities(place, pem)?),
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnybody(provider()))),
        };
        let mut config = match (&material.identity, &self.identity) {
            (Some((certificate, key)), Some((certificate_pem, key_pem))) => {
                let place = certificate_pem.place();
                let chain = certificates(place, certificate)?;
                builder.with_client_auth_cert(chain, private_key(key_pem.place(), key)?).map_err(refused(place))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![if self.http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        // Connections live long; what resumption would save is not worth a cache of secrets.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// What the files held when a configuration was made of them.
#[derive(PartialEq, Eq)]
struct Material {
    /// Where the authorities come from, and their PEM; none: anybody is trusted.
    trust: Option<(String, Vec<u8>)>,
    /// Certificate and key, PEM.
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Connections of the host, with TLS where the URL says `https`.
#[derive(Clone)]
pub struct HttpsConnector(Arc<Inner>);

struct Inner {
    connector: Connector,
    files: Arc<dyn Files>,
    tls: ClientTls,
    made: Mutex<Option<(Material, Arc<ClientConfig>)>>,
}

impl fmt::Debug for HttpsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsConnector").field("server_name", &self.0.tls.server_name).finish_non_exhaustive()
    }
}

impl HttpsConnector {
    /// Connections of `connector`; files are read when a connection is opened.
    pub fn new(connector: Connector, files: Arc<dyn Files>, tls: ClientTls) -> Self {
        Self(Arc::new(Inner { connector, files, tls, made: Mutex::new(None) }))
    }

    /// Says now what would go wrong with the first connection for want of good files.
    pub fn check(&self) -> Result<(), TlsError> {
        self.config().map(drop)
    }

    fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let material = self.0.tls.material(self.0.files.as_ref())?;
        let mut made = self.0.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, config)) = made.as_ref()
            && *of == material
        {
            return Ok(config.clone());
        }
        let config = self.0.tls.config(&material)?;
        *made = Some((material, config.clone()));
        Ok(config)
    }

    async fn open(self, uri: Uri) -> io::Result<HostIo> {
        if uri.scheme_str() != Some("https") {
            return self.0.connector.connect(uri).await;
        }
        let config = self.config().map_err(io::Error::other)?;
        let host = self.0.tls.server_name.as_deref().or(uri.host()).unwrap_or_default();
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| io::Error::other(TlsError::Name(host)))?;
        let plain = self.0.connector.open(uri).await?;
        let stream = TlsConnector::from(config).connect(name, plain).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(HostIo::negotiated(Box::new(stream) as BoxedIo, http2))
    }
}

impl tower::Service<Uri> for HttpsConnector {
    type Response = HostIo;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<HostIo>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().open(uri))
    }
}

/// Takes any certificate of a server that holds its key.
#[derive(Debug)]
struct TrustAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
