//! The way to the API server: as a pod finds it in its environment and files, and what of a configuration concerns TLS and the token.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::{HeaderValue, Uri};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use crate::{
    host::Files,
    tls::{
        Pem,
        client::{ClientTls, Trust},
    },
};

/// Where a pod finds what it needs to speak for its service account.
const ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long a token that was read is used: the kubelet writes a new one long before the old one ends.
pub const TOKEN_REREAD_AFTER: Duration = Duration::from_secs(60);

/// Why there is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClusterConfigError {
    /// Not in a pod.
    #[error("{0} is not set: this is no pod of a cluster. Outside of one pass --kubeconfig, or set KUBECONFIG")]
    NotInCluster(&'static str),
    /// The address is none.
    #[error("KUBERNETES_SERVICE_HOST={host:?} and KUBERNETES_SERVICE_PORT={port:?} are no address of an API server")]
    Address {
        /// The host.
        host: String,
        /// The port.
        port: String,
    },
    /// A file of the service account cannot be read.
    #[error("{path}: {source}. Does the pod mount the token of its service account (automountServiceAccountToken)?")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A field of the kubeconfig.
    #[error("{field} of the kubeconfig is no base64: {source}")]
    Base64 {
        /// The field.
        field: &'static str,
        /// Why.
        source: base64::DecodeError,
    },
    /// The token holds what no header may hold.
    #[error("the token in {0} is none: it holds characters that a header may not hold")]
    Token(String),
}

/// The configuration of a pod: address from the environment; authority, token and namespace from the files of its service account.
pub fn in_cluster(files: &dyn Files, env: &BTreeMap<String, String>) -> Result<kube::Config, ClusterConfigError> {
    let variable = |name: &'static str| {
        env.get(name).filter(|value| !value.is_empty()).ok_or(ClusterConfigError::NotInCluster(name))
    };
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let shown = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => host.clone(),
    };
    let address = || ClusterConfigError::Address { host: host.clone(), port: port.clone() };
    let port_number: u16 = port.parse().map_err(|_| address())?;
    let url = format!("https://{shown}:{port_number}").parse().map_err(|_| address())?;
    let path = |name: &str| format!("{ACCOUNT_FOLDER}/{name}");
    let read =
        |name: &str| files.read(&path(name)).map_err(|source| ClusterConfigError::File { path: path(name), source });
    let mut config = kube::Config::new(url);
    // Read here so that what is missing is said at the start; they are read again as they change.
    read("ca.crt")?;
    read("token")?;
    config.root_cert_file = Some(PathBuf::from(path("ca.crt")));
    config.auth_info.token_file = Some(path("token"));
    if let Ok(namespace) = read("namespace") {
        config.default_namespace = String::from_utf8_lossy(&namespace).trim().to_owned();
    }
    Ok(config)
}

/// How to speak TLS to the API server of a configuration.
pub fn client_tls(config: &kube::Config) -> Result<ClientTls, ClusterConfigError> {
    let trust = match (&config.root_cert_file, &config.root_cert) {
        _ if config.accept_invalid_certs => Trust::Anybody,
        (Some(path), _) => Trust::Authorities(Pem::File(path.to_string_lossy().into_owned())),
        (None, Some(certificates)) => {
            Trust::Authorities(Pem::Inline("certificate-authority of the kubeconfig", as_pem(certificates)))
        }
        (None, None) => Trust::System,
    };
    let auth = &config.auth_info;
    let decoded = |field: &'static str, text: &str| {
        let bytes = BASE64.decode(text).map_err(|source| ClusterConfigError::Base64 { field, source })?;
        Ok(Pem::Inline(field, bytes))
    };
    let certificate = match (&auth.client_certificate_data, &auth.client_certificate) {
        (Some(data), _) => Some(decoded("client-certificate-data", data)?),
        (None, path) => path.clone().map(Pem::File),
    };
    let key = match (&auth.client_key_data, &auth.client_key) {
        (Some(data), _) => Some(decoded("client-key-data", data.expose_secret())?),
        (None, path) => path.clone().map(Pem::File),
    };
    Ok(ClientTls { trust, identity: certificate.zip(key), server_name: config.tls_server_name.clone(), http2: false })
}

fn as_pem(certificates: &[Vec<u8>]) -> Vec<u8> {
    let blocks = certificates
        .iter()
        .map(|der| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(der)));
    blocks.collect::<String>().into_bytes()
}

/// A bearer token in a file that somebody renews.
#[derive(Clone)]
pub(crate) struct TokenFile(Arc<Inner>);

struct Inner {
    path: String,
    files: Arc<dyn Files>,
    read: Mutex<(Instant, HeaderValue)>,
}

impl TokenFile {
    /// Reads the token for the first time.
    pub fn new(path: &str, files: Arc<dyn Files>) -> Result<Self, ClusterConfigError> {
        let header = header(path, files.as_ref())?;
        Ok(Self(Arc::new(Inner { path: path.to_owned(), files, read: Mutex::new((Instant::now(), header)) })))
    }

    /// The value of `Authorization`. A file that cannot be read any more leaves the last token in use.
    pub fn authorization(&self) -> HeaderValue {
        self.authorization_at(Instant::now())
    }

    fn authorization_at(&self, now: Instant) -> HeaderValue {
        let mut read = self.0.read.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(read.0) >= TOKEN_REREAD_AFTER {
            match header(&self.0.path, self.0.files.as_ref()) {
                Ok(header) => read.1 = header,
                Err(error) => tracing::warn!(error = %error, "the token cannot be read again; the last one is used"),
            }
            read.0 = now;
        }
        read.1.clone()
    }
}

fn header(path: &str, files: &dyn Files) -> Result<HeaderValue, ClusterConfigError> {
    let token = files.read(path).map_err(|source| ClusterConfigError::File { path: path.to_owned(), source })?;
    let mut value = HeaderValue::try_from(format!("Bearer {}", String::from_utf8_lossy(&token).trim()))
        .map_err(|_| ClusterConfigError::Token(path.to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a URL wants TLS.
pub(crate) fn is_secure(url: &Uri) -> bool {
    url.scheme_str() == Some("https")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Default)]
    struct Folder(Mutex<BTreeMap<String, String>>);

    impl Folder {
        fn with(self, name: &str, text: &str) -> Self {
            self.0.lock().unwrap().insert(format!("{ACCOUNT_FOLDER}/{name}"), text.to_owned());
            self
        }
    }

    impl Files for Folder {
        fn read(&self, path: &str) -> io::Result<Vec<u8>> {
            let files = self.0.lock().unwrap();
            files.get(path).map(|text| text.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
        }
    }

    fn env(host: &str, port: &str) -> BTreeMap<String, String> {
        [("KUBERNETES_SERVICE_HOST", host), ("KUBERNETES_SERVICE_PORT", port)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn a_pod_finds_its_api_server() {
        let folder = Folder::default().with("ca.crt", "pem").with("token", "t").with("namespace", "here\n");
        for (host, url) in [("10.96.0.1", "https://10.96.0.1:443/"), ("fd00::1", "https://[fd00::1]:443/")] {
            let config = in_cluster(&folder, &env(host, "443")).unwrap();
            assert_eq!((config.cluster_url.to_string().as_str(), config.default_namespace.as_str()), (url, "here"));
        }
        let tls = client_tls(&in_cluster(&folder, &env("10.96.0.1", "443")).unwrap()).unwrap();
        assert_eq!(tls.trust, Trust::Authorities(Pem::File(format!("{ACCOUNT_FOLDER}/ca.crt"))));
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let folder = Folder::default();
        let error = in_cluster(&folder, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("KUBERNETES_SERVICE_HOST") && error.contains("--kubeconfig"), "{error}");
        let error = in_cluster(&folder, &env("10.96.0.1", "https")).unwrap_err().to_string();
        assert!(error.contains("\"https\""), "{error}");
        let error = in_cluster(&folder, &env("10.96.0.1", "443")).unwrap_err().to_string();
        assert!(error.contains("ca.crt") && error.contains("automountServiceAccountToken"), "{error}");
    }

    #[test]
    fn a_renewed_token_is_read_and_one_that_is_gone_leaves_the_last_in_use() {
        let folder = Arc::new(Folder::default().with("token", "first\n"));
        let token = TokenFile::new(&format!("{ACCOUNT_FOLDER}/token"), folder.clone()).unwrap();
        let start = Instant::now();
        assert_eq!(token.authorization_at(start), "Bearer first");
        folder.0.lock().unwrap().values_mut().for_each(|text| *text = "second".to_owned());
        assert_eq!(token.authorization_at(start + TOKEN_REREAD_AFTER / 2), "Bearer first");
        let later = start + TOKEN_REREAD_AFTER + Duration::from_secs(1);
        assert_eq!(token.authorization_at(later), "Bearer second");
        folder.0.lock().unwrap().clear();
        assert_eq!(token.authorization_at(later + TOKEN_REREAD_AFTER * 2), "Bearer second");
    }
}
