//! Go's `text/template`: what Prometheus' alerts and Alertmanager's notifications are written in.
//!
//! [`Templates`] are what a text defines; [`Templates::render`] runs one of them for a [`Host`], which adds functions and values
//! of its own ([`Extra`]). Messages are Go's, with its places: `template: name:line:column: executing "name" at <…>: …`. A key
//! that a map does not have is empty (`missingkey=zero`), as with both hosts.
//!
//! Everything is bounded: the text, how deep it nests, what it makes, and how much it may do.
//!
//! ```
//! use sim_template::{NoHost, Templates, Value};
//! let templates = Templates::parse("t", "{{ range $i, $x := . }}{{ if $i }}, {{ end }}{{ $x | printf \"%03d\" }}{{ end }}", &NoHost).unwrap();
//! let list = Value::list(vec![Value::Int(7), Value::Int(8)]).unwrap();
//! assert_eq!(Templates::render(&[&templates], "t", &list, &NoHost).unwrap(), "007, 008");
//! ```
//!
//! Left out: complex numbers and hexadecimal fractions; `printf` inside the host's values with verbs other than `%v` and `%s`;
//! where something lies in memory, which Go prints of pointers in lists; that an `interface {}` is what a message names, not what is
//! in it; functions as values (`call` says that there is none).

pub mod duration;
pub mod escape;
mod exec;
mod functions;
mod lex;
mod parse;
pub mod print;
pub mod syntax;
pub mod time;
mod value;
pub mod words;

pub use time::Time;
pub use value::{Extra, Nest, Outcome, Shape, Signature, Type, Value};

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

/// Largest template text.
pub const TEXT_BYTES_MAX: usize = 1 << 20;
/// How many tokens and texts a template may have.
pub const TOKENS_MAX: usize = 200_000;
/// How deep blocks and parentheses of a text may nest.
pub const NESTING_MAX: usize = 60;
/// How deep blocks, parentheses and calls may nest when a template runs.
pub const EXECUTION_NESTING_MAX: usize = 300;
/// How deep templates may call one another.
pub const CALLS_MAX: usize = 100;
/// How deep lists and maps may nest.
pub const VALUE_NESTING_MAX: usize = 60;
/// How many items a list or a map of a template's making may have.
pub const ITEMS_MAX: usize = 100_000;
/// Largest rendered text, and largest text that a function makes.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Largest width and precision of `printf`.
pub const PRINTF_WIDTH_MAX: usize = 1000;
/// How many nodes and operands one rendering may look at; values count by their size.
pub const WORK_MAX: usize = 2_000_000;

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Its text.
    #[error("{0}")]
    Parse(String),
    /// What it does.
    #[error("{0}")]
    Execute(String),
}

/// The surroundings of a template: functions and values that are not Go's.
pub trait Host {
    /// Its values.
    type Extra: Extra;

    /// What a function of its own takes; those of Go's give way.
    fn signature(&self, name: &str) -> Option<Signature>;

    /// What a function of its own answers. The arguments are as many, and of the types, that the signature says.
    ///
    /// # Errors
    /// What the function says.
    fn call(&self, name: &str, args: &[Value<Self::Extra>]) -> Outcome<Self::Extra>;

    /// What an action prints after what stands `before` it.
    fn shown(&self, before: &str, value: &Value<Self::Extra>, printed: String) -> String {
        let _ = (before, value);
        printed
    }
}

/// A host without functions or values of its own.
#[derive(Debug, Clone, Copy)]
pub struct NoHost;

impl Extra for Infallible {
    fn type_name(&self) -> &'static str {
        match *self {}
    }

    fn shape(&self) -> Shape {
        match *self {}
    }

    fn field(&self, _: &str) -> Option<Value<Self>> {
        match *self {}
    }

    fn print(&self, _: &mut dyn fmt::Write) -> fmt::Result {
        match *self {}
    }
}

impl Host for NoHost {
    type Extra = Infallible;

    fn signature(&self, _: &str) -> Option<Signature> {
        None
    }

    fn call(&self, name: &str, _: &[Value<Infallible>]) -> Outcome<Infallible> {
        Err(format!("no function {name}"))
    }
}

/// A template and where it comes from.
#[derive(Debug)]
struct Body {
    file: String,
    nodes: Vec<syntax::Node>,
}

/// Templates by name. Copies share what was parsed.
#[derive(Debug, Clone, Default)]
pub struct Templates {
    named: BTreeMap<String, Arc<Body>>,
}

impl Templates {
    /// The templates of one text: those that it defines, and the text itself under `name`.
    ///
    /// # Errors
    /// [`Error::Parse`] with the line; functions must be Go's or the host's.
    pub fn parse<H: Host>(name: &str, text: &str, host: &H) -> Result<Self, Error> {
        let known = |name: &str| host.signature(name).is_some() || functions::signature(name).is_some();
        let parsed = parse::parse(name, text, &known).map_err(Error::Parse)?;
        let body = |nodes| Arc::new(Body { file: name.to_owned(), nodes });
        Ok(Self { named: parsed.into_iter().map(|(name, nodes)| (name, body(nodes))).collect() })
    }

    /// Takes the templates of others; a template without content does not replace one.
    pub fn extend(&mut self, others: Self) {
        for (name, body) in others.named {
            if !self.named.contains_key(&name) || !parse::is_blank(&body.nodes) {
                self.named.insert(name, body);
            }
        }
    }

    /// What a template consists of.
    pub fn nodes(&self, name: &str) -> Option<&[syntax::Node]> {
        self.named.get(name).map(|body| body.nodes.as_slice())
    }

    /// Every template with what it consists of, in the order of their names.
    pub fn all(&self) -> impl Iterator<Item = (&str, &[syntax::Node])> {
        self.named.iter().map(|(name, body)| (name.as_str(), body.nodes.as_slice()))
    }

    /// Renders the template `name` with `dot`. The templates of the first set go before those of the next.
    ///
    /// # Errors
    /// [`Error::Execute`] with the place.
    pub fn render<H: Host>(sets: &[&Self], name: &str, dot: &Value<H::Extra>, host: &H) -> Result<String, Error> {
        let mut renderer = exec::Renderer::new(host, sets);
        renderer.run(name, dot).map_err(Error::Execute)?;
        Ok(renderer.out)
    }
}

#[cfg(test)]
mod tests;
