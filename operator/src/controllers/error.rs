//! What can go wrong in a reconcile.

use crate::observability::Failure;
use crate::resolver::ResolveError;
use crate::resources::BuildError;
use crate::topology::TopologyError;

/// A reconcile that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error("{verb} {kind} {name}: {source}")]
    Kube {
        /// What was being done: `apply`, `delete`, `update status of`, `update finalizers of`.
        verb: &'static str,
        /// The kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// What the API server or the transport said.
        #[source]
        source: Box<kube::Error>,
    },
    /// An object that cannot be written as JSON.
    #[error("{kind} {name} cannot be written as JSON: {source}")]
    Json {
        /// The kind of the object.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The cluster refers to something that does not exist.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A custom resource from which nothing can be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The topology server refused, or could not be reached.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

impl Failure for Error {
    fn error_type(&self) -> &'static str {
        match self {
            Self::Kube { source, .. } => source.error_type(),
            Self::Json { .. } => "serde_json::Error",
            Self::Resolve(ResolveError::TemplateMissing { .. }) => "ResolveError::TemplateMissing",
            Self::Build(BuildError::LabelMissing { .. }) => "BuildError::LabelMissing",
            Self::Build(BuildError::PoolWithoutCells(_)) => "BuildError::PoolWithoutCells",
            Self::Build(BuildError::OrchWithoutCells) => "BuildError::OrchWithoutCells",
            Self::Topology(error) => error.error_type(),
        }
    }
}
