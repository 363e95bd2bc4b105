//! `CADDYFILE` values: read by the rules of Caddy 1 or 2, translated to Caddy 2, every word from an allow-list.
//!
//! ```text
//! text ─ lexer ─▶ tokens ─ parser ─▶ blocks ─ dialect ─▶ v1 or v2 rules ─▶ sites ─ render ─▶ Caddy 2 text
//! ```

mod address;
mod dialect;
#[cfg(test)]
mod fuzz;
#[cfg(any(test, feature = "testing"))]
pub(in crate::proxy) mod invariants;
mod lexer;
mod parser;
mod placeholder;
mod site;
mod v1;
mod v2;
mod write;

use std::collections::BTreeSet;

pub use address::{Scheme, SiteUrl};
pub use dialect::Dialect;
pub use site::{MayDial, Permits, Site, TlsChoice, Translation, translate};
pub use write::Line;

/// Why a `CADDYFILE` is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaddyfileError {
    /// The text has no structure.
    #[error("line {line}: {what}")]
    Syntax {
        /// Counted from 1.
        line: u32,
        /// What is wrong.
        what: String,
    },
    /// A directive has no translation, or is not allowed.
    #[error("line {line}: {directive}: {what}")]
    Directive {
        /// Counted from 1.
        line: u32,
        /// The directive.
        directive: String,
        /// Why not, or what to write instead.
        what: String,
    },
}

impl CaddyfileError {
    fn syntax(line: u32, what: impl Into<String>) -> Self {
        let what = what.into();
        Self::Syntax { line, what }
    }
}

/// Passes the placeholders that an app may use in Caddy 2.
pub(in crate::proxy) fn check_placeholders(text: &str) -> Result<(), String> {
    placeholder::check_v2(text).map(|_| ())
}

/// The addresses of a text's sites, in order.
pub fn urls(text: &str) -> Result<Vec<SiteUrl>, CaddyfileError> {
    let mut urls = Vec::new();
    for block in &site::read(text)?.blocks {
        urls.extend(site::addresses(block)?);
    }
    Ok(urls)
}

/// The addresses of a text's sites whose certificates come from Caddy's own authority, which no client knows.
pub fn privately_certified(text: &str) -> BTreeSet<SiteUrl> {
    let all = Permits { may_dial: &|_, _| true, is_given: &|_| true };
    let sites = translate(text, all).map(|translation| translation.sites).unwrap_or_default();
    sites.into_iter().filter(|site| site.tls == TlsChoice::Internal).map(|site| site.url).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that a fuzz target found: HAProxy was told other addresses than those that Caddy served.
    #[test]
    fn the_addresses_are_those_that_are_served() {
        for text in [
            "'a.test'",
            "'http://a.test' {\n proxy / c:80\n}",
            "http://a.test, 'http://b.test' {\n proxy / c:80\n}",
            "http://a.test {\n proxy / 'c'\n}",
            "http://a.test {\n header / X-A 'b c'\n}\n'b.test' {\n proxy / c:80\n}",
        ] {
            let permits = Permits { may_dial: &|host, _| host == "c", is_given: &|_| false };
            let translation = translate(text, permits).unwrap();
            let served: Vec<_> = translation.sites.into_iter().map(|site| site.url).collect();
            assert_eq!(urls(text).unwrap(), served, "{text}");
        }
    }
}
