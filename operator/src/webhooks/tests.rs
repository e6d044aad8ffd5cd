//! The port's routes, and what becomes of requests that no API server answers.

use std::{collections::BTreeMap, io};

use futures::future::BoxFuture;
use http::Uri;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::{Instant, sleep},
};

use super::*;
use crate::{
    config::{Config, Invocation},
    host::{BoxedIo, Connector},
    observability::{kube_client, registry::Format},
    testing::{self, Collector, Doors, Lines, in_runtime},
};

const PORT: u16 = 9443;
const VALIDATE: &str = "/validate-multigres-com-v1alpha1-multigrescluster";

#[test]
fn paths_are_those_of_the_original() {
    for (path, route) in [
        ("/mutate-multigres-com-v1alpha1-multigrescluster", Some(Route::Default)),
        ("/validate-multigres-com-v1alpha1-multigrescluster", Some(Route::Validate)),
        ("/validate-multigres-com-v1alpha1-celltemplate", Some(Route::Template("CellTemplate"))),
        ("/validate-multigres-com-v1alpha1-tablegroup", Some(Route::Child("TableGroup"))),
        ("/mutate-multigres-com-v1alpha1-cell", None),
        ("/validate-multigres-com-v1-cell", None),
        ("/", None),
    ] {
        assert_eq!(Route::of(path), route, "{path}");
    }
}

/// Webhooks behind a door, with an API server that never answers and a collector that does.
struct Served {
    doors: Doors,
    telemetry: Telemetry,
    collector: Collector,
    lines: Lines,
}

impl Served {
    async fn new() -> Self {
        let (collector, lines, doors) = (Collector::default(), Lines::default(), Doors::default());
        let to_collector = collector.clone();
        let connector = Connector::new(move |uri: Uri| -> BoxFuture<'static, io::Result<BoxedIo>> {
            let collector = to_collector.clone();
            Box::pin(async move {
                match uri.host() {
                    Some("collector") => Ok(testing::open(collector)),
                    _ => std::future::pending().await,
                }
            })
        });
        let (_, mut host) = testing::host(connector, &lines);
        host.env = BTreeMap::from([
            ("POD_NAMESPACE".to_owned(), "multigres-operator".to_owned()),
            ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), "http://collector:4318".to_owned()),
        ]);
        let args = ["--webhook-enable=false".to_owned()];
        let Ok(Invocation::Run(config)) = Config::parse(&args, &host.env) else { panic!("a good configuration") };
        let telemetry = Telemetry::new(&config.telemetry, &host);
        let client = kube_client::client(&host, &telemetry).unwrap();
        let webhooks = Webhooks::new(client, telemetry.clone(), "multigres-operator", "manager");
        let port = Port {
            listener: doors.listen(([0_u8; 4], PORT).into()).await.unwrap(),
            tls: None,
            connections_max: CONNECTIONS_MAX,
            ending: Ending::default(),
        };
        tokio::spawn(serve(port, telemetry.clone(), webhooks.handler()));
        Self { doors, telemetry, collector, lines }
    }

    /// Sends the head of a review, and so much of its body.
    async fn send(&self, query: &str, announced: usize, body: &[u8]) -> DuplexStream {
        let mut stream = self.doors.knock(PORT).await;
        let head = format!("POST {VALIDATE}{query} HTTP/1.1\r\nhost: hooks\r\ncontent-length: {announced}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        stream
    }

    /// How many requests were counted as failed.
    fn failed(&self) -> u64 {
        let counted = "multigres_operator_webhook_request_total{operation=\"VALIDATE\",resource=\"MultigresCluster\",result=\"error\"} ";
        let text = self.telemetry.metrics().registry().encode(Format::Text);
        text.lines().find_map(|line| line.strip_prefix(counted)?.parse().ok()).unwrap_or(0)
    }

    async fn until_failed(&self, count: u64) {
        let counted = async {
            while self.failed() < count {
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(2), counted).await.expect("it is counted");
    }

    /// The one line with this message, and the status of the span that it belongs to.
    async fn told(&self, message: &str) -> (Value, Option<i32>) {
        assert!(self.telemetry.flush(Duration::from_secs(1)).await);
        let lines = self.lines.lock().unwrap();
        let found: Vec<_> = lines.iter().filter(|line| line["msg"] == message).collect();
        assert_eq!(found.len(), 1, "one line {message}: {lines:?}");
        let spans = self.collector.spans();
        let span = spans.iter().find(|span| found[0]["span_id"] == testing::hex(&span.span_id));
        (found[0].clone(), span.map(|span| span.status.clone().unwrap_or_default().code))
    }
}

fn review() -> Vec<u8> {
    let object = json!({"apiVersion": "multigres.com/v1alpha1", "kind": "MultigresCluster",
        "metadata": {"name": "minimal", "namespace": "default"}, "spec": {"cells": [{"name": "zone-a", "zone": "a"}]}});
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": "CREATE", "namespace": "default", "name": "minimal", "object": object}});
    review.to_string().into_bytes()
}

#[test]
fn a_review_that_cannot_be_judged_in_time_is_refused_before_whoever_asks_gives_up() {
    in_runtime(async {
        let served = Served::new().await;
        let started = Instant::now();
        let mut stream = served.send("?timeout=1s", review().len(), &review()).await;
        let mut answer = vec![0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        let answer = String::from_utf8(answer[..length].to_vec()).unwrap();
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(body["response"]["allowed"], false);
        assert_eq!(
            body["response"]["status"],
            json!({"code": 504, "reason": "Timeout",
                "message": "the API server did not answer within 800ms what had to be asked of it"})
        );
        assert_eq!(served.failed(), 1);
        assert_eq!(served.told("admission request refused").await.1, Some(2));
        assert_eq!(served.collector.span("Webhook.ValidateTemplatesExist").status.unwrap().code, 2);
    });
}

#[test]
fn a_review_whose_connection_is_cut_is_counted_and_told_and_its_span_is_red() {
    in_runtime(async {
        let served = Served::new().await;
        let stream = served.send("", review().len(), &review()).await;
        sleep(Duration::from_millis(20)).await;
        drop(stream);
        served.until_failed(1).await;
        let (line, status) = served.told("admission request not answered").await;
        assert_eq!(line["error"], "the connection was closed before the review was answered");
        assert_eq!(status, Some(2));
    });
}

#[test]
fn reviews_that_cannot_be_read_are_counted_whatever_is_wrong_with_them() {
    in_runtime(async {
        let served = Served::new().await;
        drop(served.send("", 100, b"{").await);
        served.until_failed(1).await;
        let _too_large = served.send("", REVIEW_BYTES_MAX + 1, b"{").await;
        served.until_failed(2).await;
        let _nonsense = served.send("", 2, b"[]").await;
        served.until_failed(3).await;
    });
}

#[test]
fn long_reviews_wait_for_room_and_short_ones_do_not() {
    in_runtime(async {
        let served = Served::new().await;
        let answered = |mut stream: DuplexStream| async move {
            let mut answer = [0; 4096];
            let length = stream.read(&mut answer).await.unwrap();
            String::from_utf8_lossy(&answer[..length]).into_owned()
        };
        let mut holders = Vec::new();
        for _ in 0..LONG_REVIEWS_BYTES_MAX / REVIEW_BYTES_MAX {
            holders.push(served.send("", REVIEW_BYTES_MAX, b"{").await);
            // Each is at its body before the next one comes.
            sleep(Duration::from_millis(20)).await;
        }
        let late = answered(served.send("?timeout=1s", REVIEW_BYTES_SMALL + 1, b"{").await).await;
        assert!(late.starts_with("HTTP/1.1 503 "), "{late}");
        let short = answered(served.send("?timeout=1s", 2, b"[]").await).await;
        assert!(short.starts_with("HTTP/1.1 400 "), "{short}");
        assert_eq!(served.failed(), 2);
        // Who hangs up makes room.
        drop(holders.pop());
        let long = vec![b' '; REVIEW_BYTES_SMALL + 1];
        let read = answered(served.send("?timeout=5s", long.len(), &long).await).await;
        assert!(read.starts_with("HTTP/1.1 400 "), "{read}");
    });
}
