//! Our operator as a process of the world: the library that the binary runs, with the world as its surroundings.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use multigres_operator::{
    cluster_config::in_cluster,
    config::{Config, Invocation, USAGE, VERSION},
    host::{self, BoxedIo, BoxedListener, Connector},
};
use sim_kube::Exit;
use sim_net::Listener;
use sim_world::process::Context;

use crate::usage::Meter;

/// The repository of the operator's image in `deploy/operator`.
pub const IMAGE: &str = "multigres/multigres-operator";

/// Where every container finds the API server, unless its environment says otherwise: by its name, over TLS.
const API_SERVER: [(&str, &str); 2] =
    [("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc"), ("KUBERNETES_SERVICE_PORT", "6443")];

/// The exit code of an operator that gives up.
const EXIT_FAILURE: i32 = 1;

/// Runs the operator in a container of the world until it ends.
pub async fn run(context: Context) -> Exit {
    let log = context.log.clone();
    let (request, shutdown) = host::Shutdown::pair();
    let mut stop = context.stop.clone();
    let asked = sim_clock::spawn("operator signal", async move {
        stop.wait().await;
        request.request();
        // The request must outlive whoever waits for it.
        std::future::pending::<()>().await;
    });
    let ended = Box::pin(run_until(context, shutdown)).await;
    asked.abort();
    match ended {
        Ok(()) => Exit { code: 0, message: String::new() },
        Err((code, message)) => {
            log(&message);
            Exit { code, message }
        }
    }
}

async fn run_until(context: Context, shutdown: host::Shutdown) -> Result<(), (i32, String)> {
    // As in a cluster: the operator speaks for its service account, and may what `deploy/operator` grants it.
    let files = WorldFiles(context.files.clone());
    let mut env: BTreeMap<String, String> = API_SERVER.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    env.extend(context.env.iter().cloned());
    let config = in_cluster(&files, &env).map_err(|error| (EXIT_FAILURE, error.to_string()))?;
    let host = surroundings(&context, env, config, shutdown);
    match Config::parse(&host.args, &host.env).map_err(|error| (i32::from(error.exit_code()), error.to_string()))? {
        Invocation::Run(config) => {
            multigres_operator::run(host, *config).await.map_err(|error| (EXIT_FAILURE, error.to_string()))
        }
        Invocation::Version => Err((0, VERSION.to_owned())),
        Invocation::Help => Err((0, USAGE.to_owned())),
    }
}

/// Connections from a host of the world.
pub(crate) fn connector(from: sim_net::Host) -> Connector {
    connector_through(from, Arc::default())
}

fn connector_through(from: sim_net::Host, meter: Arc<Meter>) -> Connector {
    Connector::new(move |uri: http::Uri| -> BoxFuture<'static, io::Result<BoxedIo>> {
        let (out, meter) = (from.clone(), meter.clone());
        Box::pin(async move {
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            let target = format!("{}:{port}", uri.host().unwrap_or_default());
            out.connect(&target).await.map(|stream| Box::new(meter.watch(stream)) as BoxedIo)
        })
    })
}

fn surroundings(
    context: &Context,
    env: BTreeMap<String, String>,
    kube_config: kube::Config,
    shutdown: host::Shutdown,
) -> host::Host {
    let (inbound, meter) = (context.host.clone(), Arc::new(Meter::default()));
    let connector = connector_through(context.host.clone(), meter.clone());
    let accepting = meter.clone();
    // A pod of the world has one address.
    let listen = move |address: SocketAddr| -> BoxFuture<'static, io::Result<BoxedListener>> {
        let listener = inbound.listen(address.port());
        let listener = listener.map(|listener| Box::new(WorldListener(listener, accepting.clone())) as BoxedListener);
        Box::pin(async move { listener })
    };
    let log = context.log.clone();
    host::Host {
        kube_config,
        connector,
        listen: Arc::new(listen),
        env,
        args: context.args.clone(),
        files: Arc::new(WorldFiles(context.files.clone())),
        shutdown,
        log_writer: Arc::new(move |line| log(line)),
        process: Some(meter),
    }
}

struct WorldListener(Listener, Arc<Meter>);

impl host::Listener for WorldListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<BoxedIo>> {
        Box::pin(async { self.0.accept().await.map(|(stream, _)| Box::new(self.1.watch(stream)) as BoxedIo) })
    }

    fn answers_changed(&self) -> Arc<dyn Fn() + Send + Sync> {
        let changer = self.0.changer();
        Arc::new(move || changer.changed())
    }
}

struct WorldFiles(sim_kube::Files);

impl host::Files for WorldFiles {
    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.0
            .read(path)
            .map(|bytes| bytes.to_vec())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{path}: no such file")))
    }
}
