//! From what a user wrote to what is to be built: template, then overrides, then the inline specification, then defaults.
//!
//! Everything here is a function from values to values. Templates come in through [`TemplateSource`].

pub mod defaults;
pub mod merge;

use k8s_openapi::api::core::v1::LocalObjectReference;

use crate::api::cluster::{
    CellConfig, DatabaseConfig, MultiAdminConfig, ShardConfig, ShardInlineSpec, TableGroupConfig,
};
use crate::api::common::{
    CellImages, ContainerConfig, EtcdSpec, GlobalTopoServerRef, ImagePullPolicy, MultiOrchSpec, PoolSpec, PoolType,
    ShardImages, StatelessSpec, StorageSpec, TopoServerImages,
};
use crate::api::table_group::ResolvedShard;
use crate::api::{
    CellSpec, CellTemplateSpec, CoreTemplateSpec, MultigresCluster, MultigresClusterSpec, ShardTemplateSpec,
    TableGroupSpec, TopoServerSpec,
};
use crate::names;
use defaults::Compute;
use merge::Overlay;

/// Port on which a topology server answers clients.
pub const TOPO_CLIENT_PORT: u16 = 2379;

/// Looks templates up in the namespace of the cluster that is being resolved.
pub trait TemplateSource: Send + Sync {
    /// A CoreTemplate.
    fn core(&self, name: &str) -> Option<CoreTemplateSpec>;
    /// A CellTemplate.
    fn cell(&self, name: &str) -> Option<CellTemplateSpec>;
    /// A ShardTemplate.
    fn shard(&self, name: &str) -> Option<ShardTemplateSpec>;
}

/// A namespace without templates.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTemplates;

impl TemplateSource for NoTemplates {
    fn core(&self, _: &str) -> Option<CoreTemplateSpec> {
        None
    }
    fn cell(&self, _: &str) -> Option<CellTemplateSpec> {
        None
    }
    fn shard(&self, _: &str) -> Option<ShardTemplateSpec> {
        None
    }
}

/// Why a cluster cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// A template that is named does not exist.
    #[error("referenced {kind} '{name}' not found")]
    TemplateMissing {
        /// The template's kind.
        kind: &'static str,
        /// The name that was asked for.
        name: String,
    },
}

/// The template that applies: the one that is named, else the cluster's default one, else the one called `default` if there is one.
fn template<T: Default>(
    kind: &'static str,
    named: Option<&String>,
    cluster_default: Option<&String>,
    find: impl Fn(&str) -> Option<T>,
) -> Result<T, ResolveError> {
    match named.or(cluster_default) {
        Some(name) if name != defaults::TEMPLATE => {
            find(name).ok_or_else(|| ResolveError::TemplateMissing { kind, name: name.clone() })
        }
        _ => Ok(find(defaults::TEMPLATE).unwrap_or_default()),
    }
}

/// Fills in images and the system database, and gives a shard that nothing describes its default pool. Answers with a sentence for
/// each pool that was put in.
pub fn populate_defaults(spec: &mut MultigresClusterSpec, templates: &dyn TemplateSource) -> Vec<String> {
    let images = &mut spec.images;
    images.image_pull_policy.get_or_insert(ImagePullPolicy::IfNotPresent);
    for (image, default) in [
        (&mut images.postgres, defaults::POSTGRES_IMAGE),
        (&mut images.multiadmin, defaults::MULTIGRES_IMAGE),
        (&mut images.multiadmin_web, defaults::MULTIADMIN_WEB_IMAGE),
        (&mut images.multiorch, defaults::MULTIGRES_IMAGE),
        (&mut images.multipooler, defaults::MULTIGRES_IMAGE),
        (&mut images.multigateway, defaults::MULTIGRES_IMAGE),
    ] {
        image.get_or_insert_with(|| default.to_owned());
    }
    if spec.databases.is_empty() {
        let name = defaults::DATABASE.to_owned();
        spec.databases.push(DatabaseConfig { name, default: Some(true), tablegroups: Vec::new() });
    }
    let templated = spec.template_defaults.shard_template.is_some() || templates.shard(defaults::TEMPLATE).is_some();
    let mut decisions = Vec::new();
    for database in &mut spec.databases {
        if database.tablegroups.is_empty() {
            let name = defaults::TABLE_GROUP.to_owned();
            database.tablegroups.push(TableGroupConfig { name, default: Some(true), ..TableGroupConfig::default() });
        }
        for group in &mut database.tablegroups {
            if group.shards.is_empty() {
                group.shards.push(ShardConfig { name: defaults::SHARD.to_owned(), ..ShardConfig::default() });
            }
            for shard in &mut group.shards {
                let described = shard.spec.is_some() || shard.shard_template.is_some() || shard.overrides.is_some();
                if templated || described {
                    continue;
                }
                let pool = PoolSpec { pool_type: Some(PoolType::ReadWrite), ..PoolSpec::default() };
                let pools = [(defaults::POOL.to_owned(), pool)].into();
                shard.spec = Some(ShardInlineSpec { pools, ..ShardInlineSpec::default() });
                decisions.push(format!(
                    "Shard '{}' of tablegroup '{}' in database '{}' describes no pools: using the implicit readWrite pool '{}'",
                    shard.name,
                    group.name,
                    database.name,
                    defaults::POOL
                ));
            }
        }
    }
    decisions
}

/// Which template each part of a cluster follows, one sentence each. Parts that follow none, or one that is missing, are left out.
pub fn templates_followed(cluster: &MultigresCluster, templates: &dyn TemplateSource) -> Vec<String> {
    fn name<'a>(
        named: Option<&'a String>,
        default: Option<&'a String>,
        exists: impl Fn(&str) -> bool,
    ) -> Option<&'a str> {
        let name = named.or(default).map_or(defaults::TEMPLATE, String::as_str);
        exists(name).then_some(name)
    }
    let spec = &cluster.spec;
    let mut followed = Vec::new();
    let mut tell = |what: String, kind: &str, template: Option<&str>| {
        followed.extend(template.map(|template| format!("Resolved {what} from {kind} '{template}'")));
    };
    let default = spec.template_defaults.core_template.as_ref();
    let core = |named| name(named, default, |name| templates.core(name).is_some());
    let topo = spec.global_topo_server.as_ref();
    if topo.is_none_or(|topo| topo.etcd.is_none() && topo.external.is_none()) {
        tell(
            "the global TopoServer".to_owned(),
            "CoreTemplate",
            core(topo.and_then(|topo| topo.template_ref.as_ref())),
        );
    }
    for (what, config) in [("MultiAdmin", &spec.multiadmin), ("MultiAdminWeb", &spec.multiadmin_web)] {
        if config.as_ref().is_none_or(|config| config.spec.is_none()) {
            let named = config.as_ref().and_then(|config| config.template_ref.as_ref());
            tell(what.to_owned(), "CoreTemplate", core(named));
        }
    }
    let default = spec.template_defaults.cell_template.as_ref();
    for cell in spec.cells.iter().filter(|cell| cell.spec.is_none()) {
        let template = name(cell.cell_template.as_ref(), default, |name| templates.cell(name).is_some());
        tell(format!("cell {}", cell.name), "CellTemplate", template);
    }
    let default = spec.template_defaults.shard_template.as_ref();
    let groups = spec.databases.iter().flat_map(|database| &database.tablegroups);
    for shard in groups.flat_map(|group| &group.shards).filter(|shard| shard.spec.is_none()) {
        let template = name(shard.shard_template.as_ref(), default, |name| templates.shard(name).is_some());
        tell(format!("shard {}", shard.name), "ShardTemplate", template);
    }
    followed
}

fn with_compute(resources: &mut Option<k8s_openapi::api::core::v1::ResourceRequirements>, compute: Compute) {
    resources.get_or_insert_with(|| compute.into());
}

fn with_size(storage: Option<StorageSpec>, size: &str) -> Option<StorageSpec> {
    let mut storage = storage.unwrap_or_default();
    storage.size.get_or_insert_with(|| size.to_owned());
    Some(storage)
}

/// The global topology of a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct GlobalTopo {
    /// How processes reach it.
    pub reference: GlobalTopoServerRef,
    /// What the operator has to run; nothing when somebody else runs it.
    pub managed: Option<TopoServerSpec>,
}

/// Where the topology server answers that the operator runs for a cluster.
pub fn managed_topo_address(cluster: &str, namespace: &str) -> String {
    format!("{}.{namespace}.svc:{TOPO_CLIENT_PORT}", names::global_topo(cluster))
}

/// Resolves the global topology server of `cluster`.
pub fn global_topo(cluster: &MultigresCluster, templates: &dyn TemplateSource) -> Result<GlobalTopo, ResolveError> {
    let spec = cluster.spec.global_topo_server.clone().unwrap_or_default();
    if let Some(external) = spec.external {
        let reference = GlobalTopoServerRef {
            address: external.endpoints.first().cloned().unwrap_or_default(),
            root_path: external.root_path.unwrap_or_else(|| defaults::TOPO_ROOT.to_owned()),
            implementation: external.implementation.unwrap_or_else(|| defaults::TOPO_IMPLEMENTATION.to_owned()),
            further_addresses: external.endpoints.into_iter().skip(1).collect(),
        };
        return Ok(GlobalTopo { reference, managed: None });
    }
    let template = if spec.etcd.is_some() {
        CoreTemplateSpec::default()
    } else {
        core_template(cluster, spec.template_ref.as_ref(), templates)?
    };
    let template = template.global_topo_server.unwrap_or_default();
    let mut etcd: EtcdSpec = template.etcd.unwrap_or_default();
    if let Some(inline) = &spec.etcd {
        etcd = etcd.overlaid_with(inline);
    }
    etcd.image.get_or_insert_with(|| defaults::ETCD_IMAGE.to_owned());
    etcd.replicas.get_or_insert(defaults::ETCD_REPLICAS);
    etcd.storage = with_size(etcd.storage, defaults::ETCD_STORAGE_SIZE);
    with_compute(&mut etcd.resources, defaults::ETCD);
    let above = merge::pvc_policy(template.pvc_deletion_policy, cluster.spec.pvc_deletion_policy);
    let above = merge::pvc_policy(spec.pvc_deletion_policy, above);
    let reference = GlobalTopoServerRef {
        address: managed_topo_address(&name(cluster), cluster.metadata.namespace.as_deref().unwrap_or_default()),
        root_path: etcd.root_path.clone().unwrap_or_else(|| defaults::TOPO_ROOT.to_owned()),
        implementation: defaults::TOPO_IMPLEMENTATION.to_owned(),
        further_addresses: Vec::new(),
    };
    let images = TopoServerImages {
        image_pull_policy: cluster.spec.images.image_pull_policy,
        image_pull_secrets: cluster.spec.images.image_pull_secrets.clone(),
    };
    Ok(GlobalTopo { reference, managed: Some(TopoServerSpec { etcd, images, pvc_deletion_policy: above }) })
}

fn name(cluster: &MultigresCluster) -> String {
    cluster.metadata.name.clone().unwrap_or_default()
}

fn core_template(
    cluster: &MultigresCluster,
    named: Option<&String>,
    templates: &dyn TemplateSource,
) -> Result<CoreTemplateSpec, ResolveError> {
    let cluster_default = cluster.spec.template_defaults.core_template.as_ref();
    template("CoreTemplate", named, cluster_default, |name| templates.core(name))
}

fn admin(
    cluster: &MultigresCluster,
    config: Option<&MultiAdminConfig>,
    templates: &dyn TemplateSource,
    part: impl Fn(CoreTemplateSpec) -> Option<StatelessSpec>,
    compute: Compute,
) -> Result<StatelessSpec, ResolveError> {
    let inline = config.and_then(|config| config.spec.as_ref());
    let mut spec = match inline {
        Some(inline) => inline.clone(),
        None => {
            let named = config.and_then(|config| config.template_ref.as_ref());
            part(core_template(cluster, named, templates)?).unwrap_or_default()
        }
    };
    spec.replicas.get_or_insert(defaults::MULTIADMIN_REPLICAS);
    with_compute(&mut spec.resources, compute);
    Ok(spec)
}

/// Resolves MultiAdmin.
pub fn multiadmin(cluster: &MultigresCluster, templates: &dyn TemplateSource) -> Result<StatelessSpec, ResolveError> {
    let config = cluster.spec.multiadmin.as_ref();
    admin(cluster, config, templates, |template| template.multiadmin, defaults::MULTIADMIN)
}

/// Resolves MultiAdmin's web front end.
pub fn multiadmin_web(
    cluster: &MultigresCluster,
    templates: &dyn TemplateSource,
) -> Result<StatelessSpec, ResolveError> {
    let config = cluster.spec.multiadmin_web.as_ref();
    admin(cluster, config, templates, |template| template.multiadmin_web, defaults::MULTIADMIN_WEB)
}

/// Names of all cells, sorted.
pub fn cell_names(spec: &MultigresClusterSpec) -> Vec<String> {
    let mut names: Vec<String> = spec.cells.iter().map(|cell| cell.name.clone()).collect();
    names.sort();
    names
}

/// Resolves one cell.
pub fn cell(
    cluster: &MultigresCluster,
    config: &CellConfig,
    topo: &GlobalTopoServerRef,
    templates: &dyn TemplateSource,
) -> Result<CellSpec, ResolveError> {
    let spec = &cluster.spec;
    let (mut multigateway, topo_server) = match &config.spec {
        Some(inline) => (inline.multigateway.clone().unwrap_or_default(), inline.local_topo_server.clone()),
        None => {
            let cluster_default = spec.template_defaults.cell_template.as_ref();
            let found =
                template("CellTemplate", config.cell_template.as_ref(), cluster_default, |name| templates.cell(name))?;
            let overrides = config.overrides.as_ref().and_then(|overrides| overrides.multigateway.clone());
            let gateway = found.multigateway.unwrap_or_default();
            (gateway.overlaid_with(&overrides.unwrap_or_default()), found.local_topo_server)
        }
    };
    multigateway.replicas.get_or_insert(defaults::MULTIGATEWAY_REPLICAS);
    with_compute(&mut multigateway.resources, defaults::MULTIGATEWAY);
    Ok(CellSpec {
        name: config.name.clone(),
        zone: config.zone.clone(),
        region: config.region.clone(),
        images: CellImages {
            image_pull_policy: spec.images.image_pull_policy,
            image_pull_secrets: spec.images.image_pull_secrets.clone(),
            multigateway: spec.images.multigateway.clone(),
        },
        multigateway,
        all_cells: cell_names(spec),
        global_topo_server: topo.clone(),
        topo_server,
        topology_reconciliation: Default::default(),
        observability: spec.observability.clone(),
    })
}

/// Resolves one table group with its shards.
pub fn table_group(
    cluster: &MultigresCluster,
    database: &DatabaseConfig,
    group: &TableGroupConfig,
    topo: &GlobalTopoServerRef,
    templates: &dyn TemplateSource,
) -> Result<TableGroupSpec, ResolveError> {
    let spec = &cluster.spec;
    let policy = merge::pvc_policy(group.pvc_deletion_policy, spec.pvc_deletion_policy);
    let shards = group
        .shards
        .iter()
        .map(|config| {
            let mut shard = shard(spec, config, templates)?;
            shard.pvc_deletion_policy = merge::pvc_policy(shard.pvc_deletion_policy, policy);
            Ok(shard)
        })
        .collect::<Result<_, ResolveError>>()?;
    Ok(TableGroupSpec {
        database_name: database.name.clone(),
        table_group_name: group.name.clone(),
        is_default: group.default.unwrap_or_default(),
        images: shard_images(spec),
        global_topo_server: topo.clone(),
        shards,
        pvc_deletion_policy: policy,
        observability: spec.observability.clone(),
    })
}

fn shard_images(spec: &MultigresClusterSpec) -> ShardImages {
    let secrets: Vec<LocalObjectReference> = spec.images.image_pull_secrets.clone();
    ShardImages {
        image_pull_policy: spec.images.image_pull_policy,
        image_pull_secrets: secrets,
        multiorch: spec.images.multiorch.clone(),
        multipooler: spec.images.multipooler.clone(),
        postgres: spec.images.postgres.clone(),
    }
}

/// Resolves one shard.
pub fn shard(
    spec: &MultigresClusterSpec,
    config: &ShardConfig,
    templates: &dyn TemplateSource,
) -> Result<ResolvedShard, ResolveError> {
    let (multiorch, pools, pvc_deletion_policy) = match &config.spec {
        Some(inline) => {
            (inline.multiorch.clone().unwrap_or_default(), inline.pools.clone(), inline.pvc_deletion_policy)
        }
        None => {
            let cluster_default = spec.template_defaults.shard_template.as_ref();
            let found = template("ShardTemplate", config.shard_template.as_ref(), cluster_default, |name| {
                templates.shard(name)
            })?;
            let overrides = config.overrides.clone().unwrap_or_default();
            let orch = found.multiorch.unwrap_or_default().overlaid_with(&overrides.multiorch.unwrap_or_default());
            (orch, merge::pools(found.pools, &overrides.pools), found.pvc_deletion_policy)
        }
    };
    let cells = cell_names(spec);
    let mut pools = pools;
    if pools.is_empty() {
        let pool = PoolSpec { pool_type: Some(PoolType::ReadWrite), ..PoolSpec::default() };
        pools.insert(defaults::POOL.to_owned(), pool);
    }
    for pool in pools.values_mut() {
        default_pool(pool, &cells);
    }
    Ok(ResolvedShard {
        name: config.name.clone(),
        multiorch: default_orch(multiorch, &cells),
        pools,
        pvc_deletion_policy,
    })
}

fn default_orch(mut orch: MultiOrchSpec, cells: &[String]) -> MultiOrchSpec {
    orch.replicas.get_or_insert(defaults::MULTIORCH_REPLICAS);
    with_compute(&mut orch.resources, defaults::MULTIORCH);
    if orch.cells.is_empty() {
        orch.cells = cells.to_vec();
    }
    orch
}

fn default_pool(pool: &mut PoolSpec, cells: &[String]) {
    pool.pool_type.get_or_insert(PoolType::ReadWrite);
    pool.replicas_per_cell.get_or_insert(defaults::POOL_REPLICAS_PER_CELL);
    pool.storage = with_size(pool.storage.take(), defaults::POOL_STORAGE_SIZE);
    pool.backup_storage = with_size(pool.backup_storage.take(), defaults::BACKUP_STORAGE_SIZE);
    with_compute(&mut pool.postgres.get_or_insert_with(ContainerConfig::default).resources, defaults::POSTGRES);
    with_compute(&mut pool.multipooler.get_or_insert_with(ContainerConfig::default).resources, defaults::MULTIPOOLER);
    if pool.cells.is_empty() {
        pool.cells = cells.to_vec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> MultigresCluster {
        let mut cluster = MultigresCluster::new("minimal", MultigresClusterSpec::default());
        cluster.metadata.namespace = Some("default".into());
        cluster.spec.cells.push(CellConfig { name: "zone-a".into(), ..CellConfig::default() });
        cluster
    }

    struct OneCoreTemplate;
    impl TemplateSource for OneCoreTemplate {
        fn core(&self, name: &str) -> Option<CoreTemplateSpec> {
            let multiadmin = Some(StatelessSpec { replicas: Some(4), ..StatelessSpec::default() });
            (name == "big").then(|| CoreTemplateSpec { multiadmin, ..CoreTemplateSpec::default() })
        }
        fn cell(&self, _: &str) -> Option<CellTemplateSpec> {
            None
        }
        fn shard(&self, _: &str) -> Option<ShardTemplateSpec> {
            None
        }
    }

    #[test]
    fn the_minimal_cluster_gets_the_defaults_of_the_facts_sheet() {
        let mut cluster = minimal();
        let decisions = populate_defaults(&mut cluster.spec, &NoTemplates);
        assert_eq!(decisions.len(), 1);
        let topo = global_topo(&cluster, &NoTemplates).unwrap();
        assert_eq!(topo.reference.address, "minimal-global-topo.default.svc:2379");
        assert_eq!(topo.reference.root_path, "/multigres/global");
        assert_eq!(topo.managed.unwrap().etcd.replicas, Some(3));
        let database = cluster.spec.databases[0].clone();
        let group = table_group(&cluster, &database, &database.tablegroups[0], &topo.reference, &NoTemplates).unwrap();
        let shard = &group.shards[0];
        assert_eq!((group.database_name.as_str(), group.table_group_name.as_str()), ("postgres", "default"));
        assert_eq!(shard.name, "0-inf");
        assert_eq!(shard.multiorch.cells, ["zone-a"]);
        assert_eq!(shard.pools["default"].replicas_per_cell, Some(3));
        assert_eq!(shard.pools["default"].cells, ["zone-a"]);
    }

    #[test]
    fn defaults_are_put_in_once() {
        let mut cluster = minimal();
        populate_defaults(&mut cluster.spec, &NoTemplates);
        let once = cluster.spec.clone();
        assert!(populate_defaults(&mut cluster.spec, &NoTemplates).is_empty());
        assert_eq!(cluster.spec, once);
    }

    #[test]
    fn the_templates_that_are_followed_are_told_and_no_others() {
        let mut cluster = minimal();
        populate_defaults(&mut cluster.spec, &NoTemplates);
        assert!(templates_followed(&cluster, &NoTemplates).is_empty());
        cluster.spec.template_defaults.core_template = Some("big".into());
        assert!(templates_followed(&cluster, &NoTemplates).is_empty());
        let told = templates_followed(&cluster, &OneCoreTemplate);
        assert_eq!(told[0], "Resolved the global TopoServer from CoreTemplate 'big'");
        assert_eq!(told.len(), 3, "{told:?}");
        cluster.spec.multiadmin = Some(MultiAdminConfig { spec: Some(StatelessSpec::default()), template_ref: None });
        assert_eq!(templates_followed(&cluster, &OneCoreTemplate).len(), 2);
    }

    #[test]
    fn a_named_template_that_is_missing_is_an_error_and_an_implicit_one_is_not() {
        let mut cluster = minimal();
        assert!(multiadmin(&cluster, &NoTemplates).is_ok());
        cluster.spec.template_defaults.core_template = Some("big".into());
        let error = multiadmin(&cluster, &NoTemplates).unwrap_err();
        assert_eq!(error.to_string(), "referenced CoreTemplate 'big' not found");
        assert_eq!(multiadmin(&cluster, &OneCoreTemplate).unwrap().replicas, Some(4));
    }

    #[test]
    fn an_external_topology_is_not_run_by_the_operator() {
        let mut cluster = minimal();
        cluster.spec.global_topo_server = serde_json::from_value(serde_json::json!({
            "external": { "endpoints": ["http://etcd:2379"], "rootPath": "/mine" }
        }))
        .unwrap();
        let topo = global_topo(&cluster, &NoTemplates).unwrap();
        assert_eq!(topo.managed, None);
        assert_eq!((topo.reference.address.as_str(), topo.reference.root_path.as_str()), ("http://etcd:2379", "/mine"));
    }
}
