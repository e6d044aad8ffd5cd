//! Whether two answers of the query API are the same answer.

use serde_json::Value;

/// Relative difference of two floats that counts as none (design: 1e-12 relative).
const RELATIVE: f64 = 1e-12;
/// The API shows at most this many remarks of each kind, in no order.
const REMARKS_MAX: usize = 10;

/// What Prometheus leaves to chance.
#[derive(Clone, Copy, Default)]
pub struct Leave {
    /// Series come in the order of a Go map: an error names any two of those that collide.
    pub order: bool,
}

/// Why the answers differ; nothing when they agree.
pub fn difference(real: &(u16, Value), ours: &(u16, Value), leave: Leave) -> Option<String> {
    if real.0 != ours.0 {
        return Some(format!("status {} and {}: {} and {}", real.0, ours.0, short(&real.1), short(&ours.1)));
    }
    let (real, ours) = (&real.1, &ours.1);
    for key in ["status", "errorType", "error"] {
        if real[key] != ours[key]
            && !(leave.order && collision(&real[key]).is_some_and(|c| Some(c) == collision(&ours[key])))
        {
            return Some(format!("{key}: {} and {}", real[key], ours[key]));
        }
    }
    for key in ["warnings", "infos"] {
        let (real, ours) = (sorted(&real[key]), sorted(&ours[key]));
        if real != ours && real.len().min(ours.len()) < REMARKS_MAX {
            return Some(format!("{key}: {real:?} and {ours:?}"));
        }
    }
    let (real, ours) = (&real["data"], &ours["data"]);
    if real["resultType"] != ours["resultType"] {
        return Some(format!("resultType: {} and {}", real["resultType"], ours["resultType"]));
    }
    let (real, ours) = (&real["result"], &ours["result"]);
    match real["resultType"].as_str() {
        Some("scalar" | "string") => (!same(real, ours)).then(|| format!("{real} and {ours}")),
        _ => series(real, ours),
    }
}

/// On which side of an operation series collide, where an error says that they do.
fn collision(error: &Value) -> Option<&str> {
    let rest = error.as_str()?.strip_prefix("found duplicate series for the match group ")?;
    rest.split_once("} on the ")?.1.split_once(':').map(|(side, _)| side)
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

fn sorted(remarks: &Value) -> Vec<String> {
    let mut texts: Vec<String> =
        remarks.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect();
    texts.sort();
    texts
}

/// Series by their labels: vectors have no order of their own, and two series of one vector never share their labels.
fn series(real: &Value, ours: &Value) -> Option<String> {
    let by_labels = |result: &Value| {
        let mut series: Vec<(String, Value)> =
            result.as_array().into_iter().flatten().map(|series| (labels(&series["metric"]), series.clone())).collect();
        series.sort_by(|a, b| a.0.cmp(&b.0));
        series
    };
    let (real, ours) = (by_labels(real), by_labels(ours));
    let names = |series: &[(String, Value)]| series.iter().map(|(labels, _)| labels.clone()).collect::<Vec<_>>();
    if names(&real) != names(&ours) {
        let lost: Vec<_> = real.iter().filter(|(name, _)| !names(&ours).contains(name)).collect();
        let more: Vec<_> = ours.iter().filter(|(name, _)| !names(&real).contains(name)).collect();
        return Some(format!("series only there: {:?}; only here: {:?}", first(&lost), first(&more)));
    }
    real.iter().zip(&ours).find_map(|((name, real), (_, ours))| {
        ["value", "values", "histogram", "histograms"].iter().find_map(|key| {
            (!same(&real[*key], &ours[*key])).then(|| {
                let differing = match (real[*key].as_array(), ours[*key].as_array()) {
                    (Some(real), Some(ours)) if real.len() == ours.len() => {
                        let found = real.iter().zip(ours).find(|(real, ours)| !same(real, ours));
                        found.map_or_else(String::new, |(real, ours)| format!("{} and {}", short(real), short(ours)))
                    }
                    _ => format!("{} and {}", short(&real[*key]), short(&ours[*key])),
                };
                format!("{name} {key}: {differing}")
            })
        })
    })
}

fn first<T: std::fmt::Debug>(items: &[T]) -> Vec<&T> {
    items.iter().take(3).collect()
}

fn labels(metric: &Value) -> String {
    let mut pairs: Vec<String> =
        metric.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.sort();
    format!("{{{}}}", pairs.join(","))
}

/// The same JSON, but for the last digits of numbers, which the API writes as strings.
fn same(real: &Value, ours: &Value) -> bool {
    match (real, ours) {
        (Value::Array(real), Value::Array(ours)) => {
            real.len() == ours.len() && real.iter().zip(ours).all(|(real, ours)| same(real, ours))
        }
        (Value::Object(real), Value::Object(ours)) => {
            real.len() == ours.len()
                && real.iter().all(|(key, real)| ours.get(key).is_some_and(|ours| same(real, ours)))
        }
        (Value::String(real), Value::String(ours)) if real != ours => match (number(real), number(ours)) {
            (Some(real), Some(ours)) => close(real, ours),
            _ => false,
        },
        (Value::Number(real), Value::Number(ours)) => real.as_f64() == ours.as_f64(),
        _ => real == ours,
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ => text.parse().ok(),
    }
}

fn close(real: f64, ours: f64) -> bool {
    real.to_bits() == ours.to_bits() || (real - ours).abs() <= RELATIVE * real.abs().max(ours.abs())
}

#[test]
fn what_differs_is_told() {
    let answer = |value: &str| {
        let text = format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"a":"b"}},"value":[1,"{value}"]}}]}}}}"#
        );
        (200, serde_json::from_str(&text).unwrap())
    };
    let difference = |real: &_, ours: &_| difference(real, ours, Leave::default());
    assert_eq!(difference(&answer("0.30000000000000004"), &answer("0.3")), None);
    assert!(difference(&answer("0.31"), &answer("0.3")).unwrap().contains("0.31"));
    assert!(difference(&answer("1"), &answer("NaN")).is_some());
    let empty = serde_json::json!({"status": "success", "data": {"resultType": "vector", "result": []}});
    assert!(difference(&answer("1"), &(200, empty)).unwrap().contains("only there"));
}
