//! Watch streams.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt as _;
use http::Response;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::{Value, json};
use sim_clock::now;
use sim_net::http::{Body, full};

use super::{
    RequestContext, metrics,
    negotiate::{Form, JSON, Output, not_acceptable},
    read::selectors,
    respond::include,
};
use crate::{
    engine::{Change, ListQuery, Object, Target, event_line, versions},
    faults::{Feed, FeedEnd},
    metrics::Running,
    protobuf,
    selectors::FieldSelector,
    server::{ApiServer, WatchQuery},
    status::{About, Status},
    tables::{Include, Printer, Shown, partial},
};

/// How long before the end of a watch that asked for bookmarks the last one comes.
pub const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// How often a watch that asked for bookmarks gets one.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// Watches without `timeoutSeconds` end after this.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(1800);
/// No watch lasts longer, so that its end is an instant: a year.
const WATCH_TIMEOUT_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the object of an event becomes.
enum Shape {
    Whole,
    Partial,
    /// The columns come with the first event only.
    Table {
        printer: Printer,
        include: Include,
        head: bool,
    },
}

impl Shape {
    fn of(context: &RequestContext, target: &Target, output: Output) -> Result<Self, Status> {
        Ok(match output.form {
            Form::Whole => Shape::Whole,
            Form::Partial => Shape::Partial,
            Form::Table => {
                Shape::Table { printer: Printer::of(&target.resource), include: include(context)?, head: true }
            }
            Form::PartialList => {
                return Err(not_acceptable(
                    "you requested PartialObjectMetadataList, but the requested object is not a list (*WatchEvent)",
                ));
            }
        })
    }

    /// What an event shows of an object that is not stored.
    fn shown(&mut self, object: &Value, shown: Shown<'_>) -> Value {
        match self {
            Shape::Whole => object.clone(),
            Shape::Partial => partial(shown),
            Shape::Table { printer, include, head } => {
                let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                printer.table(std::iter::once(shown), metadata, std::mem::take(head), *include, now())
            }
        }
    }
}

/// How events are written.
struct Writer {
    shape: Shape,
    protobuf: bool,
}

impl Writer {
    /// One event about a value as it is.
    fn plain(&self, change: &str, value: &Value) -> Bytes {
        if !self.protobuf {
            return event_line(change, value.to_string().as_bytes());
        }
        // It was negotiated only for what has a message; a value that does not fit is told as what it is, a fault of the server.
        let frame = protobuf::frame(change, value).or_else(|error| {
            protobuf::frame("ERROR", &Status::new(500, "InternalError", error.to_string()).to_value())
        });
        frame.unwrap_or_default().into()
    }

    /// One event about a value that stands for an object.
    fn value(&mut self, change: &str, object: &Value) -> Bytes {
        let shown = self.shape.shown(object, object.into());
        self.plain(change, &shown)
    }

    /// One event about an object.
    fn object(&mut self, change: &str, object: &Object) -> Bytes {
        match (&self.shape, self.protobuf) {
            (Shape::Whole, false) => event_line(change, &object.json()),
            (Shape::Whole, true) => self.plain(change, &object.to_value()),
            _ => {
                let shown = self.shape.shown(object, object.into());
                self.plain(change, &shown)
            }
        }
    }
}

/// State of a watch stream.
struct Stream {
    feed: Feed,
    writer: Writer,
    target: Target,
    initial: VecDeque<Bytes>,
    bookmarks: bool,
    /// When the next bookmark comes: after the usual interval, and once more just before the end.
    next_bookmark: tokio::time::Instant,
    ends: tokio::time::Instant,
    done: bool,
    /// How many events of the kind were sent.
    sent: Arc<AtomicU64>,
    _running: Option<Running>,
}

impl Stream {
    /// The instant of the bookmark after one at `now`.
    fn bookmark_after(ends: tokio::time::Instant, now: tokio::time::Instant) -> tokio::time::Instant {
        let usual = now + BOOKMARK_INTERVAL;
        match ends.checked_sub(BOOKMARK_BEFORE_END) {
            Some(last) if now < last => usual.min(last),
            _ => usual,
        }
    }
}

/// Opens a watch.
///
/// # Errors
/// 400 and 422 for its parameters; what happens later is told in the stream.
pub(super) fn watch(
    server: &ApiServer,
    context: &RequestContext,
    target: &Target,
    output: Output,
) -> Result<Response<Body>, Status> {
    let (labels, mut fields) = selectors(context, target)?;
    let params = &context.params;
    let mut writer = Writer { shape: Shape::of(context, target, output)?, protobuf: output.protobuf };
    if !target.name.is_empty() {
        let text = format!("{},metadata.name={}", params.get("fieldSelector"), target.name);
        fields = FieldSelector::parse(&text, &target.resource.fields)?;
    }
    // A watch of one name is a watch of the collection with a selection.
    let target = &Target { name: String::new(), ..target.clone() };
    let version = params.get("resourceVersion");
    let streaming = params.on("sendInitialEvents");
    let bookmarks = params.on("allowWatchBookmarks");
    let causes = versions::watch_causes(
        params.get("resourceVersionMatch"),
        params.get("continue"),
        params.has("sendInitialEvents").then_some(streaming),
    );
    if !causes.is_empty() {
        return Err(Status::invalid(About { group: "meta.k8s.io", plural: "", kind: "ListOptions" }, "", &causes));
    }
    let after = versions::of_watch(version)?;
    let query =
        WatchQuery { namespace: target.namespace.clone(), labels, fields, after: if streaming { None } else { after } };
    let (mut initial, mut initial_end) = (VecDeque::new(), None);
    let watcher = {
        // Listing and subscribing see the same revision: the world is one thread and nothing awaits in between.
        if streaming || after.is_none() {
            let list = ListQuery { labels: query.labels.clone(), fields: query.fields.clone(), ..ListQuery::default() };
            let page = server.engine().list(target, &list)?;
            initial.extend(page.items.iter().map(|o| writer.object(Change::Added.as_str(), o)));
            if streaming && bookmarks {
                initial_end = Some(bookmark(&mut writer, target, page.revision, true));
            }
        }
        let mut watcher = server.watch(target.resource.clone(), query);
        if let Err(status) = watcher.check() {
            // A version that is no longer known is told inside the stream, as the real server does.
            initial.push_back(writer.plain("ERROR", &status.to_value()));
            let content_type = content_type(output);
            return Ok(streamed(content_type, futures::stream::iter(initial).map(|line| Ok(Frame::data(line)))));
        }
        watcher
    };
    let timeout = match params.get("timeoutSeconds") {
        "" => WATCH_TIMEOUT,
        text => match text.parse::<i64>() {
            Ok(seconds @ 1..) => Duration::from_secs(seconds.unsigned_abs()).min(WATCH_TIMEOUT_MAX),
            Ok(_) => WATCH_TIMEOUT,
            Err(_) => {
                return Err(Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")));
            }
        },
    };
    let feed = Feed::new(server.clone(), watcher, context.info.clone());
    if feed.bookmarks() {
        initial.extend(initial_end);
    }
    let started = tokio::time::Instant::now();
    let state = Stream {
        feed,
        writer,
        target: target.clone(),
        initial,
        bookmarks,
        next_bookmark: Stream::bookmark_after(started + timeout, started),
        ends: started + timeout,
        done: false,
        sent: server.metrics().events(&target.resource.group, &target.resource.kind, &target.resource.version),
        _running: metrics::stream(server, context),
    };
    Ok(streamed(
        content_type(output),
        futures::stream::unfold(state, |mut state| async move {
            let line = next_line(&mut state).await?;
            Some((line.map(Frame::data), state))
        }),
    ))
}

fn content_type(output: Output) -> &'static str {
    if output.protobuf { "application/vnd.kubernetes.protobuf;stream=watch" } else { JSON }
}

fn streamed<S>(content_type: &'static str, stream: S) -> Response<Body>
where
    S: futures::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + Sync + 'static,
{
    let body = http_body_util::BodyExt::boxed(StreamBody::new(stream));
    Response::builder()
        .header("content-type", content_type)
        .body(body)
        .unwrap_or_else(|_| Response::new(full(Bytes::new())))
}

/// Most lines that are sent as one piece.
const LINES_PER_FRAME_MAX: usize = 256;

async fn next_line(state: &mut Stream) -> Option<std::io::Result<Bytes>> {
    if state.done {
        return None;
    }
    if !state.initial.is_empty() {
        let count = state.initial.len().min(LINES_PER_FRAME_MAX);
        state.sent.fetch_add(count as u64, Ordering::Relaxed);
        return Some(Ok(state.initial.drain(..count).collect::<Vec<_>>().concat().into()));
    }
    let wake = if state.bookmarks { state.next_bookmark.min(state.ends) } else { state.ends };
    match tokio::time::timeout_at(wake, state.feed.next()).await {
        Ok(Ok(seen)) => {
            state.sent.fetch_add(1, Ordering::Relaxed);
            let object = crate::engine::view(&state.target.resource, seen.event.object.clone());
            let same = matches!(state.writer, Writer { shape: Shape::Whole, protobuf: false })
                && seen.change == seen.event.change
                && state.target.resource.api_version() == state.target.resource.storage_api_version;
            Some(Ok(if same { seen.event.line() } else { state.writer.object(seen.change.as_str(), &object) }))
        }
        Ok(Err(FeedEnd::Refused(status))) => {
            state.done = true;
            Some(Ok(state.writer.plain("ERROR", &status.to_value())))
        }
        Ok(Err(FeedEnd::Broken)) => {
            state.done = true;
            Some(Err(std::io::ErrorKind::ConnectionReset.into()))
        }
        Err(_) if tokio::time::Instant::now() >= state.ends => None,
        Err(_) => {
            state.next_bookmark = Stream::bookmark_after(state.ends, tokio::time::Instant::now());
            if !state.feed.bookmarks() {
                // Withheld by a fault: an empty piece keeps the loop going.
                return Some(Ok(Bytes::new()));
            }
            Some(Ok(bookmark(&mut state.writer, &state.target, state.feed.position(), false)))
        }
    }
}

fn bookmark(writer: &mut Writer, target: &Target, revision: u64, initial_end: bool) -> Bytes {
    let mut object = json!({"kind": target.resource.kind, "apiVersion": target.resource.api_version(), "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null}});
    if initial_end {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    writer.value("BOOKMARK", &object)
}
