//! A Collector that speaks TLS, as far as an exporter notices: it takes spans and answers 200.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use multigres_operator::tls::{
    pki,
    server::{Certificate, ServerTls},
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::TcpListener;

const PATIENCE: Duration = Duration::from_secs(30);

/// The running Collector.
pub struct Collector {
    /// Where it takes spans.
    pub endpoint: String,
    /// The file of the authority that vouches for it.
    pub authority: PathBuf,
    /// The file of one that does not.
    pub stranger: PathBuf,
    names: Arc<Mutex<BTreeSet<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    /// Listens on a port of its own.
    pub fn start() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("collector");
        fs::create_dir_all(&folder).unwrap();
        let now = SystemTime::now();
        let authority = |name: &str| {
            let made = pki::authority(name, now, HOUR).unwrap();
            let path = folder.join(format!("{name}.crt"));
            fs::write(&path, &made.certificate).unwrap();
            (made, path)
        };
        let (signer, authority_file) = authority("authority");
        let (_, stranger) = authority("stranger");
        let leaf = pki::leaf(&signer, &["localhost".to_owned()], now, HOUR).unwrap();
        let certificate = Certificate::of("test", leaf.certificate.as_bytes(), leaf.key.as_bytes()).unwrap();
        let tls = ServerTls::new(certificate).unwrap();
        let names = Arc::new(Mutex::new(BTreeSet::new()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let taken = names.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, taken) = (tls.clone(), taken.clone());
                tokio::spawn(async move {
                    let Ok((stream, _)) = tls.accept(Box::new(stream)).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let taken = taken.clone();
                        async move {
                            assert_eq!(request.uri().path(), "/v1/traces");
                            let body = request.into_body().collect().await.unwrap().to_bytes();
                            let sent = ExportTraceServiceRequest::decode(body).unwrap();
                            let scopes = sent.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
                            let spans = scopes.flat_map(|scope| scope.spans).map(|span| span.name);
                            taken.lock().unwrap().extend(spans);
                            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
                        }
                    });
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { endpoint, authority: authority_file, stranger, names, _runtime: runtime }
    }

    /// Waits until a span of this name has come.
    pub fn wait_for(&self, name: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.names.lock().unwrap().contains(name) {
            assert!(Instant::now() < end, "{name} within {PATIENCE:?}: {:?}", self.names.lock().unwrap());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
