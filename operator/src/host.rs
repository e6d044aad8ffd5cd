//! What the operator needs from its surroundings.
//!
//! The operator never opens a socket, reads a file, looks at the process environment or waits for a signal by itself: all of that
//! comes in through one [`Host`] value. `main` hands in the real thing (TCP, the pod's files, `SIGTERM`); anything else that wants
//! to run the operator hands in its own. Time is the exception: it is read from `tokio::time` (durations, sleeping) and from
//! `std::time::SystemTime` (time stamps), which whoever runs the operator controls from outside.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::signal::Signal;

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A byte stream of any kind.
pub type BoxedIo = Box<dyn Io>;

/// Opens outbound connections: to the API server, to the OTLP endpoint, to etcd.
pub trait Connect: Send + Sync + 'static {
    /// Connects to the host and port of `uri`; without a port, to the one of its scheme (80, 443).
    fn connect(&self, uri: Uri) -> BoxFuture<'static, io::Result<BoxedIo>>;
}

impl<F> Connect for F
where
    F: Fn(Uri) -> BoxFuture<'static, io::Result<BoxedIo>> + Send + Sync + 'static,
{
    fn connect(&self, uri: Uri) -> BoxFuture<'static, io::Result<BoxedIo>> {
        self(uri)
    }
}

/// The way out: a `tower` service from a [`Uri`] to a [`HostIo`], as hyper's legacy client and tonic's `Endpoint` want it.
#[derive(Clone)]
pub struct Connector(Arc<dyn Connect>);

impl Connector {
    /// Wraps something that connects.
    pub fn new(connect: impl Connect) -> Self {
        Self(Arc::new(connect))
    }

    /// Connects to the host and port of `uri`.
    pub async fn connect(&self, uri: Uri) -> io::Result<HostIo> {
        self.0.connect(uri).await.map(HostIo::new)
    }

    /// The same, as a byte stream.
    pub async fn open(&self, uri: Uri) -> io::Result<BoxedIo> {
        self.0.connect(uri).await
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl tower::Service<Uri> for Connector {
    type Response = HostIo;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<HostIo>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connect = self.0.clone();
        Box::pin(async move { connect.connect(uri).await.map(HostIo::new) })
    }
}

/// A connection as hyper's traits want it.
pub struct HostIo {
    io: TokioIo<BoxedIo>,
    http2: bool,
}

impl HostIo {
    /// Wraps a byte stream.
    pub fn new(io: BoxedIo) -> Self {
        Self::negotiated(io, false)
    }

    /// Wraps a byte stream whose ends have agreed on HTTP/2, or have not.
    pub fn negotiated(io: BoxedIo, http2: bool) -> Self {
        Self { io: TokioIo::new(io), http2 }
    }
}

impl Connection for HostIo {
    fn connected(&self) -> Connected {
        if self.http2 { Connected::new().negotiated_h2() } else { Connected::new() }
    }
}

impl hyper::rt::Read for HostIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for HostIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Opens listeners for the metrics and the health server.
pub trait Listen: Send + Sync + 'static {
    /// Listens on a port of one address of the host, or of every one where that is the unspecified address.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<BoxedListener>>;
}

impl<F> Listen for F
where
    F: Fn(SocketAddr) -> BoxFuture<'static, io::Result<BoxedListener>> + Send + Sync + 'static,
{
    fn listen(&self, address: SocketAddr) -> BoxFuture<'static, io::Result<BoxedListener>> {
        self(address)
    }
}

/// A listener.
pub trait Listener: Send + 'static {
    /// Waits for the next connection. Cancel safe: a connection is not lost when the future is dropped before its end.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxedIo>>;

    /// A hook that is called whenever what this listener answers to a probe may have changed. Real listeners have nobody to tell;
    /// a host that summarises steady probes re-evaluates them.
    fn answers_changed(&self) -> Arc<dyn Fn() + Send + Sync> {
        Arc::new(|| {})
    }
}

/// A listener of any kind.
pub type BoxedListener = Box<dyn Listener>;

/// Reads files that the surroundings project into the pod (certificates, tokens). They may change while the operator runs.
pub trait Files: Send + Sync + 'static {
    /// The present bytes of the file at `path`.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;
}

/// No files at all: every read says `NotFound`.
#[derive(Copy, Clone, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::NotFound, format!("{path}: no such file")))
    }
}

/// Tells what the operator's process uses. Asked at every scrape.
pub trait Process: Send + Sync + 'static {
    /// The present figures.
    fn usage(&self) -> ProcessUsage;
}

/// What a process uses; figures that the surroundings do not know are absent.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct ProcessUsage {
    /// Processor time since the start, user's and system's, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory in bytes.
    pub resident_memory_bytes: Option<u64>,
    /// Virtual memory in bytes.
    pub virtual_memory_bytes: Option<u64>,
    /// How much virtual memory it may have, in bytes; [`u64::MAX`] where there is no limit.
    pub virtual_memory_max_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_fds: Option<u64>,
    /// How many it may open; [`u64::MAX`] where there is no limit.
    pub max_fds: Option<u64>,
}

impl ProcessUsage {
    /// Reads the texts of `/proc/self/stat`, `/proc/self/limits`, and the number of entries of `/proc/self/fd`. What cannot be
    /// understood is absent.
    pub fn from_proc(stat: &str, limits: &str, open_fds: Option<u64>) -> Self {
        /// Clock ticks a second: what Linux shows to programs on every architecture.
        const TICKS_PER_SECOND: f64 = 100.0;
        /// Bytes a page, on x86-64 and on arm64 as it is commonly built.
        const PAGE_BYTES: u64 = 4096;
        // The second field is the program's name in parentheses, which may hold anything. The third one follows it.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());
        let limit = |name: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
            let soft = line.split_whitespace().next()?;
            if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
        };
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| (user + system) as f64 / TICKS_PER_SECOND),
            virtual_memory_bytes: field(23),
            resident_memory_bytes: field(24).map(|pages| pages * PAGE_BYTES),
            virtual_memory_max_bytes: limit("Max address space"),
            open_fds,
            max_fds: limit("Max open files"),
        }
    }
}

/// Takes one finished log line (without its line end).
pub type LogWriter = Arc<dyn Fn(&str) + Send + Sync>;

/// The request to end gracefully: it can be waited for by any number of tasks and is never taken back.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (handle, shutdown) = multigres_operator::host::Shutdown::pair();
/// assert!(!shutdown.requested());
/// handle.request();
/// shutdown.wait().await;
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct Shutdown(Signal);

/// The other end of a [`Shutdown`]. Dropping it without a request asks for nothing.
#[derive(Clone, Debug)]
pub struct ShutdownHandle(Signal);

impl Shutdown {
    /// A shutdown and the handle that requests it.
    pub fn pair() -> (ShutdownHandle, Shutdown) {
        let signal = Signal::default();
        (ShutdownHandle(signal.clone()), Shutdown(signal))
    }

    /// Whether the end was requested.
    pub fn requested(&self) -> bool {
        self.0.given()
    }

    /// Waits until the end is requested; forever when it never is.
    pub async fn wait(&self) {
        self.0.wait().await;
    }
}

impl ShutdownHandle {
    /// Requests the graceful end.
    pub fn request(&self) {
        self.0.give();
    }
}

/// The present time for time stamps.
#[allow(clippy::disallowed_methods, reason = "whoever runs the operator controls the system's clock from outside")]
pub(crate) fn system_time() -> SystemTime {
    SystemTime::now()
}

/// What the operator needs from its surroundings.
///
/// ```
/// # use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};
/// # use futures::future::BoxFuture;
/// use multigres_operator::host::{BoxedIo, BoxedListener, Connector, Host, NoFiles, Shutdown};
///
/// let (_handle, shutdown) = Shutdown::pair();
/// let host = Host {
///     kube_config: kube::Config::new("http://kubernetes.default.svc:443".parse()?),
///     connector: Connector::new(|uri: http::Uri| -> BoxFuture<'static, io::Result<BoxedIo>> {
///         Box::pin(async move { Err(io::Error::other(format!("no way to {uri}"))) })
///     }),
///     listen: Arc::new(|address: SocketAddr| -> BoxFuture<'static, io::Result<BoxedListener>> {
///         Box::pin(async move { Err(io::Error::other(format!("{address} is taken"))) })
///     }),
///     env: BTreeMap::from([("POD_NAMESPACE".into(), "multigres-operator".into())]),
///     args: vec!["--metrics-secure=false".into()],
///     files: Arc::new(NoFiles),
///     shutdown,
///     log_writer: Arc::new(|line: &str| println!("{line}")),
///     process: None,
/// };
/// # let _ = host;
/// # Ok::<(), http::uri::InvalidUri>(())
/// ```
#[derive(Clone)]
pub struct Host {
    /// How to reach and authenticate to the API server.
    pub kube_config: kube::Config,
    /// Every outbound connection.
    pub connector: Connector,
    /// Every listener.
    pub listen: Arc<dyn Listen>,
    /// The environment of the operator's container.
    pub env: BTreeMap<String, String>,
    /// The arguments of the operator's container, without the program's name.
    pub args: Vec<String>,
    /// Files of the operator's container.
    pub files: Arc<dyn Files>,
    /// The request to end.
    pub shutdown: Shutdown,
    /// Where log lines go.
    pub log_writer: LogWriter,
    /// What the process uses, if the surroundings can tell.
    pub process: Option<Arc<dyn Process>>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("cluster_url", &self.kube_config.cluster_url)
            .field("args", &self.args)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_tells_of_a_process_is_read_and_nonsense_is_absent() {
        let stat = "4711 (a (strange) name) S 1 4711 4711 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 9 0 100 10485760 2048 18446744073709551615 1";
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n\
                      Max address space         unlimited            unlimited            bytes     \n";
        let usage = ProcessUsage::from_proc(stat, limits, Some(17));
        let expected = ProcessUsage {
            cpu_seconds: Some(1.75),
            resident_memory_bytes: Some(2048 * 4096),
            virtual_memory_bytes: Some(10_485_760),
            virtual_memory_max_bytes: Some(u64::MAX),
            open_fds: Some(17),
            max_fds: Some(1024),
        };
        assert_eq!(usage, expected);
        assert_eq!(ProcessUsage::from_proc("", "Max open files", None), ProcessUsage::default());
    }
}
