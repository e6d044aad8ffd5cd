//! Expressions as one line of PromQL.

use super::ast::*;
use super::quote::go_quoted;
use sim_wire::labels::{is_legacy_label_name, push_quoted};
use sim_wire::{duration, format_float};
use std::fmt;

impl fmt::Display for VectorSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_selector(f, self, None)
    }
}

fn write_selector(f: &mut fmt::Formatter<'_>, selector: &VectorSelector, range_ms: Option<i64>) -> fmt::Result {
    // A name in the braces is written as the matcher that it is.
    let name = selector.name.as_deref().filter(|_| selector.name_outside);
    let inside = selector.matchers.len() - usize::from(name.is_some());
    let mut parts: Vec<String> = selector.matchers.iter().take(inside).map(ToString::to_string).collect();
    parts.sort();
    f.write_str(name.unwrap_or_default())?;
    if !parts.is_empty() || name.is_none() {
        write!(f, "{{{}}}", parts.join(","))?;
    }
    if let Some(range_ms) = range_ms {
        write!(f, "[{}]", duration::format_ms(range_ms))?;
    }
    write_modifiers(f, selector.offset_ms, selector.at)
}

fn write_modifiers(f: &mut fmt::Formatter<'_>, offset_ms: Option<i64>, at: Option<At>) -> fmt::Result {
    match at {
        Some(At::Timestamp(ms)) => {
            write!(f, " @ {}{}.{:03}", if ms < 0 { "-" } else { "" }, ms.abs() / 1000, ms.abs() % 1000)?;
        }
        Some(At::Start) => f.write_str(" @ start()")?,
        Some(At::End) => f.write_str(" @ end()")?,
        None => {}
    }
    match offset_ms {
        Some(ms) if ms != 0 => write!(f, " offset {}", duration::format_ms(ms)),
        _ => Ok(()),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    push_quoted(&mut out, text);
    out
}

fn names(labels: &[String]) -> String {
    labels
        .iter()
        .map(|name| if is_legacy_label_name(name) { name.clone() } else { quoted(name) })
        .collect::<Vec<_>>()
        .join(", ")
}

fn list(args: &[Expr]) -> String {
    args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { value, duration: true } => f.write_str(&duration::format_ms((value * 1000.0) as i64)),
            ExprKind::Number { value, .. } if value.is_finite() => write!(f, "{value}"),
            ExprKind::Number { value, .. } => f.write_str(&format_float(*value)),
            ExprKind::String(bytes) => f.write_str(&go_quoted(bytes)),
            ExprKind::Vector(selector) => write_selector(f, selector, None),
            ExprKind::Matrix { selector, range_ms } => write_selector(f, selector, Some(*range_ms)),
            ExprKind::Subquery { expr, range_ms, step_ms, offset_ms, at } => {
                let step = step_ms.map(duration::format_ms).unwrap_or_default();
                write!(f, "{expr}[{}:{step}]", duration::format_ms(*range_ms))?;
                write_modifiers(f, *offset_ms, *at)
            }
            ExprKind::Aggregate { op, expr, param, grouping, without } => {
                f.write_str(op.as_str())?;
                if *without {
                    write!(f, " without ({}) ", names(grouping))?;
                } else if !grouping.is_empty() {
                    write!(f, " by ({}) ", names(grouping))?;
                }
                match param {
                    Some(param) => write!(f, "({param}, {expr})"),
                    None => write!(f, "({expr})"),
                }
            }
            ExprKind::Call { function, args } => write!(f, "{}({})", function.name, list(args)),
            ExprKind::Binary { op, lhs, rhs, return_bool, matching } => {
                write!(f, "{lhs} {}", op.as_str())?;
                if *return_bool {
                    f.write_str(" bool")?;
                }
                if let Some(matching) = matching {
                    // As Prometheus: a group modifier is lost where nothing is ignored.
                    if matching.on || !matching.labels.is_empty() {
                        let word = if matching.on { "on" } else { "ignoring" };
                        write!(f, " {word} ({})", names(&matching.labels))?;
                        match matching.cardinality {
                            Cardinality::ManyToOne => write!(f, " group_left ({})", names(&matching.include))?,
                            Cardinality::OneToMany => write!(f, " group_right ({})", names(&matching.include))?,
                            Cardinality::OneToOne | Cardinality::ManyToMany => {}
                        }
                    }
                }
                write!(f, " {rhs}")
            }
            ExprKind::Unary { negative, expr } => write!(f, "{}{expr}", if *negative { "-" } else { "+" }),
            ExprKind::Paren(expr) => write!(f, "({expr})"),
        }
    }
}
