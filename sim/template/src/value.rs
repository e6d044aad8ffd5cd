//! What templates compute with.

use crate::time::{self, Time};
use crate::{ITEMS_MAX, VALUE_NESTING_MAX, print};
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Write};
use std::sync::Arc;

/// What a call answers.
pub type Outcome<X> = Result<Value<X>, String>;

/// A type of Go's, as far as parameters need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    /// As Go writes it.
    pub name: &'static str,
    /// Whether `nil` is one of its values.
    pub nil: bool,
}

impl Type {
    /// `interface {}`
    pub const ANY: Self = Self { name: "interface {}", nil: true };
    /// `string`
    pub const TEXT: Self = Self { name: "string", nil: false };
    /// `[]string`
    pub const TEXTS: Self = Self { name: "[]string", nil: true };
    /// `[]interface {}`
    pub const LIST: Self = Self { name: "[]interface {}", nil: true };
    /// `time.Time`
    pub const TIME: Self = Self { name: "time.Time", nil: false };
    /// `time.Duration`
    pub const DURATION: Self = Self { name: "time.Duration", nil: false };
}

/// What a function takes. The renderer counts the arguments and checks their types before it calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature {
    /// The parameters that have to be given.
    pub fixed: &'static [Type],
    /// What more arguments have to be, where there may be more.
    pub rest: Option<Type>,
}

impl Signature {
    /// A function of so many arguments.
    pub const fn of(fixed: &'static [Type]) -> Self {
        Self { fixed, rest: None }
    }

    /// A function of so many arguments or more.
    pub const fn variadic(fixed: &'static [Type], rest: Type) -> Self {
        Self { fixed, rest: Some(rest) }
    }
}

/// How a value answers to names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Its fields are those that it has.
    Struct,
    /// It can be asked for any key that is a text.
    Map,
    /// It has places from 0.
    List,
}

/// The host's own values.
pub trait Extra: Clone + Debug + Sized {
    /// The name of its type in Go.
    fn type_name(&self) -> &'static str;

    /// How it answers to names.
    fn shape(&self) -> Shape;

    /// A field of a struct, or the entry of a map: of every map there is one, if only the empty one.
    fn field(&self, name: &str) -> Option<Value<Self>>;

    /// As Go prints it.
    ///
    /// # Errors
    /// Those of the writer.
    fn print(&self, out: &mut dyn Write) -> fmt::Result;

    /// How many items a list or a map has.
    fn len(&self) -> usize {
        0
    }

    /// Whether a list or a map is empty.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What `range` goes over: keys or places, with items.
    fn items(&self) -> Vec<(Value<Self>, Value<Self>)> {
        Vec::new()
    }

    /// A part of a list.
    fn slice(&self, from: usize, to: usize) -> Option<Self> {
        let _ = (from, to);
        None
    }

    /// What a method takes.
    fn method(&self, name: &str) -> Option<Signature> {
        let _ = name;
        None
    }

    /// What a method answers.
    ///
    /// # Errors
    /// In the method's words.
    fn call(&self, name: &str, args: &[Value<Self>]) -> Outcome<Self> {
        let _ = args;
        Err(format!("no method {name}"))
    }
}

/// Values of which each knows how deep it is, so that no template can build what cannot be printed or dropped.
#[derive(Debug, Clone)]
pub struct Nest<T> {
    items: Arc<T>,
    depth: usize,
}

impl<T> std::ops::Deref for Nest<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.items
    }
}

/// A value of a template.
#[derive(Debug, Clone)]
pub enum Value<X> {
    /// No value at all.
    Nil,
    /// No value where a map or a field could have held any; becomes [`Value::Nil`] at the end of its command.
    NilInterface,
    /// `bool`
    Bool(bool),
    /// `int`
    Int(i64),
    /// `float64`
    Float(f64),
    /// `string`
    Text(String),
    /// Text that HTML takes as it is.
    Safe(String),
    /// `[]interface {}`
    List(Nest<Vec<Value<X>>>),
    /// `[]string`
    Texts(Arc<Vec<String>>),
    /// `map[string]interface {}`
    Map(Nest<BTreeMap<String, Value<X>>>),
    /// An instant in its zone.
    Time(Time),
    /// Nanoseconds.
    Duration(i64),
    /// The host's.
    Extra(X),
}

impl<X> From<&str> for Value<X> {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl<X: Extra> Value<X> {
    fn nest<T>(items: T, count: usize, of: impl Fn(&T) -> usize) -> Result<Nest<T>, String> {
        if count > ITEMS_MAX {
            return Err(format!("more than {ITEMS_MAX} items"));
        }
        let depth = of(&items) + 1;
        if depth > VALUE_NESTING_MAX {
            return Err(format!("values nested deeper than {VALUE_NESTING_MAX}"));
        }
        Ok(Nest { items: Arc::new(items), depth })
    }

    fn depth(&self) -> usize {
        match self {
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
            _ => 0,
        }
    }

    /// A list.
    ///
    /// # Errors
    /// Too many items, or lists in lists too deep.
    pub fn list(items: Vec<Self>) -> Result<Self, String> {
        let count = items.len();
        Self::nest(items, count, |items| items.iter().map(Self::depth).max().unwrap_or(0)).map(Self::List)
    }

    /// A map.
    ///
    /// # Errors
    /// Too many entries, or maps in maps too deep.
    pub fn map(entries: BTreeMap<String, Self>) -> Result<Self, String> {
        let count = entries.len();
        Self::nest(entries, count, |items| items.values().map(Self::depth).max().unwrap_or(0)).map(Self::Map)
    }

    /// Texts.
    pub fn texts(texts: impl IntoIterator<Item = String>) -> Self {
        Self::Texts(Arc::new(texts.into_iter().collect()))
    }

    /// Whether `if` takes it for true.
    pub fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::NilInterface => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Duration(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Extra(extra) if extra.shape() == Shape::Struct => true,
            Self::Time(_) => true,
            _ => self.count().is_some_and(|count| count > 0),
        }
    }

    /// How many bytes or items there are, where there are any.
    pub fn count(&self) -> Option<usize> {
        Some(match self {
            Self::Text(text) | Self::Safe(text) => text.len(),
            Self::List(list) => list.len(),
            Self::Texts(list) => list.len(),
            Self::Map(map) => map.len(),
            Self::Extra(extra) if extra.shape() != Shape::Struct => extra.len(),
            _ => return None,
        })
    }

    /// Whether it is nothing.
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil | Self::NilInterface)
    }

    /// Keys or places, and items, where there are any.
    pub(crate) fn items(&self) -> Option<Vec<(Self, Self)>> {
        let numbered = |items: &mut dyn Iterator<Item = Self>| -> Vec<(Self, Self)> {
            items.enumerate().map(|(place, item)| (Self::Int(place as i64), item)).collect()
        };
        Some(match self {
            Self::Nil | Self::NilInterface => Vec::new(),
            Self::List(list) => numbered(&mut list.iter().cloned()),
            Self::Texts(list) => numbered(&mut list.iter().cloned().map(Self::Text)),
            Self::Map(map) => map.iter().map(|(name, value)| (Self::Text(name.clone()), value.clone())).collect(),
            Self::Extra(extra) if extra.shape() != Shape::Struct => extra.items(),
            _ => return None,
        })
    }

    /// The name of its type in Go.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::NilInterface => "interface {}",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Safe(_) => "template.HTML",
            Self::List(_) => "[]interface {}",
            Self::Texts(_) => "[]string",
            Self::Map(_) => "map[string]interface {}",
            Self::Time(time) if time.pointer => "*time.Time",
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
            Self::Extra(extra) => extra.type_name(),
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::Map(_) => Shape::Map,
            Self::List(_) | Self::Texts(_) => Shape::List,
            Self::Extra(extra) => extra.shape(),
            _ => Shape::Struct,
        }
    }

    pub(crate) fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Map(map) => {
                Some(map.get(name).filter(|value| !value.is_nil()).cloned().unwrap_or(Self::NilInterface))
            }
            Self::Extra(extra) => extra.field(name),
            _ => None,
        }
    }

    pub(crate) fn method(&self, name: &str) -> Option<Signature> {
        match self {
            Self::Time(_) => time::method(name),
            Self::Duration(_) => time::duration_method(name),
            Self::Extra(extra) => extra.method(name),
            _ => None,
        }
    }

    pub(crate) fn call(&self, name: &str, args: &[Self]) -> Outcome<X> {
        match self {
            Self::Time(time) => time.call(name, args),
            Self::Duration(nanos) => time::call_duration(*nanos, name, args),
            Self::Extra(extra) => extra.call(name, args),
            _ => Err(format!("no method {name}")),
        }
    }

    /// As Go prints it.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn print(&self, out: &mut dyn Write) -> fmt::Result {
        match self {
            Self::Nil | Self::NilInterface => out.write_str("<nil>"),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Int(value) => write!(out, "{value}"),
            Self::Float(value) => out.write_str(&print::float(*value)),
            Self::Text(text) | Self::Safe(text) => out.write_str(text),
            Self::List(list) => print::list(out, list.iter(), |out, value| value.print(out)),
            Self::Texts(list) => print::list(out, list.iter(), |out, text| out.write_str(text)),
            Self::Map(map) => print::map(out, map.iter(), |out, value| value.print(out)),
            Self::Time(time) => time.print(out),
            Self::Duration(nanos) => out.write_str(&crate::duration::format(*nanos)),
            Self::Extra(extra) => extra.print(out),
        }
    }

    /// As Go prints it, as long as that is not too large.
    ///
    /// # Errors
    /// More than [`crate::OUTPUT_BYTES_MAX`].
    pub fn text(&self) -> Result<String, String> {
        print::bounded(|out| self.print(out))
    }
}
