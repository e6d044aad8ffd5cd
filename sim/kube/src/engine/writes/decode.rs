//! What every write goes through on its way in: identity, namespace, pruning, defaulting, validation.

use serde_json::Value;

use super::super::{Engine, FieldValidation, Target, WriteOptions};
use crate::{
    decoding, defaults, json,
    resources::ResourceType,
    status::{About, Cause, Status},
    validation,
};

impl Engine {
    /// The body must speak of what the URL names; what it leaves out is filled in.
    pub(super) fn check_identity(target: &Target, object: &mut Value) -> Result<(), Status> {
        let resource = &*target.resource;
        if !object.is_object() {
            return Err(Status::bad_request("the body of the request is not an object"));
        }
        let wanted = resource.api_version();
        for (field, expected) in [("apiVersion", wanted.as_str()), ("kind", resource.kind.as_str())] {
            match json::text(object, &[field]) {
                "" => {
                    json::ensure_map(object).insert(field.to_owned(), expected.into());
                }
                given if given == expected => {}
                given => {
                    let what = if field == "kind" { "kind" } else { "API version" };
                    return Err(Status::bad_request(format!(
                        "the {what} in the data ({given}) does not match the expected {what} ({expected})"
                    )));
                }
            }
        }
        json::child_map(object, "metadata");
        let name = json::name(object).to_owned();
        if !target.name.is_empty() {
            if name.is_empty() {
                object["metadata"]["name"] = target.name.clone().into();
            } else if name != target.name {
                return Err(Status::bad_request(format!(
                    "the name of the object ({name}) does not match the name on the URL ({})",
                    target.name
                )));
            }
        }
        if resource.namespaced {
            let namespace = json::namespace(object).to_owned();
            if namespace.is_empty() {
                object["metadata"]["namespace"] = target.namespace.clone().into();
            } else if namespace != target.namespace {
                return Err(Status::bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request",
                ));
            }
        } else {
            json::child_map(object, "metadata").shift_remove("namespace");
        }
        Ok(())
    }

    /// The same for an object in the form of the store, after webhooks changed it.
    pub(super) fn check_stored_identity(
        resource: &ResourceType,
        target: &Target,
        object: &mut Value,
    ) -> Result<(), Status> {
        if object.is_object() {
            object["apiVersion"] = resource.api_version().into();
        }
        Self::check_identity(target, object)?;
        object["apiVersion"] = resource.storage_api_version.clone().into();
        Ok(())
    }

    pub(super) fn check_namespace(&self, target: &Target, name: &str) -> Result<(), Status> {
        if !target.resource.namespaced {
            return Ok(());
        }
        match self.peek("namespaces", "", &target.namespace) {
            None => Err(Status::not_found(
                crate::status::About { group: "", plural: "namespaces", kind: "Namespace" },
                &target.namespace,
            )),
            Some(namespace) if json::deleting(namespace) => {
                let why = format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    target.namespace
                );
                let mut status = Status::forbidden(target.resource.about(), name, &why);
                if let Some(details) = &mut status.details {
                    details["causes"] = serde_json::json!([{
                        "reason": "NamespaceTerminating",
                        "message": format!("namespace {} is being terminated", target.namespace),
                        "field": "metadata.namespace",
                    }]);
                }
                Err(status)
            }
            Some(_) => Ok(()),
        }
    }

    /// Decodes a built-in kind by its type, in the form of the request: drops and names what it does not know.
    /// `patched` is what the real server shows of a patch, if the object came of one: it words its refusal otherwise.
    /// A patched custom resource is held against its schema here as well.
    pub(super) fn decode_typed(
        target: &Target,
        object: &mut Value,
        patched: Option<&dyn Fn() -> String>,
        options: &WriteOptions,
    ) -> Result<Vec<String>, Status> {
        let resource = &*target.resource;
        let refuse = |why: &str| match patched {
            None => undecodable(resource, why),
            Some(shown) => {
                let cause = Cause::new("FieldValueInvalid", "patch", format!("Invalid value: {:?}: {why}", shown()));
                Status::invalid(About { group: "", plural: "", kind: "" }, "", &[cause])
            }
        };
        let unknown = match (resource.structure(), &resource.compiled) {
            (Some(structure), _) => decoding::decode(object, structure).map_err(|why| refuse(&why))?,
            (None, Some(schema)) if patched.is_some() => schema.prune(object),
            _ => return Ok(Vec::new()),
        };
        let texts = strict_texts(&unknown, options);
        match options.field_validation {
            FieldValidation::Strict if !texts.is_empty() => {
                Err(refuse(&format!("strict decoding error: {}", texts.join(", "))))
            }
            FieldValidation::Ignore => Ok(Vec::new()),
            _ => Ok(texts),
        }
    }

    /// Prunes and defaults.
    pub(super) fn prepare(
        resource: &ResourceType,
        object: &mut Value,
        options: &WriteOptions,
    ) -> Result<Vec<String>, Status> {
        let mut warnings = Vec::new();
        if let Some(schema) = &resource.compiled {
            let dropped = schema.prune(object);
            warnings = unknown_fields(resource, &dropped, options)?;
            schema.default(object);
        } else if resource.built_in {
            json::strip_nulls(object);
            if resource.kind == "CustomResourceDefinition" {
                crate::definitions::default(object);
            }
            defaults::apply(&resource.kind, object);
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                let empty = metadata.get(field).is_some_and(|v| {
                    v.is_null()
                        || v.as_array().is_some_and(Vec::is_empty)
                        || v.as_object().is_some_and(serde_json::Map::is_empty)
                });
                if empty {
                    metadata.shift_remove(field);
                }
            }
        }
        Ok(warnings)
    }

    pub(super) fn validate(target: &Target, object: &Value, old: Option<&Value>) -> Result<(), Status> {
        let resource = &*target.resource;
        let mut causes = validation::metadata(resource, object);
        if let Some(schema) = &resource.compiled {
            causes.extend(schema.validate(object, old));
        } else if resource.built_in {
            causes.extend(validation::content(resource, object));
            // The real server tells at once what is wrong in itself and what may not change.
            causes.extend(match old {
                Some(old) => validation::immutable(resource, &target.subresource, old, object),
                None => validation::new(resource, object),
            });
            if resource.kind == "CustomResourceDefinition" {
                causes.extend(crate::definitions::validate(object));
            }
        }
        if causes.is_empty() { Ok(()) } else { Err(Status::invalid(resource.about(), &target.name, &causes)) }
    }
}

/// What strict decoding objects to: fields that came twice, fields that the type does not know.
fn strict_texts(unknown: &[String], options: &WriteOptions) -> Vec<String> {
    let twice = options.duplicates.iter().map(|path| format!("duplicate field \"{path}\""));
    twice.chain(unknown.iter().map(|path| format!("unknown field \"{path}\""))).collect()
}

fn undecodable(resource: &ResourceType, why: &str) -> Status {
    let ResourceType { kind, version, .. } = resource;
    Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
}

/// What becomes of fields that the schema of a custom resource does not know.
pub(super) fn unknown_fields(
    resource: &ResourceType,
    dropped: &[String],
    options: &WriteOptions,
) -> Result<Vec<String>, Status> {
    let texts = strict_texts(dropped, options);
    match options.field_validation {
        FieldValidation::Strict if !texts.is_empty() => {
            Err(undecodable(resource, &format!("strict decoding error: {}", texts.join(", "))))
        }
        FieldValidation::Ignore => Ok(Vec::new()),
        _ => Ok(texts),
    }
}
