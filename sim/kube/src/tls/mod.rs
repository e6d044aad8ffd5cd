//! TLS of the API server: a certificate authority inside the world, serving and client certificates, kubeconfigs.
//!
//! Keys are ECDSA P-256, drawn from the system's randomness: inside a world that is the world's seed (the same seed
//! gives the same keys, certificates and handshakes), outside it is the operating system's. Validity is checked against
//! [`sim_clock::now`], so certificates expire in virtual time.
//!
//! ```
//! use std::time::Duration;
//! sim_clock::run(sim_clock::WorldOptions::seeded(7), || async {
//!     let authority = sim_kube::tls::Authority::new("kubernetes", sim_clock::now()).unwrap();
//!     let admin = authority.client("kubernetes-admin", &["system:masters"], sim_clock::now(), Duration::from_secs(3600)).unwrap();
//!     assert!(admin.certificate_pem.starts_with("-----BEGIN CERTIFICATE-----"));
//! }).unwrap();
//! ```

mod authority;
mod config;
mod kubeconfig;
mod serve;
mod subject;

pub use authority::{Authority, CERTIFICATE_VALIDITY, Certified, SERVING_NAMES};
pub use config::{ClientCertificates, client_config, client_config_without_authority, server_config};
pub use kubeconfig::{Credential, Kubeconfig};
pub use serve::{Endpoint, serve, serve_connection};
pub use subject::{Subject, subject};

/// What can go wrong with keys and certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made.
    #[error("making a certificate for {subject}: {source}")]
    Certificate {
        /// Its subject.
        subject: String,
        /// Why.
        source: rcgen::Error,
    },
    /// A certificate of this kind carries at most so many groups.
    #[error("a client certificate of {user} with {groups} groups: at most {max} can be written")]
    Groups {
        /// Its user.
        user: String,
        /// Groups asked for.
        groups: usize,
        /// Groups that fit.
        max: usize,
    },
    /// PEM that holds no certificate or key.
    #[error("reading PEM: {0}")]
    Pem(String),
    /// rustls refused the material.
    #[error("setting up TLS: {0}")]
    Config(#[from] rustls::Error),
}

#[cfg(test)]
mod tests;
