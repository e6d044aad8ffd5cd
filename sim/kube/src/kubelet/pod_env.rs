//! Environment, arguments and mounted files of a container.

use std::collections::BTreeMap;

use base64::Engine as _;
use bytes::Bytes;
use serde_json::Value;

use crate::{engine::Engine, json};

/// Why a container cannot start yet (`CreateContainerConfigError`).
pub(super) type Missing = String;

/// A downward API field of a pod.
fn field(pod: &Value, path: &str) -> String {
    if let Some(rest) = path.strip_prefix("metadata.labels['").or_else(|| path.strip_prefix("metadata.annotations['")) {
        let map = if path.starts_with("metadata.labels") { "labels" } else { "annotations" };
        return json::text(pod, &["metadata", map, rest.trim_end_matches("']")]).to_owned();
    }
    let parts: Vec<&str> = path.split('.').collect();
    match json::at(pod, &parts) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// `$(NAME)` becomes the value of NAME, `$$` a dollar sign; unknown names stay as they are.
pub(super) fn expand(text: &str, env: &[(String, String)]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix("$(").and_then(|r| r.split_once(')')) {
            match env.iter().rev().find(|(k, _)| k == name) {
                Some((_, value)) => out.push_str(value),
                None => {
                    out.push_str("$(");
                    out.push_str(name);
                    out.push(')');
                }
            }
            rest = after;
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn secret_value(value: &Value) -> Bytes {
    let decoded = base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap_or(""));
    decoded.map(Bytes::from).unwrap_or_default()
}

fn data(engine: &Engine, namespace: &str, kind: &str, name: &str) -> Option<BTreeMap<String, Bytes>> {
    let table = if kind == "Secret" { "secrets" } else { "configmaps" };
    let object = engine.peek(table, namespace, name)?;
    let mut out = BTreeMap::new();
    for (key, value) in json::map(object, &["data"]).into_iter().flatten() {
        let bytes =
            if kind == "Secret" { secret_value(value) } else { Bytes::from(value.as_str().unwrap_or("").to_owned()) };
        out.insert(key.clone(), bytes);
    }
    for (key, value) in json::map(object, &["binaryData"]).into_iter().flatten() {
        out.insert(key.clone(), secret_value(value));
    }
    Some(out)
}

/// The container's environment in order.
pub(super) fn environment(engine: &Engine, pod: &Value, container: &Value) -> Result<Vec<(String, String)>, Missing> {
    let namespace = json::namespace(pod);
    let mut env: Vec<(String, String)> = Vec::new();
    let text = |b: &Bytes| String::from_utf8_lossy(b).into_owned();
    for from in json::list(container, &["envFrom"]) {
        let prefix = json::text(from, &["prefix"]);
        for (field, kind) in [("configMapRef", "ConfigMap"), ("secretRef", "Secret")] {
            let Some(reference) = from.get(field) else { continue };
            let name = json::text(reference, &["name"]);
            match data(engine, namespace, kind, name) {
                Some(values) => env.extend(values.iter().map(|(k, v)| (format!("{prefix}{k}"), text(v)))),
                None if reference["optional"] == true => {}
                None => return Err(format!("{} \"{name}\" not found", kind.to_ascii_lowercase())),
            }
        }
    }
    for variable in json::list(container, &["env"]) {
        let name = json::text(variable, &["name"]).to_owned();
        let source = &variable["valueFrom"];
        let value = if source.is_object() {
            if let Some(reference) = source.get("fieldRef") {
                field(pod, json::text(reference, &["fieldPath"]))
            } else if let Some(reference) = source.get("resourceFieldRef") {
                let path: Vec<&str> =
                    std::iter::once("resources").chain(json::text(reference, &["resource"]).split('.')).collect();
                json::text(container, &path).to_owned()
            } else {
                let (reference, kind) = match source.get("secretKeyRef") {
                    Some(r) => (r, "Secret"),
                    None => (&source["configMapKeyRef"], "ConfigMap"),
                };
                let object = json::text(reference, &["name"]);
                let key = json::text(reference, &["key"]);
                match data(engine, namespace, kind, object) {
                    Some(values) => match values.get(key) {
                        Some(value) => text(value),
                        None if reference["optional"] == true => continue,
                        None => return Err(format!("couldn't find key {key} in {kind} {namespace}/{object}")),
                    },
                    None if reference["optional"] == true => continue,
                    None => return Err(format!("{} \"{object}\" not found", kind.to_ascii_lowercase())),
                }
            }
        } else {
            expand(json::text(variable, &["value"]), &env)
        };
        env.push((name, value));
    }
    Ok(env)
}

/// Places of a container's mounts that the kubelet fills, and their files.
pub(super) fn mounts(
    engine: &Engine,
    token: &dyn Fn(&Value) -> Result<String, Missing>,
    pod: &Value,
    container: &Value,
) -> Result<(Vec<String>, BTreeMap<String, Bytes>), Missing> {
    let namespace = json::namespace(pod);
    let (mut places, mut files) = (Vec::new(), BTreeMap::new());
    for mount in json::list(container, &["volumeMounts"]) {
        let name = json::text(mount, &["name"]);
        let Some(volume) = json::list(pod, &["spec", "volumes"]).iter().find(|v| v["name"] == name) else { continue };
        let path = json::text(mount, &["mountPath"]).trim_end_matches('/');
        let mut sources: Vec<(&Value, &str)> = Vec::new();
        for (field, kind) in [
            ("configMap", "ConfigMap"),
            ("secret", "Secret"),
            ("downwardAPI", "DownwardAPI"),
            ("serviceAccountToken", "Token"),
        ] {
            sources.extend(volume.get(field).map(|s| (s, kind)));
            sources.extend(
                json::list(volume, &["projected", "sources"]).iter().filter_map(|s| s.get(field)).map(|s| (s, kind)),
            );
        }
        if sources.is_empty() {
            continue;
        }
        places.push(path.to_owned());
        let mut content = BTreeMap::new();
        for (source, kind) in sources {
            if kind == "Token" {
                let text =
                    token(source).map_err(|why| format!("MountVolume.SetUp failed for volume {name:?} : {why}"))?;
                content.insert(json::text(source, &["path"]).to_owned(), Bytes::from(text));
            } else {
                content.extend(source_files(engine, pod, namespace, source, kind)?);
            }
        }
        match json::text(mount, &["subPath"]) {
            "" => files.extend(content.into_iter().map(|(file, bytes)| (format!("{path}/{file}"), bytes))),
            sub => files.extend(content.remove(sub).map(|bytes| (path.to_owned(), bytes))),
        }
    }
    Ok((places, files))
}

fn source_files(
    engine: &Engine,
    pod: &Value,
    namespace: &str,
    source: &Value,
    kind: &str,
) -> Result<BTreeMap<String, Bytes>, Missing> {
    if kind == "DownwardAPI" {
        let items = json::list(source, &["items"]).iter();
        return Ok(items
            .map(|i| {
                (
                    json::text(i, &["path"]).to_owned(),
                    Bytes::from(field(pod, json::text(i, &["fieldRef", "fieldPath"]))),
                )
            })
            .collect());
    }
    let name = match json::text(source, &["name"]) {
        "" => json::text(source, &["secretName"]),
        name => name,
    };
    let Some(values) = data(engine, namespace, kind, name) else {
        if source["optional"] == true {
            return Ok(BTreeMap::new());
        }
        return Err(format!(
            "MountVolume.SetUp failed for volume : {} \"{name}\" not found",
            kind.to_ascii_lowercase()
        ));
    };
    let items = json::list(source, &["items"]);
    if items.is_empty() {
        return Ok(values);
    }
    let chosen = items
        .iter()
        .filter_map(|i| Some((json::text(i, &["path"]).to_owned(), values.get(json::text(i, &["key"]))?.clone())));
    Ok(chosen.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_expand_once_and_unknown_ones_stay() {
        let env = vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "$(A)".to_owned())];
        assert_eq!(expand("x$(A)y $(B) $(C) $$(A) $", &env), "x1y $(A) $(C) $(A) $");
    }
}
