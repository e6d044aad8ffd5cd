//! The events of a watch stream as its client gets them: with what befalls watches.

use std::{collections::VecDeque, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{RequestInfo, WatchFault};
use crate::{ApiServer, Seen, Watcher, status::Status};

/// Events that a delayed stream holds back at most; more of them wait in the event log.
pub const DELAYED_EVENTS_MAX: usize = 4096;

/// Why a feed ended.
#[derive(Clone, Debug, PartialEq)]
pub enum FeedEnd {
    /// The stream says this and ends.
    Refused(Status),
    /// The connection breaks.
    Broken,
}

/// A watcher behind the server's fault rules.
#[derive(Debug)]
pub struct Feed {
    server: ApiServer,
    watcher: Watcher,
    request: RequestInfo,
    rules: sim_clock::watch::Receiver<u64>,
    fault: Option<WatchFault>,
    held: VecDeque<(Instant, Seen)>,
}

impl Feed {
    /// Puts a watcher behind the rules that are about `request`.
    pub fn new(server: ApiServer, watcher: Watcher, request: RequestInfo) -> Self {
        let rules = server.fault_changes();
        let fault = server.watch_fault(&request);
        Self { server, watcher, request, rules, fault, held: VecDeque::new() }
    }

    /// Whether bookmarks get through.
    pub fn bookmarks(&self) -> bool {
        !matches!(self.fault, Some(WatchFault::NoBookmarks | WatchFault::Hold))
    }

    /// The revision up to which everything was handed out (for bookmarks).
    pub fn position(&self) -> u64 {
        match self.held.front() {
            Some((_, seen)) => seen.event.revision - 1,
            None => self.watcher.position(),
        }
    }

    /// The next event. Safe to be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// 410 if the watcher fell behind the event log, or the fault that ends the stream.
    pub async fn next(&mut self) -> Result<Seen, FeedEnd> {
        loop {
            if self.rules.has_changed() {
                self.rules.mark_unchanged();
                self.fault = self.server.watch_fault(&self.request);
            }
            let lag = match &self.fault {
                Some(WatchFault::Cut) => return Err(FeedEnd::Broken),
                Some(WatchFault::Expired) => {
                    let position = self.position();
                    let text = format!("too old resource version: {position} ({})", position + 1);
                    return Err(FeedEnd::Refused(Status::expired(text)));
                }
                Some(WatchFault::Hold) => {
                    if self.rules.changed().await.is_err() {
                        return Err(FeedEnd::Broken);
                    }
                    // Seen here, so that the loop's question finds it new.
                    self.fault = self.server.watch_fault(&self.request);
                    continue;
                }
                Some(WatchFault::Delay { lag_ms }) => Some(Duration::from_millis(*lag_ms)),
                Some(WatchFault::NoBookmarks) | None => None,
            };
            // What was held back while a rule was there comes first when it is gone.
            if lag.is_none()
                && let Some((_, seen)) = self.held.pop_front()
            {
                return Ok(seen);
            }
            let due = self.held.front().map(|(due, _)| *due);
            let full = self.held.len() >= DELAYED_EVENTS_MAX;
            tokio::select! {
                biased;
                changed = self.rules.changed() => {
                    if changed.is_err() {
                        return Err(FeedEnd::Broken);
                    }
                    self.fault = self.server.watch_fault(&self.request);
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    if let Some((_, seen)) = self.held.pop_front() {
                        return Ok(seen);
                    }
                }
                seen = self.watcher.next(), if !full => {
                    let seen = seen.map_err(FeedEnd::Refused)?;
                    match lag {
                        None => return Ok(seen),
                        Some(lag) => self.held.push_back((Instant::now() + lag, seen)),
                    }
                }
            }
        }
    }
}
