//! Why a Collector does not start.

/// Errors of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file cannot be turned into a configuration; the text is the Collector's where it has one.
    #[error("failed to get config: cannot unmarshal the configuration: {0}")]
    Unmarshal(String),
    /// The configuration contradicts itself.
    #[error("invalid configuration: {0}")]
    Invalid(String),
    /// The real Collector has it, this one does not.
    #[error("not implemented in this simulation: {0}")]
    NotImplemented(String),
    /// A port could not be had.
    #[error("cannot start pipelines: listen tcp :{port}: {message}")]
    Listen {
        /// The port.
        port: u16,
        /// The network's reason.
        message: String,
    },
}
