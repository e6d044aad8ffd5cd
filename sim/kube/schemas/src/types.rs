//! The compact form that an engine walks.

use std::{
    collections::BTreeMap,
    ops::Deref,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

use crate::{facts::Facts, rows};

/// Where references point: Kubernetes' OpenAPI v3 keeps definitions here.
pub(crate) const REFERENCE: &str = "#/components/schemas/";

/// How the items of a list are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// The list is one value.
    Atomic,
    /// By their value.
    Set,
    /// By these fields.
    Map(Vec<Box<str>>),
}

/// What strategic merge does with a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Lists are merged rather than replaced.
    pub merge: bool,
    /// The field by which items are matched; none for lists of scalars.
    pub key: Option<Box<str>>,
    /// `$retainKeys` clears what is not named.
    pub retain_keys: bool,
}

/// A list.
#[derive(Debug)]
pub struct List {
    /// Type of the items.
    pub item: Type,
    /// How items are told apart.
    pub kind: ListKind,
    /// True if the schema says so itself (`x-kubernetes-list-type` is shown).
    pub declared: bool,
}

/// A map with free keys.
#[derive(Debug)]
pub struct Map {
    /// Type of the values.
    pub value: Type,
    /// The map is one value.
    pub atomic: bool,
}

/// The type of a value.
#[derive(Debug)]
pub enum Type {
    /// Anything, kept as it is (`RawExtension`, `FieldsV1`, `JSON`).
    Any,
    /// A boolean.
    Bool,
    /// A number of 32 bits.
    Int32,
    /// A number of 64 bits.
    Int64,
    /// A number.
    Float,
    /// Text; the name of its type in messages, `v1.PullPolicy` (empty for plain `string`).
    Text(&'static str),
    /// Base64.
    Bytes,
    /// RFC 3339, seconds.
    Time,
    /// RFC 3339, microseconds.
    MicroTime,
    /// `resource.Quantity`.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// A list.
    List(Box<List>),
    /// A map with free keys.
    Map(Box<Map>),
    /// A structure.
    Struct(Reference),
    /// A structure that this place treats as one value in apply.
    AtomicStruct(Reference),
    /// A JSON schema, a list of them, or something else (`JSONSchemaPropsOrBool`).
    SchemaOr(Reference),
}

/// A field of a structure.
#[derive(Debug)]
pub struct Field {
    /// Name on the wire.
    pub name: Box<str>,
    /// Its type.
    pub of: Type,
    /// Whether the published schema requires it.
    pub required: bool,
    /// Strategic merge.
    pub patch: Patch,
    /// The default that the published schema gives.
    pub default: Option<Value>,
}

/// A structure.
#[derive(Debug)]
pub struct Struct {
    /// Name of its definition, `io.k8s.api.core.v1.PodSpec`.
    pub definition: Box<str>,
    /// Name of its type in messages, `PodSpec`.
    pub go: Box<str>,
    /// Version in which its type lives, as messages name it: `v1`.
    pub package: Box<str>,
    /// The structure is one value.
    pub atomic: bool,
    fields: Box<[Field]>,
}

impl Struct {
    /// The field of this name, case as given.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|f| (*f.name).cmp(name)).ok().map(|at| &self.fields[at])
    }

    /// All fields, by name.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }
}

/// A definition that is made when it is first looked into.
#[derive(Debug)]
pub struct Definition {
    name: String,
    made: OnceLock<Struct>,
}

/// A shared reference to a structure; follows to it by dereferencing.
#[derive(Clone, Copy, Debug)]
pub struct Reference(&'static Definition);

impl Deref for Reference {
    type Target = Struct;

    fn deref(&self) -> &Struct {
        self.get()
    }
}

impl Reference {
    /// The structure, for the life of the process.
    pub fn get(self) -> &'static Struct {
        self.0.made.get_or_init(|| make(&self.0.name, &mut book()))
    }

    /// Name of the definition, without making it.
    pub fn name(self) -> &'static str {
        &self.0.name
    }
}

impl PartialEq for Reference {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

/// The generator with every definition it has made, and the references given out.
pub(crate) struct Book {
    pub generator: SchemaGenerator,
    references: BTreeMap<String, Reference>,
}

/// The one book of the process. A panic while it is held leaves whole definitions only, so that poison means nothing.
pub(crate) fn book() -> MutexGuard<'static, Book> {
    static BOOK: OnceLock<Mutex<Book>> = OnceLock::new();
    BOOK.get_or_init(|| {
        let settings = SchemaSettings::openapi3().with(|s| s.definitions_path = "/components/schemas".into());
        Mutex::new(Book { generator: settings.into_generator(), references: BTreeMap::new() })
    })
    .lock()
    .unwrap_or_else(PoisonError::into_inner)
}

impl Book {
    fn reference(&mut self, name: &str) -> Reference {
        if let Some(found) = self.references.get(name) {
            return *found;
        }
        // Definitions are a few hundred and live as long as the process.
        let reference = Reference(Box::leak(Box::new(Definition { name: name.to_owned(), made: OnceLock::new() })));
        self.references.insert(name.to_owned(), reference);
        reference
    }
}

/// The structure of a built-in kind; `None` for a kind that is not built in.
pub fn kind(group: &str, version: &str, kind: &str) -> Option<&'static Struct> {
    let root = rows::roots().iter().find(|r| r.kind == kind && r.group == group && r.version == version)?;
    let reference = {
        let mut book = book();
        root.generate(&mut book.generator);
        book.reference(&root.definition())
    };
    Some(reference.get())
}

/// `ObjectMeta`, which every object has.
pub fn object_meta() -> &'static Struct {
    static META: OnceLock<&'static Struct> = OnceLock::new();
    META.get_or_init(|| match kind("", "v1", "ConfigMap").and_then(|k| k.field("metadata")).map(|f| &f.of) {
        Some(Type::Struct(meta)) => meta.get(),
        other => unreachable!("the metadata of a ConfigMap is a structure, not {other:?}"),
    })
}

/// The structure of a definition by its full name, if some kind that was asked for before reaches it.
pub fn definition(name: &str) -> Option<&'static Struct> {
    let reference = {
        let mut book = book();
        book.generator.definitions().get(name)?.get("properties")?;
        book.reference(name)
    };
    Some(reference.get())
}

fn make(name: &str, book: &mut Book) -> Struct {
    let facts = Facts::of(name);
    let schema = book.generator.definitions().get(name).cloned().unwrap_or(Value::Null);
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let mut fields: Vec<Field> = properties
        .into_iter()
        .flatten()
        .map(|(field, inner)| {
            let mut about = facts.field(field);
            let of = type_of(inner, about.list.take(), about.atomic_map, about.go.unwrap_or(""), book);
            Field {
                name: field.as_str().into(),
                of,
                required: required.contains(&field.as_str()),
                patch: about.patch,
                default: about.default,
            }
        })
        .collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    let short = crate::facts::short(name);
    let (package, go) = short.split_once('.').and_then(|(_, rest)| rest.split_once('.')).unwrap_or(("v1", short));
    Struct {
        definition: name.into(),
        go: go.into(),
        package: package.into(),
        atomic: facts.atomic,
        fields: fields.into(),
    }
}

fn type_of(schema: &Value, list: Option<ListKind>, atomic: bool, go: &'static str, book: &mut Book) -> Type {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(REFERENCE)) {
        return match target.rsplit('.').next().unwrap_or("") {
            "Quantity" => Type::Quantity,
            "IntOrString" => Type::IntOrString,
            "Time" => Type::Time,
            "MicroTime" => Type::MicroTime,
            "RawExtension" | "FieldsV1" | "JSON" => Type::Any,
            "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => {
                let props = target.rsplit_once('.').map_or("", |(package, _)| package).to_owned() + ".JSONSchemaProps";
                Type::SchemaOr(book.reference(&props))
            }
            _ if atomic || Facts::of(target).atomic => Type::AtomicStruct(book.reference(target)),
            _ => Type::Struct(book.reference(target)),
        };
    }
    let format = schema.get("format").and_then(Value::as_str).unwrap_or("");
    match schema.get("type").and_then(Value::as_str) {
        Some("boolean") => Type::Bool,
        Some("integer") if format == "int64" => Type::Int64,
        Some("integer") => Type::Int32,
        Some("number") => Type::Float,
        Some("string") if format == "byte" => Type::Bytes,
        Some("string") => Type::Text(go),
        Some("array") => {
            let item = schema.get("items").map_or(Type::Any, |items| type_of(items, None, false, go, book));
            let declared = list.is_some();
            Type::List(Box::new(List { item, kind: list.unwrap_or(ListKind::Atomic), declared }))
        }
        Some("object") => match schema.get("additionalProperties") {
            Some(inner) if inner.is_object() => {
                Type::Map(Box::new(Map { value: type_of(inner, None, false, go, book), atomic }))
            }
            _ => Type::Any,
        },
        _ => Type::Any,
    }
}
