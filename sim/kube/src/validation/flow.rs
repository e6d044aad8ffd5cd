//! FlowSchema and PriorityLevelConfiguration.

use serde_json::Value;

use super::Errors;
use crate::json;

const PRECEDENCE_MAX: i64 = 10_000;
const QUEUES_MAX: i64 = 10_000_000;
/// The name of the level and the schema that are never limited.
const EXEMPT: &str = "exempt";

pub(super) fn schema(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let precedence = spec.get("matchingPrecedence").cloned().unwrap_or(Value::from(0));
    match precedence.as_i64().unwrap_or(0) {
        ..=0 => errors.invalid("spec.matchingPrecedence", &precedence, "must be a positive value"),
        1 if json::name(object) != EXEMPT => {
            let text = "only the schema named 'exempt' may have matchingPrecedence 1";
            errors.invalid("spec.matchingPrecedence", &precedence, text);
        }
        n if n > PRECEDENCE_MAX => {
            let text = format!("must not be greater than {PRECEDENCE_MAX}");
            errors.invalid("spec.matchingPrecedence", &precedence, &text);
        }
        _ => {}
    }
    if let Some(method) = spec.get("distinguisherMethod").filter(|m| m.is_object()) {
        let kind = json::text(method, &["type"]);
        if !matches!(kind, "ByNamespace" | "ByUser") {
            errors.unsupported("spec.distinguisherMethod", kind, &["ByNamespace", "ByUser"]);
        }
    }
    if json::text(spec, &["priorityLevelConfiguration", "name"]).is_empty() {
        errors.required("spec.priorityLevelConfiguration.name", "must reference a priority level");
    }
    for (i, rule) in json::list(spec, &["rules"]).iter().enumerate() {
        let path = format!("spec.rules[{i}]");
        if json::list(rule, &["subjects"]).is_empty() {
            errors.required(format!("{path}.subjects"), "subjects must contain at least one value");
        }
        for (j, subject) in json::list(rule, &["subjects"]).iter().enumerate() {
            self::subject(subject, &format!("{path}.subjects[{j}]"), errors);
        }
        if json::list(rule, &["resourceRules"]).is_empty() && json::list(rule, &["nonResourceRules"]).is_empty() {
            errors.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
        }
    }
}

fn subject(subject: &Value, path: &str, errors: &mut Errors) {
    const KINDS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = json::text(subject, &["kind"]);
    let Some((_, own)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        return errors.unsupported(format!("{path}.kind"), kind, &KINDS.map(|(name, _)| name));
    };
    for (name, key) in KINDS {
        let given = subject.get(key).filter(|g| g.is_object());
        let path = format!("{path}.{key}");
        match given {
            None if key == *own => {
                errors.required(path, &format!("{key} is required when subject kind is '{name}'"));
            }
            Some(_) if key != *own => {
                errors.forbidden(path, &format!("{key} is forbidden when subject kind is not '{name}'"));
            }
            _ => {}
        }
    }
}

pub(super) fn level(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let kind = json::text(spec, &["type"]);
    if (json::name(object) == EXEMPT) != (kind == "Exempt") {
        errors.invalid_text("spec.type", kind, "type must be 'Exempt' if and only if `name` is 'exempt'");
    }
    let (limited, exempt) =
        (spec.get("limited").filter(|l| l.is_object()), spec.get("exempt").filter(|e| e.is_object()));
    match (kind, limited, exempt) {
        ("Exempt", Some(_), _) => errors.forbidden("spec.limited", "must be nil if the type is not Limited"),
        ("Limited", _, Some(_)) => errors.forbidden("spec.exempt", "must be nil if the type is Limited"),
        ("Limited", None, _) => errors.required("spec.limited", "must not be empty when type is Limited"),
        ("Limited", Some(limited), _) => self::limited(limited, errors),
        ("Exempt", ..) => {}
        _ => errors.unsupported("spec.type", kind, &["Exempt", "Limited"]),
    }
    if let Some(exempt) = exempt {
        errors.not_negative(exempt, "spec.exempt", "nominalConcurrencyShares");
        share(exempt, "spec.exempt", errors);
    }
}

fn share(level: &Value, path: &str, errors: &mut Errors) {
    if let Some(share) = level.get("lendablePercent").filter(|s| s.as_i64().is_some_and(|n| !(0..=100).contains(&n))) {
        errors.invalid(format!("{path}.lendablePercent"), share, "must be between 0 and 100, inclusive");
    }
}

fn limited(limited: &Value, errors: &mut Errors) {
    errors.not_negative(limited, "spec.limited", "nominalConcurrencyShares");
    share(limited, "spec.limited", errors);
    let path = "spec.limited.limitResponse";
    let queuing = json::at(limited, &["limitResponse", "queuing"]).filter(|q| q.is_object());
    match (json::text(limited, &["limitResponse", "type"]), queuing) {
        ("Reject", Some(_)) => {
            errors.forbidden(format!("{path}.queuing"), "must be nil if limited.limitResponse.type is not Limited");
        }
        ("Reject", None) => {}
        ("Queue", None) => {
            errors.required(format!("{path}.queuing"), "must not be empty if limited.limitResponse.type is Limited");
        }
        ("Queue", Some(queuing)) => self::queuing(queuing, &format!("{path}.queuing"), errors),
        (other, _) => errors.unsupported(format!("{path}.type"), other, &["Queue", "Reject"]),
    }
}

fn queuing(queuing: &Value, path: &str, errors: &mut Errors) {
    let number = |key: &str| json::int(queuing, &[key]).unwrap_or(0);
    for key in ["queueLengthLimit", "queues", "handSize"] {
        if number(key) <= 0 {
            errors.invalid(format!("{path}.{key}"), &number(key).into(), "must be positive");
        }
    }
    let (queues, hand) = (number("queues"), number("handSize"));
    if queues > QUEUES_MAX {
        errors.invalid(format!("{path}.queues"), &queues.into(), &format!("must not be greater than {QUEUES_MAX}"));
    }
    if hand > queues {
        let text = format!("should not be greater than queues ({queues})");
        errors.invalid(format!("{path}.handSize"), &hand.into(), &text);
    }
}
