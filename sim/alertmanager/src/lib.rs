//! Alertmanager 0.33: routes, groups, inhibition, silences, time intervals, notifications, API v2.
//!
//! | module | what it does | layer |
//! |---|---|---|
//! | [`config`] | the configuration file, strict, shown with secrets masked | engine |
//! | [`matcher`] | both grammars of matchers | engine |
//! | [`route`] | the routing tree | engine |
//! | [`time_interval`] | when something is muted or active | engine |
//! | [`alert`] | alerts: identity, merging, order | engine |
//! | [`lint`] | what is wrong with a configuration that loads | engine |
//! | [`silence`], [`inhibit`], [`nflog`] | what mutes, what was told | engine |
//! | [`snapshot`] | what outlives the process | engine |
//! | [`engine`] | groups and their timers, retries, sweeping | engine |
//! | [`notify`] | a notification as the request that goes over the wire | engine |
//! | [`template`] | Alertmanager's functions, values and default templates in Go's template language | engine |
//! | [`api`] | API v2, `/metrics` | wire over a pure function |
//! | [`server`] | serving, driving the engine, sending, reloading | wire |
//!
//! Engines take the time as an argument and do no I/O.

pub mod alert;
pub mod api;
pub mod config;
pub mod engine;
pub mod inhibit;
pub mod lint;
pub mod matcher;
pub mod nflog;
pub mod notify;
pub mod route;
pub mod server;
pub mod silence;
pub mod snapshot;
pub mod template;
pub mod time_interval;
mod yaml;

/// Everything that can go wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong.
    #[error("{message}")]
    Config {
        /// What is wrong, in the real program's words.
        message: String,
    },
    /// A template is wrong.
    #[error("{message}")]
    Template {
        /// What is wrong, with its place.
        message: String,
    },
}
