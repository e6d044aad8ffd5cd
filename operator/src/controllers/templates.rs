//! Templates out of the caches, for the resolver.

use crate::api::{CellTemplate, CellTemplateSpec, CoreTemplate, CoreTemplateSpec, ShardTemplate, ShardTemplateSpec};
use crate::resolver::TemplateSource;
use crate::runtime::{ObjectKey, Store};

/// The templates of all namespaces.
#[derive(Clone)]
pub struct Templates {
    /// CoreTemplates.
    pub core: Store<CoreTemplate>,
    /// CellTemplates.
    pub cell: Store<CellTemplate>,
    /// ShardTemplates.
    pub shard: Store<ShardTemplate>,
}

impl Templates {
    /// The templates of one namespace.
    pub fn of_namespace(&self, namespace: &str) -> NamespaceTemplates {
        NamespaceTemplates { templates: self.clone(), namespace: namespace.to_owned() }
    }
}

/// The templates of one namespace.
pub struct NamespaceTemplates {
    templates: Templates,
    namespace: String,
}

impl NamespaceTemplates {
    fn key(&self, name: &str) -> ObjectKey {
        ObjectKey::new(self.namespace.clone(), name)
    }
}

impl TemplateSource for NamespaceTemplates {
    fn core(&self, name: &str) -> Option<CoreTemplateSpec> {
        self.templates.core.get(&self.key(name)).map(|template| template.spec.clone())
    }
    fn cell(&self, name: &str) -> Option<CellTemplateSpec> {
        self.templates.cell.get(&self.key(name)).map(|template| template.spec.clone())
    }
    fn shard(&self, name: &str) -> Option<ShardTemplateSpec> {
        self.templates.shard.get(&self.key(name)).map(|template| template.spec.clone())
    }
}
