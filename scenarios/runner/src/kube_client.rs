//! The Kubernetes API as a user of it: kinds found by discovery, objects applied, patched, deleted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use scenario_expectations::{BackendError, backends::Result};
use serde_json::{Value, json};
use sim_net::{Host, http::Client};

const API_SERVER: &str = "http://kubernetes.default.svc:443";
const BACKEND: &str = "the Kubernetes API";
/// The field manager of what a scenario's user applies.
const FIELD_MANAGER: &str = "kubectl";

/// Where the objects of a kind are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Resource {
    /// `/api/v1` or `/apis/<group>/<version>`.
    base: String,
    plural: String,
    namespaced: bool,
}

/// Kind and namespace of a list.
type ListKey = (String, Option<String>);

/// A client of the world's API server.
pub struct KubeClient {
    http: Client,
    resources: Mutex<BTreeMap<String, Resource>>,
    /// The revision of everything that the API server stores.
    revision: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Lists with the revision before they were asked for. Whoever looks again and again at a world in which nothing
    /// changes need not ask each time.
    lists: Mutex<BTreeMap<ListKey, (u64, Arc<Vec<Value>>)>>,
}

impl KubeClient {
    /// A client on `host`; `revision` grows with every change of what the API server stores.
    pub fn new(host: Host, revision: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            http: Client::new(host),
            resources: Mutex::default(),
            revision: Box::new(revision),
            lists: Mutex::default(),
        }
    }

    /// The items of a list of a kind's objects.
    pub async fn list(&self, kind: &str, namespace: Option<&str>) -> Result<Arc<Vec<Value>>> {
        let key = (kind.to_owned(), namespace.map(ToOwned::to_owned));
        let revision = (self.revision)();
        let known = self.lists.lock().expect("no code panics while it holds the lists").get(&key).cloned();
        if let Some((_, items)) = known.filter(|(asked, _)| *asked == revision) {
            return Ok(items);
        }
        let items = Arc::new(self.ask_for_list(kind, namespace).await?);
        self.lists.lock().expect("no code panics while it holds the lists").insert(key, (revision, items.clone()));
        Ok(items)
    }

    async fn ask_for_list(&self, kind: &str, namespace: Option<&str>) -> Result<Vec<Value>> {
        let resource = self.resource(kind).await?;
        let (status, body) = self.ask(Method::GET, &resource.path(namespace, None), None).await?;
        let mut body = accepted(status, body)?;
        let Some(Value::Array(mut items)) = body.get_mut("items").map(Value::take) else {
            return Err(malformed("a list without items"));
        };
        // Items of a list do not say what they are.
        for item in &mut items {
            item["kind"] = Value::String(kind.to_owned());
        }
        Ok(items)
    }

    /// One object, `None` where there is none.
    pub async fn get(&self, kind: &str, namespace: Option<&str>, name: &str) -> Result<Option<Value>> {
        let resource = self.resource(kind).await?;
        let (status, body) = self.ask(Method::GET, &resource.path(namespace, Some(name)), None).await?;
        if status == StatusCode::NOT_FOUND { Ok(None) } else { accepted(status, body).map(Some) }
    }

    /// Applies an object on the server side, as `kubectl apply --server-side` does.
    pub async fn apply(&self, object: &Value) -> Result<Value> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = self.resource(&text(&object["kind"])).await?;
        let namespace = object["metadata"]["namespace"].as_str();
        let path = resource.path(namespace.or(Some("default")), Some(&text(&object["metadata"]["name"])));
        let path = format!("{path}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict&force=true");
        let (status, body) =
            self.ask(Method::PATCH, &path, Some(("application/apply-patch+yaml", object.to_string()))).await?;
        accepted(status, body)
    }

    /// Changes an object as `kubectl patch` does: strategically where its kind is built in, else with a JSON merge patch.
    pub async fn patch(&self, kind: &str, namespace: &str, name: &str, patch: &Value) -> Result<Value> {
        let resource = self.resource(kind).await?;
        let content_type = if resource.is_built_in() {
            "application/strategic-merge-patch+json"
        } else {
            "application/merge-patch+json"
        };
        let path = resource.path(Some(namespace), Some(name));
        let (status, body) = self.ask(Method::PATCH, &path, Some((content_type, patch.to_string()))).await?;
        accepted(status, body)
    }

    /// Deletes an object, with `DeleteOptions` where some are given.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str, options: Option<&Value>) -> Result<()> {
        let path = self.resource(kind).await?.path(Some(namespace), Some(name));
        let body = options.map(|options| ("application/json", options.to_string()));
        let (status, body) = self.ask(Method::DELETE, &path, body).await?;
        accepted(status, body).map(|_| ())
    }

    /// A token of a service account, as a pod of it has one.
    pub async fn token(&self, namespace: &str, account: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let (status, body) = self.ask(Method::POST, &path, Some(("application/json", request.to_string()))).await?;
        let body = accepted(status, body)?;
        body["status"]["token"]
            .as_str()
            .map(ToOwned::to_owned)
            .ok_or_else(|| malformed("a token request without a token"))
    }

    async fn resource(&self, kind: &str) -> Result<Resource> {
        if let Some(known) = self.known(kind) {
            return Ok(known);
        }
        self.discover().await?;
        self.known(kind).ok_or_else(|| BackendError::Refused {
            backend: BACKEND,
            status: 404,
            message: format!("no resource has the kind {kind}"),
        })
    }

    fn known(&self, kind: &str) -> Option<Resource> {
        self.resources.lock().expect("no code panics while it holds the resources").get(kind).cloned()
    }

    async fn discover(&self) -> Result<()> {
        let mut bases = vec!["/api/v1".to_owned()];
        let (status, groups) = self.ask(Method::GET, "/apis", None).await?;
        for group in accepted(status, groups)?["groups"].as_array().into_iter().flatten() {
            let version = group["preferredVersion"]["groupVersion"].as_str();
            bases.push(format!("/apis/{}", version.ok_or_else(|| malformed("a group without a preferred version"))?));
        }
        for base in bases {
            let (status, list) = self.ask(Method::GET, &base, None).await?;
            for found in accepted(status, list)?["resources"].as_array().into_iter().flatten() {
                let (Some(plural), Some(kind)) = (found["name"].as_str(), found["kind"].as_str()) else { continue };
                if plural.contains('/') {
                    continue;
                }
                let resource = Resource {
                    base: base.clone(),
                    plural: plural.to_owned(),
                    namespaced: found["namespaced"].as_bool().unwrap_or(false),
                };
                let mut resources = self.resources.lock().expect("no code panics while it holds the resources");
                // The core group comes first: `Event` is core/v1's.
                resources.entry(kind.to_owned()).or_insert(resource);
            }
        }
        Ok(())
    }

    async fn ask(&self, method: Method, path: &str, body: Option<(&str, String)>) -> Result<(StatusCode, Value)> {
        let mut request = Request::builder().method(method).uri(format!("{API_SERVER}{path}"));
        if let Some((content_type, _)) = &body {
            request = request.header(CONTENT_TYPE, *content_type);
        }
        let body = body.map_or_else(Bytes::new, |(_, body)| Bytes::from(body));
        let request = request.body(body).map_err(|error| malformed(&error.to_string()))?;
        let response = self
            .http
            .send(request)
            .await
            .map_err(|error| BackendError::Unreachable { backend: BACKEND, reason: error.to_string() })?;
        let value = serde_json::from_slice(response.body()).map_err(|error| malformed(&error.to_string()))?;
        Ok((response.status(), value))
    }
}

impl Resource {
    /// Groups of custom resources have a dot and are not of Kubernetes itself.
    fn is_built_in(&self) -> bool {
        let group = self.base.strip_prefix("/apis/").and_then(|rest| rest.split('/').next());
        group.is_none_or(|group| !group.contains('.') || group.ends_with(".k8s.io"))
    }

    fn path(&self, namespace: Option<&str>, name: Option<&str>) -> String {
        let mut path = self.base.clone();
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str("/namespaces/");
            path.push_str(namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        if let Some(name) = name {
            path.push('/');
            path.push_str(name);
        }
        path
    }
}

fn accepted(status: StatusCode, body: Value) -> Result<Value> {
    if status.is_success() {
        return Ok(body);
    }
    let message = body["message"].as_str().map_or_else(|| body.to_string(), ToOwned::to_owned);
    Err(BackendError::Refused { backend: BACKEND, status: status.as_u16(), message })
}

fn malformed(reason: &str) -> BackendError {
    BackendError::Malformed { backend: BACKEND, reason: reason.to_owned() }
}
