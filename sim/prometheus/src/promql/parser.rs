//! A Pratt parser for PromQL.

use super::ParseError;
use super::ast::*;
use super::functions;
use super::lexer::{Kind, Token, tokens};
use super::typecheck;
use sim_wire::{Labels, METRIC_NAME, MatchOp, Matcher};

/// How deep expressions may nest; bounds the stack.
const DEPTH_MAX: usize = 64;
/// How many binary operators one query may have; a chain of them nests to the left and is walked recursively.
const BINARY_OPERATORS_MAX: usize = 500;

/// Largest timestamp of `@`; far from where arithmetic in milliseconds overflows.
const TIMESTAMP_SECONDS_MAX: f64 = 9e12;

/// What the parser accepts beyond the stable language.
#[derive(Debug, Clone, Copy, Default)]
pub struct ParseOptions {
    /// Functions and aggregations behind `--enable-feature=promql-experimental-functions`.
    pub experimental: bool,
}

/// Parses and type-checks a query.
///
/// # Errors
/// [`ParseError`] with Prometheus's own words.
///
/// ```
/// use sim_prometheus::promql::parse;
/// let expr = parse("sum(rate(x_total{job=~'a|b'}[5m])) by (job) > 0").unwrap();
/// assert_eq!(expr.to_string(), r#"sum by (job) (rate(x_total{job=~"a|b"}[5m])) > 0"#);
/// assert_eq!(
///     parse("rate(x)").unwrap_err().to_string(),
///     r#"1:6: parse error: expected type range vector in call to function "rate", got instant vector"#,
/// );
/// ```
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    parse_with(query, ParseOptions::default())
}

/// The same with options.
///
/// # Errors
/// [`ParseError`] with Prometheus's own words.
pub fn parse_with(query: &str, options: ParseOptions) -> Result<Expr, ParseError> {
    let mut parser = Parser { query, tokens: tokens(query)?, at: 0, depth: 0, operators: 0, options };
    if parser.peek().kind == Kind::End {
        return Err(ParseError::new("no expression found in input", query, Span { start: 0, end: 0 }));
    }
    let expr = parser.expression(0)?;
    if parser.peek().kind != Kind::End {
        return Err(parser.unexpected(""));
    }
    typecheck::check(query, &expr)?;
    Ok(expr)
}

/// Parses a series description such as `up{job="a"}` into labels; only `=` is allowed.
pub(crate) fn parse_metric(text: &str) -> Result<Labels, ParseError> {
    let mut parser =
        Parser { query: text, tokens: tokens(text)?, at: 0, depth: 0, operators: 0, options: ParseOptions::default() };
    let start = parser.peek().span;
    let name = match parser.peek().kind.clone() {
        Kind::Identifier(word) | Kind::MetricIdentifier(word) => {
            parser.at += 1;
            Some(word)
        }
        _ => None,
    };
    let (quoted_name, matchers) = if parser.is("{") { parser.matchers()? } else { (None, Vec::new()) };
    if parser.peek().kind != Kind::End {
        return Err(parser.unexpected(" in series"));
    }
    if matchers.iter().any(|matcher| matcher.op != MatchOp::Equal) {
        return Err(ParseError::new("only = is allowed in a series description", text, start));
    }
    let named = name.or(quoted_name).map(|name| (METRIC_NAME.to_owned(), name));
    Ok(Labels::from_pairs(matchers.into_iter().map(|m| (m.name, m.value)).chain(named)))
}

struct Parser<'a> {
    query: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    operators: usize,
    options: ParseOptions,
}

impl Parser<'_> {
    fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    fn peek_second(&self) -> &Token {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)]
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.peek().kind, Kind::Symbol(found) if found == symbol)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(&self.peek().kind, Kind::Identifier(found) if found.eq_ignore_ascii_case(word))
    }

    fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        self.at += usize::from(found);
        found
    }

    fn accept_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str, context: &str) -> Result<Span, ParseError> {
        if self.is(symbol) {
            return Ok(self.next().span);
        }
        Err(self.unexpected(&format!("{context}, expected {symbol:?}")))
    }

    fn error(&self, message: impl Into<String>, span: Span) -> ParseError {
        ParseError::new(message, self.query, span)
    }

    fn unexpected(&self, context: &str) -> ParseError {
        let token = self.peek();
        self.error(format!("unexpected {}{context}", token.describe(self.query)), token.span)
    }

    fn expression(&mut self, min_precedence: u8) -> Result<Expr, ParseError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.error(format!("expression nested deeper than {DEPTH_MAX}"), self.peek().span));
        }
        let mut lhs = self.unary()?;
        while let Some(op) = self.binary_op() {
            if op.precedence() < min_precedence.max(1) {
                break;
            }
            self.operators += 1;
            if self.operators > BINARY_OPERATORS_MAX {
                return Err(self.error(format!("more than {BINARY_OPERATORS_MAX} binary operators"), self.peek().span));
            }
            self.at += 1;
            let (return_bool, matching) = self.binary_modifiers(op)?;
            let next = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
            let rhs = self.expression(next)?;
            let span = Span { start: lhs.span.start, end: rhs.span.end };
            lhs = Expr { kind: typecheck::binary(self.query, op, lhs, rhs, return_bool, matching)?, span };
        }
        self.depth -= 1;
        Ok(lhs)
    }

    fn binary_op(&self) -> Option<BinaryOp> {
        Some(match &self.peek().kind {
            Kind::Symbol(symbol) => match *symbol {
                "+" => BinaryOp::Add,
                "-" => BinaryOp::Sub,
                "*" => BinaryOp::Mul,
                "/" => BinaryOp::Div,
                "%" => BinaryOp::Mod,
                "^" => BinaryOp::Pow,
                "==" => BinaryOp::Eql,
                "!=" => BinaryOp::Neq,
                ">" => BinaryOp::Gtr,
                "<" => BinaryOp::Lss,
                ">=" => BinaryOp::Gte,
                "<=" => BinaryOp::Lte,
                _ => return None,
            },
            Kind::Identifier(word) => match word.to_ascii_lowercase().as_str() {
                "and" => BinaryOp::And,
                "or" => BinaryOp::Or,
                "unless" => BinaryOp::Unless,
                "atan2" => BinaryOp::Atan2,
                _ => return None,
            },
            _ => return None,
        })
    }

    fn binary_modifiers(&mut self, op: BinaryOp) -> Result<(bool, Option<VectorMatching>), ParseError> {
        let return_bool = self.accept_word("bool");
        let mut matching = None;
        let on = self.is_word("on");
        if on || self.is_word("ignoring") {
            self.at += 1;
            let labels = self.label_names()?;
            let cardinality = if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne };
            let mut found = VectorMatching { cardinality, on, labels, include: Vec::new() };
            let left = self.is_word("group_left");
            if left || self.is_word("group_right") {
                let span = self.next().span;
                if op.is_set() {
                    return Err(self.error(format!("no grouping allowed for {:?} operation", op.as_str()), span));
                }
                found.cardinality = if left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                if self.is("(") {
                    found.include = self.label_names()?;
                }
                if on && let Some(label) = found.include.iter().find(|label| found.labels.contains(label)) {
                    return Err(
                        self.error(format!("label {label:?} must not occur in ON and GROUP clause at once"), span)
                    );
                }
            }
            matching = Some(found);
        }
        Ok((return_bool, matching))
    }

    fn label_names(&mut self) -> Result<Vec<String>, ParseError> {
        const CONTEXT: &str = " in grouping opts";
        self.expect("(", CONTEXT)?;
        let mut names = Vec::new();
        while !self.is(")") {
            let name = match self.peek().kind.clone() {
                Kind::Identifier(word) => word,
                Kind::String(bytes) => match String::from_utf8(bytes) {
                    Ok(name) if !name.is_empty() => name,
                    _ => return Err(self.unexpected(&format!("{CONTEXT}, expected label"))),
                },
                // Words that the lexer takes for numbers are label names here.
                Kind::Number(value) if value.is_nan() || value.is_infinite() => {
                    self.query[self.peek().span.start..self.peek().span.end].to_owned()
                }
                _ => return Err(self.unexpected(&format!("{CONTEXT}, expected label"))),
            };
            self.at += 1;
            names.push(name);
            if !self.accept(",") && !self.is(")") {
                return Err(self.unexpected(&format!("{CONTEXT}, expected \",\" or \")\"")));
            }
        }
        self.at += 1;
        Ok(names)
    }

    fn unary(&mut self) -> Result<Expr, ParseError> {
        let negative = self.is("-");
        if negative || self.is("+") {
            let start = self.next().span.start;
            // A sign binds looser than a power and tighter than a product.
            let operand = self.expression(BinaryOp::Pow.precedence())?;
            let span = Span { start, end: operand.span.end };
            if let ExprKind::Number { value, duration } = operand.kind {
                let value = if negative { -value } else { value };
                return Ok(Expr { kind: ExprKind::Number { value, duration }, span });
            }
            if !matches!(operand.value_type(), ValueType::Scalar | ValueType::Vector) {
                let got = operand.value_type().documented();
                let message = format!(
                    "unary expression only allowed on expressions of type scalar or instant vector, got {got:?}"
                );
                return Err(self.error(message, span));
            }
            return Ok(Expr { kind: ExprKind::Unary { negative, expr: Box::new(operand) }, span });
        }
        let primary = self.primary()?;
        self.postfix(primary)
    }

    fn postfix(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        loop {
            if self.is("[") {
                expr = self.bracket(expr)?;
            } else if self.is_word("offset") {
                self.at += 1;
                let offset = self.signed_duration_ms(" in offset, expected number or duration")?;
                self.set_offset(&mut expr, offset)?;
            } else if self.is("@") {
                self.at += 1;
                let at = self.at_argument()?;
                self.set_at(&mut expr, at)?;
            } else {
                return Ok(expr);
            }
            expr.span.end = self.tokens[self.at - 1].span.end;
        }
    }

    fn bracket(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        self.expect("[", "")?;
        let range_ms = self.positive_duration_ms(" in subquery or range selector, expected number or duration")?;
        let start = expr.span.start;
        if self.accept(":") {
            let step_ms = if self.is("]") {
                None
            } else {
                Some(self.positive_duration_ms(" in subquery selector, expected number or duration")?)
            };
            let end = self.expect("]", " in subquery selector")?.end;
            if expr.value_type() != ValueType::Vector {
                let message =
                    format!("subquery is only allowed on instant vector, got {} instead", expr.value_type().api());
                return Err(self.error(message, expr.span));
            }
            let kind = ExprKind::Subquery { expr: Box::new(expr), range_ms, step_ms, offset_ms: None, at: None };
            return Ok(Expr { kind, span: Span { start, end } });
        }
        let end = self.expect("]", " in subquery or range selector")?.end;
        let ExprKind::Vector(selector) = expr.kind else {
            return Err(self.error("ranges only allowed for vector selectors", expr.span));
        };
        if selector.offset_ms.is_some() {
            return Err(self.error("no offset modifiers allowed before range", expr.span));
        }
        if selector.at.is_some() {
            return Err(self.error("no @ modifiers allowed before range", expr.span));
        }
        Ok(Expr { kind: ExprKind::Matrix { selector, range_ms }, span: Span { start, end } })
    }

    /// A duration, or a number of seconds, with an optional sign.
    fn signed_duration_ms(&mut self, context: &str) -> Result<i64, ParseError> {
        let sign = if self.accept("-") {
            -1
        } else {
            self.accept("+");
            1
        };
        let ms = match self.peek().kind {
            Kind::Duration(ms) => ms,
            Kind::Number(seconds) if seconds.is_finite() && seconds.abs() < 1e13 => (seconds * 1000.0).round() as i64,
            Kind::Number(_) => return Err(self.error("duration out of range", self.peek().span)),
            _ => return Err(self.unexpected(context)),
        };
        self.at += 1;
        Ok(sign * ms)
    }

    fn positive_duration_ms(&mut self, context: &str) -> Result<i64, ParseError> {
        let span = self.peek().span;
        let ms = self.signed_duration_ms(context)?;
        if ms <= 0 {
            return Err(self.error("duration must be greater than 0", span));
        }
        Ok(ms)
    }

    fn at_argument(&mut self) -> Result<At, ParseError> {
        const CONTEXT: &str = " in @, expected timestamp";
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.accept_word(word) {
                self.expect("(", " in @")?;
                self.expect(")", " in @")?;
                return Ok(at);
            }
        }
        let span = self.peek().span;
        let sign = if self.accept("-") {
            -1.0
        } else {
            self.accept("+");
            1.0
        };
        let seconds = match self.peek().kind {
            Kind::Number(seconds) => seconds,
            Kind::Duration(ms) => ms as f64 / 1000.0,
            _ => return Err(self.unexpected(CONTEXT)),
        };
        self.at += 1;
        if !seconds.is_finite() || seconds.abs() >= TIMESTAMP_SECONDS_MAX {
            return Err(self.error(
                format!("timestamp out of bounds for @ modifier: {}", sim_wire::format_float(sign * seconds)),
                span,
            ));
        }
        Ok(At::Timestamp((sign * seconds * 1000.0).round() as i64))
    }

    fn set_offset(&self, expr: &mut Expr, offset: i64) -> Result<(), ParseError> {
        let slot = match &mut expr.kind {
            ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => &mut selector.offset_ms,
            ExprKind::Subquery { offset_ms, .. } => offset_ms,
            _ => {
                let message = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                return Err(self.error(message, expr.span));
            }
        };
        if slot.is_some() {
            return Err(self.error("offset may not be set multiple times", expr.span));
        }
        *slot = Some(offset);
        Ok(())
    }

    fn set_at(&self, expr: &mut Expr, at: At) -> Result<(), ParseError> {
        let slot = match &mut expr.kind {
            ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => &mut selector.at,
            ExprKind::Subquery { at, .. } => at,
            _ => {
                let message =
                    "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                return Err(self.error(message, expr.span));
            }
        };
        if slot.is_some() {
            return Err(self.error("@ <timestamp> may not be set multiple times", expr.span));
        }
        *slot = Some(at);
        Ok(())
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        let token = self.peek().clone();
        let span = token.span;
        match token.kind {
            Kind::Number(value) => {
                self.at += 1;
                Ok(Expr { kind: ExprKind::Number { value, duration: false }, span })
            }
            Kind::Duration(ms) => {
                self.at += 1;
                Ok(Expr { kind: ExprKind::Number { value: ms as f64 / 1000.0, duration: true }, span })
            }
            Kind::String(bytes) => {
                self.at += 1;
                Ok(Expr { kind: ExprKind::String(bytes), span })
            }
            Kind::Symbol("(") => {
                self.at += 1;
                let inner = self.expression(0)?;
                let end = self.expect(")", " in parenthesis")?.end;
                Ok(Expr { kind: ExprKind::Paren(Box::new(inner)), span: Span { start: span.start, end } })
            }
            Kind::Symbol("{") => self.selector(None),
            Kind::MetricIdentifier(_) => self.selector_after_name(),
            Kind::Identifier(word) => {
                let second = self.peek_second().clone();
                let opens = second.kind == Kind::Symbol("(");
                if let Some(op) = AggregateOp::from_word(&word) {
                    let grouped = matches!(&second.kind, Kind::Identifier(next) if next.eq_ignore_ascii_case("by") || next.eq_ignore_ascii_case("without"));
                    if opens || grouped {
                        return self.aggregate(op, span);
                    }
                } else if opens {
                    return self.call(&word, span);
                }
                self.selector_after_name()
            }
            Kind::Symbol(_) | Kind::End => Err(self.unexpected("")),
        }
    }

    fn selector_after_name(&mut self) -> Result<Expr, ParseError> {
        let token = self.next();
        match token.kind {
            Kind::Identifier(word) | Kind::MetricIdentifier(word) => self.selector(Some((word, token.span))),
            _ => Err(self.unexpected("")),
        }
    }

    fn selector(&mut self, name: Option<(String, Span)>) -> Result<Expr, ParseError> {
        let start = name.as_ref().map_or(self.peek().span.start, |(_, span)| span.start);
        let (quoted_name, mut matchers) = if self.is("{") { self.matchers()? } else { (None, Vec::new()) };
        let span = Span { start, end: self.tokens[self.at - 1].span.end };
        let name = match (name.map(|(name, _)| name), quoted_name) {
            (Some(first), Some(second)) => {
                return Err(self.error(format!("metric name must not be set twice: {first:?} or {second:?}"), span));
            }
            (first, second) => first.or(second),
        };
        if let Some(name) = &name {
            if let Some(matcher) = matchers.iter().find(|matcher| matcher.name == METRIC_NAME) {
                return Err(
                    self.error(format!("metric name must not be set twice: {name:?} or {:?}", matcher.value), span)
                );
            }
            matchers.push(Matcher::equal(METRIC_NAME, name.as_str()));
        }
        if matchers.iter().all(|matcher| matcher.matches("")) {
            return Err(self.error("vector selector must contain at least one non-empty matcher", span));
        }
        Ok(Expr { kind: ExprKind::Vector(VectorSelector { name, matchers, offset_ms: None, at: None }), span })
    }

    fn matchers(&mut self) -> Result<(Option<String>, Vec<Matcher>), ParseError> {
        const CONTEXT: &str = " in label matching";
        self.expect("{", CONTEXT)?;
        let mut name = None;
        let mut matchers = Vec::new();
        while !self.is("}") {
            let token = self.next();
            let (label, quoted) = match token.kind {
                Kind::Identifier(word) => (word, false),
                Kind::String(bytes) => match String::from_utf8(bytes) {
                    Ok(text) => (text, true),
                    Err(_) => return Err(self.error("invalid label name", token.span)),
                },
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected(&format!("{CONTEXT}, expected identifier or \"}}\"")));
                }
            };
            let op = match self.peek().kind {
                Kind::Symbol("=") => MatchOp::Equal,
                Kind::Symbol("!=") => MatchOp::NotEqual,
                Kind::Symbol("=~") => MatchOp::Regex,
                Kind::Symbol("!~") => MatchOp::NotRegex,
                _ if quoted && (self.is(",") || self.is("}")) => {
                    if let Some(first) = name.replace(label.clone()) {
                        return Err(self
                            .error(format!("metric name must not be set twice: {first:?} or {label:?}"), token.span));
                    }
                    self.accept(",");
                    continue;
                }
                _ => return Err(self.unexpected(&format!("{CONTEXT}, expected label matching operator"))),
            };
            self.at += 1;
            let value = match self.peek().kind.clone() {
                Kind::String(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                _ => return Err(self.unexpected(&format!("{CONTEXT}, expected string"))),
            };
            let value_span = self.next().span;
            matchers.push(Matcher::new(op, label, value).map_err(|error| self.error(error.to_string(), value_span))?);
            if !self.accept(",") && !self.is("}") {
                return Err(self.unexpected(&format!("{CONTEXT}, expected \",\" or \"}}\"")));
            }
        }
        self.at += 1;
        Ok((name, matchers))
    }

    fn arguments(&mut self, context: &str) -> Result<Vec<Expr>, ParseError> {
        self.expect("(", context)?;
        let mut args = Vec::new();
        while !self.is(")") {
            args.push(self.expression(0)?);
            if !self.accept(",") {
                break;
            }
            if self.is(")") {
                return Err(self.error(format!("trailing commas not allowed{context}"), self.peek().span));
            }
        }
        self.expect(")", context)?;
        Ok(args)
    }

    fn call(&mut self, name: &str, start: Span) -> Result<Expr, ParseError> {
        self.at += 1;
        let function =
            functions::find(name).ok_or_else(|| self.error(format!("unknown function with name {name:?}"), start))?;
        if function.experimental && !self.options.experimental {
            let message = format!("function {name:?} is not enabled");
            return Err(self.error(message, start));
        }
        let args = self.arguments(" in function call args")?;
        let span = Span { start: start.start, end: self.tokens[self.at - 1].span.end };
        Ok(Expr { kind: ExprKind::Call { function, args }, span })
    }

    fn aggregate(&mut self, op: AggregateOp, start: Span) -> Result<Expr, ParseError> {
        self.at += 1;
        if op == AggregateOp::Limitk && !self.options.experimental {
            return Err(self.error(
                "limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                start,
            ));
        }
        let mut grouping = self.grouping()?;
        let mut args = self.arguments(" in aggregation")?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let (without, grouping) = grouping.unwrap_or_default();
        let span = Span { start: start.start, end: self.tokens[self.at - 1].span.end };
        let wanted = 1 + usize::from(op.has_param());
        if args.is_empty() {
            return Err(self.error("no arguments for aggregate expression provided", span));
        }
        if args.len() != wanted {
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {wanted}, got {}",
                args.len()
            );
            return Err(self.error(message, span));
        }
        let expr = Box::new(args.remove(wanted - 1));
        let param = args.pop().map(Box::new);
        Ok(Expr { kind: ExprKind::Aggregate { op, expr, param, grouping, without }, span })
    }

    fn grouping(&mut self) -> Result<Option<(bool, Vec<String>)>, ParseError> {
        let without = self.is_word("without");
        if !without && !self.is_word("by") {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some((without, self.label_names()?)))
    }
}
