//! Objects of which some may not be readable, so that one of them does not keep all others of its kind from being seen.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// An object of a list or a watch.
#[derive(Clone, Debug)]
pub enum Readable<K> {
    /// As it is.
    Object(K),
    /// It says something that this program does not know: one that is newer wrote it, and the definition let it pass.
    Unreadable {
        /// Whose it is.
        metadata: ObjectMeta,
        /// What cannot be read.
        error: String,
    },
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Readable<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match K::deserialize(&value) {
            Ok(object) => Ok(Self::Object(object)),
            Err(error) => {
                let metadata = ObjectMeta::deserialize(&value["metadata"]).map_err(serde::de::Error::custom)?;
                Ok(Self::Unreadable { metadata, error: error.to_string() })
            }
        }
    }
}

impl<K: Resource> Resource for Readable<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dynamic)
    }

    fn group(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dynamic)
    }

    fn version(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dynamic)
    }

    fn plural(dynamic: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dynamic)
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Object(object) => object.meta(),
            Self::Unreadable { metadata, .. } => metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Object(object) => object.meta_mut(),
            Self::Unreadable { metadata, .. } => metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::ObjectList;
    use serde_json::json;

    use super::*;
    use crate::api::MultigresCluster;

    #[test]
    fn one_that_cannot_be_read_hides_no_other() {
        let cluster = |name: &str, cells: Value| {
            json!({"apiVersion": "multigres.com/v1alpha1", "kind": "MultigresCluster",
                "metadata": {"name": name, "namespace": "n", "resourceVersion": "7"}, "spec": {"cells": cells}})
        };
        let list = json!({"apiVersion": "multigres.com/v1alpha1", "kind": "MultigresClusterList",
            "metadata": {"resourceVersion": "9"},
            "items": [cluster("odd", json!("many")), cluster("good", json!([{"name": "a", "zone": "z"}]))]});
        assert!(serde_json::from_value::<ObjectList<MultigresCluster>>(list.clone()).is_err());
        let list: ObjectList<Readable<MultigresCluster>> = serde_json::from_str(&list.to_string()).unwrap();
        let [odd, good] = list.items.as_slice() else { panic!("two") };
        let Readable::Unreadable { metadata, error } = odd else { panic!("{odd:?}") };
        assert_eq!((metadata.name.as_deref(), odd.meta().resource_version.as_deref()), (Some("odd"), Some("7")));
        assert!(error.contains("many"), "{error}");
        let Readable::Object(good) = good else { panic!("{good:?}") };
        assert_eq!(good.spec.cells[0].name, "a");
    }
}
