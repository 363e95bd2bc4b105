//! A `CADDYFILE` as sites of Caddy 2, one per address.

use std::collections::{BTreeMap, BTreeSet};

use super::address::{Scheme, SiteUrl};
use super::parser::{Block, Directive};
use super::placeholder::{Speaks, from_v1};
use super::write::{self, Line};
use super::{CaddyfileError, Dialect, dialect, host, parts, v1, v2};

/// What a text wishes of a site's certificate. Where it comes from in the end is the node's to settle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TlsWish {
    /// Nothing: as the node's settings say.
    #[default]
    Default,
    /// One of Caddy's own authority.
    Internal,
    /// One of a public authority, with this account.
    Email(String),
}

/// A site, ready to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its address.
    pub url: SiteUrl,
    /// What it wishes of its certificate, where it has one.
    pub tls: TlsWish,
    /// Its directives.
    pub lines: Vec<Line>,
    /// What it was written for.
    pub dialect: Dialect,
    /// Whose text it is in, where services are named.
    pub service: Option<String>,
    /// Where its address is in that text.
    line: u32,
}

impl Site {
    /// The directives as text.
    pub fn text(&self, depth: usize) -> Result<String, CaddyfileError> {
        write::text(&self.lines, depth).map_err(|error| error.of(self.service.as_deref()))
    }
}

/// What a `CADDYFILE` becomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Translation {
    /// Its sites.
    pub sites: Vec<Site>,
    /// What was accepted and has no effect.
    pub notes: Vec<String>,
}

/// What a rule may look at and add to.
pub(super) struct Scope<'a> {
    pub(super) url: &'a SiteUrl,
    pub(super) may_dial: MayDial<'a>,
    is_given: &'a dyn Fn(&str) -> bool,
    pub(super) tls: TlsWish,
    /// Lines with their rank: Caddy 1 has an order of its own, whatever the order in the file.
    pub(super) lines: Vec<(u8, Line)>,
    pub(super) notes: BTreeSet<String>,
}

impl Scope<'_> {
    /// A name for a matcher or expression that nothing else in the site has.
    pub(super) fn fresh(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.lines.len())
    }

    /// A word of Caddy 1 with its placeholders as those of Caddy 2; `capture` names the regular expression whose groups
    /// it may hold.
    pub(super) fn word(
        &self,
        directive: &Directive,
        text: &str,
        capture: Option<&str>,
    ) -> Result<String, CaddyfileError> {
        let labels = self.url.host.split('.').count();
        let of = Speaks { capture, labels, port: self.url.port };
        from_v1(text, of).map_err(|what| directive.error(what))
    }

    pub(super) fn ignore(&mut self, directive: &Directive, why: &str) {
        self.notes.insert(format!("line {}: {}: {why}", directive.line, directive.name));
    }

    /// `tls EMAIL`, `tls CERT KEY` and the like: what the two dialects share.
    pub(super) fn choose_email(&mut self, directive: &Directive) -> Result<(), CaddyfileError> {
        match directive.args().as_slice() {
            [email] if is_email(email) && directive.block.is_none() => {
                self.tls = TlsWish::Email((*email).to_owned());
                Ok(())
            }
            // Whatever it names are files of another place, of which nothing is read.
            [_, _] if directive.block.is_none() && (self.is_given)(&self.url.host) => {
                self.ignore(directive, "the certificate is the one that the policy gives the host");
                Ok(())
            }
            [_, _] if directive.block.is_none() => Err(directive.error(
                "files are not read; an admin can give a host its certificate by a policy",
            )),
            _ => Err(directive.error(
                "only an e-mail address, 'internal' (Caddy 2), 'self_signed' or 'off' (Caddy 1) are for apps",
            )),
        }
    }
}

fn is_email(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@._+-".contains(c);
    text.chars().all(plain)
        && text.split_once('@').is_some_and(|(user, at)| !user.is_empty() && host(at).is_ok())
}

/// The addresses of a block; `tls off` makes plain sites of them.
pub(super) fn addresses(block: &Block) -> Result<Vec<SiteUrl>, CaddyfileError> {
    let is_plain = block
        .directives
        .iter()
        .any(|directive| directive.name == "tls" && directive.args == ["off"]);
    block
        .keys
        .iter()
        .map(|key| {
            let mut url = SiteUrl::parse(&key.text)
                .map_err(|error| CaddyfileError::syntax(key.line, error.to_string()))?;
            if is_plain {
                (url.scheme, url.port) = (Scheme::Http, 80);
            }
            Ok(url)
        })
        .collect()
}

/// Says of a host and a port whether the app may proxy to it.
pub type MayDial<'a> = &'a dyn Fn(&str, u16) -> Dial;

/// Whether an app may proxy to a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dial {
    /// It may.
    May,
    /// It may not.
    MayNot,
    /// It may not: that is a service of the app, whose container is called so.
    Service(String),
}

impl From<bool> for Dial {
    fn from(may: bool) -> Self {
        if may { Self::May } else { Self::MayNot }
    }
}

/// What an app's text may name beside what everybody may.
#[derive(Clone, Copy)]
pub struct Permits<'a> {
    /// Knows the upstreams: the app's containers, and what an admin has added.
    pub may_dial: MayDial<'a>,
    /// Whether an admin gives a host its certificate.
    pub is_given: &'a dyn Fn(&str) -> bool,
}

/// Translates a text: that of a service, or those of several as [`join`](parts::join) makes them one.
pub fn translate(text: &str, permits: Permits<'_>) -> Result<Translation, CaddyfileError> {
    let mut whole = Translation::default();
    let mut declared: BTreeMap<SiteUrl, Option<&str>> = BTreeMap::new();
    for part in parts::split(text)? {
        let of_part = |error: CaddyfileError| error.of(part.service);
        let translation = translate_part(part.text, permits).map_err(of_part)?;
        for mut site in translation.sites {
            if let Some(other) = declared.insert(site.url.clone(), part.service) {
                let url = &site.url;
                let what = match other {
                    Some(other) => format!("{url} is there in the service {other}, too"),
                    None => format!("{url} is there twice"),
                };
                return Err(of_part(CaddyfileError::syntax(site.line, what)));
            }
            site.service = part.service.map(str::to_owned);
            whole.sites.push(site);
        }
        let notes = translation.notes.into_iter().map(|note| match part.service {
            Some(service) => format!("service {service}, {note}"),
            None => note,
        });
        whole.notes.extend(notes);
    }
    Ok(whole)
}

fn translate_part(text: &str, permits: Permits<'_>) -> Result<Translation, CaddyfileError> {
    let reading = read(text)?;
    let translated = sites(reading.dialect, &reading.blocks, permits);
    let mut translation = translated.map_err(|error| match reading.is_guess {
        true => error.guessed(),
        false => error,
    })?;
    if reading.is_single_quoted {
        translation.notes.push("single quotes are read as quotes; write double ones".to_owned());
    }
    Ok(translation)
}

/// What a text says.
pub(super) struct Reading {
    pub(super) dialect: Dialect,
    pub(super) blocks: Vec<Block>,
    is_single_quoted: bool,
    /// Whether nothing in it says for which Caddy it is written.
    is_guess: bool,
}

/// Reads a text as Caddy does, or with single quotes as quotes where only that makes sense. Which of the two does not
/// depend on the app's containers: who asks for the addresses gets those that are served.
pub(super) fn read(text: &str) -> Result<Reading, CaddyfileError> {
    let first = dialect::read(text);
    // No container has a quote in its name.
    let makes_sense = |dialect, blocks: &[Block]| {
        let may_dial = |host: &str, _: u16| (!host.contains('\'')).into();
        sites(dialect, blocks, Permits { may_dial: &may_dial, is_given: &|_| true }).is_ok()
    };
    let is_clear = first
        .as_ref()
        .is_ok_and(|(dialect, blocks)| !text.contains('\'') || makes_sense(*dialect, blocks));
    if !is_clear
        && let Some(blocks) = dialect::read_single_quoted(text)
        && makes_sense(Dialect::V1, &blocks)
    {
        let (is_single_quoted, is_guess) = (true, false);
        return Ok(Reading { dialect: Dialect::V1, blocks, is_single_quoted, is_guess });
    }
    first.map(|(dialect, blocks)| {
        let is_guess = dialect == Dialect::V1 && dialect::is_guess(text, &blocks);
        Reading { dialect, blocks, is_single_quoted: false, is_guess }
    })
}

fn sites(
    dialect: Dialect,
    blocks: &[Block],
    permits: Permits<'_>,
) -> Result<Translation, CaddyfileError> {
    let mut translation = Translation::default();
    let (mut declared, mut notes) = (BTreeSet::new(), BTreeSet::new());
    for block in blocks {
        for url in addresses(block)? {
            let line = block.keys.first().map_or(1, |key| key.line);
            if !declared.insert(url.clone()) {
                let what = format!("{url} is there twice");
                return Err(CaddyfileError::syntax(line, what));
            }
            let mut scope = Scope {
                url: &url,
                may_dial: permits.may_dial,
                is_given: permits.is_given,
                tls: TlsWish::Default,
                lines: Vec::new(),
                notes: BTreeSet::new(),
            };
            match dialect {
                Dialect::V1 => v1::site(&block.directives, &mut scope)?,
                Dialect::V2 => v2::site(&block.directives, &mut scope)?,
            }
            scope.lines.sort_by_key(|(rank, _)| *rank);
            notes.append(&mut scope.notes);
            let (tls, lines) = (scope.tls, scope.lines.into_iter().map(|(_, line)| line).collect());
            translation.sites.push(Site { url, tls, lines, dialect, service: None, line });
        }
    }
    translation.notes = notes.into_iter().collect();
    Ok(translation)
}
