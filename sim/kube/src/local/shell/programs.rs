//! The programs that the small shell knows.

use std::time::Duration;

use ::http::StatusCode;
use sim_net::http;

use super::{Shell, Streams};

const KNOWN: &[&str] = &[
    ":", "[", "cat", "date", "echo", "env", "exit", "export", "false", "hostname", "httpd", "id", "ls", "printenv",
    "printf", "pwd", "seq", "sh", "sleep", "test", "tr", "true", "uname", "wc", "whoami",
];
/// Longest `sleep`, in seconds.
const SLEEP_SECONDS_MAX: f64 = 1e9;
/// Most numbers of one `seq`.
const SEQ_MAX: i64 = 100_000;

/// Whether there is a program of this name.
pub(super) fn known(name: &str) -> bool {
    KNOWN.contains(&name)
}

/// Runs a program; `None` if there is none of this name.
pub(super) async fn run(name: &str, arguments: &[String], shell: &mut Shell, io: &mut Streams) -> Option<i32> {
    let first = arguments.first().map(String::as_str);
    let container = shell.container.clone();
    match name {
        "true" | ":" => {}
        "false" => return Some(1),
        "echo" => {
            let (end, words) = if first == Some("-n") { ("", &arguments[1..]) } else { ("\n", arguments) };
            io.say(format!("{}{end}", words.join(" "))).await;
        }
        "printf" => {
            let format = first.unwrap_or("").replace("\\n", "\n").replace("\\t", "\t");
            let mut values = arguments.iter().skip(1);
            let mut pieces = format.split("%s");
            let mut text = pieces.next().unwrap_or("").to_owned();
            for piece in pieces {
                text.push_str(values.next().map_or("", String::as_str));
                text.push_str(piece);
            }
            io.say(text).await;
        }
        "cat" if arguments.is_empty() || first == Some("-") => {
            while let Some(piece) = io.next().await {
                io.say(piece).await;
            }
        }
        "cat" => {
            let mut code = 0;
            for path in arguments {
                match container.files.read(path) {
                    Some(content) => io.say(content).await,
                    None => {
                        io.error(&format!("cat: can't open '{path}': No such file or directory\n")).await;
                        code = 1;
                    }
                }
            }
            return Some(code);
        }
        "ls" => return Some(list(first.unwrap_or("/"), shell, io).await),
        "env" | "printenv" => match first {
            None => {
                io.say(lines(shell.variables.iter().map(|(k, v)| format!("{k}={v}")))).await;
            }
            Some(name) => match shell.variables.get(name).cloned() {
                Some(value) => io.say(format!("{value}\n")).await,
                None => return Some(1),
            },
        },
        "export" => {
            for (name, value) in arguments.iter().filter_map(|a| super::assignment(a)) {
                shell.variables.insert(name, value);
            }
        }
        "pwd" => io.say("/\n").await,
        "hostname" => io.say(format!("{}\n", container.pod)).await,
        "whoami" => io.say("root\n").await,
        "id" if first == Some("-u") => io.say("0\n").await,
        "id" => io.say("uid=0(root) gid=0(root) groups=0(root)\n").await,
        "uname" => io.say("Linux\n").await,
        "date" => {
            let now = jiff::Timestamp::from_millisecond(sim_clock::now().as_millis()).unwrap_or_default();
            let text = match first {
                Some(format) if format.starts_with('+') => now.strftime(&format[1..]).to_string(),
                _ => now.strftime("%a %b %e %H:%M:%S UTC %Y").to_string(),
            };
            io.say(format!("{text}\n")).await;
        }
        "sleep" => {
            let text = first.unwrap_or("");
            let (number, factor) = match text.strip_suffix(['s', 'm', 'h']) {
                Some(number) if text.ends_with('m') => (number, 60.0),
                Some(number) if text.ends_with('h') => (number, 3600.0),
                Some(number) => (number, 1.0),
                None => (text, 1.0),
            };
            let seconds = match (text, number.parse::<f64>()) {
                ("infinity", _) => SLEEP_SECONDS_MAX,
                (_, Ok(seconds)) if seconds >= 0.0 => (seconds * factor).min(SLEEP_SECONDS_MAX),
                _ => {
                    io.error(&format!("sleep: invalid number '{text}'\n")).await;
                    return Some(1);
                }
            };
            tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        }
        "httpd" => return Some(serve(arguments, shell, io).await),
        "seq" => {
            let numbers: Vec<i64> = arguments.iter().filter_map(|a| a.parse().ok()).collect();
            let (from, to) = match numbers.as_slice() {
                [to] => (1, *to),
                [from, to] => (*from, *to),
                _ => return Some(1),
            };
            io.say(lines((from..=to.min(from.saturating_add(SEQ_MAX))).map(|n| n.to_string()))).await;
        }
        "tr" => {
            let [from, to] = arguments else { return Some(1) };
            let (from, to) = (letters(from), letters(to));
            while let Some(piece) = io.next().await {
                let text = String::from_utf8_lossy(&piece).into_owned();
                let change = |c: char| {
                    let at = from.iter().position(|f| *f == c);
                    at.and_then(|at| to.get(at).or(to.last()).copied()).unwrap_or(c)
                };
                io.say(text.chars().map(change).collect::<String>()).await;
            }
        }
        "wc" => {
            let mut text = Vec::new();
            while let Some(piece) = io.next().await {
                text.extend_from_slice(&piece);
            }
            let count = if first == Some("-c") { text.len() } else { text.split(|b| *b == b'\n').count() - 1 };
            io.say(format!("{count}\n")).await;
        }
        "test" | "[" => {
            let words: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| *word != "]").collect();
            let holds = match words.as_slice() {
                ["-f" | "-e", path] => container.files.read(path).is_some(),
                ["-d", path] => !container.files.list(path).is_empty(),
                ["-n", text] | [text] => !text.is_empty(),
                ["-z", text] => text.is_empty(),
                [a, "=" | "==", b] => a == b,
                [a, "!=", b] => a != b,
                _ => return Some(2),
            };
            return Some(i32::from(!holds));
        }
        _ => return None,
    }
    Some(0)
}

/// Serves files over HTTP until it is ended: `httpd -f [-p PORT] [-h FOLDER]`.
async fn serve(arguments: &[String], shell: &Shell, io: &mut Streams) -> i32 {
    let mut words = arguments.iter().map(String::as_str);
    let (mut stays, mut port, mut folder) = (false, Some(80), String::new());
    while let Some(word) = words.next() {
        match (word, word.split_at_checked(2)) {
            ("-f", _) => stays = true,
            ("-p", _) => port = words.next().and_then(|number| number.parse().ok()),
            ("-h", _) => words.next().unwrap_or("").trim_end_matches('/').clone_into(&mut folder),
            (_, Some(("-p", number))) => port = number.parse().ok(),
            _ => port = None,
        }
    }
    let (true, Some(port)) = (stays, port) else {
        io.error("Usage: httpd -f [-p PORT] [-h FOLDER]\n").await;
        return 1;
    };
    let container = shell.container.clone();
    let Ok(listener) = container.host.listen(port) else {
        io.error("httpd: bind: Address already in use\n").await;
        return 1;
    };
    let files = container.files.clone();
    http::serve(listener, http::Limits::default(), move |request| {
        let path = format!("{folder}{}", request.uri().path());
        let path = if path.ends_with('/') { format!("{path}index.html") } else { path };
        let answer = match files.read(&path) {
            Some(content) => http::response(StatusCode::OK, "text/html", content),
            None => http::response(StatusCode::NOT_FOUND, "text/html", "<H1>404 Not Found</H1>\n"),
        };
        async move { answer }
    })
    .await;
    0
}

fn lines(all: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for line in all {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

async fn list(path: &str, shell: &Shell, io: &mut Streams) -> i32 {
    let files = &shell.container.files;
    let below = files.list(path);
    if below.is_empty() {
        if files.read(path).is_some() {
            io.say(format!("{path}\n")).await;
            return 0;
        }
        if path != "/" {
            io.error(&format!("ls: {path}: No such file or directory\n")).await;
            return 1;
        }
    }
    let start = path.trim_end_matches('/').len() + 1;
    let mut names: Vec<&str> = below.iter().filter_map(|p| p.get(start..)?.split('/').next()).collect();
    names.dedup();
    io.say(lines(names.iter().map(|name| (*name).to_owned()))).await;
    0
}

/// The letters that an argument of `tr` names: `a-z` is all between.
fn letters(text: &str) -> Vec<char> {
    let chars: Vec<char> = text.trim_matches(['[', ']']).chars().collect();
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        match (chars.get(at + 1), chars.get(at + 2)) {
            (Some('-'), Some(&end)) => {
                all.extend(c..=end);
                at += 3;
            }
            _ => {
                all.push(c);
                at += 1;
            }
        }
    }
    all
}
