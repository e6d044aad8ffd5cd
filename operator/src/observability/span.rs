//! Opening spans, and recording what went wrong in them.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
};

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{SpanContext, Status, TraceContextExt},
};
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of spans that are exported.
pub(crate) const SPAN_TARGET: &str = "multigres_operator::span";
/// The target of spans that only carry the fields of log lines.
pub(crate) const SCOPE_TARGET: &str = "multigres_operator::scope";

/// The gRPC service of etcd's key-value calls, for [`etcd_call`].
pub const ETCD_KV_SERVICE: &str = "etcdserverpb.KV";

/// An error as telemetry wants it.
///
/// ```
/// use multigres_operator::observability::Failure;
/// #[derive(Debug, thiserror::Error)]
/// #[error("no node is available")]
/// struct Unavailable;
/// impl Failure for Unavailable {
///     fn error_type(&self) -> &'static str {
///         "Unavailable"
///     }
/// }
/// assert_eq!(Unavailable.message(), "no node is available");
/// ```
pub trait Failure: fmt::Display + Send + 'static {
    /// A short stable name of low cardinality (the variant of an error enum): `exception.type`.
    fn error_type(&self) -> &'static str;

    /// What it concerns, as the label `app.kubernetes.io/component` calls it: `error.component`. Nothing where it is no part.
    fn component(&self) -> Option<&str> {
        None
    }

    /// The whole message: `exception.message`, `error.message`, the status description and the log line's `error`.
    fn message(&self) -> String {
        self.to_string()
    }
}

impl Failure for kube::Error {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Api(_) => "kube::Error::Api",
            Self::HyperError(_) | Self::Service(_) => "kube::Error::Transport",
            Self::SerdeError(_) => "kube::Error::Serde",
            _ => "kube::Error",
        }
    }
}

/// Where a root span hangs.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TraceOrigin {
    /// A trace of its own.
    #[default]
    Root,
    /// A child of the span that caused the work (the user's change).
    Child(SpanContext),
    /// A trace of its own with a link to the span that once caused the work.
    Link(SpanContext),
}

/// Runs `future` in a span called `name` under the current span.
///
/// `Ok` sets the status Ok, unless [`record_failure`] was called in it. An error is recorded as [`record_failure`] does, one log line at level error is written inside the span
/// (`<name> failed`), and the error is handed on.
pub async fn step<T, E: Failure>(name: &'static str, future: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let span = tracing::info_span!(target: SPAN_TARGET, "step", otel.name = name);
    // Steps stand in each other, and each layer around a future copies it.
    let future = Box::pin(future);
    let body = async move {
        let result = future.await;
        match &result {
            Ok(_) => succeeded(),
            Err(error) => {
                record_failure(error);
                tracing::error!(error = %error.message(), "{name} failed");
            }
        }
        result
    };
    in_span(span, body).await
}

/// Runs what begins something of its own (the answer to a webhook) in a span called `name` at `origin`. The result that the future gives beside its
/// value goes on the span; whoever gives it writes the line.
pub(crate) async fn begin<T, E: Failure>(
    name: &'static str,
    origin: TraceOrigin,
    future: impl Future<Output = (T, Result<(), E>)>,
) -> T {
    let span = tracing::info_span!(target: SPAN_TARGET, parent: None, "begin", otel.name = name);
    at(&span, origin);
    let body = async move {
        let (value, result) = Box::pin(future).await;
        match &result {
            Ok(()) => succeeded(),
            Err(error) => record_failure(error),
        }
        value
    };
    in_span(span, body).await
}

/// Runs `future` in a span: lines, calls and what is set belong to it.
pub(crate) async fn in_span<F: Future>(span: Span, future: F) -> F::Output {
    let frame = Frame::of(&span);
    FRAME.scope(frame, future.instrument(span)).await
}

/// Runs a function in a span that was opened before.
pub(crate) fn in_open_span<T>(span: &Span, function: impl FnOnce() -> T) -> T {
    FRAME.sync_scope(Frame::of(span), || span.in_scope(function))
}

/// Puts a span that has no parent where it belongs.
fn at(span: &Span, origin: TraceOrigin) {
    match origin {
        TraceOrigin::Root => {}
        TraceOrigin::Child(parent) => {
            // Fails only where nothing is traced.
            let _ = span.set_parent(Context::new().with_remote_span_context(parent));
        }
        TraceOrigin::Link(linked) => span.add_link(linked),
    }
}

/// Sets an attribute on the current span; the last value counts.
pub fn set_attribute(key: &'static str, value: impl Into<Value>) {
    with_current(|frame| frame.set(key, value));
}

/// The attribute as it was set on the current span.
pub fn attribute(key: &str) -> Option<Value> {
    FRAME.try_with(|frame| frame.attributes.borrow().get(key).cloned()).ok()?
}

/// Records an error on the current span: an `exception` event, status Error with the message, `error.message`, and `error.component`
/// where it concerns one.
pub fn record_failure(error: &impl Failure) {
    with_current(|frame| frame.failed.set(true));
    record_error(error.error_type(), &error.message());
    if let Some(component) = error.component() {
        set_attribute("error.component", component.to_owned());
    }
}

/// The innermost span of a task. The task keeps it at hand: to look the current span up, and to make its context the current one at
/// each turn of a future, was a third of what tracing cost.
struct Frame {
    span: Span,
    /// Who it is; nobody where nothing is traced.
    context: SpanContext,
    /// Whether an error was recorded on it.
    failed: Cell<bool>,
    /// What was set on it; it goes to the span when the frame ends. The SDK appends: of two values for one key both would be sent, which OTLP
    /// forbids.
    attributes: RefCell<BTreeMap<&'static str, Value>>,
}

impl Frame {
    /// The span begins with it: what it hangs on has to be known.
    fn of(span: &Span) -> Self {
        let context = if span.is_disabled() { SpanContext::NONE } else { span.context().span().span_context().clone() };
        Self { span: span.clone(), context, failed: Cell::new(false), attributes: RefCell::default() }
    }

    fn set(&self, key: &'static str, value: impl Into<Value>) {
        self.attributes.borrow_mut().insert(key, value.into());
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        for (key, value) in std::mem::take(self.attributes.get_mut()) {
            self.span.set_attribute(key, value);
        }
    }
}

tokio::task_local! {
    static FRAME: Frame;
}

/// Sets the span's status Ok, unless an error was recorded on it that its code chose to live with: in OpenTelemetry, Ok wins over Error.
pub(crate) fn succeeded() {
    if !FRAME.try_with(|frame| frame.failed.get()).unwrap_or(false) {
        record_success();
    }
}

pub(crate) fn record_error(error_type: &str, message: &str) {
    with_current(|frame| {
        frame.span.add_event(
            "exception",
            vec![
                KeyValue::new("exception.type", error_type.to_owned()),
                KeyValue::new("exception.message", message.to_owned()),
            ],
        );
        frame.set("error.type", error_type.to_owned());
        frame.set("error.message", message.to_owned());
        frame.span.set_status(Status::error(message.to_owned()));
    });
}

pub(crate) fn record_success() {
    with_current(|frame| frame.span.set_status(Status::Ok));
}

/// Does nothing where there is no span, or where it is disabled: nothing is traced then.
fn with_current(f: impl FnOnce(&Frame)) {
    let _ = FRAME.try_with(|frame| {
        if !frame.span.is_disabled() {
            f(frame);
        }
    });
}

/// The identity of the current span, if there is one that is traced.
pub fn current_span_context() -> Option<SpanContext> {
    FRAME.try_with(|frame| frame.context.is_valid().then(|| frame.context.clone())).ok()?
}

/// The fields that every log line of one reconcile carries.
#[derive(Clone, Debug)]
pub(crate) struct ReconcileScope<'a> {
    pub controller: &'a str,
    pub kind: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub reconcile_id: &'a str,
}

/// Runs a whole reconcile: in the log scope, and in the root span `root` at `origin`.
pub(crate) async fn reconcile_root<T>(
    scope: ReconcileScope<'_>,
    root: &'static str,
    origin: TraceOrigin,
    future: impl Future<Output = T>,
) -> T {
    let scope_span = tracing::info_span!(
        target: SCOPE_TARGET, parent: None, "reconcile",
        controller = scope.controller,
        object.kind = scope.kind,
        object.namespace = scope.namespace,
        object.name = scope.name,
        reconcileID = scope.reconcile_id,
    );
    let span = tracing::info_span!(
        target: SPAN_TARGET, parent: &scope_span, "reconcile",
        otel.name = root,
        k8s.resource.kind = scope.kind,
        k8s.resource.name = scope.name,
        k8s.namespace = scope.namespace,
    );
    at(&span, origin);
    // Both are entered: where nothing is traced there is no root span, and the scope is what lines find.
    in_span(span, future).instrument(scope_span).await
}

/// Runs one etcd call in a client span named after the RPC (`etcdserverpb.KV/Put`), with the attributes of the RPC and database
/// semantic conventions. Its status and `rpc.grpc.status_code` come from the result, which is handed on.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use multigres_operator::observability::etcd_call;
/// let put = async { Err::<(), _>(tonic::Status::unavailable("no leader")) };
/// let result = etcd_call("Put", "minimal-global-topo.default.svc:2379", put).await;
/// assert_eq!(result.unwrap_err().code(), tonic::Code::Unavailable);
/// # });
/// ```
pub async fn etcd_call<T>(
    method: &'static str,
    server: &str,
    future: impl Future<Output = Result<T, tonic::Status>>,
) -> Result<T, tonic::Status> {
    let (address, port) = split_authority(server);
    let span = tracing::info_span!(
        target: SPAN_TARGET, "etcd",
        otel.name = format!("{ETCD_KV_SERVICE}/{method}"),
        otel.kind = "client",
        rpc.system = "grpc",
        rpc.service = ETCD_KV_SERVICE,
        rpc.method = method,
        db.system.name = "etcd",
        server.address = address,
    );
    if let Some(port) = port {
        span.set_attribute("server.port", i64::from(port));
    }
    let body = async move {
        let result = future.await;
        let code = result.as_ref().map_or_else(|status| status.code() as i32, |_| 0);
        set_attribute("rpc.grpc.status_code", i64::from(code));
        match &result {
            Ok(_) => record_success(),
            Err(status) => {
                let message = format!("{:?}: {}", status.code(), status.message());
                record_error("tonic::Status", &message);
                tracing::warn!(error = %message, "etcd call failed");
            }
        }
        result
    };
    in_span(span, body).await
}

pub(crate) fn split_authority(server: &str) -> (&str, Option<u16>) {
    let server = server.split_once("://").map_or(server, |(_, rest)| rest);
    let server = server.split('/').next().unwrap_or_default();
    match server.rsplit_once(':') {
        Some((host, port)) => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (server, None),
        },
        None => (server, None),
    }
}
