//! Jobs and CronJobs.

use serde_json::Value;

use super::{Errors, pod, selector};
use crate::{json, selectors::LabelSelector, workloads::cron::Schedule};

/// Longest name of a CronJob: its jobs' names append eleven characters.
const CRON_NAME_BYTES_MAX: usize = 52;
/// Most pods of an indexed Job at once.
const INDEXED_PARALLELISM_MAX: i64 = 100_000;

pub(super) fn job(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    job_spec(spec, "spec", errors);
    let Some(given) = spec.get("selector").filter(|s| s.is_object()) else {
        return errors.required("spec.selector", "");
    };
    selector::check(given, "spec.selector", errors);
    let labels = json::map(spec, &["template", "metadata", "labels"]);
    if LabelSelector::from_object(Some(given)).is_some_and(|s| !s.matches_labels(labels)) {
        let shown = labels.map_or(Value::Null, |l| Value::Object(l.clone()));
        errors.invalid("spec.template.metadata.labels", &shown, "`selector` does not match template `labels`");
    }
}

fn job_spec(spec: &Value, path: &str, errors: &mut Errors) {
    for key in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
    ] {
        errors.not_negative(spec, path, key);
    }
    let mode = json::text(spec, &["completionMode"]);
    match mode {
        "" | "NonIndexed" => {}
        "Indexed" => {
            if spec.get("completions").is_none() {
                errors.required(format!("{path}.completions"), "when completion mode is Indexed");
            }
            if let Some(given) = json::int(spec, &["parallelism"]).filter(|n| *n > INDEXED_PARALLELISM_MAX) {
                let why =
                    format!("must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed");
                errors.invalid(format!("{path}.parallelism"), &given.into(), &why);
            }
        }
        other => errors.unsupported(format!("{path}.completionMode"), other, &["NonIndexed", "Indexed"]),
    }
    let inner = json::at(spec, &["template", "spec"]).unwrap_or(&Value::Null);
    pod::check(inner, &format!("{path}.template.spec"), pod::Owner::Nobody, errors);
    let at = format!("{path}.template.spec.restartPolicy");
    match json::text(inner, &["restartPolicy"]) {
        "" | "Always" => errors.required(at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" | "Never" => {}
        other => errors.unsupported(at, other, &["OnFailure", "Never"]),
    }
}

pub(super) fn job_update(old: &Value, new: &Value, errors: &mut Errors) {
    // An indexed Job may grow and shrink with its parallelism.
    let elastic = json::text(new, &["spec", "completionMode"]) == "Indexed"
        && json::at(new, &["spec", "completions"]) == json::at(new, &["spec", "parallelism"]);
    if !elastic {
        errors.fixed(old, new, &["spec", "completions"]);
    }
    errors.fixed(old, new, &["spec", "selector"]);
    // A suspended Job that never started may be scheduled differently.
    let waiting = old["spec"]["suspend"] == true && json::at(old, &["status", "startTime"]).is_none();
    if !waiting {
        errors.fixed(old, new, &["spec", "template"]);
    }
    errors.fixed(old, new, &["spec", "completionMode"]);
    errors.fixed(old, new, &["spec", "podFailurePolicy"]);
    errors.fixed(old, new, &["spec", "backoffLimitPerIndex"]);
}

pub(super) fn cron_job(object: &Value, errors: &mut Errors) {
    let name = json::name(object);
    if name.len() > CRON_NAME_BYTES_MAX {
        let why = format!("must be no more than {CRON_NAME_BYTES_MAX} characters");
        errors.invalid_text("metadata.name", name, &why);
    }
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let schedule = json::text(spec, &["schedule"]);
    if schedule.is_empty() {
        errors.required("spec.schedule", "");
    } else if let Err(why) = Schedule::parse(schedule) {
        errors.invalid_text("spec.schedule", schedule, &why);
    } else if schedule.contains("TZ") {
        errors.invalid_text(
            "spec.schedule",
            schedule,
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        );
    }
    errors.not_negative(spec, "spec", "startingDeadlineSeconds");
    if let Some(zone) = spec.get("timeZone").and_then(Value::as_str) {
        if zone.is_empty() {
            errors.invalid_text("spec.timeZone", zone, "timeZone must be nil or non-empty string");
        } else if zone.eq_ignore_ascii_case("local") {
            errors.invalid_text(
                "spec.timeZone",
                zone,
                "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
            );
        } else if let Err(why) = crate::workloads::cron::zone(zone) {
            errors.invalid_text("spec.timeZone", zone, &why);
        }
    }
    errors.one_of(spec, "spec", "concurrencyPolicy", &["Allow", "Forbid", "Replace"]);
    let inner = json::at(spec, &["jobTemplate", "spec"]).unwrap_or(&Value::Null);
    job_spec(inner, "spec.jobTemplate.spec", errors);
    if let Some(given) = inner.get("selector").filter(|s| s.is_object()) {
        errors.invalid("spec.jobTemplate.spec.selector", given, "`selector` will be auto-generated");
    }
    if inner.get("manualSelector") == Some(&Value::Bool(true)) {
        errors.unsupported_value("spec.jobTemplate.spec.manualSelector", &true.into(), &["nil", "false"]);
    }
    errors.not_negative(spec, "spec", "successfulJobsHistoryLimit");
    errors.not_negative(spec, "spec", "failedJobsHistoryLimit");
}
