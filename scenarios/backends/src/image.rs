//! Which image each backend is.

/// An image by name and tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The backend, as `REQUIRE_BACKENDS` names it: `prometheus`.
    pub backend: &'static str,
    /// `quay.io/prometheus/prometheus`
    pub name: String,
    /// `v3.5.3`
    pub tag: String,
}

/// Prometheus, as `deploy/observability/prometheus.yaml` pins it.
pub const PROMETHEUS: (&str, &str) = ("prometheus", "quay.io/prometheus/prometheus:v3.5.3");
/// Alertmanager.
pub const ALERTMANAGER: (&str, &str) = ("alertmanager", "quay.io/prometheus/alertmanager:v0.33.1");

impl Image {
    /// The image of a backend: what `IMAGE_PROMETHEUS`, for instance, says in the environment, or else the upstream one. `lookup`
    /// gives the value of a variable.
    ///
    /// ```
    /// use scenario_backends::image::{Image, PROMETHEUS};
    /// let own = |name: &str| (name == "IMAGE_PROMETHEUS").then(|| "mirror.local:5000/prom/prometheus:v3.6.0".to_owned());
    /// let image = Image::of(PROMETHEUS, own);
    /// assert_eq!((image.name.as_str(), image.tag.as_str()), ("mirror.local:5000/prom/prometheus", "v3.6.0"));
    /// assert_eq!(Image::of(PROMETHEUS, |_| None).to_string(), "quay.io/prometheus/prometheus:v3.5.3");
    /// ```
    pub fn of((backend, upstream): (&'static str, &str), lookup: impl Fn(&str) -> Option<String>) -> Self {
        let variable = format!("IMAGE_{}", backend.to_uppercase().replace('-', "_"));
        let reference = lookup(&variable).filter(|value| !value.is_empty()).unwrap_or_else(|| upstream.to_owned());
        // A colon before the last slash belongs to a registry's port.
        let (name, tag) = match reference.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name.to_owned(), tag.to_owned()),
            _ => (reference, "latest".to_owned()),
        };
        Self { backend, name, tag }
    }
}

impl std::fmt::Display for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}
