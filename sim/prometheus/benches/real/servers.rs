//! The two servers as pinned processes.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sim_net::Network;
use sim_prometheus::server::{Files, Options, Prometheus, run};

/// The core that servers are pinned to.
const CORE: usize = 1;

pub struct Server {
    child: Child,
    pub address: SocketAddr,
    data: Option<PathBuf>,
    /// What ours still has to say.
    said: Option<BufReader<ChildStdout>>,
}

pub fn keep_to_core(process: u32, core: usize) {
    let pinned = Command::new("taskset").args(["-a", "-cp", &core.to_string(), &process.to_string()]).output();
    if !pinned.is_ok_and(|output| output.status.success()) {
        eprintln!("taskset could not pin process {process} to core {core}: times are of unpinned processes");
    }
}

impl Server {
    /// This program again, as a server.
    pub fn ours() -> Self {
        let program = std::env::current_exe().expect("a path");
        let mut child = Command::new("taskset")
            .args(["-c", &CORE.to_string()])
            .arg(program)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("taskset starts");
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        said.read_line(&mut line).expect("an address");
        Self { child, address: line.trim().parse().expect("an address"), data: None, said: Some(said) }
    }

    /// The real one, with a data directory of its own.
    pub fn real(program: &OsStr) -> Self {
        let data = std::env::temp_dir().join(format!("bench-prometheus-{}", std::process::id()));
        std::fs::create_dir_all(&data).expect("a directory");
        let config = data.join("prometheus.yml");
        std::fs::write(&config, "global: {}\n").expect("a file");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let mut child = Command::new("taskset")
            .args(["-c", &CORE.to_string()])
            .arg(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .args(["--web.enable-remote-write-receiver", "--log.level=error"])
            .env("GOMAXPROCS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("Prometheus starts");
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                // It listens a moment before it is ready.
                std::thread::sleep(Duration::from_secs(2));
                return Self { child, address, data: Some(data), said: None };
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("the real Prometheus does not listen on {address}");
    }

    /// Resident bytes, now and at the most.
    pub fn resident(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0)
                * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Processor time of all threads so far: on a shared machine a better measure than time on the wall.
    pub fn processor(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let spent = |thread: std::fs::DirEntry| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            text.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0)
        };
        Duration::from_nanos(threads.into_iter().flatten().filter_map(Result::ok).map(spent).sum())
    }

    /// What the samples take in chunks: of the real one its blocks and full head chunks on disk, of ours what it says of itself. Ours
    /// ends with that.
    pub fn chunk_bytes(&mut self) -> Option<u64> {
        if let Some(data) = &self.data {
            return Some(chunks_below(&data.join("data")));
        }
        drop(self.child.stdin.take());
        let mut line = String::new();
        self.said.as_mut()?.read_line(&mut line).ok()?;
        line.trim().parse().ok()
    }

    pub fn end(mut self) {
        drop(self.child.stdin.take());
        if self.data.is_some() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        if let Some(data) = &self.data {
            let _ = std::fs::remove_dir_all(data);
        }
    }
}

fn chunks_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |entry: std::fs::DirEntry| {
        let path = entry.path();
        if path.is_dir() {
            return chunks_below(&path);
        }
        let parent = path.parent().and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or_default();
        if matches!(parent, "chunks" | "chunks_head") {
            entry.metadata().map_or(0, |metadata| metadata.len())
        } else {
            0
        }
    };
    entries.filter_map(Result::ok).map(size).sum()
}

/// Runs our server until standard input ends; its address is the first line on standard output, what its samples take the last.
pub fn serve() {
    let prometheus = Prometheus::new();
    let asked = prometheus.clone();
    let options = sim_clock::WorldOptions::seeded(1).paced(sim_clock::Speed::REAL);
    let world = sim_loopback::start(options, |life| async move {
        let network = Network::new();
        let host = network.host("prometheus");
        let (_changed, revision) = sim_clock::watch::channel(0);
        let (_shutdown, stopped) = sim_clock::watch::channel(false);
        let files =
            Files { read: Arc::new(|_| Some(b"global: {}".to_vec())), list: Arc::new(|_| Vec::new()), revision };
        let options = Options {
            remote_write_receiver: true,
            retention: Duration::from_secs(100 * 365 * 24 * 3600),
            ..Options::default()
        };
        let target = format!("{}:{}", host.ip(), options.port);
        sim_clock::spawn("prometheus", async move {
            run(host, prometheus, options, files, stopped).await.expect("a good configuration");
        });
        let listen = "127.0.0.1:0".parse().expect("an address");
        let address = sim_loopback::publish(&network, listen, &target).await.expect("a free port");
        life.up(address).until_stopped().await;
    });
    let world = started(world);
    println!("{}", world.told());
    let mut rest = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut rest);
    println!("{}", asked.with_store(|store| store.sample_bytes().1));
    let _ = world.stop();
}

fn started<T, E: std::fmt::Debug>(world: Result<T, E>) -> T {
    world.expect("a world")
}
