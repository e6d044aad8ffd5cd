//! What an export came to, and when that is worth a log line.
//!
//! A batch goes every few seconds. What a receiver says of each would fill the log: of a failure there is a line when it begins and one when it
//! ends; of what is rejected or warned of, one for each new message, and a reminder of rejections once an hour.

use std::time::Duration;

use tokio::time::Instant;

/// Between two lines about rejections with the same message.
pub const REMINDER_INTERVAL: Duration = Duration::from_secs(3600);
/// Between two lines about rejections or warnings at all: a message that names ids or counts is a new one each time.
pub const REMARK_INTERVAL: Duration = Duration::from_secs(60);

/// What one export came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it is taken.
    Accepted,
    /// All of it is taken, and the receiver has something to say.
    Warned(String),
    /// Some of it is not taken, and will never be.
    Rejected {
        /// How much: spans or data points.
        items: i64,
        /// Why.
        message: String,
    },
    /// Nothing of it is taken.
    Failed(String),
}

impl Outcome {
    /// What `partial_success` of an answer says: how many items are rejected, and a message.
    pub(super) fn of_partial_success(partial: Option<(i64, String)>) -> Self {
        match partial {
            Some((items, message)) if items > 0 => Self::Rejected { items, message },
            Some((_, message)) if !message.is_empty() => Self::Warned(message),
            _ => Self::Accepted,
        }
    }
}

/// Remembers what was told of one signal's exports.
#[derive(Debug)]
pub(super) struct Report {
    signal: &'static str,
    /// What a failure means.
    consequence: &'static str,
    is_failing: bool,
    /// The last rejection or warning that was told.
    remark: Option<(String, Instant)>,
}

impl Report {
    pub(super) fn new(signal: &'static str, consequence: &'static str) -> Self {
        Self { signal, consequence, is_failing: false, remark: None }
    }

    /// Writes a line about an outcome, where there is something to tell.
    pub(super) fn tell(&mut self, endpoint: &str, outcome: &Outcome) {
        let signal = self.signal;
        if let Outcome::Failed(why) = outcome {
            if !std::mem::replace(&mut self.is_failing, true) {
                tracing::error!(error = %why, endpoint, "{signal} export failed; {}", self.consequence);
            }
            return;
        }
        if std::mem::take(&mut self.is_failing) {
            tracing::info!(endpoint, "{signal} export works again");
        }
        match outcome {
            Outcome::Rejected { items, message } if self.is_news(message, true) => {
                tracing::error!(error = %message, endpoint, items, "{signal} export partly rejected");
            }
            Outcome::Warned(message) if self.is_news(message, false) => {
                tracing::warn!(endpoint, warning = %message, "{signal} export accepted with a warning");
            }
            _ => {}
        }
    }

    fn is_news(&mut self, message: &str, remind: bool) -> bool {
        let now = Instant::now();
        let is_due = match &self.remark {
            None => true,
            Some((told, at)) if told == message => remind && now - *at >= REMINDER_INTERVAL,
            Some((_, at)) => now - *at >= REMARK_INTERVAL,
        };
        if is_due {
            self.remark = Some((message.to_owned(), now));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observability::{Telemetry, telemetry::TelemetryConfig},
        testing::{Lines, host, no_network},
    };

    /// What is written when these outcomes come, so many seconds after one another.
    fn told(outcomes: &[(u64, Outcome)]) -> Vec<String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let lines = Lines::default();
            let telemetry = Telemetry::new(&TelemetryConfig::default(), &host(no_network(), &lines).1);
            let mut report = Report::new("trace", "spans are dropped until it works again");
            for (pause, outcome) in outcomes {
                tokio::time::advance(Duration::from_secs(*pause)).await;
                telemetry.in_scope(|| report.tell("http://c:4318/v1/traces", outcome));
            }
            let lines = lines.lock().unwrap();
            lines.iter().map(|line| line["msg"].as_str().unwrap_or_default().to_owned()).collect()
        })
    }

    fn rejected(message: &str) -> Outcome {
        Outcome::of_partial_success(Some((3, message.to_owned())))
    }

    #[test]
    fn a_receiver_that_goes_on_rejecting_is_told_of_once_an_hour_and_when_it_says_something_else() {
        let often: Vec<_> = (0..700).map(|_| (5, rejected("too old"))).collect();
        assert_eq!(told(&often), ["trace export partly rejected"]);
        let longer: Vec<_> = (0..730).map(|_| (5, rejected("too old"))).collect();
        assert_eq!(told(&longer).len(), 2);
        assert_eq!(told(&[(0, rejected("too old")), (60, rejected("too long"))]).len(), 2);
        let ever_new: Vec<_> = (0..24).map(|n| (5, rejected(&format!("span {n} is too old")))).collect();
        assert_eq!(told(&ever_new).len(), 2, "a new text each time is no reason for a line each time");
        // Now and then a batch is accepted as a whole.
        assert_eq!(told(&[(0, rejected("x")), (5, Outcome::Accepted), (5, rejected("x"))]).len(), 1);
    }

    #[test]
    fn a_warning_is_told_once() {
        let warned = Outcome::of_partial_success(Some((0, "use a newer version".to_owned())));
        assert_eq!(warned, Outcome::Warned("use a newer version".to_owned()));
        assert_eq!(
            told(&[(0, warned.clone()), (5, warned.clone()), (7200, warned)]),
            ["trace export accepted with a warning"]
        );
        assert_eq!(Outcome::of_partial_success(Some((0, String::new()))), Outcome::Accepted);
    }

    #[test]
    fn a_failure_is_told_of_when_it_begins_and_when_it_ends() {
        let failed = |why: &str| Outcome::Failed(why.to_owned());
        assert_eq!(
            told(&[(0, failed("a")), (5, failed("b")), (5, Outcome::Accepted), (5, Outcome::Accepted)]),
            ["trace export failed; spans are dropped until it works again", "trace export works again"]
        );
    }
}
