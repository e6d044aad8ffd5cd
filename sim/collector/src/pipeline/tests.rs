use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use proptest::prelude::*;

use super::*;

fn config(exporter: &str, processors: &str) -> Config {
    let file = format!(
        "
receivers: {{otlp: {{protocols: {{http: }}}}}}
processors: {{batch: {{timeout: 1s, send_batch_size: 20}}, resource: {{attributes: [{{key: env, value: test, action: upsert}}]}}}}
exporters: {{otlphttp/a: {{endpoint: 'http://a:4318'{exporter}}}, otlphttp/b: {{endpoint: 'http://b:4318'}}, debug: }}
service: {{pipelines: {{traces: {{receivers: [otlp], processors: [{processors}], exporters: [otlphttp/a, otlphttp/b, debug]}}}}}}
"
    );
    Config::parse(&file, &|_| None).expect("a sound file")
}

fn spans(count: usize) -> Input {
    let scoped = ScopeSpans { spans: vec![Span::default(); count], ..ScopeSpans::default() };
    let batch = ResourceSpans { scope_spans: vec![scoped], ..ResourceSpans::default() };
    let data = Data::Traces(ExportTraceServiceRequest { resource_spans: vec![batch] });
    Input::Received { receiver: "otlp".into(), transport: "http", data }
}

fn exports(effects: &[Effect]) -> Vec<(String, u64)> {
    let export = |effect: &Effect| match effect {
        Effect::Export { exporter, attempt, .. } => Some((exporter.clone(), *attempt)),
        _ => None,
    };
    effects.iter().filter_map(export).collect()
}

fn ledger<'a>(collector: &'a Collector, exporter: &str) -> &'a Ledger {
    &collector.accounting().exporters[&(exporter.to_owned(), Signal::Traces)]
}

fn retryable() -> Outcome {
    Outcome::Retryable { after: None, message: "connection refused".into() }
}

#[test]
fn a_retry_waits_longer_each_time_and_ends() {
    let config = config(", retry_on_failure: {randomization_factor: 0, max_elapsed_time: 20s}", "");
    let mut collector = Collector::new(&config, Chance::new(1, "test"));
    let mut now = Timestamp::from_secs(0);
    let mut number = exports(&collector.step(now, spans(3)))[0].1;
    let mut waits = Vec::new();
    loop {
        collector.step(now, Input::Exported { attempt: number, outcome: retryable() });
        let Some(next) = collector.next_wake() else { break };
        waits.push(next.since(now).as_millis());
        now = next;
        number = exports(&collector.step(now, Input::Tick))[0].1;
    }
    assert_eq!(waits, [5000, 7500], "the third, 11.25 s, would end after 20 s");
    assert_eq!(ledger(&collector, "otlphttp/a").dropped[&DropReason::RetriesExhausted], 3);
    assert_eq!(collector.accounting().imbalance(), None);
}

#[test]
fn retry_after_is_honoured() {
    let config = config(", retry_on_failure: {randomization_factor: 0}", "");
    let mut collector = Collector::new(&config, Chance::new(1, "test"));
    let number = exports(&collector.step(Timestamp::from_secs(0), spans(1)))[0].1;
    let outcome = Outcome::Retryable { after: Some(Duration::from_secs(60)), message: "503".into() };
    collector.step(Timestamp::from_secs(0), Input::Exported { attempt: number, outcome });
    assert_eq!(collector.next_wake(), Some(Timestamp::from_secs(60)));
}

#[test]
fn a_full_queue_refuses_the_sender_and_counts_it() {
    let config = config(", sending_queue: {queue_size: 1, num_consumers: 1}", "");
    let mut collector = Collector::new(&config, Chance::new(1, "test"));
    let now = Timestamp::from_secs(0);
    collector.step(now, spans(1));
    collector.step(now, spans(1));
    let effects = collector.step(now, spans(5));
    assert!(effects.contains(&Effect::Answer(Err("sending queue is full".into()))));
    assert_eq!(ledger(&collector, "otlphttp/a").dropped[&DropReason::QueueFull], 5);
    assert_eq!(collector.accounting().imbalance(), None);
}

#[test]
fn a_batch_is_sent_when_it_is_full_or_old() {
    let mut collector = Collector::new(&config("", "batch, resource"), Chance::new(1, "test"));
    let now = Timestamp::from_secs(0);
    assert_eq!(exports(&collector.step(now, spans(3))), []);
    assert_eq!(collector.next_wake(), Some(Timestamp::from_secs(1)));
    let effects = collector.step(now, spans(17));
    assert_eq!(exports(&effects).len(), 2);
    let Some(Effect::Export { data: Data::Traces(request), .. }) =
        effects.iter().find(|e| matches!(e, Effect::Export { .. }))
    else {
        panic!("an export of traces");
    };
    let resource = request.resource_spans[0].resource.as_ref().expect("a resource");
    assert_eq!(resource.attributes[0].key, "env");
}

proptest! {
    #[test]
    fn every_item_is_accounted_for(
        steps in proptest::collection::vec((0u8..6, 0usize..30, 0u64..40), 1..120),
        queue_size in 1usize..4,
        consumers in 1usize..4,
        batched in any::<bool>(),
    ) {
        let exporter = format!(
            ", sending_queue: {{queue_size: {queue_size}, num_consumers: {consumers}}}, retry_on_failure: {{max_elapsed_time: 30s}}"
        );
        let config = config(&exporter, if batched { "batch" } else { "" });
        let mut collector = Collector::new(&config, Chance::new(1, "test"));
        let mut now = Timestamp::from_secs(0);
        let mut flying: BTreeMap<u64, String> = BTreeMap::new();
        let (mut arrived, mut most) = (0, 0);
        for (what, count, more) in steps {
            now = now + Duration::from_secs(more / 4);
            let pick = flying.keys().nth(count % flying.len().max(1)).copied();
            let input = match (what, pick) {
                (0 | 1, _) => {
                    arrived += count as u64;
                    spans(count)
                }
                (2, Some(attempt)) => Input::Exported { attempt, outcome: Outcome::Success { rejected: more, message: String::new() } },
                (3, Some(attempt)) => Input::Exported { attempt, outcome: retryable() },
                (4, Some(attempt)) => Input::Exported { attempt, outcome: Outcome::Permanent { message: "400".into() } },
                _ => Input::Tick,
            };
            if let Input::Exported { attempt, .. } = &input {
                flying.remove(attempt);
            }
            for (exporter, attempt) in exports(&collector.step(now, input)) {
                flying.insert(attempt, exporter);
            }
            most = most.max(flying.values().filter(|name| *name == "otlphttp/a").count());
            prop_assert_eq!(collector.accounting().imbalance(), None);
        }
        let accepted = collector.accounting().accepted.values().sum::<u64>();
        prop_assert_eq!(accepted, arrived);
        prop_assert!(most <= consumers, "{} consumers at work", most);
        collector.step(now, Input::Shutdown);
        prop_assert_eq!(collector.accounting().imbalance(), None);
        for ledger in collector.accounting().exporters.values() {
            prop_assert_eq!(ledger.offered, arrived);
            prop_assert_eq!(ledger.queued + ledger.sending, 0);
        }
        prop_assert_eq!(collector.held_bytes, 0);
    }
}
