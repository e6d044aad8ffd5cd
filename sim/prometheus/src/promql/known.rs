//! What is known of the labels of a result before anything runs.

use super::ast::*;
use super::position;
use sim_wire::{METRIC_NAME, MatchOp};
use std::collections::{BTreeMap, BTreeSet};

/// The labels that results of an expression have for certain, or cannot have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Known {
    /// Whether there are no labels but those listed.
    closed: bool,
    /// A value where it is certain (empty: the label is not there), `None` where only the name is.
    labels: BTreeMap<String, Option<String>>,
}

/// Two sides that never match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// The operator.
    pub op: BinaryOp,
    /// The label that differs.
    pub label: String,
    /// Its value on the left, empty if it has none.
    pub left: String,
    /// Its value on the right.
    pub right: String,
    /// `line:column` of the operation.
    pub position: String,
}

impl Known {
    /// The label's value where it is certain.
    pub fn value(&self, label: &str) -> Option<&str> {
        match self.labels.get(label) {
            Some(value) => value.as_deref(),
            None if self.closed => Some(""),
            None => None,
        }
    }

    /// Whether results can have the label.
    pub fn possible(&self, label: &str) -> bool {
        self.value(label) != Some("")
    }

    /// What is known of an expression's results.
    ///
    /// ```
    /// use sim_prometheus::promql::{Known, parse};
    /// let known = Known::of(&parse(r#"sum by (job, state) (x{state="ready"})"#).unwrap());
    /// assert_eq!(known.value("state"), Some("ready"));
    /// assert_eq!((known.value("job"), known.possible("pod")), (None, false));
    /// ```
    pub fn of(expr: &Expr) -> Self {
        match &expr.kind {
            ExprKind::Number { .. } | ExprKind::String(_) => Self { closed: true, ..Self::default() },
            ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => Self::of_selector(selector),
            ExprKind::Subquery { expr, .. } | ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => Self::of(expr),
            ExprKind::Aggregate { op, expr, param, grouping, without } => {
                Self::of(expr).aggregated(*op, param.as_deref(), grouping, *without)
            }
            ExprKind::Call { function, args } => Self::of_call(function.name, args),
            ExprKind::Binary { op, lhs, rhs, matching, .. } => match matching {
                Some(matching) => Self::joined(*op, Self::of(lhs), Self::of(rhs), matching),
                None if lhs.value_type() == ValueType::Vector => Self::of(lhs),
                None => Self::of(rhs),
            },
        }
    }

    fn of_selector(selector: &VectorSelector) -> Self {
        let mut labels = BTreeMap::new();
        for matcher in selector.matchers.iter().filter(|m| m.op == MatchOp::Equal && m.name != METRIC_NAME) {
            labels.insert(matcher.name.clone(), Some(matcher.value.clone()));
        }
        Self { closed: false, labels }
    }

    fn set(mut self, label: &str, value: Option<&str>) -> Self {
        self.labels.insert(label.to_owned(), value.map(str::to_owned));
        self
    }

    /// Only these labels stay.
    fn kept(&self, names: &[String]) -> Self {
        let labels = names.iter().map(|name| (name.clone(), self.value(name).map(str::to_owned))).collect();
        Self { closed: true, labels }
    }

    /// These labels go.
    fn dropped(self, names: &[String]) -> Self {
        names.iter().fold(self, |known, name| known.set(name, Some("")))
    }

    fn aggregated(self, op: AggregateOp, param: Option<&Expr>, grouping: &[String], without: bool) -> Self {
        if op.selects() {
            return self;
        }
        let known = if without { self.dropped(grouping) } else { self.kept(grouping) };
        match (op, param.map(|param| &param.unparenthesised().kind)) {
            (AggregateOp::CountValues, Some(ExprKind::String(label))) => {
                known.set(&String::from_utf8_lossy(label), None)
            }
            _ => known,
        }
    }

    fn of_call(name: &str, args: &[Expr]) -> Self {
        let source = args.iter().find(|arg| matches!(arg.value_type(), ValueType::Vector | ValueType::Matrix));
        let Some(source) = source else { return Self { closed: true, ..Self::default() } };
        let known = Self::of(source);
        match name {
            "label_replace" | "label_join" => match args.get(1).map(|arg| &arg.unparenthesised().kind) {
                Some(ExprKind::String(label)) => known.set(&String::from_utf8_lossy(label), None),
                _ => Self::default(),
            },
            "absent" | "absent_over_time" => Self { closed: true, ..known },
            "scalar" => Self { closed: true, ..Self::default() },
            "histogram_quantile" | "histogram_fraction" => known.set("le", Some("")),
            _ => known,
        }
    }

    fn joined(op: BinaryOp, left: Self, right: Self, matching: &VectorMatching) -> Self {
        match op {
            BinaryOp::And | BinaryOp::Unless => left,
            BinaryOp::Or => {
                let names: BTreeSet<&String> = left.labels.keys().chain(right.labels.keys()).collect();
                let labels = names.into_iter().map(|name| {
                    let same = left.value(name).filter(|value| right.value(name) == Some(value));
                    (name.clone(), same.map(str::to_owned))
                });
                Self { closed: left.closed && right.closed, labels: labels.collect() }
            }
            _ => {
                let (many, one) =
                    if matching.cardinality == Cardinality::OneToMany { (right, left) } else { (left, right) };
                let known = match (matching.cardinality, matching.on) {
                    (Cardinality::OneToOne, true) => many.kept(&matching.labels),
                    (Cardinality::OneToOne, false) => many.dropped(&matching.labels),
                    _ => many,
                };
                matching.include.iter().fold(known, |known, label| known.set(label, one.value(label)))
            }
        }
    }
}

/// Every operation in the query whose sides can never match, because a label that has to be the same differs.
///
/// ```
/// use sim_prometheus::promql::{mismatches, parse};
/// let query = r#"replicas{state="ready"} < replicas{state="desired"}"#;
/// let found = mismatches(query, &parse(query).unwrap());
/// assert_eq!((found[0].label.as_str(), found[0].left.as_str(), found[0].right.as_str()), ("state", "ready", "desired"));
/// ```
pub fn mismatches(query: &str, expr: &Expr) -> Vec<Mismatch> {
    let mut found = Vec::new();
    walk(query, expr, &mut found);
    found
}

fn walk(query: &str, expr: &Expr, found: &mut Vec<Mismatch>) {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix { .. } => {}
        ExprKind::Subquery { expr, .. } | ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => {
            walk(query, expr, found);
        }
        ExprKind::Aggregate { expr, param, .. } => {
            if let Some(param) = param {
                walk(query, param, found);
            }
            walk(query, expr, found);
        }
        ExprKind::Call { args, .. } => args.iter().for_each(|arg| walk(query, arg, found)),
        ExprKind::Binary { op, lhs, rhs, matching, .. } => {
            walk(query, lhs, found);
            walk(query, rhs, found);
            let Some(matching) = matching.as_ref().filter(|_| *op != BinaryOp::Or) else { return };
            let (left, right) = (Known::of(lhs), Known::of(rhs));
            let names: BTreeSet<&String> = if matching.on {
                matching.labels.iter().collect()
            } else {
                left.labels.keys().chain(right.labels.keys()).filter(|name| !matching.labels.contains(name)).collect()
            };
            for name in names {
                if let (Some(a), Some(b)) = (left.value(name), right.value(name))
                    && a != b
                {
                    found.push(Mismatch {
                        op: *op,
                        label: name.clone(),
                        left: a.to_owned(),
                        right: b.to_owned(),
                        position: position(query, expr.span.start),
                    });
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::parse;

    fn dead(query: &str) -> Vec<String> {
        mismatches(query, &parse(query).unwrap())
            .into_iter()
            .map(|m| format!("{}: {}/{}", m.label, m.left, m.right))
            .collect()
    }

    #[test]
    fn sides_that_differ_in_a_label_never_match() {
        assert_eq!(dead(r#"x{s="a"} < x{s="b"}"#), ["s: a/b"]);
        assert_eq!(dead(r#"sum(x) > y{job="a"}"#), ["job: /a"]);
        assert_eq!(dead(r#"sum by (job) (x) / sum by (job, pod) (y{pod="p"})"#), ["pod: /p"]);
        assert_eq!(dead(r#"rate(x{s="a"}[5m]) and on (s) y{s="b"}"#), ["s: a/b"]);
        assert_eq!(dead(r#"up == 0 unless (x{s="a"} > 1) * x{s="b"}"#), ["s: a/b"]);
        assert_eq!(dead(r#"label_replace(x{s="a"}, "t", "v", "", "") == x{s="b", t="v"}"#), ["s: a/b"]);
    }

    #[test]
    fn sides_that_may_match_are_left_alone() {
        for query in [
            r#"x{s="a"} < ignoring (s) x{s="b"}"#,
            r#"x{s="a"} < on (job) x{s="b"}"#,
            r#"sum without (s) (x{s="a"}) < sum without (s) (x{s="b"})"#,
            r#"sum by (job) (x{s="a"}) < sum by (job) (x{s="b"})"#,
            r#"x{s="a"} or x{s="b"}"#,
            r#"label_replace(x{s="a"}, "s", "b", "", "") == x{s="b"}"#,
            r#"x{s=~"a|b"} == x{s="b"}"#,
            r#"histogram_quantile(0.9, x{le="1"}) > sum without (le) (y)"#,
            r#"x * on (job) group_left (s) y{s="b"} == x{s="b"}"#,
            r#"count_values("v", x) == y{v="1"}"#,
        ] {
            assert_eq!(dead(query), Vec::<String>::new(), "{query}");
        }
    }
}
