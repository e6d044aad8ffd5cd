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
//! need and opens the spans; `pending` times and counts every outcome. [`keeper`] keeps the port's certificate,
//! and [`certificates`] makes it, and what the API server knows of it, where nobody else does.

pub mod certificates;
pub mod defaulter;
pub mod keeper;
mod pending;
pub mod protection;
pub mod review;
pub mod templates;
pub mod validator;

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::Full;
use kube::{Api, Client, ResourceExt, api::ListParams};
use tokio::sync::Semaphore;

use self::{
    pending::Pending,
    protection::{Caretakers, NAMESPACE_CONTROLLER},
    review::{Ask, Verdict},
    templates::Lookup,
};
use crate::{
    api::MultigresCluster,
    host::{BoxedListener, system_time},
    labels,
    observability::{
        Failure, Telemetry, TraceOrigin, current_span_context, propagation,
        server::{Answer, Asked, Ending, Handler, Port, serve, text},
        span::{begin, set_attribute, step},
    },
    tls::server::ServerTls,
};

/// Connections that the port holds at the same time. An API server keeps up to 25 open for each of the nine paths: room for three of
/// them, and for others.
pub const CONNECTIONS_MAX: usize = 1024;
/// The longest review that is read: twice the largest object, and a little for the rest.
pub const REVIEW_BYTES_MAX: usize = 7 << 20;
/// Reviews up to this length are read at once: a cluster, twice, is far shorter.
pub const REVIEW_BYTES_SMALL: usize = 64 << 10;
/// Bytes of longer reviews that are read and judged at the same time; who comes further waits.
pub const LONG_REVIEWS_BYTES_MAX: usize = 4 * REVIEW_BYTES_MAX;

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
    /// The API server did not answer in time what had to be asked of it.
    #[error("the API server did not answer within {0:?} what had to be asked of it")]
    Late(Duration),
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
            Self::Late(_) => "WebhookError::Late",
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
    /// A permit a byte.
    room: Arc<Semaphore>,
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
        let caretakers = Arc::new(Caretakers::new(namespace, account));
        Self { client, telemetry, caretakers, room: Arc::new(Semaphore::new(LONG_REVIEWS_BYTES_MAX)) }
    }

    /// Serves a port until the operator's end.
    pub async fn serve(self, listener: BoxedListener, tls: ServerTls, ending: Ending) {
        let telemetry = self.telemetry.clone();
        let port = Port { listener, tls: Some(tls), connections_max: CONNECTIONS_MAX, ending };
        serve(port, telemetry, self.handler()).await;
    }

    fn handler(self) -> Handler {
        Arc::new(move |asked| {
            let webhooks = self.clone();
            Box::pin(async move { webhooks.answer(asked).await })
        })
    }

    async fn answer(&self, asked: Asked) -> Answer {
        let Some(route) = Route::of(asked.request.uri().path()) else {
            return text(StatusCode::NOT_FOUND, "404 page not found\n");
        };
        if *asked.request.method() != Method::POST {
            return text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
        }
        let (operation, kind, span) = route.told_as();
        let pending = Pending::new(self.telemetry.clone(), operation, kind, asked.request.uri().query());
        let unread = |pending: Pending, why: &dyn std::fmt::Display| {
            tracing::error!(operation, kind, error = %why, "a review cannot be read");
            pending.done(false);
        };
        let length = asked.announced_bytes().unwrap_or(REVIEW_BYTES_MAX);
        let room = (REVIEW_BYTES_SMALL + 1..=REVIEW_BYTES_MAX).contains(&length).then_some(length as u32);
        let _room = match pending.in_its_time(self.room.acquire_many(room.unwrap_or_default())).await {
            Some(room) => room,
            None => {
                unread(pending, &"too many long reviews at the same time");
                return text(StatusCode::SERVICE_UNAVAILABLE, "too many long reviews at the same time\n");
            }
        };
        let request = match asked.whole(REVIEW_BYTES_MAX).await {
            Ok(request) => request,
            Err(refusal) => {
                unread(pending, &refusal);
                return refusal.answer();
            }
        };
        match Ask::read(request.body()) {
            Ok(ask) => {
                let review = self.judge(route, span, ask, pending).await;
                let mut answer = Response::new(Full::from(review.to_string()));
                answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                answer
            }
            Err(why) => {
                unread(pending, &why);
                text(StatusCode::BAD_REQUEST, format!("{why}\n"))
            }
        }
    }

    /// Judges one review in a span of its own; the answer is a review, too.
    async fn judge(
        &self,
        route: Route,
        span: Option<&'static str>,
        ask: Ask,
        mut pending: Pending,
    ) -> serde_json::Value {
        let (operation, kind, _) = route.told_as();
        // Boxed: each layer around a future copies it.
        let judged = Box::pin(async {
            pending.belongs_to_this_span();
            set_attribute("k8s.resource.kind", kind);
            set_attribute("k8s.resource.name", ask.name.clone());
            set_attribute("k8s.namespace", ask.namespace.clone());
            set_attribute("webhook.operation", ask.operation.clone());
            let result = match route {
                Route::Default => self.fill_in(&ask, &pending).await,
                Route::Validate => Box::pin(self.validate(&ask, &pending)).await,
                Route::Template(kind) => self.template(kind, &ask, &pending).await,
                Route::Child(kind) => self.caretakers.judge(kind, &ask).map(|()| Verdict::allowed()),
            };
            pending.done(result.is_ok());
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
        });
        let Some(span) = span else { return judged.await.0 };
        let origin = match propagation::origin(ask.annotations(), system_time()) {
            // What is asked about a change belongs to its trace.
            TraceOrigin::Child(parent) if route == Route::Validate => TraceOrigin::Child(parent),
            // A change begins a trace of its own, and so does a question about none.
            _ => TraceOrigin::Root,
        };
        begin(span, origin, judged).await
    }

    async fn fill_in(&self, ask: &Ask, pending: &Pending) -> Result<Verdict, WebhookError> {
        // What cannot be read is for the API server to refuse: it says in which field, and it looks after the defaults are filled in.
        let Ok(cluster) = ask.object::<MultigresCluster>("MultigresCluster") else { return Ok(Verdict::allowed()) };
        let lookup = pending.in_time(Lookup::of(&self.client, &ask.namespace, [&cluster.spec])).await?;
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

    async fn validate(&self, ask: &Ask, pending: &Pending) -> Result<Verdict, WebhookError> {
        let cluster: MultigresCluster = ask.object("MultigresCluster")?;
        // What is on its way out may lack anything.
        if cluster.metadata.deletion_timestamp.is_some() {
            return Ok(Verdict::allowed());
        }
        // What stays as it is was judged before. Neither a stricter rule nor a template that is gone may hold up a label or a finalizer:
        // what the cluster has become wrong by is told as a warning.
        let old = ask.old_object::<MultigresCluster>();
        let changes = old.as_ref().is_none_or(|old| old.spec != cluster.spec);
        let old = old.filter(|_| changes);
        let (lookup, missing) = step("Webhook.ValidateTemplatesExist", async {
            let specs = [&cluster].into_iter().chain(&old).map(|cluster| &cluster.spec);
            let lookup = pending.in_time(Lookup::of(&self.client, &ask.namespace, specs)).await?;
            let missing = validator::missing_templates(&cluster, &lookup);
            if missing.is_empty() || !changes { Ok((lookup, missing)) } else { Err(WebhookError::Invalid(missing)) }
        })
        .await?;
        let mut warnings = missing;
        let logic = step("Webhook.ValidateLogic", async {
            if !changes {
                return Ok(validator::logic(&cluster, &lookup).unwrap_or_else(|wrong| wrong));
            }
            let mut warnings = validator::logic(&cluster, &lookup).map_err(WebhookError::Invalid)?;
            warnings.extend(old.as_ref().and_then(|old| validator::records_left_behind(&cluster, old, &lookup)));
            warnings.extend(validator::cut_replica_names(&cluster, &lookup));
            let mut wrong = validator::resolved(&cluster, old.as_ref(), &lookup);
            wrong.extend(self.shared_topology(ask, &cluster, pending).await?);
            if wrong.is_empty() { Ok(warnings) } else { Err(WebhookError::Invalid(wrong)) }
        });
        warnings.extend(logic.await?);
        Ok(Verdict::allowed().warning(warnings))
    }

    /// Which clusters keep their records where this one, which uses somebody else's topology server, would.
    async fn shared_topology(
        &self,
        ask: &Ask,
        cluster: &MultigresCluster,
        pending: &Pending,
    ) -> Result<Vec<String>, WebhookError> {
        if cluster.spec.global_topo_server.as_ref().is_none_or(|topo| topo.external.is_none()) {
            return Ok(Vec::new());
        }
        let api: Api<MultigresCluster> = Api::all(self.client.clone());
        let others = pending.in_time(api.list(&ListParams::default())).await?.items;
        let mut cluster = cluster.clone();
        cluster.metadata.namespace = Some(ask.namespace.clone());
        Ok(validator::shared_topology(&cluster, &others))
    }

    async fn template(&self, kind: &'static str, ask: &Ask, pending: &Pending) -> Result<Verdict, WebhookError> {
        // With a namespace everything in it goes, in no order.
        if ask.operation != "DELETE" || ask.user == NAMESPACE_CONTROLLER {
            return Ok(Verdict::allowed());
        }
        // Asked anew: a cluster that names the template may be a moment old.
        let api: Api<MultigresCluster> = Api::namespaced(self.client.clone(), &ask.namespace);
        let clusters = pending.in_time(api.list(&ListParams::default())).await?.items;
        protection::template_in_use(kind, &ask.name, &clusters)
            .map_or(Ok(Verdict::allowed()), |why| Err(WebhookError::Forbidden(why)))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
