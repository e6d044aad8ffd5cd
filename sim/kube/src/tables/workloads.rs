//! Deployments, sets, jobs, revisions, autoscalers, budgets.

use serde_json::Value;
use sim_clock::Timestamp;

use super::{Cells, Row, duration, text};
use crate::{conversion, json};

const TEMPLATE: [Row; 3] = [("Containers", "string", 1), ("Images", "string", 1), ("Selector", "string", 1)];
const NAME: Row = ("Name", "string", 0);
const AGE: Row = ("Age", "string", 0);

pub(super) fn printer(table: &str) -> Option<(&'static [Row], Cells)> {
    Some(match table {
        "deployments.apps" => (
            &[
                NAME,
                ("Ready", "string", 0),
                ("Up-to-date", "string", 0),
                ("Available", "string", 0),
                AGE,
                TEMPLATE[0],
                TEMPLATE[1],
                TEMPLATE[2],
            ],
            deployment,
        ),
        "replicasets.apps" | "replicationcontrollers" => (
            &[
                NAME,
                ("Desired", "integer", 0),
                ("Current", "integer", 0),
                ("Ready", "integer", 0),
                AGE,
                TEMPLATE[0],
                TEMPLATE[1],
                TEMPLATE[2],
            ],
            replica_set,
        ),
        "statefulsets.apps" => (&[NAME, ("Ready", "string", 0), AGE, TEMPLATE[0], TEMPLATE[1]], stateful_set),
        "daemonsets.apps" => (
            &[
                NAME,
                ("Desired", "integer", 0),
                ("Current", "integer", 0),
                ("Ready", "integer", 0),
                ("Up-to-date", "integer", 0),
                ("Available", "integer", 0),
                ("Node Selector", "string", 0),
                AGE,
                TEMPLATE[0],
                TEMPLATE[1],
                TEMPLATE[2],
            ],
            daemon_set,
        ),
        "jobs.batch" => (
            &[
                NAME,
                ("Status", "string", 0),
                ("Completions", "string", 0),
                ("Duration", "string", 0),
                AGE,
                TEMPLATE[0],
                TEMPLATE[1],
                TEMPLATE[2],
            ],
            job,
        ),
        "cronjobs.batch" => (
            &[
                NAME,
                ("Schedule", "string", 0),
                ("Timezone", "string", 0),
                ("Suspend", "boolean", 0),
                ("Active", "integer", 0),
                ("Last Schedule", "string", 0),
                AGE,
                TEMPLATE[0],
                TEMPLATE[1],
                TEMPLATE[2],
            ],
            cron_job,
        ),
        "controllerrevisions.apps" => {
            (&[NAME, ("Controller", "string", 0), ("Revision", "string", 0), AGE], controller_revision)
        }
        "podtemplates" => {
            (&[NAME, ("Containers", "string", 0), ("Images", "string", 0), ("Pod Labels", "string", 0)], pod_template)
        }
        "poddisruptionbudgets.policy" => (
            &[
                NAME,
                ("Min Available", "string", 0),
                ("Max Unavailable", "string", 0),
                ("Allowed Disruptions", "integer", 0),
                AGE,
            ],
            budget,
        ),
        "horizontalpodautoscalers.autoscaling" => (
            &[
                NAME,
                ("Reference", "string", 0),
                ("Targets", "string", 0),
                ("MinPods", "string", 0),
                ("MaxPods", "string", 0),
                ("Replicas", "string", 0),
                AGE,
            ],
            autoscaler,
        ),
        _ => return None,
    })
}

fn template(object: &Value) -> [Value; 2] {
    text::containers(json::at(object, &["spec", "template", "spec"]))
}

/// The wide columns: containers, images, selector.
fn wide(object: &Value, mut cells: Vec<Value>) -> Vec<Value> {
    cells.extend(template(object));
    cells.push(text::selector(json::at(object, &["spec", "selector"])).into());
    cells
}

fn int(object: &Value, path: &[&str]) -> i64 {
    json::int(object, path).unwrap_or(0)
}

fn deployment(o: &Value, now: Timestamp) -> Vec<Value> {
    let ready = format!("{}/{}", int(o, &["status", "readyReplicas"]), int(o, &["spec", "replicas"]));
    wide(
        o,
        vec![
            text::name(o),
            ready.into(),
            text::count(o, &["status", "updatedReplicas"]),
            text::count(o, &["status", "availableReplicas"]),
            text::created(o, now),
        ],
    )
}

fn replica_set(o: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![
        text::name(o),
        text::count(o, &["spec", "replicas"]),
        text::count(o, &["status", "replicas"]),
        text::count(o, &["status", "readyReplicas"]),
        text::created(o, now),
    ];
    if json::text(o, &["kind"]) == "ReplicationController" {
        cells.extend(template(o));
        cells.push(text::labels(json::map(o, &["spec", "selector"])).into());
        return cells;
    }
    wide(o, cells)
}

fn stateful_set(o: &Value, now: Timestamp) -> Vec<Value> {
    let ready = format!("{}/{}", int(o, &["status", "readyReplicas"]), int(o, &["spec", "replicas"]));
    let mut cells = vec![text::name(o), ready.into(), text::created(o, now)];
    cells.extend(template(o));
    cells
}

fn daemon_set(o: &Value, now: Timestamp) -> Vec<Value> {
    let status = |key: &str| text::count(o, &["status", key]);
    wide(
        o,
        vec![
            text::name(o),
            status("desiredNumberScheduled"),
            status("currentNumberScheduled"),
            status("numberReady"),
            status("updatedNumberScheduled"),
            status("numberAvailable"),
            text::labels(json::map(o, &["spec", "template", "spec", "nodeSelector"])).into(),
            text::created(o, now),
        ],
    )
}

fn job(o: &Value, now: Timestamp) -> Vec<Value> {
    let status = if text::condition(o, "Complete") {
        "Complete"
    } else if text::condition(o, "Failed") {
        "Failed"
    } else if json::deleting(o) {
        "Terminating"
    } else {
        ["Suspended", "FailureTarget", "SuccessCriteriaMet"]
            .into_iter()
            .find(|c| text::condition(o, c))
            .unwrap_or("Running")
    };
    let done = int(o, &["status", "succeeded"]);
    let completions = match (json::int(o, &["spec", "completions"]), int(o, &["spec", "parallelism"])) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, many) if many > 1 => format!("{done}/1 of {many}"),
        (None, _) => format!("{done}/1"),
    };
    let since = |key: &str| duration::seconds_since(json::text(o, &["status", key]), now);
    let took = match (since("startTime"), since("completionTime")) {
        (None, _) => String::new(),
        (Some(start), None) => duration::human_duration(start),
        (Some(start), Some(end)) => duration::human_duration(start - end),
    };
    wide(o, vec![text::name(o), status.into(), completions.into(), took.into(), text::created(o, now)])
}

fn cron_job(o: &Value, now: Timestamp) -> Vec<Value> {
    let last = match json::text(o, &["status", "lastScheduleTime"]) {
        "" => text::NONE.to_owned(),
        time => duration::age(time, now),
    };
    let job = json::at(o, &["spec", "jobTemplate"]).unwrap_or(&Value::Null);
    wide(
        job,
        vec![
            text::name(o),
            json::text(o, &["spec", "schedule"]).into(),
            text::or_none(o, &["spec", "timeZone"]),
            text::yes(json::at(o, &["spec", "suspend"])).into(),
            text::size(o, &["status", "active"]).into(),
            last.into(),
            text::created(o, now),
        ],
    )
}

fn controller_revision(o: &Value, now: Timestamp) -> Vec<Value> {
    let controller = json::controller_of(o).map_or_else(
        || text::NONE.to_owned(),
        |owner| {
            let kind = json::text(owner, &["kind"]).to_ascii_lowercase();
            let name = json::text(owner, &["name"]);
            match json::text(owner, &["apiVersion"]).split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{name}"),
                None => format!("{kind}/{name}"),
            }
        },
    );
    vec![text::name(o), controller.into(), text::count(o, &["revision"]), text::created(o, now)]
}

fn pod_template(o: &Value, _: Timestamp) -> Vec<Value> {
    let [names, images] = text::containers(json::at(o, &["template", "spec"]));
    vec![text::name(o), names, images, text::labels(json::map(o, &["template", "metadata", "labels"])).into()]
}

fn budget(o: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        text::name(o),
        text::int_or_text(json::at(o, &["spec", "minAvailable"]), "N/A").into(),
        text::int_or_text(json::at(o, &["spec", "maxUnavailable"]), "N/A").into(),
        text::count(o, &["status", "disruptionsAllowed"]),
        text::created(o, now),
    ]
}

fn autoscaler(o: &Value, now: Timestamp) -> Vec<Value> {
    // Of v1, most metrics stand in annotations.
    let stored = conversion::stored(o);
    let o = stored.as_ref().unwrap_or(o);
    let reference = format!(
        "{}/{}",
        json::text(o, &["spec", "scaleTargetRef", "kind"]),
        json::text(o, &["spec", "scaleTargetRef", "name"])
    );
    let unset = || Value::from("<unset>");
    vec![
        text::name(o),
        reference.into(),
        targets(o).into(),
        json::int(o, &["spec", "minReplicas"]).map_or_else(unset, Into::into),
        text::count(o, &["spec", "maxReplicas"]),
        text::count(o, &["status", "currentReplicas"]),
        text::created(o, now),
    ]
}

/// The metrics of an autoscaler, two at most: `cpu: 40%/80% + 1 more...`.
fn targets(o: &Value) -> String {
    let metrics = json::list(o, &["spec", "metrics"]);
    let current = json::list(o, &["status", "currentMetrics"]);
    let mut texts: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(i, metric)| {
            let (key, prefix) = match json::text(metric, &["type"]) {
                "Resource" => ("resource", format!("{}: ", json::text(metric, &["resource", "name"]))),
                "ContainerResource" => {
                    ("containerResource", format!("{}: ", json::text(metric, &["containerResource", "name"])))
                }
                "Pods" => ("pods", String::new()),
                "Object" => ("object", String::new()),
                "External" => ("external", String::new()),
                _ => return "<unknown type>".to_owned(),
            };
            let target = json::at(metric, &[key, "target"]).unwrap_or(&Value::Null);
            let (field, suffix, average) = match json::text(target, &["type"]) {
                "Utilization" => ("averageUtilization", "%", ""),
                "AverageValue" if matches!(key, "object" | "external") => ("averageValue", "", " (avg)"),
                "AverageValue" => ("averageValue", "", ""),
                _ => ("value", "", ""),
            };
            let now = current
                .get(i)
                .and_then(|c| json::at(c, &[key, "current", field]))
                .map_or_else(|| "<unknown>".to_owned(), |v| format!("{}{suffix}", text::int_or_text(Some(v), "")));
            format!("{prefix}{now}/{}{suffix}{average}", text::int_or_text(target.get(field), "<auto>"))
        })
        .collect();
    if texts.is_empty() {
        return text::NONE.into();
    }
    let more = texts.len().saturating_sub(2);
    texts.truncate(2);
    let shown = texts.join(", ");
    if more > 0 { format!("{shown} + {more} more...") } else { shown }
}
