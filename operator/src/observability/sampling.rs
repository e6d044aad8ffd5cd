//! Which traces are kept: the samplers of the OpenTelemetry specification by their environment names.

use opentelemetry_sdk::trace::Sampler;

/// A sampler by name, with its ratio.
#[derive(Copy, Clone, Debug, PartialEq)]
pub enum SamplerKind {
    /// Every trace.
    AlwaysOn,
    /// No trace.
    AlwaysOff,
    /// This share of the traces, by trace id.
    TraceIdRatio(f64),
}

/// What `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` say.
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct SamplerConfig {
    /// What decides for roots (and for all, when not `parent_based`).
    pub root: SamplerKind,
    /// Whether a parent's decision is kept.
    pub parent_based: bool,
}

impl Default for SamplerConfig {
    /// `parentbased_always_on`, the specification's default.
    fn default() -> Self {
        Self { root: SamplerKind::AlwaysOn, parent_based: true }
    }
}

impl SamplerConfig {
    /// The sampler for its environment name and argument; the errors say what is wrong with the name or the argument, and what is
    /// taken instead is [`Self::default`] for a name and 1.0 for a ratio.
    pub fn parse(name: &str, argument: Option<&str>) -> (Self, Vec<String>) {
        let mut complaints = Vec::new();
        // Known values count in any case.
        let lower = name.to_ascii_lowercase();
        let (plain, parent_based) = match lower.strip_prefix("parentbased_") {
            Some(plain) => (plain, true),
            None => (lower.as_str(), false),
        };
        let root = match plain {
            "always_on" => SamplerKind::AlwaysOn,
            "always_off" => SamplerKind::AlwaysOff,
            "traceidratio" => SamplerKind::TraceIdRatio(ratio(argument, &mut complaints)),
            _ => {
                complaints.push(format!(
                    "the sampler {name:?} is not known (always_on, always_off, traceidratio, each also with parentbased_ before it); \
                     parentbased_always_on is used"
                ));
                return (Self::default(), complaints);
            }
        };
        (Self { root, parent_based }, complaints)
    }

    /// The SDK's sampler.
    pub fn sampler(self) -> Sampler {
        let root = match self.root {
            SamplerKind::AlwaysOn => Sampler::AlwaysOn,
            SamplerKind::AlwaysOff => Sampler::AlwaysOff,
            SamplerKind::TraceIdRatio(ratio) => Sampler::TraceIdRatioBased(ratio),
        };
        if self.parent_based { Sampler::ParentBased(Box::new(root)) } else { root }
    }
}

fn ratio(argument: Option<&str>, complaints: &mut Vec<String>) -> f64 {
    let Some(text) = argument else { return 1.0 };
    match text.trim().parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
        _ => {
            complaints.push(format!("the sampling ratio {text:?} is not a number from 0 to 1; 1.0 is used"));
            1.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_specification_is_known() {
        for (name, argument, root, parent_based) in [
            ("always_on", None, SamplerKind::AlwaysOn, false),
            ("always_off", None, SamplerKind::AlwaysOff, false),
            ("traceidratio", Some("0.25"), SamplerKind::TraceIdRatio(0.25), false),
            ("parentbased_always_on", None, SamplerKind::AlwaysOn, true),
            ("parentbased_always_off", None, SamplerKind::AlwaysOff, true),
            ("parentbased_traceidratio", None, SamplerKind::TraceIdRatio(1.0), true),
            ("ParentBased_Always_OFF", None, SamplerKind::AlwaysOff, true),
        ] {
            assert_eq!(SamplerConfig::parse(name, argument), (SamplerConfig { root, parent_based }, vec![]), "{name}");
        }
    }

    #[test]
    fn a_bad_ratio_keeps_every_trace_and_says_so_once() {
        for bad in ["1.5", "-0.1", "half", "NaN", ""] {
            let (config, complaints) = SamplerConfig::parse("traceidratio", Some(bad));
            assert_eq!(config.root, SamplerKind::TraceIdRatio(1.0), "{bad}");
            assert_eq!(complaints.len(), 1, "{bad}");
        }
    }

    #[test]
    fn an_unknown_name_falls_back_to_the_default_and_says_so_once() {
        let (config, complaints) = SamplerConfig::parse("multigres_custom", None);
        assert_eq!(config, SamplerConfig::default());
        assert_eq!(complaints.len(), 1);
    }
}
