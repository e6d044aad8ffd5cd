//! The simulated parts beside the real ones, in containers.
//!
//! `REQUIRE_BACKENDS` names what must be there; without it an absent engine or image is SKIPPED aloud. `PROMQL_EXPRESSIONS` says how
//! many random expressions are compared (2 000), `PROMQL_SEED` which.

mod agreement;
mod both_ways;
mod expressions;
mod notifications;
mod promql;
mod replays;
mod series;

use scenario_backends::{
    Error,
    image::{Image, PROMETHEUS},
    prometheus::Prometheus,
    session::{Session, skipped},
};

/// A variable of the machine's environment.
#[allow(clippy::disallowed_methods, reason = "the machine's environment says what must be there")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn session() -> Session {
    Session::new(format!("test-{}", std::process::id()))
}

/// A real Prometheus, or the line that says why there is none.
async fn prometheus() -> Option<Prometheus> {
    match Prometheus::start(&session(), &Image::of(PROMETHEUS, variable)).await {
        Ok(prometheus) => Some(prometheus),
        Err(error) => {
            skip(&error);
            None
        }
    }
}

fn skip(error: &Error) {
    match skipped(error, &variable("REQUIRE_BACKENDS").unwrap_or_default()) {
        Ok(line) => println!("{line}"),
        Err(failure) => panic!("{failure}"),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
