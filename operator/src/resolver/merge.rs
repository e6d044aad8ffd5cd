//! How settings of two levels become one: what the nearer level says replaces what the farther level says.

use k8s_openapi::api::core::v1::ResourceRequirements;

use crate::api::common::{EtcdSpec, MultiOrchSpec, PoolSpec, Pools, PvcDeletionPolicy, StatelessSpec, StorageSpec};

/// Puts the values of `nearer` over those of `self`.
pub trait Overlay {
    /// `self` with everything replaced that `nearer` sets.
    #[must_use]
    fn overlaid_with(self, nearer: &Self) -> Self;
}

fn nearest<T: Clone>(farther: Option<T>, nearer: Option<&T>) -> Option<T> {
    nearer.cloned().or(farther)
}

fn says_something(resources: &ResourceRequirements) -> bool {
    resources.requests.is_some() || resources.limits.is_some() || resources.claims.is_some()
}

/// Resources replace each other as a whole: half of a request from one place and half from another fits no machine.
fn nearest_resources(
    farther: Option<ResourceRequirements>,
    nearer: Option<&ResourceRequirements>,
) -> Option<ResourceRequirements> {
    nearer.filter(|resources| says_something(resources)).cloned().or(farther)
}

fn overlaid<T: Overlay + Clone>(farther: Option<T>, nearer: Option<&T>) -> Option<T> {
    match (farther, nearer) {
        (Some(farther), Some(nearer)) => Some(farther.overlaid_with(nearer)),
        (farther, nearer) => nearer.cloned().or(farther),
    }
}

impl Overlay for StatelessSpec {
    fn overlaid_with(mut self, nearer: &Self) -> Self {
        self.pod_annotations.extend(nearer.pod_annotations.clone());
        self.pod_labels.extend(nearer.pod_labels.clone());
        Self {
            replicas: nearer.replicas.or(self.replicas),
            resources: nearest_resources(self.resources, nearer.resources.as_ref()),
            affinity: nearest(self.affinity, nearer.affinity.as_ref()),
            ..self
        }
    }
}

impl Overlay for MultiOrchSpec {
    fn overlaid_with(mut self, nearer: &Self) -> Self {
        self.pod_annotations.extend(nearer.pod_annotations.clone());
        self.pod_labels.extend(nearer.pod_labels.clone());
        Self {
            replicas: nearer.replicas.or(self.replicas),
            resources: nearest_resources(self.resources, nearer.resources.as_ref()),
            affinity: nearest(self.affinity, nearer.affinity.as_ref()),
            cells: if nearer.cells.is_empty() { self.cells } else { nearer.cells.clone() },
            ..self
        }
    }
}

impl Overlay for StorageSpec {
    fn overlaid_with(self, nearer: &Self) -> Self {
        Self {
            size: nearest(self.size, nearer.size.as_ref()),
            class: nearest(self.class, nearer.class.as_ref()),
            access_modes: if nearer.access_modes.is_empty() { self.access_modes } else { nearer.access_modes.clone() },
        }
    }
}

impl Overlay for PvcDeletionPolicy {
    fn overlaid_with(self, nearer: &Self) -> Self {
        Self {
            when_deleted: nearer.when_deleted.or(self.when_deleted),
            when_scaled: nearer.when_scaled.or(self.when_scaled),
        }
    }
}

impl Overlay for EtcdSpec {
    fn overlaid_with(self, nearer: &Self) -> Self {
        Self {
            image: nearest(self.image, nearer.image.as_ref()),
            replicas: nearer.replicas.or(self.replicas),
            storage: overlaid(self.storage, nearer.storage.as_ref()),
            resources: nearest_resources(self.resources, nearer.resources.as_ref()),
            root_path: nearest(self.root_path, nearer.root_path.as_ref()),
            pvc_deletion_policy: overlaid(self.pvc_deletion_policy, nearer.pvc_deletion_policy.as_ref()),
        }
    }
}

impl Overlay for PoolSpec {
    fn overlaid_with(self, nearer: &Self) -> Self {
        Self {
            pool_type: nearer.pool_type.or(self.pool_type),
            cells: if nearer.cells.is_empty() { self.cells } else { nearer.cells.clone() },
            replicas_per_cell: nearer.replicas_per_cell.or(self.replicas_per_cell),
            storage: overlaid(self.storage, nearer.storage.as_ref()),
            backup_storage: overlaid(self.backup_storage, nearer.backup_storage.as_ref()),
            postgres: nearest(self.postgres, nearer.postgres.as_ref()),
            multipooler: nearest(self.multipooler, nearer.multipooler.as_ref()),
            affinity: nearest(self.affinity, nearer.affinity.as_ref()),
            pvc_deletion_policy: overlaid(self.pvc_deletion_policy, nearer.pvc_deletion_policy.as_ref()),
        }
    }
}

/// Pools of both levels; a pool that both have is overlaid.
pub fn pools(mut farther: Pools, nearer: &Pools) -> Pools {
    for (name, pool) in nearer {
        let merged = farther.remove(name).unwrap_or_default().overlaid_with(pool);
        farther.insert(name.clone(), merged);
    }
    farther
}

/// The policy for the level of `nearer`, seen from above through `farther`. `None` means that volumes stay.
pub fn pvc_policy(nearer: Option<PvcDeletionPolicy>, farther: Option<PvcDeletionPolicy>) -> Option<PvcDeletionPolicy> {
    overlaid(farther, nearer.as_ref()).filter(|policy| *policy != PvcDeletionPolicy::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::common::RetentionPolicy::{Delete, Retain};

    #[test]
    fn a_policy_is_merged_field_by_field() {
        let cluster = PvcDeletionPolicy { when_deleted: Some(Retain), when_scaled: Some(Retain) };
        let pool = PvcDeletionPolicy { when_deleted: None, when_scaled: Some(Delete) };
        let expected = PvcDeletionPolicy { when_deleted: Some(Retain), when_scaled: Some(Delete) };
        assert_eq!(pvc_policy(Some(pool), Some(cluster)), Some(expected));
        assert_eq!(pvc_policy(None, None), None);
        assert_eq!(pvc_policy(Some(PvcDeletionPolicy::default()), None), None);
    }

    #[test]
    fn a_backup_storage_override_is_not_lost() {
        let template = PoolSpec { replicas_per_cell: Some(3), ..PoolSpec::default() };
        let storage = StorageSpec { size: Some("20Gi".into()), ..StorageSpec::default() };
        let nearer = PoolSpec { backup_storage: Some(storage.clone()), ..PoolSpec::default() };
        let merged = template.overlaid_with(&nearer);
        assert_eq!(merged.backup_storage, Some(storage));
        assert_eq!(merged.replicas_per_cell, Some(3));
    }

    #[test]
    fn empty_resources_do_not_erase_those_of_the_level_above() {
        let farther =
            StatelessSpec { resources: Some(crate::resolver::defaults::ETCD.into()), ..StatelessSpec::default() };
        let nearer = StatelessSpec { resources: Some(ResourceRequirements::default()), ..StatelessSpec::default() };
        assert_eq!(farther.clone().overlaid_with(&nearer).resources, farther.resources);
    }

    use proptest::prelude::*;

    prop_compose! {
        fn storage()(size in proptest::option::of("[1-9]Gi"), class in proptest::option::of("[a-c]"), mode in any::<bool>()) -> StorageSpec {
            StorageSpec { size, class, access_modes: if mode { vec!["ReadWriteOnce".into()] } else { Vec::new() } }
        }
    }

    fn resources() -> impl Strategy<Value = ResourceRequirements> {
        prop_oneof![
            Just(ResourceRequirements::default()),
            Just(crate::resolver::defaults::ETCD.into()),
            Just(crate::resolver::defaults::MULTIORCH.into()),
        ]
    }

    fn policy() -> impl Strategy<Value = PvcDeletionPolicy> {
        let one = || proptest::option::of(prop_oneof![Just(Retain), Just(Delete)]);
        (one(), one()).prop_map(|(when_deleted, when_scaled)| PvcDeletionPolicy { when_deleted, when_scaled })
    }

    prop_compose! {
        fn stateless()(
            replicas in proptest::option::of(0..5),
            resources in proptest::option::of(resources()),
            pod_labels in proptest::collection::btree_map("[a-c]", "[x-z]", 0..3),
            pod_annotations in proptest::collection::btree_map("[a-c]", "[x-z]", 0..3),
        ) -> StatelessSpec {
            StatelessSpec { replicas, resources, affinity: None, pod_annotations, pod_labels }
        }
    }

    prop_compose! {
        fn pool()(
            replicas_per_cell in proptest::option::of(0..5),
            cells in proptest::collection::vec("[a-c]", 0..2),
            storage in proptest::option::of(storage()),
            backup_storage in proptest::option::of(storage()),
            pvc_deletion_policy in proptest::option::of(policy()),
        ) -> PoolSpec {
            PoolSpec { cells, replicas_per_cell, storage, backup_storage, pvc_deletion_policy, ..PoolSpec::default() }
        }
    }

    prop_compose! {
        fn etcd()(
            image in proptest::option::of("[a-c]"),
            replicas in proptest::option::of(1..5),
            storage in proptest::option::of(storage()),
            resources in proptest::option::of(resources()),
            root_path in proptest::option::of("/[a-c]"),
            pvc_deletion_policy in proptest::option::of(policy()),
        ) -> EtcdSpec {
            EtcdSpec { image, replicas, storage, resources, root_path, pvc_deletion_policy }
        }
    }

    /// Nothing over something is that something; something over itself is itself; and it does not matter which two of three levels
    /// are merged first.
    fn laws<T: Overlay + Default + Clone + PartialEq + std::fmt::Debug>(a: &T, b: &T, c: &T) {
        let over = |farther: &T, nearer: &T| farther.clone().overlaid_with(nearer);
        assert_eq!(&over(a, &T::default()), a);
        assert_eq!(&over(a, a), a);
        assert_eq!(over(&over(a, b), b), over(a, b));
        assert_eq!(over(&over(a, b), c), over(a, &over(b, c)));
    }

    proptest! {
        #[test]
        fn levels_are_merged_alike_in_whatever_order(
            stateless in [stateless(), stateless(), stateless()],
            storage in [storage(), storage(), storage()],
            policy in [policy(), policy(), policy()],
            pool in [pool(), pool(), pool()],
            etcd in [etcd(), etcd(), etcd()],
        ) {
            laws(&stateless[0], &stateless[1], &stateless[2]);
            laws(&storage[0], &storage[1], &storage[2]);
            laws(&policy[0], &policy[1], &policy[2]);
            laws(&pool[0], &pool[1], &pool[2]);
            laws(&etcd[0], &etcd[1], &etcd[2]);
        }

        #[test]
        fn the_nearest_level_that_says_something_counts(far in proptest::option::of(policy()), near in proptest::option::of(policy())) {
            let merged = pvc_policy(near, far).unwrap_or_default();
            let field = |of: fn(&PvcDeletionPolicy) -> Option<crate::api::common::RetentionPolicy>| {
                near.as_ref().and_then(of).or_else(|| far.as_ref().and_then(of))
            };
            prop_assert_eq!(merged.when_deleted, field(|policy| policy.when_deleted));
            prop_assert_eq!(merged.when_scaled, field(|policy| policy.when_scaled));
        }

        #[test]
        fn pools_of_both_levels_are_there(
            far in proptest::collection::btree_map("[a-c]", pool(), 0..3),
            near in proptest::collection::btree_map("[a-c]", pool(), 0..3),
        ) {
            let merged = pools(far.clone(), &near);
            let names: std::collections::BTreeSet<_> = far.keys().chain(near.keys()).collect();
            prop_assert_eq!(merged.keys().collect::<std::collections::BTreeSet<_>>(), names);
            for (name, pool) in &near {
                let expected = far.get(name).cloned().unwrap_or_default().overlaid_with(pool);
                prop_assert_eq!(&merged[name], &expected);
            }
        }
    }
}
