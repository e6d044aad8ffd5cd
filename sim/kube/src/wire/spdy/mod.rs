//! SPDY/3.1, as far as `exec`, `attach` and port forwarding of kubectl and client-go need it: a client opens streams, both
//! sides send bytes on them. There are no windows: client-go knows none either, so that a stream that nobody reads holds up
//! the others on its connection.

mod frame;
mod headers;

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
};

use frame::{Frame, Reader};

/// Streams that one connection may have open.
const STREAMS_MAX: usize = 256;
/// Pieces of a stream, and frames of a connection, that may wait for their reader.
const PIECES_MAX: usize = 64;

/// The server's side of a stream.
#[derive(Debug)]
pub struct Stream {
    number: u32,
    headers: Vec<(String, String)>,
    /// What the client sends on it, until it sends no more.
    pub input: mpsc::Receiver<Bytes>,
    frames: mpsc::Sender<Bytes>,
}

impl Stream {
    /// A header that it was opened with, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Takes what comes apart from what goes.
    pub fn split(self) -> (mpsc::Receiver<Bytes>, Output) {
        (self.input, Output { number: self.number, frames: self.frames })
    }
}

/// What goes to the client on a stream.
#[derive(Clone, Debug)]
pub struct Output {
    number: u32,
    frames: mpsc::Sender<Bytes>,
}

impl Output {
    /// Sends bytes; `false` once the client has gone.
    pub async fn send(&self, data: &[u8]) -> bool {
        self.frames.send(frame::data(self.number, data, false)).await.is_ok()
    }

    /// Sends no more.
    pub async fn finish(&self) {
        // A client that has gone need not be told.
        let _ = self.frames.send(frame::data(self.number, &[], true)).await;
    }
}

/// Serves a connection until its client goes; streams come by `opened` in the order in which they are opened.
pub async fn serve<T: AsyncRead + AsyncWrite>(connection: T, opened: mpsc::Sender<Stream>) {
    let (reader, mut writer) = tokio::io::split(connection);
    let (frames, mut waiting) = mpsc::channel::<Bytes>(PIECES_MAX);
    let write = async {
        while let Some(frame) = waiting.recv().await {
            if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        biased;
        () = write => {}
        () = read(Reader::new(reader), frames, opened) => {}
    }
}

async fn read<R: AsyncRead + Unpin>(mut reader: Reader<R>, frames: mpsc::Sender<Bytes>, opened: mpsc::Sender<Stream>) {
    let mut streams: BTreeMap<u32, mpsc::Sender<Bytes>> = BTreeMap::new();
    let mut deflater = headers::Deflater::default();
    while let Some(frame) = reader.next().await {
        let done = match frame {
            Frame::Open { stream: number, headers, last } => {
                streams.retain(|_, input| !input.is_closed());
                if streams.len() >= STREAMS_MAX {
                    return;
                }
                let (send, input) = mpsc::channel(PIECES_MAX);
                if !last {
                    streams.insert(number, send);
                }
                let stream = Stream { number, headers, input, frames: frames.clone() };
                frames.send(frame::reply(number, &mut deflater)).await.is_ok() && opened.send(stream).await.is_ok()
            }
            Frame::Data { stream, data, last } => {
                if let Some(input) = streams.get(&stream).filter(|_| !data.is_empty()) {
                    // Nobody reads it any more: it goes nowhere.
                    let _ = input.send(data).await;
                }
                if last {
                    streams.remove(&stream);
                }
                true
            }
            Frame::Reset(stream) => {
                streams.remove(&stream);
                true
            }
            Frame::Ping(number) => frames.send(frame::ping(number)).await.is_ok(),
            Frame::Away | Frame::Other => true,
        };
        if !done {
            return;
        }
    }
}
