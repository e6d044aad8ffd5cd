//! Go's template language with Alertmanager's functions, data and default templates.

mod defaults;
mod exec;
mod functions;
mod syntax;
pub(crate) mod time;
pub(crate) mod value;

pub use value::{AlertData, Data};

use crate::Error;
use exec::{Renderer, Surroundings};
use sim_clock::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use value::Value;

/// How many template files a configuration may name.
pub const FILES_MAX: usize = 1000;

/// All templates that a notification can call by name.
#[derive(Debug, Clone)]
pub struct Templates {
    named: BTreeMap<String, Vec<syntax::Node>>,
}

static DEFAULTS: LazyLock<Templates> = LazyLock::new(|| {
    let mut templates = Templates { named: BTreeMap::new() };
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
        let defined = syntax::parse(file, text, &functions::exists).map_err(|message| Error::Template { message })?;
        self.named.extend(defined);
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
        let fail = |message: String| Error::Template { message };
        let dot = Value::Data(data.clone());
        let own = syntax::parse("", text, &functions::exists).map_err(fail)?;
        let mut renderer = Renderer::new(&own, &self.named, surroundings);
        renderer.run("", &dot).map_err(fail)?;
        Ok(renderer.out)
    }
}

/// Checks the syntax of a template.
///
/// # Errors
/// [`Error::Template`] with the place.
pub fn check(text: &str) -> Result<(), Error> {
    syntax::parse("", text, &functions::exists).map(|_| ()).map_err(|message| Error::Template { message })
}

#[cfg(test)]
mod tests;
