//! Streams over SPDY: one for each of a command's files, two for each connection to a port.

use std::{collections::BTreeMap, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

use super::{
    super::spdy::{self, Stream},
    PIECE_BYTES, PORTS_MAX, Wants,
    process::{Process, ended},
};
use crate::kubelet::{Output, Running};

/// How long a client may take to open the streams of a command.
const OPENING: Duration = Duration::from_secs(30);

/// Runs a command once the client has opened what it asked for; `start` starts it with what is typed.
pub(super) async fn command(
    mut opened: mpsc::Receiver<Stream>,
    wants: Wants,
    start: impl FnOnce(Option<mpsc::Receiver<bytes::Bytes>>) -> Process,
) {
    let mut wanted = vec!["error"];
    let asked = [("stdin", wants.stdin), ("stdout", wants.stdout), ("stderr", wants.stderr), ("resize", wants.tty)];
    // A terminal has one output.
    let asked = asked.iter().filter(|(name, asked)| *asked && !(*name == "stderr" && wants.tty));
    wanted.extend(asked.map(|(name, _)| *name));
    let mut streams = BTreeMap::new();
    let all = async {
        while streams.len() < wanted.len() {
            let Some(stream) = opened.recv().await else { return false };
            let name = stream.header("streamtype").to_owned();
            streams.insert(name, stream);
        }
        wanted.iter().all(|name| streams.contains_key(*name))
    };
    if !tokio::time::timeout(OPENING, all).await.unwrap_or(false) {
        return;
    }
    let mut split = |name: &str| streams.remove(name).map(Stream::split);
    let (stdin, outputs) = (split("stdin"), ["stdout", "stderr"].map(|name| split(name).map(|(_, output)| output)));
    let Some((_, error)) = split("error") else { return };
    let [stdout, stderr] = outputs;
    let (typed, stdin) = stdin.unzip();
    let Process { run, mut pieces, command } = start(typed);
    let deliver = async {
        while let Some(piece) = pieces.recv().await {
            let (to, data) = match piece {
                Output::Stderr(data) if !wants.tty => (&stderr, data),
                Output::Stdout(data) | Output::Stderr(data) => (&stdout, data),
            };
            if let Some(to) = to
                && !to.send(&data).await
            {
                return;
            }
        }
    };
    let (ran, ()) = futures::future::join(run, deliver).await;
    error.send(ended(&command, &ran).to_string().as_bytes()).await;
    for stream in [stdout, stderr, stdin, Some(error)].iter().flatten() {
        stream.finish().await;
    }
}

/// Connects to ports of a pod, as often as the client wants to.
pub(super) async fn ports(mut opened: mpsc::Receiver<Stream>, running: Running) {
    // A connection has two streams, which come one after the other.
    let mut halves: BTreeMap<String, Stream> = BTreeMap::new();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            biased;
            stream = opened.recv() => {
                let Some(stream) = stream else { return };
                let connection = format!("{}/{}", stream.header("requestid"), stream.header("port"));
                let Some(other) = halves.remove(&connection) else {
                    if halves.len() >= PORTS_MAX {
                        return;
                    }
                    halves.insert(connection, stream);
                    continue;
                };
                let (data, error) = if stream.header("streamtype") == "data" { (stream, other) } else { (other, stream) };
                connections.spawn(connect(running.clone(), data, error));
            }
            // How it ended its own client was told.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(running: Running, data: Stream, error: Stream) {
    let container = running.container();
    let port = data.header("port").to_owned();
    let ((mut input, output), (_, error)) = (data.split(), error.split());
    match container.host.connect(&format!("{}:{port}", container.host.ip())).await {
        Ok(stream) => {
            let (mut reader, mut writer) = tokio::io::split(stream);
            let there = async {
                while let Some(piece) = input.recv().await {
                    if writer.write_all(&piece).await.is_err() {
                        break;
                    }
                }
                // One that has gone sees it anyway.
                let _ = writer.shutdown().await;
                std::future::pending::<()>().await;
            };
            let back = async {
                let mut buffer = vec![0; PIECE_BYTES];
                while let Ok(count @ 1..) = reader.read(&mut buffer).await {
                    if !output.send(&buffer[..count]).await {
                        return;
                    }
                }
            };
            tokio::select! {
                biased;
                () = back => {}
                () = there => {}
            }
        }
        Err(why) => {
            let pod = &container.pod_uid;
            error.send(format!("error forwarding port {port} to pod {pod}, uid : {why}").as_bytes()).await;
        }
    }
    output.finish().await;
    error.finish().await;
}

/// Serves a connection by its streams until the client goes.
pub(super) async fn serve<T, F>(connection: T, work: impl FnOnce(mpsc::Receiver<Stream>) -> F)
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite,
    F: Future<Output = ()>,
{
    let (send, opened) = mpsc::channel(PORTS_MAX);
    let work = async {
        work(opened).await;
        // What it wrote is still on its way.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = spdy::serve(connection, send) => {}
        () = work => {}
    }
}
