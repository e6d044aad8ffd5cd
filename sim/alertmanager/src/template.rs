//! Alertmanager's templates: its functions, data and default templates around `sim-template`.

mod defaults;
mod functions;
pub(crate) mod value;

pub use value::{AlertData, Data};

use crate::Error;
use functions::Surroundings;
use sim_clock::Timestamp;
use std::sync::{Arc, LazyLock};
use value::{Special, Value};

/// How many template files a configuration may name.
pub const FILES_MAX: usize = 1000;

/// All templates that a notification can call by name.
#[derive(Debug, Clone)]
pub struct Templates {
    named: sim_template::Templates,
}

impl From<sim_template::Error> for Error {
    fn from(error: sim_template::Error) -> Self {
        Self::Template { message: error.to_string() }
    }
}

fn parse(name: &str, text: &str) -> Result<sim_template::Templates, Error> {
    Ok(sim_template::Templates::parse(name, text, &Surroundings::default())?)
}

static DEFAULTS: LazyLock<Templates> = LazyLock::new(|| {
    let mut templates = Templates { named: sim_template::Templates::default() };
    for (name, text) in [("default.tmpl", defaults::texts()), ("email.tmpl", defaults::EMAIL.to_owned())] {
        // They are ours, and a test renders each of them.
        let _ = templates.add(name, &text);
    }
    templates
});

impl Default for Templates {
    /// The default templates.
    fn default() -> Self {
        DEFAULTS.clone()
    }
}

impl Templates {
    /// Adds the definitions of a file; later ones replace earlier ones.
    ///
    /// # Errors
    /// [`Error::Template`] with file and line.
    pub fn add(&mut self, file: &str, text: &str) -> Result<(), Error> {
        self.named.extend(parse(file, text)?);
        Ok(())
    }

    /// Renders a text that may call the templates.
    ///
    /// # Errors
    /// [`Error::Template`] with the place.
    pub fn text(&self, text: &str, data: &Arc<Data>, now: Timestamp) -> Result<String, Error> {
        self.render(text, data, Surroundings { now, html: false })
    }

    /// The same for HTML: what actions print is escaped.
    ///
    /// # Errors
    /// [`Error::Template`] with the place.
    pub fn html(&self, text: &str, data: &Arc<Data>, now: Timestamp) -> Result<String, Error> {
        self.render(text, data, Surroundings { now, html: true })
    }

    fn render(&self, text: &str, data: &Arc<Data>, surroundings: Surroundings) -> Result<String, Error> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let dot = Value::Extra(Special::Data(data.clone()));
        let own = parse("", text)?;
        Ok(sim_template::Templates::render(&[&own, &self.named], "", &dot, &surroundings)?)
    }
}

/// Checks the syntax of a template.
///
/// # Errors
/// [`Error::Template`] with the place.
pub fn check(text: &str) -> Result<(), Error> {
    parse("", text).map(|_| ())
}

#[cfg(test)]
mod tests;
