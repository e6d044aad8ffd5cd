use sim_clock::WorldOptions;
use sim_net::Network;

use super::*;

const FILE: &str = "
receivers: {otlp: {protocols: {http: {endpoint: '0.0.0.0:4318'}}}}
processors: {batch: }
exporters: {otlphttp/tempo: {endpoint: 'http://tempo:4318', retry_on_failure: {initial_interval: 5s}}}
extensions: {health_check: {endpoint: '0.0.0.0:13133'}}
service:
  extensions: [health_check]
  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: 0.0.0.0, port: 8888}}}}]}}
  pipelines: {traces: {receivers: [otlp], processors: [batch], exporters: [otlphttp/tempo]}}
";

const TRACE: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
  {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"a","startTimeUnixNano":"1","endTimeUnixNano":"2"}]}]}]}"#;

#[test]
fn spans_outlive_an_outage_of_the_backend() {
    sim_clock::run(WorldOptions::seeded(7), || async {
        let network = Network::new();
        let (collector, tempo, client) = (network.host("collector"), network.host("tempo"), network.host("client"));
        let address = collector.ip();
        network.set_name("tempo", sim_net::NameTarget::Addresses(vec![tempo.ip()]));
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink = lines.clone();
        sim_clock::spawn("collector", async move {
            let config = Config::parse(FILE, &|_| None).expect("a sound file");
            run(collector, config, move |line| sink.lock().expect("the lines").push(line)).await.expect("free ports");
        });
        tokio::task::yield_now().await;
        let client = Client::new(client);
        let post = |path: &str| {
            Request::post(format!("http://{address}:4318{path}"))
                .header(header::CONTENT_TYPE, "application/json")
                .body(Bytes::from(TRACE))
                .expect("a request")
        };
        assert_eq!(client.send(post("/v1/traces")).await.expect("an answer").status(), StatusCode::OK);
        assert_eq!(client.send(post("/v1/logs")).await.expect("an answer").status(), StatusCode::NOT_FOUND);
        assert_eq!(client.get(&format!("http://{address}:13133/")).await.expect("an answer").status(), StatusCode::OK);

        // Nothing listens at Tempo for a while; then it does.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let received: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let store = received.clone();
        let listener = tempo.listen(4318).expect("a free port");
        sim_clock::spawn("tempo", async move {
            sim_net::http::serve(listener, Limits::default(), move |request| {
                assert_eq!(request.headers()[header::CONTENT_ENCODING], "gzip");
                store.lock().expect("the bodies").push(request.into_body());
                async { sim_net::http::response(StatusCode::OK, "application/x-protobuf", "") }
            })
            .await;
        });
        tokio::time::sleep(Duration::from_secs(10)).await;
        let bodies = received.lock().expect("the bodies").clone();
        assert_eq!(bodies.len(), 1);
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&bodies[0][..]), &mut plain).expect("gzip");
        // The name is the fifth field of a span: tag 0x2a, length 1.
        assert!(plain.windows(3).any(|bytes| bytes == [0x2a, 1, b'a']));

        let text = client.get(&format!("http://{address}:8888/metrics")).await.expect("an answer").into_body();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.contains("otelcol_exporter_sent_spans_total{exporter=\"otlphttp/tempo\"} 1\n"), "{text}");
        assert!(
            text.contains("otelcol_receiver_accepted_spans_total{receiver=\"otlp\",transport=\"http\"} 1\n"),
            "{text}"
        );
        assert!(
            lines.lock().expect("the lines").iter().any(|line| line.contains("Will retry the request after interval"))
        );
    })
    .expect("a world");
}
