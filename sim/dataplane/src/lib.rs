//! The Multigres data plane as processes of the world.
//!
//! [`run`] is one container: which program it is follows from its image and command ([`program`]), what it listens on
//! and where its topology is from its flags ([`Flags`]), as with the real ones.
//!
//! | program | ports | topology | ready |
//! |---|---|---|---|
//! | multigateway | 15100 HTTP, 15170 gRPC, 15432 Postgres | `gateways/<cell>_<id>/Gateway`, taken away at an orderly end | once registered |
//! | multipooler | 15200 HTTP, 15270 gRPC | `poolers/<cell>_<id>/Pooler`, stays | once registered |
//! | multiorch | 15300 HTTP, 15370 gRPC | `orchs/<cell>_<id>/Orch`, taken away at an orderly end | once registered |
//! | pgctld | 15470 gRPC, 5432 Postgres | none | (no HTTP) |
//! | multiadmin | 18000 HTTP, 18070 gRPC | reads once | once the topology was reached |
//! | multiadmin-web | 18100 HTTP (`/`) | none | at once |
//!
//! `/live` is always 200; `/ready` is 503 until the condition of the table holds and 200 from then on, whatever etcd
//! does later. A failed attempt is repeated after five seconds, for ever. Once ready a process costs nothing: no
//! timer, no connection.
//!
//! Not modelled yet: the programs' own telemetry (OTLP), their gRPC methods (answered `Unimplemented`), the Postgres
//! protocol (the port accepts and closes), `/config` and `/debug/pprof` (404), and what they do to each other.
//!
//! ```
//! use sim_dataplane::{Program, Start};
//! use sim_net::{Network, http::Client};
//!
//! let status = sim_clock::run(sim_clock::WorldOptions::seeded(1), || async {
//!     let network = Network::new();
//!     let pod = network.host("pod/default/web-0");
//!     let start = Start { image: "ghcr.io/multigres/multiadmin-web:main".into(), ..Start::default() };
//!     assert_eq!(Program::of(&start.image, &start.command, &start.args), Some(Program::MultiadminWeb));
//!     let url = format!("http://{}:18100/", pod.ip());
//!     sim_clock::spawn("web", sim_dataplane::run(pod, start, std::sync::Arc::new(|_| {})));
//!     tokio::task::yield_now().await;
//!     Client::new(network.host("browser")).get(&url).await.unwrap().status()
//! })?;
//! assert_eq!(status, 200);
//! # Ok::<(), sim_clock::WorldError>(())
//! ```

pub mod error;
pub mod process;
pub mod program;
mod topology;

pub use error::DataplaneError;
pub use process::{Log, Start, run};
pub use program::{Flags, Program};
