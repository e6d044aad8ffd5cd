//! Frames of SPDY/3.1, as far as a server of streams needs them.

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::headers::{Deflater, Inflater};

/// Longest frame, in bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
const CONTROL: u32 = 0x8003_0000;
const SYN_STREAM: u32 = 1;
const SYN_REPLY: u32 = 2;
const RST_STREAM: u32 = 3;
const PING: u32 = 6;
const GOAWAY: u32 = 7;
/// The last frame of its sender on a stream.
const FIN: u8 = 1;
/// A stream's number has 31 bits.
const STREAM: u32 = 0x7fff_ffff;

/// What a client sends.
#[derive(Debug)]
pub enum Frame {
    /// It opens a stream.
    Open {
        /// The stream.
        stream: u32,
        /// Names in lower case, and values.
        headers: Vec<(String, String)>,
        /// Whether it will send nothing on it.
        last: bool,
    },
    /// Bytes on a stream.
    Data {
        /// The stream.
        stream: u32,
        /// The bytes.
        data: Bytes,
        /// Whether they are the last.
        last: bool,
    },
    /// It gives a stream up.
    Reset(u32),
    /// It wants to know whether the server is there.
    Ping(u32),
    /// It opens no more streams.
    Away,
    /// Settings and windows: nothing that this server goes by.
    Other,
}

/// Reads frames.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    inflater: Inflater,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads from a connection.
    pub fn new(from: R) -> Self {
        Self { from, inflater: Inflater::default() }
    }

    /// The next frame; `None` when the connection is over or what comes is no SPDY.
    pub async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 8];
        self.from.read_exact(&mut head).await.ok()?;
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let (flags, length) = (head[4], u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize);
        if length > FRAME_BYTES_MAX {
            return None;
        }
        let mut payload = vec![0; length];
        self.from.read_exact(&mut payload).await.ok()?;
        let last = flags & FIN != 0;
        if first & !STREAM == 0 {
            return Some(Frame::Data { stream: first, data: payload.into(), last });
        }
        let number = |at: usize| payload.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
        Some(match first.checked_sub(CONTROL) {
            Some(SYN_STREAM) => {
                let headers = self.inflater.read(payload.get(10..)?).ok()?;
                Frame::Open { stream: number(0)? & STREAM, headers, last }
            }
            Some(RST_STREAM) => Frame::Reset(number(0)? & STREAM),
            Some(PING) => Frame::Ping(number(0)?),
            Some(GOAWAY) => Frame::Away,
            // The headers of a stream that is open belong to the same deflated stream: they are read and nobody wants them.
            Some(8) => {
                self.inflater.read(payload.get(4..)?).ok()?;
                Frame::Other
            }
            _ => Frame::Other,
        })
    }
}

fn control(kind: u32, payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(8 + payload.len());
    frame.put_u32(CONTROL | kind);
    frame.put_u32(payload.len() as u32);
    frame.put_slice(payload);
    frame.freeze()
}

/// Takes a stream.
pub fn reply(stream: u32, deflater: &mut Deflater) -> Bytes {
    control(SYN_REPLY, &[&stream.to_be_bytes(), &*deflater.empty()].concat())
}

/// Answers a ping.
pub fn ping(number: u32) -> Bytes {
    control(PING, &number.to_be_bytes())
}

/// Bytes on a stream.
pub fn data(stream: u32, data: &[u8], last: bool) -> Bytes {
    debug_assert!(data.len() <= FRAME_BYTES_MAX, "pieces are smaller than that");
    let mut frame = BytesMut::with_capacity(8 + data.len());
    frame.put_u32(stream & STREAM);
    frame.put_u32(u32::from(if last { FIN } else { 0 }) << 24 | data.len() as u32);
    frame.put_slice(data);
    frame.freeze()
}
