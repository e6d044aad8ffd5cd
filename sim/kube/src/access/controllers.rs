//! The loop around the steps of [`service_accounts`](super::service_accounts).

use std::collections::BTreeMap;

use sim_clock::now;

use super::service_accounts::step;
use crate::{engine::WriteOptions, server::ApiServer};

const TABLES: [&str; 3] = ["serviceaccounts", "configmaps", "clusterroles.rbac.authorization.k8s.io"];
/// How long after a change the controllers look at it.
const REACTION: std::time::Duration = std::time::Duration::from_millis(2);

/// Runs until the world ends.
pub(crate) async fn run(server: ApiServer, authority_pem: String) {
    let mut wakes: Vec<_> = {
        let mut engine = server.engine();
        TABLES.iter().map(|table| engine.subscribe(&(*table).into())).collect()
    };
    let mut positions: BTreeMap<&str, u64> = BTreeMap::new();
    loop {
        {
            let mut engine = server.engine();
            for table in TABLES {
                let after = positions.get(table).copied().unwrap_or(0);
                // A log that was lost holds nothing that the next change would not bring up again.
                let events = engine.events_after(table, after).unwrap_or_default();
                positions.insert(table, engine.revision());
                let mut seen = std::collections::BTreeSet::new();
                for event in events {
                    let key = crate::engine::Key::of(&event.object);
                    if table != TABLES[2] && !seen.insert(key) {
                        continue;
                    }
                    let (create, update) = step(&engine, table, &event.object, &authority_pem);
                    let by = WriteOptions::by("kube-controller-manager");
                    for object in create {
                        let _ = engine.create_object(object, &by, now());
                    }
                    for object in update {
                        // Refused if the object moved on; its event brings the step back.
                        let _ = engine.target_of(&object).and_then(|t| engine.update(&t, object, &by, now()));
                    }
                    if table == TABLES[2] {
                        break; // the step looks at all cluster roles
                    }
                }
            }
        }
        let [a, b, c] = wakes.as_mut_slice() else { return };
        let changed = tokio::select! {
            biased;
            changed = a.changed() => changed,
            changed = b.changed() => changed,
            changed = c.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        tokio::time::sleep(REACTION).await;
    }
}
