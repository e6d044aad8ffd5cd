use http::{Request, StatusCode, header};
use sim_clock::WorldOptions;
use sim_net::Network;
use sim_net::http::Client;

use super::*;

const FILE: &str = "
server: {http_listen_port: 3200}
distributor: {receivers: {otlp: {protocols: {grpc: {endpoint: '0.0.0.0:4317'}, http: {endpoint: '0.0.0.0:4318'}}}}}
storage: {trace: {backend: local, local: {path: /tmp/tempo/blocks}, wal: {path: /tmp/tempo/wal}}}
metrics_generator: {registry: {external_labels: {source: tempo}}}
";

/// Written by hand, not by an encoder: OTLP JSON of the specification.
const TRACE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"operator"}}]},
  "scopeSpans":[{"scope":{"name":"multigres"},"spans":[
  {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"Shard.Reconcile","kind":1,
   "startTimeUnixNano":"1000000000","endTimeUnixNano":"3000000000","status":{"code":2},
   "attributes":[{"key":"k8s.resource.name","value":{"stringValue":"s0"}}]},
  {"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203332","parentSpanId":"b7ad6b7169203331","name":"put","kind":3,
   "startTimeUnixNano":"1500000000","endTimeUnixNano":"2000000000","status":{}}]}]}]}"#;

#[test]
fn a_pushed_trace_is_found_by_id_and_by_query() {
    sim_clock::run(WorldOptions::seeded(7), || async {
        let network = Network::new();
        let tempo = network.host("tempo");
        let address = tempo.ip();
        sim_clock::spawn("tempo", async move {
            run(tempo, Config::parse("tempo.yaml", FILE).expect("a sound file")).await.expect("free ports");
        });
        tokio::task::yield_now().await;
        let client = Client::new(network.host("client"));
        let post = |path: &str, body: &'static str| {
            Request::post(format!("http://{address}:4318{path}"))
                .header(header::CONTENT_TYPE, "application/json")
                .body(Bytes::from(body))
                .expect("a request")
        };
        let taken = client.send(post("/v1/traces", TRACE)).await.expect("an answer");
        assert_eq!(taken.status(), StatusCode::OK);
        assert_eq!(client.send(post("/v1/metrics", "{}")).await.expect("an answer").status(), StatusCode::NOT_FOUND);
        assert_eq!(client.send(post("/v1/traces", "{")).await.expect("an answer").status(), StatusCode::BAD_REQUEST);

        let get = |path: &str| {
            let (client, url) = (client.clone(), format!("http://{address}:3200{path}"));
            async move { client.get(&url).await.expect("an answer") }
        };
        assert_eq!(&get("/ready").await.body()[..], b"ready\n");
        assert_eq!(&get("/api/echo").await.body()[..], b"echo");

        let by_id: Value =
            serde_json::from_slice(get("/api/traces/0af7651916cd43dd8448eb211c80319c").await.body()).expect("JSON");
        let span = &by_id["batches"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "CvdlGRbNQ92ESOshHIAxnA==");
        assert_eq!(span["status"]["code"], "STATUS_CODE_ERROR");
        assert_eq!(get("/api/traces/1").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(get("/api/traces/xyz").await.status(), StatusCode::BAD_REQUEST);

        let q = "%7B%20status%20%3D%20error%20%26%26%20span.k8s.resource.name%3D%22s0%22%20%7D%20%3E%20%7B%20kind%3Dclient%20%7D";
        let found: Value = serde_json::from_slice(get(&format!("/api/search?q={q}&limit=5")).await.body()).expect("JSON");
        assert_eq!(found["traces"][0]["traceID"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(found["traces"][0]["rootTraceName"], "Shard.Reconcile");
        assert_eq!(found["traces"][0]["durationMs"], 2000);
        assert_eq!(found["traces"][0]["spanSets"][0]["matched"], 1);
        assert_eq!(found["traces"][0]["spanSets"][0]["spans"][0]["spanID"], "b7ad6b7169203332");

        let refused = get("/api/search?q=%7B").await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        assert!(String::from_utf8_lossy(refused.body()).starts_with("invalid TraceQL query: parse error at line 1, col 2:"));

        let values: Value = serde_json::from_slice(get("/api/v2/search/tag/span.k8s.resource.name/values").await.body()).expect("JSON");
        assert_eq!(values["tagValues"][0]["value"], "s0");
        let tags: Value = serde_json::from_slice(get("/api/v2/search/tags?scope=resource").await.body()).expect("JSON");
        assert_eq!(tags["scopes"][0]["tags"][0], "service.name");
    })
    .expect("a world");
}

#[test]
fn a_misspelt_section_is_refused_with_its_line() {
    let error = Config::parse("tempo.yaml", &FILE.replace("storage:", "storag:")).expect_err("a refusal").to_string();
    assert!(error.contains("storag") && error.contains('4'), "{error}");
}
