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
//! let args = ["--webhook-enable=false", "--health-probe-bind-address", ":9081"].map(str::to_owned);
//! let Ok(Invocation::Run(config)) = Config::parse(&args, &env) else { panic!() };
//! assert_eq!(config.health_address, Some("[::]:9081".parse().unwrap()));
//! ```
//!
//! | module | what it reads |
//! |---|---|
//! | [`flags`] | the values of flags |
//! | `original` | flags of the operator in Go |
//! | `otel` | `OTEL_*` |

pub mod flags;
mod original;
mod otel;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

pub use self::flags::USAGE;
use self::{
    flags::{bad, bind_address, boolean, duration, every_address, number},
    original::OriginalFlags,
    otel::{metrics, text, traces},
};
use crate::{
    observability::{levels::LogLevels, logging::LogFormat, telemetry::TelemetryConfig},
    runtime::{election::ElectionConfig, manager::SYNC_PERIOD},
    webhooks::certificates::LEAF_VALIDITY,
};

/// The `service.name` of the operator's spans.
pub const SERVICE_NAME: &str = "multigres-operator";
/// Where cert-manager's Secret is mounted.
const WEBHOOK_FOLDER: &str = "/var/run/secrets/webhook";
/// The Service in `deploy/operator`.
const WEBHOOK_SERVICE: &str = "multigres-operator-webhook-service";
/// Below this a new authority would not be known before the old leaf ends.
const WEBHOOK_VALIDITY_MIN: Duration = Duration::from_secs(600);
/// Below this an operator would do nothing else.
const SYNC_PERIOD_MIN: Duration = Duration::from_secs(1);
/// The version in spans, user agents and `--version`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What stands for what the build was not told.
const UNKNOWN: &str = "unknown";
/// The commit that was built, if the build was told (`MULTIGRES_COMMIT`).
pub const COMMIT: &str = match option_env!("MULTIGRES_COMMIT") {
    Some(commit) => commit,
    None => UNKNOWN,
};
/// When it was built, if the build was told (`MULTIGRES_BUILD_DATE`).
pub const BUILD_DATE: &str = match option_env!("MULTIGRES_BUILD_DATE") {
    Some(date) => date,
    None => UNKNOWN,
};

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Invocation {
    /// Run with this configuration.
    Run(Box<Config>),
    /// Print [`VERSION`], [`COMMIT`] and [`BUILD_DATE`].
    Version,
    /// Print [`USAGE`].
    Help,
}

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where `/metrics` is served; none: nowhere.
    pub metrics_address: Option<SocketAddr>,
    /// How `/metrics` is protected; none: not at all.
    pub metrics_security: Option<MetricsSecurity>,
    /// Whether and how webhooks are served.
    pub webhooks: Option<WebhookConfig>,
    /// Whether and how a leader is elected.
    pub election: Option<ElectionConfig>,
    /// Where `/healthz` and `/readyz` are served; none: nowhere.
    pub health_address: Option<SocketAddr>,
    /// The namespace of the operator itself.
    pub namespace: String,
    /// The service account of the operator itself, if it is known.
    pub service_account: Option<String>,
    /// A kubeconfig to use; none: as `KUBECONFIG` or the pod's service account say.
    pub kubeconfig: Option<String>,
    /// A context of the kubeconfig; none: its current one.
    pub context: Option<String>,
    /// How often every object is reconciled though nothing has happened.
    pub sync_period: Duration,
    /// A file whose log levels count as long as it is there.
    pub log_level_file: Option<String>,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// What was wrong with the telemetry's variables; logged once at the start.
    pub complaints: Vec<Complaint>,
}

/// How the metrics endpoint is protected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsSecurity {
    /// Files of its certificate; none: the operator signs one itself.
    pub certificate: Option<CertificateFiles>,
    /// File of the authorities whose clients need no token.
    pub client_authorities: Option<String>,
}

/// How webhooks are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// The port.
    pub port: u16,
    /// Who brings the certificate.
    pub source: CertificateSource,
    /// Where it is if somebody else brings it.
    pub certificate: CertificateFiles,
    /// How long a certificate of the operator's own counts.
    pub validity: Duration,
    /// The Service in front of the port.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// The service account whose changes of what the operator writes are let in.
    pub account: String,
}

/// Who brings the certificate of the webhooks.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum CertificateSource {
    /// Somebody else, once there are files which hold one that the operator has not issued; else the operator.
    #[default]
    Auto,
    /// The operator, whatever files there are.
    Operator,
    /// Somebody else: the operator waits for the files.
    Files,
}

/// A certificate and its key in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate and those that vouch for it, PEM.
    pub certificate: String,
    /// The key, PEM.
    pub key: String,
}

/// Something to say at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// A value is wrong; says what is used instead.
    Invalid(String),
    /// A name is old, or does nothing; says the new one, or why.
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
    /// Flags that do not go together.
    #[error("{0}")]
    Contradiction(String),
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
        let mut metrics_address = Some(every_address(8443));
        let mut health_address = Some(every_address(8081));
        let mut metrics_secure = true;
        let (mut folder, mut certificate, mut key) = (None, "tls.crt".to_owned(), "tls.key".to_owned());
        let mut client_authorities = None;
        let mut leader_elect = false;
        let (mut webhook_enable, mut webhook_port) = (true, 9443);
        let (mut webhook_folder, mut service) = (WEBHOOK_FOLDER.to_owned(), WEBHOOK_SERVICE.to_owned());
        let mut source = CertificateSource::default();
        let (mut service_namespace, mut account, mut validity) = (None, None, LEAF_VALIDITY);
        let mut election = ElectionConfig::default();
        let (mut kubeconfig, mut context) = (None, None);
        let mut log_level_file = None;
        let mut sync_period = SYNC_PERIOD;
        let mut otlp_metrics = false;
        let mut telemetry = TelemetryConfig::default();
        let (mut log_format, mut log_levels): (Option<LogFormat>, Option<LogLevels>) = (None, None);
        let mut original = OriginalFlags::default();
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
                "metrics-bind-address" => metrics_address = bind_address(&flag, &value(inline)?)?,
                "health-probe-bind-address" => health_address = bind_address(&flag, &value(inline)?)?,
                "metrics-secure" => metrics_secure = boolean(&flag, inline)?,
                "metrics-cert-path" => folder = Some(value(inline)?),
                "metrics-cert-name" => certificate = value(inline)?,
                "metrics-cert-key" => key = value(inline)?,
                "metrics-client-ca-file" => client_authorities = Some(value(inline)?),
                "otlp-metrics" => otlp_metrics = boolean(&flag, inline)?,
                "leader-elect" => leader_elect = boolean(&flag, inline)?,
                "leader-elect-lease-duration" => election.lease_duration = duration(&flag, &value(inline)?)?,
                "leader-elect-renew-deadline" => election.renew_deadline = duration(&flag, &value(inline)?)?,
                "leader-elect-retry-period" => election.retry_period = duration(&flag, &value(inline)?)?,
                "webhook-enable" => webhook_enable = boolean(&flag, inline)?,
                "webhook-port" => webhook_port = number(&flag, &value(inline)?)?,
                "webhook-cert-dir" => webhook_folder = value(inline)?,
                "webhook-cert-source" => {
                    let given = value(inline)?;
                    source = match given.as_str() {
                        "auto" => CertificateSource::Auto,
                        "self" => CertificateSource::Operator,
                        "files" => CertificateSource::Files,
                        _ => return Err(bad(&flag, &given, "auto, self or files")),
                    };
                }
                "webhook-cert-validity" => {
                    let given = value(inline)?;
                    validity = duration(&flag, &given)?;
                    if validity < WEBHOOK_VALIDITY_MIN {
                        return Err(bad(&flag, &given, "at least 10m"));
                    }
                }
                "webhook-service-name" => service = value(inline)?,
                "webhook-service-namespace" => service_namespace = Some(value(inline)?),
                "webhook-service-account" => account = Some(value(inline)?),
                "kubeconfig" => kubeconfig = Some(value(inline)?),
                "context" => context = Some(value(inline)?),
                "sync-period" => {
                    let given = value(inline)?;
                    sync_period = duration(&flag, &given)?;
                    if sync_period < SYNC_PERIOD_MIN {
                        return Err(bad(&flag, &given, "at least 1s"));
                    }
                }
                "log-level-file" => log_level_file = Some(value(inline)?),
                "log-format" => {
                    let value = value(inline)?;
                    log_format = match value.as_str() {
                        "json" => Some(LogFormat::Json),
                        "text" => Some(LogFormat::Text),
                        _ => return Err(bad(&flag, &value, "json or text")),
                    };
                }
                "log-level" => {
                    let value = value(inline)?;
                    log_levels = Some(value.parse().map_err(|()| {
                        bad(&flag, &value, "debug, info, warn or error, or a list such as info,webhooks=debug")
                    })?);
                }
                "zap-devel" => original.devel = Some(boolean(&flag, inline)?),
                "zap-encoder" => original.encoder = Some(OriginalFlags::encoder(&flag, &value(inline)?)?),
                "zap-log-level" => original.level = Some(OriginalFlags::level(&flag, &value(inline)?)?),
                "zap-stacktrace-level" | "zap-time-encoding" => {
                    value(inline)?;
                    original.unused = true;
                }
                "enable-http2" => original.http2 = boolean(&flag, inline)?,
                _ => return Err(ConfigError::UnknownFlag(flag)),
            }
        }
        if let Some(problem) = election.problem().filter(|_| leader_elect) {
            return Err(ConfigError::Contradiction(format!("leader election cannot work: {problem}")));
        }
        let certificate = folder.map(|folder| CertificateFiles {
            certificate: format!("{folder}/{certificate}"),
            key: format!("{folder}/{key}"),
        });
        if !metrics_secure && (certificate.is_some() || client_authorities.is_some()) {
            let why = "--metrics-secure=false leaves the metrics to everybody: it goes with neither --metrics-cert-path \
                       nor --metrics-client-ca-file";
            return Err(ConfigError::Contradiction(why.to_owned()));
        }
        let namespace = text(env, "POD_NAMESPACE").ok_or(ConfigError::MissingVariable("POD_NAMESPACE"))?;
        let service_account = text(env, "POD_SERVICE_ACCOUNT").map(str::to_owned);
        let webhooks = match account.or_else(|| service_account.clone()) {
            _ if !webhook_enable => None,
            None => return Err(ConfigError::MissingVariable("POD_SERVICE_ACCOUNT")),
            Some(account) => Some(WebhookConfig {
                port: webhook_port,
                source,
                certificate: CertificateFiles {
                    certificate: format!("{webhook_folder}/tls.crt"),
                    key: format!("{webhook_folder}/tls.key"),
                },
                validity,
                service,
                namespace: service_namespace.unwrap_or_else(|| namespace.to_owned()),
                account,
            }),
        };
        let mut complaints: Vec<Complaint> = original.complaints().collect();
        telemetry.log_format = log_format.or_else(|| original.log_format()).unwrap_or_default();
        telemetry.log_levels = log_levels.or_else(|| original.log_levels()).unwrap_or_default();
        telemetry.traces = traces(env, &mut complaints);
        telemetry.metrics = if otlp_metrics { metrics(env, &mut complaints) } else { None };
        Ok(Invocation::Run(Box::new(Self {
            metrics_address,
            metrics_security: metrics_secure.then_some(MetricsSecurity { certificate, client_authorities }),
            election: leader_elect.then_some(election),
            health_address,
            namespace: namespace.to_owned(),
            service_account,
            webhooks,
            kubeconfig,
            context,
            sync_period,
            log_level_file,
            telemetry,
            complaints,
        })))
    }
}

impl Config {
    /// Says in the resource of spans and metrics what was built, where that is known and nothing else is said of it. The binary does so, and
    /// whoever runs an operator inside of something else does not: what that sends stays the same from build to build.
    #[must_use]
    pub fn with_build(mut self, commit: &str, date: &str) -> Self {
        let traces = self.telemetry.traces.as_mut().map(|traces| &mut traces.resource);
        let metrics = self.telemetry.metrics.as_mut().map(|metrics| &mut metrics.resource);
        for resource in traces.into_iter().chain(metrics) {
            for (key, value) in [("build.date", date), ("vcs.ref.head.revision", commit)] {
                if value != UNKNOWN && resource.iter().all(|(known, _)| known != key) {
                    resource.push((key.to_owned(), value.to_owned()));
                }
            }
            resource.sort();
        }
        self
    }
}

#[cfg(test)]
mod tests;
