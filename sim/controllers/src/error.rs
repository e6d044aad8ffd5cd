//! What can go wrong between a controller and the API server.

/// An error of a controller of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request could not be sent or its answer not be read.
    #[error("{what}: {source}")]
    Http {
        /// What was being asked.
        what: String,
        /// The transport's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The API server answered with an error.
    #[error("{what}: {status}: {message}")]
    Api {
        /// What was being asked.
        what: String,
        /// The HTTP status code.
        status: u16,
        /// The `message` of the `metav1.Status` in the body, or the body's beginning.
        message: String,
    },
    /// The API server answered with something else than the JSON that was asked for.
    #[error("{what}: the answer is not the expected JSON: {source}")]
    Json {
        /// What was being asked.
        what: String,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// The resource version to go on from is no longer kept: everything has to be listed anew.
    #[error("{what}: resource version expired")]
    Expired {
        /// What was being watched.
        what: String,
    },
    /// A line of a watch or a list is longer than this controller is ready to hold.
    #[error("{what}: more than {limit_bytes} bytes in one piece")]
    TooLarge {
        /// What was being read.
        what: String,
        /// The limit that was reached.
        limit_bytes: usize,
    },
    /// Nothing came, not even a bookmark, within the time that the server had been given.
    #[error("{what}: silent for {seconds} s")]
    Silent {
        /// What was being watched.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
}
