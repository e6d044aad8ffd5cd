//! One run's containers.

use std::time::Duration;

use testcontainers::{
    ContainerAsync, GenericImage, ImageExt,
    core::{Host, IntoContainerPort, client::docker_client_instance},
    runners::AsyncRunner,
};

use crate::{Error, image::Image};

/// The label that every container of ours carries, with the run's id.
pub const RUN_LABEL: &str = "multigres.run";
/// How long a container may take to start.
const STARTUP: Duration = Duration::from_secs(60);

/// What a container starts with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Arguments in place of the image's own; none keeps those.
    pub arguments: Vec<String>,
    /// Files by absolute path.
    pub files: Vec<(String, Vec<u8>)>,
    /// The port that is asked.
    pub port: u16,
    /// Names by which the container finds this machine.
    pub this_machine: Vec<String>,
}

/// A started container; removed when dropped.
#[derive(Debug)]
pub struct Started {
    container: ContainerAsync<GenericImage>,
    /// `http://127.0.0.1:32768`
    pub url: String,
}

impl Started {
    /// What the program wrote so far, at most the last 4 KiB: for the story of a failure.
    pub async fn log(&self) -> String {
        let err = self.container.stderr_to_vec().await.unwrap_or_default();
        let start = err.len().saturating_sub(4096);
        String::from_utf8_lossy(err.get(start..).unwrap_or_default()).into_owned()
    }
}

/// One run: an id that is on every container.
#[derive(Clone, Debug)]
pub struct Session {
    run: String,
}

impl Session {
    /// A run of this id (a process id with a time, say).
    pub fn new(run: impl Into<String>) -> Self {
        Self { run: run.into() }
    }

    /// Whether the engine answers and has the image; nothing is pulled.
    pub async fn available(&self, image: &Image) -> Result<(), Error> {
        let unavailable = |reason: String| Error::Unavailable { backend: image.backend, reason };
        let docker = docker_client_instance()
            .await
            .map_err(|error| unavailable(format!("no container engine answers ({error}); start one")))?;
        docker.inspect_image(&image.to_string()).await.map(drop).map_err(|error| {
            unavailable(format!("no image {image} here ({error}); docker pull it, or make it with ci/images/make.sh"))
        })
    }

    /// Starts a container of an image that is there, and gives the address of its port on this machine.
    pub async fn start(&self, image: &Image, setup: Setup) -> Result<Started, Error> {
        self.available(image).await?;
        let failed = |reason: String| Error::Start { backend: image.backend, reason };
        let mut request = GenericImage::new(image.name.clone(), image.tag.clone())
            .with_exposed_port(setup.port.tcp())
            .with_startup_timeout(STARTUP)
            .with_label(RUN_LABEL, self.run.clone());
        if !setup.arguments.is_empty() {
            request = request.with_cmd(setup.arguments);
        }
        for name in setup.this_machine {
            request = request.with_host(name, Host::HostGateway);
        }
        for (path, bytes) in setup.files {
            request = request.with_copy_to(path, bytes);
        }
        let container = request.start().await.map_err(|error| failed(error.to_string()))?;
        let port = container.get_host_port_ipv4(setup.port.tcp()).await.map_err(|error| failed(error.to_string()))?;
        Ok(Started { container, url: format!("http://127.0.0.1:{port}") })
    }
}

/// What is to become of a test whose backend is not there: `Err` where `required` (the value of `REQUIRE_BACKENDS`) names it,
/// otherwise the line to print.
///
/// ```
/// use scenario_backends::{Error, session::skipped};
/// let error = Error::Unavailable { backend: "prometheus", reason: "no image".into() };
/// assert_eq!(skipped(&error, "promtool").unwrap(), "SKIPPED: prometheus: no image");
/// assert_eq!(skipped(&error, "promtool, prometheus").unwrap_err(), "REQUIRE_BACKENDS names prometheus, but: prometheus: no image");
/// ```
pub fn skipped(error: &Error, required: &str) -> Result<String, String> {
    match error {
        Error::Unavailable { backend, .. } if !required.split(',').any(|name| name.trim() == *backend) => {
            Ok(format!("SKIPPED: {error}"))
        }
        Error::Unavailable { backend, .. } => Err(format!("REQUIRE_BACKENDS names {backend}, but: {error}")),
        _ => Err(error.to_string()),
    }
}
