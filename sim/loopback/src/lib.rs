//! Ports of a simulated world on the machine's loopback address, so that kubectl, a browser or an operator of any
//! language can talk to what runs in it; and worlds that run beside a test.
//!
//! A world that is open to the outside is *paced* ([`sim_clock::WorldOptions::paced`]): its time follows the real clock and its
//! runtime has sockets, so a connection from outside is accepted and answered on the world's own thread, without a hop.
//! Inside the world it comes from the host `outside`, between which and any other there is no latency; faults of the
//! network that name it or its target hold.
//!
//! Only loopback addresses are listened on and connected to: all chance in a world follows from its seed, its keys too.
//!
//! | module | job |
//! |---|---|
//! | [`ports`] | [`publish`]: a port of the world on loopback; [`reach`]: a loopback port inside the world |
//! | [`running`] | [`start`]: a world on a thread of its own, with something to tell when it is up and a way to end it |
//!
//! ```
//! use std::io::{Read as _, Write as _};
//! use sim_net::{Network, http};
//!
//! let options = sim_clock::WorldOptions::seeded(7).paced(sim_clock::Speed::REAL);
//! let world = sim_loopback::start(options, |life| async move {
//!     let network = Network::new();
//!     let web = network.host("web");
//!     let listener = web.listen(80).unwrap();
//!     sim_clock::spawn("web", http::serve(listener, http::Limits::default(), |_| async {
//!         ::http::Response::new(http::full("hello from the world"))
//!     }));
//!     let free = "127.0.0.1:0".parse().unwrap();
//!     let address = sim_loopback::publish(&network, free, &format!("{}:80", web.ip())).await.unwrap();
//!     life.up(address).until_stopped().await;
//! })?;
//!
//! let mut stream = std::net::TcpStream::connect(world.told()).unwrap();
//! stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").unwrap();
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer).unwrap();
//! assert!(answer.ends_with("hello from the world"));
//! world.stop()?;
//! # Ok::<(), sim_loopback::Error>(())
//! ```

pub mod ports;
pub mod running;

pub use ports::{CONNECTIONS_MAX, publish, reach};
pub use running::{Life, Running, start};

/// Why a port or a world cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another program listens there, or the address is not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address wanted.
        address: std::net::SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The world's keys are predictable: nothing of it may be reached from elsewhere.
    #[error("{0} is no loopback address; a world listens on 127.0.0.0/8 and ::1 only")]
    NotLoopback(std::net::SocketAddr),
    /// The world has no sockets, since its time is not paced.
    #[error("the world is closed to the outside: start it with WorldOptions::paced")]
    Closed,
    /// A port inside the world is taken.
    #[error("cannot listen inside the world: {0}")]
    Inside(std::io::Error),
    /// The world ended with this.
    #[error(transparent)]
    World(#[from] sim_clock::WorldError),
    /// The world's program ended before it said that it was up.
    #[error("the world ended before it was up")]
    EndedEarly,
}
