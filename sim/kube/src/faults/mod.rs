//! Faults of the API server as data: which requests, what befalls them, and when.
//!
//! A [`Rule`] is three values: a [`Match`], an [`Effect`] and a [`When`]. The [`Book`] of a server keeps rules in the order in
//! which they came; the first whose verdict is not [`Verdict::Pass`] wins, and each counts how often it was asked and how
//! often it struck. The book is pure: time and chance come in. [`crate::ApiServer::inject`] puts a rule in,
//! [`crate::ApiServer::heal`] (or dropping a [`crate::FaultGuard`]) takes it out.
//!
//! ```
//! use sim_kube::faults::{Effect, Match, Rule, When};
//! let rule: Rule = serde_json::from_value(serde_json::json!({
//!     "match": {"verbs": ["update", "patch"], "resource": "things", "subresource": "status"},
//!     "effect": {"too-many-requests": {"retry_after_s": 2}},
//!     "when": {"strikes_max": 3}
//! })).unwrap();
//! assert_eq!(rule.effect, Effect::TooManyRequests { retry_after_s: 2 });
//! assert_eq!(rule.when, When { strikes_max: Some(3), ..When::default() });
//! assert!(rule.check().is_ok());
//! assert!(serde_json::from_value::<Match>(serde_json::json!({"verb": "get"})).is_err(), "unknown fields are refused");
//! ```
//!
//! Texts are those of the real server: its `NewTooManyRequests`, `NewServiceUnavailable`, `NewInternalError`,
//! `NewTimeoutError` and its request time-out filter.

mod book;
mod feed;
mod guard;
mod rule;

#[cfg(test)]
mod tests;

pub use book::{Book, Closure, FaultId, Hits, RULES_MAX};
pub use feed::{Feed, FeedEnd};
pub use guard::FaultGuard;
pub(crate) use rule::timed_out;
pub use rule::{Effect, LATENCY_MS_MAX, Match, RequestInfo, Rule, RuleError, VERBS, Verdict, WatchFault, When};
