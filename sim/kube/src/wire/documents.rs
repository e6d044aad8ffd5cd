//! What is no resource: discovery, version, health.

use http::{Method, Response, StatusCode};
use serde_json::json;
use sim_net::http::Body;

use super::{
    RequestContext, metrics,
    negotiate::{self, Output, accepted_version},
    openapi, respond,
    route::Document,
};
use crate::{access::tokens, discovery, server::ApiServer, status::Status};

/// Answers a request for a document.
///
/// # Errors
/// 404 for a group that nobody serves.
pub(super) fn answer(
    server: &ApiServer,
    context: &RequestContext,
    document: Document,
) -> Result<Response<Body>, Status> {
    if !matches!(context.method, Method::GET | Method::HEAD) {
        let mut status =
            Status::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
        status.details = Some(Box::new(json!({})));
        return Err(status);
    }
    if matches!(document, Document::Metrics) {
        return Ok(metrics::page(server));
    }
    let engine = server.engine();
    let registry = engine.registry();
    // These two are always indented.
    let raw = matches!(document, Document::Root | Document::Version);
    let value = match document {
        Document::Root => discovery::paths(registry),
        Document::Health(which, check) => return Ok(health(context, which, &check)),
        Document::Version => discovery::version(),
        Document::Issuer => tokens::issuer(),
        Document::Keys => {
            let keys = server.access().signer().keys().to_string();
            return Ok(respond::typed(StatusCode::OK, "application/jwk-set+json", keys.into(), &[]));
        }
        Document::CoreVersions | Document::Groups => {
            let core = matches!(document, Document::CoreVersions);
            let header = context.header("accept");
            let kind = "APIGroupDiscoveryList";
            if let Some(version) = accepted_version(header, kind, discovery::AGGREGATED_GROUP, &["v2", "v2beta1"]) {
                let value = discovery::aggregated(registry, core, version);
                let content_type = format!("application/json;g={};v={version};as={kind}", discovery::AGGREGATED_GROUP);
                let mut response = respond::typed(StatusCode::OK, &content_type, value.to_string().into(), &[]);
                response.headers_mut().insert("vary", http::HeaderValue::from_static("Accept"));
                return Ok(response);
            }
            if core { discovery::core_versions() } else { discovery::groups(registry) }
        }
        Document::Group(group) => match discovery::group(registry, &group) {
            Some(group) => group,
            None => return Ok(respond::plain(StatusCode::NOT_FOUND, "404 page not found\n")),
        },
        Document::Resources(group, version) => discovery::resources(registry, &group, &version),
        Document::Swagger => return openapi::swagger(registry, context),
        Document::OpenApiIndex => return openapi::index(registry, context),
        Document::Metrics => unreachable!("answered above, where the engine is not locked"),
        Document::OpenApi(group, version) => return openapi::document(registry, context, &group, &version),
    };
    let output = Output { pretty: raw || negotiate::pretty(context), ..Output::default() };
    Ok(respond::value(context, output, StatusCode::OK, &value))
}

/// The checks of `/healthz`; `/livez` and `/readyz` have most of them.
const CHECKS: &[&str] = &[
    "ping",
    "log",
    "etcd",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/rbac/bootstrap-roles",
    "autoregister-completion",
];

fn health(context: &RequestContext, which: &str, check: &str) -> Response<Body> {
    if !check.is_empty() {
        return if CHECKS.contains(&check) {
            respond::plain(StatusCode::OK, "ok")
        } else {
            respond::plain(StatusCode::NOT_FOUND, "404 page not found\n")
        };
    }
    if !context.params.has("verbose") {
        return respond::plain(StatusCode::OK, "ok");
    }
    let excluded = context.params.all("exclude");
    let mut text = String::new();
    for check in CHECKS {
        let how = if excluded.iter().any(|e| e == check) { "excluded: ok" } else { "ok" };
        text.push_str(&format!("[+]{check} {how}\n"));
    }
    respond::plain(StatusCode::OK, format!("{text}{which} check passed\n"))
}
