//! The operator's binary: everything that touches the real world, and nothing else.

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use futures::future::BoxFuture;
use http::Uri;
use kube::config::{KubeConfigOptions, Kubeconfig};
use multigres_operator::{
    cluster_config::{ClusterConfigError, in_cluster},
    config::{BUILD_DATE, COMMIT, Config, Invocation, USAGE, VERSION},
    host::{BoxedIo, BoxedListener, Connector, Files, Host, Listener, Process, ProcessUsage, Shutdown, ShutdownHandle},
    observability::panics::panic_hook,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
};

/// A reconcile is made of thousands of small allocations, and finished spans are freed by another thread than the one that made them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[allow(clippy::disallowed_methods, reason = "here the environment comes in")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let config = match Config::parse(&args, &env) {
        Ok(Invocation::Run(config)) => config.with_build(COMMIT, BUILD_DATE),
        Ok(Invocation::Version) => {
            return print(&format!("multigres-operator {VERSION} (commit {COMMIT}, built {BUILD_DATE})\n"));
        }
        Ok(Invocation::Help) => return print(USAGE),
        Err(error) => return fail(&error, error.exit_code()),
    };
    std::panic::set_hook(Box::new(panic_hook(config.telemetry.log_format, Arc::new(write_line))));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}"), 1),
    };
    let code = runtime.block_on(async {
        let kube_config = match kube_config(&config, &env).await {
            Ok(config) => config,
            Err(error) => return fail(&format!("no way to the API server is configured: {error}"), 1),
        };
        let (handle, shutdown) = Shutdown::pair();
        if let Err(error) = request_on_signals(handle) {
            return fail(&format!("cannot wait for signals: {error}"), 1);
        }
        let host = Host {
            kube_config,
            connector: Connector::new(connect),
            listen: Arc::new(listen),
            env,
            args,
            files: Arc::new(PodFiles),
            shutdown,
            log_writer: Arc::new(write_line),
            process: Some(Arc::new(ThisProcess)),
        };
        match multigres_operator::run(host, config).await {
            Ok(()) => ExitCode::SUCCESS,
            // The reason is the last log line.
            Err(_) => ExitCode::FAILURE,
        }
    });
    // A thread may still look a name up; nobody waits for that.
    runtime.shutdown_background();
    code
}

/// As client-go looks for it: the flag, `KUBECONFIG`, the pod's service account, the user's own file.
async fn kube_config(
    config: &Config,
    env: &BTreeMap<String, String>,
) -> Result<kube::Config, Box<dyn std::error::Error>> {
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    let kubeconfig = match &config.kubeconfig {
        Some(path) => Some(Kubeconfig::read_from(path)?),
        None => Kubeconfig::from_env()?,
    };
    if let Some(kubeconfig) = kubeconfig {
        return Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?);
    }
    let missing = match in_cluster(&PodFiles, env) {
        Err(error @ ClusterConfigError::NotInCluster(_)) => error,
        found => return Ok(found?),
    };
    kube::Config::from_kubeconfig(&options).await.map_err(|_| missing.into())
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    write_line(&format!("multigres-operator: {error}"));
    ExitCode::from(code)
}

/// A log that nobody takes is no reason to end.
fn write_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// The first signal asks for the end, the second one does not wait for it.
fn request_on_signals(handle: ShutdownHandle) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for count in 1.. {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if count > 1 {
                std::process::exit(1);
            }
            handle.request();
        }
    });
    Ok(())
}

/// How long the other side of a connection may be silent, though it is asked: a watch of which nothing is heard may be one of a machine
/// that is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);
const KEEP_ALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(15));

fn connect(uri: Uri) -> BoxFuture<'static, io::Result<BoxedIo>> {
    Box::pin(async move {
        let default_port = match uri.scheme_str() {
            None | Some("http") => 80,
            // What is spoken over the connection is not this function's matter.
            Some("https") => 443,
            Some(scheme) => {
                let why = format!("there are no connections by {scheme}");
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
        };
        let host =
            uri.host().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no host in {uri}")))?;
        let stream =
            TcpStream::connect((host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(default_port))).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(&KEEP_ALIVE)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(SILENCE_MAX))?;
        Ok(Box::new(stream) as BoxedIo)
    })
}

struct Tcp(TcpListener);

impl Listener for Tcp {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxedIo>> {
        Box::pin(async {
            let (stream, _) = self.0.accept().await?;
            Ok(Box::new(stream) as BoxedIo)
        })
    }
}

fn listen(address: SocketAddr) -> BoxFuture<'static, io::Result<BoxedListener>> {
    Box::pin(async move {
        // Where the machine has no IPv6, the IPv4 addresses alone.
        let listener = match TcpListener::bind(address).await {
            Ok(listener) => listener,
            Err(error) if error.kind() == io::ErrorKind::AddrInUse || !address.ip().is_unspecified() => {
                return Err(error);
            }
            Err(_) => TcpListener::bind(("0.0.0.0", address.port())).await?,
        };
        Ok(Box::new(Tcp(listener)) as BoxedListener)
    })
}

struct PodFiles;

impl Files for PodFiles {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}

struct ThisProcess;

impl Process for ThisProcess {
    fn usage(&self) -> ProcessUsage {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        // One of them is the listing's own.
        let open = std::fs::read_dir("/proc/self/fd").ok().map(|entries| (entries.count() as u64).saturating_sub(1));
        ProcessUsage::from_proc(&text("/proc/self/stat"), &text("/proc/self/limits"), open)
    }
}
