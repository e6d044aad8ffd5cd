//! The syntax tree of a query as `parse_query` shows it.

use crate::promql::ast::{At, Cardinality, Expr, ExprKind, VectorMatching, VectorSelector};
use serde_json::{Value as Json, json};
use sim_wire::MatchOp;

fn start_or_end(at: Option<At>) -> Json {
    match at {
        Some(At::Start) => json!("start"),
        Some(At::End) => json!("end"),
        _ => Json::Null,
    }
}

fn timestamp(at: Option<At>) -> Json {
    match at {
        Some(At::Timestamp(ms)) => json!(ms),
        _ => Json::Null,
    }
}

fn selector(selector: &VectorSelector) -> Json {
    let op = |op: MatchOp| match op {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    let matchers: Vec<Json> = selector
        .matchers
        .iter()
        .map(|matcher| json!({ "name": matcher.name, "type": op(matcher.op), "value": matcher.value }))
        .collect();
    json!({
        "matchers": matchers,
        "name": selector.name.as_deref().filter(|_| selector.name_outside).unwrap_or_default(),
        "offset": selector.offset_ms.unwrap_or(0),
        "startOrEnd": start_or_end(selector.at),
        "timestamp": timestamp(selector.at),
    })
}

fn matching(matching: Option<&VectorMatching>) -> Json {
    let Some(matching) = matching else { return Json::Null };
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    json!({ "card": cardinality, "include": matching.include, "labels": matching.labels, "on": matching.on })
}

/// A node with all below it.
pub(super) fn node(expr: &Expr) -> Json {
    match &expr.kind {
        ExprKind::Number { value, .. } => json!({ "type": "numberLiteral", "val": number(*value) }),
        ExprKind::String(bytes) => json!({ "type": "stringLiteral", "val": String::from_utf8_lossy(bytes) }),
        ExprKind::Vector(inner) => {
            let mut shown = selector(inner);
            shown["type"] = json!("vectorSelector");
            shown
        }
        ExprKind::Matrix { selector: inner, range_ms } => {
            let mut shown = selector(inner);
            shown["range"] = json!(range_ms);
            shown["type"] = json!("matrixSelector");
            shown
        }
        ExprKind::Subquery { expr, range_ms, step_ms, offset_ms, at } => json!({
            "expr": node(expr),
            "offset": offset_ms.unwrap_or(0),
            "range": range_ms,
            "startOrEnd": start_or_end(*at),
            "step": step_ms.unwrap_or(0),
            "timestamp": timestamp(*at),
            "type": "subquery",
        }),
        ExprKind::Aggregate { op, expr, param, grouping, without } => json!({
            "expr": node(expr),
            "grouping": grouping,
            "op": op.as_str(),
            "param": param.as_ref().map(|param| node(param)),
            "type": "aggregation",
            "without": without,
        }),
        ExprKind::Call { function, args } => json!({
            "args": args.iter().map(node).collect::<Vec<_>>(),
            "func": {
                "argTypes": function.args.iter().map(|kind| kind.api()).collect::<Vec<_>>(),
                "name": function.name,
                "returnType": function.returns.api(),
                "variadic": function.optional,
            },
            "type": "call",
        }),
        ExprKind::Binary { op, lhs, rhs, return_bool, matching: joined } => json!({
            "bool": return_bool,
            "lhs": node(lhs),
            "matching": matching(joined.as_ref()),
            "op": op.as_str(),
            "rhs": node(rhs),
            "type": "binaryExpr",
        }),
        ExprKind::Unary { negative, expr } => {
            json!({ "expr": node(expr), "op": if *negative { "-" } else { "+" }, "type": "unaryExpr" })
        }
        ExprKind::Paren(inner) => json!({ "expr": node(inner), "type": "parenExpr" }),
    }
}

fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { sim_wire::format_float(value) }
}
