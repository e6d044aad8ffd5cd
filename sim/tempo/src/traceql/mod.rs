//! TraceQL: text to [`Query`] ([`parse`]), and a query over one trace ([`Query::evaluate`]).
//!
//! The table of what is supported is in this crate's `README.md`.

pub mod ast;
mod display;
mod eval;
mod lexer;
mod parser;
#[cfg(test)]
mod tests;
pub mod trace;

pub use ast::{Field, Position, Query, Static};
pub(crate) use eval::attributes_of;
pub use eval::{Spanset, field_value};

/// Longest query text.
pub const QUERY_BYTES_MAX: usize = 128 * 1024;
/// Deepest nesting of parentheses and right-hand sides.
pub const QUERY_DEPTH_MAX: usize = 100;
/// Largest compiled regular expression.
pub const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// Why a query was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseErrorKind {
    /// It is not TraceQL.
    Syntax,
    /// It is TraceQL, but its types cannot work.
    Type,
    /// It is TraceQL that this implementation does not have.
    Unsupported,
    /// It is larger than the limits allow.
    Limit,
}

/// A refused query: where and why. Its text has Tempo's shape: `parse error at line 1, col 5: …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parse error at line {}, col {}: {message}", at.line, at.column)]
pub struct ParseError {
    /// Where.
    pub at: Position,
    /// The class of the reason.
    pub kind: ParseErrorKind,
    /// The reason, without the position.
    pub message: String,
}

/// Reads a query.
///
/// ```
/// let query = sim_tempo::traceql::parse(r#"{ resource.service.name = "operator" && status = error } >> { kind = client }"#).unwrap();
/// assert_eq!(query.stages.len(), 1);
///
/// let error = sim_tempo::traceql::parse("{ span.a = }").unwrap_err();
/// assert_eq!(error.to_string(), "parse error at line 1, col 12: syntax error: unexpected }, expecting a value, a field, ( - or !");
/// ```
pub fn parse(text: &str) -> Result<Query, ParseError> {
    parser::parse(text)
}
