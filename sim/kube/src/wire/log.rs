//! `pods/log`: what a container wrote, once or as it comes.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::Value;
use sim_clock::{Timestamp, now};
use sim_net::http::Body;

use super::{RequestContext, respond::typed};
use crate::{
    ContainerLogs, LogLine,
    engine::Target,
    json,
    server::ApiServer,
    status::{About, Cause, Status},
};

/// What a request wants of a log.
#[derive(Clone, Debug)]
struct Query {
    namespace: String,
    pod: String,
    container: String,
    previous: bool,
    timestamps: bool,
    since: Option<Timestamp>,
    tail: Option<usize>,
    bytes_left: Option<usize>,
}

/// The log of a container.
///
/// # Errors
/// 404 for the pod, 400 for its container, 422 for parameters.
pub(super) fn answer(server: &ApiServer, context: &RequestContext, target: &Target) -> Result<Response<Body>, Status> {
    let main = Target { subresource: String::new(), ..target.clone() };
    let pod = server.engine().get(&main)?;
    let query = query(context, target, &pod)?;
    if json::text(&pod, &["spec", "nodeName"]).is_empty() {
        // A pod that has no node has no log yet, and that is no error.
        return Ok(text(Bytes::new()));
    }
    let nothing = || missing(&pod, &query);
    let Some(logs) = server.logs() else { return Err(nothing()) };
    let log = logs.read(&query.namespace, &query.pod, &query.container, query.previous).ok_or_else(nothing)?;
    let next = log.lines.last().map_or(0, |l| l.number + 1);
    let lines: Vec<&LogLine> = log.lines.iter().filter(|l| query.since.is_none_or(|since| l.at >= since)).collect();
    let first = query.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
    let mut query = query;
    let head = print(lines[first..].iter().copied(), &mut query);
    if !context.params.on("follow") || query.previous || !log.running || query.bytes_left == Some(0) {
        return Ok(text(head));
    }
    let follower = Follower { wake: logs.watch(), logs, query, next, instance: log.instance, head: Some(head) };
    let stream = futures::stream::unfold(follower, |mut follower| async move {
        let piece = follower.next().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(piece)), follower))
    });
    let mut response = text(Bytes::new());
    *response.body_mut() = http_body_util::BodyExt::boxed(StreamBody::new(stream));
    Ok(response)
}

fn text(body: Bytes) -> Response<Body> {
    typed(StatusCode::OK, "text/plain", body, &[])
}

fn query(context: &RequestContext, target: &Target, pod: &Value) -> Result<Query, Status> {
    let params = &context.params;
    let mut causes = Vec::new();
    let mut number = |key: &'static str, least: i64, refusal: &str| -> Result<Option<i64>, Status> {
        let given = params.get(key);
        if given.is_empty() {
            return Ok(None);
        }
        let parsed: i64 = given
            .parse()
            .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {given:?}: invalid syntax")))?;
        if parsed < least {
            causes.push(Cause::new("FieldValueInvalid", key, format!("Invalid value: {parsed}: {refusal}")));
        }
        Ok(Some(parsed))
    };
    let tail = number("tailLines", 0, "must be greater than or equal to 0")?;
    let limit = number("limitBytes", 1, "must be greater than 0")?;
    let seconds = number("sinceSeconds", 1, "must be greater than 0")?;
    let since_time = params.get("sinceTime");
    if seconds.is_some() && !since_time.is_empty() {
        causes.push(Cause::new(
            "FieldValueForbidden",
            "",
            "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    }
    if !causes.is_empty() {
        return Err(Status::invalid(About { group: "", plural: "", kind: "PodLogOptions" }, &target.name, &causes));
    }
    let since = match (seconds, since_time) {
        (Some(seconds), _) => {
            let span = Duration::from_secs(seconds.unsigned_abs()).as_nanos();
            Some(Timestamp::from_nanos(i64::try_from(i128::from(now().as_nanos()) - span as i128).unwrap_or(0)))
        }
        (None, "") => None,
        (None, given) => {
            let at: jiff::Timestamp = given.parse().map_err(|_| {
                Status::bad_request(format!(
                    "parsing time {given:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {given:?} as \"2006\""
                ))
            })?;
            Some(Timestamp::from_nanos(i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)))
        }
    };
    Ok(Query {
        namespace: target.namespace.clone(),
        pod: target.name.clone(),
        container: container(params.get("container"), target, pod)?,
        previous: params.on("previous"),
        timestamps: params.on("timestamps"),
        since,
        tail: tail.map(|t| usize::try_from(t).unwrap_or(usize::MAX)),
        bytes_left: limit.map(|l| usize::try_from(l).unwrap_or(usize::MAX)),
    })
}

/// The container that is meant: the one named, or the only one.
fn container(asked: &str, target: &Target, pod: &Value) -> Result<String, Status> {
    let names =
        |key: &str| -> Vec<&str> { json::list(pod, &["spec", key]).iter().map(|c| json::text(c, &["name"])).collect() };
    let (main, init, debug) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if asked.is_empty() {
        return match main.as_slice() {
            [only] => Ok((*only).to_owned()),
            _ => {
                let mut text = format!(
                    "a container name must be specified for pod {}, choose one of: [{}]",
                    target.name,
                    main.join(" ")
                );
                if !init.is_empty() {
                    text.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
                }
                Err(Status::bad_request(text))
            }
        };
    }
    if [main, init, debug].concat().contains(&asked) {
        return Ok(asked.to_owned());
    }
    Err(Status::bad_request(format!("container {asked} is not valid for pod {}", target.name)))
}

/// Why there is no log: the kubelet's answer.
fn missing(pod: &Value, query: &Query) -> Status {
    let (name, container) = (&query.pod, &query.container);
    let status = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"]
        .iter()
        .flat_map(|key| json::list(pod, &["status", key]))
        .find(|s| json::text(s, &["name"]) == container);
    let waiting = status.map_or("", |s| json::text(s, &["state", "waiting", "reason"]));
    Status::bad_request(if query.previous {
        format!("previous terminated container {container:?} in pod {name:?} not found")
    } else {
        match waiting {
            "" if status.is_none() => format!("container {container:?} in pod {name:?} is not available"),
            "" => format!("container {container:?} in pod {name:?} is waiting to start - no logs yet"),
            "ErrImagePull" => {
                format!("container {container:?} in pod {name:?} is waiting to start: image can't be pulled")
            }
            "ImagePullBackOff" => {
                format!("container {container:?} in pod {name:?} is waiting to start: trying and failing to pull image")
            }
            reason => format!("container {container:?} in pod {name:?} is waiting to start: {reason}"),
        }
    })
}

/// The lines as text, cut where the client's limit ends.
fn print<'a>(lines: impl Iterator<Item = &'a LogLine>, query: &mut Query) -> Bytes {
    let mut out = Vec::new();
    for line in lines {
        if query.timestamps {
            let at = jiff::Timestamp::from_nanosecond(i128::from(line.at.as_nanos())).unwrap_or_default();
            out.extend_from_slice(format!("{at:.9} ").as_bytes());
        }
        out.extend_from_slice(line.text.as_bytes());
        out.push(b'\n');
        if query.bytes_left.is_some_and(|left| out.len() >= left) {
            break;
        }
    }
    if let Some(left) = &mut query.bytes_left {
        out.truncate(*left);
        *left -= out.len();
    }
    out.into()
}

/// Hands out lines as they are written, to the end of the container's instance.
struct Follower {
    logs: ContainerLogs,
    wake: sim_clock::watch::Receiver<u64>,
    query: Query,
    next: u64,
    instance: u64,
    head: Option<Bytes>,
}

impl Follower {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(head) = self.head.take().filter(|h| !h.is_empty()) {
            return Some(head);
        }
        loop {
            if self.query.bytes_left == Some(0) {
                return None;
            }
            self.wake.mark_unchanged();
            let q = &self.query;
            let log = self.logs.read_from(&q.namespace, &q.pod, &q.container, false, self.next)?;
            if log.instance != self.instance {
                return None;
            }
            if let Some(last) = log.lines.last() {
                self.next = last.number + 1;
                return Some(print(log.lines.iter(), &mut self.query));
            }
            if !log.running || self.wake.changed().await.is_err() {
                return None;
            }
        }
    }
}
