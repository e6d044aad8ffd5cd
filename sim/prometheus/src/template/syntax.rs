//! Parser of the template language.

use super::Value;

/// How deep blocks and parentheses may nest.
const DEPTH_MAX: usize = 50;

#[derive(Debug, Clone)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If(Pipeline, Vec<Node>, Vec<Node>),
    With(Pipeline, Vec<Node>, Vec<Node>),
    Range(Pipeline, Vec<Node>, Vec<Node>),
}

#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub variables: Vec<String>,
    /// `=` and not `:=`.
    pub assign: bool,
    pub commands: Vec<Command>,
}

#[derive(Debug, Clone)]
pub(super) struct Command {
    pub operands: Vec<Operand>,
}

#[derive(Debug, Clone)]
pub(super) enum Operand {
    Literal(Value),
    Function(String),
    Dot(Vec<String>),
    Variable(String, Vec<String>),
    Group(Box<Pipeline>, Vec<String>),
}

enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Variable(String),
    Field(String),
    Dot,
    Text(String),
    Number(Value),
    Symbol(&'static str),
}

pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let pieces = split(text)?;
    let mut blocks = Blocks { pieces: pieces.into_iter().peekable(), depth: 0 };
    let (nodes, end) = blocks.list()?;
    match end {
        None => Ok(nodes),
        Some(tokens) => Err(format!("unexpected {}", keyword(&tokens).unwrap_or_default())),
    }
}

fn split(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut trim_next = false;
    loop {
        let (mut before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        if trim_next {
            before = before.trim_start();
        }
        let Some(mut inside) = after else {
            pieces.push(Piece::Text(before.to_owned()));
            return Ok(pieces);
        };
        if let Some(trimmed) = inside.strip_prefix('-').filter(|inside| inside.starts_with(char::is_whitespace)) {
            before = before.trim_end();
            inside = trimmed;
        }
        pieces.push(Piece::Text(before.to_owned()));
        let start = inside.trim_start();
        if start.starts_with("/*") {
            let (_, after) = start.split_once("*/").ok_or("unclosed comment")?;
            let after = after.trim_start();
            trim_next = after.starts_with("-}}");
            rest = after
                .strip_prefix("-}}")
                .or_else(|| after.strip_prefix("}}"))
                .ok_or("comment ends before closing delimiter")?;
            continue;
        }
        let (tokens, after, trim) = tokens(inside)?;
        pieces.push(Piece::Action(tokens));
        trim_next = trim;
        rest = after;
    }
}

/// The tokens up to the closing braces, what follows them, and whether that is to be trimmed.
fn tokens(text: &str) -> Result<(Vec<Token>, &str, bool), String> {
    const SYMBOLS: [&str; 6] = [":=", "|", "(", ")", ",", "="];
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        let trimmed = rest.trim_start();
        let blank = trimmed.len() < rest.len();
        rest = trimmed;
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((tokens, after, false));
        }
        if let Some(after) = rest.strip_prefix("-}}").filter(|_| blank) {
            return Ok((tokens, after, true));
        }
        let first = rest.chars().next().ok_or("unclosed action")?;
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
            continue;
        }
        let word_end = |from: usize| {
            rest[from..].find(|c: char| !c.is_alphanumeric() && c != '_').map_or(rest.len(), |end| from + end)
        };
        match first {
            '"' | '`' => {
                let (value, after) = quoted(rest, first)?;
                tokens.push(Token::Text(value));
                rest = after;
            }
            '$' => {
                let end = word_end(1);
                tokens.push(Token::Variable(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            '.' if rest[1..].starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                let end = word_end(1);
                // A field sticks to what it follows; after a blank it belongs to the dot.
                if blank || tokens.is_empty() || matches!(tokens.last(), Some(Token::Symbol(symbol)) if *symbol != ")")
                {
                    tokens.push(Token::Dot);
                }
                tokens.push(Token::Field(rest[1..end].to_owned()));
                rest = &rest[end..];
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                tokens.push(Token::Dot);
                rest = &rest[1..];
            }
            c if c.is_ascii_digit() || matches!(c, '.' | '-' | '+') => {
                let end =
                    rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.').map_or(rest.len(), |end| end + 1);
                let number = &rest[..end];
                let value = match number.parse::<i64>() {
                    Ok(value) => Value::Integer(value),
                    Err(_) => Value::Number(number.parse().map_err(|_| format!("bad number syntax: {number:?}"))?),
                };
                tokens.push(Token::Number(value));
                rest = &rest[end..];
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = word_end(0);
                tokens.push(Token::Word(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            c => return Err(format!("unexpected {c:?} in action")),
        }
    }
}

fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut out = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((index, c)) = chars.next() {
        if c == quote {
            return Ok((out, &text[index + 1..]));
        }
        if c != '\\' || quote == '`' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some((_, 'n')) => out.push('\n'),
            Some((_, 't')) => out.push('\t'),
            Some((_, 'r')) => out.push('\r'),
            Some((_, c @ ('"' | '\\' | '\''))) => out.push(c),
            _ => return Err("invalid escape in quoted string".to_owned()),
        }
    }
    Err("unterminated quoted string".to_owned())
}

fn keyword(tokens: &[Token]) -> Option<&str> {
    match tokens.first() {
        Some(Token::Word(word)) if ["if", "else", "end", "range", "with"].contains(&word.as_str()) => Some(word),
        _ => None,
    }
}

struct Blocks {
    pieces: std::iter::Peekable<std::vec::IntoIter<Piece>>,
    depth: usize,
}

impl Blocks {
    /// Nodes up to an `else`, an `end` or the end of the text.
    fn list(&mut self) -> Result<(Vec<Node>, Option<Vec<Token>>), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("blocks nested deeper than {DEPTH_MAX}"));
        }
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    if !text.is_empty() {
                        nodes.push(Node::Text(text));
                    }
                    continue;
                }
                Piece::Action(tokens) => tokens,
            };
            match keyword(&tokens) {
                Some("else" | "end") => {
                    self.depth -= 1;
                    return Ok((nodes, Some(tokens)));
                }
                Some(_) => nodes.push(self.block(&tokens)?),
                None => nodes.push(Node::Action(pipeline(&tokens)?)),
            }
        }
        self.depth -= 1;
        Ok((nodes, None))
    }

    fn block(&mut self, tokens: &[Token]) -> Result<Node, String> {
        let word = keyword(tokens).unwrap_or_default().to_owned();
        let condition = pipeline(&tokens[1..])?;
        let (then, end) = self.list()?;
        let end = end.ok_or("unexpected EOF: a block is not closed by end")?;
        let otherwise = match keyword(&end) {
            // `else if …` is a block inside the else branch that shares its end.
            Some("else") if end.len() > 1 => vec![self.block(&end[1..])?],
            Some("else") => {
                let (otherwise, end) = self.list()?;
                match end.as_deref().and_then(keyword) {
                    Some("end") => otherwise,
                    _ => return Err("expected end after else".to_owned()),
                }
            }
            _ => Vec::new(),
        };
        match word.as_str() {
            "if" => Ok(Node::If(condition, then, otherwise)),
            "with" => Ok(Node::With(condition, then, otherwise)),
            "range" => Ok(Node::Range(condition, then, otherwise)),
            _ => Err(format!("unexpected {word}")),
        }
    }
}

fn pipeline(tokens: &[Token]) -> Result<Pipeline, String> {
    let mut at = 0;
    let found = pipeline_at(tokens, &mut at, 0)?;
    if at < tokens.len() {
        return Err("unexpected right paren".to_owned());
    }
    Ok(found)
}

fn pipeline_at(tokens: &[Token], at: &mut usize, depth: usize) -> Result<Pipeline, String> {
    if depth > DEPTH_MAX {
        return Err(format!("parentheses nested deeper than {DEPTH_MAX}"));
    }
    let mut variables = Vec::new();
    let mut assign = false;
    match &tokens[*at..] {
        [Token::Variable(name), Token::Symbol(symbol @ (":=" | "=")), ..] => {
            variables.push(name.clone());
            assign = *symbol == "=";
            *at += 2;
        }
        [Token::Variable(first), Token::Symbol(","), Token::Variable(second), Token::Symbol(":="), ..] => {
            variables.extend([first.clone(), second.clone()]);
            *at += 4;
        }
        _ => {}
    }
    let mut commands = vec![Command { operands: Vec::new() }];
    while let Some(token) = tokens.get(*at) {
        *at += 1;
        let operands = match commands.last_mut() {
            Some(command) => &mut command.operands,
            None => return Err("missing value for command".to_owned()),
        };
        match token {
            Token::Symbol("|") => commands.push(Command { operands: Vec::new() }),
            Token::Symbol(")") => {
                *at -= 1;
                break;
            }
            Token::Symbol("(") => {
                let inner = pipeline_at(tokens, at, depth + 1)?;
                if tokens.get(*at) != Some(&Token::Symbol(")")) {
                    return Err("unclosed left paren".to_owned());
                }
                *at += 1;
                operands.push(Operand::Group(Box::new(inner), fields(tokens, at)));
            }
            Token::Symbol(symbol) => return Err(format!("unexpected {symbol:?} in operand")),
            Token::Dot => operands.push(Operand::Dot(fields(tokens, at))),
            Token::Variable(name) => operands.push(Operand::Variable(name.clone(), fields(tokens, at))),
            Token::Field(name) => return Err(format!("unexpected field .{name}")),
            Token::Text(text) => operands.push(Operand::Literal(Value::Text(text.clone()))),
            Token::Number(value) => operands.push(Operand::Literal(value.clone())),
            Token::Word(word) => operands.push(match word.as_str() {
                "true" => Operand::Literal(Value::Bool(true)),
                "false" => Operand::Literal(Value::Bool(false)),
                "nil" => Operand::Literal(Value::Nil),
                _ if super::functions::exists(word) => Operand::Function(word.clone()),
                _ => return Err(format!("function {word:?} not defined")),
            }),
        }
    }
    if commands.iter().any(|command| command.operands.is_empty()) {
        return Err("missing value for command".to_owned());
    }
    Ok(Pipeline { variables, assign, commands })
}

fn fields(tokens: &[Token], at: &mut usize) -> Vec<String> {
    let mut fields = Vec::new();
    while let Some(Token::Field(name)) = tokens.get(*at) {
        fields.push(name.clone());
        *at += 1;
    }
    fields
}
