//! A world on a thread of its own, beside whoever started it.

use std::{
    sync::mpsc,
    thread::{Builder, JoinHandle},
};

use sim_clock::{WorldError, WorldOptions};
use tokio::sync::oneshot;

use crate::Error;

/// What a world's program is given: how it says that it is up, and how it is told to end.
#[derive(Debug)]
pub struct Life<T> {
    up: mpsc::Sender<T>,
    stop: oneshot::Receiver<()>,
}

impl<T> Life<T> {
    /// Hands `told` to whoever started the world: it is up.
    pub fn up(self, told: T) -> Self {
        // Where nobody waits any more the stop has been asked for as well.
        let _ = self.up.send(told);
        self
    }

    /// Waits until the world is told to end.
    pub async fn until_stopped(self) {
        // An error means that the other end is gone: a stop too.
        let _ = self.stop.await;
    }
}

/// A world that is up. It ends when told to, or when dropped.
#[derive(Debug)]
pub struct Running<T> {
    told: Option<T>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), WorldError>>>,
}

/// Starts a world on a thread of its own and waits until its program is up.
///
/// # Errors
/// If the program ends or panics before that.
///
/// See the [crate's page](crate) for an example.
pub fn start<T, F, Fut>(options: WorldOptions, program: F) -> Result<Running<T>, Error>
where
    T: Send + 'static,
    F: FnOnce(Life<T>) -> Fut + Send + 'static,
    Fut: Future<Output = ()>,
{
    let (up, told) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    let thread = Builder::new()
        .name("world's keeper".to_owned())
        .spawn(move || sim_clock::run(options, move || program(Life { up, stop: stopped })))
        .map_err(|error| WorldError::Thread(error.to_string()))?;
    match told.recv() {
        Ok(told) => Ok(Running { told: Some(told), stop: Some(stop), thread: Some(thread) }),
        // The sender is gone: the program has ended.
        Err(_) => Err(ended(thread).err().map_or(Error::EndedEarly, Error::World)),
    }
}

impl<T> Running<T> {
    /// What the program handed over when it was up.
    ///
    /// # Panics
    /// After [`Running::take_told`].
    pub fn told(&self) -> &T {
        self.told.as_ref().expect("take_told has not been called")
    }

    /// The same as a value, the first time.
    pub fn take_told(&mut self) -> Option<T> {
        self.told.take()
    }

    /// Whether the world's program still runs.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends the world and waits until it has.
    ///
    /// # Errors
    /// If it panicked.
    pub fn stop(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        self.thread.take().map_or(Ok(()), |thread| Ok(ended(thread)?))
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn ended(thread: JoinHandle<Result<(), WorldError>>) -> Result<(), WorldError> {
    thread.join().unwrap_or_else(|_| Err(WorldError::Panicked("the world's keeper panicked".to_owned())))
}
