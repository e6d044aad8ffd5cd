//! What is asked.

use crate::data::Shape;

pub struct Query {
    pub name: &'static str,
    pub text: &'static str,
    /// Seconds; without, the query is instant, at the end of the samples.
    pub step: Option<u32>,
}

const fn instant(name: &'static str, text: &'static str) -> Query {
    Query { name, text, step: None }
}

const fn range(name: &'static str, text: &'static str) -> Query {
    Query { name, text, step: Some(60) }
}

pub const QUERIES: &[Query] = &[
    instant("selector", "requests_total"),
    instant("selector of everything", "{job=~\".+\"}"),
    instant("rate", "rate(requests_total[5m])"),
    instant("sum by", "sum by (job) (rate(requests_total[5m]))"),
    instant("quantile", "quantile by (job) (0.9, utilisation)"),
    instant("quantile over time", "quantile_over_time(0.9, utilisation[1h])"),
    instant("join", "rate(bytes_total[5m]) / ignoring (__name__) rate(requests_total[5m])"),
    instant("join, many to one", "utilisation / on (job) group_left sum by (job) (utilisation)"),
    instant("subquery", "max_over_time(sum by (job) (rate(requests_total[5m]))[1h:1m])"),
    range("selector of a job", "requests_total{job=\"job-3\"}"),
    range("selector", "requests_total"),
    range("rate", "rate(requests_total[5m])"),
    range("sum by", "sum by (job) (rate(requests_total[5m]))"),
    range("avg of gauges", "avg by (namespace) (utilisation)"),
    range("quantile", "quantile by (job) (0.9, utilisation)"),
    range("quantile over time", "avg(quantile_over_time(0.9, utilisation[10m]))"),
    range("join", "sum(rate(bytes_total[5m]) / ignoring (__name__) rate(requests_total[5m]))"),
    range("join, many to one", "sum(utilisation / on (job) group_left sum by (job) (utilisation))"),
    range("subquery", "max_over_time(sum by (job) (rate(requests_total[5m]))[1h:1m])"),
    range("topk", "topk(5, rate(requests_total[5m]))"),
];

impl Query {
    pub fn kind(&self) -> &'static str {
        if self.step.is_some() { "range" } else { "instant" }
    }

    pub fn target(&self, shape: &Shape) -> String {
        let query = escaped(self.text);
        let seconds = |ms: i64| ms as f64 / 1000.0;
        match self.step {
            None => format!("/api/v1/query?query={query}&time={}", seconds(shape.end_ms())),
            Some(step) => {
                let (start, end) = (seconds(shape.start_ms), seconds(shape.end_ms()));
                format!("/api/v1/query_range?query={query}&start={start}&end={end}&step={step}")
            }
        }
    }
}

/// One of a hundred rules, as an instant query.
pub fn rule(index: usize, wide: bool, shape: &Shape) -> String {
    let job = index % 25;
    let selected = |metric: &str| if wide { metric.to_owned() } else { format!("{metric}{{job=\"job-{job}\"}}") };
    let text = match index / 25 {
        0 => format!("sum by (namespace) (rate({}[5m]))", selected("requests_total")),
        1 => format!("{} > 95", selected("utilisation")),
        2 => format!("max by (instance) ({}) - min by (instance) ({0})", selected("temperature")),
        _ => {
            format!("sum(rate({}[5m])) / sum(rate({}[5m])) > 1000", selected("bytes_total"), selected("requests_total"))
        }
    };
    format!("/api/v1/query?query={}&time={}", escaped(&text), shape.end_ms() as f64 / 1000.0)
}

fn escaped(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes().map(|byte| if keep(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}
