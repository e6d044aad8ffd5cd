//! Types of expressions, and the schema-shaped declarations of `self`.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// A type of the language.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Anything; checked at run time.
    Dyn,
    /// `null`
    Null,
    /// `bool`
    Bool,
    /// 64 bits, signed.
    Int,
    /// 64 bits, unsigned.
    Uint,
    /// IEEE 754 binary64.
    Double,
    /// Unicode text.
    String,
    /// Bytes.
    Bytes,
    /// An instant.
    Timestamp,
    /// A span of time, in nanoseconds.
    Duration,
    /// A list of items.
    List(Arc<Type>),
    /// A map from keys to values.
    Map(Arc<Type>, Arc<Type>),
    /// An object with declared fields.
    Object(Arc<ObjectType>),
    /// A value that may be absent.
    Optional(Arc<Type>),
    /// The type of types.
    Type(Arc<Type>),
    /// A type of a library (`kubernetes.Quantity`, `net.IP`).
    Opaque(&'static str),
    /// A parameter of a signature, or an unknown of the checker.
    Param(usize),
}

/// An object's name and fields; the names are escaped as expressions write them.
#[derive(Debug, PartialEq)]
pub struct ObjectType {
    /// Name, for messages.
    pub name: String,
    /// Fields: the escaped name, the name in the data, the type.
    pub fields: BTreeMap<String, (String, Type)>,
}

impl Type {
    /// A list.
    pub fn list(item: Type) -> Self {
        Type::List(Arc::new(item))
    }

    /// A map with text keys.
    pub fn map(value: Type) -> Self {
        Type::Map(Arc::new(Type::String), Arc::new(value))
    }

    /// An optional value.
    pub fn optional(inner: Type) -> Self {
        Type::Optional(Arc::new(inner))
    }

    pub(crate) fn has_params(&self) -> bool {
        match self {
            Type::Param(_) => true,
            Type::List(a) | Type::Optional(a) | Type::Type(a) => a.has_params(),
            Type::Map(a, b) => a.has_params() || b.has_params(),
            _ => false,
        }
    }

    /// The same type with its parameters given by `f`.
    pub(crate) fn replace(&self, f: &mut impl FnMut(usize) -> Type) -> Type {
        match self {
            Type::Param(n) => f(*n),
            Type::List(a) => Type::List(Arc::new(a.replace(f))),
            Type::Optional(a) => Type::Optional(Arc::new(a.replace(f))),
            Type::Type(a) => Type::Type(Arc::new(a.replace(f))),
            Type::Map(a, b) => Type::Map(Arc::new(a.replace(f)), Arc::new(b.replace(f))),
            other => other.clone(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn | Type::Param(_) => f.write_str("dyn"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(item) => write!(f, "list({item})"),
            Type::Map(key, value) => write!(f, "map({key}, {value})"),
            Type::Object(object) => f.write_str(&object.name),
            Type::Optional(inner) => write!(f, "optional_type({inner})"),
            Type::Type(inner) => write!(f, "type({inner})"),
            Type::Opaque(name) => f.write_str(name),
        }
    }
}

/// A declaration: a type with how large its values can get, which is what costs are estimated from.
#[derive(Clone, Debug)]
pub struct Decl {
    /// The type.
    pub ty: Type,
    /// Most characters, bytes, items or entries a value can have.
    pub elements_max: u64,
    /// Fewest bytes of JSON a value takes.
    pub serialized_min: u64,
    /// Items of a list, values of a map.
    pub element: Option<Arc<Decl>>,
    /// Fields of an object by escaped name.
    pub fields: Arc<BTreeMap<String, Decl>>,
}

impl Decl {
    /// A declaration without parts.
    pub fn scalar(ty: Type, elements_max: u64, serialized_min: u64) -> Self {
        Self { ty, elements_max, serialized_min, element: None, fields: Arc::default() }
    }
}

/// A field's name as an expression writes it, or `None` for a name that no expression can write.
///
/// ```
/// assert_eq!(sim_kube_cel::escape("a-b.c/d__e"), Some("a__dash__b__dot__c__slash__d__underscores__e".into()));
/// assert_eq!(sim_kube_cel::escape("namespace"), Some("__namespace__".into()));
/// assert_eq!(sim_kube_cel::escape("1a"), None);
/// ```
pub fn escape(name: &str) -> Option<String> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if crate::lexer::RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c)) {
        return None;
    }
    let text = name.replace("__", "__underscores\u{0}").replace('.', "__dot__").replace('-', "__dash__");
    Some(text.replace('/', "__slash__").replace('\u{0}', "__"))
}
