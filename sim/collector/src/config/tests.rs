use super::*;

const SOUND: &str = "
receivers: {otlp: {protocols: {grpc: {endpoint: '0.0.0.0:4317'}, http: {endpoint: '0.0.0.0:4318'}}}}
processors: {batch: , memory_limiter: {check_interval: 1s, limit_mib: 400}}
exporters: {otlphttp/tempo: {endpoint: 'http://tempo:4318', retry_on_failure: {initial_interval: 5s}}, debug: }
extensions: {health_check: {endpoint: '0.0.0.0:13133'}}
service:
  extensions: [health_check]
  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: 0.0.0.0, port: 8888}}}}]}}
  pipelines: {traces: {receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlphttp/tempo]}}
";

fn refusal(text: &str) -> String {
    Config::parse(text, &|_| None).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_sound_file_is_read() {
    let config = Config::parse(SOUND, &|_| None).unwrap();
    assert_eq!(config.otlp_http["otlp"], Endpoint { host: "0.0.0.0".into(), port: 4318 });
    assert_eq!(config.health_check.unwrap().port, 13133);
    assert_eq!(config.telemetry.unwrap().host, "0.0.0.0");
    let Exporter::OtlpHttp(exporter) = &config.exporters["otlphttp/tempo"] else { panic!("an otlphttp exporter") };
    assert_eq!(exporter.url(Signal::Traces), "http://tempo:4318/v1/traces");
}

#[test]
fn the_logging_exporter_is_gone() {
    let text = SOUND.replace("debug:", "logging:");
    assert!(refusal(&text).contains("'exporters' unknown type: \"logging\" for id: \"logging\" (valid values: ["));
}

#[test]
fn a_dangling_reference_is_named() {
    let text = SOUND.replace("[otlphttp/tempo]", "[otlphttp/tempos]");
    let expected = "service::pipelines::traces: references exporter \"otlphttp/tempos\" which is not configured";
    assert!(refusal(&text).contains(expected), "{}", refusal(&text));
}

#[test]
fn an_unknown_field_is_named() {
    let text = SOUND.replace("initial_interval", "inital_interval");
    assert!(refusal(&text).contains("has invalid keys: inital_interval"), "{}", refusal(&text));
}

#[test]
fn environment_variables_are_expanded_with_defaults_and_dollars() {
    let environment = |name: &str| (name == "A").then(|| "one".to_owned());
    assert_eq!(expand("${env:A} ${env:B:-two} ${env:B}. $$x", &environment).unwrap(), "one two . $x");
    assert!(expand("${env:1A}", &environment).is_err());
}

#[test]
fn a_pipeline_needs_a_receiver_and_an_exporter() {
    assert!(refusal(&SOUND.replace("receivers: [otlp]", "receivers: []")).contains("must have at least one receiver"));
    assert!(
        refusal(&SOUND.replace("exporters: [otlphttp/tempo]", "exporters: []"))
            .contains("must have at least one exporter")
    );
}

#[test]
fn the_metrics_of_the_collector_itself_are_read_from_one_reader_that_is_asked() {
    let readers =
        |readers: &str| SOUND.replace("[{pull: {exporter: {prometheus: {host: 0.0.0.0, port: 8888}}}}]", readers);
    let telemetry = |text: &str| Config::parse(text, &|_| None).unwrap().telemetry;
    assert_eq!(telemetry(SOUND), Some(Endpoint { host: "0.0.0.0".into(), port: 8888 }));
    assert_eq!(telemetry(&readers("[]")), None);
    for elsewhere in ["[{periodic: {}}]", "[{pull: {exporter: {prometheus: {}}}}, {periodic: {}}]"] {
        let refused = refusal(&readers(elsewhere));
        assert!(refused.contains("service::telemetry::metrics::readers"), "{elsewhere}: {refused}");
    }
}
