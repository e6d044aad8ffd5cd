//! `pods/exec`, `pods/attach` and `pods/portforward` over WebSockets.
//!
//! Source: the remote command protocol `v5.channel.k8s.io` (and v4, which cannot close a channel): each message is a channel's number
//! and data; 0 to 4 are standard input, output and error, the closing status and the terminal's size. Port forwarding has two
//! channels a port, for data and for errors, which begin with the port's number. The older SPDY is not spoken.

use std::pin::pin;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sim_net::http::{Body, full};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::RequestContext;
use crate::{
    ContainerLogs,
    engine::Target,
    json,
    kubelet::{EXEC_PIECES_MAX, ExecIo, Output, Ran, Running},
    server::ApiServer,
    status::Status,
};

/// Longest message of a client, in bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Most ports that one request forwards.
const PORTS_MAX: usize = 64;
/// Bytes that are read of a forwarded port at once.
const PIECE_BYTES: usize = 16 << 10;
/// What a client's key is hashed with (RFC 6455).
const WEBSOCKET_ID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
/// A message of this channel closes the one that it names (v5).
const CLOSE: u8 = 255;
/// What is spoken, the best first.
const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Whether a subresource is one of these.
pub(super) fn is_stream(subresource: &str) -> bool {
    matches!(subresource, "exec" | "attach" | "portforward")
}

/// Opens a stream to a container.
///
/// # Errors
/// 404 for the pod, 400 for its container or a request that is no upgrade, 500 for a container that does not run, 501 for SPDY.
pub(super) fn answer(server: &ApiServer, context: &RequestContext, target: &Target) -> Result<Response<Body>, Status> {
    let main = Target { subresource: String::new(), ..target.clone() };
    let pod = server.engine().get(&main)?;
    let bad = |why: String| Err(Status::bad_request(why));
    let part = target.subresource.as_str();
    let name = if part == "portforward" { first_container(&pod) } else { container(context, &pod)? };
    let phase = json::text(&pod, &["status", "phase"]);
    if matches!(phase, "Succeeded" | "Failed") && part == "exec" {
        return bad(format!("cannot exec into a container in a completed pod; current phase is {phase}"));
    }
    if json::text(&pod, &["spec", "nodeName"]).is_empty() {
        return bad(format!("pod {} does not have a host assigned", target.name));
    }
    let command: Vec<String> = context.params.all("command").to_vec();
    if part == "exec" && command.is_empty() {
        return bad("you must specify at least 1 command for the container".to_owned());
    }
    let upgrade = context.upgrade.clone().filter(|_| !context.header("upgrade").is_empty());
    let Some(upgrade) = upgrade else { return bad("Upgrade request required".to_owned()) };
    if !context.header("upgrade").eq_ignore_ascii_case("websocket") {
        return Err(Status::not_implemented(&format!("streams over {}", context.header("upgrade"))));
    }
    let asked = context.header("sec-websocket-protocol");
    let spoken = PROTOCOLS.iter().find(|known| asked.split(',').any(|protocol| protocol.trim() == **known));
    let Some(spoken) = spoken else {
        return Err(Status::not_implemented(&format!("the WebSocket protocol {asked:?}")));
    };
    let running = server.kubelet().and_then(|kubelet| kubelet.running(json::uid(&pod), &name));
    let Some(running) = running else {
        let mut status =
            Status::new(500, "", format!("unable to upgrade connection: container not found (\"{name}\")"));
        status.reason = "InternalError".into();
        return Err(status);
    };
    let params = &context.params;
    let wants = Wants { stdin: params.on("stdin"), tty: params.on("tty") };
    let ports: Vec<u16> =
        params.all("ports").iter().flat_map(|list| list.split(',')).filter_map(|port| port.parse().ok()).collect();
    let logs = server.logs();
    let part = part.to_owned();
    sim_clock::spawn("kube-apiserver/stream", async move {
        let Ok(connection) = upgrade.await else { return };
        let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX));
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await;
        match (part.as_str(), logs) {
            ("exec", _) => exec(&mut socket, &running, command, wants).await,
            ("attach", Some(logs)) => attach(&mut socket, &running, &logs).await,
            ("portforward", _) => forward(&mut socket, &running, &ports).await,
            _ => {}
        }
        // Whoever is gone already needs no farewell.
        let farewell = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let _ = socket.close(Some(farewell)).await;
    });
    accepted(context, spoken)
}

#[derive(Clone, Copy)]
struct Wants {
    stdin: bool,
    tty: bool,
}

/// 101, with the answer to the client's key.
fn accepted(context: &RequestContext, protocol: &str) -> Result<Response<Body>, Status> {
    let text = format!("{}{WEBSOCKET_ID}", context.header("sec-websocket-key"));
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-accept", BASE64.encode(digest))
        .header("sec-websocket-protocol", protocol)
        .body(full(Bytes::new()).boxed())
        .map_err(|error| Status::bad_request(error.to_string()))
}

fn first_container(pod: &Value) -> String {
    json::text(pod.pointer("/spec/containers/0").unwrap_or(&Value::Null), &["name"]).to_owned()
}

/// The container that a request is about.
fn container(context: &RequestContext, pod: &Value) -> Result<String, Status> {
    let all = ["containers", "initContainers", "ephemeralContainers"].map(|list| json::list(pod, &["spec", list]));
    let names = |list: &[Value]| list.iter().map(|c| json::text(c, &["name"]).to_owned()).collect::<Vec<_>>();
    let pod = json::name(pod);
    match (context.params.get("container"), all[0]) {
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

async fn send(socket: &mut Socket, channel: u8, data: &[u8]) -> Result<(), ()> {
    let mut message = Vec::with_capacity(data.len() + 1);
    message.push(channel);
    message.extend_from_slice(data);
    socket.send(Message::Binary(message.into())).await.map_err(drop)
}

/// A client's next message: its channel and data; `None` once it has gone.
async fn receive(socket: &mut Socket) -> Option<(u8, Bytes)> {
    loop {
        match socket.next().await? {
            Ok(Message::Binary(data)) if !data.is_empty() => return Some((data[0], data.slice(1..))),
            Ok(Message::Text(text)) if !text.is_empty() => {
                let data = Bytes::from(text);
                return Some((data[0], data.slice(1..)));
            }
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

/// The `Status` that ends a stream.
fn ended(command: &[String], ran: &Ran) -> Value {
    let failure = |reason: &str, message: String, causes: Value| json!({"metadata": {}, "status": "Failure", "message": message, "reason": reason, "details": {"causes": causes}});
    match ran {
        Ran::Ended(0) => json!({"metadata": {}, "status": "Success"}),
        Ran::Ended(code) => {
            let message = format!(
                "command terminated with non-zero exit code: error executing command {command:?}, exit code {code}"
            );
            failure("NonZeroExitCode", message, json!([{"reason": "ExitCode", "message": code.to_string()}]))
        }
        Ran::NotFound => {
            let program = command.first().map_or("", String::as_str);
            let why = format!(
                "error executing command in container: failed to exec in container: failed to start exec: OCI runtime exec \
                 failed: exec failed: unable to start container process: exec: {program:?}: executable file not found in $PATH"
            );
            let mut status =
                failure("InternalError", format!("Internal error occurred: {why}"), json!([{"message": why}]));
            status["code"] = 500.into();
            status
        }
    }
}

/// Room for one more piece of input; `None` if nobody reads.
async fn room(typed: Option<mpsc::Sender<Bytes>>) -> Option<mpsc::OwnedPermit<Bytes>> {
    typed?.reserve_owned().await.ok()
}

async fn exec(socket: &mut Socket, running: &Running, command: Vec<String>, wants: Wants) {
    let (output, mut pieces) = mpsc::channel(EXEC_PIECES_MAX);
    let (mut typed, stdin) = if wants.stdin {
        let (typed, stdin) = mpsc::channel(EXEC_PIECES_MAX);
        (Some(typed), Some(stdin))
    } else {
        (None, None)
    };
    let mut process = pin!(running.exec(command.clone(), ExecIo { stdin, output }));
    let mut ran = None;
    let mut held: Option<Bytes> = None;
    // Tells the client that the stream is open.
    if send(socket, STDOUT, b"").await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            biased;
            piece = pieces.recv() => {
                let (channel, data) = match piece {
                    Some(Output::Stderr(data)) if !wants.tty => (STDERR, data),
                    Some(Output::Stdout(data) | Output::Stderr(data)) => (STDOUT, data),
                    None => break,
                };
                if send(socket, channel, &data).await.is_err() {
                    return;
                }
            }
            end = &mut process, if ran.is_none() => ran = Some(end),
            permit = room(typed.clone()), if held.is_some() => match (permit, held.take()) {
                (Some(permit), Some(data)) => drop(permit.send(data)),
                _ => typed = None,
            },
            message = receive(socket), if held.is_none() => match message {
                Some((STDIN, data)) => held = Some(data).filter(|data| typed.is_some() && !data.is_empty()),
                Some((CLOSE, data)) if data.first() == Some(&STDIN) => typed = None,
                Some(_) => {}
                // A client that goes away takes its command along.
                None => return,
            },
        }
    }
    let ran = match ran {
        Some(ran) => ran,
        None => process.await,
    };
    // A client that has gone away needs no status.
    let _ = send(socket, ERROR, ended(&command, &ran).to_string().as_bytes()).await;
}

/// What a container writes from now on, until it ends.
async fn attach(socket: &mut Socket, running: &Running, logs: &ContainerLogs) {
    let container = running.container();
    let read = |from| logs.read_from(&container.namespace, &container.pod, &container.container, false, from);
    let mut wake = logs.watch();
    let seen = read(0).unwrap_or_default();
    let (instance, mut next) = (seen.instance, seen.lines.last().map_or(0, |line| line.number + 1));
    if send(socket, STDOUT, b"").await.is_err() {
        return;
    }
    loop {
        let log = read(next).filter(|log| log.instance == instance);
        let (lines, goes_on) = log.map_or_else(Default::default, |log| (log.lines, log.running));
        for line in lines {
            next = line.number + 1;
            if send(socket, STDOUT, format!("{}\n", line.text).as_bytes()).await.is_err() {
                return;
            }
        }
        if !goes_on {
            break;
        }
        tokio::select! {
            biased;
            changed = wake.changed() => if changed.is_err() { break },
            // What is typed is read by nobody.
            message = receive(socket) => if message.is_none() { return },
        }
    }
    // A client that has gone away needs no status.
    let _ = send(socket, ERROR, ended(&[], &Ran::Ended(0)).to_string().as_bytes()).await;
}

/// Carries bytes between a client and ports of a pod.
async fn forward(socket: &mut Socket, running: &Running, ports: &[u16]) {
    let (from_pod, mut pieces) = mpsc::channel::<(u8, Bytes)>(EXEC_PIECES_MAX);
    let mut writers = Vec::new();
    let mut readers = tokio::task::JoinSet::new();
    for (at, port) in ports.iter().take(PORTS_MAX).enumerate() {
        let data = u8::try_from(at * 2).unwrap_or(u8::MAX);
        for channel in [data, data + 1] {
            if send(socket, channel, &port.to_le_bytes()).await.is_err() {
                return;
            }
        }
        let container = running.container();
        match container.host.connect(&format!("{}:{port}", container.host.ip())).await {
            Ok(stream) => {
                let (mut reader, writer) = tokio::io::split(stream);
                writers.push(Some(writer));
                let from_pod = from_pod.clone();
                readers.spawn(async move {
                    let mut buffer = vec![0; PIECE_BYTES];
                    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                        if from_pod.send((data, Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                            return;
                        }
                    }
                });
            }
            Err(error) => {
                writers.push(None);
                let text = format!(
                    "an error occurred forwarding {port} -> {port}: error forwarding port {port} to pod, uid : {error}"
                );
                if send(socket, data + 1, text.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    }
    drop(from_pod);
    loop {
        tokio::select! {
            biased;
            piece = pieces.recv() => match piece {
                Some((channel, data)) => if send(socket, channel, &data).await.is_err() { return },
                // Nothing more comes of any port.
                None => return,
            },
            message = receive(socket) => {
                let Some((channel, data)) = message else { return };
                let at = usize::from(if channel == CLOSE { data.first().copied().unwrap_or(CLOSE) } else { channel }) / 2;
                let Some(Some(writer)) = writers.get_mut(at) else { continue };
                let done = if channel == CLOSE { writer.shutdown().await } else { writer.write_all(&data).await };
                if done.is_err() {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_ends_with_the_status_that_clients_read_the_exit_code_of() {
        assert_eq!(ended(&[], &Ran::Ended(0)), json!({"metadata": {}, "status": "Success"}));
        let failed = ended(&["false".to_owned()], &Ran::Ended(1));
        assert_eq!(failed["details"]["causes"], json!([{"reason": "ExitCode", "message": "1"}]));
        assert_eq!(failed["reason"], "NonZeroExitCode");
        assert_eq!(ended(&["x".to_owned()], &Ran::NotFound)["code"], 500);
    }
}
