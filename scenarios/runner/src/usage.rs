//! What the operator's process uses in a world. Connections are counted; processor time and memory, which no simulated process has,
//! are a model: plain functions of the work that was done, so that a run gives the same figures wherever it runs.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use multigres_operator::host::{Process, ProcessUsage};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Processor time of a connection's handshake.
const CONNECTION_NANOS: u64 = 300_000;
/// Processor time of a byte that came or went.
const BYTE_NANOS: u64 = 5;
/// Memory of a process that does nothing.
const IDLE_BYTES: u64 = 24 << 20;
/// Memory of an open connection.
const CONNECTION_BYTES: u64 = 64 << 10;
/// Address space beside what is resident.
const RESERVED_BYTES: u64 = 256 << 20;
/// Descriptors of a process without a connection: three streams, the event queue and its waker.
const IDLE_FDS: u64 = 5;
/// What container engines allow.
const FDS_MAX: u64 = 1 << 20;

/// Counts what a process does.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    connections: AtomicU64,
    open: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    /// A connection whose bytes and end are counted.
    pub(crate) fn watch<S>(self: &Arc<Self>, stream: S) -> Metered<S> {
        self.connections.fetch_add(1, Relaxed);
        self.open.fetch_add(1, Relaxed);
        Metered { stream, meter: self.clone() }
    }
}

impl Process for Meter {
    fn usage(&self) -> ProcessUsage {
        let open = self.open.load(Relaxed);
        let nanos = self.connections.load(Relaxed) * CONNECTION_NANOS + self.bytes.load(Relaxed) * BYTE_NANOS;
        let resident = IDLE_BYTES + open * CONNECTION_BYTES;
        ProcessUsage {
            cpu_seconds: Some(nanos as f64 / 1e9),
            resident_memory_bytes: Some(resident),
            virtual_memory_bytes: Some(resident + RESERVED_BYTES),
            virtual_memory_max_bytes: Some(u64::MAX),
            open_fds: Some(IDLE_FDS + open),
            max_fds: Some(FDS_MAX),
        }
    }
}

/// A counted connection.
pub(crate) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
}

impl<S> Drop for Metered<S> {
    fn drop(&mut self) {
        self.meter.open.fetch_sub(1, Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.meter.bytes.fetch_add((buffer.filled().len() - before) as u64, Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            self.meter.bytes.fetch_add(*written as u64, Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
