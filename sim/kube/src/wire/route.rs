//! Paths: what a request is about, and what serves it.

use http::Method;

use super::{RequestContext, params::Params};
use crate::{discovery, engine::Target, faults::RequestInfo, server::ApiServer, status::Status};

/// What a path leads to.
pub(super) enum Route {
    /// Something that is no resource.
    Document(Document),
    /// A resource, a collection or a subresource.
    Resource(Target),
    /// Nothing: no handler is mounted there.
    NotFound,
}

/// What is no resource.
pub(super) enum Document {
    /// `/`.
    Root,
    /// `/healthz` and its kin, with the one check that is asked for.
    Health(&'static str, String),
    /// `/version`.
    Version,
    /// `/.well-known/openid-configuration`: who issues tokens of service accounts.
    Issuer,
    /// `/openid/v1/jwks`: the keys of these.
    Keys,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/<group>`.
    Group(String),
    /// `/api/v1`, `/apis/<group>/<version>`.
    Resources(String, String),
    /// `/openapi/v2`.
    Swagger,
    /// `/openapi/v3`.
    OpenApiIndex,
    /// `/openapi/v3/…` of a group and version.
    OpenApi(String, String),
    /// `/metrics`.
    Metrics,
}

/// Verb and names of a request, from its method, path and query alone: authorisation and faults go by them, whether or
/// not the path leads anywhere.
pub(super) fn request_info(method: &Method, parts: &[String], params: &Params, agent: String) -> RequestInfo {
    let mut info = RequestInfo {
        verb: method_verb(method),
        group: String::new(),
        version: String::new(),
        resource: String::new(),
        subresource: String::new(),
        namespace: String::new(),
        name: String::new(),
        path: format!("/{}", parts.join("/")),
        user: String::new(),
        user_agent: agent,
    };
    let texts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let rest = match texts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => {
            info.version = (*version).to_owned();
            rest
        }
        ["apis", group, version, rest @ ..] if !rest.is_empty() => {
            info.group = (*group).to_owned();
            info.version = (*version).to_owned();
            rest
        }
        _ => return info,
    };
    info.verb = match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::GET | Method::HEAD => "get",
        _ => "",
    };
    let rest = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => {
            info.verb = "watch";
            rest
        }
        rest => rest,
    };
    let rest = match rest {
        ["namespaces", namespace, rest @ ..] => {
            (*namespace).clone_into(&mut info.namespace);
            match rest {
                [] | ["status" | "finalize"] => &texts[texts.len() - 2 - rest.len()..],
                rest => rest,
            }
        }
        rest => rest,
    };
    let mut rest = rest.iter().map(|p| (*p).to_owned());
    info.resource = rest.next().unwrap_or_default();
    info.name = rest.next().unwrap_or_default();
    info.subresource = rest.next().unwrap_or_default();
    if info.name.is_empty() {
        info.verb = match info.verb {
            "get" if params.on("watch") => "watch",
            "get" => "list",
            "delete" => "deletecollection",
            other => other,
        };
    }
    info
}

fn method_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

/// What serves a request.
///
/// # Errors
/// 404 for what nobody serves, 405 for a method that it does not know, 501 for subresources that the real server has and this has not.
pub(super) fn resolve(server: &ApiServer, context: &RequestContext) -> Result<Route, Status> {
    let engine = server.engine();
    let registry = engine.registry();
    let texts: Vec<&str> = context.parts.iter().map(String::as_str).collect();
    let rest = match texts.as_slice() {
        [] => return Ok(Route::Document(Document::Root)),
        ["healthz", check @ ..] => return Ok(Route::Document(Document::Health("healthz", check.join("/")))),
        ["readyz", check @ ..] => return Ok(Route::Document(Document::Health("readyz", check.join("/")))),
        ["livez", check @ ..] => return Ok(Route::Document(Document::Health("livez", check.join("/")))),
        ["version"] => return Ok(Route::Document(Document::Version)),
        ["api"] => return Ok(Route::Document(Document::CoreVersions)),
        ["apis"] => return Ok(Route::Document(Document::Groups)),
        ["apis", group] => return Ok(Route::Document(Document::Group((*group).to_owned()))),
        ["api", "v1"] => return Ok(Route::Document(Document::Resources(String::new(), "v1".into()))),
        ["apis", group, version]
            if registry.serves_group_version(group, version) || discovery::reviews(group, version) =>
        {
            return Ok(Route::Document(Document::Resources((*group).to_owned(), (*version).to_owned())));
        }
        ["apis", group, _] if discovery::built_in(registry, group) => return Err(Status::no_such_resource()),
        ["apis", _, _] => return Ok(Route::NotFound),
        ["openapi", "v2"] => return Ok(Route::Document(Document::Swagger)),
        ["openapi", "v3"] => return Ok(Route::Document(Document::OpenApiIndex)),
        ["openapi", "v3", "api", version] => {
            return Ok(Route::Document(Document::OpenApi(String::new(), (*version).to_owned())));
        }
        ["openapi", "v3", "apis", group, version] => {
            return Ok(Route::Document(Document::OpenApi((*group).to_owned(), (*version).to_owned())));
        }
        [".well-known", "openid-configuration"] => return Ok(Route::Document(Document::Issuer)),
        ["openid", "v1", "jwks"] => return Ok(Route::Document(Document::Keys)),
        ["metrics"] => return Ok(Route::Document(Document::Metrics)),
        ["api", "v1", rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        ["api", ..] => return Err(Status::no_such_resource()),
        _ => return Ok(Route::NotFound),
    };
    // The old form of a watch: the same path with `watch/` before it.
    let old_watch = matches!(rest, ["watch", _, ..]);
    let rest = if old_watch { &rest[1..] } else { rest };
    let info = &context.info;
    // A resource's path has a name and a subresource at most.
    let depth = if matches!(rest, ["namespaces", _, plural, ..] if !matches!(*plural, "status" | "finalize")) {
        rest.len() - 2
    } else {
        rest.len()
    };
    if depth > 3 {
        return Err(Status::no_such_resource());
    }
    let namespace = if info.resource == "namespaces" { "" } else { info.namespace.as_str() };
    let (plural, group, version) = (&info.resource, &info.group, &info.version);
    let Some(resource) = registry.get(group, version, plural).cloned() else {
        // Groups of the server's own have a handler that says so; custom resources and strangers have none.
        if discovery::built_in(registry, group) {
            return Err(Status::no_such_resource());
        }
        return Ok(Route::NotFound);
    };
    if resource.namespaced == namespace.is_empty() && !(resource.namespaced && info.name.is_empty()) {
        return Err(Status::no_such_resource());
    }
    match info.subresource.as_str() {
        "" => {}
        "status" if resource.status => {}
        other if discovery::served(&resource, other) => {}
        other if resource.subresources.iter().any(|known| known.name == other) => {
            return Err(Status::not_implemented(&format!("subresource {plural}/{other}")));
        }
        _ => return Err(Status::no_such_resource()),
    }
    if info.subresource.is_empty() && !resource.verbs.contains(&info.verb) && info.verb != "watch" {
        return Err(Status::method_not_allowed(resource.about()));
    }
    let named = !info.name.is_empty();
    match (&context.method, info.subresource.as_str(), named) {
        (&Method::GET, "", _) => {}
        _ if old_watch => return Err(Status::method_not_allowed(resource.about())),
        (&Method::GET | &Method::POST, part, true) if super::streams::is_stream(part) => {}
        (&Method::GET, "log", _) | (&Method::POST, "eviction" | "binding", _) | (&Method::PUT, "finalize", _) => {}
        (_, "log" | "eviction" | "binding" | "finalize", _) => {
            return Err(Status::method_not_allowed(resource.about()));
        }
        (&Method::GET | &Method::PUT | &Method::PATCH, _, true) => {}
        (&Method::DELETE, "", _) | (&Method::POST, "", false) => {}
        _ => return Err(Status::method_not_allowed(resource.about())),
    }
    Ok(Route::Resource(Target {
        resource,
        namespace: namespace.into(),
        name: info.name.clone(),
        subresource: info.subresource.clone(),
    }))
}
