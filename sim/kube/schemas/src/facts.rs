//! `facts.txt`, read line by line when a definition asks for its own.

use std::{collections::BTreeMap, sync::OnceLock};

use serde_json::Value;

use crate::types::{ListKind, Patch};

static TEXT: &str = include_str!("facts.txt");

/// What is known of one definition.
#[derive(Clone, Copy, Default)]
pub(crate) struct Facts {
    /// The structure is one value.
    pub atomic: bool,
    fields: &'static str,
}

/// What is known of one field.
#[derive(Default)]
pub(crate) struct FieldFacts {
    pub list: Option<ListKind>,
    pub atomic_map: bool,
    pub patch: Patch,
    pub default: Option<Value>,
    pub go: Option<&'static str>,
}

fn index() -> &'static BTreeMap<&'static str, Facts> {
    static INDEX: OnceLock<BTreeMap<&'static str, Facts>> = OnceLock::new();
    INDEX.get_or_init(|| {
        let lines = TEXT.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| {
                let (name, fields) = line.split_once(' ').unwrap_or((line, ""));
                match name.strip_suffix('!') {
                    Some(name) => (name, Facts { atomic: true, fields }),
                    None => (name, Facts { atomic: false, fields }),
                }
            })
            .collect()
    })
}

/// The last three parts of a definition's name: `core.v1.Pod`.
pub(crate) fn short(definition: &str) -> &str {
    definition.rmatch_indices('.').nth(2).map_or(definition, |(at, _)| &definition[at + 1..])
}

impl Facts {
    pub(crate) fn of(definition: &str) -> Self {
        index().get(short(definition)).copied().unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> FieldFacts {
        let found = self.fields.split(' ').find_map(|f| f.strip_prefix(name)?.strip_prefix(':'));
        let mut out = FieldFacts::default();
        for fact in found.unwrap_or("").split(';').filter(|f| !f.is_empty()) {
            let rest = &fact[1..];
            match fact.as_bytes()[0] {
                b'a' => out.list = Some(ListKind::Atomic),
                b's' => out.list = Some(ListKind::Set),
                b'm' => out.list = Some(ListKind::Map(rest.split(',').map(Into::into).collect())),
                b'A' => out.atomic_map = true,
                b'p' => {
                    out.patch.merge = true;
                    out.patch.key = (!rest.is_empty()).then(|| rest.into());
                }
                b'r' => out.patch.retain_keys = true,
                b'd' => out.default = serde_json::from_str(rest).ok(),
                b'g' => out.go = Some(rest),
                _ => {}
            }
        }
        out
    }

    #[cfg(test)]
    pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
        index().iter().map(|(name, facts)| (*name, facts.fields))
    }
}
