//! Owners of fields that many objects have alike: kept once.

use std::{collections::BTreeMap, sync::Arc};

use crate::ssa::Manager;

/// Managers a table remembers; what comes after them is kept by itself.
const MANAGERS_MAX: usize = 64;

/// What each manager was last found to own, by table.
#[derive(Debug, Default)]
pub(super) struct Alike(BTreeMap<Arc<str>, Vec<Manager>>);

impl Alike {
    /// The same managers, their parts shared with those of the object before where they are equal.
    pub(super) fn share(&mut self, table: &Arc<str>, mut managers: Vec<Manager>) -> Arc<[Manager]> {
        let known = self.0.entry(table.clone()).or_default();
        for manager in &mut managers {
            match known.iter_mut().find(|k| k.same(manager)) {
                Some(last) => {
                    let Manager { name, api_version, subresource, time, fields, .. } = manager;
                    reuse(&last.name, name);
                    reuse(&last.api_version, api_version);
                    reuse(&last.subresource, subresource);
                    reuse(&last.time, time);
                    if !Arc::ptr_eq(&last.fields, fields) {
                        if last.fields == *fields {
                            fields.clone_from(&last.fields);
                        } else {
                            Arc::make_mut(fields).shrink();
                            last.fields.clone_from(fields);
                        }
                    }
                    last.time.clone_from(time);
                }
                None => {
                    Arc::make_mut(&mut manager.fields).shrink();
                    if known.len() < MANAGERS_MAX {
                        known.push(manager.clone());
                    }
                }
            }
        }
        managers.into()
    }
}

/// Takes the text that is known if it is the same.
fn reuse(known: &Arc<str>, text: &mut Arc<str>) {
    if known == text {
        text.clone_from(known);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_owned_alike_is_kept_once() {
        let manager = |name: &str, field: &str, time: &str| {
            Manager::read(&[
                json!({"manager": name, "operation": "Update", "apiVersion": "v1", "time": time, "fieldsV1": {format!("f:{field}"): {}}}),
            ])
        };
        let (mut alike, table) = (Alike::default(), Arc::from("pods"));
        let first = alike.share(&table, manager("kubelet", "a", "1"));
        let second = alike.share(&table, manager("kubelet", "a", "2"));
        assert!(Arc::ptr_eq(&first[0].fields, &second[0].fields) && Arc::ptr_eq(&first[0].name, &second[0].name));
        assert_eq!((&*first[0].time, &*second[0].time), ("1", "2"));
        let other = alike.share(&table, manager("kubelet", "b", "2"));
        assert!(!Arc::ptr_eq(&first[0].fields, &other[0].fields) && Arc::ptr_eq(&second[0].time, &other[0].time));
        assert_eq!(alike.share(&table, manager("editor", "b", "2"))[0].fields, other[0].fields);
    }
}
