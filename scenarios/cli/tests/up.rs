//! `up`: the binary is started, asked over its ports, and stopped.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

#[path = "../../../sim/kube/tests/transcripts/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of sim-kube")]
mod transcripts;

use transcripts::{Shell, Transcript};

/// How long a world may take to come up or to end, in real time.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `multigres-sim up`; killed if a test fails.
struct Up {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
    kubeconfig: PathBuf,
}

impl Up {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let kubeconfig = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.kubeconfig"));
        let mut child = command(arguments)
            .args(["--port=0", "--prometheus-port=0", "--tempo-port=0", "--metrics-port=0", "--kubeconfig"])
            .arg(&kubeconfig)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = mpsc::channel();
        #[allow(clippy::disallowed_methods, reason = "a real program's output is read in real time")]
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, lines, seen: Vec::new(), kubeconfig }
    }

    /// The rest of the first line that begins with `what`.
    fn told(&mut self, what: &str) -> String {
        loop {
            if let Some(rest) = self.seen.iter().find_map(|line| line.strip_prefix(what)) {
                return rest.trim().to_owned();
            }
            let line = self.lines.recv_timeout(PATIENCE);
            self.seen.push(line.unwrap_or_else(|_| panic!("no line \"{what}\" among {:#?}", self.seen)));
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Ended already unless a test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_multigres-sim"));
    command.arg("up").args(arguments).current_dir(transcripts::root()).stdin(Stdio::null());
    command
}

fn get(url: &str) -> String {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_port_answers_and_an_interrupt_ends_the_world() {
    let mut up = Up::start("up-ports", &["--speed=60x", "--sample=deploy/samples/minimal.yaml"]);
    let api = up.told("API server");
    let (prometheus, tempo, metrics) = (up.told("Prometheus"), up.told("Tempo"), up.told("operator"));
    assert!(up.told("ready after").contains("sample objects applied: 1"));
    assert!(get(&format!("{prometheus}/api/v1/query?query=up")).contains(r#""status":"success""#));
    assert!(get(&format!("{tempo}/ready")).starts_with("HTTP/1.1 200"));
    // TLS and a token are asked for: what is plain is not answered.
    let address = metrics.strip_prefix("https://").and_then(|rest| rest.strip_suffix("/metrics")).unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: sim\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // However it is refused: by an alert or by a reset.
    let _ = stream.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("multigres_operator_"));
    let text = fs::read_to_string(&up.kubeconfig).unwrap();
    assert!(text.contains(&api) && text.contains("operator@sim"), "{text}");
    up.signal("INT");
    let kubeconfig = up.kubeconfig.clone();
    assert_eq!(up.end().code(), Some(0));
    assert!(!kubeconfig.exists(), "the kubeconfig is gone with the world");
    TcpListener::bind(api.trim_start_matches("https://")).unwrap();
}

/// Holds what kubectl says to a world against a transcript of `fixtures/kubectl/world`.
fn compare(name: &str, arguments: &[&str]) {
    let Some(kubectl) = transcripts::kubectl() else { return };
    let test = format!("up-{name}");
    let mut up = Up::start(&test, arguments);
    let server = up.told("API server");
    up.told("ready after");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let kubeconfig = fs::read_to_string(&up.kubeconfig).unwrap();
    let root = transcripts::root();
    let shell = Shell::new(&kubectl, &folder, &root, server.trim_start_matches("https://"), &kubeconfig);
    let transcript = Transcript::read(&root.join("fixtures/kubectl/world").join(format!("{name}.txt")));
    let compared = transcript.run(&shell, transcripts::update());
    up.signal("TERM");
    assert_eq!(up.end().code(), Some(0));
    compared.unwrap_or_else(|difference| panic!("{difference}"));
}

#[test]
fn kubectl_sees_the_operator_at_work() {
    compare("operator", &["--speed=20x", "--sample=deploy/samples/minimal.yaml"]);
}

#[test]
fn images_of_one_s_own_run_idle() {
    compare("strangers", &["--speed=20x", "--no-operator", "--no-stack"]);
}

fn refused(arguments: &[&str]) -> String {
    let output = command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_wrong_set_up_is_one_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = refused(&["--no-stack", "--no-operator", "--port", &port.to_string()]);
    assert_eq!(error, format!("cannot listen on 127.0.0.1:{port}: Address already in use (os error 98)\n"));
    let error = refused(&["--no-stack", "--no-operator", "--port=0", "--kubeconfig=/nowhere/config"]);
    assert_eq!(error, "cannot write the kubeconfig /nowhere/config: No such file or directory (os error 2)\n");
    let error = refused(&["--sample=deploy/samples/nothing.yaml"]);
    assert!(error.contains("nothing.yaml") && error.lines().count() == 1, "{error}");
    assert!(refused(&["--speed=fast"]).contains("a whole number from 1x to 3600x"));
    assert!(refused(&["--nonsense"]).contains("unexpected argument '--nonsense'"));
}
