//! Flags and environment become a checked [`Config`].
//!
//! A flag that is wrong ends the start with one line (exit code 2); so does a missing `POD_NAMESPACE` (exit code 1). A wrong `OTEL_*` variable
//! does not: telemetry must not keep an operator from its work. It costs one error line, and a safe value is used.
//!
//! ```
//! use std::collections::BTreeMap;
//! use multigres_operator::config::{Config, Invocation};
//!
//! let env = BTreeMap::from([("POD_NAMESPACE".to_owned(), "multigres-operator".to_owned())]);
//! let args = ["--metrics-secure=false", "--health-probe-bind-address", ":9081"].map(str::to_owned);
//! let Ok(Invocation::Run(config)) = Config::parse(&args, &env) else { panic!() };
//! assert_eq!((config.metrics_port, config.health_port), (Some(8443), Some(9081)));
//! ```

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderName, HeaderValue, Uri};

use crate::observability::{
    export::{BatchConfig, OtlpHttpConfig},
    logging::LogFormat,
    sampling::SamplerConfig,
    telemetry::{TelemetryConfig, TracesConfig},
};

/// The `service.name` of the operator's spans.
pub const SERVICE_NAME: &str = "multigres-operator";
/// The version in spans, user agents and `--version`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
const OTLP_TIMEOUT: Duration = Duration::from_secs(10);
/// No queue is made larger than this, whatever `OTEL_BSP_MAX_QUEUE_SIZE` says.
const SPAN_QUEUE_SPANS_LIMIT: usize = 65_536;
/// No time is made longer than this by a variable.
const MILLIS_LIMIT: u64 = 3_600_000;

/// What `--help` prints.
pub const USAGE: &str = "\
Usage: multigres-operator [flags]

  --metrics-bind-address ADDR       where /metrics is served, :port; 0 disables (default :8443)
  --metrics-secure[=BOOL]           serve /metrics over TLS (default true; not available yet: pass false)
  --health-probe-bind-address ADDR  where /healthz and /readyz are served, :port; 0 disables (default :8081)
  --leader-elect[=BOOL]             elect a leader among several operators (default false; not available yet)
  --webhook-enable[=BOOL]           serve admission webhooks (default false; not available yet)
  --kubeconfig PATH                 where to find the API server outside of a cluster (default $KUBECONFIG, then the
                                    pod's service account, then ~/.kube/config)
  --context NAME                    a context of the kubeconfig (default its current one)
  --log-format FORMAT               json or text (default json)
  --log-level LEVEL                 debug, info, warn or error (default debug)
  --version                         print the version
  --help                            print this

Environment: POD_NAMESPACE (required), POD_SERVICE_ACCOUNT, OTEL_*
";

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// Run with this configuration.
    Run(Box<Config>),
    /// Print [`VERSION`].
    Version,
    /// Print [`USAGE`].
    Help,
}

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where `/metrics` is served; none: nowhere.
    pub metrics_port: Option<u16>,
    /// Where `/healthz` and `/readyz` are served; none: nowhere.
    pub health_port: Option<u16>,
    /// The namespace of the operator itself.
    pub namespace: String,
    /// The service account of the operator itself, if it is known.
    pub service_account: Option<String>,
    /// A kubeconfig to use; none: as `KUBECONFIG` or the pod's service account say.
    pub kubeconfig: Option<String>,
    /// A context of the kubeconfig; none: its current one.
    pub context: Option<String>,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// What was wrong with the telemetry's variables; logged once at the start.
    pub complaints: Vec<Complaint>,
}

/// Something to say at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// A value is wrong; says what is used instead.
    Invalid(String),
    /// A name is old; says the new one.
    Deprecated(String),
}

/// Why the operator cannot start like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no such flag.
    #[error("unknown flag {0}")]
    UnknownFlag(String),
    /// Something that is no flag.
    #[error("unexpected argument {0:?}")]
    UnexpectedArgument(String),
    /// The flag has no value.
    #[error("flag {0} needs a value")]
    MissingValue(String),
    /// The flag's value is not one of its values.
    #[error("flag {flag}: {value:?} is not {expected}")]
    BadValue {
        /// The flag.
        flag: String,
        /// What was given.
        value: String,
        /// What can be given.
        expected: &'static str,
    },
    /// The metrics endpoint shall be secure, which it cannot be yet.
    #[error(
        "a secure metrics endpoint is not available yet: pass --metrics-secure=false (or --metrics-bind-address=0)"
    )]
    MetricsSecure,
    /// A feature that is not there yet.
    #[error("{0} is not available yet: pass {0}=false")]
    NotAvailable(&'static str),
    /// A required variable is missing or empty.
    #[error("environment variable {0} is required")]
    MissingVariable(&'static str),
}

impl ConfigError {
    /// The exit code of a process that cannot start because of it.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::MissingVariable(_)) { 1 } else { 2 }
    }
}

impl Config {
    /// Reads arguments (without the program's name) and environment.
    pub fn parse(args: &[String], env: &BTreeMap<String, String>) -> Result<Invocation, ConfigError> {
        let mut metrics_port = Some(8443);
        let mut health_port = Some(8081);
        let mut metrics_secure = true;
        let (mut kubeconfig, mut context) = (None, None);
        let mut telemetry = TelemetryConfig::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let name = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).filter(|name| !name.is_empty());
            let Some(name) = name else { return Err(ConfigError::UnexpectedArgument(arg.clone())) };
            let (name, inline) = match name.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (name, None),
            };
            let flag = format!("--{name}");
            let mut value = |inline: Option<String>| {
                inline.or_else(|| args.next().cloned()).ok_or_else(|| ConfigError::MissingValue(flag.clone()))
            };
            match name {
                "help" | "h" => return Ok(Invocation::Help),
                "version" => return Ok(Invocation::Version),
                "metrics-bind-address" => metrics_port = port(&flag, &value(inline)?)?,
                "health-probe-bind-address" => health_port = port(&flag, &value(inline)?)?,
                "metrics-secure" => metrics_secure = boolean(&flag, inline)?,
                "leader-elect" if boolean(&flag, inline.clone())? => {
                    return Err(ConfigError::NotAvailable("--leader-elect"));
                }
                "webhook-enable" if boolean(&flag, inline.clone())? => {
                    return Err(ConfigError::NotAvailable("--webhook-enable"));
                }
                "leader-elect" | "webhook-enable" => {}
                "kubeconfig" => kubeconfig = Some(value(inline)?),
                "context" => context = Some(value(inline)?),
                "log-format" => {
                    let value = value(inline)?;
                    telemetry.log_format = match value.as_str() {
                        "json" => LogFormat::Json,
                        "text" => LogFormat::Text,
                        _ => return Err(ConfigError::BadValue { flag, value, expected: "json or text" }),
                    };
                }
                "log-level" => {
                    let value = value(inline)?;
                    telemetry.log_level = value.parse().map_err(|()| ConfigError::BadValue {
                        flag,
                        value,
                        expected: "debug, info, warn or error",
                    })?;
                }
                _ => return Err(ConfigError::UnknownFlag(flag)),
            }
        }
        if metrics_secure && metrics_port.is_some() {
            return Err(ConfigError::MetricsSecure);
        }
        let namespace = text(env, "POD_NAMESPACE").ok_or(ConfigError::MissingVariable("POD_NAMESPACE"))?;
        let mut complaints = Vec::new();
        telemetry.traces = traces(env, &mut complaints);
        Ok(Invocation::Run(Box::new(Self {
            metrics_port,
            health_port,
            namespace: namespace.to_owned(),
            service_account: text(env, "POD_SERVICE_ACCOUNT").map(str::to_owned),
            kubeconfig,
            context,
            telemetry,
            complaints,
        })))
    }
}

fn boolean(flag: &str, inline: Option<String>) -> Result<bool, ConfigError> {
    match inline.as_deref() {
        None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(value) => {
            Err(ConfigError::BadValue { flag: flag.to_owned(), value: value.to_owned(), expected: "true or false" })
        }
    }
}

fn port(flag: &str, value: &str) -> Result<Option<u16>, ConfigError> {
    if value == "0" {
        return Ok(None);
    }
    let bad = || ConfigError::BadValue {
        flag: flag.to_owned(),
        value: value.to_owned(),
        expected: ":port (every address of the host), or 0 to disable",
    };
    let (host, port) = value.rsplit_once(':').ok_or_else(bad)?;
    if !matches!(host, "" | "0.0.0.0" | "[::]") {
        return Err(bad());
    }
    port.parse().ok().filter(|port| *port != 0).map(Some).ok_or_else(bad)
}

/// A variable that is set; the OpenTelemetry specification takes an empty one for unset, and so do we everywhere.
fn text<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    env.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
}

/// The signal's own variable, else the general one; with its name.
fn otlp<'a>(env: &'a BTreeMap<String, String>, suffix: &str) -> Option<(String, &'a str)> {
    [format!("OTEL_EXPORTER_OTLP_TRACES_{suffix}"), format!("OTEL_EXPORTER_OTLP_{suffix}")]
        .into_iter()
        .find_map(|name| text(env, &name).map(|value| (name, value)))
}

fn traces(env: &BTreeMap<String, String>, complaints: &mut Vec<Complaint>) -> Option<TracesConfig> {
    if text(env, "OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    let mut complain = |what: String| complaints.push(Complaint::Invalid(what));
    let (endpoint_name, endpoint_text) = otlp(env, "ENDPOINT")?;
    match text(env, "OTEL_TRACES_EXPORTER").unwrap_or("otlp") {
        "otlp" => {}
        "none" | "disabled" => return None,
        other => {
            complain(format!("OTEL_TRACES_EXPORTER={other:?} is not available (otlp, none); nothing is traced"));
            return None;
        }
    }
    if endpoint_text == "disabled" {
        return None;
    }
    match otlp(env, "PROTOCOL") {
        None | Some((_, "http/protobuf")) => {}
        Some((name, "grpc")) => {
            complain(format!("{name}=grpc is not available yet (http/protobuf is); nothing is traced"));
            return None;
        }
        Some((name, other)) => complain(format!("{name}={other:?} is not known; http/protobuf is used")),
    }
    let endpoint = match endpoint(&endpoint_name, endpoint_text) {
        Ok(endpoint) => endpoint,
        Err(why) => {
            complain(format!("{endpoint_name}={endpoint_text:?} {why}; nothing is traced"));
            return None;
        }
    };
    if let Some((name, compression)) = otlp(env, "COMPRESSION").filter(|(_, compression)| *compression != "none") {
        complain(format!("{name}={compression:?} is not available; spans are sent uncompressed"));
    }
    let headers = otlp(env, "HEADERS").map_or_else(Vec::new, |(name, value)| {
        headers(value).unwrap_or_else(|why| {
            complain(format!("{name} {why}; no header is sent"));
            Vec::new()
        })
    });
    let timeout = match otlp(env, "TIMEOUT") {
        Some((name, value)) => millis(&name, value, OTLP_TIMEOUT, &mut complain),
        None => OTLP_TIMEOUT,
    };
    let batch = batch(env, &mut complain);
    let resource = resource(env, &mut complain);
    let sampler = sampler(env, complaints);
    Some(TracesConfig { otlp: OtlpHttpConfig { endpoint, headers, timeout }, sampler, batch, resource })
}

/// The signal's own endpoint is taken as it is, the general one gets the signal's path.
fn endpoint(name: &str, value: &str) -> Result<Uri, &'static str> {
    let full =
        if name.contains("_TRACES_") { value.to_owned() } else { format!("{}/v1/traces", value.trim_end_matches('/')) };
    let uri: Uri = full.parse().map_err(|_| "is no URL")?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(_)) => Ok(uri),
        (Some("https"), Some(_)) => Err("wants TLS, which is not available yet"),
        _ => Err("is no http:// URL"),
    }
}

/// `key=value,key=value`, percent-encoded.
fn pairs(value: &str) -> Result<Vec<(String, String)>, String> {
    value
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("has no = in {pair:?}"))?;
            let decoded =
                percent_decode(value.trim()).ok_or_else(|| format!("has a bad percent-encoding in {pair:?}"))?;
            match key.trim() {
                "" => Err(format!("has no key in {pair:?}")),
                key => Ok((key.to_owned(), decoded)),
            }
        })
        .collect()
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || (bytes.next()? as char).to_digit(16);
            decoded.push((digit()? << 4 | digit()?) as u8);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

/// The errors name no value: headers carry secrets.
fn headers(value: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    pairs(value)
        .map_err(|_| "is no list of key=value".to_owned())?
        .into_iter()
        .map(|(key, value)| {
            let name: HeaderName = key.parse().map_err(|_| format!("has a name that is none of HTTP: {key:?}"))?;
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| format!("has a value that HTTP does not allow, for {key:?}"))?;
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect()
}

fn millis(name: &str, value: &str, default: Duration, complain: &mut impl FnMut(String)) -> Duration {
    match value.parse::<u64>() {
        Ok(millis) if (1..=MILLIS_LIMIT).contains(&millis) => Duration::from_millis(millis),
        _ => {
            complain(format!(
                "{name}={value:?} is no number of milliseconds from 1 to {MILLIS_LIMIT}; {} is used",
                default.as_millis()
            ));
            default
        }
    }
}

fn batch(env: &BTreeMap<String, String>, complain: &mut impl FnMut(String)) -> BatchConfig {
    let mut config = BatchConfig::default();
    for (name, field) in
        [("OTEL_BSP_SCHEDULE_DELAY", &mut config.delay), ("OTEL_BSP_EXPORT_TIMEOUT", &mut config.export_timeout)]
    {
        if let Some(value) = text(env, name) {
            *field = millis(name, value, *field, complain);
        }
    }
    for (name, field) in [
        ("OTEL_BSP_MAX_QUEUE_SIZE", &mut config.queue_spans_max),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &mut config.batch_spans_max),
    ] {
        if let Some(value) = text(env, name) {
            match value.parse::<usize>() {
                Ok(count) if (1..=SPAN_QUEUE_SPANS_LIMIT).contains(&count) => *field = count,
                _ => complain(format!(
                    "{name}={value:?} is no number from 1 to {SPAN_QUEUE_SPANS_LIMIT}; {field} is used"
                )),
            }
        }
    }
    if config.batch_spans_max > config.queue_spans_max {
        complain(format!(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE={} is more than the queue of {} spans holds; {} is used",
            config.batch_spans_max, config.queue_spans_max, config.queue_spans_max
        ));
        config.batch_spans_max = config.queue_spans_max;
    }
    config
}

fn resource(env: &BTreeMap<String, String>, complain: &mut impl FnMut(String)) -> Vec<(String, String)> {
    let mut attributes = BTreeMap::from([
        ("service.name".to_owned(), SERVICE_NAME.to_owned()),
        ("service.version".to_owned(), VERSION.to_owned()),
    ]);
    if let Some(value) = text(env, "OTEL_RESOURCE_ATTRIBUTES") {
        match pairs(value) {
            Ok(pairs) => attributes.extend(pairs),
            // As the specification says: all of it or nothing.
            Err(why) => complain(format!("OTEL_RESOURCE_ATTRIBUTES {why}; it is ignored")),
        }
    }
    if let Some(name) = text(env, "OTEL_SERVICE_NAME") {
        attributes.insert("service.name".to_owned(), name.to_owned());
    }
    attributes.into_iter().collect()
}

fn sampler(env: &BTreeMap<String, String>, complaints: &mut Vec<Complaint>) -> SamplerConfig {
    let mut alias = |name: &str, old: &str| {
        let value = text(env, name);
        if value.is_none() && text(env, old).is_some() {
            complaints.push(Complaint::Deprecated(format!("{old} is deprecated; use {name}")));
        }
        value.or_else(|| text(env, old)).map(str::to_owned)
    };
    let name = alias("OTEL_TRACES_SAMPLER", "OTEL_TRACE_SAMPLER");
    let argument = alias("OTEL_TRACES_SAMPLER_ARG", "OTEL_TRACE_SAMPLING_RATE");
    // The draft's rate alone meant a ratio.
    let name = match (&name, &argument) {
        (None, Some(_)) if text(env, "OTEL_TRACES_SAMPLER_ARG").is_none() => "parentbased_traceidratio".to_owned(),
        (name, _) => name.clone().unwrap_or_else(|| "parentbased_always_on".to_owned()),
    };
    let (config, wrong) = SamplerConfig::parse(&name, argument.as_deref());
    complaints.extend(wrong.into_iter().map(Complaint::Invalid));
    config
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::observability::sampling::SamplerKind;

    fn run(args: &[&str], env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut env: BTreeMap<String, String> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        env.entry("POD_NAMESPACE".into()).or_insert_with(|| "multigres-operator".into());
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
    fn flags_take_their_value_after_an_equals_sign_or_a_space() {
        let config = run(
            &["--metrics-bind-address=:1", "-health-probe-bind-address", "0.0.0.0:2", "--metrics-secure=false"],
            &[],
        );
        let config = config.unwrap();
        assert_eq!((config.metrics_port, config.health_port), (Some(1), Some(2)));
        assert_eq!(run(&["--metrics-bind-address=0"], &[]).unwrap().metrics_port, None);
    }

    #[test]
    fn a_wrong_command_line_is_one_line_and_exit_code_two() {
        for (args, message) in [
            (vec!["--frobnicate"], "unknown flag --frobnicate"),
            (vec!["serve"], "unexpected argument \"serve\""),
            (vec!["--log-level"], "flag --log-level needs a value"),
            (vec!["--log-level=loud"], "flag --log-level: \"loud\" is not debug, info, warn or error"),
            (vec!["--log-format", "xml"], "flag --log-format: \"xml\" is not json or text"),
            (vec!["--metrics-secure=maybe"], "flag --metrics-secure: \"maybe\" is not true or false"),
            (vec!["--leader-elect"], "--leader-elect is not available yet: pass --leader-elect=false"),
            (
                vec!["--metrics-bind-address=8443"],
                "flag --metrics-bind-address: \"8443\" is not :port (every address of the host), or 0 to disable",
            ),
            (
                vec![],
                "a secure metrics endpoint is not available yet: pass --metrics-secure=false (or --metrics-bind-address=0)",
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
        assert_eq!(
            (error.to_string().as_str(), error.exit_code()),
            ("environment variable POD_NAMESPACE is required", 1)
        );
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
        assert_eq!(traces.unwrap().otlp.endpoint, "http://otel-collector:4318/v1/traces");
        let (traces, _) = traced(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other:1/x")]);
        assert_eq!(traces.unwrap().otlp.endpoint, "http://other:1/x");
    }

    #[test]
    fn a_bad_value_is_one_line_and_a_safe_default() {
        for (name, value, still_traced) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", false),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon", true),
            ("OTEL_TRACES_EXPORTER", "zipkin", false),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4318", false),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector", false),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", true),
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
        }
    }

    #[test]
    fn the_resource_is_exactly_name_version_and_what_is_asked_for() {
        let (traces, _) = traced(&[ENDPOINT]);
        let expected = [("service.name", SERVICE_NAME), ("service.version", VERSION)];
        assert_eq!(traces.unwrap().resource, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        let (traces, _) =
            traced(&[ENDPOINT, ("OTEL_RESOURCE_ATTRIBUTES", "b=x%20y,service.name=z"), ("OTEL_SERVICE_NAME", "mine")]);
        let expected = [("b", "x y"), ("service.name", "mine"), ("service.version", VERSION)];
        assert_eq!(traces.unwrap().resource, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }

    #[test]
    fn the_names_of_the_draft_work_and_say_that_they_are_old() {
        let (traces, complaints) =
            traced(&[ENDPOINT, ("OTEL_TRACE_SAMPLER", "traceidratio"), ("OTEL_TRACE_SAMPLING_RATE", "0.1")]);
        assert_eq!(
            traces.unwrap().sampler,
            SamplerConfig { root: SamplerKind::TraceIdRatio(0.1), parent_based: false }
        );
        assert!(
            complaints.iter().all(|c| matches!(c, Complaint::Deprecated(_))) && complaints.len() == 2,
            "{complaints:?}"
        );
    }

    #[test]
    fn a_header_that_is_secret_is_in_no_complaint() {
        let (traces, complaints) =
            traced(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret,x=\u{1}")]);
        assert!(traces.unwrap().otlp.headers.is_empty());
        assert!(!format!("{complaints:?}").contains("s3cret"), "{complaints:?}");
        let (traces, _) = traced(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret")]);
        let headers = traces.unwrap().otlp.headers;
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
}
