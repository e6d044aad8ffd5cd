//! The crate's one error enum.

use crate::status::Status;

/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused; the text is its message.
    #[error("the API server answered {}: {}", .0.code, .0.message)]
    Api(#[from] Status),
    /// A manifest could not be read.
    #[error("manifest document {document}, line {line}: {message}")]
    Manifest {
        /// Number of the document, from 1.
        document: usize,
        /// Line in the whole text, from 1.
        line: u64,
        /// What is wrong with it.
        message: String,
    },
    /// Keys and certificates.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// The network refused a listener.
    #[error("listening on {what}: {source}")]
    Listen {
        /// Host and port.
        what: String,
        /// The network's reason.
        source: std::io::Error,
    },
}
