//! Admission webhooks: what is filled in before an object is stored, and what is not let in.
//!
//! | path (after `/…-multigres-com-v1alpha1-`) | asked about | does |
//! |---|---|---|
//! | `/mutate-…multigrescluster` | creates and updates of MultigresClusters | fills in defaults, and begins the trace of the change |
//! | `/validate-…multigrescluster` | the same | refuses references and cells that do not exist; warns |
//! | `/validate-…{core,cell,shard}template` | deletions of templates | refuses those that a cluster names |
//! | `/validate-…{cell,shard,toposerver,tablegroup}` | all changes of what the operator writes | refuses everybody but the operator and the cluster's own controllers |
//!
//! What is decided is decided by functions from values to values ([`defaulter`], [`validator`], [`protection`]); this module asks for what they
//! need, times and counts every outcome, and opens the spans. [`certificates`] keeps the port's certificate and what the API server knows of it.

pub mod certificates;
pub mod defaulter;
pub mod protection;
pub mod review;
pub mod templates;
pub mod validator;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use kube::{Api, Client, ResourceExt, api::ListParams};
use tokio::time::Instant;

use self::{
    protection::Caretakers,
    review::{Ask, Verdict},
    templates::Lookup,
};
use crate::{
    api::MultigresCluster,
    host::{BoxedListener, system_time},
    labels,
    observability::{
        Failure, Telemetry, TraceOrigin, current_span_context, propagation,
        server::{Answer, Handler, serve, text},
        span::{begin, set_attribute, step},
    },
    tls::server::ServerTls,
};

/// The longest review that is read: twice the largest object, and a little for the rest.
pub const REVIEW_BYTES_MAX: usize = 7 << 20;

/// Why a request cannot be judged, or is refused.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// The object is none of this kind.
    #[error("the object cannot be read as {kind}: {source}")]
    Object {
        /// The kind.
        kind: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The API server cannot be asked for what has to be known.
    #[error("the API server cannot be asked: {0}")]
    Api(#[from] kube::Error),
    /// The object is wrong; one sentence for each mistake.
    #[error("{}", .0.join("; "))]
    Invalid(Vec<String>),
    /// Nobody may do this.
    #[error("{0}")]
    Forbidden(String),
}

impl Failure for WebhookError {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Object { .. } => "WebhookError::Object",
            Self::Api(_) => "WebhookError::Api",
            Self::Invalid(_) => "WebhookError::Invalid",
            Self::Forbidden(_) => "WebhookError::Forbidden",
        }
    }
}

/// Answers reviews.
#[derive(Clone)]
pub struct Webhooks {
    client: Client,
    telemetry: Telemetry,
    caretakers: Arc<Caretakers>,
}

/// What a path is for.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Route {
    Default,
    Validate,
    Template(&'static str),
    Child(&'static str),
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        let (action, kind) = path.strip_prefix('/')?.split_once("-multigres-com-v1alpha1-")?;
        Some(match (action, kind) {
            ("mutate", "multigrescluster") => Self::Default,
            ("validate", "multigrescluster") => Self::Validate,
            ("validate", "coretemplate") => Self::Template("CoreTemplate"),
            ("validate", "celltemplate") => Self::Template("CellTemplate"),
            ("validate", "shardtemplate") => Self::Template("ShardTemplate"),
            ("validate", "cell") => Self::Child("Cell"),
            ("validate", "shard") => Self::Child("Shard"),
            ("validate", "toposerver") => Self::Child("TopoServer"),
            ("validate", "tablegroup") => Self::Child("TableGroup"),
            _ => return None,
        })
    }

    /// Labels of the metrics, and the span: operation, kind, name. What protects children and templates opens none, as in the original:
    /// it would stand alone, one root for each write of the operator itself.
    fn told_as(self) -> (&'static str, &'static str, Option<&'static str>) {
        match self {
            Self::Default => ("DEFAULT", "MultigresCluster", Some("Webhook.Default")),
            Self::Validate => ("VALIDATE", "MultigresCluster", Some("Webhook.Validate")),
            Self::Template(kind) | Self::Child(kind) => ("VALIDATE", kind, None),
        }
    }
}

impl Webhooks {
    /// Speaks for the service account `account` of `namespace`.
    pub fn new(client: Client, telemetry: Telemetry, namespace: &str, account: &str) -> Self {
        Self { client, telemetry, caretakers: Arc::new(Caretakers::new(namespace, account)) }
    }

    /// Serves a port. Never ends by itself.
    pub async fn serve(self, listener: BoxedListener, tls: ServerTls) {
        let telemetry = self.telemetry.clone();
        let handler: Handler = Arc::new(move |request, _| {
            let webhooks = self.clone();
            Box::pin(async move { webhooks.answer(request).await })
        });
        serve(listener, Some(tls), REVIEW_BYTES_MAX, telemetry, handler).await;
    }

    async fn answer(&self, request: Request<Bytes>) -> Answer {
        let Some(route) = Route::of(request.uri().path()) else {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        if *request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        }
        let started = Instant::now();
        let (operation, kind, span) = route.told_as();
        let outcome = match Ask::read(request.body()) {
            Ok(ask) => Ok(self.judge(route, span, ask, operation, kind, started).await),
            Err(why) => {
                tracing::error!(error = %why, "a review cannot be read");
                self.telemetry.metrics().observe_webhook(operation, kind, false, started.elapsed());
                Err(why)
            }
        };
        match outcome {
            Ok(review) => {
                let mut answer = Response::new(Full::from(review.to_string()));
                answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                answer
            }
            Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        }
    }

    /// Judges one review in a span of its own; the answer is a review, too.
    async fn judge(
        &self,
        route: Route,
        span: Option<&'static str>,
        ask: Ask,
        operation: &'static str,
        kind: &'static str,
        started: Instant,
    ) -> serde_json::Value {
        let judged = async {
            set_attribute("k8s.resource.kind", kind);
            set_attribute("k8s.resource.name", ask.name.clone());
            set_attribute("k8s.namespace", ask.namespace.clone());
            set_attribute("webhook.operation", ask.operation.clone());
            let result = match route {
                Route::Default => self.fill_in(&ask).await,
                Route::Validate => Box::pin(self.validate(&ask)).await,
                Route::Template(kind) => self.template(kind, &ask).await,
                Route::Child(kind) => self.caretakers.judge(kind, &ask).map(|()| Verdict::allowed()),
            };
            self.telemetry.metrics().observe_webhook(operation, kind, result.is_ok(), started.elapsed());
            let verdict = match &result {
                Ok(verdict) => {
                    tracing::debug!(operation, kind, name = %ask.name, namespace = %ask.namespace, "admission request allowed");
                    verdict.clone()
                }
                Err(error) => {
                    tracing::warn!(operation, kind, name = %ask.name, namespace = %ask.namespace, user = %ask.user, error = %error, "admission request refused");
                    Verdict::refused(error)
                }
            };
            (verdict.review(&ask.uid), result.map(drop))
        };
        let Some(span) = span else { return judged.await.0 };
        let origin = match propagation::origin(&ask.annotations(), system_time()) {
            // What is asked about a change belongs to its trace.
            TraceOrigin::Child(parent) if route == Route::Validate => TraceOrigin::Child(parent),
            // A change begins a trace of its own, and so does a question about none.
            _ => TraceOrigin::Root,
        };
        begin(span, origin, judged).await
    }

    async fn fill_in(&self, ask: &Ask) -> Result<Verdict, WebhookError> {
        let cluster: MultigresCluster = ask.object("MultigresCluster")?;
        let lookup = Lookup::of(&self.client, &ask.namespace, [&cluster.spec]).await?;
        let mut filled = cluster.clone();
        filled.metadata.namespace = Some(ask.namespace.clone());
        let decisions = defaulter::fill_in(&mut filled, &lookup);
        let mut verdict = Verdict::allowed();
        if filled.spec != cluster.spec {
            verdict.replace("/spec", &filled.spec);
        }
        let mut annotations = cluster.annotations().clone();
        if !decisions.is_empty() {
            // The controller finds nothing left out any more: it tells what was decided here.
            annotations.insert(labels::IMPLICIT_DEFAULTS.to_owned(), decisions.join("; "));
        }
        // A change of nothing stays one: it begins no trace.
        let before = ask.old_object::<MultigresCluster>();
        if before.is_none_or(|before| before.spec != filled.spec)
            && let Some(context) = current_span_context()
        {
            annotations.retain(|name, _| name != propagation::TRACESTATE_ANNOTATION);
            annotations.extend(propagation::annotations(&context, system_time()));
        }
        if annotations != *cluster.annotations() {
            verdict.replace("/metadata/annotations", &annotations);
        }
        Ok(verdict)
    }

    async fn validate(&self, ask: &Ask) -> Result<Verdict, WebhookError> {
        let cluster: MultigresCluster = ask.object("MultigresCluster")?;
        // What is on its way out may lack anything.
        if cluster.metadata.deletion_timestamp.is_some() {
            return Ok(Verdict::allowed());
        }
        // What stays as it is was judged before: a stricter rule must not hold up a label or a finalizer.
        let old = ask.old_object::<MultigresCluster>();
        let changes = old.as_ref().is_none_or(|old| old.spec != cluster.spec);
        let old = old.filter(|_| changes);
        let lookup = step("Webhook.ValidateTemplatesExist", async {
            let specs = [&cluster].into_iter().chain(&old).map(|cluster| &cluster.spec);
            let lookup = Lookup::of(&self.client, &ask.namespace, specs).await?;
            let missing = validator::missing_templates(&cluster, &lookup);
            if missing.is_empty() { Ok(lookup) } else { Err(WebhookError::Invalid(missing)) }
        })
        .await?;
        let warnings = step("Webhook.ValidateLogic", async {
            let warnings = validator::logic(&cluster, &lookup).map_err(WebhookError::Invalid)?;
            let mut wrong = Vec::new();
            if changes {
                wrong = validator::resolved(&cluster, old.as_ref(), &lookup);
                wrong.extend(self.shared_topology(ask, &cluster).await?);
            }
            if wrong.is_empty() { Ok(warnings) } else { Err(WebhookError::Invalid(wrong)) }
        })
        .await?;
        Ok(Verdict::allowed().warning(warnings))
    }

    /// Which clusters keep their records where this one, which uses somebody else's topology server, would.
    async fn shared_topology(&self, ask: &Ask, cluster: &MultigresCluster) -> Result<Vec<String>, WebhookError> {
        if cluster.spec.global_topo_server.as_ref().is_none_or(|topo| topo.external.is_none()) {
            return Ok(Vec::new());
        }
        let api: Api<MultigresCluster> = Api::all(self.client.clone());
        let others = api.list(&ListParams::default()).await?.items;
        let mut cluster = cluster.clone();
        cluster.metadata.namespace = Some(ask.namespace.clone());
        Ok(validator::shared_topology(&cluster, &others))
    }

    async fn template(&self, kind: &'static str, ask: &Ask) -> Result<Verdict, WebhookError> {
        if ask.operation != "DELETE" {
            return Ok(Verdict::allowed());
        }
        // Asked anew: a cluster that names the template may be a moment old.
        let api: Api<MultigresCluster> = Api::namespaced(self.client.clone(), &ask.namespace);
        let clusters = api.list(&ListParams::default()).await?.items;
        protection::template_in_use(kind, &ask.name, &clusters)
            .map_or(Ok(Verdict::allowed()), |why| Err(WebhookError::Forbidden(why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_original() {
        for (path, route) in [
            ("/mutate-multigres-com-v1alpha1-multigrescluster", Some(Route::Default)),
            ("/validate-multigres-com-v1alpha1-multigrescluster", Some(Route::Validate)),
            ("/validate-multigres-com-v1alpha1-celltemplate", Some(Route::Template("CellTemplate"))),
            ("/validate-multigres-com-v1alpha1-tablegroup", Some(Route::Child("TableGroup"))),
            ("/mutate-multigres-com-v1alpha1-cell", None),
            ("/validate-multigres-com-v1-cell", None),
            ("/", None),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
