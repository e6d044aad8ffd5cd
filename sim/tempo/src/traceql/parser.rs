//! Tokens to a [`Query`], by precedence climbing.
//!
//! The precedence is TraceQL's own, and it is not that of most languages: `&&` and `||` bind equally and from the left,
//! in field expressions and between spansets alike; then comparisons (or structural operators), `+ -`, `!`, `* / %`, `^`.

use super::ast::{
    Aggregate, BinaryOp, Expr, ExprKind, Pattern, Position, Query, Relation, ScalarExpr, SpansetExpr, SpansetOp, Stage,
    Static, StructuralForm, Type, UnaryOp,
};
use super::lexer::{Token, TokenKind, tokens};
use super::{ParseError, ParseErrorKind, QUERY_BYTES_MAX, QUERY_DEPTH_MAX};

const LOGICAL: u8 = 1;
const COMPARISON: u8 = 2;
const ADDITIVE: u8 = 3;
const NOT: u8 = 4;
const MULTIPLICATIVE: u8 = 5;
const POWER: u8 = 6;

/// Functions of TraceQL metrics (section "TraceQL metrics functions") and others that exist and are refused by name.
const UNSUPPORTED_FUNCTIONS: &[&str] = &[
    "rate",
    "count_over_time",
    "min_over_time",
    "max_over_time",
    "avg_over_time",
    "sum_over_time",
    "quantile_over_time",
    "histogram_over_time",
    "compare",
    "topk",
    "bottomk",
];

type Parsed<T> = Result<T, ParseError>;

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
}

/// See [`super::parse`].
pub(super) fn parse(text: &str) -> Parsed<Query> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(ParseError {
            at: Position { line: 1, column: 1 },
            kind: ParseErrorKind::Limit,
            message: format!("query is {} bytes long, at most {QUERY_BYTES_MAX} are allowed", text.len()),
        });
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    let stages = parser.pipeline()?;
    let hints = if parser.eat_word("with") { parser.hints()? } else { Vec::new() };
    parser.expect_end()?;
    Ok(Query { stages, hints })
}

impl Parser {
    fn peek(&self) -> &Token {
        // `tokens` always ends with `End`, which is never consumed.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        if token.kind != TokenKind::End {
            self.next += 1;
        }
        token
    }

    fn is_sign(&self, sign: &str) -> bool {
        matches!(&self.peek().kind, TokenKind::Sign(found) if *found == sign)
    }

    fn eat_sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        if found {
            self.next += 1;
        }
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(&self.peek().kind, TokenKind::Word(found) if found == word);
        if found {
            self.next += 1;
        }
        found
    }

    fn expect_sign(&mut self, sign: &str) -> Parsed<()> {
        if self.eat_sign(sign) { Ok(()) } else { self.unexpected(&format!("expecting {sign}")) }
    }

    fn expect_end(&self) -> Parsed<()> {
        if self.peek().kind == TokenKind::End { Ok(()) } else { self.unexpected("expecting $end or |") }
    }

    fn unexpected<T>(&self, expecting: &str) -> Parsed<T> {
        let token = self.peek();
        if let TokenKind::Word(word) = &token.kind
            && UNSUPPORTED_FUNCTIONS.contains(&word.as_str())
        {
            return fail(token.at, ParseErrorKind::Unsupported, format!("function {word} is not supported here"));
        }
        let mut message = format!("syntax error: unexpected {}", token.kind.describe());
        if !expecting.is_empty() {
            message.push_str(&format!(", {expecting}"));
        }
        fail(token.at, ParseErrorKind::Syntax, message)
    }

    /// Runs `inner` one level deeper; nesting is limited because it is recursion here.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= QUERY_DEPTH_MAX {
            let message = format!("query is nested deeper than {QUERY_DEPTH_MAX} levels");
            return fail(self.peek().at, ParseErrorKind::Limit, message);
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn pipeline(&mut self) -> Parsed<Vec<Stage>> {
        let mut stages = vec![self.stage(true)?];
        while self.eat_sign("|") {
            stages.push(self.stage(false)?);
        }
        Ok(stages)
    }

    fn stage(&mut self, first: bool) -> Parsed<Stage> {
        let at = self.peek().at;
        if let TokenKind::Word(word) = self.peek().kind.clone() {
            match word.as_str() {
                "by" => {
                    self.next += 1;
                    return self.by();
                }
                "coalesce" if !first => {
                    self.next += 1;
                    self.expect_sign("(")?;
                    self.expect_sign(")")?;
                    return Ok(Stage::Coalesce);
                }
                "select" if !first => {
                    self.next += 1;
                    return self.select();
                }
                "count" | "avg" | "min" | "max" | "sum" => return self.scalar_filter(at),
                _ => {}
            }
        }
        match &self.peek().kind {
            TokenKind::Sign("{") => Ok(Stage::Spanset(self.spanset(LOGICAL)?)),
            TokenKind::Sign("(") => self.parenthesised_stage(at),
            TokenKind::Static(_) => self.scalar_filter(at),
            _ => self.unexpected("expecting { or ("),
        }
    }

    /// What starts with `(` may be a set of spans or a number: whichever reading gets further is the one that was meant.
    fn parenthesised_stage(&mut self, at: Position) -> Parsed<Stage> {
        let start = self.next;
        let as_spanset = match self.spanset(LOGICAL) {
            Ok(expr) => return Ok(Stage::Spanset(expr)),
            Err(error) => error,
        };
        self.next = start;
        self.scalar_filter(at).map_err(|as_scalar| if as_scalar.at > as_spanset.at { as_scalar } else { as_spanset })
    }

    /// Section "Grouping": `by(` field expression `)`.
    fn by(&mut self) -> Parsed<Stage> {
        self.expect_sign("(")?;
        let expr = self.expr(LOGICAL)?;
        self.expect_sign(")")?;
        if !expr.reads_span() {
            return fail(
                expr.at,
                ParseErrorKind::Type,
                format!("grouping field expressions must reference the span: {expr}"),
            );
        }
        Ok(Stage::By(expr))
    }

    /// Section "Selection": `select(` fields `)`.
    fn select(&mut self) -> Parsed<Stage> {
        self.expect_sign("(")?;
        let mut fields = Vec::new();
        loop {
            match self.advance() {
                Token { kind: TokenKind::Field(field), .. } => fields.push(field),
                _ => {
                    self.next = self.next.saturating_sub(1);
                    return self.unexpected("expecting a field");
                }
            }
            if !self.eat_sign(",") {
                break;
            }
        }
        self.expect_sign(")")?;
        Ok(Stage::Select(fields))
    }

    fn hints(&mut self) -> Parsed<Vec<(String, Static)>> {
        self.expect_sign("(")?;
        let mut hints = Vec::new();
        loop {
            let name = match self.peek().kind.clone() {
                TokenKind::Word(name) => name,
                _ => return self.unexpected("expecting the name of a hint"),
            };
            self.next += 1;
            self.expect_sign("=")?;
            let value = match self.peek().kind.clone() {
                TokenKind::Static(value) => value,
                _ => return self.unexpected("expecting a value"),
            };
            self.next += 1;
            hints.push((name, value));
            if !self.eat_sign(",") {
                break;
            }
        }
        self.expect_sign(")")?;
        Ok(hints)
    }

    // ---- sets of spans -------------------------------------------------------------------------------------------

    fn spanset(&mut self, minimum: u8) -> Parsed<SpansetExpr> {
        let mut lhs = self.spanset_primary()?;
        while let Some((op, level)) = self.spanset_operator().filter(|(_, level)| *level >= minimum) {
            self.next += 1;
            let rhs = self.spanset(level + 1)?;
            lhs = SpansetExpr::Operation(op, Box::new(lhs), Box::new(rhs));
        }
        Ok(lhs)
    }

    fn spanset_operator(&self) -> Option<(SpansetOp, u8)> {
        use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
        use StructuralForm::{Negated, Plain, Union};
        let TokenKind::Sign(sign) = &self.peek().kind else {
            return None;
        };
        let (relation, form) = match *sign {
            "&&" => return Some((SpansetOp::And, LOGICAL)),
            "||" => return Some((SpansetOp::Or, LOGICAL)),
            ">" => (Child, Plain),
            "!>" => (Child, Negated),
            "&>" => (Child, Union),
            ">>" => (Descendant, Plain),
            "!>>" => (Descendant, Negated),
            "&>>" => (Descendant, Union),
            "<" => (Parent, Plain),
            "!<" => (Parent, Negated),
            "&<" => (Parent, Union),
            "<<" => (Ancestor, Plain),
            "!<<" => (Ancestor, Negated),
            "&<<" => (Ancestor, Union),
            "~" => (Sibling, Plain),
            "!~" => (Sibling, Negated),
            "&~" => (Sibling, Union),
            _ => return None,
        };
        Some((SpansetOp::Structural(relation, form), COMPARISON))
    }

    fn spanset_primary(&mut self) -> Parsed<SpansetExpr> {
        if self.eat_sign("{") {
            if self.eat_sign("}") {
                return Ok(SpansetExpr::Filter(None));
            }
            let expr = self.expr(LOGICAL)?;
            self.expect_sign("}")?;
            if !matches!(expr.value_type(), Type::Bool | Type::Attribute) {
                let message = format!("span filter field expressions must resolve to a boolean: {{ {expr} }}");
                return fail(expr.at, ParseErrorKind::Type, message);
            }
            return Ok(SpansetExpr::Filter(Some(expr)));
        }
        if !self.is_sign("(") {
            return self.unexpected("expecting { or (");
        }
        self.next += 1;
        self.deeper(|parser| {
            let mut stages = parser.pipeline()?;
            parser.expect_sign(")")?;
            if stages.len() == 1
                && let Some(Stage::Spanset(inner)) = stages.pop_if(|stage| matches!(stage, Stage::Spanset(_)))
            {
                return Ok(inner);
            }
            Ok(SpansetExpr::Pipeline(stages))
        })
    }

    // ---- numbers of a spanset --------------------------------------------------------------------------------------

    /// Section "Aggregators": a comparison between two scalar expressions.
    fn scalar_filter(&mut self, at: Position) -> Parsed<Stage> {
        let lhs = self.scalar(ADDITIVE)?;
        let op = match &self.peek().kind {
            TokenKind::Sign("=") => BinaryOp::Equal,
            TokenKind::Sign("!=") => BinaryOp::NotEqual,
            TokenKind::Sign("<") => BinaryOp::Less,
            TokenKind::Sign("<=") => BinaryOp::LessEqual,
            TokenKind::Sign(">") => BinaryOp::Greater,
            TokenKind::Sign(">=") => BinaryOp::GreaterEqual,
            TokenKind::Sign(")") => {
                let message = "comparing the results of two pipelines is not supported".to_owned();
                return fail(at, ParseErrorKind::Unsupported, message);
            }
            _ => return self.unexpected("expecting = != < <= > or >="),
        };
        self.next += 1;
        let rhs = self.scalar(ADDITIVE)?;
        if !lhs.value_type().matches(rhs.value_type()) {
            let message = format!("scalar filters must compare values of the same type: {lhs} {} {rhs}", op.text());
            return fail(at, ParseErrorKind::Type, message);
        }
        Ok(Stage::ScalarFilter { op, lhs, rhs })
    }

    fn scalar(&mut self, minimum: u8) -> Parsed<ScalarExpr> {
        let mut lhs = self.scalar_primary()?;
        while let Some((op, level)) =
            self.binary_operator().filter(|(op, level)| *level >= minimum && op.is_arithmetic())
        {
            self.next += 1;
            let rhs = self.scalar(if op == BinaryOp::Pow { level } else { level + 1 })?;
            lhs = ScalarExpr::Binary(op, Box::new(lhs), Box::new(rhs));
        }
        Ok(lhs)
    }

    fn scalar_primary(&mut self) -> Parsed<ScalarExpr> {
        let token = self.peek().clone();
        match &token.kind {
            TokenKind::Static(value) => {
                self.next += 1;
                Ok(ScalarExpr::Static(value.clone()))
            }
            TokenKind::Sign("(") => {
                self.next += 1;
                self.deeper(|parser| {
                    let inner = parser.scalar(ADDITIVE)?;
                    parser.expect_sign(")")?;
                    Ok(inner)
                })
            }
            TokenKind::Word(word) if matches!(word.as_str(), "count" | "avg" | "min" | "max" | "sum") => {
                self.next += 1;
                self.aggregate(word).map(ScalarExpr::Aggregate)
            }
            _ => self.unexpected("expecting an aggregate or a value"),
        }
    }

    fn aggregate(&mut self, name: &str) -> Parsed<Aggregate> {
        self.expect_sign("(")?;
        if name == "count" {
            self.expect_sign(")")?;
            return Ok(Aggregate::Count);
        }
        let expr = self.expr(LOGICAL)?;
        self.expect_sign(")")?;
        let value_type = expr.value_type();
        if !value_type.is_numeric() && value_type != Type::Attribute {
            let message = format!("aggregate field expressions must resolve to a number type: {name}({expr})");
            return fail(expr.at, ParseErrorKind::Type, message);
        }
        if !expr.reads_span() {
            let message = format!("aggregate field expressions must reference the span: {name}({expr})");
            return fail(expr.at, ParseErrorKind::Type, message);
        }
        Ok(match name {
            "avg" => Aggregate::Avg(expr),
            "min" => Aggregate::Min(expr),
            "max" => Aggregate::Max(expr),
            _ => Aggregate::Sum(expr),
        })
    }

    // ---- values of a span --------------------------------------------------------------------------------------------

    fn binary_operator(&self) -> Option<(BinaryOp, u8)> {
        let TokenKind::Sign(sign) = &self.peek().kind else {
            return None;
        };
        Some(match *sign {
            "&&" => (BinaryOp::And, LOGICAL),
            "||" => (BinaryOp::Or, LOGICAL),
            "=" => (BinaryOp::Equal, COMPARISON),
            "!=" => (BinaryOp::NotEqual, COMPARISON),
            "=~" => (BinaryOp::Regex, COMPARISON),
            "!~" => (BinaryOp::NotRegex, COMPARISON),
            ">" => (BinaryOp::Greater, COMPARISON),
            ">=" => (BinaryOp::GreaterEqual, COMPARISON),
            "<" => (BinaryOp::Less, COMPARISON),
            "<=" => (BinaryOp::LessEqual, COMPARISON),
            "+" => (BinaryOp::Add, ADDITIVE),
            "-" => (BinaryOp::Sub, ADDITIVE),
            "*" => (BinaryOp::Mul, MULTIPLICATIVE),
            "/" => (BinaryOp::Div, MULTIPLICATIVE),
            "%" => (BinaryOp::Mod, MULTIPLICATIVE),
            "^" => (BinaryOp::Pow, POWER),
            _ => return None,
        })
    }

    fn expr(&mut self, minimum: u8) -> Parsed<Expr> {
        let mut lhs = self.expr_primary()?;
        while let Some((op, level)) = self.binary_operator().filter(|(_, level)| *level >= minimum) {
            let at = self.advance().at;
            let rhs = self.deeper(|parser| parser.expr(if op == BinaryOp::Pow { level } else { level + 1 }))?;
            lhs = binary(op, lhs, rhs, at)?;
        }
        Ok(lhs)
    }

    fn expr_primary(&mut self) -> Parsed<Expr> {
        let token = self.peek().clone();
        let at = token.at;
        match token.kind {
            TokenKind::Static(value) => {
                self.next += 1;
                Ok(Expr { kind: ExprKind::Static(value), at })
            }
            TokenKind::Field(field) => {
                self.next += 1;
                Ok(Expr { kind: ExprKind::Field(field), at })
            }
            TokenKind::Sign("(") => {
                self.next += 1;
                let inner = self.deeper(|parser| parser.expr(LOGICAL))?;
                self.expect_sign(")")?;
                Ok(inner)
            }
            TokenKind::Sign("-") => {
                self.next += 1;
                let inner = self.deeper(|parser| parser.expr(ADDITIVE + 1))?;
                let value_type = inner.value_type();
                if !value_type.is_numeric() && value_type != Type::Attribute {
                    return fail(at, ParseErrorKind::Type, format!("illegal operation for the given type: -({inner})"));
                }
                Ok(Expr { kind: ExprKind::Unary(UnaryOp::Negate, Box::new(inner)), at })
            }
            TokenKind::Sign("!") => {
                self.next += 1;
                let inner = self.deeper(|parser| parser.expr(NOT + 1))?;
                if !matches!(inner.value_type(), Type::Bool | Type::Attribute) {
                    return fail(at, ParseErrorKind::Type, format!("illegal operation for the given type: !({inner})"));
                }
                Ok(Expr { kind: ExprKind::Unary(UnaryOp::Not, Box::new(inner)), at })
            }
            _ => self.unexpected("expecting a value, a field, ( - or !"),
        }
    }
}

fn fail<T>(at: Position, kind: ParseErrorKind, message: String) -> Parsed<T> {
    Err(ParseError { at, kind, message })
}

/// Builds one operation and checks what can be checked without a span.
fn binary(op: BinaryOp, lhs: Expr, rhs: Expr, at: Position) -> Parsed<Expr> {
    let nil_first = matches!(lhs.kind, ExprKind::Static(Static::Nil)) && matches!(rhs.kind, ExprKind::Field(_));
    let (lhs, rhs) =
        if nil_first && matches!(op, BinaryOp::Equal | BinaryOp::NotEqual) { (rhs, lhs) } else { (lhs, rhs) };
    // Section "Comparison operators", nil: a comparison with nil asks whether the field exists.
    if let ExprKind::Static(Static::Nil) = rhs.kind
        && matches!(lhs.kind, ExprKind::Field(_))
        && matches!(op, BinaryOp::Equal | BinaryOp::NotEqual)
    {
        let test = if op == BinaryOp::Equal { UnaryOp::NotExists } else { UnaryOp::Exists };
        return Ok(Expr { kind: ExprKind::Unary(test, Box::new(lhs)), at });
    }
    let text = || format!("({lhs}) {} ({rhs})", op.text());
    let (left, right) = (lhs.value_type(), rhs.value_type());
    if !left.matches(right) {
        return fail(at, ParseErrorKind::Type, format!("binary operations must operate on the same type: {}", text()));
    }
    if !op.accepts(left) || !op.accepts(right) {
        return fail(at, ParseErrorKind::Type, format!("illegal operation for the given types: {}", text()));
    }
    if matches!(op, BinaryOp::Regex | BinaryOp::NotRegex) {
        let ExprKind::Static(Static::String(source)) = &rhs.kind else {
            let message = format!("regular expressions must be string literals: {}", text());
            return fail(rhs.at, ParseErrorKind::Type, message);
        };
        let regex = regex::RegexBuilder::new(&format!("^(?s:{source})$"))
            .size_limit(super::REGEX_BYTES_MAX)
            .build()
            .or_else(|error| {
                fail(
                    rhs.at,
                    ParseErrorKind::Syntax,
                    format!("invalid regex {source:?}: {}", one_line(&error.to_string())),
                )
            })?;
        let pattern = Pattern { source: source.clone(), regex };
        return Ok(Expr { kind: ExprKind::Match(Box::new(lhs), pattern, op == BinaryOp::NotRegex), at });
    }
    Ok(Expr { kind: ExprKind::Binary(op, Box::new(lhs), Box::new(rhs)), at })
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
