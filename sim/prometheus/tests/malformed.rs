//! What comes in and is wrong: each time one clear error, in bounded time and memory, and nothing that was there before is lost.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use serde_json::Value;
use sim_clock::Timestamp;
use sim_prometheus::promql::{self, EvalOptions};
use sim_prometheus::remote::messages::{Label, Sample, TimeSeries, WriteRequest};
use sim_prometheus::rules::{Group, Health, parse_rules};
use sim_prometheus::scrape::{Memory, Outcome, Settings, ingest};
use sim_prometheus::server::{Options, Prometheus};
use sim_prometheus::store::{Point, Store};
use sim_prometheus::template::External;
use sim_wire::{Labels, Matcher};

use prost::Message as _;

/// No single piece of bad input may take longer, on a slow machine that does other things, in a debug build.
const PATIENCE: Duration = Duration::from_secs(30);

#[allow(clippy::disallowed_methods, reason = "it is about the machine's time")]
fn soon<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    assert!(started.elapsed() < PATIENCE, "{what} took {:?}", started.elapsed());
    result
}

fn with_one_series() -> Store {
    let mut store = Store::new();
    store.append(&Labels::from_pairs([("__name__", "known"), ("job", "a")]), Point::float(1000, 1.0)).unwrap();
    store
}

fn settings() -> Settings {
    let config = sim_prometheus::config::parse("scrape_configs: [{job_name: j}]").unwrap();
    Settings::from(&config.scrape_configs[0])
}

/// Scrapes a page beside a series that is there, and tells `up`, the samples and the error.
fn scraped(page: &str, settings: &Settings) -> (f64, usize, Option<String>) {
    let (mut store, mut memory) = (with_one_series(), Memory::default());
    let target = Labels::from_pairs([("job", "j"), ("instance", "i")]);
    let outcome = Outcome::Page { content_type: "text/plain; version=0.0.4", body: page };
    let summary = ingest(&mut store, &mut memory, settings, &target, 60_000, Duration::from_millis(3), &outcome);
    let named = |name: &str| store.select(&[Matcher::equal("__name__", name)]);
    assert_eq!(named("known")[0].len(), 1, "what was there stays");
    let up = named("up")[0].last().unwrap().value.float();
    (up, summary.kept, summary.error)
}

#[test]
fn pages_that_are_no_exposition() {
    let long_name = "x".repeat(1 << 20);
    let pages = [
        "{\"json\": true}".to_owned(),
        "<html><body>404</body></html>".to_owned(),
        "a{b=\"c\"".to_owned(),
        "a{b=\"c\"} one".to_owned(),
        "a 1 2 3 4".to_owned(),
        format!("{long_name}{{"),
        "\u{0}\u{1}\u{2}".to_owned(),
        "a{b=\"1\",b=\"2\"} 1".to_owned(),
    ];
    for page in pages {
        let shown: String = page.chars().take(40).collect();
        let (up, kept, error) = soon(&shown, || scraped(&page, &settings()));
        assert_eq!((up, kept), (0.0, 0), "{shown}");
        let error = error.unwrap_or_else(|| panic!("{shown}: no error"));
        assert!(!error.is_empty() && error.len() < 4096, "{shown}: {} bytes of error", error.len());
    }
}

#[test]
fn pages_with_odd_values_and_sizes() {
    let (up, kept, error) = scraped("a NaN\nb +Inf\nc -Inf\nd 1e400\n", &settings());
    assert_eq!((up, kept, error), (1.0, 4, None));
    // The same series twice: the first counts, and the page is good.
    assert_eq!(scraped("a 1\na 2\n", &settings()).0, 1.0);
    let lines: Vec<String> = (0..50_000).map(|index| format!("m{{i=\"{index}\"}} {index}\n")).collect();
    let many = lines.concat();
    let (up, kept, _) = soon("50 000 series", || scraped(&many, &settings()));
    assert_eq!((up, kept), (1.0, 50_000));
    let limited = Settings { sample_limit: 1_000, ..settings() };
    let (up, kept, error) = soon("beyond the limit", || scraped(&many, &limited));
    // `scrape_samples_post_metric_relabeling` tells how many there were.
    assert_eq!((up, kept, error.as_deref()), (0.0, 50_000, Some("sample limit exceeded")));
}

#[test]
fn queries_of_absurd_size_and_depth() {
    let store = with_one_series();
    let huge = format!("known{{job=\"{}\"}}", "x".repeat(10 << 20));
    let sum = vec!["1"; 2 << 20].join("+");
    let nested = format!("{}1{}", "(".repeat(1 << 20), ")".repeat(1 << 20));
    let minus = format!("{}1", "-".repeat(1 << 20));
    let alternatives = format!("known{{job=~\"{}\"}}", vec!["aaaaaaaa"; 1 << 20].join("|"));
    let counted = format!("known{{job=~\"{}\"}}", "(a{1000}){1000}".repeat(10));
    for (what, query) in [
        ("10 MB of label", &huge),
        ("4 MB of sums", &sum),
        ("a million parentheses", &nested),
        ("a million signs", &minus),
        ("a million alternatives", &alternatives),
        ("a regular expression that explodes", &counted),
    ] {
        let result = soon(what, || {
            let expr = promql::parse(query).map_err(|error| error.to_string())?;
            promql::eval::instant(&store, query, &expr, 2000, EvalOptions::default()).map_err(|error| error.to_string())
        });
        if let Err(error) = result {
            assert!(!error.is_empty() && error.len() < 1 << 16, "{what}: {} bytes of error", error.len());
        }
    }
    let query = "count(known)";
    let again = promql::eval::instant(&store, query, &promql::parse(query).unwrap(), 2000, EvalOptions::default());
    assert!(again.is_ok());
}

#[test]
fn queries_that_would_fill_the_memory() {
    let mut store = Store::new();
    for index in 0..2_000 {
        let labels = Labels::from_pairs([("__name__", "m".to_owned()), ("i", index.to_string())]);
        for t in 0..20 {
            store.append(&labels, Point::float(t * 1000, 1.0)).unwrap();
        }
    }
    let options = EvalOptions { samples_max: 10_000, ..EvalOptions::default() };
    for query in ["m[1m]", "{i=~\".+\"} or {i=~\".+\"} offset 1ms", "sum(m) without (i)"] {
        let expr = promql::parse(query).unwrap();
        let answer = soon(query, || promql::eval::range(&store, query, &expr, (0, 20_000, 10), options));
        assert!(answer.is_err() || query.starts_with("sum"), "{query} was answered");
    }
    let query = "max_over_time(m[1s:1ms])";
    let answer = soon(query, || {
        promql::eval::instant(&store, query, &promql::parse(query).unwrap(), 20_000, options).map(|_| ())
    });
    let error = answer.unwrap_err().to_string();
    assert_eq!(error, "query processing would load too many samples into memory in query execution");
}

#[test]
fn rules_that_refer_to_one_another_or_fail() {
    let text = "groups: [{name: g, rules: [{record: 'a:b', expr: 'c:d + 1 or known'}, {record: 'c:d', expr: 'a:b + 1'}, \
                {alert: Broken, expr: 'a:b > 0', annotations: {x: '{{ $labels.a.b.c }}', y: '{{ query \"up{\" }}', \
                z: '{{ range query \"known\" }}{{ template \"none\" }}{{ end }}'}}]}]";
    let parsed = parse_rules("r.yaml", text);
    let Ok(mut groups) = parsed else {
        // A template that names another one that is not there may be refused when it is read.
        assert!(parsed.unwrap_err().to_string().contains("template"));
        return;
    };
    let mut group = Group::new(groups.remove(0), "r.yaml", Duration::from_secs(60)).unwrap();
    let mut store = with_one_series();
    soon("a hundred evaluations", || {
        for minute in 0..100 {
            group.evaluate(&mut store, 1000 + minute * 60_000, &External::default(), EvalOptions::default());
        }
    });
    assert!(group.rules.iter().all(|rule| matches!(rule.health, Health::Ok)));
    assert!(store.series_count() < 20);
}

#[test]
fn rule_files_that_are_wrong() {
    let deep = format!("groups: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bomb = "a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b]\n\
                d: &d [*c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e]\ngroups: []";
    let template = "groups: [{name: g, rules: [{alert: A, expr: up, annotations: {a: '{{ if }}'}}]}]";
    for (what, text) in
        [("nesting", deep.as_str()), ("aliases", bomb), ("a template", template), ("no YAML", "\u{1}: [")]
    {
        let error = soon(what, || parse_rules("r.yaml", text)).expect_err(what).to_string();
        assert!(error.starts_with("r.yaml: ") && error.len() < 1 << 16, "{what}: {error}");
    }
}

fn write(prometheus: &Prometheus, body: Vec<u8>) -> (u16, String) {
    let request = Request::post("/api/v1/write").header("content-type", "application/x-protobuf");
    let request = request.header("content-encoding", "snappy").body(Bytes::from(body)).unwrap();
    let response = prometheus.answer(&request, Timestamp::from_millis(10_000_000));
    (response.status().as_u16(), String::from_utf8_lossy(response.body()).into_owned())
}

fn compressed(request: &WriteRequest) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap()
}

#[test]
fn pushes_that_are_wrong() {
    let prometheus = Prometheus::with_options(Options { remote_write_receiver: true, ..Options::default() });
    let series = |pairs: &[(&str, &str)], value: f64| TimeSeries {
        labels: pairs.iter().map(|(n, v)| Label { name: (*n).to_owned(), value: (*v).to_owned() }).collect(),
        samples: vec![Sample { value, timestamp: 9_999_000 }],
        ..TimeSeries::default()
    };
    let request = |timeseries| WriteRequest { timeseries, metadata: Vec::new() };
    let good = compressed(&request(vec![
        series(&[("__name__", "known")], f64::NAN),
        series(&[("__name__", "inf")], f64::INFINITY),
    ]));
    assert_eq!(write(&prometheus, good.clone()).0, 204);
    // What says of itself that it is four gigabytes.
    let (status, said) = soon("a bomb", || write(&prometheus, vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]));
    assert!(status == 400 && said.contains("snappy"), "{status} {said}");
    for cut in [1, good.len() / 2, good.len() - 1] {
        assert_eq!(write(&prometheus, good[..cut].to_vec()).0, 400);
    }
    let twice = compressed(&request(vec![series(&[("__name__", "x"), ("a", "1"), ("a", "2")], 1.0)]));
    assert_eq!(write(&prometheus, twice).0, 204, "left out and counted, as by the real one");
    assert_eq!(prometheus.with_store(|store| (store.series_count(), store.rejections().invalid_labels)), (2, 1));
}

#[test]
fn a_store_that_is_full_says_so() {
    let mut store = Store::new();
    store.set_series_max(20_000);
    let labels = |index: i32| Labels::from_pairs([("__name__", "m".to_owned()), ("i", index.to_string())]);
    soon("100 000 series", || {
        for index in 0..100_000 {
            let outcome = store.append(&labels(index), Point::float(0, 1.0));
            if index < 20_000 {
                outcome.unwrap();
            } else {
                assert_eq!(outcome.unwrap_err().to_string(), "more than 20000 series");
            }
        }
    });
    assert_eq!(store.series_count(), 20_000);
    store.append(&labels(7), Point::float(1, 2.0)).expect("a series that is there goes on");
    assert_eq!(store.select(&[Matcher::equal("i", "7777")]).len(), 1);
}

#[test]
fn requests_with_wrong_parameters() {
    let prometheus = Prometheus::with_options(Options::default());
    for (path, expected) in [
        ("/api/v1/query_range?query=up&start=0&end=1e12&step=1", "exceeded maximum resolution"),
        ("/api/v1/query_range?query=up&start=NaN&end=1&step=1", "start"),
        ("/api/v1/query_range?query=up&start=0&end=1&step=-1", "zero or negative"),
        ("/api/v1/query?query=up&time=yesterday", "time"),
        ("/api/v1/query?query=nope(up)", "unknown function"),
        ("/api/v1/query?query=%00", "parse error"),
        ("/api/v1/series?match[]=", "match[]"),
    ] {
        let request = Request::get(path).body(Bytes::new()).unwrap();
        let response = soon(path, || prometheus.answer(&request, Timestamp::from_millis(0)));
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        assert!(response.status().is_client_error(), "{path}: {}", response.status());
        let error = body["error"].as_str().unwrap_or_default();
        assert!(error.contains(expected), "{path}: {error}");
    }
}
