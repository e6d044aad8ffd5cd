//! What is known of a request on its way through the chain.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};

use super::{faults::Reading, params::Params, route};
use crate::{
    access::{Connection, UserInfo},
    faults::RequestInfo,
    status::Status,
};

/// Most characters of a field manager's name, as `metav1` limits it.
const FIELD_MANAGER_CHARS_MAX: usize = 128;

/// A request, its parsed path and query, and who sent it.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// HTTP method.
    pub method: Method,
    /// Verb and names, from method, path and query; a path that names no resource has an empty `resource`.
    pub info: RequestInfo,
    /// The path's parts, decoded.
    pub parts: Vec<String>,
    /// Query parameters.
    pub params: Params,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
    /// The connection, for those who speak something else on it after the answer.
    pub(super) upgrade: Option<hyper::upgrade::OnUpgrade>,
    /// What the connection says of its client; `None` inside the process.
    pub connection: Option<Connection>,
    /// Who asks; nobody until authentication.
    pub user: UserInfo,
    /// What fault rules want of a read.
    pub(super) reading: Reading,
    /// Whether a resource was found that serves it: only then it is counted.
    pub(super) served: bool,
}

impl RequestContext {
    /// Reads method, path and query of a request.
    ///
    /// # Errors
    /// 405 for methods that no resource knows.
    pub fn new(request: Request<Bytes>) -> Result<Self, Status> {
        let (mut head, body) = request.into_parts();
        let connection = head.extensions.remove::<Connection>();
        let upgrade = head.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let params = Params::parse(head.uri.query().unwrap_or(""));
        let parts: Vec<String> =
            head.uri.path().split('/').filter(|p| !p.is_empty()).map(super::params::decode_path).collect();
        let agent = agent(&head.headers);
        let info = route::request_info(&head.method, &parts, &params, agent);
        Ok(Self {
            method: head.method,
            info,
            parts,
            params,
            headers: head.headers,
            body,
            upgrade,
            connection,
            user: UserInfo::default(),
            reading: Reading::default(),
            served: false,
        })
    }

    /// A header's text, or empty.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }

    /// The field manager of a write that names none: the user agent's product.
    pub fn default_manager(&self) -> String {
        self.info.user_agent.chars().filter(|c| !c.is_control()).take(FIELD_MANAGER_CHARS_MAX).collect()
    }
}

fn agent(headers: &HeaderMap) -> String {
    let agent = headers.get("user-agent").and_then(|v| v.to_str().ok()).unwrap_or("unknown");
    agent.split(['/', ' ']).next().unwrap_or("unknown").to_owned()
}
