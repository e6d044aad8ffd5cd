//! The real programs: where they are, how they run, what they answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A program named by an environment variable or found on the PATH.
///
/// # Panics
/// If `REQUIRE_BACKENDS` names it and it does not run.
#[allow(clippy::disallowed_methods, reason = "the machine's environment says where the program is")]
pub fn program(variable: &str, name: &str, backend: &str) -> Option<PathBuf> {
    let program = std::env::var_os(variable).map_or_else(|| PathBuf::from(name), PathBuf::from);
    let answers = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if answers.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    let required = std::env::var("REQUIRE_BACKENDS").unwrap_or_default();
    assert!(
        !required.split(',').any(|named| named.trim() == backend),
        "REQUIRE_BACKENDS names {backend}, but {} does not run",
        program.display()
    );
    println!("SKIPPED: no {name} (set {variable} to its path)");
    None
}

/// amtool.
pub fn amtool() -> Option<PathBuf> {
    program("AMTOOL", "amtool", "amtool")
}

/// A folder of a test's own.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("alertmanager").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// A real Alertmanager on a free port, ended when dropped.
pub struct Real {
    child: Child,
    /// `127.0.0.1:port`
    pub address: String,
    /// Its configuration file.
    pub config: PathBuf,
}

impl Real {
    /// Starts one with a configuration.
    pub fn start(name: &str, config: &str) -> Option<Self> {
        let program = program("ALERTMANAGER", "prometheus-alertmanager", "alertmanager")?;
        let folder = folder(name);
        let path = folder.join("alertmanager.yml");
        std::fs::write(&path, config).unwrap();
        let mut child = Command::new(program)
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.path={}", folder.join("data").display()))
            .args([
                "--web.listen-address=127.0.0.1:0",
                "--cluster.listen-address=",
                "--web.external-url=http://am.example",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut all = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ended: {all}");
            all.push_str(&line);
            if let Some((_, rest)) = line.split_once("msg=\"Listening on\" address=") {
                break rest.trim().to_owned();
            }
        };
        // What it says later must not fill the pipe.
        std::thread::Builder::new().spawn(move || std::io::copy(&mut said, &mut std::io::sink())).unwrap();
        Some(Self { child, address, config: path })
    }

    /// One request: status and body.
    pub fn ask(&self, method: &str, target: &str, body: &str) -> (u16, String) {
        ask(&self.address, method, target, body)
    }

    /// Gives it another configuration; its refusal, if it refuses.
    pub fn reload(&self, config: &str) -> Result<(), String> {
        std::fs::write(&self.config, config).unwrap();
        match self.ask("POST", "/-/reload", "") {
            (200, _) => Ok(()),
            (_, body) => Err(body.trim_end().trim_start_matches("failed to reload config: ").to_owned()),
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP request on a connection of its own: status and body.
pub fn ask(address: &str, method: &str, target: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, rest) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    if !head.to_lowercase().contains("transfer-encoding: chunked") {
        return (status, rest.to_owned());
    }
    let mut body = String::new();
    let mut rest = rest;
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            break;
        }
        body.push_str(&after[..length]);
        rest = after[length..].trim_start_matches("\r\n");
    }
    (status, body)
}
