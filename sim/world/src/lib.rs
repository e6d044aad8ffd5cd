//! A simulated world: the parts put together.
//!
//! A world starts from manifests. Its API server stores them, its workload controllers make pods of them, its kubelet
//! starts each container as a process: an asynchronous function that gets a network, files, environment, arguments and
//! a request to stop ([`process::Context`]). Which program an image is, [`process::Images`] says. Faults come by name.
//!
//! | module | job |
//! |---|---|
//! | [`world`] | [`World`]: starting, waiting until ready, applying objects, injecting and healing faults |
//! | [`process`] | what a process gets; which program an image is |
//! | [`images`] | the programs of the stack and of the data plane |
//! | [`faults`] | every fault by name, with its parameters |
//! | [`logs`] | what the processes wrote |
//! | [`notifications`] | whoever is told of alerts |
//! | [`audit`] | who writes what through the Kubernetes API, as log lines |
//!
//! ```
//! use serde_json::json;
//! use sim_world::{World, process::Context};
//!
//! let said = sim_clock::run(sim_clock::WorldOptions::seeded(1), || async {
//!     let pod = json!({
//!         "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "greeter", "namespace": "default"},
//!         "spec": {"containers": [{"name": "main", "image": "example.org/greeter:v1", "args": ["hello"]}]}
//!     });
//!     let world = World::builder()
//!         .image("greeter", |context: Context| async move {
//!             (context.log)(&format!("{} from {}", context.args[0], context.pod));
//!             std::future::pending().await
//!         })
//!         .manifests([pod])
//!         .start()
//!         .await
//!         .unwrap();
//!     tokio::time::sleep(std::time::Duration::from_secs(5)).await;
//!     world.logs().lines()[0].text.clone()
//! })?;
//! assert_eq!(said, "hello from greeter");
//! # Ok::<(), sim_clock::WorldError>(())
//! ```

pub mod audit;
pub mod faults;
pub mod images;
pub mod logs;
pub mod notifications;
pub mod process;
pub mod world;

pub use world::{World, WorldBuilder, WorldError};
