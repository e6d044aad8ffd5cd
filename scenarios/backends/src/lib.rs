//! The real backends in containers, asked what the simulated parts are asked.
//!
//! | module | what it does |
//! |---|---|
//! | [`image`] | which image each backend is: the upstream name, or another by the environment |
//! | [`session`] | one run's containers: started, labelled with the run's id, removed; SKIPPED aloud where there is none |
//! | [`alertmanager`] | a real Alertmanager, told what a run's Prometheus told ours |
//! | [`prometheus`] | a real Prometheus: fed by remote write, asked over its HTTP API |
//! | [`remote_write`] | the messages of remote write 1.0 |
//! | [`replay`] | what a run recorded, told to a real Prometheus and asked again by the run's own expectations |
//!
//! Without an engine or an image a backend is skipped, which is printed; where `REQUIRE_BACKENDS` names it, that is a failure.
//! Where no registry can be reached, `ci/images/make.sh` makes the images out of Debian's packages.

pub mod alertmanager;
pub mod image;
pub mod prometheus;
pub mod remote_write;
pub mod replay;
pub mod session;

/// What can go wrong with a real backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such backend here: no container engine, or no image.
    #[error("{backend}: {reason}")]
    Unavailable {
        /// The backend's name, as `REQUIRE_BACKENDS` has it.
        backend: &'static str,
        /// What is missing and what would help.
        reason: String,
    },
    /// The container did not start.
    #[error("{backend} did not start: {reason}")]
    Start {
        /// The backend's name.
        backend: &'static str,
        /// What the engine or the program said.
        reason: String,
    },
    /// The backend did not answer as its API promises.
    #[error("{backend}: {request}: {reason}")]
    Answer {
        /// The backend's name.
        backend: &'static str,
        /// What was asked.
        request: String,
        /// Why that is no answer.
        reason: String,
    },
}
