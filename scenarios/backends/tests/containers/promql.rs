//! Random expressions over random series: the simulated Prometheus and a real one, fed the same bytes, give the same answers.

use std::fmt::Write as _;
use std::path::Path;

use bytes::Bytes;
use fastrand::Rng;
use scenario_backends::{
    prometheus::Prometheus,
    remote_write::{WriteRequest, encode},
};
use serde_json::Value;

use crate::{
    agreement::{Leave, difference},
    expressions::expression,
    prometheus, runtime, series, variable,
};

/// How many expressions are compared where nothing else is said.
const EXPRESSIONS: usize = 2_000;
/// Differences that are told.
const TOLD: usize = 25;
/// Expressions on which the two once differed, one a line; `#` starts a remark.
const KNOWN: &str = "fixtures/differential/promql/expressions.txt";

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        let _ = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                write!(encoded, "{}", char::from(byte))
            }
            _ => write!(encoded, "%{byte:02X}"),
        };
        encoded
    })
}

/// One question: an expression at an instant, or over a range.
struct Question {
    path: &'static str,
    form: String,
    told: String,
}

fn question(rng: &mut Rng, expr: &str) -> Question {
    let span = series::SAMPLES * series::INTERVAL_MS / 1000;
    let start = series::START_MS / 1000 + rng.i64(-60..span + 120);
    // Over a range, Prometheus takes series in the order of a Go map: which of equals are the top ones is chance.
    if expr.contains("topk") || expr.contains("bottomk") || rng.u8(..3) > 0 {
        let time = format!("{start}.{:03}", rng.u32(..1000));
        let form = format!("query={}&time={time}", encoded(expr));
        return Question { path: "/api/v1/query", form, told: format!("{expr}   at {time}") };
    }
    let (step, steps) = (rng.i64(1..120), rng.i64(0..25));
    let end = start + step * steps;
    let form = format!("query={}&start={start}&end={end}&step={step}", encoded(expr));
    Question { path: "/api/v1/query_range", form, told: format!("{expr}   from {start} to {end} by {step}") }
}

fn ours(prometheus: &sim_prometheus::server::Prometheus, path: &str, kind: &str, body: Vec<u8>) -> (u16, Value) {
    let mut request = http::Request::post(path).header("content-type", kind);
    if kind == "application/x-protobuf" {
        request = request.header("content-encoding", "snappy").header("x-prometheus-remote-write-version", "0.1.0");
    }
    let now = sim_clock::Timestamp::from_millis(series::START_MS + 86_400_000);
    let response = prometheus.answer(&request.body(Bytes::from(body)).unwrap(), now);
    (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default())
}

/// A random expression, but for the top of what comes in the order of a Go map.
fn random(rng: &mut Rng) -> String {
    loop {
        let expr = expression(rng);
        let top = expr.contains("topk") || expr.contains("bottomk");
        if !(top && ["histogram_", "count_values", ":"].iter().any(|sign| expr.contains(sign))) {
            return expr;
        }
    }
}

/// Whether the real Prometheus answers as it did, ten times. Sometimes 3.5.3 computes with native histograms whose buckets are
/// those of another sample, another time it does not.
async fn steady(real: &Prometheus, question: &Question, first: &(u16, Value)) -> bool {
    for _ in 0..10 {
        let again = real.ask(question.path, Some(question.form.clone())).await.unwrap();
        if difference(first, &again, Leave { order: true }).is_some() {
            return false;
        }
    }
    true
}

#[test]
fn random_expressions_have_the_answers_of_a_real_prometheus() {
    runtime().block_on(async {
        let Some(real) = prometheus().await else { return };
        let seed = variable("PROMQL_SEED").map_or(5, |seed| seed.parse().unwrap());
        let count = variable("PROMQL_EXPRESSIONS").map_or(EXPRESSIONS, |count| count.parse().unwrap());
        let mut rng = Rng::with_seed(seed);
        let series = series::series(&mut rng);
        real.write(&series).await.unwrap();
        let options = sim_prometheus::server::Options { remote_write_receiver: true, ..Default::default() };
        let simulated = sim_prometheus::server::Prometheus::with_options(options);
        let body = encode(&WriteRequest { timeseries: series });
        let (status, said) = ours(&simulated, "/api/v1/write", "application/x-protobuf", body);
        assert!((200..300).contains(&status), "{status} {said}");
        // Before anything is computed: both hold what was written, sample by sample.
        let end = (series::START_MS + series::SAMPLES * series::INTERVAL_MS) / 1000;
        let form = format!("query={}&time={end}", encoded("{__name__=~\".+\"}[1h]"));
        let theirs = real.ask("/api/v1/query", Some(form.clone())).await.unwrap();
        let answer = ours(&simulated, "/api/v1/query", "application/x-www-form-urlencoded", form.into_bytes());
        assert_eq!(difference(&theirs, &answer, Leave::default()), None);
        let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(KNOWN);
        let known = std::fs::read_to_string(known).unwrap_or_default();
        let known: Vec<&str> = known.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let (mut differences, mut agreed, mut told) = (0, 0, String::new());
        let (mut empty, mut refused, mut unsteady) = (0, 0, 0);
        for index in 0..known.len() + count {
            let expr = known.get(index).map_or_else(|| random(&mut rng), |known| (*known).to_owned());
            let question = question(&mut rng, &expr);
            let theirs = real.ask(question.path, Some(question.form.clone())).await.unwrap();
            let answer = ours(
                &simulated,
                question.path,
                "application/x-www-form-urlencoded",
                question.form.clone().into_bytes(),
            );
            refused += usize::from(theirs.0 != 200);
            empty += usize::from(theirs.1["data"]["result"].as_array().is_some_and(Vec::is_empty));
            let range = question.path.ends_with("_range");
            // Classic buckets and counted values are gathered in a Go map at an instant, too, and a subquery is a range.
            let chance = ["histogram_", "count_values", ":"].iter().any(|sign| expr.contains(sign));
            let leave = Leave { order: range || chance };
            match difference(&theirs, &answer, leave) {
                None => agreed += 1,
                Some(_) if !steady(&real, &question, &theirs).await => unsteady += 1,
                Some(why) => {
                    differences += 1;
                    if differences <= TOLD {
                        let _ = writeln!(told, "{}\n    {why}", question.told);
                    }
                }
            }
        }
        let asked = known.len() + count;
        println!(
            "agree {agreed} / {asked} (seed {seed}; {empty} empty, {refused} refused); \
             {unsteady} to which the real Prometheus has more than one answer"
        );
        assert_eq!(differences, 0, "\n{told}");
        assert!(unsteady * 100 < asked, "{unsteady} of {asked} are unsteady");
        // A comparison of nothing with nothing proves nothing.
        assert!(empty * 2 < agreed && refused * 2 < agreed, "{empty} empty and {refused} refused of {agreed}");
    });
}
