//! `CADDYFILE` values: read by the rules of Caddy 1 or 2, translated to Caddy 2, every word from an allow-list.
//!
//! ```text
//! text ─ parts ─▶ each service's text
//!      ─ lexer ─▶ tokens ─ parser ─▶ blocks ─ dialect ─▶ v1 or v2 rules ─▶ sites ─ render ─▶ Caddy 2 text
//! ```

mod address;
mod dialect;
mod duration;
mod host;
#[cfg(any(test, feature = "testing"))]
pub mod invariants;
mod lexer;
mod parser;
mod parts;
mod placeholder;
mod site;
#[cfg(any(test, feature = "strategies"))]
pub mod strategies;
mod v1;
mod v2;
mod write;

use std::collections::BTreeSet;

pub use address::{AddressError, Scheme, SiteUrl};
pub use dialect::Dialect;
pub use host::{HostError, host};
pub use parts::join;
pub use site::{Dial, MayDial, Permits, Site, TlsWish, Translation, translate};
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
    /// Of one service's part of an app's text.
    #[error("service {service}, {error}")]
    Service {
        /// The service.
        service: String,
        /// What is wrong, with its line in that part.
        error: Box<CaddyfileError>,
    },
}

impl CaddyfileError {
    /// The same, with the name of the service, unless it is named already.
    #[must_use]
    pub fn of(self, service: Option<&str>) -> Self {
        match (service, self) {
            (Some(service), error @ (Self::Syntax { .. } | Self::Directive { .. })) => {
                Self::Service { service: service.to_owned(), error: Box::new(error) }
            }
            (_, error) => error,
        }
    }

    /// The same, of a text of which nothing says for which Caddy it is.
    fn guessed(mut self) -> Self {
        if let Self::Directive { what, .. } = &mut self {
            what.push_str(" (read as Caddy 1; begin with `# caddy 2` if it is for that)");
        }
        self
    }

    fn syntax(line: u32, what: impl Into<String>) -> Self {
        let what = what.into();
        Self::Syntax { line, what }
    }
}

/// Passes the placeholders that an app may use in Caddy 2.
pub fn check_placeholders(text: &str) -> Result<(), String> {
    placeholder::check_v2(text).map(|_| ())
}

/// The addresses of a text's sites, in order.
pub fn urls(text: &str) -> Result<Vec<SiteUrl>, CaddyfileError> {
    let mut urls = Vec::new();
    for part in parts::split(text)? {
        let found = urls_of(part.text).map_err(|error| error.of(part.service))?;
        urls.extend(found);
    }
    Ok(urls)
}

fn urls_of(text: &str) -> Result<Vec<SiteUrl>, CaddyfileError> {
    let mut urls = Vec::new();
    for block in &site::read(text)?.blocks {
        urls.extend(site::addresses(block)?);
    }
    Ok(urls)
}

/// Where a text's sites proxy to; of one that can't be translated, as far as it can.
pub fn dials(text: &str) -> BTreeSet<String> {
    let asked = std::cell::RefCell::new(BTreeSet::new());
    let may_dial = |host: &str, _: u16| {
        asked.borrow_mut().insert(host.to_owned());
        Dial::May
    };
    let permits = Permits { may_dial: &may_dial, is_given: &|_| true };
    for site in translate(text, permits).map(|made| made.sites).unwrap_or_default() {
        // Only what is asked for on the way counts.
        let _ = site.text(0);
    }
    asked.into_inner()
}

/// The addresses of a text's sites whose certificates come from Caddy's own authority, which no client knows.
pub fn privately_certified(text: &str) -> BTreeSet<SiteUrl> {
    let all = Permits { may_dial: &|_, _| Dial::May, is_given: &|_| true };
    let sites = translate(text, all).map(|translation| translation.sites).unwrap_or_default();
    sites.into_iter().filter(|site| site.tls == TlsWish::Internal).map(|site| site.url).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_text_leads_is_told_in_either_syntax() {
        let told = |text| dials(text).into_iter().collect::<Vec<_>>();
        assert_eq!(told("http://a.test {\n proxy / http://one:80 two:81\n}"), ["one", "two"]);
        assert_eq!(told("http://a.test {\n reverse_proxy one:80\n}"), ["one"]);
        assert_eq!(told("http://a.test {\n redir https://b.test\n}"), [""; 0]);
    }

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
            let permits =
                Permits { may_dial: &|host, _| (host == "c").into(), is_given: &|_| false };
            let translation = translate(text, permits).unwrap();
            let served: Vec<_> = translation.sites.into_iter().map(|site| site.url).collect();
            assert_eq!(urls(text).unwrap(), served, "{text}");
        }
    }

    fn read(text: &str) -> Result<Translation, String> {
        let permits = Permits { may_dial: &|host, _| (host == "c").into(), is_given: &|_| false };
        translate(text, permits).map_err(|error| error.to_string())
    }

    #[test]
    fn each_service_is_read_by_itself() {
        let web = "http://a.test {\n proxy / c:80\n log\n}";
        let api = "b.test {\n reverse_proxy c:80\n}";
        let joined =
            join([("web", web), ("api", api), ("old", "http://o.test\nredir http://a.test")]);
        let whole = read(&joined).unwrap();
        let dialects: Vec<_> = whole.sites.iter().map(|site| site.dialect).collect();
        assert_eq!(dialects, [Dialect::V1, Dialect::V2, Dialect::V1]);
        assert!(whole.notes[0].starts_with("service web, line 3: log: "), "{:?}", whole.notes);
        let bad = joined.replace("log", "fastcgi / x");
        assert_eq!(
            read(&bad).unwrap_err(),
            "service web, line 3: fastcgi: run the web server of the app in a container"
        );
        let twice = join([("web", web), ("api", web)]);
        assert_eq!(
            read(&twice).unwrap_err(),
            "service api, line 1: http://a.test is there in the service web, too"
        );
    }

    /// Whoever writes the comments that part a text cuts up what is their own, and nothing else is read of it.
    #[test]
    fn a_service_that_names_others_gains_nothing() {
        let mark = join([("web", "")]).trim_end().to_owned();
        for (inside, what) in [
            ("reverse_proxy other:80", "is not a container of the app"),
            ("bind 0.0.0.0", "the node chooses where it listens"),
            ("respond {env.TOKEN}", "is not allowed"),
            ("import /etc/passwd", "are not read"),
        ] {
            let text = format!("{mark}\nhttp://a.test {{\n {inside}\n respond x\n}}");
            let told = read(&text).unwrap_err();
            assert!(told.starts_with("service web, line 2: ") && told.contains(what), "{told}");
        }
        for cut in [
            format!("http://a.test {{\n{mark}\n respond x\n}}"),
            format!("http://a.test {{\n respond \"x\n{mark}\n\"\n}}"),
            format!("http://a.test {{\n respond x \\\n{mark}\n}}"),
            format!("http://a.test {{\n respond x\n}}\n{mark}\n"),
            format!(
                "http://a.test {{\n respond x\n}}\n{mark}\n}}\nhttp://b.test {{\n respond y\n}}"
            ),
            format!(
                "{mark}\nhttp://a.test {{\n respond x\n}}\n{mark}\nhttp://A.test:80\nrespond y"
            ),
        ] {
            assert!(read(&cut).is_err(), "{cut}");
        }
        // Not at the beginning of a line, or with more than a name, it is a comment like any other.
        for plain in [format!("  {mark}"), format!("{mark} x"), format!("{mark}\u{e9}")] {
            let text = format!("{plain}\nhttp://a.test {{\n respond x\n}}");
            assert_eq!(read(&text).unwrap().sites[0].service, None, "{text}");
        }
    }
}
