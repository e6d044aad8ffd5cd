//! FlowSchema: whether the priority level that it names is there. That is all that becomes of flow control here: every request is
//! served at once, so that there is nothing to queue.

use serde_json::json;
use sim_clock::Timestamp;

use super::{Step, Write, set_condition, with_status};
use crate::{
    engine::{Engine, Object},
    json,
};

/// Table of FlowSchemas.
pub(super) const SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io";
/// Table of PriorityLevelConfigurations.
pub(super) const LEVELS: &str = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io";

/// The priority level that a FlowSchema names.
pub(super) fn level_of(schema: &Object) -> &str {
    json::text(schema, &["spec", "priorityLevelConfiguration", "name"])
}

/// One look at a FlowSchema.
pub(super) fn schema(engine: &Engine, schema: &Object, now: Timestamp) -> Step {
    let mut step = Step::of("api-priority-and-fairness-config-consumer-v1");
    let level = level_of(schema);
    let dangling = engine.peek(LEVELS, "", level).is_none();
    let (reason, end) = if dangling { ("NotFound", "there is no such object") } else { ("Found", "it exists") };
    let text = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {} {end}",
        if dangling { "but" } else { "and" }
    );
    let mut status = schema.get("status").cloned().unwrap_or_else(|| json!({}));
    set_condition(&mut status, "Dangling", dangling, reason, &text, &now.rfc3339(), false);
    if schema.get("status") != Some(&status) {
        step.writes.push(Write::Status(with_status(schema, status)));
    }
    step
}
