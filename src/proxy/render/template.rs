//! The templates in `haproxy/` and `caddy/`.

use handlebars::{Handlebars, no_escape};
use serde::Serialize;

const HAPROXY: &str = include_str!("../../../haproxy/haproxy.cfg.hbs");
const CADDY: &str = include_str!("../../../caddy/Caddyfile.hbs");

/// A template does not fit what it is given: a mistake in the template, never in an app.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// It can't be read.
    #[error("the template {name} has an error")]
    Template {
        /// Which one.
        name: &'static str,
        /// Where.
        #[source]
        source: Box<handlebars::TemplateError>,
    },
    /// It asks for something that isn't there.
    #[error("the template {name} can't be rendered")]
    Render {
        /// Which one.
        name: &'static str,
        /// Where.
        #[source]
        source: Box<handlebars::RenderError>,
    },
}

/// The templates, read once.
#[derive(Debug)]
pub struct Templates(Handlebars<'static>);

impl Templates {
    /// Reads the templates that the program was built with.
    pub fn built_in() -> Result<Self, RenderError> {
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        // Nothing is escaped: every value was checked against the grammar of its place.
        registry.register_escape_fn(no_escape);
        for (name, text) in [("haproxy.cfg.hbs", HAPROXY), ("Caddyfile.hbs", CADDY)] {
            registry
                .register_template_string(name, text)
                .map_err(|source| RenderError::Template { name, source: Box::new(source) })?;
        }
        Ok(Self(registry))
    }

    pub(super) fn haproxy(&self, context: &impl Serialize) -> Result<String, RenderError> {
        self.render("haproxy.cfg.hbs", context)
    }

    pub(super) fn caddy(&self, context: &impl Serialize) -> Result<String, RenderError> {
        self.render("Caddyfile.hbs", context)
    }

    fn render(&self, name: &'static str, context: &impl Serialize) -> Result<String, RenderError> {
        let rendered = self.0.render(name, context);
        rendered.map_err(|source| RenderError::Render { name, source: Box::new(source) })
    }
}
