//! The telemetry settings that the data plane's containers get.
//!
//! Each field of an [`ObservabilityConfig`] that is absent falls back to the operator's own environment, one by one. Of what has no field,
//! the argument of a ratio sampler and the resource's attributes are taken from there, too, and the headers where the endpoint is: they
//! may hold credentials, which are nobody else's. Without an endpoint there are no settings, but those of metrics that are scraped.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, EnvVar, Volume, VolumeMount};

use super::{env, mount, scrape::METRICS_PORT_NAME};
use crate::api::common::{ObservabilityConfig, SamplingConfigRef};

/// The value of an endpoint that takes all telemetry settings away.
pub const DISABLED: &str = "disabled";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const METRICS_EXPORTER: &str = "OTEL_METRICS_EXPORTER";
/// Namespaces of attributes that are about one process, its pod and its host.
const OF_ONE_PROCESS: [&str; 7] = ["service.", "k8s.", "host.", "process.", "container.", "telemetry.", "os."];
/// Of these, what is true of all pods.
const OF_THE_CLUSTER: &str = "k8s.cluster.";
/// The exporter that serves metrics instead of sending them.
const PROMETHEUS: &str = "prometheus";
/// Where it serves them: the port that OpenTelemetry's exporters have by default.
const METRICS_PORT: u16 = 9464;
/// How the samplers end that have a ratio as their argument.
const RATIO_SAMPLER: &str = "traceidratio";
/// The volume with the sampling file.
const SAMPLING_VOLUME: &str = "otel-sampling-config";
/// Where the sampling file is mounted.
const SAMPLING_PATH: &str = "/etc/otel";

/// What a container and its pod get: environment variables, and the sampling file if one is named.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TelemetrySettings {
    /// Environment variables, in a fixed order.
    pub env: Vec<EnvVar>,
    /// Volumes of the pod.
    pub volumes: Vec<Volume>,
    /// Mounts of the container.
    pub mounts: Vec<VolumeMount>,
    /// The port at which metrics can be scraped, where there is one.
    pub metrics_port: Option<u16>,
}

/// The port at which the data plane's metrics can be scraped, where `config` (with the operator's environment behind it) opens one.
pub fn metrics_port(config: Option<&ObservabilityConfig>, operator_env: &BTreeMap<String, String>) -> Option<u16> {
    TelemetrySettings::new(config, operator_env).metrics_port
}

/// Ports, and the one for metrics where there is one.
pub fn with_metrics_port(ports: &[(&'static str, u16)], metrics: Option<u16>) -> Vec<(&'static str, u16)> {
    ports.iter().copied().chain(metrics.map(|port| (METRICS_PORT_NAME, port))).collect()
}

impl TelemetrySettings {
    /// The settings for `config`, with the operator's environment behind it.
    pub fn new(config: Option<&ObservabilityConfig>, operator_env: &BTreeMap<String, String>) -> Self {
        let none = ObservabilityConfig::default();
        let config = config.unwrap_or(&none);
        let value = |field: &Option<String>, name: &str| -> Option<String> {
            field.clone().filter(|value| !value.is_empty()).or_else(|| operator_env.get(name).cloned())
        };
        let endpoint = value(&config.otlp_endpoint, ENDPOINT).unwrap_or_default();
        if endpoint == DISABLED {
            return Self::default();
        }
        if endpoint.is_empty() {
            // Metrics that are scraped need nobody to send them to; all else does.
            let mut settings = Self::default();
            if value(&config.metrics_exporter, METRICS_EXPORTER).as_deref() == Some(PROMETHEUS) {
                settings.env.push(env(METRICS_EXPORTER, PROMETHEUS));
                settings.open_metrics_port();
            }
            return settings;
        }
        let mut settings = Self { env: vec![env(ENDPOINT, endpoint.clone())], ..Self::default() };
        for (name, field) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", &config.otlp_protocol),
            ("OTEL_TRACES_EXPORTER", &config.traces_exporter),
            (METRICS_EXPORTER, &config.metrics_exporter),
            ("OTEL_LOGS_EXPORTER", &config.logs_exporter),
            ("OTEL_METRIC_EXPORT_INTERVAL", &config.metric_export_interval),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", &config.metrics_temporality),
            (SAMPLER, &config.traces_sampler),
        ] {
            if let Some(value) = value(field, name).filter(|value| !value.is_empty()) {
                settings.env.push(env(name, value));
            }
        }
        let sampler = value(&config.traces_sampler, SAMPLER).unwrap_or_default();
        let ratio = sampler.ends_with(RATIO_SAMPLER).then(|| operator_env.get("OTEL_TRACES_SAMPLER_ARG").cloned());
        let same_endpoint = operator_env.get(ENDPOINT) == Some(&endpoint);
        let headers = same_endpoint.then(|| operator_env.get("OTEL_EXPORTER_OTLP_HEADERS").cloned());
        for (name, value) in [
            ("OTEL_TRACES_SAMPLER_ARG", ratio.flatten()),
            ("OTEL_EXPORTER_OTLP_HEADERS", headers.flatten()),
            (ATTRIBUTES, operator_env.get(ATTRIBUTES).map(|attributes| of_no_process(attributes))),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                settings.env.push(env(name, value));
            }
        }
        if let Some(file) = &config.sampling_config_ref {
            settings.add_sampling_file(file);
        }
        if settings.env.iter().any(|var| var.name == METRICS_EXPORTER && var.value.as_deref() == Some(PROMETHEUS)) {
            settings.open_metrics_port();
        }
        settings
    }

    fn open_metrics_port(&mut self) {
        self.metrics_port = Some(METRICS_PORT);
        self.env.push(env("OTEL_EXPORTER_PROMETHEUS_HOST", "0.0.0.0"));
        self.env.push(env("OTEL_EXPORTER_PROMETHEUS_PORT", METRICS_PORT.to_string()));
    }

    /// The ports of a container or Service: its own, and the one for metrics where that is open.
    pub fn with_metrics_port(&self, ports: &[(&'static str, u16)]) -> Vec<(&'static str, u16)> {
        with_metrics_port(ports, self.metrics_port)
    }

    /// For a second process of a pod: it opens no metrics port beside the first one's, and exports no metrics then.
    pub fn of_second_process(&self) -> Vec<EnvVar> {
        let mut vars = self.env.clone();
        if self.metrics_port.is_some() {
            vars.retain(|var| !var.name.starts_with("OTEL_EXPORTER_PROMETHEUS_"));
            for var in vars.iter_mut().filter(|var| var.name == METRICS_EXPORTER) {
                var.value = Some("none".to_owned());
            }
        }
        vars
    }

    fn add_sampling_file(&mut self, file: &SamplingConfigRef) {
        self.env.push(env("OTEL_TRACES_SAMPLER_CONFIG", format!("{SAMPLING_PATH}/{}", file.key)));
        self.mounts.push(VolumeMount { read_only: Some(true), ..mount(SAMPLING_VOLUME, SAMPLING_PATH) });
        self.volumes.push(Volume {
            name: SAMPLING_VOLUME.to_owned(),
            config_map: Some(ConfigMapVolumeSource { name: file.name.clone(), ..ConfigMapVolumeSource::default() }),
            ..Volume::default()
        });
    }
}

/// The attributes (`key=value`, with commas between them) but those that say what the operator itself is and where it runs. They are true of
/// no other process, and those of its pod would roll every pod of the data plane at each of its starts.
fn of_no_process(attributes: &str) -> String {
    let is_kept = |attribute: &&str| {
        let key = attribute.trim_start();
        key.starts_with(OF_THE_CLUSTER) || !OF_ONE_PROCESS.iter().any(|namespace| key.starts_with(namespace))
    };
    attributes.split(',').filter(is_kept).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(settings: &TelemetrySettings) -> Vec<&str> {
        settings.env.iter().map(|var| var.name.as_str()).collect()
    }

    fn operator_env() -> BTreeMap<String, String> {
        [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel-collector:4318"), ("OTEL_TRACES_SAMPLER", "always_on")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn each_field_falls_back_to_the_operators_environment_alone() {
        let config = ObservabilityConfig {
            otlp_endpoint: Some("http://team:4318".into()),
            metrics_exporter: Some("otlp".into()),
            logs_exporter: Some("none".into()),
            ..ObservabilityConfig::default()
        };
        let settings = TelemetrySettings::new(Some(&config), &operator_env());
        assert_eq!(
            names(&settings),
            ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER", "OTEL_TRACES_SAMPLER"]
        );
        assert_eq!(settings.env[0].value.as_deref(), Some("http://team:4318"));
    }

    #[test]
    fn disabled_takes_every_setting_away_wherever_it_is_said() {
        let config = ObservabilityConfig { otlp_endpoint: Some("disabled".into()), ..ObservabilityConfig::default() };
        assert_eq!(TelemetrySettings::new(Some(&config), &operator_env()), TelemetrySettings::default());
        let disabled = [("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), "disabled".to_owned())].into();
        assert_eq!(TelemetrySettings::new(None, &disabled), TelemetrySettings::default());
    }

    #[test]
    fn nothing_configured_means_no_settings() {
        assert_eq!(TelemetrySettings::new(None, &BTreeMap::new()), TelemetrySettings::default());
    }

    #[test]
    fn what_has_no_field_comes_from_the_operator_where_it_fits() {
        let mut operator = operator_env();
        for (name, value) in [
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "service.name=operator,deployment.environment.name=prod, service.version=1,k8s.pod.name=operator-1,\
                 host.name=node-1,process.pid=1,container.id=7,telemetry.sdk.name=x,k8s.cluster.name=east,team=db",
            ),
        ] {
            operator.insert(name.into(), value.into());
        }
        let value = |settings: &TelemetrySettings, name: &str| {
            settings.env.iter().find(|var| var.name == name).and_then(|var| var.value.clone())
        };
        let inherited = TelemetrySettings::new(None, &operator);
        assert_eq!(value(&inherited, "OTEL_TRACES_SAMPLER_ARG").as_deref(), Some("0.25"));
        assert_eq!(value(&inherited, "OTEL_EXPORTER_OTLP_HEADERS").as_deref(), Some("authorization=secret"));
        let attributes = value(&inherited, "OTEL_RESOURCE_ATTRIBUTES");
        assert_eq!(attributes.as_deref(), Some("deployment.environment.name=prod,k8s.cluster.name=east,team=db"));
        let elsewhere = ObservabilityConfig {
            otlp_endpoint: Some("http://team:4318".into()),
            traces_sampler: Some("always_on".into()),
            ..ObservabilityConfig::default()
        };
        let elsewhere = TelemetrySettings::new(Some(&elsewhere), &operator);
        assert_eq!(value(&elsewhere, "OTEL_TRACES_SAMPLER_ARG"), None);
        assert_eq!(value(&elsewhere, "OTEL_EXPORTER_OTLP_HEADERS"), None, "credentials go to somebody else's endpoint");
    }

    #[test]
    fn metrics_that_are_scraped_have_a_port_of_the_first_process_alone() {
        let config =
            ObservabilityConfig { metrics_exporter: Some("prometheus".into()), ..ObservabilityConfig::default() };
        let settings = TelemetrySettings::new(Some(&config), &operator_env());
        assert_eq!(settings.metrics_port, Some(9464));
        let last: Vec<&str> = names(&settings).into_iter().rev().take(2).collect();
        assert_eq!(last, ["OTEL_EXPORTER_PROMETHEUS_PORT", "OTEL_EXPORTER_PROMETHEUS_HOST"]);
        let second = settings.of_second_process();
        assert!(second.iter().all(|var| !var.name.contains("PROMETHEUS")), "{second:?}");
        assert!(second.iter().any(|var| var.name == METRICS_EXPORTER && var.value.as_deref() == Some("none")));
        assert_eq!(settings.with_metrics_port(&[("http", 1)]), [("http", 1), ("metrics", 9464)]);
        let alone = TelemetrySettings::new(Some(&config), &BTreeMap::new());
        assert_eq!(
            (names(&alone), alone.metrics_port),
            (
                vec!["OTEL_METRICS_EXPORTER", "OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_EXPORTER_PROMETHEUS_PORT"],
                Some(9464)
            ),
            "what is scraped needs no endpoint"
        );
        let disabled = ObservabilityConfig { otlp_endpoint: Some("disabled".into()), ..config };
        assert_eq!(TelemetrySettings::new(Some(&disabled), &BTreeMap::new()), TelemetrySettings::default());
        let pushed = TelemetrySettings::new(None, &operator_env());
        assert_eq!((pushed.metrics_port, pushed.of_second_process()), (None, pushed.env));
    }

    fn field() -> impl Strategy<Value = Option<String>> {
        proptest::option::of("[a-z_/:0-9]{0,12}")
    }

    prop_compose! {
        fn config()(
            otlp_endpoint in proptest::option::of(prop_oneof![Just("disabled".to_owned()), "http://[a-z]{1,8}:4318", Just(String::new())]),
            otlp_protocol in field(),
            traces_exporter in field(),
            metrics_exporter in field(),
            logs_exporter in field(),
            metric_export_interval in field(),
            metrics_temporality in field(),
            traces_sampler in field(),
            named in any::<bool>(),
        ) -> ObservabilityConfig {
            ObservabilityConfig {
                otlp_endpoint, otlp_protocol, traces_exporter, metrics_exporter, logs_exporter, metric_export_interval,
                metrics_temporality, traces_sampler,
                scrape_objects: None,
                sampling_config_ref: named.then(|| SamplingConfigRef { name: "sampling".into(), key: "rules.yaml".into() }),
            }
        }
    }

    const ORDER: [&str; 12] = [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_TRACES_EXPORTER",
        "OTEL_METRICS_EXPORTER",
        "OTEL_LOGS_EXPORTER",
        "OTEL_METRIC_EXPORT_INTERVAL",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        "OTEL_TRACES_SAMPLER",
        "OTEL_TRACES_SAMPLER_ARG",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_RESOURCE_ATTRIBUTES",
        "OTEL_TRACES_SAMPLER_CONFIG",
    ];

    proptest! {
        #[test]
        fn settings_are_all_or_nothing_in_order_once_each_and_never_empty(
            config in config(),
            operator in proptest::collection::btree_map(proptest::sample::select(ORDER.to_vec()), "[a-z:/]{0,9}", 0..9),
        ) {
            let operator: BTreeMap<String, String> = operator.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            let settings = TelemetrySettings::new(Some(&config), &operator);
            let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            let endpoint = given(&config.otlp_endpoint).or_else(|| operator.get(ENDPOINT).cloned()).unwrap_or_default();
            if endpoint.is_empty() || endpoint == DISABLED {
                prop_assert_eq!(settings, TelemetrySettings::default());
                return Ok(());
            }
            let places: Vec<usize> =
                settings.env.iter().map(|var| ORDER.iter().position(|name| *name == var.name).unwrap()).collect();
            prop_assert!(places.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", settings.env);
            prop_assert!(settings.env.iter().all(|var| var.value.as_ref().is_some_and(|value| !value.is_empty())));
            let protocol = given(&config.otlp_protocol).or_else(|| operator.get("OTEL_EXPORTER_OTLP_PROTOCOL").cloned());
            let found = settings.env.iter().find(|var| var.name == "OTEL_EXPORTER_OTLP_PROTOCOL");
            prop_assert_eq!(found.and_then(|var| var.value.clone()), protocol.filter(|value| !value.is_empty()));
            prop_assert_eq!(settings.volumes.len(), usize::from(config.sampling_config_ref.is_some()));
            prop_assert_eq!(settings.mounts.len(), settings.volumes.len());
        }
    }

    #[test]
    fn a_sampling_file_is_mounted_and_named_last() {
        let file = SamplingConfigRef { name: "sampling".into(), key: "sampling-config.yaml".into() };
        let config = ObservabilityConfig { sampling_config_ref: Some(file), ..ObservabilityConfig::default() };
        let settings = TelemetrySettings::new(Some(&config), &operator_env());
        let last = settings.env.last().unwrap();
        assert_eq!(last.name, "OTEL_TRACES_SAMPLER_CONFIG");
        assert_eq!(last.value.as_deref(), Some("/etc/otel/sampling-config.yaml"));
        assert_eq!(settings.mounts[0].read_only, Some(true));
        assert_eq!(settings.volumes[0].name, settings.mounts[0].name);
    }
}
