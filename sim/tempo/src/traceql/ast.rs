//! What a TraceQL query says, as data, with the place of every part.
//!
//! Names follow the TraceQL documentation (<https://grafana.com/docs/tempo/latest/traceql/construct-traceql-queries/>).

/// A place in the text of a query; both counts start at 1 and the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

/// The status of a span (section "Intrinsic fields").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// `error`
    Error,
    /// `ok`
    Ok,
    /// `unset`
    Unset,
}

/// The kind of a span (section "Intrinsic fields").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `unspecified`
    Unspecified,
    /// `internal`
    Internal,
    /// `server`
    Server,
    /// `client`
    Client,
    /// `producer`
    Producer,
    /// `consumer`
    Consumer,
}

/// A value: a literal of the query or what a field of a span holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Static {
    /// `nil`, and the value of an absent attribute.
    Nil,
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A string.
    String(String),
    /// A boolean.
    Bool(bool),
    /// A duration in nanoseconds.
    Duration(i64),
    /// A span status.
    Status(Status),
    /// A span kind.
    Kind(Kind),
    /// The elements of an attribute that is an array. Never a literal.
    Array(Vec<Static>),
    /// One value for each event or link of a span. Never a literal.
    Each(Vec<Static>),
}

/// A field that every span has without anyone having set an attribute (section "Intrinsic fields").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intrinsic {
    /// `duration`, `span:duration`
    Duration,
    /// `name`, `span:name`
    Name,
    /// `status`, `span:status`
    Status,
    /// `statusMessage`, `span:statusMessage`
    StatusMessage,
    /// `kind`, `span:kind`
    Kind,
    /// `childCount`, `span:childCount`
    ChildCount,
    /// `rootName`, `trace:rootName`
    RootName,
    /// `rootServiceName`, `trace:rootService`
    RootServiceName,
    /// `traceDuration`, `trace:duration`
    TraceDuration,
    /// `trace:id`
    TraceId,
    /// `span:id`
    SpanId,
    /// `span:parentID`
    ParentId,
    /// `event:name`
    EventName,
    /// `event:timeSinceStart`
    EventTimeSinceStart,
    /// `link:traceID`
    LinkTraceId,
    /// `link:spanID`
    LinkSpanId,
    /// `instrumentation:name`
    InstrumentationName,
    /// `instrumentation:version`
    InstrumentationVersion,
    /// `nestedSetLeft`
    NestedSetLeft,
    /// `nestedSetRight`
    NestedSetRight,
    /// `nestedSetParent`; negative for a root span
    NestedSetParent,
}

/// Where an attribute is looked for (section "Attribute fields").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// `.name`: anywhere; the span's own attributes win over the resource's.
    Any,
    /// `span.name`
    Span,
    /// `resource.name`
    Resource,
    /// `event.name`
    Event,
    /// `link.name`
    Link,
    /// `instrumentation.name`
    Instrumentation,
}

/// Something of a span that has a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// An intrinsic.
    Intrinsic(Intrinsic),
    /// An attribute.
    Attribute {
        /// Where to look.
        scope: Scope,
        /// Its whole name, dots included.
        name: String,
    },
}

/// An operator between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `&&`
    And,
    /// `||`
    Or,
}

/// An operator before one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    /// `-`
    Negate,
    /// `!`
    Not,
    /// `… != nil`
    Exists,
    /// `… = nil`
    NotExists,
}

/// An expression over one span, with the place where it starts.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it starts; for a binary operation, where the operator is.
    pub at: Position,
}

/// The forms of an expression.
#[derive(Clone, Debug)]
pub enum ExprKind {
    /// A literal.
    Static(Static),
    /// A field of the span.
    Field(Field),
    /// One operand.
    Unary(UnaryOp, Box<Expr>),
    /// Two operands.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `=~` or `!~` with a literal on the right, compiled; the flag says "not".
    Match(Box<Expr>, Pattern, bool),
}

/// A regular expression as written and as compiled; anchored on both sides (section "Comparison operators").
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As the query has it.
    pub source: String,
    /// Compiled with anchors.
    pub regex: regex::Regex,
}

/// How two sets of spans relate (sections "Combine spansets" and "Structural").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `>`: the right side is a child of the left side.
    Child,
    /// `>>`: the right side is a descendant of the left side.
    Descendant,
    /// `<`: the right side is the parent of the left side.
    Parent,
    /// `<<`: the right side is an ancestor of the left side.
    Ancestor,
    /// `~`: both have the same parent.
    Sibling,
}

/// What a structural operator keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StructuralForm {
    /// Plain: the related spans of the right side.
    Plain,
    /// `!…`: the spans of the right side that are not related to any of the left side.
    Negated,
    /// `&…`: the related spans of both sides.
    Union,
}

/// An operator between two sets of spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpansetOp {
    /// `&&`
    And,
    /// `||`
    Or,
    /// One of the structural operators.
    Structural(Relation, StructuralForm),
}

/// An expression that picks spans of a trace.
#[derive(Clone, Debug)]
pub enum SpansetExpr {
    /// `{ … }`; `None` is `{ }`.
    Filter(Option<Expr>),
    /// Two sets combined.
    Operation(SpansetOp, Box<SpansetExpr>, Box<SpansetExpr>),
    /// `( … | … )` used as a set.
    Pipeline(Vec<Stage>),
}

/// A function over the spans of a spanset (section "Aggregators").
#[derive(Clone, Debug)]
pub enum Aggregate {
    /// `count()`
    Count,
    /// `avg(…)`
    Avg(Expr),
    /// `min(…)`
    Min(Expr),
    /// `max(…)`
    Max(Expr),
    /// `sum(…)`
    Sum(Expr),
}

/// An expression with one value for a whole spanset.
#[derive(Clone, Debug)]
pub enum ScalarExpr {
    /// A literal.
    Static(Static),
    /// An aggregate.
    Aggregate(Aggregate),
    /// Arithmetic.
    Binary(BinaryOp, Box<ScalarExpr>, Box<ScalarExpr>),
}

/// One step between pipes.
#[derive(Clone, Debug)]
pub enum Stage {
    /// Picks spans.
    Spanset(SpansetExpr),
    /// Keeps the spansets for which the comparison holds.
    ScalarFilter {
        /// The comparison.
        op: BinaryOp,
        /// Left.
        lhs: ScalarExpr,
        /// Right.
        rhs: ScalarExpr,
    },
    /// `by(…)` (section "Grouping").
    By(Expr),
    /// `coalesce()` (section "Grouping").
    Coalesce,
    /// `select(…)` (section "Selection").
    Select(Vec<Field>),
}

/// A whole query.
#[derive(Clone, Debug)]
pub struct Query {
    /// Its steps; the first one sees all spans of a trace.
    pub stages: Vec<Stage>,
    /// `with(name=value, …)` (section "Query hints").
    pub hints: Vec<(String, Static)>,
}

/// The static type of an expression, as far as it is known before there is a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Only the span will tell.
    Attribute,
    /// nil
    Nil,
    /// Integer.
    Int,
    /// Float.
    Float,
    /// String.
    String,
    /// Boolean.
    Bool,
    /// Duration.
    Duration,
    /// Status.
    Status,
    /// Kind.
    Kind,
}

impl Type {
    /// Whether arithmetic is possible.
    pub fn is_numeric(self) -> bool {
        matches!(self, Type::Int | Type::Float | Type::Duration)
    }

    /// Whether values of the two types may be compared at all.
    pub fn matches(self, other: Type) -> bool {
        self == other
            || self == Type::Attribute
            || other == Type::Attribute
            || (self.is_numeric() && other.is_numeric())
    }
}

impl BinaryOp {
    /// As written.
    pub fn text(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Equal => "=",
            BinaryOp::NotEqual => "!=",
            BinaryOp::Regex => "=~",
            BinaryOp::NotRegex => "!~",
            BinaryOp::Greater => ">",
            BinaryOp::GreaterEqual => ">=",
            BinaryOp::Less => "<",
            BinaryOp::LessEqual => "<=",
            BinaryOp::And => "&&",
            BinaryOp::Or => "||",
        }
    }

    /// Whether the result is a number.
    pub fn is_arithmetic(self) -> bool {
        use BinaryOp::{Add, Div, Mod, Mul, Pow, Sub};
        matches!(self, Add | Sub | Mul | Div | Mod | Pow)
    }

    /// Whether the operator is defined for operands of this type (sections "Comparison operators", "Arithmetic operators").
    pub fn accepts(self, operand: Type) -> bool {
        use BinaryOp::{And, Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual, NotRegex, Or, Regex};
        match operand {
            Type::Attribute => true,
            Type::Nil | Type::Status | Type::Kind => matches!(self, Equal | NotEqual),
            Type::Bool => matches!(self, Equal | NotEqual | And | Or),
            Type::String => {
                matches!(self, Equal | NotEqual | Regex | NotRegex | Greater | GreaterEqual | Less | LessEqual)
            }
            Type::Int | Type::Float | Type::Duration => {
                self.is_arithmetic() || matches!(self, Equal | NotEqual | Greater | GreaterEqual | Less | LessEqual)
            }
        }
    }
}

impl SpansetOp {
    /// As written.
    pub fn text(self) -> &'static str {
        use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
        use StructuralForm::{Negated, Plain, Union};
        match self {
            SpansetOp::And => "&&",
            SpansetOp::Or => "||",
            SpansetOp::Structural(Child, Plain) => ">",
            SpansetOp::Structural(Child, Negated) => "!>",
            SpansetOp::Structural(Child, Union) => "&>",
            SpansetOp::Structural(Descendant, Plain) => ">>",
            SpansetOp::Structural(Descendant, Negated) => "!>>",
            SpansetOp::Structural(Descendant, Union) => "&>>",
            SpansetOp::Structural(Parent, Plain) => "<",
            SpansetOp::Structural(Parent, Negated) => "!<",
            SpansetOp::Structural(Parent, Union) => "&<",
            SpansetOp::Structural(Ancestor, Plain) => "<<",
            SpansetOp::Structural(Ancestor, Negated) => "!<<",
            SpansetOp::Structural(Ancestor, Union) => "&<<",
            SpansetOp::Structural(Sibling, Plain) => "~",
            SpansetOp::Structural(Sibling, Negated) => "!~",
            SpansetOp::Structural(Sibling, Union) => "&~",
        }
    }
}

/// Every spelling of every intrinsic, the preferred one first.
const INTRINSICS: &[(Intrinsic, &str, Option<&str>)] = &[
    (Intrinsic::Duration, "duration", Some("span:duration")),
    (Intrinsic::Name, "name", Some("span:name")),
    (Intrinsic::Status, "status", Some("span:status")),
    (Intrinsic::StatusMessage, "statusMessage", Some("span:statusMessage")),
    (Intrinsic::Kind, "kind", Some("span:kind")),
    (Intrinsic::ChildCount, "childCount", Some("span:childCount")),
    (Intrinsic::RootName, "rootName", Some("trace:rootName")),
    (Intrinsic::RootServiceName, "rootServiceName", Some("trace:rootService")),
    (Intrinsic::TraceDuration, "traceDuration", Some("trace:duration")),
    (Intrinsic::TraceId, "trace:id", None),
    (Intrinsic::SpanId, "span:id", None),
    (Intrinsic::ParentId, "span:parentID", None),
    (Intrinsic::EventName, "event:name", None),
    (Intrinsic::EventTimeSinceStart, "event:timeSinceStart", None),
    (Intrinsic::LinkTraceId, "link:traceID", None),
    (Intrinsic::LinkSpanId, "link:spanID", None),
    (Intrinsic::InstrumentationName, "instrumentation:name", None),
    (Intrinsic::InstrumentationVersion, "instrumentation:version", None),
    (Intrinsic::NestedSetLeft, "nestedSetLeft", None),
    (Intrinsic::NestedSetRight, "nestedSetRight", None),
    (Intrinsic::NestedSetParent, "nestedSetParent", None),
];

impl Intrinsic {
    /// The intrinsic with this spelling, old (`status`) or scoped (`span:status`).
    pub fn from_text(text: &str) -> Option<Self> {
        INTRINSICS
            .iter()
            .find(|(_, old, scoped)| *old == text || *scoped == Some(text))
            .map(|(intrinsic, _, _)| *intrinsic)
    }

    /// The spelling used in results.
    pub fn text(self) -> &'static str {
        INTRINSICS.iter().find(|(i, _, _)| *i == self).map_or("", |(_, text, _)| text)
    }

    /// All intrinsics.
    pub fn all() -> impl Iterator<Item = Self> {
        INTRINSICS.iter().map(|(i, _, _)| *i)
    }

    /// The type of its values.
    pub fn value_type(self) -> Type {
        match self {
            Intrinsic::Duration | Intrinsic::TraceDuration | Intrinsic::EventTimeSinceStart => Type::Duration,
            Intrinsic::Status => Type::Status,
            Intrinsic::Kind => Type::Kind,
            Intrinsic::ChildCount
            | Intrinsic::NestedSetLeft
            | Intrinsic::NestedSetRight
            | Intrinsic::NestedSetParent => Type::Int,
            _ => Type::String,
        }
    }
}

impl Scope {
    /// As written before the dot.
    pub fn text(self) -> &'static str {
        match self {
            Scope::Any => "",
            Scope::Span => "span",
            Scope::Resource => "resource",
            Scope::Event => "event",
            Scope::Link => "link",
            Scope::Instrumentation => "instrumentation",
        }
    }

    /// The scope with this name.
    pub fn from_text(text: &str) -> Option<Self> {
        Some(match text {
            "span" => Scope::Span,
            "resource" => Scope::Resource,
            "event" => Scope::Event,
            "link" => Scope::Link,
            "instrumentation" => Scope::Instrumentation,
            _ => return None,
        })
    }
}

impl Static {
    /// Its type; arrays have their elements' type only at run time.
    pub fn value_type(&self) -> Type {
        match self {
            Static::Nil => Type::Nil,
            Static::Int(_) => Type::Int,
            Static::Float(_) => Type::Float,
            Static::String(_) => Type::String,
            Static::Bool(_) => Type::Bool,
            Static::Duration(_) => Type::Duration,
            Static::Status(_) => Type::Status,
            Static::Kind(_) => Type::Kind,
            Static::Array(_) | Static::Each(_) => Type::Attribute,
        }
    }

    /// The number it is, durations in nanoseconds.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Static::Int(i) | Static::Duration(i) => Some(*i as f64),
            Static::Float(f) => Some(*f),
            _ => None,
        }
    }

    /// What a result shows, without quotes.
    pub fn plain(&self) -> String {
        match self {
            Static::String(s) => s.clone(),
            other => other.to_string(),
        }
    }
}

impl Expr {
    /// The type as far as it is known without a span.
    pub fn value_type(&self) -> Type {
        match &self.kind {
            ExprKind::Static(value) => value.value_type(),
            ExprKind::Field(Field::Intrinsic(intrinsic)) => intrinsic.value_type(),
            ExprKind::Field(Field::Attribute { .. }) => Type::Attribute,
            ExprKind::Unary(UnaryOp::Negate, inner) => inner.value_type(),
            ExprKind::Unary(..) | ExprKind::Match(..) => Type::Bool,
            ExprKind::Binary(op, lhs, rhs) => {
                if !op.is_arithmetic() {
                    return Type::Bool;
                }
                match (lhs.value_type(), rhs.value_type()) {
                    (Type::Attribute, other) | (other, Type::Attribute) => other,
                    (Type::Duration, _) | (_, Type::Duration) => Type::Duration,
                    (Type::Float, _) | (_, Type::Float) => Type::Float,
                    (other, _) => other,
                }
            }
        }
    }

    /// Calls `see` with every field the expression reads.
    pub fn fields(&self, see: &mut dyn FnMut(&Field)) {
        match &self.kind {
            ExprKind::Static(_) => {}
            ExprKind::Field(field) => see(field),
            ExprKind::Unary(_, inner) | ExprKind::Match(inner, _, _) => inner.fields(see),
            ExprKind::Binary(_, lhs, rhs) => {
                lhs.fields(see);
                rhs.fields(see);
            }
        }
    }

    /// Whether it reads anything of a span.
    pub fn reads_span(&self) -> bool {
        let mut any = false;
        self.fields(&mut |_| any = true);
        any
    }
}

impl Query {
    /// Every field the query reads or selects, each once, in the order of the query.
    pub fn fields(&self) -> Vec<Field> {
        let mut found: Vec<Field> = Vec::new();
        let mut see = |field: &Field| {
            if !found.contains(field) {
                found.push(field.clone());
            }
        };
        for stage in &self.stages {
            stage.fields(&mut see);
        }
        found
    }
}

impl Stage {
    fn fields(&self, see: &mut dyn FnMut(&Field)) {
        match self {
            Stage::Spanset(expr) => expr.fields(see),
            Stage::ScalarFilter { lhs, rhs, .. } => {
                lhs.fields(see);
                rhs.fields(see);
            }
            Stage::By(expr) => expr.fields(see),
            Stage::Coalesce => {}
            Stage::Select(fields) => fields.iter().for_each(see),
        }
    }
}

impl SpansetExpr {
    fn fields(&self, see: &mut dyn FnMut(&Field)) {
        match self {
            SpansetExpr::Filter(Some(expr)) => expr.fields(see),
            SpansetExpr::Filter(None) => {}
            SpansetExpr::Operation(_, lhs, rhs) => {
                lhs.fields(see);
                rhs.fields(see);
            }
            SpansetExpr::Pipeline(stages) => stages.iter().for_each(|stage| stage.fields(see)),
        }
    }
}

impl ScalarExpr {
    fn fields(&self, see: &mut dyn FnMut(&Field)) {
        match self {
            ScalarExpr::Static(_) | ScalarExpr::Aggregate(Aggregate::Count) => {}
            ScalarExpr::Aggregate(
                Aggregate::Avg(expr) | Aggregate::Min(expr) | Aggregate::Max(expr) | Aggregate::Sum(expr),
            ) => expr.fields(see),
            ScalarExpr::Binary(_, lhs, rhs) => {
                lhs.fields(see);
                rhs.fields(see);
            }
        }
    }

    /// The type of its value.
    pub fn value_type(&self) -> Type {
        match self {
            ScalarExpr::Static(value) => value.value_type(),
            ScalarExpr::Aggregate(Aggregate::Count) => Type::Int,
            ScalarExpr::Aggregate(
                Aggregate::Avg(expr) | Aggregate::Min(expr) | Aggregate::Max(expr) | Aggregate::Sum(expr),
            ) => expr.value_type(),
            ScalarExpr::Binary(_, lhs, rhs) => match (lhs.value_type(), rhs.value_type()) {
                (Type::Attribute, other) => other,
                (own, _) => own,
            },
        }
    }
}
