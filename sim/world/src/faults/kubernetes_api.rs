//! Faults of the Kubernetes API: a rule of `sim-kube` from a scenario's parameters.

use std::time::Duration;

use serde_json::Value;
use sim_kube::faults::{Effect, Match, Rule, VERBS, WatchFault, When};

use super::{Asked, FaultError, FaultKind, Parameter, duration};

const ANY: Option<&str> = Some("any");

const fn glob(name: &'static str) -> Parameter {
    Parameter { name, takes: "a text, * for any run of characters", default: ANY }
}

/// The fault of requests.
pub(super) const REQUESTS: FaultKind = FaultKind {
    name: "kubernetes-api",
    summary: "requests to the Kubernetes API that match are refused, delayed, cut off, or answered from the past",
    parameters: &[
        Parameter {
            name: "effect",
            takes: "latency | conflict | too-many-requests | internal-error | unavailable | gateway-timeout | cut-before | \
                    cut-after | hang | timeout | stale-read | continue-expired | watch-cut | watch-expired | watch-delay | \
                    watch-hold | watch-no-bookmarks",
            default: None,
        },
        Parameter {
            name: "verbs",
            takes: "a list of get, list, watch, create, update, patch, delete, deletecollection, as far as the effect can befall them",
            default: Some("every verb"),
        },
        glob("group"),
        glob("resource"),
        Parameter {
            name: "subresource",
            takes: "a text, * for any run of characters; \"\" is the object itself",
            default: ANY,
        },
        glob("namespace"),
        glob("name"),
        glob("user"),
        glob("user_agent"),
        Parameter {
            name: "for",
            takes: "how long it takes (latency: fixed, or a range such as 50ms..2s; timeout), at most 1h",
            default: Some("1s; timeout: 60s"),
        },
        Parameter {
            name: "lag",
            takes: "how old a stale read or how late a watch event is, at most 1h",
            default: Some("5s"),
        },
        Parameter { name: "retry_after", takes: "whole seconds, e.g. 2s (too-many-requests)", default: Some("1s") },
        Parameter {
            name: "applied",
            takes: "true | false: whether a write that times out takes effect",
            default: Some("false"),
        },
        Parameter {
            name: "cached_only",
            takes: "true | false: whether only reads with resourceVersion=0 are stale",
            default: Some("false"),
        },
        Parameter {
            name: "spare_first",
            takes: "a number of matching requests that are spared first",
            default: Some("0"),
        },
        Parameter { name: "count", takes: "the number of requests that are struck at most", default: ANY },
        Parameter { name: "probability", takes: "a number from 0 to 1", default: Some("1") },
    ],
};

/// The fault of the clock.
pub(super) const CLOCK: FaultKind = FaultKind {
    name: "kubernetes-api-clock",
    summary: "the API server's clock is ahead of everybody else's, or behind: what it stamps shows it",
    parameters: &[Parameter {
        name: "ahead",
        takes: "a time, e.g. 90s, or -90s for behind, at most 24h",
        default: None,
    }],
};

/// Understands the parameters of [`REQUESTS`].
pub(super) fn rule(asked: &Asked<'_>) -> Result<Rule, FaultError> {
    let effect = effect(asked)?;
    let verbs: Vec<String> = match asked.value("verbs") {
        None => Vec::new(),
        Some(Value::Array(list)) if !list.is_empty() => {
            let verb = |v: &Value| v.as_str().filter(|v| VERBS.contains(v)).map(str::to_owned);
            list.iter().map(verb).collect::<Option<_>>().ok_or_else(|| asked.bad("verbs"))?
        }
        Some(_) => return Err(asked.bad("verbs")),
    };
    let glob = |name: &str| match asked.value(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(asked.bad(name)),
    };
    let number = |name: &str| match asked.value(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| asked.bad(name)),
    };
    let probability = match asked.value("probability") {
        None => None,
        Some(value) => {
            Some(value.as_f64().filter(|p| (0.0..=1.0).contains(p)).ok_or_else(|| asked.bad("probability"))?)
        }
    };
    let rule = Rule {
        matches: Match {
            verbs,
            group: glob("group")?,
            resource: glob("resource")?,
            subresource: glob("subresource")?,
            namespace: glob("namespace")?,
            name: glob("name")?,
            user: glob("user")?,
            user_agent: glob("user_agent")?,
        },
        effect,
        when: When {
            spare_first: number("spare_first")?.unwrap_or(0),
            strikes_max: number("count")?,
            probability,
            ..When::default()
        },
    };
    // What is left to be wrong: verbs that the effect cannot befall.
    rule.check().map_err(|_| asked.bad("verbs"))?;
    Ok(rule)
}

fn effect(asked: &Asked<'_>) -> Result<Effect, FaultError> {
    Ok(match asked.text("effect", "")?.as_str() {
        "latency" => {
            let text = asked.text("for", "1s")?;
            let (min, max) = text.split_once("..").unwrap_or((&text, &text));
            let range = duration(min).and_then(millis).zip(duration(max).and_then(millis));
            let (min_ms, max_ms) = range.filter(|(min, max)| min <= max).ok_or_else(|| asked.bad("for"))?;
            Effect::Latency { min_ms, max_ms }
        }
        "conflict" => Effect::Conflict,
        "too-many-requests" => {
            let time = duration(&asked.text("retry_after", "1s")?).filter(|t| t.subsec_nanos() == 0);
            let seconds = time.and_then(|t| u32::try_from(t.as_secs()).ok());
            Effect::TooManyRequests { retry_after_s: seconds.ok_or_else(|| asked.bad("retry_after"))? }
        }
        "internal-error" => Effect::InternalError,
        "unavailable" => Effect::Unavailable,
        "gateway-timeout" => Effect::GatewayTimeout,
        "cut-before" => Effect::CutBefore,
        "cut-after" => Effect::CutAfter,
        "hang" => Effect::Hang,
        "timeout" => Effect::Timeout { after_ms: time(asked, "for", "60s")?, applied: flag(asked, "applied")? },
        "stale-read" => {
            Effect::StaleRead { lag_ms: time(asked, "lag", "5s")?, cached_only: flag(asked, "cached_only")? }
        }
        "continue-expired" => Effect::ContinueExpired,
        "watch-cut" => Effect::Watch(WatchFault::Cut),
        "watch-expired" => Effect::Watch(WatchFault::Expired),
        "watch-delay" => Effect::Watch(WatchFault::Delay { lag_ms: time(asked, "lag", "5s")? }),
        "watch-hold" => Effect::Watch(WatchFault::Hold),
        "watch-no-bookmarks" => Effect::Watch(WatchFault::NoBookmarks),
        _ => return Err(asked.bad("effect")),
    })
}

fn time(asked: &Asked<'_>, name: &str, default: &str) -> Result<u64, FaultError> {
    duration(&asked.text(name, default)?).and_then(millis).ok_or_else(|| asked.bad(name))
}

fn millis(time: Duration) -> Option<u64> {
    u64::try_from(time.as_millis()).ok().filter(|ms| *ms <= sim_kube::faults::LATENCY_MS_MAX)
}

fn flag(asked: &Asked<'_>, name: &str) -> Result<bool, FaultError> {
    match asked.value(name) {
        None => Ok(false),
        Some(Value::Bool(on)) => Ok(*on),
        Some(_) => Err(asked.bad(name)),
    }
}

/// Understands the parameter of [`CLOCK`]: milliseconds ahead.
pub(super) fn skew(asked: &Asked<'_>) -> Result<i64, FaultError> {
    let text = asked.text("ahead", "")?;
    let (sign, time) = text.strip_prefix('-').map_or((1, text.as_str()), |rest| (-1, rest));
    let time = duration(time).filter(|t| *t <= Duration::from_secs(24 * 3600)).ok_or_else(|| asked.bad("ahead"))?;
    Ok(sign * i64::try_from(time.as_millis()).map_err(|_| asked.bad("ahead"))?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::faults::{Fault, parse};

    fn parsed(name: &str, parameters: Value) -> Result<Fault, FaultError> {
        let parameters: Vec<_> =
            parameters.as_object().expect("a map").iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        parse(name, &parameters)
    }

    #[test]
    fn every_effect_can_be_had_by_its_name_alone() {
        let names = REQUESTS.parameters[0].takes.split(" | ");
        let effects: Vec<String> = names
            .map(|name| match parsed("kubernetes-api", json!({"effect": name.trim()})) {
                Ok(Fault::KubernetesApi(rule)) => format!("{:?}", rule.effect),
                other => panic!("{name}: {other:?}"),
            })
            .collect();
        assert_eq!(effects.len(), 17);
        assert!(effects.contains(&"TooManyRequests { retry_after_s: 1 }".to_owned()), "{effects:?}");
    }

    #[test]
    fn parameters_become_a_rule() {
        let parameters = json!({"effect": "latency", "for": "50ms..2s", "verbs": ["get", "list"], "resource": "pods", "count": 3, "probability": 0.5});
        let Ok(Fault::KubernetesApi(rule)) = parsed("kubernetes-api", parameters) else { panic!("a rule") };
        assert_eq!(rule.effect, Effect::Latency { min_ms: 50, max_ms: 2000 });
        assert_eq!((rule.matches.verbs.len(), rule.matches.resource.as_deref()), (2, Some("pods")));
        assert_eq!((rule.when.strikes_max, rule.when.probability), (Some(3), Some(0.5)));
        assert_eq!(parsed("kubernetes-api-clock", json!({"ahead": "-90s"})), Ok(Fault::KubernetesClock(-90_000)));
    }

    #[test]
    fn mistakes_are_told_by_parameter() {
        for (parameters, parameter) in [
            (json!({"effect": "explode"}), "effect"),
            (json!({"effect": "hang", "verbs": ["read"]}), "verbs"),
            (json!({"effect": "watch-cut", "verbs": ["get"]}), "verbs"),
            (json!({"effect": "latency", "for": "2s..1s"}), "for"),
            (json!({"effect": "latency", "for": "2h"}), "for"),
            (json!({"effect": "too-many-requests", "retry_after": "1500ms"}), "retry_after"),
            (json!({"effect": "stale-read", "lag": 3}), "lag"),
            (json!({"effect": "timeout", "applied": "yes"}), "applied"),
            (json!({"effect": "hang", "probability": 1.5}), "probability"),
            (json!({"effect": "hang", "count": -1}), "count"),
            (json!({"effect": "hang", "name": 7}), "name"),
        ] {
            match parsed("kubernetes-api", parameters) {
                Err(FaultError::BadParameter { name, .. }) => assert_eq!(name, parameter),
                other => panic!("{parameter}: {other:?}"),
            }
        }
        assert!(parsed("kubernetes-api-clock", json!({"ahead": "25h"})).is_err());
    }
}
