//! Flags of the operator in Go that are called otherwise here, or have nothing to do: manifests that set them go on working.

use super::{Complaint, ConfigError, bad};
use crate::observability::{levels::LogLevels, logging::LogFormat};

/// What was given of them.
#[derive(Debug, Default)]
pub(super) struct OriginalFlags {
    /// `--zap-devel`
    pub devel: Option<bool>,
    /// `--zap-encoder`
    pub encoder: Option<LogFormat>,
    /// `--zap-log-level`
    pub level: Option<LogLevels>,
    /// `--zap-stacktrace-level`, `--zap-time-encoding`
    pub unused: bool,
    /// `--enable-http2`
    pub http2: bool,
}

impl OriginalFlags {
    /// Reads `--zap-encoder`.
    pub(super) fn encoder(flag: &str, value: &str) -> Result<LogFormat, ConfigError> {
        match value {
            "json" => Ok(LogFormat::Json),
            "console" => Ok(LogFormat::Text),
            _ => Err(bad(flag, value, "json or console")),
        }
    }

    /// Reads `--zap-log-level`; a number above zero is a verbosity.
    pub(super) fn level(flag: &str, value: &str) -> Result<LogLevels, ConfigError> {
        let expected = "debug, info, error, panic or a number above 0";
        let name = match value.parse::<u32>() {
            Ok(1..) => "debug",
            Ok(0) => return Err(bad(flag, value, expected)),
            Err(_) => match value {
                "debug" | "info" | "error" => value,
                "panic" => "error",
                _ => return Err(bad(flag, value, expected)),
            },
        };
        name.parse().map_err(|()| bad(flag, value, expected))
    }

    /// What they say of the format of lines: the encoder, else what development chooses.
    pub(super) fn log_format(&self) -> Option<LogFormat> {
        self.encoder.or(self.devel.map(|devel| if devel { LogFormat::Text } else { LogFormat::Json }))
    }

    /// What they say of the level of lines.
    pub(super) fn log_levels(&self) -> Option<LogLevels> {
        let of_devel = || if self.devel? { "debug" } else { "info" }.parse().ok();
        self.level.clone().or_else(of_devel)
    }

    /// One line for those with another name, one for each thing that is not there.
    pub(super) fn complaints(&self) -> impl Iterator<Item = Complaint> {
        let renamed = self.devel.is_some() || self.encoder.is_some() || self.level.is_some();
        let lines = [
            (
                renamed,
                "--zap-devel, --zap-encoder and --zap-log-level are deprecated; use --log-format and --log-level",
            ),
            (
                self.unused,
                "--zap-stacktrace-level and --zap-time-encoding do nothing: lines have no stack traces, and times are \
                 RFC 3339",
            ),
            (self.http2, "--enable-http2 does nothing: webhooks and metrics are served over HTTP/1.1"),
        ];
        lines.into_iter().filter(|(given, _)| *given).map(|(_, line)| Complaint::Deprecated(line.to_owned()))
    }
}
