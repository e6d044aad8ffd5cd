//! The in-memory network of the simulated world.
//!
//! Hosts have addresses, listen on ports and connect to names, as pods do. A connection is a pair of in-memory byte
//! streams with the latency of its link; real HTTP/1.1, HTTP/2 and gRPC run over it through the clients' own stacks.
//! All faults of the network live here: a [`Rule`] refuses, black-holes, delays or resets what goes from one set of
//! hosts to another.
//!
//! | module | job |
//! |---|---|
//! | [`network`] | [`Network`], [`Host`], [`Listener`]: addresses, names and services, connecting |
//! | [`stream`] | [`Stream`]: the bytes of one connection, each delivered when its link says |
//! | [`fault`] | [`Rule`], [`Effect`]: what may go wrong on a link |
//! | [`http`] | serving and asking HTTP over it; the connector for hyper, kube and tonic clients |
//!
//! ```
//! use sim_net::{Network, NameTarget, http};
//! let answer = sim_clock::run(sim_clock::WorldOptions::seeded(1), || async {
//!     let network = Network::new();
//!     let (server, client) = (network.host("pod/default/web-0"), network.host("pod/default/shell-0"));
//!     network.set_name("web.default.svc", NameTarget::Addresses(vec![server.ip()]));
//!     let listener = server.listen(80).unwrap();
//!     sim_clock::spawn("web", http::serve(listener, http::Limits::default(), |request| async move {
//!         ::http::Response::new(http::full(format!("you asked for {}", request.uri().path())))
//!     }));
//!     http::Client::new(client).get("http://web.default.svc/hello").await.unwrap().into_body()
//! })?;
//! assert_eq!(answer, "you asked for /hello");
//! # Ok::<(), sim_clock::WorldError>(())
//! ```

pub mod fault;
pub mod http;
pub mod network;
pub mod stream;

pub use fault::{Effect, FaultId, Match, Rule};
pub use network::{Changer, Host, Listener, NameTarget, Network, ServicePort};
pub use stream::Stream;
