//! The syntax tree, and its text.

use std::fmt;

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

/// What a macro does with the items of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Macro {
    All,
    Exists,
    ExistsOne,
    Map,
    Filter,
    TransformList,
    TransformMap,
    TransformMapEntry,
    OptMap,
    OptFlatMap,
}

impl Macro {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Macro::All => "all",
            Macro::Exists => "exists",
            Macro::ExistsOne => "exists_one",
            Macro::Map => "map",
            Macro::Filter => "filter",
            Macro::TransformList => "transformList",
            Macro::TransformMap => "transformMap",
            Macro::TransformMapEntry => "transformMapEntry",
            Macro::OptMap => "optMap",
            Macro::OptFlatMap => "optFlatMap",
        }
    }
}

/// One expression with its place in the text (in characters) and a number of its own.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) id: usize,
    pub(crate) at: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Literal(Literal),
    Ident(String),
    /// `a.b`; with `test`, the `has(a.b)` macro.
    Select {
        operand: Box<Expr>,
        field: String,
        test: bool,
    },
    /// Operators by their CEL names (`_+_`), functions by theirs; `?.` is `_?._`, `[?]` is `_[?_]`.
    Call {
        name: String,
        target: Option<Box<Expr>>,
        args: Vec<Expr>,
    },
    /// Items; the bool says whether an item is optional (`[?x]`).
    List(Vec<(Expr, bool)>),
    Map(Vec<(Expr, Expr, bool)>),
    Message(String),
    /// The predicate of an iteration (or, with three arguments, its filter) stands before the transformation.
    Macro {
        kind: Macro,
        range: Box<Expr>,
        vars: Vec<String>,
        args: Vec<Expr>,
    },
}

/// Binary operators: text, CEL name, how tightly they bind.
pub(crate) const BINARY: &[(&str, &str, u8)] = &[
    ("||", "_||_", 2),
    ("&&", "_&&_", 3),
    ("==", "_==_", 4),
    ("!=", "_!=_", 4),
    ("<=", "_<=_", 4),
    (">=", "_>=_", 4),
    ("<", "_<_", 4),
    (">", "_>_", 4),
    ("in", "@in", 4),
    ("+", "_+_", 5),
    ("-", "_-_", 5),
    ("*", "_*_", 6),
    ("/", "_/_", 6),
    ("%", "_%_", 6),
];

fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Null => f.write_str("null"),
            Literal::Bool(b) => write!(f, "{b}"),
            Literal::Int(i) => write!(f, "{i}"),
            Literal::Uint(u) => write!(f, "{u}u"),
            Literal::Double(d) => write!(f, "{d:?}"),
            Literal::String(s) => write_string(f, s),
            Literal::Bytes(b) => {
                f.write_str("b\"")?;
                b.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))?;
                f.write_str("\"")
            }
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Literal(literal) => write!(f, "{literal}"),
            Kind::Ident(name) => f.write_str(name),
            Kind::Select { operand, field, test: false } => write!(f, "{operand}.{field}"),
            Kind::Select { operand, field, test: true } => write!(f, "has({operand}.{field})"),
            Kind::Call { name, target: None, args } => match (name.as_str(), args.as_slice()) {
                ("_?_:_", [a, b, c]) => write!(f, "({a} ? {b} : {c})"),
                ("!_", [a]) => write!(f, "(!{a})"),
                ("-_", [a]) => write!(f, "(-({a}))"),
                ("_[_]", [a, b]) => write!(f, "{a}[{b}]"),
                ("_[?_]", [a, b]) => write!(f, "{a}[?{b}]"),
                ("_?._", [a, Expr { kind: Kind::Literal(Literal::String(field)), .. }]) => write!(f, "{a}.?{field}"),
                (operator, [a, b]) if BINARY.iter().any(|(_, n, _)| *n == operator) => {
                    let text = BINARY.iter().find(|(_, n, _)| *n == operator).map_or("", |(text, ..)| text);
                    write!(f, "({a} {text} {b})")
                }
                (name, args) => {
                    write!(f, "{name}(")?;
                    list(f, args)?;
                    f.write_str(")")
                }
            },
            Kind::Call { name, target: Some(target), args } => {
                write!(f, "{target}.{name}(")?;
                list(f, args)?;
                f.write_str(")")
            }
            Kind::List(items) => {
                f.write_str("[")?;
                for (i, (item, optional)) in items.iter().enumerate() {
                    write!(f, "{}{}{item}", if i > 0 { ", " } else { "" }, if *optional { "?" } else { "" })?;
                }
                f.write_str("]")
            }
            Kind::Map(entries) => {
                f.write_str("{")?;
                for (i, (key, value, optional)) in entries.iter().enumerate() {
                    write!(f, "{}{}{key}: {value}", if i > 0 { ", " } else { "" }, if *optional { "?" } else { "" })?;
                }
                f.write_str("}")
            }
            Kind::Message(name) => write!(f, "{name}{{}}"),
            Kind::Macro { kind, range, vars, args } => {
                write!(f, "{range}.{}({}, ", kind.name(), vars.join(", "))?;
                list(f, args)?;
                f.write_str(")")
            }
        }
    }
}

fn list(f: &mut fmt::Formatter<'_>, args: &[Expr]) -> fmt::Result {
    for (i, arg) in args.iter().enumerate() {
        write!(f, "{}{arg}", if i > 0 { ", " } else { "" })?;
    }
    Ok(())
}
