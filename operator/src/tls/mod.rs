//! TLS: towards the API server and OTLP endpoints, and in front of the operator's own ports.
//!
//! All of it is rustls with ring. Certificates and keys are read when they are needed, through the host's [`Files`], so that whatever
//! rotates them (the kubelet, cert-manager, an administrator) needs no restart: a changed file counts from the next connection on.
//!
//! | module | what it does |
//! |---|---|
//! | [`client`] | whom to trust and who to be; connections that speak TLS where the URL says `https` |
//! | [`pki`] | making and judging certificates |
//! | [`server`] | the certificate of a port, exchangeable while it serves; client certificates |

pub mod client;
pub mod pki;
pub mod server;

use std::{io, sync::Arc};

use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::host::Files;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// What was read is not what was expected.
    #[error("{place} holds no {expected}")]
    Pem {
        /// The file, or the field of the kubeconfig.
        place: String,
        /// `certificate` or `private key`.
        expected: &'static str,
    },
    /// rustls refuses it.
    #[error("{place}: {source}")]
    Refused {
        /// The file, or the field of the kubeconfig.
        place: String,
        /// Why.
        source: rustls::Error,
    },
    /// No certificate authority is known.
    #[error("no certificate authority is configured, and none of the system's bundles can be read ({0})")]
    NoAuthorities(String),
    /// The peer's name cannot be one of a certificate.
    #[error("{0:?} is no name that a certificate could be for")]
    Name(String),
    /// A certificate cannot be made.
    #[error("a certificate for {subject} cannot be made: {source}")]
    Make {
        /// Whom it is for.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
}

/// PEM, where it stands or in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// The text itself, and what to call it.
    Inline(&'static str, Vec<u8>),
    /// A file, read anew for every connection.
    File(String),
}

impl Pem {
    /// How errors name it.
    pub fn place(&self) -> &str {
        match self {
            Self::Inline(name, _) => name,
            Self::File(path) => path,
        }
    }

    /// Its present bytes.
    pub fn read(&self, files: &dyn Files) -> Result<Vec<u8>, TlsError> {
        match self {
            Self::Inline(_, bytes) => Ok(bytes.clone()),
            Self::File(path) => files.read(path).map_err(|source| TlsError::File { path: path.clone(), source }),
        }
    }
}

/// The one provider of cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// All certificates of a PEM text; at least one.
pub(crate) fn certificates(place: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = || TlsError::Pem { place: place.to_owned(), expected: "certificate" };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| wrong())?;
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

/// The first private key of a PEM text.
pub(crate) fn private_key(place: &str, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| TlsError::Pem { place: place.to_owned(), expected: "private key" })
}

/// The certificate authorities of a PEM text.
pub(crate) fn authorities(place: &str, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(place, pem)? {
        store.add(certificate).map_err(|source| TlsError::Refused { place: place.to_owned(), source })?;
    }
    Ok(store)
}
