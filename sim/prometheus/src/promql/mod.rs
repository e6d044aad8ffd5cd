//! PromQL: parser, printer, evaluator.
//!
//! [`parse`] reads the whole stable grammar of Prometheus 3.x with Prometheus's own error texts; [`Expr`] prints as one line of
//! PromQL; [`eval`] holds the evaluator.

mod aggregate;
pub mod ast;
mod binary;
mod columns;
mod display;
pub mod eval;
pub mod functions;
mod known;
mod lexer;
mod parser;
pub(crate) mod quote;
#[cfg(test)]
mod tests;
mod typecheck;

pub use ast::{Expr, ExprKind, ValueType};
pub use eval::{Annotations, EvalError, EvalOptions, QueryValue, Series, VectorSample};
pub(crate) use functions::math;
pub use known::{Known, Mismatch, mismatches};
pub(crate) use parser::parse_metric;
pub use parser::{ParseOptions, parse, parse_selector, parse_with};

use ast::Span;

/// Why a query does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: parse error: {message}")]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// `line:column`, both from one; `unknown position` in an empty query.
    pub position: String,
}

impl ParseError {
    pub(crate) fn new(message: impl Into<String>, query: &str, span: Span) -> Self {
        Self { message: message.into(), position: position(query, span.start) }
    }
}

/// `line:column` of a byte, both from one.
pub(crate) fn position(query: &str, at: usize) -> String {
    if query.is_empty() {
        return "unknown position".to_owned();
    }
    let before = query.get(..at.min(query.len())).unwrap_or(query);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
    format!("{line}:{column}")
}
