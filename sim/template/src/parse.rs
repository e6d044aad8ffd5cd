//! Makes templates of tokens.

use crate::lex::{self, Piece, Placed, Token};
use crate::syntax::{At, Call, Command, Literal, Node, Operand, OperandKind, Pipeline};
use crate::{NESTING_MAX, TEXT_BYTES_MAX, TOKENS_MAX};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

type Parsed<T> = Result<T, (u32, String)>;

/// The templates of one text: those that it defines, and the text itself under `name` unless it holds only blanks and
/// definitions.
pub(crate) fn parse(
    name: &str,
    text: &str,
    known: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<Node>>, String> {
    let at_line = |(line, message): (u32, String)| format!("template: {name}:{line}: {message}");
    if text.len() > TEXT_BYTES_MAX {
        return Err(at_line((1, format!("text larger than {TEXT_BYTES_MAX} bytes"))));
    }
    let (pieces, end) = lex::pieces(text);
    let tokens: usize =
        pieces.iter().map(|piece| if let Piece::Action(tokens) = piece { tokens.len() } else { 1 }).sum();
    if tokens > TOKENS_MAX {
        return Err(at_line((1, format!("more than {TOKENS_MAX} tokens"))));
    }
    let mut parser = Parser {
        file: name,
        pieces: pieces.into_iter(),
        tokens: Vec::new(),
        next: 0,
        end,
        line: 1,
        depth: 0,
        known,
        defined: BTreeMap::new(),
        scopes: vec!["$".to_owned()],
        loops: 0,
    };
    let (nodes, stop) = parser.list(true).map_err(at_line)?;
    match stop {
        Stop::End => return Err(at_line((parser.line, "unexpected {{end}}".to_owned()))),
        Stop::Else => return Err(at_line((parser.line, "unexpected {{else}}".to_owned()))),
        Stop::Eof => parser.add(name.to_owned(), nodes).map_err(at_line)?,
    }
    Ok(parser.defined)
}

/// What ends a list of nodes; what follows `else` is still to be read.
#[derive(PartialEq)]
enum Stop {
    End,
    Else,
    Eof,
}

struct Parser<'k> {
    file: &'k str,
    pieces: std::vec::IntoIter<Piece>,
    /// Those of the action that is read.
    tokens: Vec<Placed>,
    next: usize,
    end: At,
    line: u32,
    depth: usize,
    known: &'k dyn Fn(&str) -> bool,
    defined: BTreeMap<String, Vec<Node>>,
    /// The variables in sight.
    scopes: Vec<String>,
    loops: usize,
}

pub(crate) fn is_blank(nodes: &[Node]) -> bool {
    nodes.iter().all(|node| matches!(node, Node::Text(text) if text.trim().is_empty()))
}

impl Parser<'_> {
    fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err((self.line, message.into()))
    }

    fn peek(&self) -> Option<&Placed> {
        self.tokens.get(self.next)
    }

    fn peek_token(&self) -> Option<&Token> {
        self.peek().map(|placed| &placed.token)
    }

    fn advance(&mut self) {
        if let Some(placed) = self.tokens.get(self.next) {
            self.line = placed.at.line;
            self.next += 1;
        }
    }

    fn here(&self) -> At {
        self.peek().map_or(self.end, |placed| placed.at)
    }

    fn word(&self) -> &str {
        match self.peek_token() {
            Some(Token::Word(word)) => word,
            _ => "",
        }
    }

    /// Complains about the next token.
    fn unexpected<T>(&mut self, context: &str) -> Parsed<T> {
        let Some(placed) = self.peek().cloned() else { return self.fail("unexpected EOF") };
        self.line = placed.at.line;
        let Token::Error(message) = &placed.token else {
            return self.fail(format!("unexpected {} in {context}", placed.shown()));
        };
        let start = self.tokens.first().map_or(placed.at.line, |first| first.at.line);
        if start == placed.at.line {
            return self.fail(message.clone());
        }
        let place = format!("started at {}:{start}", self.file);
        let within = if message.ends_with(" action") { "" } else { "in action " };
        self.fail(format!("{message} {within}{place}"))
    }

    /// The end of an action.
    fn close(&mut self, context: &str) -> Parsed<()> {
        if self.peek_token() != Some(&Token::Close) {
            return self.unexpected(context);
        }
        self.advance();
        Ok(())
    }

    fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return self.fail(format!("nested deeper than {NESTING_MAX}"));
        }
        let found = inside(self)?;
        self.depth -= 1;
        Ok(found)
    }

    fn add(&mut self, name: String, nodes: Vec<Node>) -> Parsed<()> {
        let blank = is_blank(&nodes);
        match self.defined.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(nodes);
            }
            Entry::Occupied(mut entry) if is_blank(entry.get()) => {
                entry.insert(nodes);
            }
            Entry::Occupied(entry) if !blank => {
                let name = crate::print::quote(entry.key());
                return self.fail(format!("template: multiple definition of template {name}"));
            }
            Entry::Occupied(_) => {}
        }
        Ok(())
    }

    /// Nodes up to `end`, `else` or the end of the text; definitions stand only at the `top`.
    fn list(&mut self, top: bool) -> Parsed<(Vec<Node>, Stop)> {
        self.deeper(|parser| {
            let mut nodes = Vec::new();
            while let Some(piece) = parser.pieces.next() {
                match piece {
                    Piece::Text(text) => nodes.push(Node::Text(text)),
                    Piece::Action(tokens) => {
                        parser.line = tokens.first().map_or(parser.line, |first| first.at.line);
                        parser.tokens = tokens;
                        parser.next = 0;
                        if let Some(stop) = parser.action(top, &mut nodes)? {
                            return Ok((nodes, stop));
                        }
                    }
                }
            }
            parser.line = parser.end.line;
            Ok((nodes, Stop::Eof))
        })
    }

    fn action(&mut self, top: bool, nodes: &mut Vec<Node>) -> Parsed<Option<Stop>> {
        let word = self.word().to_owned();
        match word.as_str() {
            "end" => {
                self.advance();
                self.close("end")?;
                return Ok(Some(Stop::End));
            }
            "else" => {
                self.advance();
                return Ok(Some(Stop::Else));
            }
            "if" | "with" | "range" => {
                self.advance();
                let block = self.block(&word)?;
                nodes.push(block);
            }
            "define" if top => {
                self.advance();
                let (name, _) = self.name("define clause")?;
                self.close("define clause")?;
                let body = self.body("define clause")?;
                self.add(name, body)?;
            }
            "block" => {
                self.advance();
                let (name, at) = self.name("block clause")?;
                let dot = Some(self.pipeline("block clause")?);
                let body = self.body("block clause")?;
                self.add(name.clone(), body)?;
                nodes.push(Node::Call(Call { name, dot, at }));
            }
            "template" => {
                self.advance();
                let (name, at) = self.name("template clause")?;
                let dot = match self.peek_token() {
                    Some(Token::Close) => None,
                    _ => Some(self.pipeline("template clause")?),
                };
                nodes.push(Node::Call(Call { name, dot, at }));
            }
            "break" | "continue" if !(self.known)(&word) => {
                self.advance();
                self.close(&format!("{{{{{word}}}}}"))?;
                if self.loops == 0 {
                    return self.fail(format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                nodes.push(if word == "break" { Node::Break } else { Node::Continue });
            }
            _ => {
                let pipeline = self.pipeline("command")?;
                nodes.push(Node::Action(pipeline));
            }
        }
        Ok(None)
    }

    fn name(&mut self, context: &str) -> Parsed<(String, At)> {
        let at = self.here();
        match self.peek_token() {
            Some(Token::Literal(Literal::Text(name))) => {
                let name = name.clone();
                self.advance();
                Ok((name, at))
            }
            Some(Token::BadText) => self.fail("invalid syntax"),
            _ => self.unexpected(context),
        }
    }

    /// The nodes up to `end`, with variables of their own.
    fn body(&mut self, context: &str) -> Parsed<Vec<Node>> {
        let scopes = std::mem::replace(&mut self.scopes, vec!["$".to_owned()]);
        let loops = std::mem::take(&mut self.loops);
        let (nodes, stop) = self.list(false)?;
        self.scopes = scopes;
        self.loops = loops;
        match stop {
            Stop::End => Ok(nodes),
            Stop::Else => self.fail(format!("unexpected {{{{else}}}} in {context}")),
            Stop::Eof => self.fail("unexpected EOF"),
        }
    }

    fn block(&mut self, word: &str) -> Parsed<Node> {
        let scope = self.scopes.len();
        let condition = self.pipeline(word)?;
        let in_loop = usize::from(word == "range");
        self.loops += in_loop;
        let (then, stop) = self.list(false)?;
        self.loops -= in_loop;
        let otherwise = match stop {
            Stop::End => Vec::new(),
            Stop::Eof => return self.fail("unexpected EOF"),
            // `else if …` is a block inside the else branch that shares its end.
            Stop::Else if matches!(self.word(), "if" | "with") && self.word() == word => {
                self.advance();
                vec![self.deeper(|parser| parser.block(word))?]
            }
            Stop::Else => {
                if matches!(self.word(), "if" | "with") {
                    return self.unexpected("input");
                }
                self.close("else")?;
                let (otherwise, stop) = self.list(false)?;
                match stop {
                    Stop::End => otherwise,
                    Stop::Else => return self.fail("expected end; found {{else}}"),
                    Stop::Eof => return self.fail("unexpected EOF"),
                }
            }
        };
        self.scopes.truncate(scope);
        Ok(match word {
            "if" => Node::If(condition, then, otherwise),
            "with" => Node::With(condition, then, otherwise),
            _ => Node::Range(condition, then, otherwise),
        })
    }

    /// A pipeline up to the end of the action.
    fn pipeline(&mut self, context: &str) -> Parsed<Pipeline> {
        let pipeline = self.pipeline_to(&Token::Close, context)?;
        self.advance();
        Ok(pipeline)
    }

    fn pipeline_to(&mut self, end: &Token, context: &str) -> Parsed<Pipeline> {
        let mut pipeline = Pipeline { at: self.here(), ..Pipeline::default() };
        self.declarations(&mut pipeline, context)?;
        loop {
            match self.peek_token() {
                Some(token) if token == end => break,
                Some(token) if begins_operand(token) => {
                    let command = self.command()?;
                    pipeline.commands.push(command);
                }
                _ => return self.unexpected(context),
            }
        }
        if pipeline.commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        for (place, command) in pipeline.commands.iter().enumerate().skip(1) {
            if let Some(OperandKind::Literal(..) | OperandKind::Nil | OperandKind::Dot) =
                command.operands.first().map(|operand| &operand.kind)
            {
                return self.fail(format!("non executable command in pipeline stage {}", place + 1));
            }
        }
        Ok(pipeline)
    }

    fn declarations(&mut self, pipeline: &mut Pipeline, context: &str) -> Parsed<()> {
        while let Some(Token::Variable(name)) = self.peek_token() {
            let name = name.clone();
            match self.tokens.get(self.next + 1).map(|placed| &placed.token) {
                Some(Token::Symbol(symbol @ (":=" | "="))) => {
                    pipeline.assign = *symbol == "=";
                    pipeline.variables.push(name.clone());
                    self.scopes.push(name);
                    self.advance();
                    self.advance();
                    return Ok(());
                }
                Some(Token::Symbol(",")) => {
                    pipeline.variables.push(name.clone());
                    self.scopes.push(name);
                    self.advance();
                    self.advance();
                    if context != "range" || pipeline.variables.len() > 1 {
                        return self.fail(format!("too many declarations in {context}"));
                    }
                    if !matches!(self.peek_token(), Some(Token::Variable(_) | Token::Close | Token::Symbol(")"))) {
                        return self.fail("range can only initialize variables");
                    }
                }
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Parsed<Command> {
        let mut command = Command { operands: Vec::new(), at: self.here() };
        loop {
            if self.peek_token().is_some_and(begins_operand) {
                let operand = self.operand()?;
                command.operands.push(operand);
                if self.peek().is_some_and(|next| next.blank && begins_operand(&next.token)) {
                    continue;
                }
            }
            match self.peek_token() {
                Some(Token::Close | Token::Symbol(")")) => return Ok(command),
                Some(Token::Symbol("|")) => {
                    self.advance();
                    return Ok(command);
                }
                _ => return self.unexpected("operand"),
            }
        }
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let at = self.here();
        let Some(Placed { token, source, .. }) = self.peek().cloned() else { return self.fail("unexpected EOF") };
        self.advance();
        let kind = match token {
            Token::Word(word) if word == "nil" => OperandKind::Nil,
            Token::Word(word) if (self.known)(&word) => OperandKind::Function(word),
            Token::Word(word) => return self.fail(format!("function {} not defined", crate::print::quote(&word))),
            Token::Dot => OperandKind::Dot,
            Token::Field(name) => OperandKind::Field(vec![name]),
            Token::Variable(name) if self.scopes.contains(&name) => OperandKind::Variable(name, Vec::new()),
            Token::Variable(name) => return self.fail(format!("undefined variable {}", crate::print::quote(&name))),
            Token::Literal(literal) => OperandKind::Literal(literal, source),
            Token::BadText => return self.fail("invalid syntax"),
            Token::BadNumber(message) => return self.fail(message),
            _ => {
                let inner = self.deeper(|parser| parser.pipeline_to(&Token::Symbol(")"), "parenthesized pipeline"))?;
                self.advance();
                OperandKind::Group(Box::new(inner))
            }
        };
        let operand = Operand { kind, at };
        let chained = self.here();
        let mut names = Vec::new();
        while let Some(Placed { token: Token::Field(name), blank: false, .. }) = self.peek() {
            names.push(name.clone());
            self.advance();
        }
        if names.is_empty() {
            return Ok(operand);
        }
        let kind = match operand.kind {
            OperandKind::Field(mut first) => {
                first.append(&mut names);
                OperandKind::Field(first)
            }
            OperandKind::Variable(name, _) => OperandKind::Variable(name, names),
            OperandKind::Literal(..) | OperandKind::Nil | OperandKind::Dot => {
                return self.fail(format!("unexpected . after term {}", crate::print::quote(&operand.to_string())));
            }
            _ => OperandKind::Chain(Box::new(operand), names),
        };
        Ok(Operand { kind, at: chained })
    }
}

fn begins_operand(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            !matches!(word.as_str(), "block" | "define" | "else" | "end" | "if" | "range" | "template" | "with")
        }
        Token::Symbol(symbol) => *symbol == "(",
        Token::Other | Token::Close | Token::Error(_) => false,
        _ => true,
    }
}
