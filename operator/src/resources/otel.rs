//! The telemetry settings that the data plane's containers get.
//!
//! Each field of an [`ObservabilityConfig`] that is absent falls back to the operator's own environment, one by one.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, EnvVar, Volume, VolumeMount};

use super::{env, mount};
use crate::api::common::{ObservabilityConfig, SamplingConfigRef};

/// The value of an endpoint that takes all telemetry settings away.
pub const DISABLED: &str = "disabled";
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
}

impl TelemetrySettings {
    /// The settings for `config`, with the operator's environment behind it.
    pub fn new(config: Option<&ObservabilityConfig>, operator_env: &BTreeMap<String, String>) -> Self {
        let none = ObservabilityConfig::default();
        let config = config.unwrap_or(&none);
        let value = |field: &Option<String>, name: &str| -> Option<String> {
            field.clone().filter(|value| !value.is_empty()).or_else(|| operator_env.get(name).cloned())
        };
        let endpoint = value(&config.otlp_endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or_default();
        if endpoint.is_empty() || endpoint == DISABLED {
            return Self::default();
        }
        let mut settings = Self { env: vec![env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)], ..Self::default() };
        for (name, field) in [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", &config.otlp_protocol),
            ("OTEL_TRACES_EXPORTER", &config.traces_exporter),
            ("OTEL_METRICS_EXPORTER", &config.metrics_exporter),
            ("OTEL_LOGS_EXPORTER", &config.logs_exporter),
            ("OTEL_METRIC_EXPORT_INTERVAL", &config.metric_export_interval),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", &config.metrics_temporality),
            ("OTEL_TRACES_SAMPLER", &config.traces_sampler),
        ] {
            if let Some(value) = value(field, name).filter(|value| !value.is_empty()) {
                settings.env.push(env(name, value));
            }
        }
        if let Some(file) = &config.sampling_config_ref {
            settings.add_sampling_file(file);
        }
        settings
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

#[cfg(test)]
mod tests {
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
