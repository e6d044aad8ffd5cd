//! The objects that a scenario needs: what is deployed, changed as the scenario says, and what it applies.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    path::PathBuf,
};

use scenario_language::{Action, Operator, Scenario, Source, Stack};
use serde_json::{Value, json};

use crate::{
    operator,
    project::{Project, ProjectError},
};

/// What a cluster gets before anything is applied by a user.
const OPERATOR_FOLDERS: [&str; 2] = ["deploy/crds", "deploy/operator"];
/// What the telemetry stack consists of.
const STACK_FOLDERS: [&str; 2] = ["deploy/observability", "deploy/monitoring"];

/// The objects of a scenario, read and ready to be applied.
#[derive(Clone, Debug, Default)]
pub struct Manifests {
    /// Before zero: the operator and the stack.
    pub deployed: Vec<Value>,
    /// By the file that the scenario names.
    pub files: BTreeMap<PathBuf, Vec<Value>>,
}

impl Manifests {
    /// Reads everything that `scenario` names.
    pub fn read(project: &Project, scenario: &Scenario) -> Result<Self, ProjectError> {
        let mut deployed = Vec::new();
        for folder in OPERATOR_FOLDERS {
            deployed.extend(project.objects(folder.as_ref())?);
        }
        match &scenario.world.stack {
            Stack::None => {}
            Stack::Deploy => {
                for folder in STACK_FOLDERS {
                    deployed.extend(project.objects(folder.as_ref())?);
                }
            }
            Stack::Folder(folder) => {
                deployed.extend(project.objects(&scenario_language::resolve(&scenario.file, &folder.value))?);
            }
        }
        if !scenario.world.rules.is_empty() {
            deployed.retain(|object| object["kind"] != "PrometheusRule");
            for rules in &scenario.world.rules {
                deployed.extend(project.objects(&scenario_language::resolve(&scenario.file, &rules.value))?);
            }
        }
        match &scenario.world.operator {
            Operator::None => deployed.retain(|object| !needs_operator(object)),
            Operator::Ours { env, args } => {
                let shared: BTreeSet<String> = deployed.iter().flat_map(shared_environment).collect();
                for object in &mut deployed {
                    change_operator(object, env, args);
                    change_shared(object, &shared, env);
                }
            }
        }
        let applied = scenario.timeline.iter().filter_map(|step| match &step.action {
            Action::Apply(sources) => Some(sources),
            _ => None,
        });
        let mut files = BTreeMap::new();
        for source in scenario.world.objects.iter().chain(applied.flatten()) {
            if let Source::File(named) = &source.value {
                let path = scenario_language::resolve(&scenario.file, named);
                if let Entry::Vacant(free) = files.entry(path) {
                    let objects = project.objects(free.key())?;
                    free.insert(objects);
                }
            }
        }
        Ok(Self { deployed, files })
    }

    /// What a cluster gets before anything is applied by a user: the operator (its Deployment if `operator`) and, if
    /// `stack`, the telemetry stack.
    pub fn deployed(project: &Project, operator: bool, stack: bool) -> Result<Vec<Value>, ProjectError> {
        let mut objects = Vec::new();
        for folder in OPERATOR_FOLDERS.iter().chain(STACK_FOLDERS.iter().filter(|_| stack)) {
            objects.extend(project.objects(folder.as_ref())?);
        }
        if !operator {
            objects.retain(|object| !needs_operator(object));
        }
        Ok(objects)
    }

    /// The objects of a source, in order.
    pub fn of(&self, scenario_file: &str, source: &Source) -> Vec<Value> {
        match source {
            Source::Inline(object) => vec![object.clone()],
            Source::File(named) => {
                self.files.get(&scenario_language::resolve(scenario_file, named)).cloned().unwrap_or_default()
            }
        }
    }
}

/// Whether an object makes sense only where the operator runs in the cluster: its Deployment, and the webhooks that would be called in
/// vain.
fn needs_operator(object: &Value) -> bool {
    operator_container(object).is_some()
        || object["kind"].as_str().is_some_and(|kind| kind.ends_with("WebhookConfiguration"))
}

/// The operator's container in a Deployment of it.
fn operator_container(object: &Value) -> Option<usize> {
    let containers = object["spec"]["template"]["spec"]["containers"].as_array()?;
    containers.iter().position(|container| {
        container["image"]
            .as_str()
            .is_some_and(|image| image.split(['@', ':']).next().unwrap_or_default().ends_with(operator::IMAGE))
    })
}

fn change_operator(object: &mut Value, env: &[(String, Option<String>)], args: &[String]) {
    let Some(at) = operator_container(object) else { return };
    let container = &mut object["spec"]["template"]["spec"]["containers"][at];
    if let Some(list) = container["args"].as_array_mut() {
        list.extend(args.iter().map(|arg| json!(arg)));
    } else if !args.is_empty() {
        container["args"] = json!(args);
    }
    let mut variables = container["env"].as_array().cloned().unwrap_or_default();
    for (name, value) in env {
        variables.retain(|variable| variable["name"] != name.as_str());
        if let Some(value) = value {
            variables.push(json!({"name": name, "value": value}));
        }
    }
    container["env"] = Value::Array(variables);
}

/// The ConfigMaps from which an operator takes its environment.
fn shared_environment(object: &Value) -> Vec<String> {
    let Some(at) = operator_container(object) else { return Vec::new() };
    let sources = object["spec"]["template"]["spec"]["containers"][at]["envFrom"].as_array();
    let names = sources.into_iter().flatten().filter_map(|source| source["configMapRef"]["name"].as_str());
    names.map(str::to_owned).collect()
}

/// Takes variables that there shall not be out of a ConfigMap that the operator takes its environment from.
fn change_shared(object: &mut Value, shared: &BTreeSet<String>, env: &[(String, Option<String>)]) {
    let named = object["metadata"]["name"].as_str().is_some_and(|name| shared.contains(name));
    if object["kind"] != "ConfigMap" || !named {
        return;
    }
    if let Some(data) = object["data"].as_object_mut() {
        data.retain(|variable, _| !env.iter().any(|(name, value)| name == variable && value.is_none()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_environment_and_arguments_can_be_changed() {
        let mut object = json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [{
            "image": "ghcr.io/multigres/multigres-operator:v1", "args": ["--a"],
            "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]
        }]}}}});
        let env = [("X".to_owned(), None), ("Y".to_owned(), Some("3".to_owned()))];
        change_operator(&mut object, &env, &["--b".to_owned()]);
        let container = &object["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["env"], json!([{"name": "Y", "value": "3"}]));
        assert_eq!(container["args"], json!(["--a", "--b"]));
        let shared = json!({"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"X": "1", "Y": "2"}});
        let mut changed = shared.clone();
        change_shared(&mut changed, &BTreeSet::from(["other".to_owned()]), &env);
        assert_eq!(changed, shared);
        change_shared(&mut changed, &BTreeSet::from(["c".to_owned()]), &env);
        assert_eq!(changed["data"], json!({"Y": "2"}), "what is set differently wins over what is shared");
        let mut other = json!({"spec": {"template": {"spec": {"containers": [{"image": "grafana/tempo:2"}]}}}});
        let before = other.clone();
        change_operator(&mut other, &env, &["--b".to_owned()]);
        assert_eq!(other, before);
    }
}
