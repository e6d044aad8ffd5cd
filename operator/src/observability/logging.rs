//! Log lines: one JSON object a line, with keys in a fixed order, or a line for human eyes.
//!
//! ```json
//! {"level":"debug","ts":"2026-02-11T17:50:50.000000Z","msg":"reconcile complete","controller":"toposerver","TopoServer":{"name":"minimal-global-topo","namespace":"default"},"reconcileID":"4a0f…","trace_id":"e15e…","span_id":"a4c3…","duration":"17.788233ms"}
//! ```
//!
//! Controller, object and reconcile id come from the log scope that the runner opens around a reconcile, trace and span id from the span
//! that is current where the line is written, the rest from the line itself. Only lines of the operator itself are written: what its
//! libraries say at debug level is theirs.

use std::fmt;

use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, Filter},
    registry::LookupSpan,
};

use super::{
    levels::LiveLevels,
    span::{SCOPE_TARGET, current_span_context},
};
use crate::host::LogWriter;

/// How a line looks.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// Time, level, message and the rest as JSON, separated by tabs.
    Text,
}

/// Lets through what concerns the log: scope spans, and the operator's own events from the level on.
pub(crate) struct LogFilter(pub LiveLevels);

impl<S> Filter<S> for LogFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        if metadata.is_span() {
            metadata.target() == SCOPE_TARGET
        } else {
            self.0.want(*metadata.level(), metadata.target())
        }
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.target() {
            SCOPE_TARGET if metadata.is_span() => Interest::always(),
            // Levels change: each line is asked about anew.
            target if !metadata.is_span() && target.starts_with("multigres_operator") => Interest::sometimes(),
            _ => Interest::never(),
        }
    }
}

/// Writes lines.
pub(crate) struct LogLayer {
    pub format: LogFormat,
    pub writer: LogWriter,
}

/// What a scope span adds to its lines, in order.
struct ScopeFields(Vec<(String, Value)>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for LogLayer {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let mut take = |name: &str| fields.0.remove(name).unwrap_or_default();
        let (kind, name, namespace) = (take("object.kind"), take("object.name"), take("object.namespace"));
        let scope = vec![
            ("controller".to_owned(), take("controller")),
            (kind.as_str().unwrap_or("object").to_owned(), json!({ "name": name, "namespace": namespace })),
            ("reconcileID".to_owned(), take("reconcileID")),
        ];
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(ScopeFields(scope));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let message = match fields.0.shift_remove("message") {
            Some(Value::String(message)) => message,
            _ => String::new(),
        };
        let mut rest: Vec<(String, Value)> = Vec::new();
        if let Some(scope) = context.event_span(event)
            && let Some(inherited) = scope.extensions().get::<ScopeFields>()
        {
            rest.extend(inherited.0.iter().cloned());
        }
        if let Some(current) = current_span_context() {
            rest.push(("trace_id".to_owned(), current.trace_id().to_string().into()));
            rest.push(("span_id".to_owned(), current.span_id().to_string().into()));
        }
        rest.extend(fields.0);
        let now = jiff::Timestamp::now();
        (self.writer)(&line(self.format, *event.metadata().level(), now, &message, rest));
    }
}

pub(super) fn line(
    format: LogFormat,
    level: Level,
    now: jiff::Timestamp,
    message: &str,
    rest: Vec<(String, Value)>,
) -> String {
    let level = match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    };
    let ts = format!("{now:.6}");
    match format {
        LogFormat::Json => {
            let mut object = Map::new();
            object.insert("level".into(), level.into());
            object.insert("ts".into(), ts.into());
            object.insert("msg".into(), message.into());
            for (key, value) in rest {
                object.entry(key).or_insert(value);
            }
            Value::Object(object).to_string()
        }
        LogFormat::Text => {
            let object: Map<String, Value> = rest.into_iter().collect();
            let message = message.replace('\n', "\\n");
            let level = level.to_uppercase();
            if object.is_empty() {
                format!("{ts}\t{level}\t{message}")
            } else {
                format!("{ts}\t{level}\t{message}\t{}", Value::Object(object))
            }
        }
    }
}

/// The fields of a span or an event, in their order.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.insert(field.name().to_owned(), value.to_string().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_their_order_and_none_twice() {
        let at: jiff::Timestamp = "2026-02-11T17:50:50.25Z".parse().unwrap();
        let rest = vec![
            ("controller".to_owned(), "cell".into()),
            ("Cell".to_owned(), json!({"name": "a", "namespace": "b"})),
            ("trace_id".to_owned(), "07a3".into()),
            ("level".to_owned(), "forged".into()),
            ("error".to_owned(), "line\nbreak \"quoted\"".into()),
        ];
        assert_eq!(
            line(LogFormat::Json, Level::ERROR, at, "reconcile failed", rest.clone()),
            r#"{"level":"error","ts":"2026-02-11T17:50:50.250000Z","msg":"reconcile failed","controller":"cell","Cell":{"name":"a","namespace":"b"},"trace_id":"07a3","error":"line\nbreak \"quoted\""}"#
        );
        let text = line(LogFormat::Text, Level::INFO, at, "two\nlines", rest);
        assert!(text.starts_with("2026-02-11T17:50:50.250000Z\tINFO\ttwo\\nlines\t{\"controller\":\"cell\""), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}
