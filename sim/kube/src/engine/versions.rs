//! What `resourceVersion`, `resourceVersionMatch` and `continue` ask of a read, and what is wrong with them.
//!
//! Source: Kubernetes' API concepts ("Resource versions"), the list option validation of `apimachinery`, and the storage
//! layer's continue tokens (base64url without padding of `{"v","rv","start"}`; `rv` -1 continues at the newest revision).

use base64::Engine as _;
use serde_json::{Value, json};

use super::store::Key;
use crate::status::{About, Cause, Status};

/// Longest continue token that is read, in bytes: a key is at most a namespace of 63 and a name of 253 characters.
pub const CONTINUE_TOKEN_BYTES_MAX: usize = 4096;

/// From which revision a read is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadVersion {
    /// The newest.
    #[default]
    Latest,
    /// Any: what the real server has in its cache. `limit` is ignored, as there.
    Any,
    /// The newest, which must not be older than this.
    NotOlderThan(u64),
    /// This one.
    Exact(u64),
}

/// The text of a number that is none, as Go's `strconv` has it.
fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let why = if digits { "value out of range" } else { "invalid syntax" };
        let field = format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: {why}");
        field
    })
}

impl ReadVersion {
    /// Of a get.
    ///
    /// # Errors
    /// 400 for what is no version.
    pub fn of_get(version: &str) -> Result<Self, Status> {
        Ok(match version {
            "" => Self::Latest,
            text => match number(text).map_err(|e| Status::bad_request(format!("invalid resource version: {e}")))? {
                0 => Self::Any,
                revision => Self::NotOlderThan(revision),
            },
        })
    }

    /// Of a list: its options as they came.
    ///
    /// # Errors
    /// 422 for options that do not go together, 400 for what is no version.
    pub fn of_list(version: &str, matching: &str, limit: usize, continue_token: &str) -> Result<Self, Status> {
        let causes = match_causes(version, matching, continue_token);
        if !causes.is_empty() {
            return Err(list_options(&causes));
        }
        if version.is_empty() {
            return Ok(Self::Latest);
        }
        let revision = number(version).map_err(|e| Status::bad_request(format!("invalid resource version: {e}")))?;
        if !continue_token.is_empty() && revision != 0 {
            return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
        }
        Ok(match (matching, revision) {
            _ if !continue_token.is_empty() => Self::Latest,
            (_, 0) => Self::Any,
            ("Exact", revision) => Self::Exact(revision),
            // A limit without a match has always meant exactly this version.
            ("", revision) if limit > 0 => Self::Exact(revision),
            (_, revision) => Self::NotOlderThan(revision),
        })
    }

    /// The revision that has to be there before the read can be answered.
    pub fn needs(self) -> Option<u64> {
        match self {
            Self::Latest | Self::Any => None,
            Self::NotOlderThan(revision) | Self::Exact(revision) => Some(revision),
        }
    }
}

fn forbidden(text: &str) -> Cause {
    Cause::new("FieldValueForbidden", "resourceVersionMatch", format!("Forbidden: {text}"))
}

fn match_causes(version: &str, matching: &str, continue_token: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    if matching.is_empty() {
        return causes;
    }
    if version.is_empty() {
        causes.push(forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided"));
    }
    if !continue_token.is_empty() {
        causes.push(forbidden("resourceVersionMatch is forbidden when continue is provided"));
    }
    if !matches!(matching, "Exact" | "NotOlderThan") {
        causes.push(Cause::new(
            "FieldValueNotSupported",
            "resourceVersionMatch",
            format!("Unsupported value: {matching:?}: supported values: \"Exact\", \"NotOlderThan\", \"\""),
        ));
    }
    if matching == "Exact" && version == "0" {
        causes.push(forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
    }
    causes
}

/// Why the options of a watch do not go together: `initial` is `sendInitialEvents`, if it is given.
pub(crate) fn watch_causes(matching: &str, continue_token: &str, initial: Option<bool>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if initial.is_some() && matching != "NotOlderThan" {
        causes.push(forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
    }
    if matching.is_empty() {
        return causes;
    }
    if initial.is_none() {
        causes.push(forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"));
    }
    if matching != "NotOlderThan" {
        causes.push(Cause::new(
            "FieldValueNotSupported",
            "resourceVersionMatch",
            format!("Unsupported value: {matching:?}: supported values: \"NotOlderThan\""),
        ));
    }
    if !continue_token.is_empty() {
        causes.push(forbidden("resourceVersionMatch is forbidden when continue is provided"));
    }
    causes
}

/// After which revision a watch begins; `None`: with what there is.
///
/// # Errors
/// 500 for what is no version: the real server's registry hands this error of its storage on as it is, without a reason.
pub(crate) fn of_watch(version: &str) -> Result<Option<u64>, Status> {
    match version {
        "" | "0" => Ok(None),
        text => number(text).map(Some).map_err(|why| Status::new(500, "", why)),
    }
}

fn list_options(causes: &[Cause]) -> Status {
    Status::invalid(About { group: "meta.k8s.io", plural: "", kind: "ListOptions" }, "", causes)
}

/// The 504 for a version that the server has not come to yet.
pub(crate) fn too_large(wanted: u64, current: u64) -> Status {
    let text = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let mut status = Status::new(504, "Timeout", text);
    status.details = Some(Box::new(json!({
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    })));
    status
}

/// The 410 for an exact version that is compacted.
pub(super) fn list_expired() -> Status {
    Status::expired("The resourceVersion for the provided list is too old.")
}

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Continue {
    /// The revision of all pages, or -1: whatever is newest.
    pub revision: i64,
    /// The last key that was served.
    pub after: Key,
}

impl Continue {
    /// The token; `namespaced` says whether the list is of one namespace (whose name the key then leaves out).
    pub fn token(&self, namespaced: bool) -> String {
        let start = match (namespaced, self.after.namespace.as_str()) {
            (true, _) | (_, "") => format!("{}\0", self.after.name),
            (false, namespace) => format!("{namespace}/{}\0", self.after.name),
        };
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .encode(json!({"v": "meta.k8s.io/v1", "rv": self.revision, "start": start}).to_string())
    }

    /// Reads a token of a list of `namespace` (empty: of all, or of a cluster-scoped resource).
    pub fn read(token: &str, namespace: &str, spread: bool) -> Result<Self, Status> {
        let bad = |why: &str| Status::bad_request(format!("invalid continue token: {why}"));
        if token.len() > CONTINUE_TOKEN_BYTES_MAX {
            return Err(bad("continue key is not valid: it is too long"));
        }
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token).map_err(|_| {
            let known = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            let at = token.as_bytes().iter().position(|b| !known(b)).unwrap_or(token.len());
            bad(&format!("continue key is not valid: illegal base64 data at input byte {at}"))
        })?;
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|e| bad(&format!("continue key is not valid: {e}")))?;
        match value["v"].as_str() {
            Some("meta.k8s.io/v1") => {}
            other => {
                return Err(bad(&format!(
                    "continue key is not valid: server does not recognize this encoded version \"{}\"",
                    other.unwrap_or_default()
                )));
            }
        }
        let revision = value["rv"].as_i64().unwrap_or(0);
        if revision == 0 {
            return Err(bad(
                "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        let start = value["start"].as_str().unwrap_or_default();
        if start.is_empty() {
            return Err(bad("continue key is not valid: encoded start key empty (version meta.k8s.io/v1)"));
        }
        let last = start.strip_suffix('\0').unwrap_or(start);
        let after = match last.split_once('/') {
            Some((namespace, name)) if spread => Key::new(namespace, name),
            None if !spread => Key::new(namespace, last),
            _ => return Err(bad(&format!("continue key is not valid: {start:?}"))),
        };
        Ok(Self { revision, after })
    }
}

/// The 410 for a continuation whose revision is compacted; it carries a token with which the rest can be had all the same.
pub(super) fn continue_expired(after: &Key, namespaced: bool) -> Status {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without \
         the continue parameter, or use the continue token in this response to retrieve the remainder of the results. \
         Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
         deleted between the time the first chunk was returned and now may show up in the list.",
    );
    status.continue_token = Continue { revision: -1, after: after.clone() }.token(namespaced);
    status
}
