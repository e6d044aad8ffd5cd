//! `x-kubernetes-validations`: rules compiled with the schema, evaluated on each write.

use std::collections::BTreeMap;

use serde_json::Value;
use sim_kube_cel::{Decl, Output, Program, Type, Variable};

use super::{
    CAUSES_MAX, DEPTH_MAX,
    decl::declare,
    join,
    node::{Additional, Kind, Node},
    validate::quoted,
};
use crate::{json, status::Cause};

/// Most one evaluation may cost.
pub const CALL_COST_MAX: u64 = 1_000_000;
/// Most all rules of one object may cost.
pub const OBJECT_COST_MAX: i64 = 10_000_000;
/// Longest text of a `messageExpression`, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) text: String,
    pub(crate) message: String,
    pub(crate) reason: String,
    pub(crate) field_path: String,
    pub(crate) optional_old: Option<bool>,
    /// The program, or what is wrong with it.
    pub(crate) program: Result<Program, String>,
    pub(crate) message_program: Option<Result<Program, String>>,
}

/// The rules of a node and of what is inside; nodes without any are left out.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) ty: Type,
    pub(crate) kind: &'static str,
    pub(crate) serialized_min: u64,
    pub(crate) rules: Vec<Rule>,
    pub(crate) properties: BTreeMap<String, Rules>,
    pub(crate) additional: Option<Box<Rules>>,
    pub(crate) items: Option<Box<Rules>>,
}

/// Compiles the rules of a schema; `None` if there are none.
pub(crate) fn compile(schema: &Value, root: &Node) -> Option<Rules> {
    compile_at(schema, root, true, None, 0)
}

fn compile_at(schema: &Value, node: &Node, resource_root: bool, known: Option<&Decl>, depth: usize) -> Option<Rules> {
    if depth > DEPTH_MAX || !has_rules(schema, 0) {
        return None;
    }
    let made;
    let decl = match known {
        Some(decl) => decl,
        None => {
            made = declare(node, resource_root)?;
            &made
        }
    };
    let rules = json::list(schema, &["x-kubernetes-validations"]).iter().map(|rule| read(rule, decl)).collect();
    let mut properties = BTreeMap::new();
    for (key, inner) in json::map(schema, &["properties"]).into_iter().flatten() {
        let Some(child) = node.properties.get(key) else { continue };
        let known = sim_kube_cel::escape(key).and_then(|escaped| decl.fields.get(&escaped));
        if let Some(rules) = compile_at(inner, child, child.embedded, known, depth + 1) {
            properties.insert(key.clone(), rules);
        }
    }
    let element = decl.element.as_deref();
    let inside = |key: &str, child: Option<&Node>| {
        let (schema, child) = (schema.get(key)?, child?);
        compile_at(schema, child, child.embedded, element, depth + 1).map(Box::new)
    };
    let additional = match &node.additional {
        Additional::Schema(child) => inside("additionalProperties", Some(child)),
        _ => None,
    };
    let items = inside("items", node.items.as_deref());
    Some(Rules {
        ty: decl.ty.clone(),
        kind: node.kind.map_or("", Kind::name),
        serialized_min: decl.serialized_min,
        rules,
        properties,
        additional,
        items,
    })
}

fn has_rules(schema: &Value, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let inside = |key: &str| schema.get(key).is_some_and(|s| s.is_object() && has_rules(s, depth + 1));
    !json::list(schema, &["x-kubernetes-validations"]).is_empty()
        || inside("items")
        || inside("additionalProperties")
        || json::map(schema, &["properties"]).into_iter().flatten().any(|(_, s)| has_rules(s, depth + 1))
}

fn read(rule: &Value, decl: &Decl) -> Rule {
    let text = |key: &str| json::text(rule, &[key]).to_owned();
    let optional_old = rule.get("optionalOldSelf").and_then(Value::as_bool);
    let variables = [("self", decl, false), ("oldSelf", decl, optional_old == Some(true))];
    let program = Program::compile(&text("rule"), &variables)
        .map_err(|report| format!("compilation failed: {report}"))
        .and_then(|program| match program.result() {
            Type::Bool => Ok(program),
            _ => Err("cel expression must evaluate to a bool".to_owned()),
        });
    let message_expression = text("messageExpression");
    let message_program = (!message_expression.is_empty()).then(|| {
        Program::compile(&message_expression, &variables)
            .map_err(|report| format!("messageExpression compilation failed: {report}"))
            .and_then(|program| match program.result() {
                Type::String => Ok(program),
                _ => Err("messageExpression must evaluate to a string".to_owned()),
            })
    });
    Rule {
        text: text("rule"),
        message: text("message"),
        reason: text("reason"),
        field_path: text("fieldPath"),
        optional_old,
        program,
        message_program,
    }
}

impl Rule {
    /// What stands for the rule in messages: its message, or itself.
    fn name(&self) -> &str {
        if self.message.is_empty() { self.text.trim() } else { self.message.trim() }
    }

    pub(crate) fn uses_old(&self) -> bool {
        self.program.as_ref().is_ok_and(|p| p.uses("oldSelf"))
    }
}

/// What the rules object to; `old` is the object before, if it is an update.
pub(crate) fn evaluate(object: &Value, old: Option<&Value>, rules: &Rules, node: &Node) -> Vec<Cause> {
    let mut run = Run { causes: Vec::new(), budget: OBJECT_COST_MAX };
    run.at(object, old, false, rules, node, "", 0);
    run.causes
}

struct Run {
    causes: Vec<Cause>,
    budget: i64,
}

impl Run {
    /// `kept` says that a part around this one, which can be told apart, did not change.
    fn at(
        &mut self,
        value: &Value,
        old: Option<&Value>,
        kept: bool,
        rules: &Rules,
        node: &Node,
        path: &str,
        depth: usize,
    ) {
        if depth > DEPTH_MAX || self.budget < 0 || self.causes.len() >= CAUSES_MAX || value.is_null() {
            return;
        }
        let old = old.filter(|o| !o.is_null());
        for rule in &rules.rules {
            self.rule(value, old, kept, rule, rules, path);
            if self.budget < 0 {
                return;
            }
        }
        match value {
            Value::Object(map) => {
                for (key, child) in map {
                    let found = match (rules.properties.get(key), &rules.additional) {
                        (Some(inner), _) => Some((inner, join(path, key))),
                        (None, Some(inner)) => Some((&**inner, format!("{path}[{key}]"))),
                        (None, None) => None,
                    };
                    if let (Some((inner, here)), Some(child_node)) = (found, node.entry(key)) {
                        let old = old.and_then(|o| o.get(key));
                        self.at(child, old, kept, inner, child_node, &here, depth + 1);
                    }
                }
            }
            Value::Array(items) => {
                if let (Some(inner), Some(child_node)) = (&rules.items, &node.items) {
                    let kept = kept || old == Some(value);
                    for (i, item) in items.iter().enumerate() {
                        let old = node.correlate(item, old);
                        self.at(item, old, kept, inner, child_node, &format!("{path}[{i}]"), depth + 1);
                    }
                }
            }
            _ => {}
        }
    }

    fn rule(&mut self, value: &Value, old: Option<&Value>, kept: bool, rule: &Rule, rules: &Rules, path: &str) {
        let refuse = |causes: &mut Vec<Cause>, path: &str, text: String| {
            causes.push(Cause::new(
                "FieldValueInvalid",
                if path.is_empty() { super::validate::NOWHERE } else { path },
                format!("Invalid value: {}: {text}", quoted(rules.kind)),
            ));
        };
        let program = match &rule.program {
            Ok(program) => program,
            Err(problem) => return refuse(&mut self.causes, path, format!("rule compile error: {problem}")),
        };
        let optional = rule.optional_old == Some(true);
        if program.uses("oldSelf") && old.is_none() && !optional {
            return; // a transition needs something to come from
        }
        let mut variables = vec![("self", Variable::Json(value, &rules.ty))];
        match old {
            _ if optional => variables.push(("oldSelf", Variable::Optional(old.map(|o| (o, &rules.ty))))),
            Some(old) => variables.push(("oldSelf", Variable::Json(old, &rules.ty))),
            None => {}
        }
        let (output, cost) = program.evaluate(&variables, CALL_COST_MAX);
        if i64::try_from(cost).unwrap_or(i64::MAX) > self.budget {
            let text = "validation failed due to running out of cost budget, no further validation rules will be run";
            refuse(&mut self.causes, path, text.to_owned());
            self.budget = -1;
            return;
        }
        self.budget -= i64::try_from(cost).unwrap_or(i64::MAX);
        match output {
            Ok(Output::Bool(true)) => return,
            Ok(_) => {}
            Err(e) if e.is_over_limit() => {
                let text = format!(
                    "'{e}': no further validation rules will be run due to call cost exceeds limit for rule: {}",
                    rule.name()
                );
                refuse(&mut self.causes, path, text);
                self.budget = -1;
                return;
            }
            Err(e) if e.to_string().starts_with("no such overload") => {
                let text = format!(
                    "'{e}': call arguments did not match a supported operator, function or macro signature for rule: {}",
                    rule.name()
                );
                return refuse(&mut self.causes, path, text);
            }
            Err(e) => return refuse(&mut self.causes, path, format!("{e} evaluating rule: {}", rule.name())),
        }
        // What did not change since is tolerated, unless the rule is about the change.
        if !program.uses("oldSelf") && (kept || old == Some(value)) {
            return;
        }
        let place = match rule.field_path.strip_prefix('.').unwrap_or(&rule.field_path) {
            "" => path.to_owned(),
            given => join(path, given),
        };
        let text = self.message(rule, &variables);
        let place = if place.is_empty() { super::validate::NOWHERE.to_owned() } else { place };
        // Objects and lists would say more than anybody reads.
        let shown = if matches!(rules.kind, "object" | "array") { String::new() } else { format!(": {value}") };
        let (reason, message) = match rule.reason.as_str() {
            "FieldValueForbidden" => ("FieldValueForbidden", format!("Forbidden: {text}")),
            "FieldValueRequired" => ("FieldValueRequired", format!("Required value: {text}")),
            "FieldValueDuplicate" => ("FieldValueDuplicate", format!("Duplicate value{shown}")),
            _ => ("FieldValueInvalid", format!("Invalid value{shown}: {text}")),
        };
        self.causes.push(Cause::new(reason, place, message));
    }

    fn message(&mut self, rule: &Rule, variables: &[(&str, Variable<'_>)]) -> String {
        if let Some(Ok(program)) = &rule.message_program {
            let (output, cost) = program.evaluate(variables, CALL_COST_MAX);
            self.budget = self.budget.saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX));
            if let Ok(Output::Text(text)) = output {
                let text = text.trim();
                if !text.is_empty() && text.len() <= MESSAGE_BYTES_MAX && !text.contains('\n') {
                    return text.to_owned();
                }
            }
        }
        if rule.message.is_empty() {
            format!("failed rule: {}", rule.text.trim())
        } else {
            rule.message.trim().to_owned()
        }
    }
}
