//! Clients that were not written for this server: promtool over loopback, and what Grafana's datasource asks for.
//!
//! promtool is found by `PROMTOOL` or on the PATH. Where there is none its test says SKIPPED; where `REQUIRE_BACKENDS` names it,
//! it fails.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use sim_net::Network;
use sim_prometheus::server::{Files, Options, Prometheus, run};

const CONFIG: &str = "storage: {tsdb: {out_of_order_time_window: 10000d}}";

/// A Prometheus that takes remote write, on loopback.
fn served() -> sim_loopback::Running<SocketAddr> {
    let options = sim_clock::WorldOptions::seeded(1).paced(sim_clock::Speed::REAL);
    let started = sim_loopback::start(options, |life| async move {
        let network = Network::new();
        let host = network.host("prometheus");
        let (_changed, revision) = sim_clock::watch::channel(0);
        let (_shutdown, stopped) = sim_clock::watch::channel(false);
        let files =
            Files { read: Arc::new(|_| Some(CONFIG.as_bytes().to_vec())), list: Arc::new(|_| Vec::new()), revision };
        let options = Options {
            remote_write_receiver: true,
            // The fixture's samples are of 1970.
            retention: std::time::Duration::from_secs(100 * 365 * 24 * 3600),
            ..Options::default()
        };
        let target = format!("{}:{}", host.ip(), options.port);
        sim_clock::spawn("prometheus", async move {
            run(host, Prometheus::new(), options, files, stopped).await.expect("a good configuration");
        });
        let listen = "127.0.0.1:0".parse().expect("an address");
        let address = sim_loopback::publish(&network, listen, &target).await.expect("a free port");
        life.up(address).until_stopped().await;
    });
    started.expect("a world")
}

/// Status, headers and body of an answer.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: p\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    )
    .and_then(|()| stream.write_all(body))
    .expect("a request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_lowercase(), answer[end + 4..].to_vec())
}

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/prometheus").join(name);
    std::fs::read(path).expect("a fixture")
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const WRITE: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";

#[test]
fn grafana_gets_what_the_real_prometheus_answered() {
    let world = served();
    let address = *world.told();
    let (status, _, body) = ask(address, "POST", "/api/v1/write", WRITE, &fixture("series.snappy"));
    assert_eq!(status, 204, "{}", String::from_utf8_lossy(&body));
    let transcript = String::from_utf8(fixture("grafana.txt")).expect("text");
    let mut lines = transcript.lines();
    let (mut asked, mut differences) = (0, Vec::new());
    while let Some(line) = lines.next() {
        let Some(request) = line.strip_prefix("> ") else { continue };
        let wanted_status = lines.next().and_then(|line| line.strip_prefix("< ")).expect("a status").to_owned();
        let wanted: Value = serde_json::from_str(lines.next().expect("a body")).expect("JSON");
        let (target, form) = request.split_once(" | ").unwrap_or((request, ""));
        let (method, path) = target.split_once(' ').expect("method and path");
        let headers = if form.is_empty() { "" } else { FORM };
        let (status, _, body) = ask(address, method, path, headers, form.as_bytes());
        let got: Value = serde_json::from_slice(&body).expect("JSON");
        asked += 1;
        if status.to_string() != wanted_status || got != wanted {
            differences.push(format!("{request}\n  real {wanted_status} {wanted}\n  ours {status} {got}"));
        }
    }
    assert_eq!(asked, 30);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let gzip = "Accept-Encoding: gzip\r\n";
    let (_, head, body) = ask(address, "GET", "/api/v1/labels", gzip, b"");
    assert!(head.contains("content-encoding: gzip") && body.starts_with(&[0x1f, 0x8b]), "{head}");
    world.stop().expect("a good end");
}

#[allow(clippy::disallowed_methods, reason = "the machine's environment says where the program is")]
fn promtool() -> Option<PathBuf> {
    let program = env::var_os("PROMTOOL").map_or_else(|| PathBuf::from("promtool"), PathBuf::from);
    let answers = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if answers.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    let required = env::var("REQUIRE_BACKENDS").unwrap_or_default();
    assert!(
        !required.split(',').any(|backend| backend.trim() == "promtool"),
        "REQUIRE_BACKENDS names promtool, but {} does not run",
        program.display()
    );
    println!("SKIPPED: no promtool (set PROMTOOL to its path)");
    None
}

#[test]
fn promtool_writes_and_asks() {
    let Some(program) = promtool() else { return };
    let world = served();
    let server = format!("http://{}", world.told());
    let (status, _, _) = ask(*world.told(), "POST", "/api/v1/write", WRITE, &fixture("series.snappy"));
    assert_eq!(status, 204);
    let said = |args: &[&str], input: &str| {
        let mut child = Command::new(&program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("its input");
        let output = child.wait_with_output().expect("its end");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    };
    let ten_minutes = "1970-01-01T00:10:00Z";
    let (ok, text) =
        said(&["query", "instant", &server, "sum by (job) (http_requests_total)", "--time", ten_minutes], "");
    assert_eq!((ok, text.trim()), (true, r#"{job="web"} => 2400 @[600]"#));
    let (ok, text) = said(
        &["query", "range", "--start=0", "--end=60", "--step=30s", &server, "http_requests_total{instance=\"a:80\"}"],
        "",
    );
    let expected = "http_requests_total{code=\"200\", instance=\"a:80\", job=\"web\"} =>\n0 @[0]\n30 @[30]\n60 @[60]";
    assert_eq!((ok, text.trim()), (true, expected));
    let (ok, text) = said(&["query", "series", "--start=0", "--end=600", "--match=up", &server], "");
    assert_eq!((ok, text.trim()), (true, r#"{__name__="up", instance="a:80", job="web"}"#));
    let (ok, text) = said(&["query", "labels", "--start=0", "--end=600", &server, "job"], "");
    assert_eq!((ok, text.trim()), (true, "web"));
    let (ok, text) = said(&["query", "instant", &server, "up{"], "");
    assert!(!ok && text.contains("unexpected end of input inside braces"), "{text}");
    let page = "# TYPE pushed_total counter\npushed_total{by=\"promtool\"} 7 600000\n";
    let (ok, text) = said(&["push", "metrics", "--label=job=pushed", &format!("{server}/api/v1/write")], page);
    assert!(ok, "{text}");
    let (ok, text) = said(&["query", "instant", &server, "pushed_total", "--time", ten_minutes], "");
    assert!(ok && text.starts_with(r#"pushed_total{by="promtool", job="pushed"} => 7"#), "{text}");
    let (ok, text) = said(&["check", "healthy", &format!("--url={server}")], "");
    assert!(ok, "{text}");
    world.stop().expect("a good end");
}
