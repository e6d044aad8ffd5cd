//! Random expressions, computed series by series and step by step: nothing may differ. No container is needed.

use bytes::Bytes;
use fastrand::Rng;
use scenario_backends::remote_write::{WriteRequest, encode};
use sim_prometheus::promql::{self, Annotations, EvalError, EvalOptions, QueryValue};
use sim_prometheus::server::{Options, Prometheus};

use crate::{expressions::expression, series};

/// How many expressions are compared.
const EXPRESSIONS: usize = 1_500;

fn loaded(rng: &mut Rng) -> Prometheus {
    let prometheus = Prometheus::with_options(Options { remote_write_receiver: true, ..Options::default() });
    let body = encode(&WriteRequest { timeseries: series::series(rng) });
    let request = http::Request::post("/api/v1/write").header("content-type", "application/x-protobuf");
    let request = request.header("content-encoding", "snappy").body(Bytes::from(body)).unwrap();
    let now = sim_clock::Timestamp::from_millis(series::START_MS + 86_400_000);
    assert_eq!(prometheus.answer(&request, now).status(), 204);
    prometheus
}

/// The value as text, which tells every bit that counts, and the annotations.
fn shown(result: Result<(QueryValue, Annotations), EvalError>) -> String {
    match result {
        Ok((value, notes)) => format!("{value:?}\n{notes:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn series_by_series_is_what_step_by_step_is() {
    let mut rng = Rng::with_seed(11);
    let prometheus = loaded(&mut rng);
    let (mut by_series, mut differences) = (0, Vec::new());
    for _ in 0..EXPRESSIONS {
        let query = expression(&mut rng);
        let Ok(expr) = promql::parse(&query) else { continue };
        let start = series::START_MS + rng.i64(-60_000..series::SAMPLES * series::INTERVAL_MS);
        let (step, steps) = (rng.i64(1..120_000), rng.i64(0..25));
        let instant = rng.bool();
        let evaluated = |series_by_series: bool| {
            let options = EvalOptions { series_by_series, ..EvalOptions::default() };
            prometheus.with_store(|store| {
                shown(if instant {
                    promql::eval::instant(store, &query, &expr, start, options)
                } else {
                    promql::eval::range(store, &query, &expr, (start, start + step * steps, step), options)
                })
            })
        };
        by_series += usize::from(promql::eval::is_by_series(&expr));
        let (one, other) = (evaluated(true), evaluated(false));
        if one != other {
            differences.push(format!("{query} from {start} by {step} ({steps})\n  {one}\n  {other}"));
        }
    }
    assert!(by_series * 4 > EXPRESSIONS, "only {by_series} were computed series by series");
    assert!(
        differences.is_empty(),
        "{} differ\n{}",
        differences.len(),
        differences[..differences.len().min(10)].join("\n")
    );
}
