//! What the topology keeps of running components of the data plane, which register themselves.

use etcd_api::clustermetadata::{ComponentId, Gateway, Orch, Pooler};
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

/// Of a name that is to be generated the API server takes at most this much of what it is to begin with (63 characters less five).
const GENERATED_BASE_BYTES_MAX: usize = 58;
/// And as many characters of its own.
const GENERATED_SUFFIX_BYTES: usize = 5;

/// A registered component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Its cell.
    pub cell: String,
    /// Its pod: the name under which it is reached, up to the first dot.
    pub pod: String,
}

impl Component {
    /// Reads a record of this kind; what is no such record is nothing.
    pub(super) fn of(kind: ComponentKind, value: &[u8]) -> Option<Self> {
        let (id, hostname): (Option<ComponentId>, String) = match kind {
            ComponentKind::Pooler => Pooler::decode(value).map(|record| (record.id, record.hostname)).ok()?,
            ComponentKind::Gateway => Gateway::decode(value).map(|record| (record.id, record.hostname)).ok()?,
            ComponentKind::Orch => Orch::decode(value).map(|record| (record.id, record.hostname)).ok()?,
        };
        let id = id?;
        let host = if hostname.is_empty() { id.name } else { hostname };
        let pod = host.split('.').next().unwrap_or_default().to_owned();
        Some(Self { cell: id.cell, pod })
    }

    /// Whether its pod is one of the workload's: the workload's name, a dash, and something.
    pub fn is_of(&self, workload: &str) -> bool {
        self.pod.strip_prefix(workload).is_some_and(|rest| rest.len() > 1 && rest.starts_with('-'))
    }

    /// Whether its pod may be one of the Deployment's of this name though the pod's own name cannot say so: of a long name only the
    /// beginning is left, which pods of other Deployments may share.
    pub fn may_be_of(&self, deployment: &str) -> bool {
        deployment.get(..GENERATED_BASE_BYTES_MAX).is_some_and(|base| {
            self.pod.len() == GENERATED_BASE_BYTES_MAX + GENERATED_SUFFIX_BYTES && self.pod.starts_with(base)
        })
    }

    /// The place of its pod in the StatefulSet of this name.
    pub fn ordinal_in(&self, stateful_set: &str) -> Option<i32> {
        self.pod.strip_prefix(stateful_set)?.strip_prefix('-')?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_its_cell_and_its_pod() {
        // The data plane's own bytes: id (kind, cell, name), hostname, ports.
        let gateway =
            b"\x0a\x0e\x08\x02\x12\x06zone-a\x1a\x02x7\x12\x18gate-5d8-abc.headless.ns\x1a\x08\x0a\x04grpc\x10\x64";
        let component = Component::of(ComponentKind::Gateway, gateway).unwrap();
        assert_eq!(component, Component { cell: "zone-a".into(), pod: "gate-5d8-abc".into() });
        assert!(component.is_of("gate") && component.is_of("gate-5d8"));
        assert!(!component.is_of("gat") && !component.is_of("gate-5d8-abc"));
        assert_eq!(Component::of(ComponentKind::Orch, gateway), Some(component));
        let pooler = b"\x0a\x0f\x08\x01\x12\x06zone-a\x1a\x03p-0\x12\x08postgres\x1a\x07default\x22\x050-inf\x30\x02\x42\x06pool-0\
            \x4a\x08\x0a\x04grpc\x10\x64";
        let component = Component::of(ComponentKind::Pooler, pooler).unwrap();
        assert_eq!(component, Component { cell: "zone-a".into(), pod: "pool-0".into() });
        // Who registered no hostname is known by its name.
        let nameless = b"\x0a\x0f\x08\x01\x12\x06zone-a\x1a\x03p-0";
        assert_eq!(Component::of(ComponentKind::Pooler, nameless).unwrap().pod, "p-0");
        for kind in [ComponentKind::Pooler, ComponentKind::Gateway, ComponentKind::Orch] {
            assert_eq!(Component::of(kind, b"\xff\xff"), None);
            assert_eq!(Component::of(kind, b""), None);
        }
    }

    #[test]
    fn of_a_long_name_pods_have_only_the_beginning() {
        let component = |pod: String| Component { cell: "a".into(), pod };
        let begins = "d".repeat(58);
        for deployment in [begins.clone(), format!("{begins}-multiorch-zone-a-bbe2a333")] {
            assert!(component(format!("{begins}x7k2p")).may_be_of(&deployment));
            assert!(!component(format!("{begins}x7k2p")).is_of(&deployment));
            assert!(!component(format!("{begins}x7k2")).may_be_of(&deployment));
            assert!(!component(format!("e{}x7k2p", &begins[1..])).may_be_of(&deployment));
        }
        let short = "d".repeat(57);
        assert!(component(format!("{short}-x7k2p")).is_of(&short));
        assert!(!component(format!("{short}-x7k2p")).may_be_of(&short));
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
