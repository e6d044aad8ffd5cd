//! How pages are fetched and alerts are sent: who Prometheus is, whom it trusts, and how much it takes.
//!
//! Files of tokens, passwords and certificates are read anew for each request, as Prometheus does, so that what is rotated is used.

use crate::config::{self, AlertmanagerConfig, BasicAuth, ScrapeConfig, TlsConfig};
use crate::scrape::Target;
use crate::server::USER_AGENT;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sim_net::Host;
use sim_net::http::{Client, RESPONSE_BYTES_MAX};
use std::sync::Arc;
use std::time::Duration;

/// What Prometheus asks for: OpenMetrics first. Protobuf is left out, since native histograms are.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,\
text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

type Read = Arc<dyn Fn(&str) -> Option<Vec<u8>> + Send + Sync>;

/// A secret: what was written, or the file it is in.
#[derive(Debug, Clone)]
enum Secret {
    Written(String),
    File(String),
}

impl Secret {
    fn of(written: Option<&String>, file: Option<&String>) -> Option<Self> {
        written.cloned().map(Self::Written).or_else(|| file.cloned().map(Self::File))
    }
}

#[derive(Debug, Clone)]
enum Authorization {
    /// A scheme and its credentials.
    Credentials(String, Secret),
    /// Name and password.
    Basic(Secret, Secret),
}

/// Who the scraper is, and whom it trusts.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    authorization: Option<Authorization>,
    tls: TlsConfig,
}

impl Credentials {
    fn of(authorization: Option<&config::Authorization>, basic: Option<&BasicAuth>, tls: &TlsConfig) -> Self {
        let written = authorization.and_then(|given| {
            let secret = Secret::of(given.credentials.as_ref(), given.credentials_file.as_ref())?;
            Some(Authorization::Credentials(given.scheme.clone(), secret))
        });
        let basic = basic.map(|basic| {
            let file = |file: &Option<String>, text: &String| {
                file.clone().map_or_else(|| Secret::Written(text.clone()), Secret::File)
            };
            Authorization::Basic(
                file(&basic.username_file, &basic.username),
                file(&basic.password_file, &basic.password),
            )
        });
        Self { authorization: written.or(basic), tls: tls.clone() }
    }
}

impl From<&AlertmanagerConfig> for Credentials {
    fn from(config: &AlertmanagerConfig) -> Self {
        Self::of(config.authorization.as_ref(), config.basic_auth.as_ref(), &config.tls_config)
    }
}

impl From<&ScrapeConfig> for Credentials {
    fn from(config: &ScrapeConfig) -> Self {
        let old = Secret::of(config.bearer_token.as_ref(), config.bearer_token_file.as_ref())
            .map(|secret| Authorization::Credentials("Bearer".to_owned(), secret));
        let Self { authorization, tls } =
            Self::of(config.authorization.as_ref(), config.basic_auth.as_ref(), &config.tls_config);
        Self { authorization: authorization.or(old), tls }
    }
}

/// Sends requests from a host.
#[derive(Clone)]
pub(crate) struct Transport {
    host: Host,
    plain: Client,
    read: Read,
}

impl Transport {
    pub fn new(host: Host, read: Read) -> Self {
        Self { plain: Client::new(host.clone()), host, read }
    }

    fn secret(&self, secret: &Secret) -> Result<String, String> {
        match secret {
            Secret::Written(text) => Ok(text.clone()),
            Secret::File(path) => self.file(path).map(|text| text.trim().to_owned()),
        }
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let bytes = (self.read)(path).ok_or_else(|| format!("open {path}: no such file or directory"))?;
        String::from_utf8(bytes).map_err(|_| format!("{path} is not UTF-8"))
    }

    fn authorization(&self, authorization: &Authorization) -> Result<HeaderValue, String> {
        let value = match authorization {
            Authorization::Credentials(scheme, secret) => {
                let secret =
                    self.secret(secret).map_err(|why| format!("unable to read authorization credentials: {why}"))?;
                format!("{scheme} {secret}")
            }
            Authorization::Basic(name, password) => {
                let pair = format!("{}:{}", self.secret(name)?, self.secret(password)?);
                format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
            }
        };
        let mut value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The content type and the body of a page of at most `limit` bytes (0: no limit of its own), or why there is none.
    pub async fn fetch(
        &self,
        target: &Target,
        credentials: &Credentials,
        limit: usize,
    ) -> Result<(String, Bytes), String> {
        let failed = |why: String| format!("Get {:?}: {why}", target.url);
        let request = Request::get(&target.url)
            .header(header::ACCEPT, ACCEPT)
            .header(header::USER_AGENT, USER_AGENT)
            .header("X-Prometheus-Scrape-Timeout-Seconds", sim_wire::format_float(target.timeout.as_secs_f64()))
            .body(Bytes::new())
            .map_err(|error| error.to_string())?;
        let response = self.send(request, credentials, target.timeout).await.map_err(failed)?;
        if response.status() != http::StatusCode::OK {
            return Err(format!("server returned HTTP status {}", response.status()));
        }
        if limit > 0 && response.body().len() > limit {
            return Err("body size limit exceeded".to_owned());
        }
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        Ok((content_type.unwrap_or_default().to_owned(), response.into_body()))
    }

    /// The answer to a request, whatever it says, or why there is none.
    pub async fn send(
        &self,
        mut request: Request<Bytes>,
        credentials: &Credentials,
        timeout: Duration,
    ) -> Result<Response<Bytes>, String> {
        if let Some(authorization) = &credentials.authorization {
            let value = self.authorization(authorization)?;
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        if request.uri().scheme_str() == Some("https") {
            let sending = tokio::time::timeout(timeout, self.send_securely(request, &credentials.tls));
            return sending.await.map_err(|_| "context deadline exceeded".to_owned())?;
        }
        self.plain.clone().with_timeout(timeout).send(request).await.map_err(|error| error.to_string())
    }

    /// One request on a connection of its own.
    async fn send_securely(&self, mut request: Request<Bytes>, tls: &TlsConfig) -> Result<Response<Bytes>, String> {
        let config = self.client_config(tls)?;
        let uri = request.uri().clone();
        let host = uri.host().unwrap_or_default().to_owned();
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(443));
        let name = tls.server_name.clone().unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned());
        let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
        let stream = self.host.connect(&authority).await.map_err(|error| format!("dial tcp {authority}: {error}"))?;
        let stream =
            tokio_rustls::TlsConnector::from(config).connect(name, stream).await.map_err(|error| told_as_go(&error))?;
        let told = |error: hyper::Error| {
            // A server that wants a certificate says so after the handshake, to the first request.
            match std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
                Some(cause) => told_as_go(cause),
                None => error.to_string(),
            }
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
        let driven = sim_clock::spawn("request over tls", async move {
            // A connection that breaks fails the request.
            let _ = connection.await;
        });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        *request.uri_mut() = path.parse().map_err(|_| "bad path".to_owned())?;
        if let Ok(value) = HeaderValue::try_from(authority) {
            request.headers_mut().insert(header::HOST, value);
        }
        let response = sender.send_request(request.map(Full::new)).await.map_err(told)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { "body size limit exceeded".to_owned() } else { error.to_string() }
        })?;
        driven.abort();
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    fn client_config(&self, tls: &TlsConfig) -> Result<Arc<ClientConfig>, String> {
        let pem = |written: &Option<String>, file: &Option<String>| -> Result<Option<String>, String> {
            match (written, file) {
                (Some(text), _) => Ok(Some(text.clone())),
                (None, Some(path)) => self.file(path).map(Some),
                (None, None) => Ok(None),
            }
        };
        let certificates = |text: &str| -> Result<Vec<CertificateDer<'static>>, String> {
            CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().map_err(|error| error.to_string())
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_details(provider.clone(), Arc::new(WorldClock))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let mut roots = RootCertStore::empty();
        if let Some(text) =
            pem(&tls.ca, &tls.ca_file).map_err(|why| format!("unable to load specified CA cert: {why}"))?
        {
            for authority in certificates(&text)? {
                roots.add(authority).map_err(|error| error.to_string())?;
            }
        }
        let builder = if tls.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        } else {
            builder.with_root_certificates(roots)
        };
        let (certificate, key) = (pem(&tls.cert, &tls.cert_file)?, pem(&tls.key, &tls.key_file)?);
        let config = match certificate.zip(key) {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| error.to_string())?;
                builder.with_client_auth_cert(certificates(&certificate)?, key).map_err(|error| error.to_string())?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

/// A failed handshake in the words that Prometheus's library has for it.
fn told_as_go(error: &std::io::Error) -> String {
    use rustls::{AlertDescription, CertificateError, Error};
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let unverified = |why: &str| format!("tls: failed to verify certificate: x509: {why}");
    match inner {
        // A signature that is bad: an authority of the same name, and another key.
        Some(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            unverified("certificate signed by unknown authority")
        }
        Some(Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => unverified("certificate has expired or is not yet valid"),
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => unverified("certificate is not valid for the name asked for"),
        Some(Error::InvalidMessage(_)) => "http: server gave HTTP response to HTTPS client".to_owned(),
        Some(Error::AlertReceived(AlertDescription::UnknownCA)) => {
            "remote error: tls: unknown certificate authority".to_owned()
        }
        Some(Error::AlertReceived(alert)) => {
            let words = format!("{alert:?}").chars().fold(String::new(), |mut text, c| {
                if c.is_ascii_uppercase() {
                    text.push(' ');
                }
                text.push(c.to_ascii_lowercase());
                text
            });
            format!("remote error: tls:{words}")
        }
        Some(other) => format!("tls: {other}"),
        None => error.to_string(),
    }
}

/// The world's clock, as rustls asks for it.
#[derive(Debug)]
struct WorldClock;

impl TimeProvider for WorldClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(sim_clock::now().as_secs()).unwrap_or_default();
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)))
    }
}

/// `insecure_skip_verify`: any certificate whose key the server holds.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
