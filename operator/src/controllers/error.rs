//! What can go wrong in a reconcile.

use crate::labels::component;
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
    /// What is known of an object here is not the latest.
    #[error("{kind} {name} has changed meanwhile; it is looked at again")]
    Outdated {
        /// The kind of the object.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The cluster refers to something that does not exist.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A custom resource from which nothing can be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Something of a component.
    #[error("{source}")]
    Part {
        /// The component, as the label `app.kubernetes.io/component` calls it.
        component: String,
        /// What went wrong.
        #[source]
        source: Box<Error>,
    },
    /// The topology server refused, or could not be reached.
    #[error(transparent)]
    Topology(#[from] TopologyError),
}

impl Error {
    /// Says which component it concerns; what knows that already stays as it is.
    #[must_use]
    pub fn of(self, component: impl Into<String>) -> Self {
        match self {
            Self::Part { .. } => self,
            other => Self::Part { component: component.into(), source: Box::new(other) },
        }
    }

    /// What went wrong, whatever it concerns.
    pub fn cause(&self) -> &Self {
        match self {
            Self::Part { source, .. } => source.cause(),
            cause => cause,
        }
    }

    /// Whether it stays until somebody changes something: a request that is refused for what it asks, an object that cannot be built.
    pub fn is_lasting(&self) -> bool {
        match self.cause() {
            Self::Kube { source, .. } => {
                matches!(&**source, kube::Error::Api(status) if LASTING_CODES.contains(&status.code))
            }
            Self::Topology(error) => matches!(error, TopologyError::UnknownImplementation(_)),
            Self::Json { .. } | Self::Resolve(_) | Self::Build(_) => true,
            Self::Outdated { .. } | Self::Part { .. } => false,
        }
    }
}

/// Codes with which the API server refuses what would be refused again: bad, forbidden, too large, invalid.
const LASTING_CODES: [u16; 4] = [400, 403, 413, 422];

impl Failure for Error {
    fn component(&self) -> Option<&str> {
        match self {
            Self::Part { component, .. } => Some(component),
            Self::Topology(_) => Some(component::GLOBAL_TOPO),
            Self::Build(BuildError::PoolWithoutCells(_)) => Some(component::SHARD_POOL),
            Self::Build(BuildError::OrchWithoutCells) => Some(component::MULTIORCH),
            _ => None,
        }
    }

    fn error_type(&self) -> &'static str {
        match self {
            Self::Kube { source, .. } => source.error_type(),
            Self::Json { .. } => "serde_json::Error",
            Self::Outdated { .. } => "Outdated",
            Self::Resolve(ResolveError::TemplateMissing { .. }) => "ResolveError::TemplateMissing",
            Self::Build(BuildError::LabelMissing { .. }) => "BuildError::LabelMissing",
            Self::Build(BuildError::PoolWithoutCells(_)) => "BuildError::PoolWithoutCells",
            Self::Build(BuildError::OrchWithoutCells) => "BuildError::OrchWithoutCells",
            Self::Topology(error) => error.error_type(),
            Self::Part { source, .. } => source.error_type(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_is_known_is_named_once_and_changes_nothing_else() {
        let plain = || Error::from(ResolveError::TemplateMissing { kind: "CellTemplate", name: "big".into() });
        assert_eq!(plain().component(), None);
        let error = plain().of(component::CELL).of(component::SHARD);
        assert_eq!(error.component(), Some("cell"));
        assert_eq!(error.message(), plain().message());
        assert_eq!(error.error_type(), plain().error_type());
        assert!(matches!(error.cause(), Error::Resolve(_)));
        assert_eq!(Error::from(BuildError::OrchWithoutCells).component(), Some("multiorch"));
    }
}
