//! The syntax tree of PromQL, with positions.

use super::functions::Function;
use sim_wire::Matcher;

/// A range of bytes of the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Past the last byte.
    pub end: usize,
}

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// One number.
    Scalar,
    /// A text.
    String,
    /// A sample for each of some series.
    Vector,
    /// A stretch of samples for each of some series.
    Matrix,
}

impl ValueType {
    /// The name that documentation and error messages use.
    pub fn documented(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// The name of the HTTP API.
    pub fn api(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "vector",
            Self::Matrix => "matrix",
        }
    }
}

/// The argument of `@`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A fixed time in milliseconds.
    Timestamp(i64),
    /// `start()`: the start of the query.
    Start,
    /// `end()`: the end of the query.
    End,
}

/// A selector of series, with its modifiers.
#[derive(Debug, Clone, PartialEq)]
pub struct VectorSelector {
    /// The metric name written before the braces.
    pub name: Option<String>,
    /// Whether the name stands before the braces; its matcher is the last one then.
    pub name_outside: bool,
    /// All matchers, the one for the name included.
    pub matchers: Vec<Matcher>,
    /// `offset` in milliseconds.
    pub offset_ms: Option<i64>,
    /// `@`
    pub at: Option<At>,
}

/// An aggregation operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AggregateOp {
    Sum,
    Avg,
    Count,
    Min,
    Max,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    CountValues,
    Quantile,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// Every operator with its name.
    pub const ALL: [(&'static str, Self); 14] = [
        ("sum", Self::Sum),
        ("avg", Self::Avg),
        ("count", Self::Count),
        ("min", Self::Min),
        ("max", Self::Max),
        ("group", Self::Group),
        ("stddev", Self::Stddev),
        ("stdvar", Self::Stdvar),
        ("topk", Self::Topk),
        ("bottomk", Self::Bottomk),
        ("count_values", Self::CountValues),
        ("quantile", Self::Quantile),
        ("limitk", Self::Limitk),
        ("limit_ratio", Self::LimitRatio),
    ];

    /// The operator of a name, in any case.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, op)| *op)
    }

    /// The name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, op)| *op == self).map_or("", |(name, _)| name)
    }

    /// Whether the operator chooses among its series instead of folding them.
    pub fn selects(self) -> bool {
        matches!(self, Self::Topk | Self::Bottomk | Self::Limitk | Self::LimitRatio)
    }

    /// Whether the operator hides behind a feature flag.
    pub fn experimental(self) -> bool {
        matches!(self, Self::Limitk | Self::LimitRatio)
    }

    /// Whether the operator takes a parameter before its expression.
    pub fn has_param(self) -> bool {
        matches!(
            self,
            Self::Topk | Self::Bottomk | Self::CountValues | Self::Quantile | Self::Limitk | Self::LimitRatio
        )
    }
}

/// A binary operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eql,
    Neq,
    Gtr,
    Lss,
    Gte,
    Lte,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// As written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::Mul => "*",
            Self::Div => "/",
            Self::Mod => "%",
            Self::Pow => "^",
            Self::Atan2 => "atan2",
            Self::Eql => "==",
            Self::Neq => "!=",
            Self::Gtr => ">",
            Self::Lss => "<",
            Self::Gte => ">=",
            Self::Lte => "<=",
            Self::And => "and",
            Self::Or => "or",
            Self::Unless => "unless",
        }
    }

    /// How tightly it binds; larger is tighter.
    pub fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And | Self::Unless => 2,
            Self::Eql | Self::Neq | Self::Gtr | Self::Lss | Self::Gte | Self::Lte => 3,
            Self::Add | Self::Sub => 4,
            Self::Mul | Self::Div | Self::Mod | Self::Atan2 => 5,
            Self::Pow => 6,
        }
    }

    /// `==`, `>` and their like.
    pub fn is_comparison(self) -> bool {
        self.precedence() == 3
    }

    /// `and`, `or`, `unless`.
    pub fn is_set(self) -> bool {
        self.precedence() <= 2
    }
}

/// How many series of one side match one of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    /// The default.
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How series of the two sides find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorMatching {
    /// One-to-one or with a group modifier.
    pub cardinality: Cardinality,
    /// Whether `on` or `ignoring` is meant.
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// The labels of the group modifier.
    pub include: Vec<String>,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands.
    pub span: Span,
}

/// What an expression is.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number; `duration` when it was written as one.
    Number {
        /// The value, seconds for a duration.
        value: f64,
        /// Whether it was written as a duration.
        duration: bool,
    },
    /// A string; bytes, because escapes can write what is not UTF-8.
    String(Vec<u8>),
    /// An instant selector.
    Vector(VectorSelector),
    /// A range selector.
    Matrix {
        /// What to select.
        selector: VectorSelector,
        /// How far back, in milliseconds.
        range_ms: i64,
    },
    /// `expr[range:step]`
    Subquery {
        /// What to evaluate.
        expr: Box<Expr>,
        /// How far back, in milliseconds.
        range_ms: i64,
        /// The step in milliseconds, the default step without.
        step_ms: Option<i64>,
        /// `offset` in milliseconds.
        offset_ms: Option<i64>,
        /// `@`
        at: Option<At>,
    },
    /// An aggregation.
    Aggregate {
        /// The operator.
        op: AggregateOp,
        /// What to aggregate.
        expr: Box<Expr>,
        /// The parameter of those that have one.
        param: Option<Box<Expr>>,
        /// The labels of `by` or `without`.
        grouping: Vec<String>,
        /// Whether `without` is meant.
        without: bool,
    },
    /// A function call.
    Call {
        /// The function.
        function: &'static Function,
        /// Its arguments.
        args: Vec<Expr>,
    },
    /// A binary operation.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// The left side.
        lhs: Box<Expr>,
        /// The right side.
        rhs: Box<Expr>,
        /// The modifier `bool`.
        return_bool: bool,
        /// Matching; present between two vectors.
        matching: Option<VectorMatching>,
    },
    /// `-expr` or `+expr`.
    Unary {
        /// Whether it is a minus.
        negative: bool,
        /// The operand.
        expr: Box<Expr>,
    },
    /// `(expr)`
    Paren(Box<Expr>),
}

impl Expr {
    /// The type of the value.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number { .. } => ValueType::Scalar,
            ExprKind::String(_) => ValueType::String,
            ExprKind::Vector(_) | ExprKind::Aggregate { .. } => ValueType::Vector,
            ExprKind::Matrix { .. } | ExprKind::Subquery { .. } => ValueType::Matrix,
            ExprKind::Call { function, .. } => function.returns,
            ExprKind::Binary { lhs, rhs, .. } => {
                if lhs.value_type() == ValueType::Scalar && rhs.value_type() == ValueType::Scalar {
                    ValueType::Scalar
                } else {
                    ValueType::Vector
                }
            }
            ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => expr.value_type(),
        }
    }

    /// The expression inside any parentheses.
    pub fn unparenthesised(&self) -> &Self {
        match &self.kind {
            ExprKind::Paren(inner) => inner.unparenthesised(),
            _ => self,
        }
    }

    /// Whether the value is the same at every step of a range query, because `@` fixes every time in it.
    pub fn is_step_invariant(&self) -> bool {
        match &self.kind {
            ExprKind::Number { .. } | ExprKind::String(_) => true,
            ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => selector.at.is_some(),
            ExprKind::Subquery { at, .. } => at.is_some(),
            ExprKind::Aggregate { expr, .. } | ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => {
                expr.is_step_invariant()
            }
            ExprKind::Call { function, args } => {
                !function.depends_on_time() && args.iter().all(Expr::is_step_invariant)
            }
            ExprKind::Binary { lhs, rhs, .. } => lhs.is_step_invariant() && rhs.is_step_invariant(),
        }
    }

    /// The expressions that this one is made of.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        let (first, second, rest): (Option<&Self>, Option<&Self>, &[Self]) = match &self.kind {
            ExprKind::Subquery { expr, .. } | ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => {
                (Some(expr), None, &[])
            }
            ExprKind::Aggregate { expr, param, .. } => (param.as_deref(), Some(expr), &[]),
            ExprKind::Call { args, .. } => (None, None, args),
            ExprKind::Binary { lhs, rhs, .. } => (Some(lhs), Some(rhs), &[]),
            ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix { .. } => {
                (None, None, &[])
            }
        };
        first.into_iter().chain(second).chain(rest)
    }

    /// Calls `visit` for every instant or range selector.
    pub fn for_each_selector<'a>(&'a self, visit: &mut impl FnMut(&'a VectorSelector)) {
        if let ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } = &self.kind {
            visit(selector);
        }
        for child in self.children() {
            child.for_each_selector(visit);
        }
    }
}
