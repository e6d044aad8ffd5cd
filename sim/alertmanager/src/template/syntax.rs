//! Parser of Go's template language.

use super::value::Value;
use std::collections::BTreeMap;

/// How deep blocks and parentheses may nest.
const DEPTH_MAX: usize = 60;
/// Largest template text.
const TEXT_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// Another template by name, with its dot.
    Call(String, Option<Pipeline>, At),
    Break,
    Continue,
}

/// Where something stands.
#[derive(Debug, Clone, Default)]
pub(super) struct At {
    pub line: usize,
    /// Bytes from the start of the line.
    pub column: usize,
    /// Its source.
    pub source: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Pipeline {
    pub variables: Vec<String>,
    /// `=` and not `:=`.
    pub assign: bool,
    pub commands: Vec<Command>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Command {
    pub operands: Vec<(Operand, At)>,
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    Literal(Value),
    Nil,
    Function(String),
    Dot,
    /// Fields of the dot.
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Group(Box<Pipeline>, Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Variable(String),
    Field(String),
    Dot,
    Literal(Value),
    Symbol(&'static str),
}

struct Placed {
    token: Token,
    line: usize,
    column: usize,
    /// Whether a blank stands before it.
    blank: bool,
    source: String,
}

enum Piece {
    Text(String),
    Action(Vec<Placed>, usize),
}

/// The templates of one text: those that it defines, and the text itself under `name` unless it holds only blanks and
/// definitions.
pub(super) fn parse(
    name: &str,
    text: &str,
    known: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<Node>>, String> {
    let at_line = |(line, message): (usize, String)| format!("template: {name}:{line}: {message}");
    if text.len() > TEXT_BYTES_MAX {
        return Err(at_line((1, format!("text larger than {TEXT_BYTES_MAX} bytes"))));
    }
    let pieces = split(text).map_err(at_line)?;
    let mut parser = Parser {
        pieces: pieces.into_iter(),
        depth: 0,
        line: 1,
        known,
        defined: BTreeMap::new(),
        scopes: vec!["$".to_owned()],
        loops: 0,
    };
    let (nodes, end) = parser.list().map_err(at_line)?;
    if let Some(word) = end {
        return Err(at_line((parser.line, format!("unexpected {{{{{}}}}}", word.word))));
    }
    let mut defined = parser.defined;
    let blank = nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()));
    if !blank || !defined.contains_key(name) {
        defined.insert(name.to_owned(), nodes);
    }
    Ok(defined)
}

type Parsed<T> = Result<T, (usize, String)>;

fn split(text: &str) -> Parsed<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    let blank = [' ', '\t', '\r', '\n'];
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let open = rest.find("{{");
        let mut before = &rest[..open.unwrap_or(rest.len())];
        if trim_next {
            before = before.trim_start_matches(blank);
        }
        let Some(open) = open else {
            pieces.push(Piece::Text(before.to_owned()));
            return Ok(pieces);
        };
        let mut inside = at + open + 2;
        let after = text.get(inside..).unwrap_or_default();
        if after.starts_with('-') && after[1..].starts_with(blank) {
            before = before.trim_end_matches(blank);
            inside += 2;
        }
        pieces.push(Piece::Text(before.to_owned()));
        let line = line_of(text, inside);
        let after = text.get(inside..).unwrap_or_default();
        if after.starts_with("/*") {
            let end = after.find("*/").ok_or((line, "unclosed comment".to_owned()))? + 2;
            let close = &after[end..];
            let (skip, trim) = if close.starts_with("}}") {
                (2, false)
            } else if close.starts_with(blank) && close[1..].starts_with("-}}") {
                (4, true)
            } else {
                return Err((line, "comment ends before closing delimiter".to_owned()));
            };
            trim_next = trim;
            at = inside + end + skip;
            continue;
        }
        let (tokens, end, trim) = tokens(text, inside)?;
        pieces.push(Piece::Action(tokens, line));
        trim_next = trim;
        at = end;
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
}

/// The tokens up to the closing braces, where those end, and whether what follows is to be trimmed.
fn tokens(text: &str, start: usize) -> Parsed<(Vec<Placed>, usize, bool)> {
    const SYMBOLS: [&str; 6] = [":=", "|", "(", ")", ",", "="];
    let mut tokens: Vec<Placed> = Vec::new();
    let mut at = start;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let blank = trimmed.len() < rest.len();
        at += rest.len() - trimmed.len();
        let rest = trimmed;
        let line = line_of(text, at);
        let fail = |message: String| Err((line, message));
        if rest.starts_with("}}") {
            return Ok((tokens, at + 2, false));
        }
        if blank && rest.starts_with("-}}") {
            return Ok((tokens, at + 3, true));
        }
        let Some(first) = rest.chars().next() else { return fail("unclosed action".to_owned()) };
        let word_end = |from: usize| {
            rest.get(from..)
                .and_then(|tail| tail.find(|c: char| !c.is_alphanumeric() && c != '_').map(|end| from + end))
                .unwrap_or(rest.len())
        };
        let next_is_word = |from: usize| {
            rest.get(from..).is_some_and(|tail| tail.starts_with(|c: char| c.is_alphabetic() || c == '_'))
        };
        let (token, length) = if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            (Token::Symbol(symbol), symbol.len())
        } else {
            match first {
                '"' => {
                    let length = quoted_length(rest).ok_or((line, "unterminated quoted string".to_owned()))?;
                    let inner = unescape(&rest[1..length - 1]).ok_or((line, "invalid syntax".to_owned()))?;
                    (Token::Literal(Value::Text(inner)), length)
                }
                '`' => {
                    let end = rest[1..].find('`').ok_or((line, "unterminated raw quoted string".to_owned()))?;
                    (Token::Literal(Value::Text(rest[1..=end].to_owned())), end + 2)
                }
                '$' => {
                    let end = word_end(1);
                    (Token::Variable(rest[..end].to_owned()), end)
                }
                '.' if next_is_word(1) => {
                    let end = word_end(1);
                    (Token::Field(rest[1..end].to_owned()), end)
                }
                '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => (Token::Dot, 1),
                '\'' => {
                    let mut chars = rest[1..].chars();
                    let c = chars.next().unwrap_or_default();
                    if chars.next() != Some('\'') || c == '\\' {
                        return fail("malformed character constant".to_owned());
                    }
                    (Token::Literal(Value::Int(i64::from(u32::from(c)))), c.len_utf8() + 2)
                }
                c if c.is_ascii_digit() || matches!(c, '.' | '-' | '+') => {
                    let end = rest[1..]
                        .find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_')
                        .map_or(rest.len(), |end| end + 1);
                    let number = &rest[..end];
                    let hexadecimal = number.strip_prefix("0x").and_then(|hex| i64::from_str_radix(hex, 16).ok());
                    let value = match number.replace('_', "").parse::<i64>().ok().or(hexadecimal) {
                        Some(value) => Value::Int(value),
                        None => match number.parse::<f64>() {
                            Ok(value) => Value::Float(value),
                            Err(_) => return fail(format!("bad number syntax: {number:?}")),
                        },
                    };
                    (Token::Literal(value), end)
                }
                c if c.is_alphabetic() || c == '_' => {
                    let end = word_end(0);
                    (Token::Word(rest[..end].to_owned()), end)
                }
                c => return fail(format!("unexpected {c:?} in action")),
            }
        };
        let column = at - text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |newline| newline + 1);
        let source = rest[..length].to_owned();
        tokens.push(Placed { token, line, column, blank, source });
        at += length;
    }
}

fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at + 1),
            '\n' => return None,
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            out.push(c);
            continue;
        }
        let kind = rest.chars().next()?;
        rest = &rest[kind.len_utf8()..];
        let digits = match kind {
            'n' => {
                out.push('\n');
                continue;
            }
            't' => {
                out.push('\t');
                continue;
            }
            'r' => {
                out.push('\r');
                continue;
            }
            '"' | '\\' | '\'' => {
                out.push(kind);
                continue;
            }
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let number = rest.get(..digits)?;
        out.push(char::from_u32(u32::from_str_radix(number, 16).ok()?)?);
        rest = &rest[digits..];
    }
    Some(out)
}

/// What ends a list of nodes.
struct End {
    word: String,
    /// What follows `else`.
    rest: Vec<Placed>,
}

struct Parser<'k> {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
    line: usize,
    known: &'k dyn Fn(&str) -> bool,
    defined: BTreeMap<String, Vec<Node>>,
    /// The variables in sight.
    scopes: Vec<String>,
    loops: usize,
}

impl Parser<'_> {
    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err((self.line, message.into()))
    }

    fn list(&mut self) -> Parsed<(Vec<Node>, Option<End>)> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.fail(format!("blocks nested deeper than {DEPTH_MAX}"));
        }
        let mut nodes = Vec::new();
        let mut end = None;
        while let Some(piece) = self.pieces.next() {
            let mut tokens = match piece {
                Piece::Text(text) => {
                    if !text.is_empty() {
                        nodes.push(Node::Text(text));
                    }
                    continue;
                }
                Piece::Action(tokens, line) => {
                    self.line = line;
                    tokens
                }
            };
            let word = match tokens.first().map(|placed| &placed.token) {
                Some(Token::Word(word)) => word.clone(),
                _ => String::new(),
            };
            match word.as_str() {
                "else" | "end" => {
                    tokens.remove(0);
                    end = Some(End { word, rest: tokens });
                    break;
                }
                "if" | "with" | "range" => {
                    tokens.remove(0);
                    nodes.push(self.block(&word, &tokens)?);
                }
                "define" => self.define(&tokens)?,
                "block" => {
                    let (name, at) = self.name(&tokens, "block clause")?;
                    let pipeline = self.pipeline(tokens.get(2..).unwrap_or_default())?;
                    let body = self.body()?;
                    self.defined.entry(name.clone()).or_insert(body);
                    nodes.push(Node::Call(name, Some(pipeline), at));
                }
                "template" => {
                    let (name, at) = self.name(&tokens, "template clause")?;
                    let rest = tokens.get(2..).unwrap_or_default();
                    let pipeline = if rest.is_empty() { None } else { Some(self.pipeline(rest)?) };
                    nodes.push(Node::Call(name, pipeline, at));
                }
                "break" | "continue" if tokens.len() == 1 && !(self.known)(&word) => {
                    if self.loops == 0 {
                        return self.fail(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                    }
                    nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                }
                _ => {
                    if tokens.is_empty() {
                        return self.fail("missing value for command");
                    }
                    let pipeline = self.pipeline(&tokens)?;
                    nodes.push(Node::Action(pipeline));
                }
            }
        }
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn name(&self, tokens: &[Placed], context: &str) -> Parsed<(String, At)> {
        match tokens.get(1) {
            Some(Placed { token: Token::Literal(Value::Text(name)), line, column, source, .. }) => {
                Ok((name.clone(), At { line: *line, column: *column, source: format!("{{{{template {source}}}}}") }))
            }
            Some(other) => self.fail(format!("unexpected {:?} in {context}", other.source)),
            None => self.fail(format!("unexpected \"}}}}\" in {context}")),
        }
    }

    /// The nodes up to `end`, with variables of their own.
    fn body(&mut self) -> Parsed<Vec<Node>> {
        let scopes = std::mem::replace(&mut self.scopes, vec!["$".to_owned()]);
        let (nodes, end) = self.list()?;
        self.scopes = scopes;
        match end {
            Some(end) if end.word == "end" => Ok(nodes),
            Some(_) => self.fail("unexpected {{else}} in define clause"),
            None => self.fail("unexpected EOF"),
        }
    }

    fn define(&mut self, tokens: &[Placed]) -> Parsed<()> {
        let (name, _) = self.name(tokens, "define clause")?;
        if let Some(extra) = tokens.get(2) {
            return self.fail(format!("unexpected {:?} in define clause", extra.source));
        }
        let body = self.body()?;
        let blank = body.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()));
        // A definition without content does not replace one.
        if !blank || !self.defined.contains_key(&name) {
            self.defined.insert(name, body);
        }
        Ok(())
    }

    fn block(&mut self, word: &str, tokens: &[Placed]) -> Parsed<Node> {
        if tokens.is_empty() {
            return self.fail(format!("missing value for {word}"));
        }
        let scope = self.scopes.len();
        let condition = self.pipeline_of(tokens, word == "range")?;
        let in_loop = usize::from(word == "range");
        self.loops += in_loop;
        let (then, end) = self.list()?;
        self.loops -= in_loop;
        let Some(end) = end else { return self.fail("unexpected EOF") };
        let otherwise = if end.word == "else" {
            match end.rest.first().map(|placed| &placed.token) {
                // `else if …` is a block inside the else branch that shares its end.
                Some(Token::Word(inner)) if (inner == "if" && word == "if") || (inner == "with" && word == "with") => {
                    let inner = inner.clone();
                    vec![self.block(&inner, &end.rest[1..])?]
                }
                Some(_) => {
                    return self.fail(format!("unexpected {:?} in else", end.rest.first().map_or("", |p| &p.source)));
                }
                None => {
                    let (otherwise, end) = self.list()?;
                    match end {
                        Some(end) if end.word == "end" => otherwise,
                        Some(_) => return self.fail("expected end; found {{else}}"),
                        None => return self.fail("unexpected EOF"),
                    }
                }
            }
        } else {
            Vec::new()
        };
        self.scopes.truncate(scope);
        Ok(match word {
            "if" => Node::If(condition, then, otherwise),
            "with" => Node::With(condition, then, otherwise),
            _ => Node::Range(condition, then, otherwise),
        })
    }

    fn pipeline(&mut self, tokens: &[Placed]) -> Parsed<Pipeline> {
        self.pipeline_of(tokens, false)
    }

    fn pipeline_of(&mut self, tokens: &[Placed], range: bool) -> Parsed<Pipeline> {
        let mut at = 0;
        let found = self.pipeline_at(tokens, &mut at, 0, range)?;
        if tokens.get(at).is_some() {
            return self.fail("unexpected right paren \")\"");
        }
        Ok(found)
    }

    fn pipeline_at(&mut self, tokens: &[Placed], at: &mut usize, depth: usize, range: bool) -> Parsed<Pipeline> {
        if depth > DEPTH_MAX {
            return self.fail(format!("parentheses nested deeper than {DEPTH_MAX}"));
        }
        let token = |place: usize| tokens.get(place).map(|placed| &placed.token);
        let mut pipeline = Pipeline { commands: vec![Command::default()], ..Pipeline::default() };
        match (token(*at), token(*at + 1), token(*at + 2), token(*at + 3)) {
            (Some(Token::Variable(name)), Some(Token::Symbol(symbol @ (":=" | "="))), ..) => {
                pipeline.variables.push(name.clone());
                pipeline.assign = *symbol == "=";
                *at += 2;
            }
            (
                Some(Token::Variable(first)),
                Some(Token::Symbol(",")),
                Some(Token::Variable(second)),
                Some(Token::Symbol(symbol @ (":=" | "="))),
            ) if range => {
                pipeline.variables.extend([first.clone(), second.clone()]);
                pipeline.assign = *symbol == "=";
                *at += 4;
            }
            _ => {}
        }
        while let Some(placed) = tokens.get(*at) {
            let place = At { line: placed.line, column: placed.column, source: placed.source.clone() };
            *at += 1;
            let operand = match &placed.token {
                Token::Symbol("|") => {
                    if pipeline.commands.last().is_none_or(|command| command.operands.is_empty()) {
                        return self.fail("missing value for command");
                    }
                    pipeline.commands.push(Command::default());
                    continue;
                }
                Token::Symbol(")") => {
                    *at -= 1;
                    break;
                }
                Token::Symbol("(") => {
                    let inner = self.pipeline_at(tokens, at, depth + 1, false)?;
                    if tokens.get(*at).map(|placed| &placed.token) != Some(&Token::Symbol(")")) {
                        return self.fail("unclosed left paren");
                    }
                    *at += 1;
                    Operand::Group(Box::new(inner), fields(tokens, at))
                }
                Token::Symbol(symbol) => return self.fail(format!("unexpected {symbol:?} in operand")),
                Token::Dot => Operand::Dot,
                Token::Field(name) => {
                    let mut chain = vec![name.clone()];
                    chain.extend(fields(tokens, at));
                    Operand::Field(chain)
                }
                Token::Variable(name) => {
                    if !self.scopes.contains(name) {
                        return self.fail(format!("undefined variable {name:?}"));
                    }
                    Operand::Variable(name.clone(), fields(tokens, at))
                }
                Token::Literal(value) => Operand::Literal(value.clone()),
                Token::Word(word) => match word.as_str() {
                    "true" => Operand::Literal(Value::Bool(true)),
                    "false" => Operand::Literal(Value::Bool(false)),
                    "nil" => Operand::Nil,
                    _ if (self.known)(word) => Operand::Function(word.clone()),
                    _ => return self.fail(format!("function {word:?} not defined")),
                },
            };
            let place = match &operand {
                Operand::Field(chain) => At { source: format!(".{}", chain.join(".")), ..place },
                Operand::Variable(name, chain) if !chain.is_empty() => {
                    At { source: format!("{name}.{}", chain.join(".")), ..place }
                }
                _ => place,
            };
            if let Some(command) = pipeline.commands.last_mut() {
                command.operands.push((operand, place));
            }
        }
        for (place, command) in pipeline.commands.iter().enumerate() {
            match command.operands.first() {
                None => return self.fail("missing value for command"),
                Some((Operand::Literal(_) | Operand::Nil | Operand::Dot, _)) if place > 0 => {
                    let source = command.operands.first().map_or("", |(_, at)| &at.source);
                    return self.fail(format!("non executable command in pipeline stage {}: {source}", place + 1));
                }
                _ => {}
            }
        }
        if !pipeline.assign {
            self.scopes.extend(pipeline.variables.iter().cloned());
        } else if let Some(name) = pipeline.variables.iter().find(|name| !self.scopes.contains(name)) {
            return self.fail(format!("undefined variable {name:?}"));
        }
        Ok(pipeline)
    }
}

/// The fields that stick to what stands before them.
fn fields(tokens: &[Placed], at: &mut usize) -> Vec<String> {
    let mut fields = Vec::new();
    while let Some(Placed { token: Token::Field(name), blank: false, .. }) = tokens.get(*at) {
        fields.push(name.clone());
        *at += 1;
    }
    fields
}
