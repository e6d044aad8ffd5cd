//! Runs scenarios in simulated worlds and judges them.
//!
//! | module | job |
//! |---|---|
//! | [`project`] | where scenarios, `deploy/` and `golden/` are on disk; reading and checking a scenario |
//! | [`manifests`] | the objects that a scenario needs |
//! | [`run`] | one scenario, one world, one report |
//! | `play` | what happens in that world, and when the judge looks |
//! | [`operator`] | our operator as a process of a world |
//! | `embedded`, `kube_client` | the query interfaces, over the wire |
//! | `moments` | what happened, told from events and alerts |
//! | [`golden`] | reviewed outputs |
//! | [`recording`], [`promtool`] | what Prometheus stored, as a promtool unit test |
//!
//! ```no_run
//! use scenario_runner::{Options, Project, run};
//! let project = Project::around(".".as_ref())?;
//! let scenario = project.load("scenarios/topology/etcd-unavailable.yaml".as_ref())?;
//! let outcome = run(&scenario, &Options::default());
//! assert!(outcome.report.passed());
//! # Ok::<(), scenario_runner::ProjectError>(())
//! ```

mod embedded;
pub mod golden;
mod kube_client;
pub mod manifests;
mod moments;
pub mod operator;
mod play;
pub mod project;
pub mod promtool;
pub mod recording;
mod run;
mod silence;
mod usage;

pub use project::{Loaded, Project, ProjectError};
pub use run::{Options, RunOutcome, run};
