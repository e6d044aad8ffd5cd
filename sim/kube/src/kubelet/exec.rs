//! Commands run in a container that is there already: `exec`.

use bytes::Bytes;
use tokio::sync::mpsc;

/// Pieces of output or input that may wait for their reader.
pub const EXEC_PIECES_MAX: usize = 64;

/// Where a command reads and writes.
#[derive(Debug)]
pub struct ExecIo {
    /// What is typed; ends when nothing more comes. `None`: nothing ever does.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// Takes what it writes.
    pub output: mpsc::Sender<Output>,
}

/// A piece of what a command writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// To standard output.
    Stdout(Bytes),
    /// To standard error.
    Stderr(Bytes),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ran {
    /// With this exit code.
    Ended(i32),
    /// There is no such program in the container.
    NotFound,
}
