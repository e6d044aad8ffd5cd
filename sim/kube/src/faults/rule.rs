//! The values: match, effect, when; and what a struck request is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use sim_clock::Chance;

use crate::status::{About, Status};

/// The verbs a rule may name.
pub const VERBS: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
/// Longest latency, lag or hold of a rule, in milliseconds: one hour.
pub const LATENCY_MS_MAX: u64 = 3_600_000;

/// What fault rules and authorisation look at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// One of [`VERBS`]; of a path that is no resource's: the HTTP method in lower case.
    pub verb: &'static str,
    /// API group; empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Plural, or empty if the path is no resource's.
    pub resource: String,
    /// Subresource, or empty.
    pub subresource: String,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name, or empty.
    pub name: String,
    /// The path.
    pub path: String,
    /// The name of who asks, as the server authenticated it; empty where it does not.
    pub user: String,
    /// The user agent's product (before the slash).
    pub user_agent: String,
}

/// Which requests a rule is about. What is left out matches everything; texts are globs (`*` any run, `?` one character).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Verbs; empty: every verb.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<String>,
    /// API group; `""` is the core group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Plural.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// Subresource; `""` is the object itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
    /// Namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name; a collection's is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user agent's product.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// What befalls a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// It is answered late: after `min_ms` to `max_ms`, evenly drawn.
    Latency {
        /// Shortest, in milliseconds.
        min_ms: u64,
        /// Longest, in milliseconds.
        max_ms: u64,
    },
    /// 409, as if somebody else had changed the object.
    Conflict,
    /// 429 with `Retry-After`.
    TooManyRequests {
        /// Seconds.
        retry_after_s: u32,
    },
    /// 500 `InternalError`.
    InternalError,
    /// 503 `ServiceUnavailable`.
    Unavailable,
    /// 504 `Timeout`, at once, the request not carried out.
    GatewayTimeout,
    /// The connection breaks before anything is done.
    CutBefore,
    /// It is carried out, then the connection breaks: the answer is lost.
    CutAfter,
    /// No answer until the client gives up; nothing is done.
    Hang,
    /// The server's own time-out: after `after_ms` the answer is 504. `applied` says whether a write took effect all the same.
    Timeout {
        /// Milliseconds; the real server's are 60 000.
        after_ms: u64,
        /// Whether it is carried out.
        applied: bool,
    },
    /// Gets and lists are answered from what was stored `lag_ms` ago (as far as the event log reaches).
    StaleRead {
        /// Milliseconds.
        lag_ms: u64,
        /// Only reads with `resourceVersion=0`, which the real server may answer from its cache.
        cached_only: bool,
    },
    /// Continuing a list answers 410 with a fresh, inconsistent token, as after a compaction.
    ContinueExpired,
    /// A fault of watches.
    Watch(WatchFault),
}

/// What befalls a watch, also one that is open already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum WatchFault {
    /// The stream breaks off.
    Cut,
    /// The stream says 410 `Expired` and ends.
    Expired,
    /// Each event arrives this late.
    Delay {
        /// Milliseconds.
        lag_ms: u64,
    },
    /// Nothing arrives until the rule is healed; then all of it does.
    Hold,
    /// Bookmarks are withheld, also the one that ends the initial events.
    NoBookmarks,
}

/// When a matching request is struck. What is left out does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// This many matching requests are spared first.
    pub spare_first: u64,
    /// At most so many requests are struck.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strikes_max: Option<u64>,
    /// Chance of each to be struck, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Not before this many milliseconds after the rule came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<u64>,
    /// Not from this many milliseconds after the rule came on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// A fault rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which requests.
    #[serde(rename = "match", default)]
    pub matches: Match,
    /// What befalls them.
    pub effect: Effect,
    /// When.
    #[serde(default)]
    pub when: When,
}

/// What a rule cannot be.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RuleError {
    /// No such verb.
    #[error("there is no verb \"{0}\"; verbs are {known}", known = VERBS.join(", "))]
    Verb(String),
    /// A probability outside of 0 to 1.
    #[error("a probability is from 0 to 1, not {0}")]
    Probability(f64),
    /// A time beyond [`LATENCY_MS_MAX`].
    #[error("{0} ms is longer than the longest possible, {LATENCY_MS_MAX} ms")]
    TooLong(u64),
    /// A range or window whose end is before its start.
    #[error("the range {0}..{1} ms is empty")]
    EmptyRange(u64, u64),
    /// An effect on verbs that it cannot befall.
    #[error("{0} cannot befall the verb {1}")]
    WrongVerb(&'static str, String),
}

/// What the rules say of a request. Faults of watches are asked for apart: they also befall streams that are open.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing: ask the next rule.
    Pass,
    /// Answer this.
    Refuse(Status),
    /// Let it through after this long.
    Delay(Duration),
    /// Break the connection, before anything is done.
    CutBefore,
    /// Carry it out, then break the connection.
    CutAfter,
    /// Say nothing until the client gives up.
    Hang,
    /// After this long answer 504, carried out or not.
    Timeout {
        /// How long.
        after: Duration,
        /// Whether to carry it out.
        applied: bool,
    },
    /// Read from the past.
    Stale {
        /// How long ago.
        lag: Duration,
        /// Only where the client asked for `resourceVersion=0`.
        cached_only: bool,
    },
    /// Refuse the continue token as too old.
    ContinueExpired,
}

impl Match {
    /// Whether a request is meant.
    pub fn matches(&self, request: &RequestInfo) -> bool {
        let glob = |pattern: &Option<String>, text: &str| pattern.as_ref().is_none_or(|p| glob(p, text));
        (self.verbs.is_empty() || self.verbs.iter().any(|v| v == request.verb))
            && glob(&self.group, &request.group)
            && glob(&self.resource, &request.resource)
            && glob(&self.subresource, &request.subresource)
            && glob(&self.namespace, &request.namespace)
            && glob(&self.name, &request.name)
            && glob(&self.user, &request.user)
            && glob(&self.user_agent, &request.user_agent)
    }
}

/// `*` any run, `?` one character. Linear in practice, quadratic at worst: only the last star is gone back to.
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    (p, t) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

impl Effect {
    /// Its name, as in data.
    pub fn name(&self) -> &'static str {
        match self {
            Effect::Latency { .. } => "latency",
            Effect::Conflict => "conflict",
            Effect::TooManyRequests { .. } => "too-many-requests",
            Effect::InternalError => "internal-error",
            Effect::Unavailable => "unavailable",
            Effect::GatewayTimeout => "gateway-timeout",
            Effect::CutBefore => "cut-before",
            Effect::CutAfter => "cut-after",
            Effect::Hang => "hang",
            Effect::Timeout { .. } => "timeout",
            Effect::StaleRead { .. } => "stale-read",
            Effect::ContinueExpired => "continue-expired",
            Effect::Watch(_) => "watch",
        }
    }

    /// The verbs it can befall; empty: all.
    pub fn verbs(&self) -> &'static [&'static str] {
        match self {
            Effect::Conflict => &["create", "update", "patch", "delete"],
            Effect::StaleRead { .. } => &["get", "list"],
            Effect::ContinueExpired => &["list"],
            Effect::Watch(_) => &["watch"],
            Effect::CutAfter | Effect::Timeout { .. } => {
                &["get", "list", "create", "update", "patch", "delete", "deletecollection"]
            }
            _ => &[],
        }
    }

    /// What a request that is struck gets.
    pub fn verdict(&self, request: &RequestInfo, chance: &mut Chance) -> Verdict {
        let about = About { group: &request.group, plural: &request.resource, kind: "" };
        match self {
            Effect::Latency { min_ms, max_ms } => Verdict::Delay(chance.range_ms(*min_ms..=*max_ms)),
            Effect::Conflict if request.verb == "create" && !request.name.is_empty() => {
                Verdict::Refuse(Status::already_exists(about, &request.name))
            }
            Effect::Conflict => Verdict::Refuse(Status::modified(about, &request.name)),
            Effect::TooManyRequests { retry_after_s } => Verdict::Refuse(retry(
                Status::new(429, "TooManyRequests", "Too many requests, please try again later."),
                *retry_after_s,
            )),
            Effect::InternalError => {
                let why = "etcdserver: leader changed";
                let mut status = Status::new(500, "InternalError", format!("Internal error occurred: {why}"));
                status.details = Some(Box::new(json!({"causes": [{"message": why}]})));
                Verdict::Refuse(status)
            }
            Effect::Unavailable => Verdict::Refuse(Status::new(
                503,
                "ServiceUnavailable",
                "the server is currently unable to handle the request",
            )),
            Effect::GatewayTimeout => Verdict::Refuse(timed_out()),
            Effect::CutBefore => Verdict::CutBefore,
            Effect::CutAfter => Verdict::CutAfter,
            Effect::Hang => Verdict::Hang,
            Effect::Timeout { after_ms, applied } => {
                Verdict::Timeout { after: Duration::from_millis(*after_ms), applied: *applied }
            }
            Effect::StaleRead { lag_ms, cached_only } => {
                Verdict::Stale { lag: Duration::from_millis(*lag_ms), cached_only: *cached_only }
            }
            Effect::ContinueExpired => Verdict::ContinueExpired,
            Effect::Watch(_) => Verdict::Pass,
        }
    }
}

/// The 504 of a request that took longer than the server allows.
pub(crate) fn timed_out() -> Status {
    let mut status = Status::new(
        504,
        "Timeout",
        "Timeout: request did not complete within requested timeout - context deadline exceeded",
    );
    status.details = Some(Box::new(json!({})));
    status
}

fn retry(mut status: Status, seconds: u32) -> Status {
    status.details = Some(Box::new(json!({"retryAfterSeconds": seconds})));
    status
}

impl Rule {
    /// A rule without conditions.
    pub fn new(matches: Match, effect: Effect) -> Self {
        Self { matches, effect, when: When::default() }
    }

    /// Whether it can be had.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), RuleError> {
        for verb in &self.matches.verbs {
            if !VERBS.contains(&verb.as_str()) {
                return Err(RuleError::Verb(verb.clone()));
            }
            let possible = self.effect.verbs();
            if !possible.is_empty() && !possible.contains(&verb.as_str()) {
                return Err(RuleError::WrongVerb(self.effect.name(), verb.clone()));
            }
        }
        let window = (self.when.from_ms.unwrap_or(0), self.when.until_ms.unwrap_or(u64::MAX));
        let (range, longest) = match &self.effect {
            Effect::Latency { min_ms, max_ms } => (Some((*min_ms, *max_ms)), *max_ms),
            Effect::Timeout { after_ms, .. } => (None, *after_ms),
            Effect::StaleRead { lag_ms, .. } | Effect::Watch(WatchFault::Delay { lag_ms }) => (None, *lag_ms),
            _ => (None, 0),
        };
        if window.0 >= window.1 {
            return Err(RuleError::EmptyRange(window.0, window.1));
        }
        if let Some((min, max)) = range.filter(|(min, max)| min > max) {
            return Err(RuleError::EmptyRange(min, max));
        }
        if longest > LATENCY_MS_MAX {
            return Err(RuleError::TooLong(longest));
        }
        match self.when.probability {
            Some(p) if !(0.0..=1.0).contains(&p) => Err(RuleError::Probability(p)),
            _ => Ok(()),
        }
    }
}
