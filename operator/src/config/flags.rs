//! The command line: what `--help` says, and the values of flags.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use super::ConfigError;

/// What `--help` prints.
pub const USAGE: &str = "\
The Multigres operator: sharded PostgreSQL on Kubernetes.

Usage: multigres-operator [flags]

Flags are written --name=value or --name value; a flag that is yes or no may stand alone.

The API server
  --kubeconfig PATH                 where to find the API server outside of a cluster (default $KUBECONFIG, then the
                                    pod's service account, then ~/.kube/config)
  --context NAME                    a context of the kubeconfig (default its current one)

Several operators
  --leader-elect[=BOOL]             only the holder of the Lease multigres-operator.multigres.com works (default false)
  --leader-elect-lease-duration D   how long a lease that is not renewed protects its holder (default 15s)
  --leader-elect-renew-deadline D   how long the holder tries to renew before it ends (default 10s)
  --leader-elect-retry-period D     between two attempts (default 2s)

Reconciling
  --sync-period D                   how often every object is looked at though nothing has happened (default 10h)

Ports
  --health-probe-bind-address ADDR  where /healthz and /readyz are served, :port (every address) or
                                    address:port; 0 disables (default :8081)
  --metrics-bind-address ADDR       where /metrics is served, likewise (default :8443)
  --metrics-secure[=BOOL]           serve /metrics over TLS, and only to clients that may get it: by a bearer token
                                    (TokenReview and SubjectAccessReview) or by a client certificate (default true)
  --metrics-cert-path DIR           certificate of /metrics; read anew when it changes (default: one that the operator
                                    signs itself at its start)
  --metrics-cert-name NAME          file of the certificate in that folder (default tls.crt)
  --metrics-cert-key NAME           file of the key in that folder (default tls.key)
  --metrics-client-ca-file PATH     clients with a certificate of these authorities may read /metrics without a token;
                                    read anew when it changes
  --otlp-metrics[=BOOL]             also send metrics to the OTLP endpoint, every 30 s (OTEL_METRIC_EXPORT_INTERVAL)
                                    and under names of their own, so that nothing is counted twice (default false)

Webhooks
  --webhook-enable[=BOOL]           serve admission webhooks (default true)
  --webhook-port PORT               where (default 9443)
  --webhook-cert-source SOURCE      files: somebody else brings the certificate (cert-manager); self: the operator is
                                    its own authority; auto: it is, until there are files with a certificate that it
                                    has not issued (default auto)
  --webhook-cert-dir DIR            where the files tls.crt and tls.key are; read anew when they change
                                    (default /var/run/secrets/webhook)
  --webhook-cert-validity D         how long a certificate of its own counts; its authority ten times as long
                                    (default 8760h)
  --webhook-service-name NAME       the Service in front of the port (default multigres-operator-webhook-service)
  --webhook-service-namespace NAME  its namespace (default POD_NAMESPACE)
  --webhook-service-account NAME    who may change what the operator writes (default POD_SERVICE_ACCOUNT)

Logging
  --log-format FORMAT               json or text (default json)
  --log-level LEVELS                debug, info, warn or error; for parts of the operator others, such as
                                    info,webhooks=debug,controllers::cell=error (default debug)
  --log-level-file PATH             a file with LEVELS that count instead as long as it is there (a mounted ConfigMap);
                                    changes of it need no restart

Flags of the operator in Go
  --zap-devel[=BOOL], --zap-encoder json|console, --zap-log-level LEVEL
                                    deprecated: set --log-format and --log-level, where these are not given
  --zap-stacktrace-level, --zap-time-encoding, --enable-http2
                                    do nothing, and say so

  --version                         print version, commit and build date
  --help                            print this

Environment
  POD_NAMESPACE                     the operator's own namespace (required)
  POD_SERVICE_ACCOUNT               its service account
  OTEL_EXPORTER_OTLP_ENDPOINT       where traces go; without it nothing is traced. Followed as the OpenTelemetry
                                    specification says: OTEL_SDK_DISABLED, OTEL_EXPORTER_OTLP_* (of traces and of
                                    metrics, too), OTEL_TRACES_EXPORTER (otlp, console, none), OTEL_TRACES_SAMPLER,
                                    …_ARG, OTEL_BSP_*, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES; with --otlp-metrics
                                    also OTEL_METRICS_EXPORTER (otlp, none), OTEL_METRIC_EXPORT_INTERVAL, …_TIMEOUT.
                                    What is set and not available (delta temporality, other histograms, propagators)
                                    costs one line at the start. All are the default of the data plane's telemetry
";

pub(super) fn boolean(flag: &str, inline: Option<String>) -> Result<bool, ConfigError> {
    match inline.as_deref() {
        None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(bad(flag, value, "true or false")),
    }
}

/// A port at every address of the host.
pub(super) fn every_address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

/// `:port`, or an address of the host with a port; none where that is switched off.
pub(super) fn bind_address(flag: &str, value: &str) -> Result<Option<SocketAddr>, ConfigError> {
    if value == "0" {
        return Ok(None);
    }
    let bad = || bad(flag, value, ":port (every address of the host), address:port, or 0 to disable");
    let (host, port) = value.rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?;
    match host {
        "" | "0.0.0.0" | "[::]" => Ok(Some(every_address(port))),
        "localhost" => Ok(Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))),
        _ => value.parse().map(Some).map_err(|_| bad()),
    }
}

/// As Go writes durations: `15s`, `1m30s`, `500ms`.
pub(super) fn duration(flag: &str, value: &str) -> Result<Duration, ConfigError> {
    parse_duration(value).ok_or_else(|| bad(flag, value, "a duration such as 15s or 1m30s, up to 87600h"))
}

/// As [`duration`]; nothing where it is none.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    const MAX: Duration = Duration::from_secs(87_600 * 3600);
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = number.parse::<f64>().ok().filter(|number| number.is_finite())? * seconds;
        total = total.checked_add(Duration::try_from_secs_f64(part).ok()?)?;
        rest = next;
    }
    (!text.is_empty() && total <= MAX).then_some(total)
}

/// A port number.
pub(super) fn number(flag: &str, value: &str) -> Result<u16, ConfigError> {
    value.parse().ok().filter(|port| *port != 0).ok_or_else(|| bad(flag, value, "a port, 1 to 65535"))
}

pub(super) fn bad(flag: &str, value: &str, expected: &'static str) -> ConfigError {
    ConfigError::BadValue { flag: flag.to_owned(), value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in [("15s", 15_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("500ms", 500), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "15", "s", "-1s", "1d", "1s 2s", "87601h", "1e9s", ".s", "99999999999999999999h"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_help_is_narrow_enough_for_a_terminal() {
        assert!(USAGE.lines().all(|line| line.chars().count() <= 120));
    }
}
