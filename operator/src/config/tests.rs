//! Tests of flags and environment.

use proptest::prelude::*;

use super::*;
use crate::observability::{
    otlp::Protocol,
    sampling::{SamplerConfig, SamplerKind},
    telemetry::TracesConfig,
};
use crate::tls::{Pem, client::Trust};

fn run(args: &[&str], env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let mut env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    env.entry("POD_NAMESPACE".into()).or_insert_with(|| "multigres-operator".into());
    env.entry("POD_SERVICE_ACCOUNT".into()).or_insert_with(|| "manager".into());
    match Config::parse(&args, &env)? {
        Invocation::Run(config) => Ok(*config),
        other => panic!("no run: {other:?}"),
    }
}

fn traced(env: &[(&str, &str)]) -> (Option<TracesConfig>, Vec<Complaint>) {
    let config = run(&["--metrics-secure=false"], env).unwrap();
    (config.telemetry.traces, config.complaints)
}

const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel-collector:4318/");

#[test]
fn metrics_are_sent_where_the_flag_asks_for_it_and_an_endpoint_is_there() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
    assert!(run(&[], &[endpoint]).unwrap().telemetry.metrics.is_none());
    let env = [endpoint, ("POD_NAME", "operator-1"), ("OTEL_RESOURCE_ATTRIBUTES", "k8s.cluster.uid=here")];
    let metrics = run(&["--otlp-metrics"], &env).unwrap().telemetry.metrics.unwrap();
    assert_eq!(metrics.otlp.endpoint, "http://collector:4318/v1/metrics");
    assert_eq!(metrics.interval, std::time::Duration::from_secs(30));
    let keys: Vec<&str> = metrics.resource.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "k8s.cluster.uid",
            "k8s.namespace.name",
            "service.instance.id",
            "service.name",
            "service.version",
            "telemetry.sdk.language",
            "telemetry.sdk.name",
            "telemetry.sdk.version"
        ]
    );
    let own =
        [endpoint, ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:1/x"), ("OTEL_METRIC_EXPORT_INTERVAL", "5000")];
    let metrics = run(&["--otlp-metrics"], &own).unwrap().telemetry.metrics.unwrap();
    assert_eq!((metrics.otlp.endpoint.to_string().as_str(), metrics.interval.as_secs()), ("http://m:1/x", 5));
    let nowhere = run(&["--otlp-metrics"], &[]).unwrap();
    assert!(nowhere.telemetry.metrics.is_none());
    assert!(
        matches!(&nowhere.complaints[..], [Complaint::Invalid(why)] if why.starts_with("--otlp-metrics has no endpoint")),
        "{:?}",
        nowhere.complaints
    );
}

#[test]
fn flags_take_their_value_after_an_equals_sign_or_a_space() {
    let config =
        run(&["--metrics-bind-address=:1", "-health-probe-bind-address", "0.0.0.0:2", "--metrics-secure=false"], &[]);
    let config = config.unwrap();
    let every = |port: u16| Some(std::net::SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port)));
    assert_eq!((config.metrics_address, config.health_address), (every(1), every(2)));
    assert_eq!(run(&["--metrics-bind-address=0"], &[]).unwrap().metrics_address, None);
    for (given, address) in [
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("localhost:8080", "127.0.0.1:8080"),
        ("[::1]:8080", "[::1]:8080"),
        ("[::]:8080", "[::]:8080"),
    ] {
        let found = run(&["--metrics-bind-address", given], &[]).unwrap().metrics_address;
        assert_eq!(found, Some(address.parse().unwrap()), "{given}");
    }
}

#[test]
fn flags_of_the_operator_in_go_are_taken_and_told_of() {
    use crate::observability::logging::LogFormat;
    let logs = |args: &[&str]| {
        let config = run(args, &[]).unwrap();
        let told: Vec<String> = config
            .complaints
            .iter()
            .map(|complaint| match complaint {
                Complaint::Deprecated(text) => text.split(' ').next().unwrap_or_default().to_owned(),
                Complaint::Invalid(text) => panic!("{text}"),
            })
            .collect();
        (config.telemetry.log_format, config.telemetry.log_levels.to_string(), told)
    };
    let told = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let (json, text) = (LogFormat::Json, LogFormat::Text);
    assert_eq!(logs(&[]), (json, "debug".into(), vec![]));
    let zap = told(&["--zap-devel,"]);
    assert_eq!(logs(&["--zap-devel"]), (text, "debug".into(), zap.clone()));
    assert_eq!(logs(&["--zap-devel=false"]), (json, "info".into(), zap.clone()));
    assert_eq!(logs(&["--zap-devel=false", "--zap-log-level=3"]), (json, "debug".into(), zap.clone()));
    assert_eq!(logs(&["--zap-encoder", "console", "--zap-log-level=panic"]), (text, "error".into(), zap.clone()));
    assert_eq!(logs(&["--log-level=warn", "--zap-devel", "--log-format=json"]), (json, "warn".into(), zap));
    let unused =
        ["--zap-stacktrace-level=error", "--zap-time-encoding=rfc3339", "--enable-http2", "--enable-http2=false"];
    assert_eq!(logs(&unused[..3]).2, told(&["--zap-stacktrace-level", "--enable-http2"]));
    assert_eq!(logs(&unused[3..]).2, told(&[]), "it is off here, too");
    for wrong in ["--zap-encoder=xml", "--zap-log-level=0", "--zap-log-level=warn", "--zap-time-encoding"] {
        assert_eq!(run(&[wrong], &[]).unwrap_err().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn the_build_is_in_the_resource_of_both_signals_unless_it_is_not_known_or_said_otherwise() {
    let env = [ENDPOINT, ("OTEL_RESOURCE_ATTRIBUTES", "vcs.ref.head.revision=mine")];
    let found = |config: Config, key: &str| {
        let resources = [config.telemetry.traces.unwrap().resource, config.telemetry.metrics.unwrap().resource];
        resources.map(|resource| resource.into_iter().find(|(known, _)| known == key).map(|(_, value)| value))
    };
    let config = run(&["--otlp-metrics"], &env).unwrap();
    let built = config.clone().with_build("0a1b2c", "2026-11-22");
    assert_eq!(found(built.clone(), "build.date"), [Some("2026-11-22".to_owned()), Some("2026-11-22".to_owned())]);
    assert_eq!(found(built, "vcs.ref.head.revision"), [Some("mine".to_owned()), Some("mine".to_owned())]);
    let unknown = config.clone().with_build("unknown", "unknown");
    assert_eq!(unknown.telemetry.traces.unwrap().resource, config.telemetry.traces.unwrap().resource);
}

#[test]
fn a_wrong_command_line_is_one_line_and_exit_code_two() {
    for (args, message) in [
        (vec!["--frobnicate"], "unknown flag --frobnicate"),
        (vec!["serve"], "unexpected argument \"serve\""),
        (vec!["--log-level"], "flag --log-level needs a value"),
        (
            vec!["--log-level=loud"],
            "flag --log-level: \"loud\" is not debug, info, warn or error, or a list such as info,webhooks=debug",
        ),
        (vec!["--sync-period=10ms"], "flag --sync-period: \"10ms\" is not at least 1s"),
        (vec!["--log-format", "xml"], "flag --log-format: \"xml\" is not json or text"),
        (vec!["--metrics-secure=maybe"], "flag --metrics-secure: \"maybe\" is not true or false"),
        (
            vec!["--leader-elect", "--leader-elect-lease-duration=5s"],
            "leader election cannot work: the lease duration must be greater than the renew deadline",
        ),
        (
            vec!["--metrics-secure=false", "--metrics-client-ca-file=/ca.crt"],
            "--metrics-secure=false leaves the metrics to everybody: it goes with neither --metrics-cert-path nor \
             --metrics-client-ca-file",
        ),
        (
            vec!["--metrics-bind-address=8443"],
            "flag --metrics-bind-address: \"8443\" is not :port (every address of the host), address:port, or 0 to disable",
        ),
    ] {
        let error = run(&args, &[]).unwrap_err();
        assert_eq!(error.to_string(), message);
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn without_a_namespace_the_exit_code_is_one() {
    let error = run(&["--metrics-secure=false"], &[("POD_NAMESPACE", "")]).unwrap_err();
    assert_eq!((error.to_string().as_str(), error.exit_code()), ("environment variable POD_NAMESPACE is required", 1));
}

#[test]
fn nothing_is_traced_without_an_endpoint_or_when_it_is_switched_off() {
    for env in [
        vec![],
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "disabled")],
        vec![ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        vec![ENDPOINT, ("OTEL_SDK_DISABLED", "true")],
    ] {
        let (traces, complaints) = traced(&env);
        assert!(traces.is_none() && complaints.is_empty(), "{env:?}: {complaints:?}");
    }
}

#[test]
fn the_general_endpoint_gets_the_path_of_the_signal_and_the_signals_own_does_not() {
    let (traces, _) = traced(&[ENDPOINT]);
    assert_eq!(traces.unwrap().otlp.unwrap().endpoint, "http://otel-collector:4318/v1/traces");
    let (traces, _) = traced(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other:1/x")]);
    assert_eq!(traces.unwrap().otlp.unwrap().endpoint, "http://other:1/x");
}

#[test]
fn a_bad_value_is_one_line_and_a_safe_default() {
    for (name, value, still_traced) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon", true),
        ("OTEL_TRACES_EXPORTER", "zipkin", true),
        ("OTEL_SDK_DISABLED", "yes", true),
        ("OTEL_EXPORTER_OTLP_INSECURE", "1", true),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/tls.key", true),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/tls.crt", true),
        ("OTEL_PROPAGATORS", "b3,baggage", true),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318", false),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector", false),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", true),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=c", true),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", true),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", true),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", true),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096", true),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=1,b", true),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz", true),
        ("OTEL_TRACES_SAMPLER", "multigres_custom", true),
    ] {
        let (traces, complaints) = traced(&[ENDPOINT, (name, value)]);
        assert_eq!((traces.is_some(), complaints.len()), (still_traced, 1), "{name}={value}: {complaints:?}");
        assert!(
            matches!(&complaints[0], Complaint::Invalid(text) if text.lines().count() == 1 && text.contains(name.split("_SAMPLER").next().unwrap_or(name)) || text.contains("sampler"))
        );
        // Metrics share most of the variables; what is said of them is said once.
        let both = run(&["--otlp-metrics"], &[ENDPOINT, (name, value)]).unwrap().complaints;
        assert_eq!(both, complaints, "{name}={value}");
    }
}

#[test]
fn known_values_count_in_any_case_and_a_small_queue_makes_a_small_batch_without_a_word() {
    for (name, value) in [
        ("OTEL_TRACES_EXPORTER", "OTLP"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/Protobuf"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "TRUE"),
        ("OTEL_SDK_DISABLED", "False"),
        ("OTEL_TRACES_SAMPLER", "ALWAYS_ON"),
        ("OTEL_PROPAGATORS", "TraceContext, baggage"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "256"),
    ] {
        let (traces, complaints) = traced(&[ENDPOINT, (name, value)]);
        assert!(traces.is_some() && complaints.is_empty(), "{name}={value}: {complaints:?}");
    }
    let (traces, _) = traced(&[ENDPOINT, ("OTEL_BSP_MAX_QUEUE_SIZE", "256")]);
    assert_eq!(traces.unwrap().batch.batch_spans_max, 256);
    assert!(traced(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "None")]).0.is_none());
}

#[test]
fn the_variables_of_metrics_are_followed_or_told_of() {
    let metrics = |name: &str, value: &str| {
        let config = run(&["--otlp-metrics"], &[ENDPOINT, (name, value)]).unwrap();
        (config.telemetry.metrics, config.complaints)
    };
    let (config, complaints) = metrics("OTEL_METRIC_EXPORT_TIMEOUT", "7000");
    assert_eq!((config.unwrap().timeout.as_secs(), complaints), (7, vec![]));
    assert_eq!(metrics("OTEL_METRICS_EXPORTER", "None").0.map(|config| config.otlp), None);
    for (name, value) in [
        ("OTEL_METRICS_EXPORTER", "prometheus"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"),
    ] {
        let (config, complaints) = metrics(name, value);
        let [Complaint::Invalid(told)] = &complaints[..] else { panic!("{name}={value}: {complaints:?}") };
        assert!(config.is_some() && told.starts_with(name), "{told}");
        // Who sends no metrics is not told of them: the data plane inherits these variables.
        assert!(run(&[], &[ENDPOINT, (name, value)]).unwrap().complaints.is_empty(), "{name}={value}");
    }
    let cumulative = metrics("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Cumulative");
    assert!(cumulative.0.is_some() && cumulative.1.is_empty());
}

#[test]
fn an_endpoint_is_in_no_complaint_and_may_not_name_a_user() {
    for endpoint in [
        "http://me:s3cret@collector:4318",
        "me:s3cret@collector",
        "ftp://collector/?token=s3cret",
        "http://s3cret:x/ y",
    ] {
        for protocol in ["grpc", "http/protobuf"] {
            let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)];
            let (traces, complaints) = traced(&env);
            assert!(traces.is_none() && complaints.len() == 1, "{endpoint}: {complaints:?}");
            assert!(!format!("{complaints:?}").contains("s3cret"), "{complaints:?}");
        }
    }
    let (_, complaints) = traced(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@collector:4318")]);
    assert!(format!("{complaints:?}").contains("OTEL_EXPORTER_OTLP_HEADERS"), "{complaints:?}");
}

#[test]
fn the_resource_is_what_the_operator_knows_of_itself_and_what_is_asked_for() {
    let (traces, _) = traced(&[ENDPOINT]);
    let attributes = |traces: Option<TracesConfig>| {
        let known = |(key, _): &(String, String)| !key.starts_with("telemetry.sdk.");
        traces.unwrap().resource.into_iter().filter(known).collect::<Vec<_>>()
    };
    let expected =
        [("k8s.namespace.name", "multigres-operator"), ("service.name", SERVICE_NAME), ("service.version", VERSION)];
    assert_eq!(attributes(traces), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    let (traces, _) = traced(&[
        ENDPOINT,
        ("OTEL_RESOURCE_ATTRIBUTES", "b%2Cc=x%20y,service.name=z,k8s.namespace.name=there"),
        ("OTEL_SERVICE_NAME", "mine"),
        ("POD_NAME", "operator-1"),
    ]);
    let expected = [
        ("b,c", "x y"),
        ("k8s.namespace.name", "there"),
        ("service.instance.id", "operator-1"),
        ("service.name", "mine"),
        ("service.version", VERSION),
    ];
    assert_eq!(attributes(traces), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
}

#[test]
fn the_names_of_the_draft_work_and_say_that_they_are_old() {
    let (traces, complaints) =
        traced(&[ENDPOINT, ("OTEL_TRACE_SAMPLER", "traceidratio"), ("OTEL_TRACE_SAMPLING_RATE", "0.1")]);
    assert_eq!(traces.unwrap().sampler, SamplerConfig { root: SamplerKind::TraceIdRatio(0.1), parent_based: false });
    assert!(
        complaints.iter().all(|c| matches!(c, Complaint::Deprecated(_))) && complaints.len() == 2,
        "{complaints:?}"
    );
}

#[test]
fn a_header_that_is_secret_is_in_no_complaint() {
    let (traces, complaints) =
        traced(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret,x=\u{1}")]);
    assert!(traces.unwrap().otlp.unwrap().headers.is_empty());
    assert!(!format!("{complaints:?}").contains("s3cret"), "{complaints:?}");
    // As a header of HTTP is written: with the padding of base64 the secret stands before an equals sign.
    let (_, complaints) =
        traced(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,Authorization: Basic dXNlcjpwYXNz==")]);
    let told = format!("{complaints:?}");
    assert!(!told.contains("dXNl") && told.contains("entry 2"), "{told}");
    let (traces, _) = traced(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret")]);
    let headers = traces.unwrap().otlp.unwrap().headers;
    assert_eq!(headers[0].1, "Bearer s3cret");
    assert!(!format!("{headers:?}").contains("s3cret"));
}

proptest! {
    #[test]
    fn no_argument_and_no_variable_makes_the_parser_panic(
        args in proptest::collection::vec("(--?)?(metrics-bind-address|log-level|leader-elect|\\PC{0,6})(=\\PC{0,6})?", 0..4),
        value in "\\PC{0,20}",
    ) {
        let mut env: BTreeMap<String, String> = [
            "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES",
            "OTEL_TRACES_SAMPLER_ARG", "OTEL_BSP_MAX_QUEUE_SIZE", "POD_NAMESPACE",
        ].into_iter().map(|name| (name.to_owned(), value.clone())).collect();
        let _ = Config::parse(&args, &env);
        env.insert("OTEL_EXPORTER_OTLP_ENDPOINT".into(), ENDPOINT.1.into());
        let _ = Config::parse(&["--metrics-secure=false".to_owned()], &env);
    }
}

#[test]
fn the_metrics_are_protected_unless_told_otherwise() {
    assert_eq!(run(&[], &[]).unwrap().metrics_security, Some(MetricsSecurity::default()));
    assert_eq!(run(&["--metrics-secure=false"], &[]).unwrap().metrics_security, None);
    let args = ["--metrics-cert-path=/c", "--metrics-cert-key", "k.pem", "--metrics-client-ca-file=/ca.crt"];
    let files = CertificateFiles { certificate: "/c/tls.crt".into(), key: "/c/k.pem".into() };
    let expected = MetricsSecurity { certificate: Some(files), client_authorities: Some("/ca.crt".into()) };
    assert_eq!(run(&args, &[]).unwrap().metrics_security, Some(expected));
}

#[test]
fn the_times_of_an_election_can_be_set() {
    assert_eq!(run(&[], &[]).unwrap().election, None);
    let config = run(&["--leader-elect", "--leader-elect-retry-period=3s"], &[]).unwrap();
    assert_eq!(config.election.unwrap().retry_period, std::time::Duration::from_secs(3));
}

#[test]
fn every_flag_is_explained() {
    // Each word of the help that begins with -- is a flag that is known.
    for flag in USAGE.split_whitespace().filter(|word| word.starts_with("--")) {
        let name = flag.split(['=', '[', ',']).next().unwrap_or_default();
        if matches!(name, "--name") {
            continue;
        }
        let told = Config::parse(&[format!("{name}=x")], &BTreeMap::new());
        assert!(!matches!(told, Err(ConfigError::UnknownFlag(_))), "{name}");
    }
}

#[test]
fn webhooks_are_served_for_the_operators_own_account_unless_told_otherwise() {
    let webhooks = run(&[], &[]).unwrap().webhooks.unwrap();
    assert_eq!((webhooks.port, webhooks.account.as_str()), (9443, "manager"));
    assert_eq!(webhooks.certificate.key, "/var/run/secrets/webhook/tls.key");
    assert_eq!(run(&["--webhook-enable=false"], &[]).unwrap().webhooks, None);
    let error = run(&[], &[("POD_SERVICE_ACCOUNT", "")]).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.exit_code()),
        ("environment variable POD_SERVICE_ACCOUNT is required", 1)
    );
    let error = run(&["--webhook-cert-validity=5m"], &[]).unwrap_err().to_string();
    assert_eq!(error, "flag --webhook-cert-validity: \"5m\" is not at least 10m");
    let source = |args: &[&str]| run(args, &[]).map(|config| config.webhooks.unwrap().source);
    assert_eq!(source(&[]).unwrap(), CertificateSource::Auto);
    assert_eq!(source(&["--webhook-cert-source=self"]).unwrap(), CertificateSource::Operator);
    assert_eq!(source(&["--webhook-cert-source", "files"]).unwrap(), CertificateSource::Files);
    let error = source(&["--webhook-cert-source=vault"]).unwrap_err().to_string();
    assert_eq!(error, "flag --webhook-cert-source: \"vault\" is not auto, self or files");
}

#[test]
fn grpc_and_https_and_the_console_are_ways_out() {
    let otlp = |env: &[(&str, &str)]| {
        let (traces, complaints) = traced(env);
        assert!(complaints.is_empty(), "{env:?}: {complaints:?}");
        traces.unwrap().otlp
    };
    let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    for (endpoint, insecure, url) in [
        ("http://collector:4317", "", "http://collector:4317/"),
        ("collector:4317", "true", "http://collector:4317/"),
        ("collector:4317", "", "https://collector:4317/"),
        ("https://collector:4317/", "true", "https://collector:4317/"),
    ] {
        let found = otlp(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), grpc, ("OTEL_EXPORTER_OTLP_INSECURE", insecure)]);
        let found = found.unwrap();
        assert_eq!((found.endpoint.to_string().as_str(), found.protocol), (url, Protocol::Grpc), "{endpoint}");
    }
    let secure = otlp(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/tls.crt"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/tls.key"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ]);
    let secure = secure.unwrap();
    assert!(secure.gzip);
    assert_eq!(secure.tls.trust, Trust::Authorities(Pem::File("/ca.pem".into())));
    assert_eq!(secure.tls.identity, Some((Pem::File("/tls.crt".into()), Pem::File("/tls.key".into()))));
    assert_eq!(otlp(&[("OTEL_TRACES_EXPORTER", "console")]), None);
}
