//! What can go wrong, in Tempo's words where Tempo has them.

use crate::traceql::ParseError;

/// Errors of this crate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A character that is no hexadecimal digit.
    #[error("trace IDs can only contain hex characters: invalid character '{character}' at position {position}")]
    TraceIdCharacter {
        /// The character.
        character: char,
        /// Its place, counted from 1.
        position: usize,
    },
    /// More than 32 digits.
    #[error("trace IDs can't be larger than 128 bits")]
    TraceIdTooLong,
    /// A span was pushed whose trace id has the wrong length.
    #[error("trace ids must be 128 bit, received {0} bits")]
    TraceIdBits(usize),
    /// A span was pushed whose span id has the wrong length.
    #[error("span ids must be 64 bit, received {0} bits")]
    SpanIdBits(usize),
    /// The query is not (supported) TraceQL.
    #[error("invalid TraceQL query: {0}")]
    Query(#[from] ParseError),
    /// A parameter of a request makes no sense.
    #[error("{0}")]
    Parameter(String),
    /// The configuration file is refused.
    #[error("failed to parse configFile {file}: {message}")]
    Config {
        /// Its name.
        file: String,
        /// What is wrong, with line and column.
        message: String,
    },
    /// A port could not be had.
    #[error("listen on port {port}: {message}")]
    Listen {
        /// The port.
        port: u16,
        /// The network's reason.
        message: String,
    },
}
