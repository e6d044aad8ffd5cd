//! A rule that goes with its guard.

use super::{FaultId, Hits};
use crate::ApiServer;

/// Takes its rule out when it is dropped.
#[derive(Debug)]
#[must_use = "dropping the guard heals the fault"]
pub struct FaultGuard {
    server: ApiServer,
    id: FaultId,
}

impl FaultGuard {
    pub(crate) fn new(server: ApiServer, id: FaultId) -> Self {
        Self { server, id }
    }

    /// How often it was asked and struck so far.
    pub fn hits(&self) -> Hits {
        self.server.fault_hits(self.id).unwrap_or_default()
    }
}

impl Drop for FaultGuard {
    fn drop(&mut self) {
        self.server.heal(self.id);
    }
}
