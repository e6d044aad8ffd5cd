//! Spans and lines end to end: from `step` to the bytes that a collector reads.

use std::{collections::BTreeMap, io};

use futures::future::BoxFuture;
use http::Uri;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::Value;

use super::*;
use crate::{
    host::{BoxedIo, Connector},
    observability::{
        Failure, TraceOrigin, current_span_context, etcd_call,
        otlp::Protocol,
        propagation::TraceParent,
        record_failure, set_attribute,
        span::{ReconcileScope, attribute, reconcile_root, succeeded},
        step,
    },
    testing::{Collector, Lines, attributes, hex, host, in_runtime},
    tls::client::ClientTls,
};

fn config(batch: BatchConfig) -> TelemetryConfig {
    TelemetryConfig {
        traces: Some(TracesConfig {
            otlp: Some(OtlpConfig {
                protocol: Protocol::HttpProtobuf,
                endpoint: "http://collector:4318/v1/traces".parse().unwrap(),
                headers: vec![(http::header::AUTHORIZATION, "Bearer x".parse().unwrap())],
                timeout: Duration::from_secs(1),
                gzip: false,
                tls: ClientTls::default(),
            }),
            sampler: SamplerConfig::default(),
            batch,
            resource: vec![("service.name".into(), "multigres-operator".into()), ("a".into(), "b".into())],
        }),
        ..TelemetryConfig::default()
    }
}

fn scope() -> ReconcileScope<'static> {
    ReconcileScope {
        controller: "cell-datahandler",
        kind: "Cell",
        namespace: "default",
        name: "minimal",
        reconcile_id: "id",
    }
}

#[derive(Debug, thiserror::Error)]
#[error("Code: UNAVAILABLE")]
struct Unavailable;

impl Failure for Unavailable {
    fn error_type(&self) -> &'static str {
        "Unavailable"
    }
}

fn traced<T, F: Future<Output = T>>(body: impl FnOnce() -> F) -> (T, Collector, Vec<Value>) {
    in_runtime(async {
        let (collector, lines) = (Collector::default(), Lines::default());
        let telemetry = Telemetry::new(&config(BatchConfig::default()), &host(collector.connector(), &lines).1);
        let result = telemetry.scope(body()).await;
        assert!(telemetry.flush(Duration::from_secs(5)).await);
        let lines = lines.lock().unwrap().clone();
        (result, collector, lines)
    })
}

#[test]
fn a_failing_step_is_red_with_its_root_and_has_a_line_with_its_ids() {
    let (_, collector, lines) = traced(|| {
        reconcile_root(scope(), "CellData.Reconcile", TraceOrigin::Root, async {
            set_attribute("cr.generation", 1);
            let result = step("CellData.RegisterCellInTopology", async { Err::<(), _>(Unavailable) }).await;
            if let Err(error) = &result {
                record_failure(error);
            }
            succeeded();
            step("CellData.Other", async { Ok::<_, Unavailable>(()) }).await
        })
    });
    let (root, step) = (collector.span("CellData.Reconcile"), collector.span("CellData.RegisterCellInTopology"));
    assert!(root.parent_span_id.is_empty());
    assert_eq!((&step.parent_span_id, &step.trace_id), (&root.span_id, &root.trace_id));
    for span in [&root, &step] {
        let status = span.status.clone().unwrap();
        assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "Code: UNAVAILABLE"), "{}", span.name);
        assert_eq!(attributes(span)["error.message"], "Code: UNAVAILABLE");
        let exception: BTreeMap<_, _> =
            span.events[0].attributes.iter().map(|a| (a.key.as_str(), a.value.clone())).collect();
        assert_eq!(span.events.len(), 1, "log lines are no span events");
        assert_eq!((span.events[0].name.as_str(), exception.len()), ("exception", 2));
    }
    assert_eq!(collector.span("CellData.Other").status.unwrap().code(), StatusCode::Ok);
    let keys: Vec<_> = attributes(&root).into_keys().collect();
    assert_eq!(
        keys,
        ["cr.generation", "error.message", "error.type", "k8s.namespace", "k8s.resource.kind", "k8s.resource.name"]
    );
    let line = &lines[0];
    assert_eq!(
        (line["trace_id"].as_str(), line["span_id"].as_str()),
        (Some(&*hex(&step.trace_id)), Some(&*hex(&step.span_id)))
    );
    let keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["level", "ts", "msg", "controller", "Cell", "reconcileID", "trace_id", "span_id", "error"]);
}

#[test]
fn a_root_hangs_where_its_origin_says() {
    let parent: TraceParent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
    let remote = parent.span_context("");
    let ((), collector, _) = traced(|| async {
        reconcile_root(scope(), "Child", TraceOrigin::Child(remote.clone()), async {}).await;
        reconcile_root(scope(), "Link", TraceOrigin::Link(remote.clone()), async {}).await;
    });
    let (child, link) = (collector.span("Child"), collector.span("Link"));
    assert_eq!(child.trace_id, parent.trace_id.to_bytes());
    assert_eq!(child.parent_span_id, parent.span_id.to_bytes());
    assert_ne!(link.trace_id, parent.trace_id.to_bytes());
    assert!(link.parent_span_id.is_empty());
    assert_eq!(link.links[0].span_id, parent.span_id.to_bytes());
}

#[test]
fn an_etcd_call_is_a_client_span_below_its_step() {
    let (result, collector, lines) = traced(|| {
        reconcile_root(scope(), "CellData.Reconcile", TraceOrigin::Root, async {
            etcd_call("Put", "http://topo.default.svc:2379", async {
                Err::<(), _>(tonic::Status::unavailable("no connection"))
            })
            .await
        })
    });
    assert!(result.is_err());
    let span = collector.span("etcdserverpb.KV/Put");
    assert_eq!(span.kind(), opentelemetry_proto::tonic::trace::v1::span::SpanKind::Client);
    assert_eq!(span.parent_span_id, collector.span("CellData.Reconcile").span_id);
    let attributes = attributes(&span);
    assert_eq!(
        (attributes["rpc.system"].as_str(), attributes["server.address"].as_str()),
        ("grpc", "topo.default.svc")
    );
    assert_eq!(attributes["rpc.grpc.status_code"], "14");
    assert_eq!(lines[0]["level"], "warn");
}

#[test]
fn what_is_sent_says_who_sends_it_and_carries_the_headers() {
    let ((), collector, _) = traced(|| reconcile_root(scope(), "A", TraceOrigin::Root, async {}));
    let requests = collector.requests.lock().unwrap();
    let (parts, request) = &requests[0];
    assert_eq!((parts.method.as_str(), parts.uri.path()), ("POST", "/v1/traces"));
    assert_eq!(parts.headers["authorization"], "Bearer x");
    assert_eq!(parts.headers["content-type"], "application/x-protobuf");
    let resource = request.resource_spans[0].resource.clone().unwrap();
    let keys: Vec<_> = resource.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["a", "service.name"]);
    assert_eq!(request.resource_spans[0].scope_spans[0].scope.clone().unwrap().name, "multigres-operator");
}

#[test]
fn a_busy_collector_is_asked_again() {
    in_runtime(async {
        let (collector, lines) = (Collector::default(), Lines::default());
        collector.statuses.lock().unwrap().push_back(503);
        let telemetry = Telemetry::new(&config(BatchConfig::default()), &host(collector.connector(), &lines).1);
        telemetry.scope(reconcile_root(scope(), "A", TraceOrigin::Root, async {})).await;
        assert!(telemetry.flush(Duration::from_secs(5)).await);
        assert_eq!(collector.requests.lock().unwrap().len(), 2);
        assert_eq!(telemetry.metrics().trace_spans.value(&["exported"]), Some(1.0));
        assert!(lines.lock().unwrap().is_empty());
    });
}

#[test]
fn a_refusal_costs_the_spans_and_one_line_until_it_works_again() {
    in_runtime(async {
        let (collector, lines) = (Collector::default(), Lines::default());
        collector.statuses.lock().unwrap().extend([400, 400]);
        let telemetry = Telemetry::new(&config(BatchConfig::default()), &host(collector.connector(), &lines).1);
        for _ in 0..3 {
            telemetry.scope(reconcile_root(scope(), "A", TraceOrigin::Root, async {})).await;
            assert!(telemetry.flush(Duration::from_secs(5)).await);
        }
        let outcomes = &telemetry.metrics().trace_spans;
        assert_eq!((outcomes.value(&["dropped_export_failed"]), outcomes.value(&["exported"])), (Some(2.0), Some(1.0)));
        let lines = lines.lock().unwrap();
        let messages: Vec<_> = lines.iter().map(|line| line["msg"].as_str().unwrap()).collect();
        assert_eq!(
            messages,
            ["trace export failed; spans are dropped until it works again", "trace export works again"]
        );
    });
}

#[test]
fn spans_that_are_rejected_are_not_counted_as_exported_and_cost_one_line() {
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
    in_runtime(async {
        let (collector, lines) = (Collector::default(), Lines::default());
        let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".to_owned() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
        *collector.body.lock().unwrap() = prost::Message::encode_to_vec(&answer).into();
        let telemetry = Telemetry::new(&config(BatchConfig::default()), &host(collector.connector(), &lines).1);
        for _ in 0..2 {
            telemetry.scope(reconcile_root(scope(), "A", TraceOrigin::Root, async {})).await;
            assert!(telemetry.flush(Duration::from_secs(5)).await);
        }
        let outcomes = &telemetry.metrics().trace_spans;
        assert_eq!((outcomes.value(&["rejected"]), outcomes.value(&["exported"])), (Some(2.0), None));
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!((&lines[0]["error"], &lines[0]["items"]), (&"too old".into(), &1.into()));
    });
}

#[test]
fn a_dead_collector_neither_waits_nor_grows() {
    in_runtime(async {
        let lines = Lines::default();
        let never =
            Connector::new(|_: Uri| -> BoxFuture<'static, io::Result<BoxedIo>> { Box::pin(std::future::pending()) });
        let batch = BatchConfig { queue_spans_max: 8, batch_spans_max: 4, ..BatchConfig::default() };
        let telemetry = Telemetry::new(&config(batch), &host(never, &lines).1);
        telemetry
            .scope(async {
                for _ in 0..100 {
                    reconcile_root(scope(), "A", TraceOrigin::Root, async {}).await;
                    tokio::task::yield_now().await;
                }
            })
            .await;
        // Four are under way, eight wait.
        assert_eq!(telemetry.metrics().trace_spans.value(&["dropped_queue_full"]), Some(88.0));
        assert!(!telemetry.flush(Duration::from_millis(10)).await);
    });
}

#[test]
fn without_tracing_there_are_no_ids_and_no_spans() {
    in_runtime(async {
        let (collector, lines) = (Collector::default(), Lines::default());
        let telemetry = Telemetry::new(&TelemetryConfig::default(), &host(collector.connector(), &lines).1);
        let context = telemetry
            .scope(reconcile_root(scope(), "A", TraceOrigin::Root, async {
                tracing::info!("here");
                current_span_context()
            }))
            .await;
        assert_eq!(context, None);
        assert!(telemetry.flush(Duration::ZERO).await);
        assert!(collector.requests.lock().unwrap().is_empty());
        let lines = lines.lock().unwrap();
        let keys: Vec<_> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["level", "ts", "msg", "controller", "Cell", "reconcileID"]);
    });
}

#[test]
fn an_error_that_a_step_lives_with_stays_on_that_step_and_on_no_other() {
    let ((), collector, _) = traced(|| {
        reconcile_root(scope(), "Root", TraceOrigin::Root, async {
            let outer = step("Outer", async {
                record_failure(&Unavailable);
                step("Inner", async { Ok::<_, Unavailable>(()) }).await
            });
            assert!(outer.await.is_ok());
            succeeded();
        })
    });
    let status = |name: &str| collector.span(name).status.unwrap().code();
    assert_eq!((status("Outer"), status("Inner"), status("Root")), (StatusCode::Error, StatusCode::Ok, StatusCode::Ok));
}

#[test]
fn the_console_shows_each_span_as_a_line_with_its_ids() {
    let (config, lines) = in_runtime(async {
        let lines = Lines::default();
        let mut config = config(BatchConfig::default());
        if let Some(traces) = &mut config.traces {
            traces.otlp = None;
        }
        let telemetry = Telemetry::new(&config, &host(crate::testing::no_network(), &lines).1);
        let body = reconcile_root(scope(), "CellData.Reconcile", TraceOrigin::Root, async {
            set_attribute("cr.generation", 1);
            step("CellData.RegisterCellInTopology", async { Err::<(), _>(Unavailable) }).await
        });
        telemetry.scope(body).await.unwrap_err();
        assert!(telemetry.flush(Duration::from_secs(5)).await);
        let lines = lines.lock().unwrap().clone();
        (config, lines)
    });
    assert!(config.traces.is_some());
    let spans: Vec<&Value> = lines.iter().filter(|line| line["msg"] == "span").collect();
    let [step, root] = spans.as_slice() else { panic!("two spans among {lines:?}") };
    assert_eq!(
        (&step["name"], &root["name"]),
        (&"CellData.RegisterCellInTopology".into(), &"CellData.Reconcile".into())
    );
    assert_eq!((&step["parent_span_id"], &step["trace_id"]), (&root["span_id"], &root["trace_id"]));
    assert_eq!((&step["status"], &step["error"]), (&"error".into(), &"Code: UNAVAILABLE".into()));
    assert_eq!(step["events"][0]["name"], "exception");
    assert_eq!(root["attributes"]["cr.generation"], 1);
    assert!(root.get("parent_span_id").is_none());
}

/// Answers one unary call of gRPC after another, as the statuses say, and keeps the messages.
#[derive(Clone, Default)]
struct GrpcCollector {
    statuses: std::sync::Arc<std::sync::Mutex<std::collections::VecDeque<&'static str>>>,
    messages: std::sync::Arc<std::sync::Mutex<Vec<(http::request::Parts, bytes::Bytes)>>>,
}

impl GrpcCollector {
    fn connector(&self) -> Connector {
        let collector = self.clone();
        Connector::new(move |_: Uri| -> BoxFuture<'static, io::Result<BoxedIo>> {
            let collector = collector.clone();
            Box::pin(async move { Ok(collector.open()) })
        })
    }

    fn open(self) -> BoxedIo {
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let collector = self.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
                    collector.messages.lock().unwrap().push((parts, body));
                    let status = collector.statuses.lock().unwrap().pop_front().unwrap_or("0");
                    let trailers = [(http::HeaderName::from_static("grpc-status"), status.parse().unwrap())];
                    let frames = futures::stream::iter([
                        Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(bytes::Bytes::from_static(&[0; 5]))),
                        Ok(hyper::body::Frame::trailers(trailers.into_iter().collect())),
                    ]);
                    let mut answer = http::Response::new(http_body_util::StreamBody::new(frames));
                    answer.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
                    Ok::<_, std::convert::Infallible>(answer)
                }
            });
            let executor = hyper_util::rt::TokioExecutor::new();
            let io = hyper_util::rt::TokioIo::new(far);
            let _ = hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service).await;
        });
        Box::new(near)
    }
}

#[test]
fn a_connection_of_grpc_that_stops_answering_is_left_after_one_attempt() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (collector, lines) = (GrpcCollector::default(), Lines::default());
        // The first connection leads to nobody; it is never closed.
        let black_hole = std::sync::Mutex::new(Some(tokio::io::duplex(64 * 1024)));
        let held = std::sync::Arc::new(std::sync::Mutex::new(None));
        let backend = collector.clone();
        let connector = Connector::new(move |_: Uri| -> BoxFuture<'static, io::Result<BoxedIo>> {
            let io: BoxedIo = match black_hole.lock().unwrap().take() {
                Some((near, far)) => {
                    *held.lock().unwrap() = Some(far);
                    Box::new(near)
                }
                None => backend.clone().open(),
            };
            Box::pin(async move { Ok(io) })
        });
        let mut config = config(BatchConfig::default());
        let otlp = config.traces.as_mut().and_then(|traces| traces.otlp.as_mut()).unwrap();
        (otlp.protocol, otlp.endpoint) = (Protocol::Grpc, "http://collector:4317".parse().unwrap());
        let telemetry = Telemetry::new(&config, &host(connector, &lines).1);
        telemetry.scope(step("A", async { Ok::<_, Unavailable>(()) })).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert!(telemetry.flush(Duration::from_secs(60)).await);
        assert_eq!(telemetry.metrics().trace_spans.value(&["exported"]), Some(1.0));
        // One attempt's timeout, and the pause after it.
        assert_eq!(begun.elapsed().as_secs(), 2);
        assert_eq!(collector.messages.lock().unwrap().len(), 1);
    });
}

#[test]
fn an_attribute_that_is_set_again_has_the_last_value_and_stands_once() {
    let ((), collector, _) = traced(|| {
        reconcile_root(scope(), "Root", TraceOrigin::Root, async {
            set_attribute("cr.generation", 1);
            let failing = step("Step", async {
                for result in ["created", "unchanged"] {
                    set_attribute("apply.result", result);
                }
                assert_eq!(attribute("apply.result"), Some("unchanged".into()));
                assert_eq!(attribute("cr.generation"), None, "it is the root's");
                record_failure(&Unavailable);
                Err::<(), _>(Unavailable)
            });
            failing.await.unwrap_err();
            set_attribute("cr.generation", 2);
        })
    });
    assert_eq!(attributes(&collector.span("Step"))["apply.result"], "unchanged");
    assert_eq!(attributes(&collector.span("Root"))["cr.generation"], "2");
}

#[test]
fn spans_go_by_grpc_and_are_sent_again_when_the_collector_is_not_available() {
    in_runtime(async {
        let (collector, lines) = (GrpcCollector::default(), Lines::default());
        collector.statuses.lock().unwrap().push_back("14");
        let mut config = config(BatchConfig::default());
        let otlp = config.traces.as_mut().and_then(|traces| traces.otlp.as_mut()).unwrap();
        (otlp.protocol, otlp.endpoint, otlp.gzip) = (Protocol::Grpc, "http://collector:4317".parse().unwrap(), true);
        let telemetry = Telemetry::new(&config, &host(collector.connector(), &lines).1);
        telemetry.scope(step("Webhook.Default", async { Ok::<_, Unavailable>(()) })).await.unwrap();
        assert!(telemetry.flush(Duration::from_secs(5)).await);
        let messages = collector.messages.lock().unwrap();
        assert_eq!(messages.len(), 2, "UNAVAILABLE is worth another attempt");
        let (parts, body) = &messages[1];
        assert_eq!(parts.uri.path(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
        assert_eq!(
            (&parts.headers["te"], &parts.headers["authorization"]),
            (&"trailers".parse().unwrap(), &"Bearer x".parse().unwrap())
        );
        assert_eq!((body[0], parts.headers["grpc-encoding"].to_str().unwrap()), (1, "gzip"));
        let mut message = Vec::new();
        io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[5..]), &mut message).unwrap();
        use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
        let request: ExportTraceServiceRequest = prost::Message::decode(message.as_slice()).unwrap();
        assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].name, "Webhook.Default");
        assert_eq!(telemetry.metrics().trace_spans.value(&["exported"]), Some(1.0));
    });
}
