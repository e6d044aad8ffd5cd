//! What is not to be touched: templates that are in use, and what the operator itself writes.

use super::{WebhookError, review::Ask, templates::Named};
use crate::api::MultigresCluster;

/// Who deletes what is in a namespace that goes.
pub const NAMESPACE_CONTROLLER: &str = "system:serviceaccount:kube-system:namespace-controller";

/// Who may change what the operator writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caretakers(Vec<String>);

impl Caretakers {
    /// The operator, and the controllers that clean up after it.
    pub fn new(namespace: &str, account: &str) -> Self {
        let user = |namespace: &str, account: &str| format!("system:serviceaccount:{namespace}:{account}");
        Self(vec![
            user(namespace, account),
            user("kube-system", "generic-garbage-collector"),
            NAMESPACE_CONTROLLER.to_owned(),
        ])
    }

    /// Refuses everybody else.
    pub fn judge(&self, kind: &str, ask: &Ask) -> Result<(), WebhookError> {
        if self.0.contains(&ask.user) {
            return Ok(());
        }
        Err(WebhookError::Forbidden(format!(
            "direct modification of {kind} is prohibited: the operator writes it. Change the MultigresCluster that it belongs to"
        )))
    }
}

/// Why a template must stay, if it must. A cluster that is on its way out needs none any more.
pub fn template_in_use(kind: &str, name: &str, clusters: &[MultigresCluster]) -> Option<String> {
    let names_it = |cluster: &&MultigresCluster| {
        let named = Named::by(&cluster.spec);
        match kind {
            "CoreTemplate" => named.core.contains(name),
            "CellTemplate" => named.cell.contains(name),
            _ => named.shard.contains(name),
        }
    };
    let stays = |cluster: &&MultigresCluster| cluster.metadata.deletion_timestamp.is_none();
    let users: Vec<String> =
        clusters.iter().filter(stays).filter(names_it).filter_map(|cluster| cluster.metadata.name.clone()).collect();
    (!users.is_empty()).then(|| format!("{kind} '{name}' is in use by MultigresCluster {}", users.join(", ")))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use serde_json::json;

    use super::*;

    fn ask(user: &str) -> Ask {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "u", "operation": "UPDATE", "userInfo": {"username": user}}});
        Ask::read(review.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn only_the_operator_and_the_clusters_own_controllers_change_children() {
        let caretakers = Caretakers::new("multigres-operator", "manager");
        for (user, allowed) in [
            ("system:serviceaccount:multigres-operator:manager", true),
            ("system:serviceaccount:kube-system:generic-garbage-collector", true),
            ("system:serviceaccount:kube-system:namespace-controller", true),
            ("system:serviceaccount:default:manager", false),
            ("kubernetes-admin", false),
            ("", false),
        ] {
            assert_eq!(caretakers.judge("Cell", &ask(user)).is_ok(), allowed, "{user}");
        }
    }

    #[test]
    fn a_template_that_a_cluster_names_stays() {
        let cluster = |name: &str, spec: serde_json::Value| {
            let object = json!({"apiVersion": "multigres.com/v1alpha1", "kind": "MultigresCluster",
                "metadata": {"name": name}, "spec": spec});
            serde_json::from_value::<MultigresCluster>(object).unwrap()
        };
        let clusters = [
            cluster("a", json!({"cells": [{"name": "z", "zone": "z", "cellTemplate": "big"}]})),
            cluster("b", json!({"templateDefaults": {"cellTemplate": "big"}})),
            cluster("c", json!({})),
        ];
        let why = template_in_use("CellTemplate", "big", &clusters);
        assert_eq!(why.as_deref(), Some("CellTemplate 'big' is in use by MultigresCluster a, b"));
        assert_eq!(template_in_use("ShardTemplate", "big", &clusters), None);
        assert_eq!(template_in_use("CellTemplate", "small", &clusters), None);
        let going = clusters.map(|mut cluster| {
            cluster.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
            cluster
        });
        assert_eq!(template_in_use("CellTemplate", "big", &going), None);
    }
}
