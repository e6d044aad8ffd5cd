//! The pods of a pool in a cell: Postgres with its control daemon, and the pooler as a sidecar that starts first.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, EmptyDirVolumeSource, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource,
    PodSecurityContext, PodSpec, PodTemplateSpec, SecurityContext, Service, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::otel::{self, TelemetrySettings};
use super::{
    BuildError, LIVENESS_PERIOD_SECONDS, READINESS_PERIOD_SECONDS, child_meta, claim_retention, claim_spec, cluster_of,
    container_ports, env, env_from_field, every, extended, headless_service, match_labels, mount, pull_policy,
    pull_secrets, strings, tcp_socket, with_data_plane_probes,
};
use crate::api::Shard;
use crate::api::common::{PoolSpec, PvcDeletionPolicy, RetentionPolicy};
use crate::labels::{self, Labels, component};
use crate::names::ShardParts;
use crate::resolver::{defaults, merge};

const HTTP_PORT: u16 = 15200;
const GRPC_PORT: u16 = 15270;
const POSTGRES_PORT: u16 = 5432;
const PGCTLD_PORT: u16 = 15470;
const PORTS: [(&str, u16); 3] = [("http", HTTP_PORT), ("grpc", GRPC_PORT), ("postgres", POSTGRES_PORT)];
/// User and group that own Postgres' files.
const POSTGRES_ID: i64 = 999;
const DATA_VOLUME: &str = "pgdata";
const DATA_PATH: &str = "/var/lib/pooler";
const BACKUP_VOLUME: &str = "backup-data";
/// Where backups are written; also what the topology says of the database.
pub const BACKUP_PATH: &str = "/backups";
const SOCKET_VOLUME: &str = "socket-dir";
const HBA_VOLUME: &str = "pg-hba-template";
const HBA_PATH: &str = "/etc/pgctld";

/// One pool in one cell of a shard.
#[derive(Debug, Clone, Copy)]
pub struct PoolInCell<'a> {
    /// The shard.
    pub shard: &'a Shard,
    /// The pool's name.
    pub pool: &'a str,
    /// The pool.
    pub spec: &'a PoolSpec,
    /// The cell's name.
    pub cell: &'a str,
}

/// What identifies `shard` in the names of its parts.
pub fn parts(shard: &Shard) -> Result<ShardParts<'_>, BuildError> {
    Ok(ShardParts {
        cluster: cluster_of(shard)?,
        database: &shard.spec.database_name,
        table_group: &shard.spec.table_group_name,
        shard: &shard.spec.shard_name,
    })
}

/// Number of pods that a pool has in each of its cells.
pub fn replicas(pool: &PoolSpec) -> i32 {
    pool.replicas_per_cell.unwrap_or(defaults::POOL_REPLICAS_PER_CELL)
}

/// Every pool in every one of its cells, in the order of their names.
pub fn all(shard: &Shard) -> Result<Vec<PoolInCell<'_>>, BuildError> {
    let mut all = Vec::new();
    for (pool, spec) in &shard.spec.pools {
        if spec.cells.is_empty() {
            return Err(BuildError::PoolWithoutCells(pool.clone()));
        }
        all.extend(spec.cells.iter().map(|cell| PoolInCell { shard, pool, spec, cell }));
    }
    Ok(all)
}

impl PoolInCell<'_> {
    fn labels(&self) -> Result<Labels, BuildError> {
        let ours = labels::with(
            cluster_of(self.shard)?,
            component::SHARD_POOL,
            &[(labels::POOL, self.pool), (labels::CELL, self.cell)],
        );
        Ok(labels::merge(ours, self.shard.labels()))
    }

    /// Number of pods that the specification asks for.
    pub fn replicas(&self) -> i32 {
        replicas(self.spec)
    }

    /// Name of the StatefulSet.
    pub fn name(&self) -> Result<String, BuildError> {
        Ok(parts(self.shard)?.pool(self.pool, self.cell))
    }

    /// What becomes of its claims.
    fn claim_policy(&self) -> Option<PvcDeletionPolicy> {
        merge::pvc_policy(self.spec.pvc_deletion_policy, self.shard.spec.pvc_deletion_policy)
    }

    /// The claim for backups. It belongs to the shard, and goes with it, only where claims are to be deleted: backups are what one
    /// wants to find again after a mistaken deletion.
    pub fn backup_claim(&self) -> Result<PersistentVolumeClaim, BuildError> {
        let name = parts(self.shard)?.backup_claim(self.pool, self.cell);
        let mut metadata = child_meta(self.shard, name, self.labels()?);
        let when_deleted = self.claim_policy().and_then(|policy| policy.when_deleted).unwrap_or_default();
        if when_deleted == RetentionPolicy::Retain {
            metadata.owner_references = None;
        }
        Ok(PersistentVolumeClaim {
            metadata,
            spec: Some(claim_spec(self.spec.backup_storage.as_ref(), defaults::BACKUP_STORAGE_SIZE)),
            ..PersistentVolumeClaim::default()
        })
    }

    /// The Service that gives each pod its name.
    pub fn headless(&self, operator_env: &BTreeMap<String, String>) -> Result<Service, BuildError> {
        let metrics = otel::metrics_port(self.shard.spec.observability.as_ref(), operator_env);
        let labels = self.labels()?;
        let name = parts(self.shard)?.pool_headless(self.pool, self.cell);
        Ok(headless_service(
            child_meta(self.shard, name, labels.clone()),
            &labels,
            &otel::with_metrics_port(&PORTS, metrics),
        ))
    }

    /// The pods.
    pub fn stateful_set(&self, operator_env: &BTreeMap<String, String>) -> Result<StatefulSet, BuildError> {
        let labels = self.labels()?;
        let settings = TelemetrySettings::new(self.shard.spec.observability.as_ref(), operator_env);
        let claim = PersistentVolumeClaim {
            metadata: ObjectMeta { name: Some(DATA_VOLUME.to_owned()), ..ObjectMeta::default() },
            spec: Some(claim_spec(self.spec.storage.as_ref(), defaults::POOL_STORAGE_SIZE)),
            ..PersistentVolumeClaim::default()
        };
        Ok(StatefulSet {
            metadata: child_meta(self.shard, self.name()?, labels.clone()),
            spec: StatefulSetSpec {
                service_name: Some(parts(self.shard)?.pool_headless(self.pool, self.cell)),
                replicas: Some(self.replicas()),
                selector: match_labels(&labels),
                pod_management_policy: Some("Parallel".to_owned()),
                update_strategy: Some(StatefulSetUpdateStrategy {
                    type_: Some("RollingUpdate".to_owned()),
                    ..StatefulSetUpdateStrategy::default()
                }),
                template: PodTemplateSpec {
                    metadata: Some(ObjectMeta { labels: Some(labels), ..ObjectMeta::default() }),
                    spec: Some(self.pod(settings)?),
                },
                volume_claim_templates: Some(vec![claim]),
                persistent_volume_claim_retention_policy: Some(claim_retention(self.claim_policy())),
                ..StatefulSetSpec::default()
            },
            ..StatefulSet::default()
        })
    }

    fn pod(&self, settings: TelemetrySettings) -> Result<PodSpec, BuildError> {
        let names = parts(self.shard)?;
        let volumes = vec![
            Volume {
                name: BACKUP_VOLUME.to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: names.backup_claim(self.pool, self.cell),
                    ..PersistentVolumeClaimVolumeSource::default()
                }),
                ..Volume::default()
            },
            Volume {
                name: SOCKET_VOLUME.to_owned(),
                empty_dir: Some(EmptyDirVolumeSource::default()),
                ..Volume::default()
            },
            Volume {
                name: HBA_VOLUME.to_owned(),
                config_map: Some(ConfigMapVolumeSource { name: names.pg_hba(), ..ConfigMapVolumeSource::default() }),
                ..Volume::default()
            },
        ];
        Ok(PodSpec {
            init_containers: Some(vec![self.pooler(&settings)]),
            containers: vec![self.postgres(&settings)],
            volumes: Some(extended(volumes, settings.volumes)),
            affinity: self.spec.affinity.clone(),
            image_pull_secrets: pull_secrets(&self.shard.spec.images.image_pull_secrets),
            security_context: Some(PodSecurityContext {
                fs_group: Some(POSTGRES_ID),
                // Not at each mount: Postgres refuses a data directory that its group may write to.
                fs_group_change_policy: Some("OnRootMismatch".to_owned()),
                ..PodSecurityContext::default()
            }),
            ..PodSpec::default()
        })
    }

    fn mounts(settings: &TelemetrySettings) -> Vec<VolumeMount> {
        let own = vec![
            mount(DATA_VOLUME, DATA_PATH),
            mount(BACKUP_VOLUME, BACKUP_PATH),
            mount(SOCKET_VOLUME, "/var/run/postgresql"),
        ];
        extended(own, settings.mounts.iter().cloned())
    }

    fn pooler(&self, settings: &TelemetrySettings) -> Container {
        let spec = &self.shard.spec;
        let container = Container {
            name: "multipooler".to_owned(),
            image: spec.images.multipooler.clone().or_else(|| Some(defaults::MULTIGRES_IMAGE.to_owned())),
            image_pull_policy: pull_policy(spec.images.image_pull_policy),
            args: Some(vec![
                "multipooler".to_owned(),
                format!("--http-port={HTTP_PORT}"),
                format!("--grpc-port={GRPC_PORT}"),
                format!("--pooler-dir={DATA_PATH}"),
                format!("--socket-file={DATA_PATH}/pg_sockets/.s.PGSQL.{POSTGRES_PORT}"),
                "--service-map=grpc-pooler".to_owned(),
                format!("--topo-global-server-addresses={}", spec.global_topo_server.address),
                format!("--topo-global-root={}", spec.global_topo_server.root_path),
                format!("--cell={}", self.cell),
                format!("--database={}", spec.database_name),
                format!("--table-group={}", spec.table_group_name),
                format!("--shard={}", spec.shard_name),
                "--service-id=$(POD_NAME)".to_owned(),
                format!("--pgctld-addr=localhost:{PGCTLD_PORT}"),
                format!("--pg-port={POSTGRES_PORT}"),
            ]),
            env: Some(extended(vec![env_from_field("POD_NAME", "metadata.name")], settings.env.iter().cloned())),
            ports: container_ports(&settings.with_metrics_port(&PORTS)),
            resources: self.spec.multipooler.as_ref().and_then(|config| config.resources.clone()),
            restart_policy: Some("Always".to_owned()),
            security_context: Some(as_postgres()),
            volume_mounts: Some(Self::mounts(settings)),
            ..Container::default()
        };
        with_data_plane_probes(container, HTTP_PORT)
    }

    fn postgres(&self, settings: &TelemetrySettings) -> Container {
        let images = &self.shard.spec.images;
        Container {
            name: "postgres".to_owned(),
            image: images.postgres.clone().or_else(|| Some(defaults::POSTGRES_IMAGE.to_owned())),
            image_pull_policy: pull_policy(images.image_pull_policy),
            command: Some(strings(["/usr/local/bin/pgctld"])),
            args: Some(vec![
                "server".to_owned(),
                format!("--pooler-dir={DATA_PATH}"),
                format!("--grpc-port={PGCTLD_PORT}"),
                format!("--pg-port={POSTGRES_PORT}"),
                "--pg-listen-addresses=*".to_owned(),
                "--pg-database=postgres".to_owned(),
                "--pg-user=postgres".to_owned(),
                "--timeout=30".to_owned(),
                "--log-level=info".to_owned(),
                format!("--grpc-socket-file={DATA_PATH}/pgctld.sock"),
                format!("--pg-hba-template={HBA_PATH}/{}", super::pg_hba::KEY),
            ]),
            env: Some(extended(vec![env("PGDATA", format!("{DATA_PATH}/pg_data"))], settings.of_second_process())),
            resources: self.spec.postgres.as_ref().and_then(|config| config.resources.clone()),
            security_context: Some(as_postgres()),
            volume_mounts: Some(extended(Self::mounts(settings), [mount(HBA_VOLUME, HBA_PATH)])),
            liveness_probe: every(LIVENESS_PERIOD_SECONDS, tcp_socket(PGCTLD_PORT)),
            readiness_probe: every(READINESS_PERIOD_SECONDS, tcp_socket(PGCTLD_PORT)),
            ..Container::default()
        }
    }
}

fn as_postgres() -> SecurityContext {
    SecurityContext {
        run_as_user: Some(POSTGRES_ID),
        run_as_group: Some(POSTGRES_ID),
        run_as_non_root: Some(true),
        ..SecurityContext::default()
    }
}
