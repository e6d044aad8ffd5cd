//! Ports between a world and the machine's loopback address.

use std::{net::SocketAddr, sync::Arc};

use sim_net::{Host, NameTarget, Network, Stream};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::Error;

/// Connections that may be open on one published port at once; further ones wait in the system's backlog.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Bytes carried at a time in each direction of a connection.
const COPY_BUFFER_BYTES: usize = 64 << 10;
/// How long no connection is accepted after the system had no descriptor left for one.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Lets `target` (`name:port` or `address:port` inside the world) be reached at `listen`, a loopback address; port 0 takes
/// a free one. The address listened on is returned; it is given up when the world ends.
///
/// A connection whose target refuses is closed at once, as by a proxy whose upstream is gone.
///
/// # Errors
/// If `listen` is taken or no loopback address, or the world is closed to the outside.
pub async fn publish(network: &Network, listen: SocketAddr, target: &str) -> Result<SocketAddr, Error> {
    loopback(listen)?;
    open_to_the_outside()?;
    let failed = |source| Error::Listen { address: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (outside, target) = (network.outside(), target.to_owned());
    sim_clock::spawn(&format!("loopback {address}"), accept(listener, outside, target));
    Ok(address)
}

async fn accept(listener: TcpListener, outside: Host, target: String) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let target: Arc<str> = Arc::from(target);
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // The system is out of descriptors or the client is gone already.
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (outside, target) = (outside.clone(), target.clone());
        sim_clock::spawn("loopback", async move {
            if let Ok(inside) = outside.connect(&target).await {
                carry(stream, inside).await;
            }
            drop(permit);
        });
    }
}

/// Lets the host `name` inside the world lead to `target`, a loopback address of the machine: connections to its `port`
/// arrive there. By this a webhook or a Collector that runs outside can be called from inside.
///
/// # Errors
/// If `target` is no loopback address, the world is closed to the outside, or the port is taken inside.
pub fn reach(network: &Network, name: &str, port: u16, target: SocketAddr) -> Result<Host, Error> {
    loopback(target)?;
    open_to_the_outside()?;
    let host = network.host(name);
    let mut listener = host.listen(port).map_err(Error::Inside)?;
    network.set_name(name, NameTarget::Addresses(vec![host.ip()]));
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    sim_clock::spawn(&format!("loopback to {target}"), async move {
        while let Ok((inside, _)) = listener.accept().await {
            // Beyond the limit a connection is closed at once.
            let Ok(permit) = room.clone().try_acquire_owned() else { continue };
            sim_clock::spawn("loopback", async move {
                if let Ok(stream) = TcpStream::connect(target).await {
                    carry(stream, inside).await;
                }
                drop(permit);
            });
        }
    });
    Ok(host)
}

async fn carry(mut stream: TcpStream, mut inside: Stream) {
    // Small writes (watch events) leave at once.
    let _ = stream.set_nodelay(true);
    // A connection that breaks is its two ends' matter.
    let _ =
        tokio::io::copy_bidirectional_with_sizes(&mut stream, &mut inside, COPY_BUFFER_BYTES, COPY_BUFFER_BYTES).await;
}

fn loopback(address: SocketAddr) -> Result<(), Error> {
    if address.ip().is_loopback() { Ok(()) } else { Err(Error::NotLoopback(address)) }
}

fn open_to_the_outside() -> Result<(), Error> {
    if sim_clock::is_paced() { Ok(()) } else { Err(Error::Closed) }
}
