//! HTTP around the engine: paths, query parameters, content types, watch streams.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::{Value, json};
use sim_clock::now;
use sim_net::http::{Body, full};

use crate::{
    discovery,
    engine::{
        Change, DeleteQuery, FieldValidation, ListQuery, Object, PatchKind, Propagation, Target, WriteOptions, Written,
        event_line,
    },
    json,
    selectors::{FieldSelector, LabelSelector},
    server::{ApiServer, RequestInfo, Verdict, WatchQuery, Watcher},
    status::Status,
};

/// How often a watch that asked for bookmarks gets one.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// Watches without `timeoutSeconds` end after this.
pub const WATCH_TIMEOUT: Duration = Duration::from_secs(1800);

/// The one media type that is spoken.
const JSON: &str = "application/json";

/// Query parameters, decoded.
struct Params(BTreeMap<String, String>);

impl Params {
    fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|p| !p.is_empty());
        Self(pairs.map(|p| p.split_once('=').unwrap_or((p, ""))).map(|(k, v)| (decode(k), decode(v))).collect())
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn on(&self, key: &str) -> bool {
        matches!(self.get(key), "true" | "1")
    }
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => match text.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) => {
                    out.push(byte);
                    at += 2;
                }
                None => out.push(b'%'),
            },
            other => out.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a path leads to.
enum Route {
    Static(Value),
    Text(&'static str),
    Resource(Target),
}

/// Answers one request.
pub async fn handle(server: ApiServer, request: Request<Bytes>) -> Response<Body> {
    match answer(&server, request).await {
        Ok(response) => response,
        Err(status) => refuse(&status),
    }
}

fn refuse(status: &Status) -> Response<Body> {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply(code, Bytes::from(status.to_value().to_string()), &[])
}

fn reply(code: StatusCode, body: Bytes, warnings: &[String]) -> Response<Body> {
    let mut builder =
        Response::builder().status(code).header("content-type", JSON).header("cache-control", "no-cache, private");
    for warning in warnings {
        builder =
            builder.header("warning", format!("299 - \"{}\"", warning.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    builder.body(full(body)).unwrap_or_else(|_| Response::new(full(Bytes::new())))
}

fn route(server: &ApiServer, path: &str) -> Result<Route, Status> {
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let engine = server.engine();
    let registry = engine.registry();
    let (group, version, rest) = match parts.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => return Ok(Route::Text("ok")),
        ["version"] => return Ok(Route::Static(discovery::version())),
        ["api"] => return Ok(Route::Static(discovery::core_versions())),
        ["apis"] => return Ok(Route::Static(discovery::groups(registry))),
        ["apis", group] => {
            return discovery::group(registry, group).map(Route::Static).ok_or_else(Status::no_such_resource);
        }
        ["api", "v1"] => return Ok(Route::Static(discovery::resources(registry, "", "v1"))),
        ["apis", group, version] if registry.serves_group_version(group, version) => {
            return Ok(Route::Static(discovery::resources(registry, group, version)));
        }
        ["openapi", ..] => return Err(Status::not_implemented("OpenAPI")),
        ["metrics"] => return Err(Status::not_implemented("/metrics of the API server")),
        ["api", "v1", rest @ ..] => ("", "v1", rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Err(Status::no_such_resource()),
    };
    if rest.first() == Some(&"watch") {
        return Err(Status::not_implemented("the deprecated /watch/ path"));
    }
    let (namespace, plural, name, subresource) = match rest {
        ["namespaces", name] => ("", "namespaces", *name, ""),
        ["namespaces", name, sub @ ("status" | "finalize")] => ("", "namespaces", *name, *sub),
        ["namespaces", namespace, plural] => (*namespace, *plural, "", ""),
        ["namespaces", namespace, plural, name] => (*namespace, *plural, *name, ""),
        ["namespaces", namespace, plural, name, sub] => (*namespace, *plural, *name, *sub),
        [plural] => ("", *plural, "", ""),
        [plural, name] => ("", *plural, *name, ""),
        [plural, name, sub] => ("", *plural, *name, *sub),
        _ => return Err(Status::no_such_resource()),
    };
    let resource = registry.get(group, version, plural).cloned().ok_or_else(|| {
        if discovery::known_elsewhere(group) {
            Status::not_implemented(&format!("{plural}.{group}/{version}"))
        } else {
            Status::no_such_resource()
        }
    })?;
    if resource.namespaced == namespace.is_empty() && !(resource.namespaced && name.is_empty()) {
        return Err(Status::no_such_resource());
    }
    match subresource {
        "" => {}
        "status" if resource.status => {}
        "scale" if matches!(&*resource.table, "deployments.apps" | "statefulsets.apps" | "replicasets.apps") => {}
        other if resource.built_in => return Err(Status::not_implemented(&format!("subresource {plural}/{other}"))),
        "scale" => return Err(Status::not_implemented("subresource scale of custom resources")),
        _ => return Err(Status::no_such_resource()),
    }
    Ok(Route::Resource(Target {
        resource,
        namespace: namespace.into(),
        name: name.into(),
        subresource: subresource.into(),
    }))
}

async fn answer(server: &ApiServer, request: Request<Bytes>) -> Result<Response<Body>, Status> {
    let params = Params::parse(request.uri().query().unwrap_or(""));
    let target = match route(server, request.uri().path())? {
        Route::Text(text) => return Ok(Response::new(full(text))),
        Route::Static(value) => return Ok(reply(StatusCode::OK, Bytes::from(value.to_string()), &[])),
        Route::Resource(target) => target,
    };
    let agent = request.headers().get("user-agent").and_then(|v| v.to_str().ok()).unwrap_or("unknown");
    let user = agent.split(['/', ' ']).next().unwrap_or("unknown").to_owned();
    let collection = target.name.is_empty();
    let watching = params.on("watch");
    let verb = match (request.method(), collection) {
        (&Method::GET, true) if watching => "watch",
        (&Method::GET, true) => "list",
        (&Method::GET, false) => "get",
        (&Method::POST, true) => "create",
        (&Method::PUT, false) => "update",
        (&Method::PATCH, false) => "patch",
        (&Method::DELETE, false) => "delete",
        (&Method::DELETE, true) => "deletecollection",
        _ => return Err(Status::method_not_allowed(target.resource.about())),
    };
    let info = RequestInfo {
        verb,
        group: target.resource.group.clone(),
        resource: target.resource.plural.clone(),
        subresource: target.subresource.clone(),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
        user: user.clone(),
    };
    match server.verdict(&info) {
        Verdict::Pass => {}
        Verdict::Refuse(status) => return Err(status),
        Verdict::Delay(time) => tokio::time::sleep(time).await,
        Verdict::Cut => return Ok(cut()),
    }
    accept(&request)?;
    let options = WriteOptions {
        dry_run: match params.get("dryRun") {
            "" => false,
            "All" => true,
            other => return Err(Status::bad_request(format!("Invalid value: \"{other}\": dryRun must be All"))),
        },
        field_manager: match params.get("fieldManager") {
            "" if is_apply(&request) => String::new(),
            "" => user,
            given => given.to_owned(),
        },
        force: params.on("force"),
        field_validation: match params.get("fieldValidation") {
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            _ => FieldValidation::Warn,
        },
    };
    if target.subresource == "scale" {
        return scale(server, &target, &request, &options);
    }
    match verb {
        "get" => {
            let object = server.engine().get(&target)?;
            Ok(reply(StatusCode::OK, object.json(), &[]))
        }
        "list" => list(server, &target, &params),
        "watch" => watch(server, &target, &params),
        "create" => {
            let body = body(&request)?;
            if target.resource.namespaced && target.namespace.is_empty() {
                return Err(Status::method_not_allowed(target.resource.about()));
            }
            let written = server.engine().create(&target, body, &options, now())?;
            Ok(wrote(&written))
        }
        "update" => {
            let body = body(&request)?;
            let written = server.engine().update(&target, body, &options, now())?;
            Ok(wrote(&written))
        }
        "patch" => {
            let kind = patch_kind(&request)?;
            let body = body(&request)?;
            let written = server.engine().patch(&target, kind, &body, &options, now())?;
            Ok(wrote(&written))
        }
        "delete" => {
            let query = delete_query(&request, &params)?;
            let (object, gone) = server.engine().delete(&target, &query, now())?;
            let body = if gone && target.resource.kind != "Pod" { success(&target, &object) } else { object.json() };
            Ok(reply(StatusCode::OK, body, &[]))
        }
        _ => {
            let query = delete_query(&request, &params)?;
            let (labels, fields) = selectors(&target, &params)?;
            let mut engine = server.engine();
            let items = engine.delete_collection(&target, &labels, &fields, &query, now())?;
            let revision = engine.revision();
            Ok(reply(StatusCode::OK, list_body(&target, revision, &items, "", None), &[]))
        }
    }
}

/// An answer that breaks off: the client sees a connection error.
fn cut() -> Response<Body> {
    let broken = futures::stream::once(async {
        Err::<Frame<Bytes>, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    Response::new(http_body_util::BodyExt::boxed(StreamBody::new(broken)))
}

fn accept(request: &Request<Bytes>) -> Result<(), Status> {
    let accept = request.headers().get("accept").and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let plain = accept.split(',').any(|a| !a.contains("as=") && (a.contains(JSON) || a.contains("*/*")));
    if plain {
        Ok(())
    } else {
        Err(Status::new(406, "NotAcceptable", "only the following media types are accepted: application/json"))
    }
}

fn content_type(request: &Request<Bytes>) -> &str {
    let given = request.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or(JSON);
    given.split(';').next().unwrap_or(JSON).trim()
}

fn is_apply(request: &Request<Bytes>) -> bool {
    request.method() == Method::PATCH && content_type(request).starts_with("application/apply-patch")
}

fn patch_kind(request: &Request<Bytes>) -> Result<PatchKind, Status> {
    Ok(match content_type(request) {
        "application/json-patch+json" => PatchKind::Json,
        "application/merge-patch+json" => PatchKind::Merge,
        "application/strategic-merge-patch+json" => PatchKind::Strategic,
        "application/apply-patch+yaml" | "application/apply-patch+json" => PatchKind::Apply,
        other => {
            return Err(Status::unsupported_media_type(
                other,
                "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
            ));
        }
    })
}

fn body(request: &Request<Bytes>) -> Result<Value, Status> {
    let bytes = request.body();
    match content_type(request) {
        "application/yaml" | "application/apply-patch+yaml" if bytes.first() != Some(&b'{') => {
            let text = std::str::from_utf8(bytes).map_err(|e| Status::bad_request(e.to_string()))?;
            serde_saphyr::from_str(text).map_err(|e| Status::bad_request(format!("error decoding YAML: {e}")))
        }
        "application/vnd.kubernetes.protobuf" => Err(Status::unsupported_media_type(
            "application/vnd.kubernetes.protobuf",
            "application/json, application/yaml",
        )),
        _ => serde_json::from_slice(bytes)
            .map_err(|e| Status::bad_request(format!("unable to decode the body of the request as JSON: {e}"))),
    }
}

fn wrote(written: &Written) -> Response<Body> {
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    reply(code, written.object.json(), &written.warnings)
}

fn selectors(target: &Target, params: &Params) -> Result<(LabelSelector, FieldSelector), Status> {
    let labels = LabelSelector::parse(params.get("labelSelector"))?;
    let mut fields = params.get("fieldSelector").to_owned();
    let supported = &target.resource.fields;
    if target.resource.group == "events.k8s.io" {
        fields = fields.replace("regarding.", "involvedObject.");
    }
    let fields = FieldSelector::parse(&fields, supported)?;
    Ok((labels, fields))
}

fn list(server: &ApiServer, target: &Target, params: &Params) -> Result<Response<Body>, Status> {
    let (labels, fields) = selectors(target, params)?;
    let limit = match params.get("limit") {
        "" => 0,
        text => text
            .parse()
            .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax")))?,
    };
    let query = ListQuery { labels, fields, limit, continue_token: params.get("continue").to_owned() };
    let page = server.engine().list(target, &query)?;
    let body = list_body(target, page.revision, &page.items, &page.continue_token, page.remaining);
    Ok(reply(StatusCode::OK, body, &[]))
}

/// The list object, its items copied from their cached JSON.
fn list_body(
    target: &Target,
    revision: u64,
    items: &[Object],
    continue_token: &str,
    remaining: Option<usize>,
) -> Bytes {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if !continue_token.is_empty() {
        metadata["continue"] = continue_token.into();
    }
    if let Some(remaining) = remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    let head = json!({"kind": format!("{}List", target.resource.kind), "apiVersion": target.resource.api_version(), "metadata": metadata}).to_string();
    let mut body = Vec::with_capacity(head.len() + 32);
    body.extend_from_slice(&head.as_bytes()[..head.len() - 1]);
    body.extend_from_slice(b",\"items\":[");
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&item.json());
    }
    body.extend_from_slice(b"]}");
    body.into()
}

fn success(target: &Target, object: &Object) -> Bytes {
    let mut details = json!({"name": json::name(object), "kind": target.resource.plural, "uid": json::uid(object)});
    if !target.resource.group.is_empty() {
        details["group"] = target.resource.group.clone().into();
    }
    Bytes::from(
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
            .to_string(),
    )
}

fn delete_query(request: &Request<Bytes>, params: &Params) -> Result<DeleteQuery, Status> {
    let options = if request.body().is_empty() { json!({}) } else { body(request)? };
    let policy = match json::text(&options, &["propagationPolicy"]) {
        "" => params.get("propagationPolicy"),
        given => given,
    };
    let propagation = match policy {
        "" | "Background" => Propagation::Background,
        "Foreground" => Propagation::Foreground,
        "Orphan" => Propagation::Orphan,
        other => return Err(Status::bad_request(format!("propagationPolicy: Unsupported value: \"{other}\""))),
    };
    let owned = |path: &[&str]| Some(json::text(&options, path)).filter(|t| !t.is_empty()).map(str::to_owned);
    Ok(DeleteQuery {
        dry_run: params.get("dryRun") == "All" || json::list(&options, &["dryRun"]).contains(&"All".into()),
        propagation,
        grace_seconds: json::int(&options, &["gracePeriodSeconds"])
            .or_else(|| params.get("gracePeriodSeconds").parse().ok()),
        uid: owned(&["preconditions", "uid"]),
        resource_version: owned(&["preconditions", "resourceVersion"]),
    })
}

fn scale(
    server: &ApiServer,
    target: &Target,
    request: &Request<Bytes>,
    options: &WriteOptions,
) -> Result<Response<Body>, Status> {
    let main = Target { subresource: String::new(), ..target.clone() };
    let live = server.engine().get(&main)?;
    let current = scale_of(&live);
    let mut wanted = current.clone();
    match *request.method() {
        Method::GET => return Ok(reply(StatusCode::OK, Bytes::from(current.to_string()), &[])),
        Method::PUT => wanted = body(request)?,
        _ => match patch_kind(request)? {
            PatchKind::Json => crate::patch::json_patch(&mut wanted, &body(request)?)?,
            PatchKind::Merge | PatchKind::Strategic => crate::patch::merge_patch(&mut wanted, &body(request)?),
            PatchKind::Apply => return Err(Status::not_implemented("server-side apply of the scale subresource")),
        },
    }
    let replicas = json::int(&wanted, &["spec", "replicas"]).unwrap_or(0);
    let patch =
        json!({"metadata": {"resourceVersion": wanted["metadata"]["resourceVersion"]}, "spec": {"replicas": replicas}});
    let written = server.engine().patch(&main, PatchKind::Merge, &patch, options, now())?;
    Ok(reply(StatusCode::OK, Bytes::from(scale_of(&written.object).to_string()), &[]))
}

fn scale_of(object: &Value) -> Value {
    let m = &object["metadata"];
    let labels = json::map(object, &["spec", "selector", "matchLabels"]);
    let selector: Vec<String> =
        labels.into_iter().flatten().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {"name": m["name"], "namespace": m["namespace"], "uid": m["uid"], "resourceVersion": m["resourceVersion"], "creationTimestamp": m["creationTimestamp"]},
        "spec": {"replicas": json::int(object, &["spec", "replicas"]).unwrap_or(0)},
        "status": {"replicas": json::int(object, &["status", "replicas"]).unwrap_or(0), "selector": selector.join(",")}})
}

/// State of a watch stream.
struct Stream {
    watcher: Watcher,
    target: Target,
    initial: std::collections::VecDeque<Bytes>,
    bookmarks: bool,
    ends: tokio::time::Instant,
    done: bool,
}

fn watch(server: &ApiServer, target: &Target, params: &Params) -> Result<Response<Body>, Status> {
    let (labels, fields) = selectors(target, params)?;
    let version = params.get("resourceVersion");
    let streaming = params.on("sendInitialEvents");
    let bookmarks = params.on("allowWatchBookmarks");
    if streaming && params.get("resourceVersionMatch") != "NotOlderThan" {
        return Err(Status::invalid(
            crate::status::About { group: "meta.k8s.io", plural: "", kind: "ListOptions" },
            "",
            &[crate::status::Cause::new(
                "FieldValueForbidden",
                "resourceVersionMatch",
                "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )],
        ));
    }
    let after: Option<u64> = match version {
        "" | "0" => None,
        text => Some(text.parse().map_err(|_| Status::bad_request(format!("Invalid resource version: \"{text}\"")))?),
    };
    let query =
        WatchQuery { namespace: target.namespace.clone(), labels, fields, after: if streaming { None } else { after } };
    let mut initial = std::collections::VecDeque::new();
    let watcher = {
        // Listing and subscribing see the same revision: the world is one thread and nothing awaits in between.
        if streaming || after.is_none() {
            let list = ListQuery { labels: query.labels.clone(), fields: query.fields.clone(), ..ListQuery::default() };
            let page = server.engine().list(target, &list)?;
            initial.extend(page.items.iter().map(|o| event_line(Change::Added.as_str(), &o.json())));
            if streaming && bookmarks {
                initial.push_back(bookmark(target, page.revision, true));
            }
        }
        let mut watcher = server.watch(target.resource.clone(), query);
        if let Err(status) = watcher.check() {
            // A version that is no longer known is told inside the stream, as the real server does.
            initial.push_back(event_line("ERROR", status.to_value().to_string().as_bytes()));
            return Ok(streamed(futures::stream::iter(initial).map(|line| Ok(Frame::data(line)))));
        }
        watcher
    };
    let timeout = params.get("timeoutSeconds").parse().map_or(WATCH_TIMEOUT, Duration::from_secs);
    let state = Stream {
        watcher,
        target: target.clone(),
        initial,
        bookmarks,
        ends: tokio::time::Instant::now() + timeout,
        done: false,
    };
    Ok(streamed(futures::stream::unfold(state, |mut state| async move {
        let line = next_line(&mut state).await?;
        Some((Ok(Frame::data(line)), state))
    })))
}

fn streamed<S>(stream: S) -> Response<Body>
where
    S: futures::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + Sync + 'static,
{
    let body = http_body_util::BodyExt::boxed(StreamBody::new(stream));
    Response::builder().header("content-type", JSON).body(body).unwrap_or_else(|_| Response::new(full(Bytes::new())))
}

/// Most lines that are sent as one piece.
const LINES_PER_FRAME_MAX: usize = 256;

async fn next_line(state: &mut Stream) -> Option<Bytes> {
    if state.done {
        return None;
    }
    if !state.initial.is_empty() {
        let count = state.initial.len().min(LINES_PER_FRAME_MAX);
        return Some(state.initial.drain(..count).collect::<Vec<_>>().concat().into());
    }
    let pause = tokio::time::Instant::now() + BOOKMARK_INTERVAL;
    let wake = if state.bookmarks { pause.min(state.ends) } else { state.ends };
    match tokio::time::timeout_at(wake, state.watcher.next()).await {
        Ok(Ok(seen)) => {
            let object = crate::engine::view(&state.target.resource, seen.event.object.clone());
            let same = seen.change == seen.event.change
                && state.target.resource.api_version() == state.target.resource.storage_api_version;
            Some(if same { seen.event.line() } else { event_line(seen.change.as_str(), &object.json()) })
        }
        Ok(Err(status)) => {
            state.done = true;
            Some(event_line("ERROR", status.to_value().to_string().as_bytes()))
        }
        Err(_) if tokio::time::Instant::now() >= state.ends => None,
        Err(_) => Some(bookmark(&state.target, state.watcher.position(), false)),
    }
}

fn bookmark(target: &Target, revision: u64, initial_end: bool) -> Bytes {
    let mut object = json!({"kind": target.resource.kind, "apiVersion": target.resource.api_version(), "metadata": {"resourceVersion": revision.to_string(), "creationTimestamp": null}});
    if initial_end {
        object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    event_line("BOOKMARK", object.to_string().as_bytes())
}

/// Serves the API on a listener until its host is gone.
pub async fn serve(listener: sim_net::Listener, server: ApiServer) {
    let server = Arc::new(server);
    sim_net::http::serve(listener, sim_net::http::Limits::default(), move |request| {
        let server = (*server).clone();
        async move { handle(server, request).await }
    })
    .await;
}
