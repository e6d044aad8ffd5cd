//! What a process of the world gets, and what it gives back.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use futures::future::BoxFuture;
use sim_kube::{Exit, Files, Stop};
use sim_net::Host;

use crate::logs::LogWriter;

/// The surroundings of one container's process: everything that it may know or touch.
#[derive(Clone)]
pub struct Context {
    /// Its pod's namespace.
    pub namespace: String,
    /// Its pod's name.
    pub pod: String,
    /// Its container's name.
    pub container: String,
    /// Its container's image.
    pub image: String,
    /// The labels of its pod.
    pub labels: BTreeMap<String, String>,
    /// Its service account's name.
    pub service_account: String,
    /// The container's command and arguments as the manifest writes them, variables expanded.
    pub command: Vec<String>,
    /// See `command`.
    pub args: Vec<String>,
    /// Its environment in the order of the manifest.
    pub env: Vec<(String, String)>,
    /// Files that the kubelet projects: ConfigMaps, Secrets.
    pub files: Files,
    /// Its pod's network.
    pub host: Host,
    /// Where its lines go.
    pub log: LogWriter,
    /// Resolves when it is asked to end (SIGTERM).
    pub stop: Stop,
}

/// A program that can run in a container.
pub trait Process: Send + Sync {
    /// Runs one container's process until it ends by itself or is dropped (SIGKILL).
    fn run(&self, context: Context) -> BoxFuture<'static, Exit>;
}

impl<F, Fut> Process for F
where
    F: Fn(Context) -> Fut + Send + Sync,
    Fut: Future<Output = Exit> + Send + 'static,
{
    fn run(&self, context: Context) -> BoxFuture<'static, Exit> {
        Box::pin(self(context))
    }
}

/// Which program an image is: the first entry whose name the image's repository ends with.
#[derive(Clone, Default)]
pub struct Images(Vec<(String, Arc<dyn Process>)>);

impl Images {
    /// Lets images whose repository (the reference without tag and digest) ends with `repository` be `process`.
    /// Later entries go before earlier ones.
    pub fn with(mut self, repository: &str, process: impl Process + 'static) -> Self {
        self.0.insert(0, (repository.to_owned(), Arc::new(process)));
        self
    }

    /// The program of an image reference.
    pub fn find(&self, image: &str) -> Option<Arc<dyn Process>> {
        let repository = repository(image);
        self.0
            .iter()
            .find(|(wanted, _)| {
                repository.strip_suffix(wanted.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
            })
            .map(|(_, process)| process.clone())
    }
}

/// An image reference without its tag and digest: `ghcr.io/multigres/multigres`.
fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_the_end_of_its_repository() {
        let process = |_: Context| async { Exit { code: 0, message: String::new() } };
        let images = Images::default().with("etcd", process).with("multigres/multigres", process);
        for (image, known) in [
            ("gcr.io/etcd-development/etcd:v3.6.7", true),
            ("localhost:5000/etcd", true),
            ("etcd@sha256:0123", true),
            ("quay.io/not-etcd:v1", false),
            ("ghcr.io/multigres/multigres:main", true),
            ("ghcr.io/other/multigres:main", false),
        ] {
            assert_eq!(images.find(image).is_some(), known, "{image}");
        }
    }
}
