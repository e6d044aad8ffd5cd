//! Queries as text. What is printed has more brackets than anyone would write, and is read back as the same query.

use std::fmt;

use super::ast::{
    Aggregate, Expr, ExprKind, Field, Kind, Query, ScalarExpr, SpansetExpr, Stage, Static, Status, UnaryOp,
};

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Error => "error",
            Status::Ok => "ok",
            Status::Unset => "unset",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Unspecified => "unspecified",
            Kind::Internal => "internal",
            Kind::Server => "server",
            Kind::Client => "client",
            Kind::Producer => "producer",
            Kind::Consumer => "consumer",
        })
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl fmt::Display for Static {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Static::Nil => f.write_str("nil"),
            Static::Int(i) => write!(f, "{i}"),
            Static::Float(x) => write!(f, "{x:?}"),
            Static::String(s) => f.write_str(&quoted(s)),
            Static::Bool(b) => write!(f, "{b}"),
            Static::Duration(nanos) => f.write_str(&duration_text(*nanos)),
            Static::Status(status) => status.fmt(f),
            Static::Kind(kind) => kind.fmt(f),
            Static::Array(values) | Static::Each(values) => {
                f.write_str("[")?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// Exact and readable back: the largest units first, down to nanoseconds.
fn duration_text(nanos: i64) -> String {
    const UNITS: [(u64, &str); 6] = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if nanos < 0 {
        out.push('-');
    }
    let mut rest = nanos.unsigned_abs();
    for (size, unit) in UNITS {
        if rest >= size {
            out.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    out
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Field::Intrinsic(intrinsic) => f.write_str(intrinsic.text()),
            Field::Attribute { scope, name } => {
                write!(f, "{}.", scope.text())?;
                let plain = !name.is_empty()
                    && name.chars().all(|c| super::lexer::is_attribute_char(c) && c != '"' && c != '\\');
                if plain { f.write_str(name) } else { f.write_str(&quoted_name(name)) }
            }
        }
    }
}

/// Only `\"` and `\\` are escapes inside a quoted attribute name.
fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Static(value) => value.fmt(f),
            ExprKind::Field(field) => field.fmt(f),
            ExprKind::Unary(UnaryOp::Negate, inner) => write!(f, "-({inner})"),
            ExprKind::Unary(UnaryOp::Not, inner) => write!(f, "!({inner})"),
            ExprKind::Unary(UnaryOp::Exists, inner) => write!(f, "({inner}) != nil"),
            ExprKind::Unary(UnaryOp::NotExists, inner) => write!(f, "({inner}) = nil"),
            ExprKind::Binary(op, lhs, rhs) => write!(f, "({lhs}) {} ({rhs})", op.text()),
            ExprKind::Match(lhs, pattern, negated) => {
                write!(f, "({lhs}) {} {}", if *negated { "!~" } else { "=~" }, quoted(&pattern.source))
            }
        }
    }
}

impl fmt::Display for SpansetExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpansetExpr::Filter(None) => f.write_str("{ }"),
            SpansetExpr::Filter(Some(expr)) => write!(f, "{{ {expr} }}"),
            SpansetExpr::Operation(op, lhs, rhs) => write!(f, "({lhs}) {} ({rhs})", op.text()),
            SpansetExpr::Pipeline(stages) => write!(f, "({})", Stages(stages)),
        }
    }
}

struct Stages<'a>(&'a [Stage]);

impl fmt::Display for Stages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, stage) in self.0.iter().enumerate() {
            write!(f, "{}{stage}", if i == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Aggregate::Count => f.write_str("count()"),
            Aggregate::Avg(expr) => write!(f, "avg({expr})"),
            Aggregate::Min(expr) => write!(f, "min({expr})"),
            Aggregate::Max(expr) => write!(f, "max({expr})"),
            Aggregate::Sum(expr) => write!(f, "sum({expr})"),
        }
    }
}

impl fmt::Display for ScalarExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScalarExpr::Static(value) => value.fmt(f),
            ScalarExpr::Aggregate(aggregate) => aggregate.fmt(f),
            ScalarExpr::Binary(op, lhs, rhs) => write!(f, "({lhs}) {} ({rhs})", op.text()),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stage::Spanset(expr) => expr.fmt(f),
            Stage::ScalarFilter { op, lhs, rhs } => write!(f, "{lhs} {} {rhs}", op.text()),
            Stage::By(expr) => write!(f, "by({expr})"),
            Stage::Coalesce => f.write_str("coalesce()"),
            Stage::Select(fields) => {
                f.write_str("select(")?;
                for (i, field) in fields.iter().enumerate() {
                    write!(f, "{}{field}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(")")
            }
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Stages(&self.stages).fmt(f)?;
        if !self.hints.is_empty() {
            f.write_str(" with(")?;
            for (i, (name, value)) in self.hints.iter().enumerate() {
                write!(f, "{}{name}={value}", if i == 0 { "" } else { ", " })?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}
