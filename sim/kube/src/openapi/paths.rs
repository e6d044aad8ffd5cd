//! Paths of a resource: operations, parameters, bodies.

use serde_json::{Map, Value, json};

use super::{META, definition_name, definition_of, reference, root_path};
use crate::resources::{ResourceType, Subresource};

const JSON: &[&str] = &["application/json", "application/yaml"];
const PATCHES: &[&str] =
    &["application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json"];

/// Query parameters by name: type and what they are for.
fn parameter(name: &str) -> Value {
    let (of, text) = match name {
        "allowWatchBookmarks" => ("boolean", "Requests watch events of type BOOKMARK."),
        "continue" => ("string", "Where a list that was cut off goes on."),
        "dryRun" => ("string", "Everything but the storing; the only value is All."),
        "fieldManager" => ("string", "Name of the actor who makes the changes."),
        "fieldSelector" => ("string", "Restricts the objects returned by their fields."),
        "fieldValidation" => (
            "string",
            "What becomes of requests with unknown or duplicate fields: Ignore, Warn (the default) or Strict.",
        ),
        "force" => ("boolean", "Takes over fields that other managers own; for apply patches only."),
        "gracePeriodSeconds" => ("integer", "Seconds before the object is deleted."),
        "labelSelector" => ("string", "Restricts the objects returned by their labels."),
        "limit" => ("integer", "Most objects of one answer."),
        "orphanDependents" => ("boolean", "Deprecated: use propagationPolicy."),
        "pretty" => ("string", "If 'true', the output is pretty printed."),
        "propagationPolicy" => ("string", "Whether and how dependents are deleted: Orphan, Background or Foreground."),
        "resourceVersion" => ("string", "Which versions a request may be answered from."),
        "resourceVersionMatch" => ("string", "How resourceVersion is applied to lists."),
        "sendInitialEvents" => ("boolean", "Starts a watch with what is there."),
        "timeoutSeconds" => ("integer", "How long a list or watch may last."),
        _ => ("boolean", "Watches for changes and gives them as a stream."),
    };
    json!({"name": name, "in": "query", "description": text, "schema": {"type": of, "uniqueItems": true}})
}

fn parameters(names: &[&str]) -> Value {
    names.iter().map(|n| parameter(n)).collect::<Vec<_>>().into()
}

const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE: &[&str] = &["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];
const DELETE_COLLECTION: &[&str] = &[
    "continue",
    "dryRun",
    "fieldSelector",
    "gracePeriodSeconds",
    "labelSelector",
    "limit",
    "orphanDependents",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
];

fn content(types: &[&str], definition: &str) -> Value {
    let schema = json!({"schema": reference(definition)});
    Value::Object(types.iter().map(|t| ((*t).to_owned(), schema.clone())).collect())
}

/// What an operation is called and about.
struct About<'a> {
    resource: &'a ResourceType,
    /// Kind, group and version of what the operation takes.
    of: (&'a str, &'a str, &'a str),
    /// `Namespaced` or nothing.
    scope: &'a str,
    /// `Status`, `Scale` or nothing.
    sub: String,
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn operation(
    about: &About<'_>,
    verb: &str,
    action: &str,
    query: &[&str],
    body: Option<(&[&str], &str)>,
    gives: &str,
) -> Value {
    let ResourceType { group, version, kind, .. } = about.resource;
    let first = group.split('.').next().unwrap_or("");
    let tag = if group.is_empty() { "core" } else { first };
    let (of_kind, of_group, of_version) = about.of;
    let mut out = json!({
        "tags": [format!("{tag}_{version}")],
        "description": format!("{} {kind}", action_text(action)),
        "operationId": format!("{verb}{}{}{}{kind}{}", capital(tag), capital(version), about.scope, about.sub),
        "parameters": parameters(query),
        "responses": {
            "200": {"description": "OK", "content": content(JSON, gives)},
            "401": {"description": "Unauthorized"},
        },
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": of_group, "kind": of_kind, "version": of_version},
    });
    if let Some((types, definition)) = body {
        out["requestBody"] = json!({"content": content(types, definition), "required": action != "delete" && action != "deletecollection"});
    }
    out
}

fn action_text(action: &str) -> &'static str {
    match action {
        "list" => "list or watch objects of kind",
        "get" => "read the specified",
        "post" => "create a",
        "put" => "replace the specified",
        "patch" => "partially update the specified",
        "delete" => "delete a",
        _ => "delete collection of",
    }
}

fn path_parameters(namespaced: bool, named: bool) -> Value {
    let text = |name: &str, what: &str| json!({"name": name, "in": "path", "description": what, "required": true, "schema": {"type": "string", "uniqueItems": true}});
    let mut out = Vec::new();
    if named {
        out.push(text("name", "name of the object"));
    }
    if namespaced {
        out.push(text("namespace", "object name and auth scope, such as for teams and projects"));
    }
    out.push(parameter("pretty"));
    out.into()
}

/// Every path of a resource with its operations.
pub(super) fn of(resource: &ResourceType) -> Vec<(String, Value)> {
    let root = root_path(&resource.group, &resource.version);
    let own = definition_name(resource);
    let list = format!("{own}List");
    let (status, options, patch) = (format!("{META}Status"), format!("{META}DeleteOptions"), format!("{META}Patch"));
    let scope = if resource.namespaced { "Namespaced" } else { "" };
    let base = if resource.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", resource.plural)
    } else {
        format!("{root}/{}", resource.plural)
    };
    let of = (resource.kind.as_str(), resource.group.as_str(), resource.version.as_str());
    let about = About { resource, of, scope, sub: String::new() };
    let can = |verb: &str| resource.verbs.contains(&verb);
    let patches: Vec<&str> = if resource.custom() {
        PATCHES.to_vec()
    } else {
        [PATCHES, &["application/strategic-merge-patch+json"]].concat()
    };
    let patches = patches.as_slice();
    let mut out = Vec::new();

    let mut collection = Map::new();
    if can("list") {
        collection.insert("get".into(), operation(&about, "list", "list", LIST, None, &list));
    }
    if can("create") {
        collection.insert("post".into(), operation(&about, "create", "post", WRITE, Some((JSON, &own)), &own));
    }
    if can("deletecollection") {
        let deletion = operation(
            &about,
            "deleteCollection",
            "deletecollection",
            DELETE_COLLECTION,
            Some((JSON, &options)),
            &status,
        );
        collection.insert("delete".into(), deletion);
    }
    collection.insert("parameters".into(), path_parameters(resource.namespaced, false));
    out.push((base.clone(), Value::Object(collection)));

    if resource.namespaced && can("list") {
        let across = About { resource, of, scope: "", sub: "ForAllNamespaces".into() };
        let get = operation(&across, "list", "list", &[], None, &list);
        let query: Vec<Value> = LIST.iter().chain(&["pretty"]).map(|n| parameter(n)).collect();
        out.push((format!("{root}/{}", resource.plural), json!({"get": get, "parameters": query})));
    }

    let mut single = Map::new();
    for (verb, method, value) in [
        ("get", "get", operation(&about, "read", "get", &[], None, &own)),
        ("update", "put", operation(&about, "replace", "put", WRITE, Some((JSON, &own)), &own)),
        ("patch", "patch", operation(&about, "patch", "patch", PATCH, Some((patches, &patch)), &own)),
        ("delete", "delete", operation(&about, "delete", "delete", DELETE, Some((JSON, &options)), &status)),
    ] {
        if can(verb) {
            single.insert(method.into(), value);
        }
    }
    if !single.is_empty() {
        single.insert("parameters".into(), path_parameters(resource.namespaced, true));
        out.push((format!("{base}/{{name}}"), Value::Object(single)));
    }

    let whole = Subresource { name: "status", kind: "", group: "", version: "", verbs: &["get", "patch", "update"] };
    let status_of = resource.status.then_some(whole);
    for sub in resource.subresources.iter().copied().chain(status_of) {
        let itself = sub.name == "status";
        let definition = if itself { Some(own.clone()) } else { definition_of(sub.group, sub.version, sub.kind) };
        // What streams (exec, log, proxy) has no body of a kind.
        let Some(definition) = definition.filter(|_| sub.name != "log") else { continue };
        let of = if itself { of } else { (sub.kind, sub.group, sub.version) };
        let about = About { resource, of, scope, sub: capital(sub.name) };
        let mut item = Map::new();
        for verb in sub.verbs {
            let (method, value) = match *verb {
                "get" => ("get", operation(&about, "read", "get", &[], None, &definition)),
                "update" => ("put", operation(&about, "replace", "put", WRITE, Some((JSON, &definition)), &definition)),
                "patch" => ("patch", operation(&about, "patch", "patch", PATCH, Some((patches, &patch)), &definition)),
                _ => ("post", operation(&about, "create", "post", WRITE, Some((JSON, &definition)), &definition)),
            };
            item.insert(method.into(), value);
        }
        item.insert("parameters".into(), path_parameters(resource.namespaced, true));
        out.push((format!("{base}/{{name}}/{}", sub.name), Value::Object(item)));
    }
    out
}
