//! Types of expressions, with Prometheus's error texts.

use super::ParseError;
use super::ast::*;
use sim_wire::METRIC_NAME;

/// Checks a whole expression: children first, then what joins them. Settles how the sides of operations are matched.
pub(crate) fn check(query: &str, expr: &mut Expr) -> Result<(), ParseError> {
    let span = expr.span;
    let error = |message: String| Err(ParseError::new(message, query, span));
    match &mut expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => Ok(()),
        ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => check_selector(query, selector, span, false),
        ExprKind::Paren(inner) => check(query, inner),
        ExprKind::Subquery { expr: inner, .. } => {
            check(query, inner)?;
            match inner.value_type() {
                ValueType::Vector => Ok(()),
                other => error(format!("subquery is only allowed on instant vector, got {} instead", other.api())),
            }
        }
        ExprKind::Unary { expr: inner, .. } => {
            check(query, inner)?;
            match inner.value_type() {
                ValueType::Scalar | ValueType::Vector => Ok(()),
                other => error(format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                    other.documented()
                )),
            }
        }
        ExprKind::Binary { op, lhs, rhs, return_bool, matching } => {
            check(query, lhs)?;
            check(query, rhs)?;
            check_binary(query, *op, (lhs, rhs), *return_bool, matching)
        }
        ExprKind::Aggregate { op, expr, param, .. } => {
            expect(query, expr, ValueType::Vector, "aggregation expression")?;
            let Some(param) = param else { return Ok(()) };
            let wanted = if *op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
            expect(query, param, wanted, "aggregation parameter")
        }
        ExprKind::Call { function, args } => {
            let given = args.len();
            let wanted = function.args.len();
            let name = function.name;
            match function.optional {
                0 if given != wanted => {
                    return error(format!("expected {wanted} argument(s) in call to {name:?}, got {given}"));
                }
                0 => {}
                optional => {
                    let least = if optional > 0 { wanted - optional as usize } else { wanted - 1 };
                    if given < least {
                        return error(format!(
                            "expected at least {least} argument(s) in call to {name:?}, got {given}"
                        ));
                    }
                    if optional > 0 && given > wanted {
                        return error(format!(
                            "expected at most {wanted} argument(s) in call to {name:?}, got {given}"
                        ));
                    }
                }
            }
            if let ("info", [_, selector]) = (name, args.as_mut_slice()) {
                let selector_span = selector.span;
                let ExprKind::Vector(inner) = &selector.kind else {
                    let got = selector.value_type().documented();
                    return error(format!("expected type instant vector in call to function \"info\", got {got}"));
                };
                if inner.name_outside {
                    let message = "expected label selectors only, got vector selector instead";
                    return Err(ParseError::new(message, query, selector_span));
                }
            }
            for (index, arg) in args.iter_mut().enumerate() {
                if let (true, ExprKind::Vector(selector)) = (name == "info" && index == 1, &arg.kind) {
                    check_selector(query, selector, arg.span, true)?;
                    continue;
                }
                let wanted = function.args[index.min(wanted.saturating_sub(1))];
                expect(query, arg, wanted, &format!("call to function {name:?}"))?;
            }
            Ok(())
        }
    }
}

fn check_selector(query: &str, selector: &VectorSelector, span: Span, may_be_empty: bool) -> Result<(), ParseError> {
    let error = |message: String| Err(ParseError::new(message, query, span));
    if let (true, Some(name)) = (selector.name_outside, &selector.name) {
        let inside = selector.matchers.split_last().map_or(&[][..], |(_, inside)| inside);
        return match inside.iter().find(|matcher| matcher.name == METRIC_NAME) {
            Some(second) => error(format!("metric name must not be set twice: {name:?} or {:?}", second.value)),
            None => Ok(()),
        };
    }
    if !may_be_empty && selector.matchers.iter().all(|matcher| matcher.matches("")) {
        return error("vector selector must contain at least one non-empty matcher".to_owned());
    }
    Ok(())
}

fn check_binary(
    query: &str,
    op: BinaryOp,
    (lhs, rhs): (&Expr, &Expr),
    return_bool: bool,
    matching: &mut Option<VectorMatching>,
) -> Result<(), ParseError> {
    let whole = Span { start: lhs.span.start, end: rhs.span.end };
    let between = query.get(lhs.span.end..).unwrap_or_default();
    let operator =
        Span { start: query.len() - between.trim_start_matches([' ', '\t', '\n', '\r']).len(), end: rhs.span.start };
    let error = |message: String| Err(ParseError::new(message, query, whole));
    let at_operator = |message: String| Err(ParseError::new(message, query, operator));
    let (left, right) = (lhs.value_type(), rhs.value_type());
    let given = matching.take();
    if return_bool && !op.is_comparison() {
        return at_operator("bool modifier can only be used on comparison operators".to_owned());
    }
    if op.is_comparison() && !return_bool && left == ValueType::Scalar && right == ValueType::Scalar {
        return at_operator("comparisons between scalars must use BOOL modifier".to_owned());
    }
    if let Some(given) = given.as_ref().filter(|given| given.on)
        && let Some(label) = given.labels.iter().find(|label| given.include.contains(label))
    {
        return at_operator(format!("label {label:?} must not occur in ON and GROUP clause at once"));
    }
    for (side, side_type) in [(lhs, left), (rhs, right)] {
        if !matches!(side_type, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(ParseError::new(message, query, side.span));
        }
    }
    if left != ValueType::Vector || right != ValueType::Vector {
        if given.is_some_and(|given| !given.labels.is_empty()) {
            return error("vector matching only allowed between instant vectors".to_owned());
        }
        if op.is_set() {
            return error(format!("set operator {:?} not allowed in binary scalar expression", op.as_str()));
        }
        return Ok(());
    }
    let cardinality = if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne };
    let given = given.unwrap_or(VectorMatching { cardinality, on: false, labels: Vec::new(), include: Vec::new() });
    if op.is_set() && given.cardinality != Cardinality::ManyToMany {
        return error(format!("no grouping allowed for {:?} operation", op.as_str()));
    }
    *matching = Some(given);
    Ok(())
}

fn expect(query: &str, expr: &mut Expr, wanted: ValueType, context: &str) -> Result<(), ParseError> {
    check(query, expr)?;
    let got = expr.value_type();
    if got == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", wanted.documented(), got.documented());
    Err(ParseError::new(message, query, expr.span))
}
