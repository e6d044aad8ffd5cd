//! `scrape`: the health of Prometheus' targets.

use scenario_language::{Comparison, ScrapePattern};
use serde_json::{Value, json};

use crate::backends::{Backends, Result};
use crate::outcome::Story;
use crate::path::{differences, tell};

/// Targets that a story tells.
const TOLD_MAX: usize = 8;

/// Judges the targets as they are now.
pub async fn judge(pattern: &ScrapePattern, backends: &dyn Backends) -> Result<(bool, Story)> {
    let targets = backends.prom_get("/api/v1/targets").await?;
    Ok(judge_targets(pattern, &targets))
}

/// The pure part: `data` of `/api/v1/targets`.
pub fn judge_targets(pattern: &ScrapePattern, targets: &Value) -> (bool, Story) {
    let empty = Vec::new();
    let active = targets.get("activeTargets").and_then(Value::as_array).unwrap_or(&empty);
    let up = Comparison::Equals("up".to_string());
    let health = pattern.health.as_ref().unwrap_or(&up);
    let labels = |target: &Value| target.get("labels").cloned().unwrap_or(Value::Null);
    let chosen: Vec<&Value> =
        active.iter().filter(|target| differences(&pattern.labels, &labels(target)).is_empty()).collect();
    let well = chosen.iter().filter(|target| health.holds(target.get("health"))).count();
    let counted = match &pattern.count {
        Some(count) => count.holds_number(chosen.len() as f64),
        None => !chosen.is_empty(),
    };
    let told = if chosen.is_empty() { active.iter().collect() } else { chosen.clone() };
    let details = told.iter().take(TOLD_MAX).map(|target| line(target)).collect();
    let found = if chosen.is_empty() {
        format!("no such target among {}", active.len())
    } else {
        format!("{well} of {} targets are {health}", chosen.len())
    };
    let data = json!({"chosen": chosen.len(), "as_expected": well, "active": active.len()});
    (counted && well == chosen.len(), Story::new("", found).with(details).data(data))
}

fn line(target: &Value) -> String {
    let label = |name: &str| tell(target.pointer(&format!("/labels/{name}")));
    let error = target.get("lastError").and_then(Value::as_str).filter(|error| !error.is_empty());
    let error = error.map(|error| format!(", {error}")).unwrap_or_default();
    format!(
        "{} {} is {}, last scraped {}{error}",
        label("job"),
        label("instance"),
        tell(target.get("health")),
        tell(target.get("lastScrape"))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chosen_target_has_to_be_up_and_there_has_to_be_one() {
        let pattern = crate::testing::expectation("scrape: { labels: { namespace: multigres-operator } }").scrape();
        let target = |health: &str| json!({"activeTargets": [{"labels": {"namespace": "multigres-operator", "job": "o"}, "health": health, "lastError": "refused"}]});
        assert!(judge_targets(&pattern, &target("up")).0);
        let (ok, story) = judge_targets(&pattern, &target("down"));
        assert!(!ok);
        assert_eq!(story.details, ["o absent is down, last scraped absent, refused"]);
        assert!(!judge_targets(&pattern, &json!({"activeTargets": []})).0);
    }
}
