//! Kubernetes' dialect of the Common Expression Language: parser, type checker, cost estimate, evaluator.
//!
//! **Why not a kept crate.** `cel` (formerly cel-interpreter) parses with an ANTLR runtime and interprets dynamically: it
//! has no static type checker, no counting of costs, no estimate of them, neither Kubernetes' nor the strings, lists and
//! sets libraries, and error texts of its own. Type errors when a definition is written, budgets while objects are
//! checked and the texts of both are what this is about; what a kept crate would have left us is the smaller half.
//!
//! ```
//! use serde_json::json;
//! use sim_kube_cel::{Decl, Output, Program, Type, Variable};
//! let list = Decl { element: Some(std::sync::Arc::new(Decl::scalar(Type::Int, 1, 1))), ..Decl::scalar(Type::list(Type::Int), 10, 2) };
//! let program = Program::compile("self.all(x, x > 0)", &[("self", &list, false)]).unwrap();
//! let data = json!([1, 2, 3]);
//! let (output, cost) = program.evaluate(&[("self", Variable::Json(&data, &list.ty))], 1_000);
//! assert_eq!(output, Ok(Output::Bool(true)));
//! assert!(cost <= program.cost_max());
//! assert_eq!(
//!     Program::compile("self == 'a'", &[("self", &list, false)]).unwrap_err(),
//!     "ERROR: <input>:1:6: found no matching overload for '_==_' applied to '(list(int), string)'\n | self == 'a'\n | .....^"
//! );
//! ```
//!
//! **Bounds.** Text ≤ 100 000 code points, nesting ≤ 250, each evaluation by its cost limit, which is checked before the
//! work is done. **Not done:** names of time zones (`getHours('Europe/Berlin')`; offsets are), `cel.bind`, the authorizer,
//! message construction.

mod ast;
mod check;
mod cost;
mod eval;
mod functions;
mod lexer;
mod parser;
pub mod pattern;
mod signatures;
mod types;
mod value;

use std::collections::BTreeSet;

use serde_json::Value as Json;

pub use functions::time::go_duration;
pub use types::{Decl, ObjectType, Type, escape};

/// Something wrong at a place of an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    /// In characters from the start.
    pub(crate) at: usize,
    pub(crate) message: String,
}

/// The issues as the real compiler prints them: place, message, line, and a caret under it.
fn report(source: &str, issues: &[Issue]) -> String {
    let lines: Vec<&str> = source.split('\n').collect();
    let texts: Vec<String> = issues
        .iter()
        .map(|issue| {
            let (mut line, mut column) = (0, issue.at);
            while line + 1 < lines.len() && column > lines[line].chars().count() {
                column -= lines[line].chars().count() + 1;
                line += 1;
            }
            let text = lines.get(line).copied().unwrap_or("").replace('\t', " ");
            let marks: String = text.chars().take(column).map(|c| if c.len_utf8() > 1 { '．' } else { '.' }).collect();
            format!("ERROR: <input>:{}:{}: {}\n | {text}\n | {marks}^", line + 1, column + 1, issue.message)
        })
        .collect();
    texts.join("\n")
}

/// Why an evaluation has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError {
    message: String,
    over_limit: bool,
}

impl EvalError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), over_limit: false }
    }

    pub(crate) fn over_limit() -> Self {
        Self { message: "operation cancelled: actual cost limit exceeded".into(), over_limit: true }
    }

    /// True if the cost limit ended the evaluation.
    pub fn is_over_limit(&self) -> bool {
        self.over_limit
    }
}

impl std::fmt::Display for EvalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EvalError {}

/// What a variable stands for during an evaluation.
#[derive(Clone, Copy, Debug)]
pub enum Variable<'a> {
    /// JSON of a declared type.
    Json(&'a Json, &'a Type),
    /// JSON that may be absent, seen as an optional value.
    Optional(Option<(&'a Json, &'a Type)>),
}

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// Something else, as text.
    Other(String),
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Program {
    expr: ast::Expr,
    result: Type,
    variables: BTreeSet<String>,
    cost_max: u64,
}

impl Program {
    /// Parses, checks and estimates an expression; a variable whose flag is set is optional.
    ///
    /// # Errors
    /// The compiler's report: one paragraph an issue.
    pub fn compile(text: &str, variables: &[(&str, &Decl, bool)]) -> Result<Self, String> {
        let (mut expr, ids) = parser::parse(text).map_err(|issue| report(text, &[issue]))?;
        let typed: Vec<(&str, Type)> = variables
            .iter()
            .map(|(name, decl, optional)| {
                (*name, if *optional { Type::optional(decl.ty.clone()) } else { decl.ty.clone() })
            })
            .collect();
        let checked = check::check(&mut expr, ids, &typed).map_err(|issues| report(text, &issues))?;
        let sized: Vec<(&str, &Decl)> = variables.iter().map(|(name, decl, _)| (*name, *decl)).collect();
        let cost_max = cost::estimate(&expr, &checked.types, &sized);
        Ok(Self { expr, result: checked.result, variables: checked.variables, cost_max })
    }

    /// The type of the value.
    pub fn result(&self) -> &Type {
        &self.result
    }

    /// True if the variable occurs.
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }

    /// The most it can cost on data that its declarations allow.
    pub fn cost_max(&self) -> u64 {
        self.cost_max
    }

    /// Evaluates; the number is what it cost.
    pub fn evaluate(&self, variables: &[(&str, Variable<'_>)], cost_limit: u64) -> (Result<Output, EvalError>, u64) {
        let mut run = eval::Evaluation { scope: Vec::with_capacity(variables.len() + 2), cost: 0, limit: cost_limit };
        for (name, variable) in variables {
            let value = match variable {
                Variable::Json(json, ty) => value::from_json(json, ty),
                Variable::Optional(None) => Ok(value::Value::Optional(None)),
                Variable::Optional(Some((json, ty))) => value::from_json(json, ty).map(value::Value::some),
            };
            match value {
                Ok(value) => run.scope.push((name, value)),
                Err(e) => return (Err(e), 0),
            }
        }
        let output = run.eval(&self.expr).map(|value| match value {
            value::Value::Bool(b) => Output::Bool(b),
            value::Value::String(s) => Output::Text(s.into_owned()),
            other => Output::Other(functions::shown(&other)),
        });
        (output, run.cost)
    }
}

#[cfg(test)]
mod tests;
