//! Prometheus' functions and values.

use super::{Context, QuerySample};
use sim_template::{Extra, Host, Outcome, Shape, Signature, Time, Type, escape, print, words};
use sim_wire::Labels;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

type Value<'a> = sim_template::Value<Special<'a>>;

/// `$`
const ALERT: &str =
    "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }";
const RESULT: Type = Type { name: "template.queryResult", nil: true };
const SAMPLE: Type = Type { name: "*template.sample", nil: true };
/// How Go tells that there is nothing where a pointer points.
const NIL_POINTER: &str = "runtime error: invalid memory address or nil pointer dereference";

/// What Prometheus adds to Go's values.
#[derive(Clone)]
pub(super) enum Special<'a> {
    /// What a template starts with.
    Alert(&'a Context<'a>),
    Labels(Labels),
    External(&'a BTreeMap<String, String>),
    Sample(Arc<QuerySample>),
    Result(Arc<Vec<Arc<QuerySample>>>),
}

impl fmt::Debug for Special<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.print(f)
    }
}

impl<'a> Extra for Special<'a> {
    fn type_name(&self) -> &'static str {
        match self {
            Self::Alert(_) => ALERT,
            Self::Labels(_) | Self::External(_) => "map[string]string",
            Self::Sample(_) => SAMPLE.name,
            Self::Result(_) => RESULT.name,
        }
    }

    fn shape(&self) -> Shape {
        match self {
            Self::Alert(_) | Self::Sample(_) => Shape::Struct,
            Self::Labels(_) | Self::External(_) => Shape::Map,
            Self::Result(_) => Shape::List,
        }
    }

    fn field(&self, name: &str) -> Option<Value<'a>> {
        Some(match (self, name) {
            (Self::Alert(alert), "Labels") => Value::Extra(Self::Labels(alert.labels.clone())),
            (Self::Alert(alert), "ExternalLabels") => Value::Extra(Self::External(&alert.external.labels)),
            (Self::Alert(alert), "ExternalURL") => Value::Text(alert.external.url.clone()),
            (Self::Alert(alert), "Value") => Value::Float(alert.value),
            (Self::Sample(sample), "Labels") => Value::Extra(Self::Labels(sample.labels.clone())),
            (Self::Sample(sample), "Value") => Value::Float(sample.value),
            // A map of texts answers a missing key with the empty text.
            (Self::Labels(labels), _) => Value::from(labels.value(name)),
            (Self::External(labels), _) => Value::Text(labels.get(name).cloned().unwrap_or_default()),
            _ => return None,
        })
    }

    fn len(&self) -> usize {
        match self {
            Self::Alert(_) | Self::Sample(_) => 0,
            Self::Labels(labels) => labels.len(),
            Self::External(labels) => labels.len(),
            Self::Result(samples) => samples.len(),
        }
    }

    fn items(&self) -> Vec<(Value<'a>, Value<'a>)> {
        match self {
            Self::Alert(_) | Self::Sample(_) => Vec::new(),
            Self::Labels(labels) => labels.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            Self::External(labels) => {
                labels.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
            }
            Self::Result(samples) => {
                let samples = samples.iter().cloned().map(|sample| Value::Extra(Self::Sample(sample)));
                samples.zip(0..).map(|(sample, at)| (Value::Int(at), sample)).collect()
            }
        }
    }

    fn slice(&self, from: usize, to: usize) -> Option<Self> {
        match self {
            Self::Result(samples) => Some(Self::Result(Arc::new(samples.get(from..to)?.to_vec()))),
            _ => None,
        }
    }

    fn print(&self, out: &mut dyn Write) -> fmt::Result {
        let text = |out: &mut dyn Write, text: &str| out.write_str(text);
        match self {
            Self::Alert(alert) => {
                out.write_str("{")?;
                print::map(out, alert.labels.iter(), text)?;
                out.write_str(" ")?;
                print::map(out, alert.external.labels.iter(), |out, value| out.write_str(value))?;
                write!(out, " {} {}}}", alert.external.url, print::float(alert.value))
            }
            Self::Labels(labels) => print::map(out, labels.iter(), text),
            Self::External(labels) => print::map(out, labels.iter(), |out, value| out.write_str(value)),
            Self::Sample(sample) => {
                out.write_str("{")?;
                print::map(out, sample.labels.iter(), text)?;
                write!(out, " {}}}", print::float(sample.value))
            }
            // The real program prints where its samples lie in memory.
            Self::Result(samples) => {
                print::list(out, samples.iter(), |out, sample| Self::Sample(sample.clone()).print(out))
            }
        }
    }
}

/// Prometheus' functions; without a context they are only known by name.
#[derive(Clone, Copy)]
pub(super) struct Functions<'a>(pub Option<&'a Context<'a>>);

impl<'a> Host for Functions<'a> {
    type Extra = Special<'a>;

    fn signature(&self, name: &str) -> Option<Signature> {
        const TEXT: Type = Type::TEXT;
        Some(match name {
            "query" | "safeHtml" | "title" | "toUpper" | "toLower" | "graphLink" | "tableLink" | "stripPort"
            | "stripDomain" | "parseDuration" => Signature::of(&[TEXT]),
            "first" => Signature::of(&[RESULT]),
            "label" => Signature::of(&[TEXT, SAMPLE]),
            "value" | "strvalue" => Signature::of(&[SAMPLE]),
            "sortByLabel" => Signature::of(&[TEXT, RESULT]),
            "args" => Signature::variadic(&[], Type::ANY),
            "reReplaceAll" => Signature::of(&[TEXT, TEXT, TEXT]),
            "match" => Signature::of(&[TEXT, TEXT]),
            "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage" | "humanizeTimestamp"
            | "toTime" => Signature::of(&[Type::ANY]),
            "externalURL" | "pathPrefix" => Signature::of(&[]),
            _ => return None,
        })
    }

    fn call(&self, name: &str, args: &[Value<'a>]) -> Outcome<Special<'a>> {
        let Some(context) = self.0 else { return Err("no alert to speak of".to_owned()) };
        let number = || words::number(args.first().unwrap_or(&Value::Nil));
        Ok(match (name, args) {
            ("query", [Value::Text(query)]) => {
                let found = (context.query)(query)?.into_iter().map(Arc::new).collect();
                Value::Extra(Special::Result(Arc::new(found)))
            }
            ("first", [result]) => {
                let first = samples(result).first().ok_or("first() called on vector with no elements")?;
                Value::Extra(Special::Sample(first.clone()))
            }
            ("label", [Value::Text(label), of]) => Value::from(sample(of)?.labels.value(label)),
            ("value", [of]) => Value::Float(sample(of)?.value),
            ("strvalue", [of]) => Value::from(sample(of)?.labels.value("__value__")),
            ("sortByLabel", [Value::Text(label), result]) => {
                let mut sorted = samples(result).to_vec();
                sorted.sort_by(|a, b| a.labels.value(label).cmp(b.labels.value(label)));
                Value::Extra(Special::Result(Arc::new(sorted)))
            }
            ("args", _) => {
                Value::map(args.iter().enumerate().map(|(place, arg)| (format!("arg{place}"), arg.clone())).collect())?
            }
            ("reReplaceAll", [Value::Text(pattern), Value::Text(replacement), Value::Text(text)]) => {
                let regex =
                    words::regex(pattern).map_err(|error| format!("regexp: Compile({}): {error}", raw(pattern)))?;
                Value::Text(words::replace_all(&regex, text, replacement)?)
            }
            ("match", [Value::Text(pattern), Value::Text(text)]) => Value::Bool(words::regex(pattern)?.is_match(text)),
            ("safeHtml", [Value::Text(text)]) => Value::Safe(text.clone()),
            ("title", [Value::Text(text)]) => Value::Text(words::title(text, false)),
            ("toUpper", [Value::Text(text)]) => Value::Text(text.to_uppercase()),
            ("toLower", [Value::Text(text)]) => Value::Text(text.to_lowercase()),
            ("tableLink", [Value::Text(query)]) => {
                Value::Text(format!("/graph?g0.expr={}&g0.tab=1", escape::query(query)))
            }
            ("graphLink", [Value::Text(query)]) => {
                Value::Text(format!("/graph?g0.expr={}&g0.tab=0", escape::query(query)))
            }
            ("stripPort", [Value::Text(address)]) => {
                Value::from(split_port(address).map_or(address.as_str(), |(host, _)| host))
            }
            ("stripDomain", [Value::Text(address)]) => Value::Text(strip_domain(address)),
            ("parseDuration", [Value::Text(text)]) => {
                Value::Float(sim_wire::duration::parse(text).map_err(|error| error.to_string())?.as_secs_f64())
            }
            ("humanize", _) => Value::Text(humanize(number()?)),
            ("humanize1024", _) => Value::Text(humanize_1024(number()?)),
            ("humanizeDuration", _) => Value::Text(words::humanize_duration(number()?)),
            ("humanizePercentage", _) => Value::Text(format!("{}%", print::significant(number()? * 100.0, 4))),
            ("humanizeTimestamp", _) => match number()? {
                seconds if seconds.is_finite() => Value::Text(Value::Time(time(seconds)?).text()?),
                other => Value::Text(print::significant(other, 4)),
            },
            ("toTime", _) => match number()? {
                seconds if seconds.is_finite() => Value::Time(time(seconds)?),
                _ => return Err("value is NaN or Inf".to_owned()),
            },
            ("externalURL", _) => Value::from(context.external.url.as_str()),
            ("pathPrefix", _) => Value::from(path_of(&context.external.url)),
            _ => return Err(format!("{name} cannot take these arguments")),
        })
    }
}

/// The samples of a result; none where there is no result.
fn samples<'v>(value: &'v Value<'_>) -> &'v [Arc<QuerySample>] {
    match value {
        Value::Extra(Special::Result(samples)) => samples,
        _ => &[],
    }
}

fn sample<'v>(value: &'v Value<'_>) -> Result<&'v QuerySample, String> {
    match value {
        Value::Extra(Special::Sample(sample)) => Ok(sample),
        _ => Err(NIL_POINTER.to_owned()),
    }
}

/// In back quotes, where that can be.
fn raw(text: &str) -> String {
    if text.contains('`') { print::quote(text) } else { format!("`{text}`") }
}

/// The path of a URL, without the slash at its end.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("", |(_, rest)| rest);
    rest.find('/').map_or("", |at| rest[at..].trim_end_matches('/'))
}

/// Host and port, where there are both.
fn split_port(address: &str) -> Option<(&str, &str)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(inside) => {
            let (host, after) = inside.split_once(']')?;
            (host, after.strip_prefix(':')?)
        }
        None => address.split_once(':').filter(|(_, port)| !port.contains(':'))?,
    };
    let strange = ['[', ']'];
    (!host.contains(strange) && !port.contains(strange) && !port.contains(':')).then_some((host, port))
}

fn strip_domain(address: &str) -> String {
    let (host, port) = split_port(address).unwrap_or((address, ""));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return address.to_owned();
    }
    let host = host.split('.').next().unwrap_or(host);
    match port {
        "" => host.to_owned(),
        port if host.contains(':') => format!("[{host}]:{port}"),
        port => format!("{host}:{port}"),
    }
}

/// A value from 1 with the prefix of a power.
fn large(mut value: f64, prefixes: [&str; 8], factor: f64) -> String {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < factor {
            break;
        }
        prefix = next;
        value /= factor;
    }
    format!("{}{prefix}", print::significant(value, 4))
}

fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return print::significant(value, 4);
    }
    if value.abs() < 1.0 {
        return words::small(value);
    }
    large(value, ["k", "M", "G", "T", "P", "E", "Z", "Y"], 1000.0)
}

fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return print::significant(value, 4);
    }
    large(value, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"], 1024.0)
}

/// An instant of so many seconds, in whole milliseconds.
fn time(seconds: f64) -> Result<Time, String> {
    let nanos = seconds * 1e9;
    if nanos.abs() > i64::MAX as f64 {
        let shown = print::float(seconds);
        return Err(format!("{shown} cannot be represented as a nanoseconds timestamp since it overflows int64"));
    }
    let millis = nanos as i64 / 1_000_000;
    Ok(Time { pointer: true, ..Time::utc(Some(sim_clock::Timestamp::from_nanos(millis * 1_000_000))) })
}
