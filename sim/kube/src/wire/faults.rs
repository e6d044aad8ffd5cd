//! Fault rules carried out around the handling of a request.

use std::time::Duration;

use http::Response;
use sim_net::http::{Body, no_answer};

use super::RequestContext;
use crate::{
    engine::{Engine, ReadVersion},
    faults::{RequestInfo, Verdict, timed_out},
    server::ApiServer,
    status::Status,
};

/// What fault rules want of a read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reading {
    /// From how long ago it is answered, and whether only where the client takes any version.
    stale: Option<(Duration, bool)>,
    /// Whether continue tokens are too old.
    pub expired: bool,
}

impl Reading {
    /// The revision from which a stale read is answered.
    pub fn revision(self, version: ReadVersion, engine: &Engine) -> Option<u64> {
        let (lag, cached_only) = self.stale?;
        (!cached_only || version == ReadVersion::Any).then(|| engine.revision_at(sim_clock::now() - lag))
    }
}

/// What is left to do after a request was carried out.
pub(super) enum After {
    /// Nothing.
    Answer,
    /// Break the connection.
    Cut,
    /// Answer 504, this late.
    TimeOut(Duration),
}

/// What becomes of a request.
pub(super) enum Before {
    /// This, without carrying it out.
    Answer(Response<Body>),
    /// It is carried out.
    Go(After),
}

/// Faults that strike before anything is done.
///
/// # Errors
/// The refusal that a rule wants.
pub(super) async fn before(server: &ApiServer, context: &mut RequestContext) -> Result<Before, Status> {
    let info = RequestInfo { user: context.user.name.clone(), ..context.info.clone() };
    context.info = info;
    Ok(Before::Go(match server.verdict(&context.info) {
        Verdict::Pass => After::Answer,
        Verdict::Refuse(status) => return Err(status),
        Verdict::Delay(time) => {
            tokio::time::sleep(time).await;
            After::Answer
        }
        Verdict::CutBefore => return Ok(Before::Answer(no_answer())),
        Verdict::CutAfter => After::Cut,
        // Until the client gives up: its connection takes this future along.
        Verdict::Hang => std::future::pending().await,
        Verdict::Timeout { after, applied: true } => After::TimeOut(after),
        Verdict::Timeout { after, applied: false } => {
            tokio::time::sleep(after).await;
            return Err(timed_out());
        }
        Verdict::Stale { lag, cached_only } => {
            context.reading.stale = Some((lag, cached_only));
            After::Answer
        }
        Verdict::ContinueExpired => {
            context.reading.expired = true;
            After::Answer
        }
    }))
}

/// Faults that strike after the request took effect, whatever came of it.
///
/// # Errors
/// What came of it, or the time-out.
pub(super) async fn after(after: After, answer: Result<Response<Body>, Status>) -> Result<Response<Body>, Status> {
    match after {
        After::Answer => answer,
        After::Cut => Ok(no_answer()),
        After::TimeOut(late) => {
            tokio::time::sleep(late).await;
            Err(timed_out())
        }
    }
}
