//! From text to syntax tree; macros are expanded to nodes of their own.

use crate::{
    Issue,
    ast::{BINARY, Expr, Kind, Literal, Macro},
    lexer::{RESERVED, Token, tokens},
};

/// Longest expression, in code points (as cel-go's default).
pub(crate) const CODE_POINTS_MAX: usize = 100_000;
/// Deepest nesting of a syntax tree, in nodes (as cel-go's default).
pub(crate) const DEPTH_MAX: usize = 250;

/// Deepest nesting of brackets and branches while reading; each takes several frames of the stack.
pub(crate) const BRACKETS_MAX: usize = 100;

/// Parses an expression; the count is that of the numbers given to its nodes.
pub(crate) fn parse(text: &str) -> Result<(Expr, usize), Issue> {
    let size = text.chars().count();
    if size > CODE_POINTS_MAX {
        return Err(Issue {
            at: 0,
            message: format!("expression code point size exceeds limit: size: {size}, limit {CODE_POINTS_MAX}"),
        });
    }
    let mut parser = Parser { tokens: tokens(text)?, next: 0, ids: 0, depth: 0 };
    let expr = parser.expression()?;
    match parser.peek() {
        Token::End => {}
        other => {
            let message = format!("Syntax error: mismatched input '{}' expecting <EOF>", other.shown());
            return Err(Issue { at: parser.place(), message });
        }
    }
    if depth(&expr) > DEPTH_MAX {
        return Err(too_deep(0));
    }
    Ok((expr, parser.ids))
}

fn too_deep(at: usize) -> Issue {
    Issue { at, message: format!("expression recursion limit exceeded: {DEPTH_MAX}") }
}

/// The depth of a tree, found without recursion: a chain of operators may be as deep as it is long.
fn depth(root: &Expr) -> usize {
    let mut deepest = 0;
    let mut open = vec![(root, 1)];
    while let Some((expr, depth)) = open.pop() {
        deepest = deepest.max(depth);
        let mut see = |e| open.push((e, depth + 1));
        match &expr.kind {
            Kind::Literal(_) | Kind::Ident(_) | Kind::Message(_) => {}
            Kind::Select { operand, .. } => see(operand),
            Kind::Call { target, args, .. } => target.as_deref().into_iter().chain(args).for_each(see),
            Kind::List(items) => items.iter().for_each(|(e, _)| see(e)),
            Kind::Map(entries) => entries.iter().for_each(|(k, v, _)| {
                see(k);
                see(v);
            }),
            Kind::Macro { range, args, .. } => std::iter::once(&**range).chain(args).for_each(see),
        }
    }
    deepest
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    next: usize,
    ids: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(token, _)| token)
    }

    fn place(&self) -> usize {
        self.tokens.get(self.next).map_or(0, |(_, at)| *at)
    }

    fn is(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(s) if *s == sign)
    }

    fn take(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Issue> {
        if self.take(sign) { Ok(()) } else { Err(self.mismatched(&format!("'{sign}'"))) }
    }

    fn mismatched(&self, wanted: &str) -> Issue {
        let message = format!("Syntax error: mismatched input '{}' expecting {wanted}", self.peek().shown());
        Issue { at: self.place(), message }
    }

    fn make(&mut self, at: usize, kind: Kind) -> Expr {
        self.ids += 1;
        Expr { id: self.ids - 1, at, kind }
    }

    fn call(&mut self, at: usize, name: &str, args: Vec<Expr>) -> Expr {
        self.make(at, Kind::Call { name: name.to_owned(), target: None, args })
    }

    fn expression(&mut self) -> Result<Expr, Issue> {
        self.depth += 1;
        if self.depth > BRACKETS_MAX {
            return Err(too_deep(self.place()));
        }
        let condition = self.binary(2)?;
        let at = self.place();
        let expr = if self.take("?") {
            let yes = self.binary(2)?;
            self.expect(":")?;
            let no = self.expression()?;
            self.call(at, "_?_:_", vec![condition, yes, no])
        } else {
            condition
        };
        self.depth -= 1;
        Ok(expr)
    }

    /// Operators that bind at least as tightly as `least`.
    fn binary(&mut self, least: u8) -> Result<Expr, Issue> {
        let mut left = self.unary()?;
        while let Token::Sign(sign) = *self.peek() {
            let Some((_, name, binds)) = BINARY.iter().find(|(text, _, binds)| *text == sign && *binds >= least) else {
                break;
            };
            let at = self.place();
            self.next += 1;
            let right = self.binary(binds + 1)?;
            if *binds > 3 {
                left = self.call(at, name, vec![left, right]);
                continue;
            }
            // Chains of && and || become balanced trees, so that long ones are not deep.
            let (mut terms, mut places) = (vec![left, right], vec![at]);
            while self.is(sign) {
                places.push(self.place());
                self.next += 1;
                terms.push(self.binary(binds + 1)?);
            }
            left = self.balance(name, terms, &places);
        }
        Ok(left)
    }

    fn balance(&mut self, name: &str, mut terms: Vec<Expr>, places: &[usize]) -> Expr {
        if terms.len() == 1 {
            return terms.remove(0);
        }
        let middle = places.len() / 2;
        let right = terms.split_off(middle + 1);
        let left = self.balance(name, terms, &places[..middle]);
        let right = self.balance(name, right, &places[middle + 1..]);
        self.call(places[middle], name, vec![left, right])
    }

    fn unary(&mut self) -> Result<Expr, Issue> {
        let mut signs: Vec<(&'static str, usize)> = Vec::new();
        while let Token::Sign(sign @ ("!" | "-")) = *self.peek() {
            if signs.last().is_some_and(|(last, _)| *last != sign) {
                return Err(self.mismatched("an operand"));
            }
            signs.push((sign, self.place()));
            self.next += 1;
        }
        // A minus before a number belongs to the number.
        if signs.last().is_some_and(|(s, _)| *s == "-") {
            let negative = match self.peek() {
                Token::Literal(Literal::Int(i)) => Some(Literal::Int(i.wrapping_neg())),
                Token::Literal(Literal::Double(d)) => Some(Literal::Double(-d)),
                _ => None,
            };
            if let Some(literal) = negative {
                let at = signs.pop().map_or(0, |(_, at)| at);
                self.next += 1;
                let literal = self.make(at, Kind::Literal(literal));
                let operand = self.members(literal)?;
                return Ok(self.signed(&signs, operand));
            }
        }
        let operand = self.primary()?;
        let operand = self.members(operand)?;
        Ok(self.signed(&signs, operand))
    }

    fn signed(&mut self, signs: &[(&'static str, usize)], operand: Expr) -> Expr {
        // Two of a kind cancel each other.
        match signs.first().filter(|_| signs.len() % 2 == 1) {
            Some((sign, at)) => self.call(*at, if *sign == "!" { "!_" } else { "-_" }, vec![operand]),
            None => operand,
        }
    }

    fn members(&mut self, mut operand: Expr) -> Result<Expr, Issue> {
        loop {
            let at = self.place();
            if self.take(".") {
                let optional = self.take("?");
                let (field, plain) = match self.peek().clone() {
                    Token::Ident(name) => (name, true),
                    Token::Quoted(name) => (name, false),
                    _ => return Err(self.mismatched("IDENTIFIER")),
                };
                self.next += 1;
                let open = self.place();
                if optional {
                    let field = self.make(at, Kind::Literal(Literal::String(field)));
                    operand = self.call(at, "_?._", vec![operand, field]);
                } else if plain && self.take("(") {
                    let args = self.arguments(")")?;
                    operand = self.member(open, operand, field, args)?;
                } else {
                    operand = self.make(at, Kind::Select { operand: Box::new(operand), field, test: false });
                }
            } else if self.take("[") {
                let optional = self.take("?");
                let index = self.expression()?;
                self.expect("]")?;
                operand = self.call(at, if optional { "_[?_]" } else { "_[_]" }, vec![operand, index]);
            } else if self.is("{") && is_name(&operand) {
                self.next += 1;
                // There are no message types to construct; the fields are read so that the error is about the type.
                while !self.take("}") {
                    self.next += 1;
                    self.expect(":")?;
                    self.expression()?;
                    if !self.take(",") {
                        self.expect("}")?;
                        break;
                    }
                }
                let name = operand.to_string();
                operand = self.make(at, Kind::Message(name));
            } else {
                return Ok(operand);
            }
        }
    }

    fn arguments(&mut self, close: &str) -> Result<Vec<Expr>, Issue> {
        let mut args = Vec::new();
        if self.take(close) {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if !self.take(",") {
                self.expect(close)?;
                return Ok(args);
            }
        }
    }

    /// A member call: a macro, or a function.
    fn member(&mut self, at: usize, target: Expr, name: String, mut args: Vec<Expr>) -> Result<Expr, Issue> {
        let kind = match (name.as_str(), args.len()) {
            ("all", 2 | 3) => Some((Macro::All, args.len() - 1)),
            ("exists", 2 | 3) => Some((Macro::Exists, args.len() - 1)),
            ("exists_one" | "existsOne", 2 | 3) => Some((Macro::ExistsOne, args.len() - 1)),
            ("map", 2 | 3) => Some((Macro::Map, 1)),
            ("filter", 2) => Some((Macro::Filter, 1)),
            ("transformList", 3 | 4) => Some((Macro::TransformList, 2)),
            ("transformMap", 3 | 4) => Some((Macro::TransformMap, 2)),
            ("transformMapEntry", 3 | 4) => Some((Macro::TransformMapEntry, 2)),
            ("optMap", 2) => Some((Macro::OptMap, 1)),
            ("optFlatMap", 2) => Some((Macro::OptFlatMap, 1)),
            _ => None,
        };
        let Some((kind, count)) = kind else {
            return Ok(self.make(at, Kind::Call { name, target: Some(Box::new(target)), args }));
        };
        let rest = args.split_off(count);
        let mut vars = Vec::with_capacity(count);
        for var in args {
            match var.kind {
                Kind::Ident(name) => vars.push(name),
                _ => return Err(Issue { at: var.at, message: "argument must be a simple name".into() }),
            }
        }
        if vars.len() == 2 && vars[0] == vars[1] {
            return Err(Issue { at, message: format!("duplicate variable name: {}", vars[0]) });
        }
        Ok(self.make(at, Kind::Macro { kind, range: Box::new(target), vars, args: rest }))
    }

    fn primary(&mut self) -> Result<Expr, Issue> {
        let at = self.place();
        match self.peek().clone() {
            Token::Literal(Literal::Int(i64::MIN)) => {
                Err(Issue { at, message: "Syntax error: invalid int literal".into() })
            }
            Token::Literal(literal) => {
                self.next += 1;
                Ok(self.make(at, Kind::Literal(literal)))
            }
            Token::Sign("(") => {
                self.next += 1;
                let expr = self.expression()?;
                self.expect(")")?;
                Ok(expr)
            }
            Token::Sign("[") => {
                self.next += 1;
                let mut items = Vec::new();
                while !self.take("]") {
                    let optional = self.take("?");
                    items.push((self.expression()?, optional));
                    if !self.take(",") {
                        self.expect("]")?;
                        break;
                    }
                }
                Ok(self.make(at, Kind::List(items)))
            }
            Token::Sign("{") => {
                self.next += 1;
                let mut entries = Vec::new();
                while !self.take("}") {
                    let optional = self.take("?");
                    let key = self.expression()?;
                    self.expect(":")?;
                    entries.push((key, self.expression()?, optional));
                    if !self.take(",") {
                        self.expect("}")?;
                        break;
                    }
                }
                Ok(self.make(at, Kind::Map(entries)))
            }
            Token::Sign(".") => {
                self.next += 1;
                self.name_or_call()
            }
            Token::Ident(_) => self.name_or_call(),
            _ => Err(self.mismatched(
                "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
            )),
        }
    }

    fn name_or_call(&mut self) -> Result<Expr, Issue> {
        let at = self.place();
        let Token::Ident(name) = self.peek().clone() else { return Err(self.mismatched("IDENTIFIER")) };
        self.next += 1;
        if RESERVED.contains(&name.as_str()) {
            return Err(Issue { at, message: format!("reserved identifier: {name}") });
        }
        let open = self.place();
        if !self.take("(") {
            return Ok(self.make(at, Kind::Ident(name)));
        }
        let mut args = self.arguments(")")?;
        if name == "has" && args.len() == 1 {
            let arg = args.remove(0);
            return match arg.kind {
                Kind::Select { operand, field, test: false } => {
                    Ok(Expr { kind: Kind::Select { operand, field, test: true }, at: open, id: arg.id })
                }
                _ => Err(Issue { at: arg.at, message: "invalid argument to has() macro".into() }),
            };
        }
        Ok(self.call(open, &name, args))
    }
}

/// True for `a` and `a.b.c`.
fn is_name(expr: &Expr) -> bool {
    let mut expr = expr;
    loop {
        match &expr.kind {
            Kind::Ident(_) => return true,
            Kind::Select { operand, test: false, .. } => expr = operand,
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(text: &str) -> String {
        parse(text).map_or_else(|issue| format!("{}: {}", issue.at, issue.message), |(e, _)| e.to_string())
    }

    #[test]
    fn operators_bind_as_in_the_language() {
        for (text, expected) in [
            ("1 + 2 * 3 == 7 && !a || b", "((((1 + (2 * 3)) == 7) && (!a)) || b)"),
            ("a ? b : c ? d : e", "(a ? b : (c ? d : e))"),
            ("-1 - -x.y[0]", "(-1 - (-(x.y[0])))"),
            ("has(a.b) && a.?c[?1].orValue(2) in [1, ?x]", "(has(a.b) && (a.?c[?1].orValue(2) in [1, ?x]))"),
            ("x.all(i, v, v > i)", "x.all(i, v, (v > i))"),
            ("{'a': 1u, ?'b': optional.none()}", "{\"a\": 1u, ?\"b\": optional.none()}"),
            (r#"r'\d' + "\x41\u00e9\101" + '''a'b'''"#, "((\"\\\\d\" + \"AéA\") + \"a'b\")"),
            ("a && b && c && d", "((a && b) && (c && d))"),
            ("!!a", "a"),
            (
                "1 +",
                "3: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
            ),
            ("a b", "2: Syntax error: mismatched input 'b' expecting <EOF>"),
            ("namespace == 1", "0: reserved identifier: namespace"),
            ("has(a)", "4: invalid argument to has() macro"),
            ("a # b", "2: Syntax error: token recognition error at: '#'"),
            ("9223372036854775808", "0: Syntax error: invalid int literal"),
            ("-9223372036854775808", "-9223372036854775808"),
        ] {
            assert_eq!(printed(text), expected, "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded_and_long_chains_of_logic_are_not_nested() {
        for deep in [
            "(".repeat(400),
            "[".repeat(400),
            "-".repeat(3) + &"!".repeat(400),
            format!("1{}", "+1".repeat(400)),
            "a?".repeat(400),
        ] {
            assert!(parse(&deep).is_err(), "{deep}");
        }
        let chain = vec!["a"; 5_000].join(" && ");
        assert!(depth(&parse(&chain).unwrap().0) < 20);
    }

    fn expression() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[a-d]",
            "[0-9]{1,3}u?",
            "[0-9]\\.[0-9]",
            Just("true".to_owned()),
            Just("null".to_owned()),
            "'[a-z]{0,3}'",
            Just("b'a'".to_owned()),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                (inner.clone(), prop::sample::select(vec!["+", "&&", "==", "in", "%", "||"]), inner.clone())
                    .prop_map(|(a, o, b)| format!("({a} {o} {b})")),
                (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
                inner.clone().prop_map(|a| format!("!({a})")),
                inner.clone().prop_map(|a| format!("x.all(y, {a})")),
                inner.clone().prop_map(|a| format!("f({a}, x.g({a}))")),
                inner.clone().prop_map(|a| format!("[{a}, ?x.?y]")),
                inner.prop_map(|a| format!("{{'k': {a}}}['k']")),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,60}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_soup_of_tokens_makes_the_parser_panic(parts in prop::collection::vec(prop::sample::select(vec!["a", "(", ")", "[", "]", "{", "}", "?", ":", ".", ",", "1", "'s'", "&&", "-", "!", "in", "has", "all", "`x`"]), 0..30)) {
            let _ = parse(&parts.join(" "));
        }

        #[test]
        fn what_is_printed_reads_the_same(text in expression()) {
            let first = parse(&text).unwrap().0.to_string();
            prop_assert_eq!(parse(&first).unwrap().0.to_string(), first);
        }
    }
}
