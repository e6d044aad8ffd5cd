//! The operator's binary, running, and what it has used so far.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(900);
/// How long nothing is written before it is believed that nothing will be.
const QUIET: Duration = Duration::from_secs(3);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Linux counts processor time for user space in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;
/// The core of the operator, and that of everything else.
const CORES: [&str; 2] = ["0", "1"];

/// What becomes of traces.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Tracing {
    /// There are none.
    Off,
    /// All are taken by a Collector.
    Live,
    /// All are sent to where no Collector is.
    Dead,
}

impl Tracing {
    /// All modes, the one that others are compared with first.
    pub const ALL: [Self; 3] = [Self::Off, Self::Live, Self::Dead];

    /// For the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Live => "on, 100 %",
            Self::Dead => "on, dead Collector",
        }
    }
}

/// An endpoint at which nobody listens.
pub fn nowhere() -> String {
    format!("http://{}", free())
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a bound socket has an address")
}

/// Leaves the first core to the operator. Says whether that can be done here.
pub fn pin_this_process() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < CORES.len() {
        return false;
    }
    let mut command = Command::new("taskset");
    command.args(["--all-tasks", "--cpu-list", "--pid", CORES[1], &std::process::id().to_string()]);
    command.stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What a process has used, and done, since its start.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Processor time in user space and kernel, in seconds.
    pub cpu_s: f64,
    /// Resident memory now, in KiB.
    pub resident_kib: f64,
    /// The most of it so far.
    pub peak_kib: f64,
    /// Reconciles.
    pub reconciles: f64,
    /// Requests to the API server.
    pub requests: f64,
    /// Spans that were sent, or dropped.
    pub spans: f64,
}

impl Reading {
    /// What came since an earlier reading; memory as it is.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            cpu_s: self.cpu_s - before.cpu_s,
            reconciles: self.reconciles - before.reconciles,
            requests: self.requests - before.requests,
            spans: self.spans - before.spans,
            ..*self
        }
    }
}

/// The binary, running; killed when dropped.
pub struct Operator {
    child: Option<Child>,
    log: PathBuf,
    metrics: SocketAddr,
    health: SocketAddr,
}

impl Operator {
    /// Starts it as the service account that `deploy/operator` makes.
    pub fn start(binary: &Path, kubeconfig: &str, endpoint: Option<&str>, args: &[&str], pinned: bool) -> Self {
        let folder = std::env::temp_dir().join(format!("multigres-overhead-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder for temporary files can be written to");
        let (config, log) = (folder.join("kubeconfig"), folder.join("log"));
        fs::write(&config, kubeconfig).expect("the folder for temporary files can be written to");
        let (metrics, health) = (free(), free());
        let mut command = if pinned { Command::new("taskset") } else { Command::new(binary) };
        if pinned {
            // It replaces itself by the operator: the process stays the same.
            command.args(["--cpu-list", CORES[0]]).arg(binary);
        }
        command
            .env("POD_NAMESPACE", crate::world::NAMESPACE)
            .env("POD_SERVICE_ACCOUNT", crate::world::ACCOUNT)
            .envs(endpoint.map(|endpoint| ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)))
            .envs(endpoint.map(|_| ("OTEL_TRACES_SAMPLER", "always_on")))
            .arg(format!("--kubeconfig={}", config.display()))
            .arg(format!("--metrics-bind-address=:{}", metrics.port()))
            .arg(format!("--health-probe-bind-address=:{}", health.port()))
            .args(["--metrics-secure=false", "--webhook-enable=false"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("the folder for temporary files can be written to"));
        let child = command.spawn().expect("the operator's binary can be started");
        Self { child: Some(child), log, metrics, health }
    }

    fn id(&self) -> u32 {
        self.child.as_ref().expect("it is taken only at its end").id()
    }

    /// Waits until it says that it is ready.
    pub fn wait_ready(&self) {
        self.until("its readiness", || get(self.health, "/readyz").starts_with("HTTP/1.1 200"));
    }

    /// Waits until it has sent no request that is not a read for a while.
    pub fn wait_until_writes_nothing(&self) {
        let (mut seen, mut since) = (f64::NAN, Instant::now());
        self.until("an end of its writes", || {
            let page = get(self.metrics, "/metrics");
            let writes = sum(&page, "rest_client_requests_total", |labels| !labels.contains("method=\"GET\""));
            if writes != seen {
                (seen, since) = (writes, Instant::now());
            }
            since.elapsed() >= QUIET
        });
    }

    /// What it has used and done.
    pub fn read(&self) -> Reading {
        let page = get(self.metrics, "/metrics");
        let file = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", self.id())).expect("it runs");
        let status = file("status");
        let kib = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux tells");
            line.trim_start_matches(':').trim().trim_end_matches(" kB").trim().parse().expect("a number")
        };
        let stat = file("stat");
        // What follows the name, which stands in parentheses: state, then numbers; user and kernel time are the 14th and 15th of all.
        let after = stat.rsplit_once(')').expect("a name in parentheses").1;
        let field = |n: usize| after.split_whitespace().nth(n - 3).and_then(|text| text.parse::<f64>().ok());
        let ticks = field(14).zip(field(15)).map(|(user, kernel)| user + kernel).expect("Linux tells");
        Reading {
            cpu_s: ticks / TICKS_PER_SECOND,
            resident_kib: kib("VmRSS"),
            peak_kib: kib("VmHWM"),
            reconciles: sum(&page, "controller_runtime_reconcile_total", |_| true),
            requests: sum(&page, "rest_client_requests_total", |_| true),
            spans: sum(&page, "multigres_operator_trace_spans_total", |_| true),
        }
    }

    /// Asks it to end and waits for it.
    pub fn terminate(mut self) {
        let mut child = self.child.take().expect("it is taken only here");
        let sent = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "a process of one's own can be asked to end");
        let status = child.wait().expect("a process of one's own can be waited for");
        assert!(status.success(), "the operator ended with {status}: {}", self.last_lines());
    }

    /// What it said last.
    pub fn last_lines(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < end, "{what} within {PATIENCE:?}\n{}", self.last_lines());
            sleep(LOOK);
        }
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The sum of the samples of a family whose labels are liked.
fn sum(page: &str, family: &str, likes: impl Fn(&str) -> bool) -> f64 {
    let samples = page.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix('{')?.rsplit_once("} "));
    samples.filter(|(labels, _)| likes(labels)).filter_map(|(_, value)| value.trim().parse::<f64>().ok()).sum()
}

/// GETs a path by plain HTTP; nothing where nobody listens.
fn get(address: SocketAddr, path: &str) -> String {
    let Ok(mut stream) = TcpStream::connect(address) else { return String::new() };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    // What came until the end counts, whoever hung up.
    let _ = write!(stream, "GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}
