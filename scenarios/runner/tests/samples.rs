//! What users write: every sample is accepted as it stands, and what the definitions forbid is refused, with the words that say why.

use std::path::Path;

use scenario_runner::Project;
use serde_json::{Value, json};
use sim_kube::ApiServer;

const SAMPLES: &str = "deploy/samples";

fn project() -> Project {
    Project::around(Path::new(env!("CARGO_MANIFEST_DIR"))).expect("the crate lies in its project")
}

/// An API server that knows the custom resources, in a world of its own.
fn with_api<T: Send + 'static>(then: impl FnOnce(&ApiServer) -> T + Send + 'static) -> T {
    let definitions = project().objects("deploy/crds".as_ref()).unwrap();
    let ran = sim_clock::run(sim_clock::WorldOptions::seeded(1), move || async move {
        let api = ApiServer::new();
        for definition in definitions {
            api.apply(definition).expect("a definition");
        }
        then(&api)
    });
    ran.unwrap()
}

fn sample(name: &str) -> Vec<Value> {
    project().objects(format!("{SAMPLES}/{name}").as_ref()).unwrap()
}

#[test]
fn every_sample_is_accepted_and_every_kind_that_users_write_has_one() {
    let objects = project().objects(SAMPLES.as_ref()).unwrap();
    let kinds = with_api(move |api| {
        let mut kinds = std::collections::BTreeSet::new();
        for object in objects {
            let what = format!("{}/{}", object["kind"], object["metadata"]["name"]);
            // Server-side apply refuses fields that the schema does not have.
            if let Err(refused) = api.apply(object.clone()) {
                panic!("{what}: {refused}");
            }
            let mut misspelt = object.clone();
            misspelt["spec"]["celsl"] = json!([]);
            assert!(
                object["kind"] == "ConfigMap" || api.apply(misspelt).is_err(),
                "{what}: unknown fields are accepted"
            );
            kinds.insert(object["kind"].as_str().unwrap_or_default().to_owned());
        }
        kinds
    });
    for kind in ["MultigresCluster", "CoreTemplate", "CellTemplate", "ShardTemplate"] {
        assert!(kinds.contains(kind), "no sample of {kind}");
    }
}

/// Puts `value` at a JSON pointer, making objects on the way.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for part in pointer.split('/').skip(1) {
        place = match part.parse::<usize>() {
            Ok(index) => &mut place[index],
            Err(_) => &mut place[part],
        };
    }
    *place = value;
}

#[test]
fn what_is_wrong_is_refused_with_a_reason() {
    let pool = "/spec/databases/0/tablegroups/0/shards/0/spec/pools/main";
    let cases: Vec<(&str, Value, &str)> = vec![
        (
            "/metadata/name",
            json!("a-name-of-more-than-25-chars"),
            "MultigresCluster name must be at most 25 characters",
        ),
        ("/metadata/name", json!("my.db"), "MultigresCluster name must be a DNS label"),
        ("/metadata/name", json!("1st"), "MultigresCluster name must be a DNS label"),
        ("/spec/cells/0/zone", json!("eu west/1"), "spec.cells[0].zone"),
        ("/spec/cells/0/name", json!("Zone_A"), "spec.cells[0].name"),
        ("/spec/cells/0/region", json!("us"), "must specify exactly one of 'zone' or 'region'"),
        ("/spec/cells/0/cellTemplate", json!("small"), "cannot specify both 'spec' and 'cellTemplate'"),
        (
            "/spec/cells/0/overrides",
            json!({ "multigateway": { "replicas": 1 } }),
            "cannot specify both 'spec' and 'overrides'",
        ),
        (
            "/spec/cells/0/spec/localTopoServer",
            json!({ "etcd": { "replicas": 3 } }),
            "cell-local topology servers ('localTopoServer') are not supported yet",
        ),
        ("/spec/cells/0/spec/multigateway/replicas", json!(129), "spec.cells[0].spec.multigateway.replicas"),
        (
            "/spec/cells/0/spec/multigateway/podLabels",
            json!({ "a": "x".repeat(64) }),
            "label keys and values must be < 64 characters",
        ),
        (
            "/spec/globalTopoServer/templateRef",
            json!("small"),
            "must specify exactly one of 'etcd', 'external', or 'templateRef'",
        ),
        ("/spec/globalTopoServer/etcd/replicas", json!(4), "etcd replicas must be odd"),
        (
            "/spec/globalTopoServer",
            json!({ "external": { "endpoints": ["etcd:2379"] } }),
            "endpoints must be valid URLs",
        ),
        (
            "/spec/globalTopoServer",
            json!({ "external": { "endpoints": ["http://etcd:2379", "https://etcd:2379"] } }),
            "endpoints by TLS ('https://') are not supported yet",
        ),
        (
            "/spec/globalTopoServer",
            json!({ "external": { "endpoints": ["http://etcd:2379"], "caSecret": "ca" } }),
            "TLS to the topology server ('caSecret') is not supported yet",
        ),
        (
            "/spec/globalTopoServer",
            json!({ "external": { "endpoints": ["http://etcd:2379"], "clientCertSecret": "mine" } }),
            "TLS to the topology server ('clientCertSecret') is not supported yet",
        ),
        (
            "/spec/globalTopoServer",
            json!({ "external": { "endpoints": ["http://etcd:2379"], "implementation": "zookeeper" } }),
            "the only supported implementation is 'etcd'",
        ),
        ("/spec/multiadmin/templateRef", json!("small"), "cannot specify both 'spec' and 'templateRef'"),
        ("/spec/multiadmin", json!({}), "must specify either 'spec' or 'templateRef'"),
        ("/spec/databases/0/name", json!("mine"), "only the single system database named 'postgres'"),
        ("/spec/databases/0/default", json!(false), "only the single system database named 'postgres'"),
        ("/spec/databases/0/tablegroups/0/default", json!(false), "exactly one tablegroup with default: true"),
        ("/spec/databases/0/tablegroups/0/name", json!("other"), "the default tablegroup must be named 'default'"),
        ("/spec/databases/0/tablegroups/0/shards/0/name", json!("0-8"), "shard name must be strictly '0-inf'"),
        (
            "/spec/databases/0/tablegroups/0/shards/0/shardTemplate",
            json!("small"),
            "cannot specify both 'spec' and 'shardTemplate'",
        ),
        (
            "/spec/databases/0/tablegroups/0/shards/0/overrides",
            json!({ "pools": {} }),
            "cannot specify both 'spec' and 'overrides'",
        ),
        ("/spec/pvcDeletionPolicy/whenDeleted", json!("Forget"), "spec.pvcDeletionPolicy.whenDeleted"),
        ("/spec/observability", json!({ "otlpProtocol": "http/json" }), "spec.observability.otlpProtocol"),
        ("/spec/observability", json!({ "metricExportInterval": "30s" }), "spec.observability.metricExportInterval"),
        ("/spec/images/imagePullPolicy", json!("Sometimes"), "spec.images.imagePullPolicy"),
    ];
    let pools: Vec<(String, Value, &str)> = vec![
        (format!("{pool}/type"), json!("writeOnly"), ".pools.main.type: Unsupported value"),
        (format!("{pool}/replicasPerCell"), json!(33), ".pools.main.replicasPerCell: Invalid value"),
        (format!("{pool}/storage/size"), json!("much"), ".pools.main.storage.size: Invalid value"),
        (pool.replace("main", &"m".repeat(26)), json!({}), "pool names must be <= 25 characters"),
    ];
    let cases = cases.into_iter().map(|(place, value, reason)| (place.to_owned(), value, reason)).chain(pools);
    let cases: Vec<(String, Value, &str)> = cases.collect();
    let full = sample("full.yaml").remove(0);
    let wrong = with_api(move |api| {
        let mut wrong = Vec::new();
        for (place, value, reason) in cases {
            let mut object = full.clone();
            set(&mut object, &place, value.clone());
            match api.apply(object) {
                Ok(_) => wrong.push(format!("{place}: {value} is accepted")),
                Err(status) if status.to_string().contains(reason) => {}
                Err(status) => wrong.push(format!("{place}: {value} is refused otherwise: {status}")),
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_pool_cannot_be_taken_away_again() {
    let full = sample("full.yaml").remove(0);
    let refused = with_api(move |api| {
        api.apply(full.clone()).unwrap();
        let mut smaller = full;
        let pools = &mut smaller["spec"]["databases"][0]["tablegroups"][0]["shards"][0]["spec"]["pools"];
        pools.as_object_mut().unwrap().shift_remove("reports");
        api.apply(smaller).unwrap_err().to_string()
    });
    assert!(refused.contains("pools cannot be removed or renamed in this version (append-only)"), "{refused}");
}

#[test]
fn etcd_keeps_its_number_of_members() {
    let full = sample("full.yaml").remove(0);
    let refused = with_api(move |api| {
        api.apply(full.clone()).unwrap();
        let mut more = full;
        set(&mut more, "/spec/globalTopoServer/etcd/replicas", json!(7));
        api.apply(more).unwrap_err().to_string()
    });
    assert!(refused.contains("etcd replicas cannot be changed after creation"), "{refused}");
}

#[test]
fn kubectl_shows_what_is_worth_showing() {
    let columns: Vec<(String, Vec<String>)> = project()
        .objects("deploy/crds".as_ref())
        .unwrap()
        .iter()
        .map(|crd| {
            let columns =
                crd["spec"]["versions"][0]["additionalPrinterColumns"].as_array().cloned().unwrap_or_default();
            let names = columns.iter().map(|column| column["name"].as_str().unwrap_or_default().to_owned());
            let short = crd["spec"]["names"]["shortNames"][0].as_str().unwrap_or_default();
            (format!("{} {short}", crd["spec"]["names"]["kind"].as_str().unwrap_or_default()), names.collect())
        })
        .collect();
    let expected = [
        ("Cell cel", vec!["Gateway", "Ready", "Phase"]),
        ("CellTemplate cet", vec![]),
        ("CoreTemplate cot", vec![]),
        ("MultigresCluster mgc", vec!["Available", "Age", "Phase"]),
        ("Shard srd", vec!["Ready", "Phase"]),
        ("ShardTemplate sht", vec![]),
        ("TableGroup tbg", vec!["Shards", "Phase"]),
        ("TopoServer tps", vec!["Ready", "Phase"]),
    ];
    let expected: Vec<(String, Vec<String>)> = expected
        .into_iter()
        .map(|(kind, names)| (kind.to_owned(), names.into_iter().map(ToOwned::to_owned).collect()))
        .collect();
    assert_eq!(columns, expected);
}
