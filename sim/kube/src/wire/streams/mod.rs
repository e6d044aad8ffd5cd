//! `pods/exec`, `pods/attach` and `pods/portforward`, over WebSockets and over SPDY.
//!
//! Source: the remote command protocol `v5.channel.k8s.io` (and v4, which cannot close a channel): each WebSocket message is a
//! channel's number and data; 0 to 4 are standard input, output and error, the closing status and the terminal's size. Port
//! forwarding has two channels a port, for data and for errors, which begin with the port's number. Over SPDY each of these is a
//! stream that says what it is in its headers. kubectl forwards ports by SPDY inside of WebSocket messages.

mod multiplexed;
mod process;
mod websocket;

use bytes::Bytes;
use http::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sim_net::http::{Body, empty};
use tokio::sync::mpsc;

use super::{RequestContext, respond};
use crate::{
    ContainerLogs, access,
    admission::{Admission, Part},
    engine::{Operation, Target},
    faults::RequestInfo,
    json,
    kubelet::{EXEC_PIECES_MAX, Running},
    server::ApiServer,
    status::Status,
};
use process::Process;

/// Most ports that one request forwards, and connections of one that wait for their second stream.
const PORTS_MAX: usize = 64;
/// Bytes that are read of a connection at once.
const PIECE_BYTES: usize = 16 << 10;
/// Channels in WebSocket messages, the best first.
const CHANNELS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// Commands over SPDY.
const REMOTE_COMMAND: &[&str] = &["v4.channel.k8s.io"];
const PORT_FORWARD: &str = "portforward.k8s.io";
/// Port forwarding by SPDY in WebSocket messages.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const SPDY: &str = "SPDY/3.1";
/// Names what is spoken over SPDY.
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// Whether a subresource is one of these.
pub(super) fn is_stream(subresource: &str) -> bool {
    matches!(subresource, "exec" | "attach" | "portforward")
}

/// Opens a stream to a container.
///
/// # Errors
/// 404 for the pod, 400 for its container or a request that is no upgrade, 500 for a container that does not run,
/// 403 for protocols that nobody here speaks.
pub(super) async fn answer(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
) -> Result<Response<Body>, Status> {
    if context.info.verb != "create" {
        // WebSockets are opened with GET: who may only read must not run anything by it (since 1.35).
        let asked = RequestInfo { verb: "create", ..context.info.clone() };
        access::authorize(server, &context.user, &access::attributes(&asked))?;
    }
    let main = Target { subresource: String::new(), ..target.clone() };
    let pod = server.engine().get(&main)?;
    let bad = |why: String| Err(Status::bad_request(why));
    let part = target.subresource.as_str();
    let options = connect(server, context, target).await?;
    let asked = json::text(&options, &["container"]);
    let name = if part == "portforward" { first_container(&pod) } else { container(asked, &pod)? };
    let phase = json::text(&pod, &["status", "phase"]);
    if matches!(phase, "Succeeded" | "Failed") && part == "exec" {
        return bad(format!("cannot exec into a container in a completed pod; current phase is {phase}"));
    }
    if json::text(&pod, &["spec", "nodeName"]).is_empty() {
        return bad(format!("pod {} does not have a host assigned", target.name));
    }
    let command = json::list(&options, &["command"]);
    let command: Vec<String> = command.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect();
    if part == "exec" && command.is_empty() {
        return bad("you must specify at least 1 command for the container".to_owned());
    }
    let upgrade = context.upgrade.clone().filter(|_| !context.header("upgrade").is_empty());
    let Some(upgrade) = upgrade else { return bad("Upgrade request required".to_owned()) };
    let spoken = Spoken::negotiate(context, part)?;
    let running = server.kubelet().and_then(|kubelet| kubelet.running(json::uid(&pod), &name));
    let Some(running) = running else {
        // The kubelet words it for an attach otherwise than for all else.
        let why = match part {
            "attach" => format!("container {name} not found in pod {}_{}", target.name, target.namespace),
            _ => format!("container not found ({name:?})"),
        };
        return not_running(context, upgrade, spoken, why);
    };
    let on = |flag: &str| options[flag] == true;
    let wants = Wants { stdin: on("stdin"), stdout: on("stdout"), stderr: on("stderr"), tty: on("tty") };
    let ports = json::list(&options, &["ports"]).iter().filter_map(|port| u16::try_from(port.as_i64()?).ok());
    let looked_at = server.logs().filter(|_| part == "attach");
    let asked = match part {
        "portforward" => Asked::Ports(ports.collect()),
        _ => Asked::Process { command, looked_at, wants },
    };
    sim_clock::spawn("kube-apiserver/stream", async move {
        // A client that has gone meanwhile asks for nothing.
        if let Ok(connection) = upgrade.await {
            carry_out(connection, spoken, running, asked).await;
        }
    });
    spoken.accept(context)
}

/// The answer about a container that does not run. The kubelet refuses the upgrade, which a client over SPDY hears; a WebSocket
/// ends at the API server, which has accepted it by then and tells on its error channel.
fn not_running(
    context: &RequestContext,
    upgrade: hyper::upgrade::OnUpgrade,
    spoken: Spoken,
    why: String,
) -> Result<Response<Body>, Status> {
    if !matches!(spoken, Spoken::Channels(_)) {
        return Ok(respond::plain(StatusCode::INTERNAL_SERVER_ERROR, why));
    }
    let why = format!("unable to upgrade connection: {why}");
    let status = json!({"metadata": {}, "status": "Failure", "message": format!("Internal error occurred: {why}"),
        "reason": "InternalError", "details": {"causes": [{"message": why}]}, "code": 500});
    sim_clock::spawn("kube-apiserver/stream", async move {
        if let Ok(connection) = upgrade.await {
            let mut socket = websocket::open(connection).await;
            websocket::refuse(&mut socket, &status).await;
            websocket::close(socket).await;
        }
    });
    spoken.accept(context)
}

/// What a stream is for.
enum Asked {
    /// Connections to these ports; over SPDY the streams name them.
    Ports(Vec<u16>),
    /// A command, or what the container itself writes.
    Process { command: Vec<String>, looked_at: Option<ContainerLogs>, wants: Wants },
}

async fn carry_out(connection: hyper::upgrade::Upgraded, spoken: Spoken, running: Running, asked: Asked) {
    match (spoken, asked) {
        (Spoken::Channels(_), Asked::Ports(ports)) => {
            let mut socket = websocket::open(connection).await;
            websocket::forward(&mut socket, &running, &ports).await;
            websocket::close(socket).await;
        }
        (Spoken::Channels(_), Asked::Process { command, looked_at, wants }) => {
            let mut socket = websocket::open(connection).await;
            let (typed, stdin) = mpsc::channel(EXEC_PIECES_MAX);
            let process = process(&running, command, looked_at, wants.stdin.then_some(stdin));
            websocket::carry(&mut socket, process, wants.stdin.then_some(typed), wants.tty).await;
            websocket::close(socket).await;
        }
        (Spoken::Tunnel, _) => {
            let (inside, outside) = tokio::io::duplex(PIECE_BYTES);
            let socket = websocket::open(connection).await;
            let served = multiplexed::serve(inside, |opened| multiplexed::ports(opened, running));
            tokio::select! {
                biased;
                () = websocket::tunnel(socket, outside) => {}
                () = served => {}
            }
        }
        (Spoken::Spdy(_), Asked::Ports(_)) => {
            multiplexed::serve(TokioIo::new(connection), |opened| multiplexed::ports(opened, running)).await;
        }
        (Spoken::Spdy(_), Asked::Process { command, looked_at, wants }) => {
            let start = |stdin| process(&running, command, looked_at, stdin);
            let work = |opened| multiplexed::command(opened, wants, start);
            multiplexed::serve(TokioIo::new(connection), work).await;
        }
    }
}

fn process(
    running: &Running,
    command: Vec<String>,
    looked_at: Option<ContainerLogs>,
    stdin: Option<mpsc::Receiver<Bytes>>,
) -> Process {
    match looked_at {
        Some(logs) => process::attach(running, logs),
        None => process::exec(running, command, stdin),
    }
}

/// What both sides speak once the connection is theirs.
#[derive(Clone, Copy)]
enum Spoken {
    /// WebSocket messages with channels.
    Channels(&'static str),
    /// SPDY in WebSocket messages.
    Tunnel,
    /// SPDY.
    Spdy(&'static str),
}

impl Spoken {
    /// The best that the client offers.
    ///
    /// # Errors
    /// 403 if there is nothing that both speak.
    fn negotiate(context: &RequestContext, part: &str) -> Result<Self, Status> {
        let named = |header: &str| -> Vec<String> {
            let values = context.headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
            values.flat_map(|value| value.split(',')).map(|protocol| protocol.trim().to_owned()).collect()
        };
        let best = |offered: &[String], known: &[&'static str]| {
            known.iter().find(|known| offered.iter().any(|protocol| protocol == *known)).copied()
        };
        let forwards = part == "portforward";
        let upgrade = context.header("upgrade");
        let (offered, known, spoken) = if upgrade.eq_ignore_ascii_case("websocket") {
            let offered = named("sec-websocket-protocol");
            if forwards && best(&offered, &[TUNNEL]).is_some() {
                return Ok(Self::Tunnel);
            }
            let spoken = best(&offered, CHANNELS).map(Self::Channels);
            (offered, CHANNELS, spoken)
        } else if upgrade.eq_ignore_ascii_case(SPDY) {
            let offered = named(STREAM_PROTOCOL);
            let known = if forwards { &[PORT_FORWARD] } else { REMOTE_COMMAND };
            let spoken = best(&offered, known).map(Self::Spdy);
            (offered, known, spoken)
        } else {
            return Err(Status::bad_request(format!(
                "unable to upgrade: unexpected value of the header Upgrade: {upgrade}"
            )));
        };
        spoken.ok_or_else(|| {
            let why = format!(
                "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
                offered.join(" "),
                known.join(" ")
            );
            Status::new(403, "Forbidden", why)
        })
    }

    /// 101.
    fn accept(self, context: &RequestContext) -> Result<Response<Body>, Status> {
        let protocol = match self {
            Self::Channels(protocol) => protocol,
            Self::Tunnel => TUNNEL,
            Self::Spdy(protocol) => {
                return Response::builder()
                    .status(StatusCode::SWITCHING_PROTOCOLS)
                    .header("upgrade", SPDY)
                    .header("connection", "Upgrade")
                    .header(STREAM_PROTOCOL, protocol)
                    .body(empty())
                    .map_err(|error| Status::bad_request(error.to_string()));
            }
        };
        websocket::accepted(context, protocol)
    }
}

/// What is asked for, as webhooks see it and leave it.
async fn connect(server: &ApiServer, context: &RequestContext, target: &Target) -> Result<Value, Status> {
    let params = &context.params;
    let (kind, mut options) = match target.subresource.as_str() {
        "portforward" => {
            let ports = params.all("ports").iter().flat_map(|list| list.split(','));
            let ports: Vec<u16> = ports.filter_map(|port| port.parse().ok()).collect();
            ("PodPortForwardOptions", json!({"ports": ports}))
        }
        "attach" => ("PodAttachOptions", json!({})),
        _ => ("PodExecOptions", json!({"command": params.all("command")})),
    };
    let part = Part::core(kind);
    part.mark(&mut options);
    if target.subresource != "portforward" {
        for flag in ["stdin", "stdout", "stderr", "tty"].into_iter().filter(|flag| params.on(flag)) {
            options[flag] = true.into();
        }
        if params.has("container") {
            options["container"] = params.get("container").into();
        }
    }
    let admission = Admission::new(server, &context.user);
    let (options, _) = admission.admit(target, part, Operation::Connect, (options, None), false).await?;
    Ok(options)
}

/// Which of a process's files a client wants.
#[derive(Clone, Copy)]
struct Wants {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

fn first_container(pod: &Value) -> String {
    json::text(pod.pointer("/spec/containers/0").unwrap_or(&Value::Null), &["name"]).to_owned()
}

/// The container that a request is about.
fn container(asked: &str, pod: &Value) -> Result<String, Status> {
    let all = ["containers", "initContainers", "ephemeralContainers"].map(|list| json::list(pod, &["spec", list]));
    let names = |list: &[Value]| list.iter().map(|c| json::text(c, &["name"]).to_owned()).collect::<Vec<_>>();
    let pod = json::name(pod);
    match (asked, all[0]) {
        ("", [_]) => Ok(names(all[0]).concat()),
        ("", several) => {
            let mut why = format!(
                "a container name must be specified for pod {pod}, choose one of: [{}]",
                names(several).join(" ")
            );
            if !all[1].is_empty() {
                why.push_str(&format!(" or one of the init containers: [{}]", names(all[1]).join(" ")));
            }
            Err(Status::bad_request(why))
        }
        (name, _) if all.iter().any(|list| names(list).iter().any(|known| known == name)) => Ok(name.to_owned()),
        (name, _) => Err(Status::bad_request(format!("container {name} is not valid for pod {pod}"))),
    }
}
