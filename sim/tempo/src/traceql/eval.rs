//! A query over one trace. Pure: the same trace and query give the same spansets, in the order of the spans.

use std::collections::BTreeSet;

use super::ast::{
    Aggregate, BinaryOp, Expr, ExprKind, Field, Intrinsic, Kind, Query, Relation, ScalarExpr, Scope, SpansetExpr,
    SpansetOp, Stage, Static, Status, StructuralForm, UnaryOp,
};
use super::trace::{NestedSet, TraceView, attribute, static_of};
use crate::ids::hex;

/// Some spans of one trace, and what the pipeline computed about them as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spanset {
    /// Indices into [`TraceView::spans`], ascending.
    pub spans: Vec<usize>,
    /// `by(…)` values and aggregates, by their text.
    pub attributes: Vec<(String, Static)>,
}

impl Query {
    /// The spansets of `trace` that are left at the end; none means that the trace does not match.
    pub fn evaluate(&self, trace: &TraceView<'_>) -> Vec<Spanset> {
        let all = Spanset { spans: (0..trace.spans.len()).collect(), attributes: Vec::new() };
        run(&self.stages, vec![all], trace)
    }
}

fn run(stages: &[Stage], mut sets: Vec<Spanset>, trace: &TraceView<'_>) -> Vec<Spanset> {
    for stage in stages {
        sets = match stage {
            Stage::Spanset(expr) => sets
                .into_iter()
                .map(|set| Spanset {
                    spans: spanset(expr, &set.spans, trace).into_iter().collect(),
                    attributes: set.attributes,
                })
                .collect(),
            Stage::ScalarFilter { op, lhs, rhs } => {
                sets.into_iter().filter_map(|set| scalar_filter(*op, lhs, rhs, set, trace)).collect()
            }
            Stage::By(expr) => sets.into_iter().flat_map(|set| group(expr, set, trace)).collect(),
            Stage::Coalesce => coalesce(sets),
            // What is selected is looked up when a result is rendered ([`Query::fields`]).
            Stage::Select(_) => sets,
        };
        sets.retain(|set| !set.spans.is_empty());
    }
    sets
}

// ---- sets of spans ---------------------------------------------------------------------------------------------------

fn spanset(expr: &SpansetExpr, among: &[usize], trace: &TraceView<'_>) -> BTreeSet<usize> {
    match expr {
        SpansetExpr::Filter(None) => among.iter().copied().collect(),
        SpansetExpr::Filter(Some(filter)) => {
            among.iter().copied().filter(|&span| evaluate(filter, span, trace) == Static::Bool(true)).collect()
        }
        SpansetExpr::Pipeline(stages) => {
            let start = Spanset { spans: among.to_vec(), attributes: Vec::new() };
            run(stages, vec![start], trace).into_iter().flat_map(|set| set.spans).collect()
        }
        SpansetExpr::Operation(op, lhs, rhs) => {
            combine(*op, spanset(lhs, among, trace), spanset(rhs, among, trace), trace)
        }
    }
}

/// Sections "Combine spansets" and "Structural".
fn combine(op: SpansetOp, lhs: BTreeSet<usize>, rhs: BTreeSet<usize>, trace: &TraceView<'_>) -> BTreeSet<usize> {
    match op {
        // `&&` keeps the spans of both sides, if both sides have some.
        SpansetOp::And if lhs.is_empty() || rhs.is_empty() => BTreeSet::new(),
        SpansetOp::And | SpansetOp::Or => lhs.union(&rhs).copied().collect(),
        SpansetOp::Structural(relation, form) => {
            let places = &trace.places;
            let left = Relatives::of(relation, &lhs, places);
            let right_hits = rhs.iter().copied().filter(|&span| left.include(span, places));
            match form {
                StructuralForm::Plain => right_hits.collect(),
                StructuralForm::Negated => rhs.iter().copied().filter(|&span| !left.include(span, places)).collect(),
                StructuralForm::Union => {
                    let right = Relatives::of(inverse(relation), &rhs, places);
                    right_hits.chain(lhs.iter().copied().filter(|&span| right.include(span, places))).collect()
                }
            }
        }
    }
}

fn inverse(relation: Relation) -> Relation {
    match relation {
        Relation::Child => Relation::Parent,
        Relation::Parent => Relation::Child,
        Relation::Descendant => Relation::Ancestor,
        Relation::Ancestor => Relation::Descendant,
        Relation::Sibling => Relation::Sibling,
    }
}

/// The spans that stand in one relation to any span of a set, prepared so that a membership test is a search in a tree.
enum Relatives {
    /// The `left` numbers of the possible parents.
    Children(BTreeSet<i64>),
    /// The `parent` numbers of the set: its parents.
    Parents(BTreeSet<i64>),
    /// The outermost intervals, disjoint, ascending.
    Descendants(Vec<(i64, i64)>),
    /// The `left` numbers of the set: an ancestor's interval contains one of them strictly.
    Ancestors(BTreeSet<i64>),
    /// The set itself as (parent, left).
    Siblings(BTreeSet<(i64, i64)>),
}

impl Relatives {
    fn of(relation: Relation, set: &BTreeSet<usize>, places: &[NestedSet]) -> Self {
        let connected = set.iter().map(|&span| places[span]).filter(|place| place.left > 0);
        match relation {
            Relation::Child => Relatives::Children(connected.map(|place| place.left).collect()),
            Relation::Parent => Relatives::Parents(connected.map(|place| place.parent).collect()),
            Relation::Ancestor => Relatives::Ancestors(connected.map(|place| place.left).collect()),
            Relation::Sibling => Relatives::Siblings(
                connected.filter(|place| place.parent > 0).map(|place| (place.parent, place.left)).collect(),
            ),
            Relation::Descendant => {
                let mut intervals: Vec<(i64, i64)> = connected.map(|place| (place.left, place.right)).collect();
                intervals.sort_unstable();
                let mut reach = 0;
                intervals.retain(|&(_, right)| {
                    let outermost = right > reach;
                    reach = reach.max(right);
                    outermost
                });
                Relatives::Descendants(intervals)
            }
        }
    }

    fn include(&self, span: usize, places: &[NestedSet]) -> bool {
        let place = places[span];
        if place.left == 0 {
            return false;
        }
        match self {
            Relatives::Children(parents) => parents.contains(&place.parent),
            Relatives::Parents(parents) => parents.contains(&place.left),
            Relatives::Descendants(intervals) => {
                let after = intervals.partition_point(|&(left, _)| left < place.left);
                after > 0 && intervals[after - 1].1 > place.right
            }
            Relatives::Ancestors(lefts) => lefts.range(place.left + 1..place.right).next().is_some(),
            Relatives::Siblings(set) => {
                set.range((place.parent, i64::MIN)..=(place.parent, i64::MAX)).any(|&(_, left)| left != place.left)
            }
        }
    }
}

// ---- pipeline ----------------------------------------------------------------------------------------------------------

/// Section "Grouping": one spanset for each value, in the order in which the values appear.
fn group(expr: &Expr, set: Spanset, trace: &TraceView<'_>) -> Vec<Spanset> {
    let label = format!("by({expr})");
    let mut groups: Vec<(Static, Spanset)> = Vec::new();
    for &span in &set.spans {
        let value = evaluate(expr, span, trace);
        if let Some((_, members)) = groups.iter_mut().find(|(key, _)| *key == value) {
            members.spans.push(span);
        } else {
            let mut attributes = set.attributes.clone();
            attributes.push((label.clone(), value.clone()));
            groups.push((value, Spanset { spans: vec![span], attributes }));
        }
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

/// Section "Grouping": `coalesce()` undoes `by()`.
fn coalesce(sets: Vec<Spanset>) -> Vec<Spanset> {
    let spans: BTreeSet<usize> = sets.into_iter().flat_map(|set| set.spans).collect();
    vec![Spanset { spans: spans.into_iter().collect(), attributes: Vec::new() }]
}

fn scalar_filter(
    op: BinaryOp,
    lhs: &ScalarExpr,
    rhs: &ScalarExpr,
    mut set: Spanset,
    trace: &TraceView<'_>,
) -> Option<Spanset> {
    let left = scalar(lhs, &mut set, trace);
    let right = scalar(rhs, &mut set, trace);
    (operate(op, &left, &right) == Static::Bool(true)).then_some(set)
}

fn scalar(expr: &ScalarExpr, set: &mut Spanset, trace: &TraceView<'_>) -> Static {
    match expr {
        ScalarExpr::Static(value) => value.clone(),
        ScalarExpr::Binary(op, lhs, rhs) => {
            let left = scalar(lhs, set, trace);
            let right = scalar(rhs, set, trace);
            operate(*op, &left, &right)
        }
        ScalarExpr::Aggregate(aggregate) => {
            let value = aggregate_value(aggregate, &set.spans, trace);
            let label = aggregate.to_string();
            if set.attributes.iter().all(|(name, _)| *name != label) {
                set.attributes.push((label, value.clone()));
            }
            value
        }
    }
}

/// Section "Aggregators". Spans on which the expression is not a number do not take part; if none does, the value is nil.
fn aggregate_value(aggregate: &Aggregate, spans: &[usize], trace: &TraceView<'_>) -> Static {
    let numbers = |expr: &Expr| -> Vec<Static> {
        spans.iter().map(|&span| evaluate(expr, span, trace)).filter(|value| value.as_number().is_some()).collect()
    };
    let pick = |values: Vec<Static>, wanted: std::cmp::Ordering| {
        values
            .into_iter()
            .reduce(|best, value| match value.as_number().partial_cmp(&best.as_number()) {
                Some(order) if order == wanted => value,
                _ => best,
            })
            .unwrap_or(Static::Nil)
    };
    let add = |values: &[Static]| values.iter().cloned().reduce(|sum, value| operate(BinaryOp::Add, &sum, &value));
    match aggregate {
        Aggregate::Count => Static::Int(spans.len() as i64),
        Aggregate::Min(expr) => pick(numbers(expr), std::cmp::Ordering::Less),
        Aggregate::Max(expr) => pick(numbers(expr), std::cmp::Ordering::Greater),
        Aggregate::Sum(expr) => add(&numbers(expr)).unwrap_or(Static::Nil),
        Aggregate::Avg(expr) => {
            let values = numbers(expr);
            let count = values.len() as f64;
            match add(&values) {
                Some(Static::Duration(sum)) => Static::Duration((sum as f64 / count) as i64),
                Some(sum) => sum.as_number().map_or(Static::Nil, |sum| Static::Float(sum / count)),
                None => Static::Nil,
            }
        }
    }
}

// ---- values of a span ----------------------------------------------------------------------------------------------------

fn evaluate(expr: &Expr, span: usize, trace: &TraceView<'_>) -> Static {
    match &expr.kind {
        ExprKind::Static(value) => value.clone(),
        ExprKind::Field(field) => field_value(field, span, trace),
        ExprKind::Unary(op, inner) => {
            let value = evaluate(inner, span, trace);
            match (op, value) {
                (UnaryOp::Exists, value) => Static::Bool(exists(&value)),
                (UnaryOp::NotExists, value) => Static::Bool(!exists(&value)),
                (UnaryOp::Not, Static::Bool(b)) => Static::Bool(!b),
                (UnaryOp::Negate, Static::Int(i)) => Static::Int(i.wrapping_neg()),
                (UnaryOp::Negate, Static::Float(x)) => Static::Float(-x),
                (UnaryOp::Negate, Static::Duration(nanos)) => Static::Duration(nanos.saturating_neg()),
                (UnaryOp::Not | UnaryOp::Negate, _) => Static::Nil,
            }
        }
        // `&&` and `||` need not look at their right side; there are no effects, so this is only speed.
        ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), lhs, rhs) => match (op, evaluate(lhs, span, trace)) {
            (BinaryOp::And, Static::Bool(false)) => Static::Bool(false),
            (BinaryOp::Or, Static::Bool(true)) if rhs.value_type() == super::ast::Type::Bool => Static::Bool(true),
            (op, left) => operate(*op, &left, &evaluate(rhs, span, trace)),
        },
        ExprKind::Binary(op, lhs, rhs) => operate(*op, &evaluate(lhs, span, trace), &evaluate(rhs, span, trace)),
        ExprKind::Match(lhs, pattern, negated) => {
            let test = |value: &Static| match value {
                Static::String(text) => Some(pattern.regex.is_match(text) != *negated),
                _ => None,
            };
            Static::Bool(quantify(&evaluate(lhs, span, trace), *negated, &test))
        }
    }
}

fn exists(value: &Static) -> bool {
    match value {
        Static::Nil => false,
        Static::Each(values) => !values.is_empty(),
        _ => true,
    }
}

/// A test on a value that may be many: of an array one element must pass, or all if the operator is a negation; of the events or
/// links of a span one must pass (section "Attribute fields", arrays, events, links).
fn quantify(value: &Static, negation: bool, test: &dyn Fn(&Static) -> Option<bool>) -> bool {
    let passes = |element: &Static| test(element) == Some(true);
    match value {
        Static::Array(values) if negation => !values.is_empty() && values.iter().all(passes),
        Static::Array(values) => values.iter().any(passes),
        Static::Each(values) => values.iter().any(|value| quantify(value, negation, test)),
        one => passes(one),
    }
}

/// An operator on two values. Operands that do not fit make a comparison false, and arithmetic nil
/// (section "Comparison operators": a comparison between different types does not match).
fn operate(op: BinaryOp, lhs: &Static, rhs: &Static) -> Static {
    if op.is_arithmetic() {
        return arithmetic(op, lhs, rhs);
    }
    let negation = op == BinaryOp::NotEqual;
    let result = if matches!(rhs, Static::Array(_) | Static::Each(_)) {
        quantify(rhs, negation, &|element| compare(op, lhs, element))
    } else {
        quantify(lhs, negation, &|element| compare(op, element, rhs))
    };
    Static::Bool(result)
}

fn compare(op: BinaryOp, lhs: &Static, rhs: &Static) -> Option<bool> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let (left, right) = (lhs.value_type(), rhs.value_type());
    if !left.matches(right) || !op.accepts(left) || !op.accepts(right) {
        return None;
    }
    if let (Static::Bool(a), Static::Bool(b)) = (lhs, rhs) {
        return match op {
            BinaryOp::And => Some(*a && *b),
            BinaryOp::Or => Some(*a || *b),
            BinaryOp::Equal => Some(a == b),
            BinaryOp::NotEqual => Some(a != b),
            _ => None,
        };
    }
    let order = match (lhs, rhs) {
        (Static::String(a), Static::String(b)) => Some(a.cmp(b)),
        (Static::Int(a) | Static::Duration(a), Static::Int(b) | Static::Duration(b)) => Some(a.cmp(b)),
        (Static::Status(a), Static::Status(b)) => Some(a.cmp(b)),
        (Static::Kind(a), Static::Kind(b)) => Some(a.cmp(b)),
        (Static::Nil, Static::Nil) => Some(Equal),
        _ => lhs.as_number()?.partial_cmp(&rhs.as_number()?),
    };
    Some(match op {
        BinaryOp::Equal => order == Some(Equal),
        BinaryOp::NotEqual => order != Some(Equal),
        BinaryOp::Greater => order == Some(Greater),
        BinaryOp::GreaterEqual => matches!(order, Some(Greater | Equal)),
        BinaryOp::Less => order == Some(Less),
        BinaryOp::LessEqual => matches!(order, Some(Less | Equal)),
        _ => return None,
    })
}

/// Section "Arithmetic operators". Integers stay integers where the operation is exact on them, except `/` and `^`, whose
/// result may not be whole; a duration among the operands makes the result a duration.
fn arithmetic(op: BinaryOp, lhs: &Static, rhs: &Static) -> Static {
    if let (Static::Int(a), Static::Int(b)) = (lhs, rhs) {
        let whole = match op {
            BinaryOp::Add => a.checked_add(*b),
            BinaryOp::Sub => a.checked_sub(*b),
            BinaryOp::Mul => a.checked_mul(*b),
            BinaryOp::Mod => a.checked_rem(*b),
            BinaryOp::Div => a.checked_rem(*b).filter(|rest| *rest == 0).and_then(|_| a.checked_div(*b)),
            _ => None,
        };
        if let Some(whole) = whole {
            return Static::Int(whole);
        }
    }
    let (Some(a), Some(b)) = (lhs.as_number(), rhs.as_number()) else {
        return Static::Nil;
    };
    let value = match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        _ => a.powf(b),
    };
    if matches!(lhs, Static::Duration(_)) || matches!(rhs, Static::Duration(_)) {
        Static::Duration(value as i64)
    } else {
        Static::Float(value)
    }
}

/// What a field of a span holds; nil if it has none.
pub fn field_value(field: &Field, span: usize, trace: &TraceView<'_>) -> Static {
    match field {
        Field::Intrinsic(intrinsic) => intrinsic_value(*intrinsic, span, trace),
        Field::Attribute { scope, name } => attribute_value(*scope, name, span, trace),
    }
}

fn attribute_value(scope: Scope, name: &str, span: usize, trace: &TraceView<'_>) -> Static {
    let view = &trace.spans[span];
    let each = |values: Vec<Static>| {
        let values: Vec<Static> = values.into_iter().filter(|value| *value != Static::Nil).collect();
        if values.is_empty() { Static::Nil } else { Static::Each(values) }
    };
    match scope {
        Scope::Span => attribute(&view.span.attributes, name),
        Scope::Resource => view.resource.map_or(Static::Nil, |resource| attribute(&resource.attributes, name)),
        Scope::Instrumentation => view.scope.map_or(Static::Nil, |scope| attribute(&scope.attributes, name)),
        Scope::Event => each(view.span.events.iter().map(|event| attribute(&event.attributes, name)).collect()),
        Scope::Link => each(view.span.links.iter().map(|link| attribute(&link.attributes, name)).collect()),
        // Section "Attribute fields": the span's own attribute wins over one of the same name further out.
        Scope::Any => [Scope::Span, Scope::Resource, Scope::Event, Scope::Link, Scope::Instrumentation]
            .into_iter()
            .map(|scope| attribute_value(scope, name, span, trace))
            .find(|value| *value != Static::Nil)
            .unwrap_or(Static::Nil),
    }
}

fn intrinsic_value(intrinsic: Intrinsic, index: usize, trace: &TraceView<'_>) -> Static {
    let view = &trace.spans[index];
    let span = view.span;
    let text = |s: &str| Static::String(s.to_owned());
    let nanos = |n: u64| Static::Duration(i64::try_from(n).unwrap_or(i64::MAX));
    match intrinsic {
        Intrinsic::Duration => nanos(view.duration_nanos()),
        Intrinsic::Name => text(&span.name),
        Intrinsic::Status => Static::Status(match span.status.as_ref().map_or(0, |status| status.code) {
            1 => Status::Ok,
            2 => Status::Error,
            _ => Status::Unset,
        }),
        Intrinsic::StatusMessage => text(span.status.as_ref().map_or("", |status| &status.message)),
        Intrinsic::Kind => Static::Kind(match span.kind {
            1 => Kind::Internal,
            2 => Kind::Server,
            3 => Kind::Client,
            4 => Kind::Producer,
            5 => Kind::Consumer,
            _ => Kind::Unspecified,
        }),
        Intrinsic::ChildCount => Static::Int(trace.children[index] as i64),
        Intrinsic::RootName => text(trace.root_name()),
        Intrinsic::RootServiceName => text(trace.root_service_name()),
        Intrinsic::TraceDuration => nanos(trace.duration_nanos()),
        Intrinsic::TraceId => Static::String(hex(&span.trace_id)),
        Intrinsic::SpanId => Static::String(hex(&span.span_id)),
        Intrinsic::ParentId => {
            if view.is_root() {
                Static::Nil
            } else {
                Static::String(hex(&span.parent_span_id))
            }
        }
        Intrinsic::EventName => Static::Each(span.events.iter().map(|event| text(&event.name)).collect()),
        Intrinsic::EventTimeSinceStart => Static::Each(
            span.events
                .iter()
                .map(|event| nanos(event.time_unix_nano.saturating_sub(span.start_time_unix_nano)))
                .collect(),
        ),
        Intrinsic::LinkTraceId => {
            Static::Each(span.links.iter().map(|link| Static::String(hex(&link.trace_id))).collect())
        }
        Intrinsic::LinkSpanId => {
            Static::Each(span.links.iter().map(|link| Static::String(hex(&link.span_id))).collect())
        }
        Intrinsic::InstrumentationName => view.scope.map_or(Static::Nil, |scope| text(&scope.name)),
        Intrinsic::InstrumentationVersion => view.scope.map_or(Static::Nil, |scope| text(&scope.version)),
        Intrinsic::NestedSetLeft => Static::Int(trace.places[index].left),
        Intrinsic::NestedSetRight => Static::Int(trace.places[index].right),
        Intrinsic::NestedSetParent => Static::Int(trace.places[index].parent),
    }
}

/// Every attribute of a span with its scope, for the listing of tags.
pub(crate) fn attributes_of(span: usize, trace: &TraceView<'_>, see: &mut dyn FnMut(Scope, &str, Static)) {
    let view = &trace.spans[span];
    let mut pass = |scope: Scope, attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]| {
        for kv in attributes {
            see(scope, &kv.key, kv.value.as_ref().map_or(Static::Nil, static_of));
        }
    };
    pass(Scope::Span, &view.span.attributes);
    if let Some(resource) = view.resource {
        pass(Scope::Resource, &resource.attributes);
    }
    if let Some(scope) = view.scope {
        pass(Scope::Instrumentation, &scope.attributes);
    }
    for event in &view.span.events {
        pass(Scope::Event, &event.attributes);
    }
    for link in &view.span.links {
        pass(Scope::Link, &link.attributes);
    }
}
