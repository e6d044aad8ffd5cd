//! A small shell, so that pods which say something in `sh -c` say it here too, and `exec` has something to run.
//!
//! It knows lists (`;`, `&&`, `||`), pipes, `for`, variables, `$(…)`, quotes, `>` and `>>`, and the few programs in
//! [`programs`]. It is no POSIX shell: what it does not know it refuses, and a container with such a command runs idle.

mod parse;
mod programs;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;

use self::parse::{Command, Join, List, Part, Word};
use crate::kubelet::{ContainerStart, ExecIo, Output, Ran};

/// Commands that one script may run.
const STEPS_MAX: u32 = 10_000;
/// Bytes that one command may hand to another.
const PIPED_BYTES_MAX: usize = 1 << 20;
/// The file that is standard error.
const ERRORS: &str = "/dev/stderr";
/// The exit code of a program that is not there.
const NOT_FOUND: i32 = 127;

/// Whether all programs of a container's command are known here.
pub(super) fn knows(command: &[String]) -> bool {
    match script(command) {
        Some(Ok(list)) => list.programs().iter().all(|name| programs::known(name)),
        Some(Err(_)) => false,
        None => command.first().is_some_and(|name| programs::known(base(name))),
    }
}

/// The script of `sh -c SCRIPT`, read; `None` if this is another command.
fn script(command: &[String]) -> Option<Result<List, String>> {
    match command {
        [shell, flag, script, ..] if matches!(base(shell), "sh" | "bash" | "ash") && flag.ends_with('c') => {
            Some(parse::read(script))
        }
        _ => None,
    }
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Runs a command in a container.
pub(super) async fn run(container: Arc<ContainerStart>, command: Vec<String>, io: ExecIo) -> Ran {
    let variables = container.env.iter().cloned().collect();
    let mut shell = Shell { container, variables, status: 0, steps: 0, ended: None };
    let mut io = Streams { input: Input::Live(io.stdin), output: Sink::Live(io.output) };
    let code = match script(&command) {
        Some(Ok(list)) => shell.list(&list, &mut io).await,
        Some(Err(why)) => {
            io.error(&format!("sh: {why}\n")).await;
            2
        }
        None if command.first().is_some_and(|name| programs::known(base(name))) => {
            shell.program(&command, &mut io).await
        }
        None => return Ran::NotFound,
    };
    Ran::Ended(shell.ended.unwrap_or(code))
}

/// What a command reads.
#[derive(Debug)]
enum Input {
    Live(Option<tokio::sync::mpsc::Receiver<Bytes>>),
    Given(Bytes),
}

/// Where a command writes.
#[derive(Debug)]
enum Sink {
    Live(tokio::sync::mpsc::Sender<Output>),
    /// Into a pipe, a variable or a file; what it says of errors goes where the script's do.
    Kept(Vec<u8>, Option<tokio::sync::mpsc::Sender<Output>>),
}

#[derive(Debug)]
struct Streams {
    input: Input,
    output: Sink,
}

impl Streams {
    async fn say(&mut self, text: impl Into<Bytes>) {
        let piece = text.into();
        match &mut self.output {
            // Nobody reads any more: the command goes on into nothing.
            Sink::Live(out) => drop(out.send(Output::Stdout(piece)).await),
            Sink::Kept(kept, _) if kept.len() + piece.len() <= PIPED_BYTES_MAX => kept.extend_from_slice(&piece),
            Sink::Kept(..) => {}
        }
    }

    async fn error(&mut self, text: &str) {
        if let Some(out) = self.errors() {
            drop(out.send(Output::Stderr(text.to_owned().into())).await);
        }
    }

    fn errors(&self) -> Option<tokio::sync::mpsc::Sender<Output>> {
        match &self.output {
            Sink::Live(out) => Some(out.clone()),
            Sink::Kept(_, out) => out.clone(),
        }
    }

    /// The next piece of input; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        match &mut self.input {
            Input::Live(stdin) => stdin.as_mut()?.recv().await,
            Input::Given(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()),
        }
    }
}

/// One run of a script.
struct Shell {
    container: Arc<ContainerStart>,
    variables: BTreeMap<String, String>,
    status: i32,
    steps: u32,
    /// Set by `exit`, or when the script did too much.
    ended: Option<i32>,
}

impl Shell {
    fn list<'a>(&'a mut self, list: &'a List, io: &'a mut Streams) -> BoxFuture<'a, i32> {
        Box::pin(async move {
            for (join, pipeline) in &list.0 {
                let skipped = match join {
                    Join::Always => false,
                    Join::IfGood => self.status != 0,
                    Join::IfBad => self.status == 0,
                };
                if !skipped {
                    self.status = self.pipeline(pipeline, io).await;
                }
                if self.ended.is_some() {
                    break;
                }
            }
            self.status
        })
    }

    async fn pipeline(&mut self, commands: &[Command], io: &mut Streams) -> i32 {
        let Some((last, before)) = commands.split_last() else { return 0 };
        let mut piped = None;
        for command in before {
            let input = piped.take().map_or_else(|| std::mem::replace(&mut io.input, Input::Live(None)), Input::Given);
            let mut own = Streams { input, output: Sink::Kept(Vec::new(), io.errors()) };
            self.command(command, &mut own).await;
            let Sink::Kept(kept, _) = own.output else { continue };
            piped = Some(Bytes::from(kept));
        }
        match piped {
            None => self.command(last, io).await,
            Some(bytes) => {
                let before = std::mem::replace(&mut io.input, Input::Given(bytes));
                let code = self.command(last, io).await;
                io.input = before;
                code
            }
        }
    }

    async fn command(&mut self, command: &Command, io: &mut Streams) -> i32 {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            self.ended = Some(2);
            io.error(&format!("sh: more than {STEPS_MAX} commands\n")).await;
            return 2;
        }
        match command {
            Command::For { name, items, body } => {
                let mut code = 0;
                for item in self.words(items, io).await {
                    self.variables.insert(name.clone(), item);
                    code = self.list(body, io).await;
                    if self.ended.is_some() {
                        break;
                    }
                }
                code
            }
            Command::Group(list) => self.list(list, io).await,
            Command::Simple { words, file } => {
                let mut words = self.words(words, io).await;
                while let Some((name, value)) = words.first().and_then(|w| assignment(w)) {
                    self.variables.insert(name, value);
                    words.remove(0);
                }
                let Some((target, append)) = file else { return self.program(&words, io).await };
                let path = self.words(std::slice::from_ref(target), io).await.concat();
                let input = std::mem::replace(&mut io.input, Input::Live(None));
                let mut own = Streams { input, output: Sink::Kept(Vec::new(), io.errors()) };
                let code = self.program(&words, &mut own).await;
                io.input = own.input;
                let Sink::Kept(kept, _) = own.output else { return code };
                if path == ERRORS {
                    io.error(&String::from_utf8_lossy(&kept)).await;
                } else if path != "/dev/null" {
                    let old = self.container.files.read(&path).filter(|_| *append).unwrap_or_default();
                    self.container.files.write(&path, [&*old, &kept].concat());
                }
                code
            }
        }
    }

    async fn program(&mut self, words: &[String], io: &mut Streams) -> i32 {
        let Some((name, arguments)) = words.split_first() else { return 0 };
        if let Some(Ok(list)) = script(words) {
            return self.list(&list, io).await;
        }
        if base(name) == "exit" {
            let code = arguments.first().and_then(|a| a.parse().ok()).unwrap_or(self.status);
            self.ended = Some(code);
            return code;
        }
        match programs::run(base(name), arguments, self, io).await {
            Some(code) => code,
            None => {
                io.error(&format!("sh: {name}: not found\n")).await;
                NOT_FOUND
            }
        }
    }

    /// Words with their variables put in: an unquoted variable may be several words, or none.
    async fn words(&mut self, words: &[Word], io: &mut Streams) -> Vec<String> {
        let mut all = Vec::new();
        for word in words {
            let mut current: Option<String> = None;
            for part in &word.0 {
                let (text, quoted) = match part {
                    Part::Text(text) => (text.clone(), true),
                    Part::Variable(name, quoted) => (self.variable(name), *quoted),
                    Part::Output(list, quoted) => (self.output_of(list, io).await, *quoted),
                };
                if quoted {
                    current.get_or_insert_default().push_str(&text);
                    continue;
                }
                for (at, piece) in text.split_whitespace().enumerate() {
                    if at > 0 {
                        all.extend(current.take());
                    }
                    current.get_or_insert_default().push_str(piece);
                }
            }
            all.extend(current);
        }
        all
    }

    async fn output_of(&mut self, list: &List, io: &Streams) -> String {
        let mut own = Streams { input: Input::Live(None), output: Sink::Kept(Vec::new(), io.errors()) };
        self.list(list, &mut own).await;
        let Sink::Kept(kept, _) = own.output else { return String::new() };
        String::from_utf8_lossy(&kept).trim_end_matches('\n').to_owned()
    }

    fn variable(&self, name: &str) -> String {
        match name {
            "?" => self.status.to_string(),
            "$" => "1".to_owned(),
            "HOSTNAME" if !self.variables.contains_key(name) => self.container.pod.clone(),
            name => self.variables.get(name).cloned().unwrap_or_default(),
        }
    }
}

/// `NAME=value` at the start of a command.
fn assignment(word: &str) -> Option<(String, String)> {
    let (name, value) = word.split_once('=')?;
    let good = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    good.then(|| (name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests;
