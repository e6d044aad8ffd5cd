//! A Pratt parser for PromQL.

use super::ParseError;
use super::ast::*;
use super::functions;
use super::lexer::{self, Kind, Token, tokens};
use super::quote::go_quoted;
use super::typecheck;
use sim_wire::{Labels, METRIC_NAME, MatchOp, Matcher};

/// How deep expressions may nest; bounds the stack.
const DEPTH_MAX: usize = 64;
/// How many binary operators one query may have; a chain of them nests to the left and is walked recursively.
const BINARY_OPERATORS_MAX: usize = 500;

/// Longest regular expression, in bytes; compiling longer ones takes seconds.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Timestamps of `@` lie below this; arithmetic with them saturates.
const TIMESTAMP_SECONDS_MAX: f64 = 9_223_372_036_854_775_807.0;
/// Longest duration, in seconds: 2^63 nanoseconds.
const DURATION_SECONDS_MAX: f64 = 9_223_372_036.854_776;

/// Words that no metric can have for its name outside braces.
const NO_METRICS: [&str; 6] = ["bool", "on", "ignoring", "group_left", "group_right", "atan2"];

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
    let mut parser = Parser::new(query, options);
    if parser.peek().kind == Kind::End {
        return Err(ParseError::new("no expression found in input", query, Span { start: 0, end: 0 }));
    }
    let mut expr = parser.expression(0)?;
    if parser.peek().kind != Kind::End {
        return Err(parser.unexpected(""));
    }
    typecheck::check(query, &mut expr)?;
    Ok(expr)
}

/// Parses a selector alone, as `match[]` wants it: no modifier, and it may match everything.
///
/// # Errors
/// [`ParseError`] with Prometheus's own words.
///
/// ```
/// assert_eq!(sim_prometheus::promql::parse_selector("up{job='a'}").unwrap().len(), 2);
/// assert!(sim_prometheus::promql::parse_selector("up[5m]").is_err());
/// ```
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text, ParseOptions::default());
    let name = match parser.peek().kind.clone() {
        Kind::Identifier(word) | Kind::MetricIdentifier(word)
            if !NO_METRICS.iter().any(|reserved| reserved.eq_ignore_ascii_case(&word)) =>
        {
            Some((word, parser.next().span))
        }
        Kind::Symbol("{") => None,
        _ => return Err(parser.unexpected("")),
    };
    let expr = parser.selector(name)?;
    if parser.peek().kind != Kind::End {
        return Err(parser.unexpected(""));
    }
    match expr.kind {
        ExprKind::Vector(selector) => Ok(selector.matchers),
        _ => Ok(Vec::new()),
    }
}

/// Parses a series description such as `up{job="a"}` into labels; only `=` is allowed.
pub(crate) fn parse_metric(text: &str) -> Result<Labels, ParseError> {
    let mut parser = Parser::new(text, ParseOptions::default());
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
    /// How many aggregations the parser stands in.
    aggregations: usize,
    options: ParseOptions,
}

impl<'a> Parser<'a> {
    fn new(query: &'a str, options: ParseOptions) -> Self {
        Self { query, tokens: tokens(query), at: 0, depth: 0, operators: 0, aggregations: 0, options }
    }

    fn text(&self, span: Span) -> &'a str {
        self.query.get(span.start..span.end).unwrap_or_default()
    }

    fn number(&self, span: Span) -> Result<f64, ParseError> {
        lexer::number(self.text(span)).map_err(|why| self.error(format!("error parsing number: {why}"), span))
    }

    fn duration_ms(&self, span: Span) -> Result<i64, ParseError> {
        let duration = sim_wire::duration::parse(self.text(span)).map_err(|why| self.error(why.to_string(), span))?;
        i64::try_from(duration.as_millis()).map_err(|_| self.error("duration out of range", span))
    }

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

    /// A complaint about the next token; the lexer's own if it stumbled there. An error that no rule is near to belongs to the
    /// aggregation around it.
    fn unexpected(&self, context: &str) -> ParseError {
        let token = self.peek();
        if let Kind::Error(message) = &token.kind {
            return self.error(message.clone(), token.span);
        }
        let context = if context.is_empty() && self.aggregations > 0 { " in aggregation" } else { context };
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
            lhs = Expr {
                kind: ExprKind::Binary { op, lhs: Box::new(lhs), rhs: Box::new(rhs), return_bool, matching },
                span,
            };
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
                self.at += 1;
                found.cardinality = if left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                // Nothing that an operand can start with but a parenthesis is taken for labels.
                if self.is("(") || !self.starts_expression() {
                    found.include = self.label_names()?;
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
            let token = self.peek().clone();
            let name = match token.kind {
                Kind::Identifier(word) | Kind::MetricIdentifier(word) => word,
                Kind::String => {
                    let name = lexer::unquoted(self.text(token.span));
                    match String::from_utf8(name) {
                        Ok(name) if !name.is_empty() => name,
                        other => {
                            let name = other.map_or_else(|error| error.into_bytes(), String::into_bytes);
                            let message = format!("invalid label name for grouping: {}", go_quoted(&name));
                            return Err(self.error(message, token.span));
                        }
                    }
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
                let offset = self.offset_ms()?;
                self.set_offset(&mut expr, offset)?;
            } else if self.is("@") {
                self.at += 1;
                let at = self.at_argument(&expr)?;
                self.set_at(&mut expr, at)?;
            } else {
                return Ok(expr);
            }
            expr.span.end = self.tokens[self.at - 1].span.end;
        }
    }

    fn bracket(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let opening = self.expect("[", "")?.start;
        let start = expr.span.start;
        let range_ms = self.range_ms(" in subquery selector, expected number or duration")?;
        if self.accept(":") {
            let step_ms = if self.is("]") {
                None
            } else {
                Some(self.range_ms(" in subquery selector, expected number or duration or \"]\"")?)
            };
            let end = self.expect("]", " in subquery selector")?.end;
            let kind = ExprKind::Subquery { expr: Box::new(expr), range_ms, step_ms, offset_ms: None, at: None };
            return Ok(Expr { kind, span: Span { start, end } });
        }
        if !self.is("]") {
            return Err(self.unexpected(" in subquery or range, expected \":\" or \"]\""));
        }
        let end = self.next().span.end;
        let brackets = Span { start: opening, end };
        let ExprKind::Vector(selector) = expr.kind else {
            return Err(self.error("ranges only allowed for vector selectors", brackets));
        };
        if selector.offset_ms.is_some_and(|offset| offset != 0) {
            return Err(self.error("no offset modifiers allowed before range", brackets));
        }
        if selector.at.is_some() {
            return Err(self.error("no @ modifiers allowed before range", brackets));
        }
        Ok(Expr { kind: ExprKind::Matrix { selector, range_ms }, span: Span { start, end } })
    }

    fn sign(&mut self) -> f64 {
        if self.accept("-") {
            return -1.0;
        }
        self.accept("+");
        1.0
    }

    /// A number or a duration in seconds.
    fn seconds(&mut self, context: &str) -> Result<f64, ParseError> {
        let token = self.peek().clone();
        let seconds = match token.kind {
            Kind::Number => self.number(token.span)?,
            Kind::Duration => self.duration_ms(token.span)? as f64 / 1000.0,
            _ => return Err(self.unexpected(context)),
        };
        self.at += 1;
        Ok(seconds)
    }

    /// Seconds as milliseconds, if they are a duration at all.
    fn milliseconds(&self, seconds: f64, span: Span) -> Result<i64, ParseError> {
        if seconds.abs() > DURATION_SECONDS_MAX {
            return Err(self.error("duration out of range", span));
        }
        // Prometheus rounds to nanoseconds here and cuts to milliseconds where it evaluates.
        Ok((seconds * 1e9).round() as i64 / 1_000_000)
    }

    /// What stands in brackets: a duration greater than 0. Arithmetic with durations is behind a flag that is not offered.
    fn range_ms(&mut self, context: &str) -> Result<i64, ParseError> {
        let span = self.peek().span;
        let seconds = self.duration_expression(0, context)?;
        if seconds.is_nan() || seconds <= 0.0 {
            return Err(self.error("duration must be greater than 0", span));
        }
        self.milliseconds(seconds, span)
    }

    fn duration_expression(&mut self, depth: usize, context: &str) -> Result<f64, ParseError> {
        const EXPERIMENTAL: &str = "experimental duration expression is not enabled";
        let span = self.peek().span;
        if depth > DEPTH_MAX {
            return Err(self.error(format!("expression nested deeper than {DEPTH_MAX}"), span));
        }
        let mut sign = 1.0;
        while self.is("-") || self.is("+") {
            sign *= self.sign();
        }
        if self.accept("(") {
            let inner = self.peek().span;
            self.duration_expression(depth + 1, context)?;
            if !self.is(")") {
                return Err(self.unexpected(context));
            }
            return Err(self.error(EXPERIMENTAL, inner));
        }
        let seconds = sign * self.seconds(context)?;
        if seconds.abs() > DURATION_SECONDS_MAX {
            return Err(self.error("duration out of range", span));
        }
        if ["+", "-", "*", "/", "%", "^"].iter().any(|symbol| self.is(symbol)) {
            self.at += 1;
            self.duration_expression(depth + 1, context)?;
            return Err(self.error(EXPERIMENTAL, span));
        }
        Ok(seconds)
    }

    fn offset_ms(&mut self) -> Result<i64, ParseError> {
        const CONTEXT: &str = " in offset, expected number or duration";
        let span = self.peek().span;
        if self.is("(") {
            return self.duration_expression(0, CONTEXT).map(|_| 0);
        }
        let mut sign = 1.0;
        while self.is("-") || self.is("+") {
            sign *= self.sign();
        }
        let seconds = self.seconds(CONTEXT)?;
        self.milliseconds(sign * seconds, span)
    }

    fn at_argument(&mut self, expr: &Expr) -> Result<At, ParseError> {
        const CONTEXT: &str = " in @, expected timestamp";
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.accept_word(word) {
                if !self.accept("(") || !self.accept(")") {
                    return Err(self.unexpected(CONTEXT));
                }
                return Ok(at);
            }
        }
        let sign = self.sign();
        let seconds = sign * self.seconds(CONTEXT)?;
        if !seconds.is_finite() || seconds.abs() >= TIMESTAMP_SECONDS_MAX {
            let shown = if seconds.is_finite() { format!("{seconds:.6}") } else { sim_wire::format_float(seconds) };
            return Err(self.error(format!("timestamp out of bounds for @ modifier: {shown}"), expr.span));
        }
        Ok(At::Timestamp((seconds * 1000.0).round() as i64))
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
        if slot.is_some_and(|offset| offset != 0) {
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
            Kind::Number => {
                self.at += 1;
                Ok(Expr { kind: ExprKind::Number { value: self.number(span)?, duration: false }, span })
            }
            Kind::Duration => {
                self.at += 1;
                let value = self.duration_ms(span)? as f64 / 1000.0;
                Ok(Expr { kind: ExprKind::Number { value, duration: true }, span })
            }
            Kind::String => {
                self.at += 1;
                Ok(Expr { kind: ExprKind::String(lexer::unquoted(self.text(span))), span })
            }
            Kind::Symbol("(") => {
                self.at += 1;
                let inner = self.expression(0)?;
                let end = self.close()?.end;
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
                } else if opens && !lexer::is_reserved(&word) {
                    return self.call(&word, span);
                }
                if NO_METRICS.iter().any(|reserved| reserved.eq_ignore_ascii_case(&word)) {
                    return Err(self.unexpected(""));
                }
                self.selector_after_name()
            }
            Kind::Symbol(_) | Kind::End | Kind::Error(_) => Err(self.unexpected("")),
        }
    }

    fn close(&mut self) -> Result<Span, ParseError> {
        if self.is(")") { Ok(self.next().span) } else { Err(self.unexpected("")) }
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
        let outside = name.is_some();
        let name = name.map(|(name, _)| name);
        if let Some(name) = &name {
            // Last, so that the check of types can tell it from what stands in the braces.
            matchers.push(Matcher::equal(METRIC_NAME, name.as_str()));
        }
        let selector =
            VectorSelector { name: name.or(quoted_name), name_outside: outside, matchers, offset_ms: None, at: None };
        Ok(Expr { kind: ExprKind::Vector(selector), span })
    }

    fn matchers(&mut self) -> Result<(Option<String>, Vec<Matcher>), ParseError> {
        const CONTEXT: &str = " in label matching";
        self.expect("{", CONTEXT)?;
        let mut name = None;
        let mut matchers = Vec::new();
        while !self.is("}") {
            let token = self.peek().clone();
            let (label, quoted) = match token.kind {
                Kind::Identifier(word) => (word, false),
                Kind::String => (String::from_utf8_lossy(&lexer::unquoted(self.text(token.span))).into_owned(), true),
                _ => return Err(self.unexpected(&format!("{CONTEXT}, expected identifier or \"}}\""))),
            };
            self.at += 1;
            let op = match self.peek().kind {
                Kind::Symbol("=") => MatchOp::Equal,
                Kind::Symbol("!=") => MatchOp::NotEqual,
                Kind::Symbol("=~") => MatchOp::Regex,
                Kind::Symbol("!~") => MatchOp::NotRegex,
                _ if quoted => {
                    matchers.push(Matcher::equal(METRIC_NAME, label.as_str()));
                    name.get_or_insert(label);
                    if !self.accept(",") && !self.is("}") {
                        return Err(self.unexpected(&format!("{CONTEXT}, expected \",\" or \"}}\"")));
                    }
                    continue;
                }
                _ => return Err(self.unexpected(&format!("{CONTEXT}, expected label matching operator"))),
            };
            self.at += 1;
            let value_span = self.peek().span;
            if self.peek().kind != Kind::String {
                return Err(self.unexpected(&format!("{CONTEXT}, expected string")));
            }
            self.at += 1;
            let value = String::from_utf8_lossy(&lexer::unquoted(self.text(value_span))).into_owned();
            if matches!(op, MatchOp::Regex | MatchOp::NotRegex) && value.len() > REGEX_BYTES_MAX {
                return Err(self.error(format!("regular expression longer than {REGEX_BYTES_MAX} bytes"), value_span));
            }
            matchers.push(Matcher::new(op, label, value).map_err(|error| self.error(error.to_string(), token.span))?);
            if !self.accept(",") && !self.is("}") {
                return Err(self.unexpected(&format!("{CONTEXT}, expected \",\" or \"}}\"")));
            }
        }
        self.at += 1;
        Ok((name, matchers))
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        if !self.accept("(") {
            return Err(self.unexpected(""));
        }
        let mut args = Vec::new();
        while !self.is(")") {
            args.push(self.expression(0)?);
            let comma = self.peek().span;
            if !self.accept(",") {
                break;
            }
            if !self.starts_expression() {
                if matches!(self.peek().kind, Kind::Error(_)) {
                    return Err(self.unexpected(""));
                }
                return Err(self.error("trailing commas not allowed in function call args", comma));
            }
        }
        self.close()?;
        Ok(args)
    }

    fn starts_expression(&self) -> bool {
        match &self.peek().kind {
            Kind::Number | Kind::Duration | Kind::String | Kind::MetricIdentifier(_) => true,
            Kind::Symbol(symbol) => matches!(*symbol, "(" | "{" | "+" | "-"),
            Kind::Identifier(word) => !NO_METRICS.iter().any(|reserved| reserved.eq_ignore_ascii_case(word)),
            Kind::End | Kind::Error(_) => false,
        }
    }

    fn call(&mut self, name: &str, start: Span) -> Result<Expr, ParseError> {
        self.at += 1;
        let args = self.arguments()?;
        let function = functions::find(name)
            .ok_or_else(|| self.error(format!("unknown function with name {}", go_quoted(name.as_bytes())), start))?;
        if function.experimental && !self.options.experimental {
            let message = format!("function {name:?} is not enabled");
            return Err(self.error(message, start));
        }
        let span = Span { start: start.start, end: self.tokens[self.at - 1].span.end };
        Ok(Expr { kind: ExprKind::Call { function, args }, span })
    }

    fn aggregate(&mut self, op: AggregateOp, start: Span) -> Result<Expr, ParseError> {
        self.at += 1;
        self.aggregations += 1;
        let mut grouping = self.grouping()?;
        let mut args = self.arguments()?;
        if grouping.is_none() {
            grouping = self.grouping()?;
            if grouping.is_none() && matches!(self.peek().kind, Kind::Error(_)) {
                // To see that no grouping follows, one has to look at what does.
                return Err(self.unexpected(""));
            }
        }
        self.aggregations -= 1;
        let (without, grouping) = grouping.unwrap_or_default();
        let span = Span { start: start.start, end: self.tokens[self.at - 1].span.end };
        let wanted = 1 + usize::from(op.has_param());
        if args.is_empty() {
            return Err(self.error("no arguments for aggregate expression provided", span));
        }
        if op.experimental() && !self.options.experimental {
            let message = format!(
                "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                op.as_str()
            );
            return Err(self.error(message, span));
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
