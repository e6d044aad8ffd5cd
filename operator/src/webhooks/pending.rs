//! What becomes of an admission request: counted, timed and told exactly once, whatever happens to it.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::Span;

use super::WebhookError;
use crate::{
    config::flags::parse_duration,
    observability::{
        Failure, Telemetry,
        span::{in_open_span, record_failure},
    },
};

/// How long an API server waits for an answer where it does not say: the default of a webhook's `timeoutSeconds`.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The largest `timeoutSeconds` there can be.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// How much earlier it is answered, so that the answer arrives; a fifth of the time if that is less.
const MARGIN: Duration = Duration::from_secs(1);

/// The client hung up before it was answered: an API server that lost its patience, or that went away.
#[derive(Debug, thiserror::Error)]
#[error("the connection was closed before the review was answered")]
struct HungUp;

impl Failure for HungUp {
    fn error_type(&self) -> &'static str {
        "WebhookError::HungUp"
    }
}

/// One request, from its head to its answer. One that is dropped without an outcome counts as failed: whoever asked has hung up.
pub struct Pending {
    telemetry: Telemetry,
    operation: &'static str,
    kind: &'static str,
    started: Instant,
    deadline: Instant,
    /// The request's span, once there is one.
    span: Span,
    done: bool,
}

impl Pending {
    /// A request whose head has just come; `query` is that of its URL, where the API server says how long it waits (`timeout=10s`).
    pub fn new(telemetry: Telemetry, operation: &'static str, kind: &'static str, query: Option<&str>) -> Self {
        let started = Instant::now();
        let deadline = started + time_to_answer(query);
        Self { telemetry, operation, kind, started, deadline, span: Span::none(), done: false }
    }

    /// The current span is the request's.
    pub fn belongs_to_this_span(&mut self) {
        self.span = Span::current();
    }

    /// Asks the API server, as long as there is time to answer the request.
    pub async fn in_time<T>(&self, asking: impl Future<Output = Result<T, kube::Error>>) -> Result<T, WebhookError> {
        match self.in_its_time(asking).await {
            Some(result) => Ok(result?),
            None => Err(WebhookError::Late(self.deadline - self.started)),
        }
    }

    /// Waits as long as there is time to answer the request.
    pub async fn in_its_time<T>(&self, waiting: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.deadline, waiting).await.ok()
    }

    /// It is judged, or found to be no review.
    pub fn done(mut self, succeeded: bool) {
        self.count(succeeded);
    }

    fn count(&mut self, succeeded: bool) {
        self.done = true;
        let metrics = self.telemetry.metrics();
        metrics.observe_webhook(self.operation, self.kind, succeeded, self.started.elapsed());
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (telemetry, span) = (self.telemetry.clone(), self.span.clone());
        let (operation, kind) = (self.operation, self.kind);
        telemetry.in_scope(|| {
            in_open_span(&span, || {
                self.count(false);
                record_failure(&HungUp);
                tracing::warn!(operation, kind, error = %HungUp, "admission request not answered");
            });
        });
    }
}

fn time_to_answer(query: Option<&str>) -> Duration {
    let told = query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("timeout="));
    let patience = told.and_then(parse_duration).filter(|told| !told.is_zero()).unwrap_or(TIMEOUT_DEFAULT);
    let patience = patience.min(TIMEOUT_MAX);
    patience.saturating_sub(MARGIN.min(patience / 5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_due_a_little_before_the_api_server_gives_up() {
        for (query, millis) in [
            (None, 9_000),
            (Some("timeout=10s"), 9_000),
            (Some("a=b&timeout=2s"), 1_600),
            (Some("timeout=1m0s"), 29_000),
            (Some("timeout=0s"), 9_000),
            (Some("timeout=soon"), 9_000),
        ] {
            assert_eq!(time_to_answer(query), Duration::from_millis(millis), "{query:?}");
        }
    }
}
