//! The bytes of one connection, each delivered when its link says.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddrV4,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use sim_clock::Chance;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// Bytes that may be under way in one direction before a writer has to wait.
const WINDOW_BYTES_MAX: usize = 256 << 10;

/// One end of a connection: what is written here is read at the other end, after the latency of the link.
#[derive(Debug)]
pub struct Stream {
    read: Arc<Pipe>,
    write: Arc<Pipe>,
    peer: SocketAddrV4,
    due: Option<Pin<Box<Sleep>>>,
}

/// How a link treats its bytes at present.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) held: bool,
    pub(crate) extra: Option<(Duration, Duration)>,
}

/// One direction of a connection.
#[derive(Debug)]
pub(crate) struct Pipe(Mutex<State>);

#[derive(Debug)]
struct State {
    chunks: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    last_due: Option<Instant>,
    latency_ms: (u64, u64),
    chance: Chance,
    condition: Condition,
    writer_gone: bool,
    reader_gone: bool,
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new(latency_ms: (u64, u64), chance: Chance, condition: Condition) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            chunks: VecDeque::new(),
            bytes: 0,
            last_due: None,
            latency_ms,
            chance,
            condition,
            writer_gone: false,
            reader_gone: false,
            broken: false,
            reader: None,
            writer: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no code panics while it holds a pipe")
    }

    /// Resets the direction: both ends see an error at once, bytes under way are lost.
    pub(crate) fn break_off(&self) {
        let mut state = self.lock();
        state.broken = true;
        state.chunks.clear();
        state.wake();
    }

    /// Applies what the link's faults say from now on.
    pub(crate) fn set_condition(&self, condition: Condition) {
        let mut state = self.lock();
        state.condition = condition;
        state.wake();
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    fn push(&mut self, bytes: Bytes) {
        let (low, high) = self.latency_ms;
        let mut latency = if low == high { Duration::from_millis(low) } else { self.chance.range_ms(low..=high) };
        if let Some((min, max)) = self.condition.extra {
            latency += self.chance.range_ms(min.as_millis() as u64..=max.as_millis() as u64);
        }
        // Bytes of one connection never overtake each other.
        let due = (Instant::now() + latency).max(self.last_due.unwrap_or_else(Instant::now));
        self.last_due = Some(due);
        self.bytes += bytes.len();
        self.chunks.push_back((due, bytes));
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }
}

/// Two ends of a new connection, the client's first. `latency_ms` is that of the way to the server; answers come at
/// once, so that a round trip takes it once.
pub(crate) fn pair(
    client: SocketAddrV4,
    server: SocketAddrV4,
    latency_ms: (u64, u64),
    chance: Chance,
    condition: Condition,
) -> (Stream, Stream, [Arc<Pipe>; 2]) {
    let there = Pipe::new(latency_ms, chance.clone(), condition);
    let back = Pipe::new((0, 0), chance, condition);
    let near = Stream { read: back.clone(), write: there.clone(), peer: server, due: None };
    let far = Stream { read: there.clone(), write: back.clone(), peer: client, due: None };
    (near, far, [there, back])
}

impl Stream {
    /// The address at the other end.
    pub fn peer_addr(&self) -> SocketAddrV4 {
        self.peer
    }
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset by peer")
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let due = {
                let pipe = self.read.clone();
                let mut state = pipe.lock();
                if state.broken {
                    return Poll::Ready(Err(reset()));
                }
                let now = Instant::now();
                let (held, ended) = (state.condition.held, state.writer_gone);
                match state.chunks.front_mut() {
                    _ if held => None,
                    Some((due, chunk)) if *due <= now => {
                        let count = chunk.len().min(out.remaining());
                        out.put_slice(&chunk[..count]);
                        chunk.advance(count);
                        if chunk.is_empty() {
                            state.chunks.pop_front();
                        }
                        state.bytes -= count;
                        if let Some(waker) = state.writer.take() {
                            waker.wake();
                        }
                        return Poll::Ready(Ok(()));
                    }
                    Some((due, _)) => Some(*due),
                    None if ended => return Poll::Ready(Ok(())),
                    None => None,
                }
            };
            let Some(due) = due else {
                self.due = None;
                self.read.lock().reader = Some(context.waker().clone());
                return Poll::Pending;
            };
            if self.due.as_ref().is_none_or(|sleep| sleep.deadline() != due) {
                self.due = Some(Box::pin(tokio::time::sleep_until(due)));
            }
            self.read.lock().reader = Some(context.waker().clone());
            if let Some(sleep) = &mut self.due {
                ready!(sleep.as_mut().poll(context));
            }
            self.due = None;
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.write.lock();
        if state.broken {
            return Poll::Ready(Err(reset()));
        }
        if state.reader_gone {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::BrokenPipe, "the other end is closed")));
        }
        let room = WINDOW_BYTES_MAX.saturating_sub(state.bytes);
        if room == 0 {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = bytes.len().min(room);
        if count > 0 {
            state.push(Bytes::copy_from_slice(&bytes[..count]));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.write.lock();
        state.writer_gone = true;
        state.wake();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        {
            let mut state = self.write.lock();
            state.writer_gone = true;
            state.wake();
        }
        let mut state = self.read.lock();
        state.reader_gone = true;
        state.wake();
    }
}

impl hyper_util::client::legacy::connect::Connection for Stream {
    fn connected(&self) -> hyper_util::client::legacy::connect::Connected {
        hyper_util::client::legacy::connect::Connected::new()
    }
}
