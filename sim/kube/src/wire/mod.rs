//! HTTP around the engine: paths, query parameters, content types, watch streams.
//!
//! | part | job |
//! |---|---|
//! | [`handle`] | the chain of steps a request goes through, in the real server's order |
//! | `context` | what is known of a request: [`RequestContext`] |
//! | `access` | reviews and token requests |
//! | `route` | paths: what is asked for, and what serves it |
//! | `params` | query parameters |
//! | `negotiate` | media types of bodies and answers |
//! | `faults` | fault rules carried out around the verbs |
//! | `read`, `watch`, `write` | the verbs |
//! | `components` | ComponentStatuses, which are nowhere stored |
//! | `metrics` | counting requests, `/metrics` |
//! | `scale`, `log`, `eviction`, `binding`, `approval`, `streams` | subresources |
//! | `spdy` | SPDY/3.1, as far as streams need it |
//! | `openapi` | OpenAPI documents: media types, hashes, caching |
//! | `documents` | everything that is not a resource: discovery, version, health |
//! | `respond` | answers |

mod access;
mod approval;
mod binding;
mod components;
mod context;
mod documents;
mod eviction;
mod faults;
mod log;
mod metrics;
mod negotiate;
mod openapi;
mod params;
mod read;
mod respond;
mod route;
mod scale;
mod spdy;
mod streams;
mod watch;
mod write;
mod yaml;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use sim_net::http::Body;

pub use context::RequestContext;

pub use crate::access::UserInfo;
pub use params::Params;
pub use watch::{BOOKMARK_INTERVAL, WATCH_TIMEOUT};

use crate::{server::ApiServer, status::Status};
use route::Route;

/// Answers one request.
pub async fn handle(server: ApiServer, request: Request<Bytes>) -> Response<Body> {
    let audit = request.headers().get("audit-id").cloned();
    let accept = request.headers().get("accept").cloned();
    let mut response = match answer(&server, request).await {
        Ok(response) => response,
        Err(status) => respond::refuse(&status, accept.as_ref().and_then(|a| a.to_str().ok()).unwrap_or_default()),
    };
    let audit = audit.or_else(|| http::HeaderValue::from_str(&server.audit_id()).ok());
    if let Some(audit) = audit {
        response.headers_mut().insert("audit-id", audit);
    }
    response
}

/// The handler chain, in the order of the real server's: request information, authentication, (faults,) authorisation,
/// routing, then the verb, which decodes, admits and commits; at last what a fault makes of the answer.
async fn answer(server: &ApiServer, request: Request<Bytes>) -> Result<Response<Body>, Status> {
    let mut context = RequestContext::new(request)?;
    authenticate(server, &mut context)?;
    let after = match faults::before(server, &mut context).await? {
        faults::Before::Answer(response) => return Ok(response),
        faults::Before::Go(after) => after,
    };
    let since = sim_clock::now();
    let running = metrics::begin(server, &context);
    let answer = carry_out(server, &mut context).await;
    drop(running);
    metrics::end(server, &context, &answer, since);
    faults::after(after, answer).await
}

async fn carry_out(server: &ApiServer, context: &mut RequestContext) -> Result<Response<Body>, Status> {
    authorize(server, context)?;
    if access::is_review(context) {
        context.served = true;
        return access::answer(server, context);
    }
    let route = route::resolve(server, context)?;
    context.served = matches!(route, Route::Resource(_));
    match route {
        Route::NotFound => Ok(respond::plain(http::StatusCode::NOT_FOUND, "404 page not found\n")),
        Route::Document(document) => documents::answer(server, context, document),
        Route::Resource(target) => {
            let answer = serve_resource(server, context, &target).await;
            let Some(warning) = &target.resource.warning else { return answer };
            // Whatever becomes of the request.
            let mut response = answer.unwrap_or_else(|status| respond::refuse(&status, context.header("accept")));
            respond::warn(&mut response, std::slice::from_ref(warning));
            Ok(response)
        }
    }
}

/// Who asks: fills [`RequestContext::user`]. 401 if the credentials are not known.
fn authenticate(server: &ApiServer, context: &mut RequestContext) -> Result<(), Status> {
    context.user = crate::access::authenticate(server, &context.headers, context.connection.as_ref())?;
    Ok(())
}

/// Whom they act as, and whether they may: 403 if not.
fn authorize(server: &ApiServer, context: &mut RequestContext) -> Result<(), Status> {
    let user = std::mem::take(&mut context.user);
    context.user = crate::access::impersonate(server, &context.headers, user)?;
    crate::access::authorize(server, &context.user, &crate::access::attributes(&context.info))
}

async fn serve_resource(
    server: &ApiServer,
    context: &RequestContext,
    target: &crate::engine::Target,
) -> Result<Response<Body>, Status> {
    if streams::is_stream(&target.subresource) {
        return streams::answer(server, context, target).await;
    }
    let output =
        if target.subresource == "log" { negotiate::Output::default() } else { negotiate::output(context, target)? };
    match &*target.resource.table {
        "bindings" => return binding::of_namespace(server, context, target).await,
        "componentstatuses" => return components::answer(server, context, target, output),
        _ => {}
    }
    match target.subresource.as_str() {
        "scale" => return scale::answer(server, context, target, output).await,
        "log" => return log::answer(server, context, target),
        "binding" => return binding::answer(server, context, target).await,
        "approval" => return serve_object(server, context, &approval::target(server, context, target)?, output).await,
        "eviction" => return eviction::answer(server, context, target).await,
        _ => {}
    }
    serve_object(server, context, target, output).await
}

async fn serve_object(
    server: &ApiServer,
    context: &RequestContext,
    target: &crate::engine::Target,
    output: negotiate::Output,
) -> Result<Response<Body>, Status> {
    match context.info.verb {
        "get" => read::get(server, context, target, output).await,
        "list" => read::list(server, context, target, output).await,
        "watch" => watch::watch(server, context, target, output),
        _ => {
            let operation = write::decode(context, target)?;
            write::commit(server, context, target, output, operation).await
        }
    }
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

#[cfg(test)]
mod tests;
