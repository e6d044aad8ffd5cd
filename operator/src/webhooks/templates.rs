//! The templates that a cluster may be made of, as they are at this moment.
//!
//! Asked of the API server and not of a cache: whoever applies a template and then a cluster that names it must not be told that there
//! is none.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::serde::de::DeserializeOwned;
use kube::{Api, Client, Resource, core::NamespaceResourceScope};

use crate::{
    api::{
        CellTemplate, CellTemplateSpec, CoreTemplate, CoreTemplateSpec, MultigresClusterSpec, ShardTemplate,
        ShardTemplateSpec,
    },
    resolver::{TemplateSource, defaults},
};

/// The templates of one namespace that a cluster names, and those called `default`.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    pub(super) core: BTreeMap<String, CoreTemplateSpec>,
    pub(super) cell: BTreeMap<String, CellTemplateSpec>,
    pub(super) shard: BTreeMap<String, ShardTemplateSpec>,
}

/// Names of templates, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// CoreTemplates.
    pub core: BTreeSet<String>,
    /// CellTemplates.
    pub cell: BTreeSet<String>,
    /// ShardTemplates.
    pub shard: BTreeSet<String>,
}

impl Named {
    /// Those that a cluster names.
    pub fn by(spec: &MultigresClusterSpec) -> Self {
        let mut named = Self::default();
        let admin = |config: &Option<crate::api::cluster::MultiAdminConfig>| config.as_ref()?.template_ref.clone();
        named.core.extend(spec.template_defaults.core_template.clone());
        named.core.extend(spec.global_topo_server.as_ref().and_then(|topo| topo.template_ref.clone()));
        named.core.extend(admin(&spec.multiadmin));
        named.core.extend(admin(&spec.multiadmin_web));
        named.cell.extend(spec.template_defaults.cell_template.clone());
        named.cell.extend(spec.cells.iter().filter_map(|cell| cell.cell_template.clone()));
        named.shard.extend(spec.template_defaults.shard_template.clone());
        let groups = spec.databases.iter().flat_map(|database| &database.tablegroups);
        named.shard.extend(groups.flat_map(|group| &group.shards).filter_map(|shard| shard.shard_template.clone()));
        named
    }
}

impl Lookup {
    /// Asks for what these specifications name in `namespace`.
    pub async fn of(
        client: &Client,
        namespace: &str,
        specs: impl IntoIterator<Item = &MultigresClusterSpec>,
    ) -> Result<Self, kube::Error> {
        let mut named = Named::default();
        for Named { core, cell, shard } in specs.into_iter().map(Named::by) {
            named.core.extend(core);
            named.cell.extend(cell);
            named.shard.extend(shard);
        }
        let mut lookup = Self::default();
        for (name, found) in ask::<CoreTemplate>(client, namespace, named.core).await? {
            lookup.core.insert(name, found.spec);
        }
        for (name, found) in ask::<CellTemplate>(client, namespace, named.cell).await? {
            lookup.cell.insert(name, found.spec);
        }
        for (name, found) in ask::<ShardTemplate>(client, namespace, named.shard).await? {
            lookup.shard.insert(name, found.spec);
        }
        Ok(lookup)
    }
}

async fn ask<K>(client: &Client, namespace: &str, mut names: BTreeSet<String>) -> Result<Vec<(String, K)>, kube::Error>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    names.insert(defaults::TEMPLATE.to_owned());
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let mut found = Vec::new();
    for name in names {
        if let Some(template) = api.get_opt(&name).await? {
            found.push((name, template));
        }
    }
    Ok(found)
}

impl TemplateSource for Lookup {
    fn core(&self, name: &str) -> Option<CoreTemplateSpec> {
        self.core.get(name).cloned()
    }

    fn cell(&self, name: &str) -> Option<CellTemplateSpec> {
        self.cell.get(name).cloned()
    }

    fn shard(&self, name: &str) -> Option<ShardTemplateSpec> {
        self.shard.get(name).cloned()
    }
}
