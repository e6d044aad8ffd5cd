//! `prometheus.yaml`: the part of Prometheus's configuration that this engine has. Unknown fields are refused with their position.

use crate::Error;
use crate::relabel::Relabel;
use serde::{Deserialize, Deserializer};
use sim_wire::duration;
use std::collections::BTreeMap;
use std::time::Duration;

/// Largest configuration or rule file.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Reads a Prometheus-style duration in YAML.
pub(crate) fn yaml_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::parse(&text).map_err(serde::de::Error::custom)
}

pub(crate) fn yaml_optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    yaml_duration(deserializer).map(Some)
}

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Defaults for everything below.
    pub global: Global,
    /// What to scrape.
    pub scrape_configs: Vec<ScrapeConfig>,
    /// Globs of rule files.
    pub rule_files: Vec<String>,
    /// What the store takes.
    pub storage: Storage,
    /// Whom alerts are sent to.
    pub alerting: Alerting,
    /// How metrics of OTLP are translated.
    pub otlp: crate::otlp::translate::Settings,
}

/// The section `alerting`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerting {
    /// Steps over the labels of alerts.
    pub alert_relabel_configs: Vec<Relabel>,
    /// The Alertmanagers.
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

/// One entry of `alerting.alertmanagers`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertmanagerConfig {
    /// `http` or `https`
    pub scheme: String,
    /// Who Prometheus is: `Authorization: <type> <credentials>`.
    pub authorization: Option<Authorization>,
    /// Who Prometheus is, by name and password.
    pub basic_auth: Option<BasicAuth>,
    /// Whom `https` trusts, and with which certificate.
    pub tls_config: TlsConfig,
    /// Accepted; a redirect fails.
    pub follow_redirects: bool,
    /// Accepted; alerts go by HTTP/1.1.
    pub enable_http2: bool,
    /// What stands before `/api/v2/alerts`.
    pub path_prefix: String,
    /// How long an answer is waited for.
    #[serde(deserialize_with = "yaml_duration")]
    pub timeout: Duration,
    /// `v2`; there is no other.
    pub api_version: String,
    /// Where they are.
    pub static_configs: Vec<StaticConfig>,
    /// Steps over their own labels.
    pub relabel_configs: Vec<Relabel>,
    /// Steps over the labels of alerts that go to these.
    pub alert_relabel_configs: Vec<Relabel>,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        Self {
            scheme: http(),
            authorization: None,
            basic_auth: None,
            tls_config: TlsConfig::default(),
            follow_redirects: true,
            enable_http2: true,
            path_prefix: "/".to_owned(),
            timeout: Duration::from_secs(10),
            api_version: "v2".to_owned(),
            static_configs: Vec::new(),
            relabel_configs: Vec::new(),
            alert_relabel_configs: Vec::new(),
        }
    }
}

/// The section `storage`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Samples.
    pub tsdb: Tsdb,
    /// Exemplars.
    pub exemplars: Exemplars,
}

/// `storage.tsdb`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tsdb {
    /// How far behind the newest sample one may come.
    #[serde(deserialize_with = "yaml_duration")]
    pub out_of_order_time_window: Duration,
}

/// `storage.exemplars`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exemplars {
    /// How many are kept; none for 0.
    pub max_exemplars: usize,
}

impl Default for Exemplars {
    fn default() -> Self {
        Self { max_exemplars: crate::store::EXEMPLARS_MAX }
    }
}

/// The section `global`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Global {
    /// How often targets are scraped.
    #[serde(deserialize_with = "yaml_duration")]
    pub scrape_interval: Duration,
    /// When a scrape is given up.
    #[serde(deserialize_with = "yaml_optional_duration")]
    pub scrape_timeout: Option<Duration>,
    /// How often rules are evaluated.
    #[serde(deserialize_with = "yaml_duration")]
    pub evaluation_interval: Duration,
    /// How far behind the present rules are evaluated.
    #[serde(deserialize_with = "yaml_duration")]
    pub rule_query_offset: Duration,
    /// Labels for the outer world.
    pub external_labels: BTreeMap<String, String>,
}

impl Default for Global {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            scrape_interval: minute,
            scrape_timeout: None,
            evaluation_interval: minute,
            rule_query_offset: Duration::ZERO,
            external_labels: BTreeMap::new(),
        }
    }
}

/// One entry of `scrape_configs`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScrapeConfig {
    /// The label `job`.
    pub job_name: String,
    /// The global interval without.
    #[serde(default, deserialize_with = "yaml_optional_duration")]
    pub scrape_interval: Option<Duration>,
    /// The global time-out without.
    #[serde(default, deserialize_with = "yaml_optional_duration")]
    pub scrape_timeout: Option<Duration>,
    /// The path.
    #[serde(default = "metrics_path")]
    pub metrics_path: String,
    /// `http` or `https`
    #[serde(default = "http")]
    pub scheme: String,
    /// Who the scraper is: `Authorization: <type> <credentials>`.
    #[serde(default)]
    pub authorization: Option<Authorization>,
    /// Who the scraper is, by name and password.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// The old way to write a bearer token.
    #[serde(default)]
    pub bearer_token: Option<String>,
    /// The old way to name the file of a bearer token.
    #[serde(default)]
    pub bearer_token_file: Option<String>,
    /// Whom `https` trusts, and with which certificate.
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// Accepted; a redirect fails the scrape.
    #[serde(default = "yes")]
    pub follow_redirects: bool,
    /// Accepted; scrapes speak HTTP/1.1.
    #[serde(default = "yes")]
    pub enable_http2: bool,
    /// Whether labels of the page win over labels of the target.
    #[serde(default)]
    pub honor_labels: bool,
    /// Whether timestamps of the page are taken.
    #[serde(default = "yes")]
    pub honor_timestamps: bool,
    /// URL parameters.
    #[serde(default)]
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether series with timestamps of their own end when they vanish.
    #[serde(default)]
    pub track_timestamps_staleness: bool,
    /// A page with more samples fails; 0 is no limit, here and below.
    #[serde(default)]
    pub sample_limit: usize,
    /// A larger page fails.
    #[serde(default, deserialize_with = "yaml_size")]
    pub body_size_limit: usize,
    /// A sample with more labels fails its page.
    #[serde(default)]
    pub label_limit: usize,
    /// A longer label name fails its page, in bytes.
    #[serde(default)]
    pub label_name_length_limit: usize,
    /// A longer label value fails its page, in bytes.
    #[serde(default)]
    pub label_value_length_limit: usize,
    /// With more targets all of them fail.
    #[serde(default)]
    pub target_limit: usize,
    /// What a page without a usable content type is read as: `PrometheusText0.0.4`, `OpenMetricsText1.0.0` and their like.
    #[serde(default)]
    pub fallback_scrape_protocol: Option<String>,
    /// The targets.
    #[serde(default)]
    pub static_configs: Vec<StaticConfig>,
    /// Steps over the labels of targets.
    #[serde(default)]
    pub relabel_configs: Vec<Relabel>,
    /// Steps over the labels of samples.
    #[serde(default)]
    pub metric_relabel_configs: Vec<Relabel>,
}

/// `authorization`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Authorization {
    /// `Bearer` unless told.
    #[serde(default = "bearer", rename = "type")]
    pub scheme: String,
    /// The credentials.
    pub credentials: Option<String>,
    /// The file they are in.
    pub credentials_file: Option<String>,
}

fn bearer() -> String {
    "Bearer".to_owned()
}

/// `basic_auth`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// The name.
    pub username: String,
    /// The file it is in.
    pub username_file: Option<String>,
    /// The password.
    pub password: String,
    /// The file it is in.
    pub password_file: Option<String>,
}

/// `tls_config`: PEM texts, or the files they are in.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Authorities.
    pub ca: Option<String>,
    /// Their file.
    pub ca_file: Option<String>,
    /// The client's certificates.
    pub cert: Option<String>,
    /// Their file.
    pub cert_file: Option<String>,
    /// The client's key.
    pub key: Option<String>,
    /// Its file.
    pub key_file: Option<String>,
    /// The name that the server's certificate must have, instead of the address.
    pub server_name: Option<String>,
    /// Whether any certificate will do.
    pub insecure_skip_verify: bool,
}

impl ScrapeConfig {
    /// What contradicts itself.
    fn check(&self) -> Result<(), String> {
        let old = self.bearer_token.is_some() || self.bearer_token_file.is_some();
        check_access(self.authorization.as_ref(), self.basic_auth.as_ref(), old, &self.tls_config)
    }
}

/// What contradicts itself in who the client is and whom it trusts; `old` is whether it shows a bearer token in the old way.
fn check_access(
    authorization: Option<&Authorization>,
    basic_auth: Option<&BasicAuth>,
    old: bool,
    tls: &TlsConfig,
) -> Result<(), String> {
    let ways = [authorization.is_some(), basic_auth.is_some(), old];
    if ways.iter().filter(|given| **given).count() > 1 {
        return Err("at most one of basic_auth, oauth2 & authorization must be configured".to_owned());
    }
    if let Some(authorization) = authorization {
        if authorization.credentials.is_some() && authorization.credentials_file.is_some() {
            return Err("at most one of authorization credentials & credentials_file must be configured".to_owned());
        }
        if authorization.scheme.eq_ignore_ascii_case("basic") {
            return Err(r#"authorization type cannot be set to "basic", use "basic_auth" instead"#.to_owned());
        }
    }
    for (text, file, name) in
        [(&tls.ca, &tls.ca_file, "ca"), (&tls.cert, &tls.cert_file, "cert"), (&tls.key, &tls.key_file, "key")]
    {
        if text.is_some() && file.is_some() {
            return Err(format!("at most one of {name} and {name}_file must be configured"));
        }
    }
    let (certificate, key) =
        (tls.cert.is_some() || tls.cert_file.is_some(), tls.key.is_some() || tls.key_file.is_some());
    match (certificate, key) {
        (true, false) => {
            Err("exactly one of key or key_file must be configured when a client certificate is configured".to_owned())
        }
        (false, true) => {
            Err("exactly one of cert or cert_file must be configured when a client key is configured".to_owned())
        }
        _ => Ok(()),
    }
}

/// Reads a size such as `10MB` (units of 1024) in YAML.
fn yaml_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = || serde::de::Error::custom(format!("units: unknown unit in {text:?}"));
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" if number == "0" => 1.0,
        "B" => 1.0,
        "KB" | "KiB" => 1024.0,
        "MB" | "MiB" => 1_048_576.0,
        "GB" | "GiB" => 1_073_741_824.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    Ok((number * factor) as usize)
}

fn metrics_path() -> String {
    "/metrics".to_owned()
}

fn http() -> String {
    "http".to_owned()
}

fn yes() -> bool {
    true
}

/// One entry of `static_configs`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticConfig {
    /// `host:port`
    pub targets: Vec<String>,
    /// Labels of all of them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl ScrapeConfig {
    /// The interval in effect.
    pub fn interval(&self, global: &Global) -> Duration {
        self.scrape_interval.unwrap_or(global.scrape_interval)
    }

    /// The time-out in effect: never longer than the interval.
    pub fn timeout(&self, global: &Global) -> Duration {
        self.scrape_timeout.or(global.scrape_timeout).unwrap_or(Duration::from_secs(10)).min(self.interval(global))
    }
}

/// Reads and checks a configuration.
///
/// # Errors
/// [`Error::Config`] with the position for YAML, without for contradictions.
///
/// ```
/// let text = "global: {scrape_interval: 30s}\nscrape_configs:\n- job_name: etcd\n  static_configs: [{targets: ['etcd:2379']}]\n";
/// let config = sim_prometheus::config::parse(text).unwrap();
/// assert_eq!(config.scrape_configs[0].interval(&config.global).as_secs(), 30);
/// assert!(sim_prometheus::config::parse("globl: {}").is_err());
/// ```
pub fn parse(text: &str) -> Result<Config, Error> {
    let refuse = |message: String| Error::Config { message };
    if text.len() > FILE_BYTES_MAX {
        return Err(refuse(format!("file larger than {FILE_BYTES_MAX} bytes")));
    }
    if text.trim().is_empty() {
        return Ok(Config::default());
    }
    let config: Config = serde_saphyr::from_str(text).map_err(|error| refuse(error.to_string()))?;
    if config.global.scrape_interval.is_zero() || config.global.evaluation_interval.is_zero() {
        return Err(refuse("global intervals must be greater than 0".to_owned()));
    }
    for alertmanager in &config.alerting.alertmanagers {
        if alertmanager.api_version != "v2" {
            let version = &alertmanager.api_version;
            return Err(refuse(format!("expected Alertmanager api version to be one of [v2] but got {version}")));
        }
        if !matches!(alertmanager.scheme.as_str(), "http" | "https") {
            return Err(refuse(format!(
                "scheme {:?} of an Alertmanager is neither http nor https",
                alertmanager.scheme
            )));
        }
        let AlertmanagerConfig { authorization, basic_auth, tls_config, .. } = alertmanager;
        check_access(authorization.as_ref(), basic_auth.as_ref(), false, tls_config).map_err(refuse)?;
    }
    config.otlp.check().map_err(refuse)?;
    let mut names = std::collections::BTreeSet::new();
    for scrape in &config.scrape_configs {
        let job = &scrape.job_name;
        if job.is_empty() {
            return Err(refuse("job_name is empty".to_owned()));
        }
        if !names.insert(job) {
            return Err(refuse(format!("found multiple scrape configs with job name {job:?}")));
        }
        if scrape.interval(&config.global).is_zero() {
            return Err(refuse(format!("scrape interval of job {job:?} must be greater than 0")));
        }
        if let (Some(timeout), interval) = (scrape.scrape_timeout, scrape.interval(&config.global))
            && timeout > interval
        {
            return Err(refuse(format!(
                "scrape timeout greater than scrape interval for scrape config with job name {job:?}"
            )));
        }
        if !matches!(scrape.scheme.as_str(), "http" | "https") {
            return Err(refuse(format!("unsupported scheme {:?} of job {job:?}", scrape.scheme)));
        }
        scrape.check().map_err(refuse)?;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_is_refused_with_its_line() {
        let error = parse("global:\n  scrape_intervall: 15s\n").unwrap_err().to_string();
        assert!(error.contains("scrape_intervall") && error.contains("line 2"), "{error}");
    }

    #[test]
    fn the_timeout_never_exceeds_the_interval() {
        let config = parse("scrape_configs: [{job_name: a, scrape_interval: 5s}]").unwrap();
        assert_eq!(config.scrape_configs[0].timeout(&config.global), Duration::from_secs(5));
        let error =
            parse("scrape_configs: [{job_name: a, scrape_interval: 5s, scrape_timeout: 6s}]").unwrap_err().to_string();
        assert!(error.contains("scrape timeout greater than scrape interval"), "{error}");
    }

    #[test]
    fn contradictions_of_who_the_scraper_is_are_refused() {
        for text in [
            "{authorization: {credentials: a}, basic_auth: {username: b}}",
            "{authorization: {credentials: a, credentials_file: b}}",
            "{authorization: {type: Basic, credentials: a}}",
            "{tls_config: {ca: a, ca_file: b}}",
            "{tls_config: {cert_file: b}}",
            "{body_size_limit: 5 potatoes}",
            "{scheme: gopher}",
        ] {
            let inner = text.trim_start_matches('{');
            assert!(parse(&format!("scrape_configs: [{{job_name: a, {inner}]")).is_err(), "{text}");
            assert!(parse(&format!("alerting: {{alertmanagers: [{text}]}}")).is_err(), "{text}");
        }
        let config = parse("scrape_configs: [{job_name: a, body_size_limit: 1.5KB}]").unwrap();
        assert_eq!(config.scrape_configs[0].body_size_limit, 1536);
    }

    #[test]
    fn two_jobs_of_one_name_are_refused() {
        assert!(parse("scrape_configs: [{job_name: a}, {job_name: a}]").is_err());
    }
}
