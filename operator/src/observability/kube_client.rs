//! The Kubernetes client: kube's own layers over the host's connector (and TLS), with every request counted, limited in time, and traced.
//!
//! A request made inside a span becomes a client span named as the HTTP semantic conventions say, `{method} {target}`, where the
//! target is the resource in the spelling of RBAC rules (`PATCH cells/status`); the path's template is in `url.template`. Requests
//! outside a span (the lists and watches of caches, events) are counted but make no span: each would be the root of a trace that nobody
//! asked for. Watches never make a span.
//!
//! kube's retry layer is left out on purpose: it would hide an outage of the API server for minutes inside one request. Here an
//! outage is an error, and the work queue's back-off is what retries.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper_util::{client::legacy::Client as HyperClient, rt::TokioExecutor};
use kube::client::{Body, ConfigExt};
use tower::{BoxError, ServiceBuilder};
use tracing::Span;

use super::{
    Telemetry,
    export::with_sources,
    propagation::TraceParent,
    registry::Counter,
    span::{SPAN_TARGET, current_span_context, in_span, record_error, record_success, set_attribute},
};
use crate::{
    cluster_config::{ClusterConfigError, TokenFile, client_tls, is_secure},
    host::Host,
    tls::{TlsError, client::HttpsConnector},
};

/// How long one request to the API server may take, its body included. Watches only have to answer in this time.
pub const API_REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// The greatest answer that is read (a list of very many objects).
pub const API_RESPONSE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How the operator introduces itself, here and to the Collector.
pub(crate) const USER_AGENT: &str = concat!("multigres-operator/", env!("CARGO_PKG_VERSION"));

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The way to the API server is not described well.
    #[error(transparent)]
    Config(#[from] ClusterConfigError),
    /// There is no TLS to the API server.
    #[error("no TLS to the API server: {0}")]
    Tls(#[from] TlsError),
    /// The configuration's credentials cannot be used.
    #[error("the credentials for the API server cannot be used: {0}")]
    Credentials(#[source] kube::Error),
}

/// Builds the client. Has to be called inside a runtime.
pub fn client(host: &Host, telemetry: &Telemetry) -> Result<kube::Client, ClientError> {
    let config = &host.kube_config;
    let connector = HttpsConnector::new(host.connector.clone(), host.files.clone(), client_tls(config)?);
    if is_secure(&config.cluster_url) {
        connector.check()?;
    }
    let token = match &config.auth_info.token_file {
        Some(path) => Some(TokenFile::new(path, host.files.clone())?),
        None => None,
    };
    let mut others = config.clone();
    others.auth_info.token_file = None;
    let http = HyperClient::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let requests = telemetry.metrics().rest_client_requests.clone();
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(others.auth_layer().map_err(ClientError::Credentials)?)
        .layer(config.extra_headers_layer().map_err(ClientError::Credentials)?)
        .service(ApiService { http, requests, token });
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// Sends one request: the innermost service, so that it sees what goes over the wire.
#[derive(Clone)]
struct ApiService {
    http: HyperClient<HttpsConnector, Body>,
    requests: Counter,
    /// The token of a service account, if that is who the operator is.
    token: Option<TokenFile>,
}

impl tower::Service<Request<Body>> for ApiService {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        // kube puts a buffer before its services: this function runs in the buffer's task, the future in the caller's. Only there are
        // the caller's span and subscriber the current ones.
        Box::pin(async move { service.send(request).await })
    }
}

impl ApiService {
    async fn send(self, mut request: Request<Body>) -> Result<Response<AnswerBody>, BoxError> {
        request.headers_mut().entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        if let Some(token) = &self.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.authorization());
        }
        let call = ApiCall::of(request.method(), request.uri());
        if call.watch || current_span_context().is_none() {
            return self.exchange(request, &call).await;
        }
        let body = async {
            let result = self.exchange(with_traceparent(request), &call).await;
            match &result {
                Ok(response) => call.record_status(response.status()),
                Err(error) => {
                    record_error("transport", &error.to_string());
                    tracing::warn!(error = %error, "API request {} failed", call.span_name());
                }
            }
            result
        };
        in_span(call.span(), body).await
    }

    async fn exchange(&self, request: Request<Body>, call: &ApiCall) -> Result<Response<AnswerBody>, BoxError> {
        let result = tokio::time::timeout(API_REQUEST_TIMEOUT, async {
            let response = self.http.request(request).await.map_err(|error| BoxError::from(with_sources(&error)))?;
            let (parts, body) = response.into_parts();
            let body = if call.watch {
                body.map_err(BoxError::from).boxed_unsync()
            } else {
                let bytes = Limited::new(body, API_RESPONSE_BYTES_MAX).collect().await?.to_bytes();
                Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
            };
            Ok(Response::from_parts(parts, body))
        })
        .await
        .unwrap_or_else(|_| Err(format!("no answer from {} within {API_REQUEST_TIMEOUT:?}", call.host).into()));
        let code =
            result.as_ref().map_or_else(|_| "<error>".to_owned(), |response| response.status().as_u16().to_string());
        self.requests.inc(&[&code, &call.host, call.method.as_str()]);
        result
    }
}

fn with_traceparent(mut request: Request<Body>) -> Request<Body> {
    let value = current_span_context()
        .and_then(|context| TraceParent::of(&context))
        .and_then(|parent| HeaderValue::from_str(&parent.to_string()).ok());
    if let Some(value) = value {
        request.headers_mut().insert("traceparent", value);
    }
    request
}

/// What a request is about, read from its method and path.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ApiCall {
    method: Method,
    scheme: &'static str,
    host: String,
    group: String,
    version: String,
    namespace: String,
    resource: String,
    name: String,
    subresource: String,
    watch: bool,
}

impl ApiCall {
    fn of(method: &Method, uri: &http::Uri) -> Self {
        let mut call = Self {
            method: method.clone(),
            scheme: if uri.scheme_str() == Some("http") { "http" } else { "https" },
            host: uri.authority().map(ToString::to_string).unwrap_or_default(),
            group: String::new(),
            version: String::new(),
            namespace: String::new(),
            resource: String::new(),
            name: String::new(),
            subresource: String::new(),
            watch: uri
                .query()
                .is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1" | "watch"))),
        };
        let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let rest = match parts.as_slice() {
            ["api", version, rest @ ..] => {
                call.version = (*version).to_owned();
                rest
            }
            ["apis", group, version, rest @ ..] => {
                call.group = (*group).to_owned();
                call.version = (*version).to_owned();
                rest
            }
            _ => {
                call.resource = uri.path().to_owned();
                return call;
            }
        };
        let rest = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() && !matches!(rest, ["status" | "finalize"]) => {
                call.namespace = (*namespace).to_owned();
                rest
            }
            rest => rest,
        };
        let mut rest = rest.iter().map(|part| (*part).to_owned());
        call.resource = rest.next().unwrap_or_default();
        call.name = rest.next().unwrap_or_default();
        call.subresource = rest.collect::<Vec<_>>().join("/");
        call
    }

    fn target(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    fn span_name(&self) -> String {
        format!("{} {}", self.method, self.target())
    }

    fn template(&self) -> String {
        self.path("{namespace}", "{name}")
    }

    /// Without the query, which says how and not what: `continue` tokens are long.
    fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host, self.path(&self.namespace, &self.name))
    }

    fn path(&self, namespace: &str, name: &str) -> String {
        let mut path = match (self.version.as_str(), self.group.as_str()) {
            ("", _) => return self.resource.clone(),
            (version, "") => format!("/api/{version}"),
            (version, group) => format!("/apis/{group}/{version}"),
        };
        if !self.namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(&self.resource);
        if !self.name.is_empty() {
            path.push('/');
            path.push_str(name);
        }
        if !self.subresource.is_empty() {
            path.push('/');
            path.push_str(&self.subresource);
        }
        path
    }

    /// The verb of RBAC rules and audit logs.
    fn verb(&self) -> &'static str {
        match (self.method.as_str(), self.name.is_empty()) {
            ("GET", true) => "list",
            ("GET", false) => "get",
            ("POST", _) => "create",
            ("PUT", _) => "update",
            ("PATCH", _) => "patch",
            ("DELETE", true) => "deletecollection",
            ("DELETE", false) => "delete",
            _ => "other",
        }
    }

    fn span(&self) -> Span {
        let (address, port) = super::span::split_authority(&self.host);
        tracing::info_span!(
            target: SPAN_TARGET, "api",
            otel.name = self.span_name(),
            otel.kind = "client",
            http.request.method = self.method.as_str(),
            url.full = self.url(),
            url.template = self.template(),
            server.address = address,
            server.port = port.map(i64::from),
            k8s.api.verb = self.verb(),
            k8s.api.group = (!self.group.is_empty()).then_some(self.group.as_str()),
            k8s.api.resource = self.target(),
            k8s.namespace.name = (!self.namespace.is_empty()).then_some(self.namespace.as_str()),
            k8s.object.name = (!self.name.is_empty()).then_some(self.name.as_str()),
        )
    }

    /// A conflict, and the absence of something that was looked up, are answers and no failures.
    fn is_failure(&self, status: StatusCode) -> bool {
        let expected =
            status == StatusCode::CONFLICT || (status == StatusCode::NOT_FOUND && self.method == Method::GET);
        status.as_u16() >= 400 && !expected
    }

    fn record_status(&self, status: StatusCode) {
        set_attribute("http.response.status_code", i64::from(status.as_u16()));
        if self.is_failure(status) {
            record_error(status.as_str(), &format!("the API server answered {status}"));
            tracing::warn!(error = %status, "API request {} failed", self.span_name());
        } else if status.as_u16() < 400 {
            record_success();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: Method, uri: &str) -> ApiCall {
        ApiCall::of(&method, &uri.parse().unwrap())
    }

    #[test]
    fn a_span_is_named_after_method_and_resource_and_never_after_an_object() {
        for (method, uri, name, template, verb) in [
            (
                Method::PATCH,
                "http://k:443/apis/multigres.com/v1alpha1/namespaces/default/cells/minimal-a/status?fieldManager=x",
                "PATCH cells/status",
                "/apis/multigres.com/v1alpha1/namespaces/{namespace}/cells/{name}/status",
                "patch",
            ),
            (
                Method::GET,
                "http://k/api/v1/namespaces/d/services/s",
                "GET services",
                "/api/v1/namespaces/{namespace}/services/{name}",
                "get",
            ),
            (Method::GET, "http://k/apis/apps/v1/deployments", "GET deployments", "/apis/apps/v1/deployments", "list"),
            (Method::GET, "http://k/api/v1/namespaces/d", "GET namespaces", "/api/v1/namespaces/{name}", "get"),
            (
                Method::PUT,
                "http://k/api/v1/namespaces/d/finalize",
                "PUT namespaces/finalize",
                "/api/v1/namespaces/{name}/finalize",
                "update",
            ),
            (
                Method::DELETE,
                "http://k/api/v1/namespaces/d/pods/p",
                "DELETE pods",
                "/api/v1/namespaces/{namespace}/pods/{name}",
                "delete",
            ),
            (Method::GET, "http://k/version", "GET /version", "/version", "list"),
        ] {
            let call = call(method, uri);
            assert_eq!(call.span_name(), name, "{uri}");
            assert_eq!(call.template(), template, "{uri}");
            assert_eq!(call.url(), uri.split('?').next().unwrap_or_default(), "{uri}");
            assert_eq!(call.verb(), verb, "{uri}");
        }
    }

    #[test]
    fn a_watch_is_known_by_its_query() {
        assert!(call(Method::GET, "http://k/api/v1/pods?allowWatchBookmarks=true&watch=true").watch);
        assert!(!call(Method::GET, "http://k/api/v1/pods?limit=500").watch);
        assert!(!call(Method::GET, "http://k/api/v1/pods?fieldSelector=watch%3Dtrue").watch);
    }

    #[test]
    fn a_missing_object_is_a_failure_except_when_it_was_looked_up() {
        let get = call(Method::GET, "http://k/api/v1/namespaces/d/pods/p");
        let patch = call(Method::PATCH, "http://k/api/v1/namespaces/d/pods/p");
        assert!(!get.is_failure(StatusCode::NOT_FOUND));
        assert!(patch.is_failure(StatusCode::NOT_FOUND));
        assert!(!patch.is_failure(StatusCode::CONFLICT));
        assert!(get.is_failure(StatusCode::SERVICE_UNAVAILABLE));
        assert!(!get.is_failure(StatusCode::OK));
    }
}
