//! Reading scripts.

/// Deepest nesting of loops, groups and `$(…)`.
const DEPTH_MAX: usize = 16;

/// Commands one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List(pub Vec<(Join, Vec<Command>)>);

/// When a pipeline runs, by how the one before it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    Always,
    IfGood,
    IfBad,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Words, and the file that the output goes to (`true`: behind what is there).
    Simple {
        words: Vec<Word>,
        file: Option<(Word, bool)>,
    },
    For {
        name: String,
        items: Vec<Word>,
        body: List,
    },
    Group(List),
}

/// A word before its variables are put in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Word(pub Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// A variable, and whether it is quoted.
    Variable(String, bool),
    /// What commands write, and whether it is quoted.
    Output(List, bool),
}

impl List {
    /// The programs that it names outright.
    pub(super) fn programs(&self) -> Vec<&str> {
        let mut all = Vec::new();
        for command in self.0.iter().flat_map(|(_, pipeline)| pipeline) {
            match command {
                Command::For { body, .. } => all.extend(body.programs()),
                Command::Group(list) => all.extend(list.programs()),
                Command::Simple { words, .. } => {
                    let named = words.iter().map(|w| match w.0.as_slice() {
                        [Part::Text(text)] => text.as_str(),
                        _ => "",
                    });
                    all.extend(named.map(super::base).find(|name| super::assignment(name).is_none()));
                }
            }
        }
        all
    }
}

/// Reads a script.
///
/// # Errors
/// What is not understood.
pub(super) fn read(text: &str) -> Result<List, String> {
    let mut reader = Reader { rest: text, depth: 0 };
    let list = reader.list(&[])?;
    if reader.rest.is_empty() { Ok(list) } else { Err(format!("syntax error: unexpected {:?}", reader.rest)) }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

/// Words that begin what is not known here.
const UNKNOWN: &[&str] = &["if", "while", "until", "case", "function", "trap", "select"];

impl Reader<'_> {
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\r']);
            if self.rest.starts_with('#') {
                self.rest = self.rest.find('\n').map_or("", |at| &self.rest[at..]);
            } else {
                return;
            }
        }
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn breaks(&mut self) {
        while self.take(";") || self.take("\n") {}
    }

    /// A keyword, as a word of its own.
    fn peek(&mut self, keyword: &str) -> bool {
        self.skip();
        self.rest
            .strip_prefix(keyword)
            .is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    }

    /// Commands up to one of these words, which is left.
    fn list(&mut self, ends: &[&str]) -> Result<List, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("nested too deeply".to_owned());
        }
        let mut list = List::default();
        let mut join = Join::Always;
        loop {
            self.breaks();
            if self.rest.is_empty() || self.rest.starts_with(')') || ends.iter().any(|end| self.peek(end)) {
                break;
            }
            let mut pipeline = vec![self.command()?];
            while !self.rest.starts_with("||") && self.take("|") {
                pipeline.push(self.command()?);
            }
            list.0.push((join, pipeline));
            self.skip();
            join = if self.take("&&") {
                Join::IfGood
            } else if self.take("||") {
                Join::IfBad
            } else if self.rest.starts_with('&') {
                return Err("nothing runs in the background here".to_owned());
            } else {
                Join::Always
            };
        }
        self.depth -= 1;
        Ok(list)
    }

    fn command(&mut self) -> Result<Command, String> {
        self.skip();
        if let Some(word) = UNKNOWN.iter().find(|word| self.peek(word)) {
            return Err(format!("{word}: not known to this shell"));
        }
        if self.peek("for") {
            return self.each();
        }
        if self.rest.starts_with('(') || self.peek("{") {
            let round = self.take("(");
            let end = if round { ")" } else { "}" };
            self.rest = if round { self.rest } else { &self.rest[1..] };
            let list = self.list(&[end])?;
            return if self.take(end) { Ok(Command::Group(list)) } else { Err(format!("{end:?} is missing")) };
        }
        let mut words = Vec::new();
        let mut file = None;
        loop {
            self.skip();
            let append = self.rest.starts_with(">>");
            if self.take("2>&1") || self.take("2>/dev/null") {
                continue; // errors go where they go
            }
            if self.take(">&2") {
                file = Some((Word(vec![Part::Text(super::ERRORS.to_owned())]), true));
            } else if self.take(">>") || self.take(">") {
                self.skip();
                file = Some((self.word()?, append));
            } else if self.rest.is_empty() || self.rest.starts_with(['\n', ';', '|', '&', ')', '<']) {
                break;
            } else {
                words.push(self.word()?);
            }
        }
        if words.is_empty() && file.is_none() {
            return Err(format!("syntax error near {:?}", self.rest.chars().take(10).collect::<String>()));
        }
        Ok(Command::Simple { words, file })
    }

    fn each(&mut self) -> Result<Command, String> {
        let missing = |what: &str| Err(format!("syntax error: {what:?} is missing"));
        self.take("for");
        self.skip();
        let Word(name) = self.word()?;
        let [Part::Text(name)] = name.as_slice() else { return missing("a name") };
        if !self.take("in") {
            return missing("in");
        }
        let mut items = Vec::new();
        loop {
            self.skip();
            if self.rest.is_empty() || self.rest.starts_with([';', '\n']) {
                break;
            }
            items.push(self.word()?);
        }
        self.breaks();
        if !self.take("do") {
            return missing("do");
        }
        let body = self.list(&["done"])?;
        if !self.take("done") {
            return missing("done");
        }
        Ok(Command::For { name: name.clone(), items, body })
    }

    fn word(&mut self) -> Result<Word, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut quoted = false;
        loop {
            let Some(next) = self.rest.chars().next() else {
                return if quoted { Err("unterminated quoted string".to_owned()) } else { Ok(Word(parts)) };
            };
            match next {
                '\'' if !quoted => {
                    let inner = &self.rest[1..];
                    let end = inner.find('\'').ok_or("unterminated quoted string")?;
                    text(&mut parts, &inner[..end]);
                    self.rest = &inner[end + 1..];
                }
                '"' => {
                    quoted = !quoted;
                    text(&mut parts, "");
                    self.rest = &self.rest[1..];
                }
                '\\' => {
                    let escaped = self.rest[1..].chars().next().unwrap_or('\\');
                    if quoted && !matches!(escaped, '$' | '"' | '\\' | '`') {
                        text(&mut parts, "\\");
                    }
                    text(&mut parts, escaped.encode_utf8(&mut [0; 4]));
                    self.rest = self.rest.get(1 + escaped.len_utf8()..).unwrap_or_default();
                }
                '$' => self.dollar(&mut parts, quoted)?,
                '`' => return Err("backquotes are not known to this shell".to_owned()),
                c if !quoted && (c.is_whitespace() || matches!(c, ';' | '|' | '&' | ')' | '(' | '<' | '>')) => {
                    // A word that is none would be read for ever.
                    return if parts.is_empty() {
                        Err(format!("syntax error: unexpected {c:?}"))
                    } else {
                        Ok(Word(parts))
                    };
                }
                c => {
                    text(&mut parts, c.encode_utf8(&mut [0; 4]));
                    self.rest = &self.rest[c.len_utf8()..];
                }
            }
        }
    }

    fn dollar(&mut self, parts: &mut Vec<Part>, quoted: bool) -> Result<(), String> {
        let rest = &self.rest[1..];
        if let Some(inner) = rest.strip_prefix("((").or_else(|| rest.strip_prefix("#")) {
            return Err(format!("${}: not known to this shell", &rest[..rest.len() - inner.len()]));
        }
        if let Some(inner) = rest.strip_prefix('(') {
            self.rest = inner;
            let list = self.list(&[])?;
            if !self.take(")") {
                return Err("\")\" is missing".to_owned());
            }
            parts.push(Part::Output(list, quoted));
            return Ok(());
        }
        if let Some(inner) = rest.strip_prefix('{') {
            let end = inner.find('}').ok_or("bad substitution")?;
            let name = &inner[..end];
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'?') {
                return Err("bad substitution".to_owned());
            }
            parts.push(Part::Variable(name.to_owned(), quoted));
            self.rest = &inner[end + 1..];
            return Ok(());
        }
        let end = match rest.chars().next() {
            Some('?' | '$') => 1,
            _ => rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len()),
        };
        if end == 0 {
            text(parts, "$");
        } else {
            parts.push(Part::Variable(rest[..end].to_owned(), quoted));
        }
        self.rest = &rest[end..];
        Ok(())
    }
}

/// Adds text to a word.
fn text(parts: &mut Vec<Part>, more: &str) {
    match parts.last_mut() {
        Some(Part::Text(text)) => text.push_str(more),
        _ => parts.push(Part::Text(more.to_owned())),
    }
}
