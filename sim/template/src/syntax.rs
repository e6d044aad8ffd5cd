//! What a parsed template is made of. Everything shows itself as Go does in its messages.

use std::fmt::{self, Display, Formatter};

/// Where something begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct At {
    /// From 1.
    pub line: u32,
    /// Bytes from the start of the line.
    pub column: u32,
}

/// A piece of a template.
#[derive(Debug, Clone)]
pub enum Node {
    /// Text as it stands.
    Text(String),
    /// A pipeline whose value is printed, or declares.
    Action(Pipeline),
    /// `if`, what follows, and what follows `else`.
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `with`, what follows, and what follows `else`.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `range`, what is repeated, and what follows `else`.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// Another template by name.
    Call(Call),
    /// `break`
    Break,
    /// `continue`
    Continue,
}

/// `template "name" pipeline`, also of a `block`.
#[derive(Debug, Clone)]
pub struct Call {
    /// Which template.
    pub name: String,
    /// Its dot.
    pub dot: Option<Pipeline>,
    /// Where the name stands.
    pub at: At,
}

/// Commands of which each is given to the next.
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    /// What is declared or assigned.
    pub variables: Vec<String>,
    /// `=` and not `:=`.
    pub assign: bool,
    /// At least one.
    pub commands: Vec<Command>,
    /// Where it begins.
    pub at: At,
}

/// A value or a call.
#[derive(Debug, Clone, Default)]
pub struct Command {
    /// At least one; the first may be a function, or a method.
    pub operands: Vec<Operand>,
    /// Where it begins.
    pub at: At,
}

/// What a command is made of.
#[derive(Debug, Clone)]
pub struct Operand {
    /// What it is.
    pub kind: OperandKind,
    /// Where it stands for Go: the first of several fields.
    pub at: At,
}

/// What an operand is.
#[derive(Debug, Clone)]
pub enum OperandKind {
    /// A constant and how it is written.
    Literal(Literal, String),
    /// `nil`
    Nil,
    /// A function's name.
    Function(String),
    /// `.`
    Dot,
    /// Fields of the dot.
    Field(Vec<String>),
    /// A variable with its `$`, and fields of it.
    Variable(String, Vec<String>),
    /// What stands in parentheses.
    Group(Box<Pipeline>),
    /// Fields of a group or of what a function says.
    Chain(Box<Operand>, Vec<String>),
}

/// A constant.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `true`
    Bool(bool),
    /// `1`, `'a'`
    Int(i64),
    /// A number that only fits without a sign, which is an error where it is used.
    Large,
    /// `1.5`
    Float(f64),
    /// `"a"`
    Text(String),
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", crate::print::quote(&self.name))?;
        if let Some(dot) = &self.dot {
            write!(f, " {dot}")?;
        }
        f.write_str("}}")
    }
}

impl Display for Pipeline {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assign { "=" } else { ":=" })?;
        }
        for (place, command) in self.commands.iter().enumerate() {
            if place > 0 {
                f.write_str(" | ")?;
            }
            Display::fmt(command, f)?;
        }
        Ok(())
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (place, operand) in self.operands.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            match &operand.kind {
                OperandKind::Group(pipeline) => write!(f, "({pipeline})")?,
                _ => Display::fmt(operand, f)?,
            }
        }
        Ok(())
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut Formatter<'_>, fields: &[String]| fields.iter().try_for_each(|name| write!(f, ".{name}"));
        match &self.kind {
            OperandKind::Literal(_, source) => f.write_str(source),
            OperandKind::Nil => f.write_str("nil"),
            OperandKind::Function(name) => f.write_str(name),
            OperandKind::Dot => f.write_str("."),
            OperandKind::Field(names) => fields(f, names),
            OperandKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            OperandKind::Group(pipeline) => Display::fmt(pipeline, f),
            OperandKind::Chain(inner, names) => {
                match &inner.kind {
                    OperandKind::Group(pipeline) => write!(f, "({pipeline})")?,
                    _ => Display::fmt(inner, f)?,
                }
                fields(f, names)
            }
        }
    }
}
