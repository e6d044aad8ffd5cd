//! Streams over WebSockets: messages whose first byte is a channel, or SPDY in messages without channels.

use std::pin::pin;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use sim_net::http::{Body, full};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message, Utf8Bytes,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode},
    },
};

use super::{
    super::RequestContext,
    PIECE_BYTES, PORTS_MAX,
    process::{Process, ended},
};
use crate::{
    kubelet::{EXEC_PIECES_MAX, Output, Running},
    status::Status,
};

/// Longest message of a client, in bytes.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What a client's key is hashed with (RFC 6455).
const WEBSOCKET_ID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
/// A message of this channel closes the one that it names (v5).
const CLOSE: u8 = 255;

pub(super) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// The server's side of a connection that has been upgraded.
pub(super) async fn open(connection: hyper::upgrade::Upgraded) -> Socket {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX));
    WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await
}

/// Says farewell.
pub(super) async fn close(mut socket: Socket) {
    let farewell = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
    // Whoever is gone already needs none.
    let _ = socket.close(Some(farewell)).await;
}

/// 101, with the answer to the client's key.
pub(super) fn accepted(context: &RequestContext, protocol: &str) -> Result<Response<Body>, Status> {
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

async fn send(socket: &mut Socket, channel: u8, data: &[u8]) -> Result<(), ()> {
    let mut message = Vec::with_capacity(data.len() + 1);
    message.push(channel);
    message.extend_from_slice(data);
    socket.send(Message::Binary(message.into())).await.map_err(drop)
}

/// Tells why there is no stream.
pub(super) async fn refuse(socket: &mut Socket, status: &serde_json::Value) {
    // Whoever is gone already need not know.
    let _ = send(socket, ERROR, status.to_string().as_bytes()).await;
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

/// Room for one more piece of input; `None` if nobody reads.
async fn room(typed: Option<mpsc::Sender<Bytes>>) -> Option<mpsc::OwnedPermit<Bytes>> {
    typed?.reserve_owned().await.ok()
}

/// Carries what a process reads and writes, then how it ended.
pub(super) async fn carry(socket: &mut Socket, process: Process, mut typed: Option<mpsc::Sender<Bytes>>, tty: bool) {
    let Process { run, mut pieces, command } = process;
    let mut process = pin!(run);
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
                    Some(Output::Stderr(data)) if !tty => (STDERR, data),
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

/// Carries bytes between a client and ports of a pod.
pub(super) async fn forward(socket: &mut Socket, running: &Running, ports: &[u16]) {
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

/// Carries the bytes of another protocol: each message holds some.
pub(super) async fn tunnel(mut socket: Socket, inside: DuplexStream) {
    let (mut reader, mut writer) = tokio::io::split(inside);
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        tokio::select! {
            biased;
            count = reader.read(&mut buffer) => {
                let Ok(count @ 1..) = count else { break };
                if socket.send(Message::Binary(Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                    return;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Binary(data))) => if writer.write_all(&data).await.is_err() { break },
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
    close(socket).await;
}
