//! `matchConditions` of webhooks: expressions over the request, all of which must hold for a webhook to be asked.
//!
//! The variables are `object`, `oldObject` (`null` where there is none) and `request`. `authorizer` and
//! `namespaceObject` are not declared: an expression that names them is refused when its configuration is stored.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use sim_kube_cel::{Decl, ObjectType, Output, Program, Type, Variable};

/// Most conditions of one webhook.
pub const CONDITIONS_MAX: usize = 64;
/// Most one expression may cost.
const CALL_COST_MAX: u64 = 1_000_000;
/// Most all conditions of a webhook may cost for one request.
const CONDITIONS_COST_MAX: u64 = 2_500_000;
/// Characters an undeclared value is taken to have at the most.
const ELEMENTS_MAX: u64 = 3 * 1024 * 1024;

/// One compiled condition.
#[derive(Clone, Debug)]
pub struct Condition {
    text: String,
    program: Result<Arc<Program>, String>,
}

/// What conditions say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The webhook is concerned.
    Matches,
    /// It is not.
    Skips,
    /// It cannot be told; the text says why.
    Fails(String),
}

fn object(name: &str, fields: &[(&str, Type)]) -> Type {
    let fields = fields.iter().map(|(key, ty)| (sim_kube_cel::escape(key), *key, ty.clone()));
    let fields: BTreeMap<String, (String, Type)> =
        fields.filter_map(|(escaped, key, ty)| Some((escaped?, (key.to_owned(), ty)))).collect();
    Type::Object(Arc::new(ObjectType { name: name.to_owned(), fields }))
}

/// The type of `request`: an `AdmissionRequest` without its objects.
fn request_type() -> Type {
    let kind = [("group", Type::String), ("version", Type::String), ("kind", Type::String)];
    let resource = [("group", Type::String), ("version", Type::String), ("resource", Type::String)];
    let (kind, resource) =
        (object("kubernetes.GroupVersionKind", &kind), object("kubernetes.GroupVersionResource", &resource));
    let user = [
        ("username", Type::String),
        ("uid", Type::String),
        ("groups", Type::list(Type::String)),
        ("extra", Type::map(Type::list(Type::String))),
    ];
    let fields = [
        ("kind", kind.clone()),
        ("resource", resource.clone()),
        ("subResource", Type::String),
        ("requestKind", kind),
        ("requestResource", resource),
        ("requestSubResource", Type::String),
        ("name", Type::String),
        ("namespace", Type::String),
        ("operation", Type::String),
        ("userInfo", object("kubernetes.UserInfo", &user)),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ];
    object("kubernetes.AdmissionRequest", &fields)
}

impl Condition {
    /// Compiles an expression; what is wrong with it is kept.
    pub fn new(text: &str) -> Self {
        let any = Decl::scalar(Type::Dyn, ELEMENTS_MAX, 1);
        let request = Decl::scalar(request_type(), ELEMENTS_MAX, 1);
        let variables = [("object", &any, false), ("oldObject", &any, false), ("request", &request, false)];
        let program = Program::compile(text, &variables)
            .map_err(|report| format!("compilation failed: {report}"))
            .and_then(|program| match program.result() {
                Type::Bool | Type::Dyn => Ok(Arc::new(program)),
                _ => Err("must evaluate to bool".to_owned()),
            });
        Self { text: text.to_owned(), program }
    }

    /// What is wrong with the expression.
    pub fn problem(&self) -> Option<&str> {
        self.program.as_ref().err().map(String::as_str)
    }
}

/// Asks all conditions about the `request` of an `AdmissionReview`. One that is false decides, whatever the others say.
pub(super) fn judge(conditions: &[Condition], request: &Value) -> Verdict {
    let (any, ty) = (Type::Dyn, request_type());
    let part = |key: &str| request.get(key).unwrap_or(&Value::Null);
    let variables = [
        ("object", Variable::Json(part("object"), &any)),
        ("oldObject", Variable::Json(part("oldObject"), &any)),
        ("request", Variable::Json(request, &ty)),
    ];
    let (mut problems, mut left) = (Vec::new(), CONDITIONS_COST_MAX);
    for condition in conditions {
        let found = match &condition.program {
            Err(problem) => Err(problem.clone()),
            Ok(program) => {
                let (output, cost) = program.evaluate(&variables, CALL_COST_MAX.min(left));
                left = left.saturating_sub(cost);
                output.map_err(|e| e.to_string())
            }
        };
        match found {
            Ok(Output::Bool(true)) => {}
            Ok(Output::Bool(false)) => return Verdict::Skips,
            Ok(_) => problems.push(format!("expression '{}' resulted in error: must evaluate to bool", condition.text)),
            Err(why) => problems.push(format!("expression '{}' resulted in error: {why}", condition.text)),
        }
    }
    match problems.as_slice() {
        [] => Verdict::Matches,
        [one] => Verdict::Fails(one.clone()),
        many => Verdict::Fails(format!("[{}]", many.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn verdict(texts: &[&str], request: &Value) -> Verdict {
        let conditions: Vec<Condition> = texts.iter().map(|t| Condition::new(t)).collect();
        assert!(conditions.iter().all(|c| c.problem().is_none()), "{conditions:?}");
        judge(&conditions, request)
    }

    #[test]
    fn one_that_is_false_decides_and_an_error_does_only_without_one() {
        let request = json!({"operation": "UPDATE", "dryRun": false, "userInfo": {"username": "ann", "groups": ["g"]},
            "object": {"metadata": {"name": "x"}}, "oldObject": null});
        assert_eq!(verdict(&[], &request), Verdict::Matches);
        assert_eq!(
            verdict(&["object.metadata.name == 'x' && 'g' in request.userInfo.groups && !request.dryRun"], &request),
            Verdict::Matches
        );
        assert_eq!(verdict(&["oldObject == null && request.operation == 'UPDATE'"], &request), Verdict::Matches);
        let (broken, no) = ("object.spec.size > 1", "request.userInfo.username != 'ann'");
        assert_eq!(
            verdict(&[broken], &request),
            Verdict::Fails("expression 'object.spec.size > 1' resulted in error: no such key: spec".into())
        );
        assert_eq!(verdict(&[broken, no], &request), Verdict::Skips);
    }

    #[test]
    fn what_is_not_declared_or_no_truth_value_is_a_problem() {
        let problem = |text: &str| Condition::new(text).problem().unwrap_or("").to_owned();
        assert_eq!(problem("request.operation"), "must evaluate to bool");
        assert!(
            problem("authorizer.path('/x').check('get').allowed()").contains("undeclared reference to 'authorizer'")
        );
        assert!(problem("request.verb == 'x'").contains("undefined field 'verb'"));
    }
}
