//! What the topology keeps of running components of the data plane, which register themselves.

use etcd_api::clustermetadata::Pooler;
use etcd_api::keys;
use etcd_api::prost::Message;

/// The kinds of components that register themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComponentKind {
    /// A pooler. It stays registered when it ends, for its data is still there.
    Pooler,
    /// A gateway. It goes with an orderly end.
    Gateway,
    /// An orchestrator. It goes with an orderly end.
    Orch,
}

impl ComponentKind {
    pub(super) fn folder(self, root: &str) -> String {
        match self {
            Self::Pooler => keys::poolers(root),
            Self::Gateway => keys::gateways(root),
            Self::Orch => keys::orchs(root),
        }
    }
}

/// A registered component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its cell.
    pub cell: String,
    /// Its pod: the name under which it is reached, up to the first dot.
    pub pod: String,
}

impl Component {
    /// Reads a record. All three kinds begin with the same fields; what is no such record is nothing.
    pub(super) fn of(value: &[u8]) -> Option<Self> {
        let record = Pooler::decode(value).ok()?;
        let id = record.id?;
        let host = if record.hostname.is_empty() { id.name } else { record.hostname };
        let pod = host.split('.').next().unwrap_or_default().to_owned();
        Some(Self { cell: id.cell, pod })
    }

    /// Whether its pod is one of the workload's: the workload's name, a dash, and something.
    pub fn is_of(&self, workload: &str) -> bool {
        self.pod.strip_prefix(workload).is_some_and(|rest| rest.len() > 1 && rest.starts_with('-'))
    }

    /// The place of its pod in the StatefulSet of this name.
    pub fn ordinal_in(&self, stateful_set: &str) -> Option<i32> {
        self.pod.strip_prefix(stateful_set)?.strip_prefix('-')?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_api::clustermetadata::{ComponentId, Gateway};

    #[test]
    fn a_record_names_its_cell_and_its_pod() {
        let id = Some(ComponentId { cell: "zone-a".into(), name: "x7".into() });
        let gateway = Gateway { id, hostname: "gate-5d8-abc.headless.ns".into(), ..Gateway::default() };
        let component = Component::of(&gateway.encode_to_vec()).unwrap();
        assert_eq!(component, Component { cell: "zone-a".into(), pod: "gate-5d8-abc".into() });
        assert!(component.is_of("gate") && component.is_of("gate-5d8"));
        assert!(!component.is_of("gat") && !component.is_of("gate-5d8-abc"));
        assert_eq!(Component::of(b"\xff\xff"), None);
        assert_eq!(Component::of(b""), None);
    }

    #[test]
    fn a_pod_of_a_stateful_set_has_a_place() {
        let component = |pod: &str| Component { cell: "a".into(), pod: pod.into() };
        assert_eq!(component("pool---a3-12").ordinal_in("pool---a3"), Some(12));
        assert_eq!(component("pool---a3-x").ordinal_in("pool---a3"), None);
        assert_eq!(component("pool---a3").ordinal_in("pool---a3"), None);
        assert_eq!(component("pool---a31-1").ordinal_in("pool---a3"), None);
    }
}
