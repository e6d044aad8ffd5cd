//! Types of expressions, with Prometheus's error texts.

use super::ParseError;
use super::ast::*;

/// Builds a binary operation and checks what does not need its children's insides.
pub(crate) fn binary(
    query: &str,
    op: BinaryOp,
    lhs: Expr,
    rhs: Expr,
    return_bool: bool,
    matching: Option<VectorMatching>,
) -> Result<ExprKind, ParseError> {
    let span = Span { start: lhs.span.start, end: rhs.span.end };
    let error = |message: String| Err(ParseError::new(message, query, span));
    let (left, right) = (lhs.value_type(), rhs.value_type());
    if return_bool && !op.is_comparison() {
        return error("bool modifier can only be used on comparison operators".to_owned());
    }
    if op.is_comparison() && !return_bool && left == ValueType::Scalar && right == ValueType::Scalar {
        return error("comparisons between scalars must use BOOL modifier".to_owned());
    }
    for (side, side_type) in [(&lhs, left), (&rhs, right)] {
        if !matches!(side_type, ValueType::Scalar | ValueType::Vector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(ParseError::new(message, query, side.span));
        }
    }
    let vectors = left == ValueType::Vector && right == ValueType::Vector;
    if !vectors {
        if matching.is_some_and(|matching| !matching.labels.is_empty()) {
            return error("vector matching only allowed between instant vectors".to_owned());
        }
        if op.is_set() {
            return error(format!("set operator {:?} not allowed in binary scalar expression", op.as_str()));
        }
        return Ok(ExprKind::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs), return_bool, matching: None });
    }
    let cardinality = if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne };
    let matching =
        matching.unwrap_or(VectorMatching { cardinality, on: false, labels: Vec::new(), include: Vec::new() });
    Ok(ExprKind::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs), return_bool, matching: Some(matching) })
}

/// Checks a whole expression.
pub(crate) fn check(query: &str, expr: &Expr) -> Result<(), ParseError> {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix { .. } => Ok(()),
        ExprKind::Subquery { expr, .. } | ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => check(query, expr),
        ExprKind::Binary { lhs, rhs, .. } => {
            check(query, lhs)?;
            check(query, rhs)
        }
        ExprKind::Aggregate { op, expr, param, .. } => {
            check(query, expr)?;
            expect(query, expr, ValueType::Vector, "aggregation expression")?;
            let Some(param) = param else { return Ok(()) };
            check(query, param)?;
            let wanted = if *op == AggregateOp::CountValues { ValueType::String } else { ValueType::Scalar };
            expect(query, param, wanted, "aggregation parameter")
        }
        ExprKind::Call { function, args } => {
            let given = args.len();
            let wanted = function.args.len();
            let error = |message: String| Err(ParseError::new(message, query, expr.span));
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
            for (index, arg) in args.iter().enumerate() {
                check(query, arg)?;
                let wanted = function.args[index.min(wanted.saturating_sub(1))];
                expect(query, arg, wanted, &format!("call to function {name:?}"))?;
            }
            Ok(())
        }
    }
}

fn expect(query: &str, expr: &Expr, wanted: ValueType, context: &str) -> Result<(), ParseError> {
    let got = expr.value_type();
    if got == wanted {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", wanted.documented(), got.documented());
    Err(ParseError::new(message, query, expr.span))
}
