//! What has to hold of every `CADDYFILE`, whatever it says. The property tests and the targets in `fuzz/` both ask here.
//! What has to hold of what a node makes of it is asked where that is made.

use std::collections::BTreeSet;

use super::lexer::{Token, single_quoted, tokens};
use super::parser::{Block, Directive, blocks};
use super::placeholder::check_v2;
use super::write::{self, Line};
use super::{Dialect, Permits, SiteUrl, dialect, host, translate, urls};

/// Something that must never happen, happened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

fn broken<T>(what: impl Into<String>) -> Result<T, Broken> {
    Err(Broken(what.into()))
}

/// What must not come through, wherever it stood.
const NEVER: &[&str] = &["{env.", "{$", "{file.", "{system.", "{%"];
/// What a site that is written may begin a line with, named matchers apart.
const DIRECTIVES: &[&str] = &[
    "abort",
    "basicauth",
    "encode",
    "error",
    "handle",
    "handle_errors",
    "handle_path",
    "header",
    "method",
    "redir",
    "request_body",
    "request_header",
    "respond",
    "reverse_proxy",
    "rewrite",
    "route",
    "tls",
    "uri",
];
const NESTING: &[&str] = &["handle", "handle_errors", "handle_path", "route"];
const MAX_DEPTH: usize = 16;

/// Lexer, parser and dialect: whatever is taken has a structure, and its words stay words when they are written.
pub fn lexing(text: &str) -> Result<(), Broken> {
    for read in [tokens(text, Dialect::V1), tokens(text, Dialect::V2), single_quoted(text)] {
        let Ok(tokens) = read else { continue };
        words(text, &tokens)?;
        if let Ok(blocks) = blocks(&tokens) {
            blocks.iter().try_for_each(structure)?;
        }
    }
    if let Ok((_, blocks)) = dialect::read(text) {
        blocks.iter().try_for_each(structure)?;
    }
    for url in urls(text).unwrap_or_default() {
        if SiteUrl::parse(&url.to_string()).as_ref() != Ok(&url) {
            return broken(format!("{url} is another address when it is read again"));
        }
    }
    Ok(())
}

fn words(text: &str, tokens: &[Token]) -> Result<(), Broken> {
    let mut line = 1;
    for token in tokens {
        if token.line < line || token.line as usize > text.lines().count().max(1) {
            return broken(format!("the word {:?} is on no line of the text", token.text));
        }
        line = token.line;
        let opens = NEVER[1..2].iter().chain(&NEVER[4..]).any(|never| token.text.contains(never));
        if opens || token.text.chars().any(char::is_control) {
            return broken(format!("the word {:?} was taken", token.text));
        }
    }
    Ok(())
}

fn structure(block: &Block) -> Result<(), Broken> {
    let reserved = ['{', '}', '(', ')', '&', ','];
    if block.keys.is_empty() || block.keys.iter().any(|key| key.text.contains(reserved)) {
        return broken(format!("a site has the addresses {:?}", block.keys));
    }
    block.directives.iter().try_for_each(|directive| lines(directive, 1))
}

fn lines(directive: &Directive, depth: usize) -> Result<(), Broken> {
    let all: Vec<_> = std::iter::once(&directive.name).chain(&directive.args).cloned().collect();
    if depth > MAX_DEPTH || all.iter().any(|word| matches!(word.as_str(), "{" | "}")) {
        return broken(format!("a line has the words {all:?} at depth {depth}"));
    }
    if let Ok(text) = write::text(&[Line::new(all.clone(), 1)], 0)
        && let Ok(read) = tokens(&text, Dialect::V2)
    {
        let read: Vec<_> = read.into_iter().map(|token| token.text).collect();
        if read != all {
            return broken(format!("{all:?} is written as {text:?}, which says {read:?}"));
        }
    }
    directive.block().iter().try_for_each(|inside| lines(inside, depth + 1))
}

/// The translation: the sites are those whose addresses are told, and each that is taken is one site of Caddy 2, of known directives, to the app's own containers.
pub fn translation(text: &str, is_own: &dyn Fn(&str) -> bool) -> Result<(), Broken> {
    let may_dial = |host: &str, _: u16| is_own(host).into();
    let Ok(translation) = translate(text, Permits { may_dial: &may_dial, is_given: &|_| true })
    else {
        return Ok(());
    };
    let served: Vec<_> = translation.sites.iter().map(|site| &site.url).collect();
    match urls(text) {
        Ok(told) if told.iter().eq(served.iter().copied()) => {}
        told => return broken(format!("the sites are {served:?}, told are {told:?}")),
    }
    for site in &translation.sites {
        if host(&site.url.host).as_ref() != Ok(&site.url.host) {
            return broken(format!("the host {:?}", site.url.host));
        }
        if let Ok(body) = site.text(1) {
            let address = "http://h.test";
            let whole = format!("{address} {{\n{body}\n}}");
            sites(&whole, &BTreeSet::from([address.to_owned()]), is_own)?;
        }
    }
    Ok(())
}

/// A Caddyfile that was written: exactly the sites that are claimed, each of known directives, to the app's own
/// containers.
pub fn sites(
    text: &str,
    claimed: &BTreeSet<String>,
    is_own: &dyn Fn(&str) -> bool,
) -> Result<(), Broken> {
    let read = tokens(text, Dialect::V2).and_then(|tokens| blocks(&tokens));
    let read = read.map_err(|error| Broken(format!("what is written can't be read: {error}")))?;
    let keys: Vec<_> = read.iter().flat_map(|block| &block.keys).map(|key| &key.text).collect();
    if keys.len() != claimed.len() || keys.iter().any(|key| !claimed.contains(*key)) {
        return broken(format!("the sites are {keys:?}, not {claimed:?}"));
    }
    if let Some(never) = NEVER.iter().find(|never| text.contains(*never)) {
        return broken(format!("{never} came through"));
    }
    let mut directives = read.iter().flat_map(|block| &block.directives);
    directives.try_for_each(|directive| written(directive, is_own))
}

fn written(directive: &Directive, is_own: &dyn Fn(&str) -> bool) -> Result<(), Broken> {
    let name = directive.name.as_str();
    if !DIRECTIVES.contains(&name) && !name.starts_with('@') {
        return broken(format!("the directive {name:?} came through"));
    }
    placeholders(directive)?;
    if name == "reverse_proxy" {
        let to = directive.block().iter().filter(|line| line.name == "to");
        let to = to.flat_map(|line| &line.args);
        let is_matcher = |word: &&String| word.starts_with(['/', '@', '*']);
        let matchers = directive.args.first().filter(is_matcher).map_or(0, |_| 1);
        for place in directive.args[matchers..].iter().chain(to) {
            let host = place.split_once("://").map_or(place.as_str(), |(_, place)| place);
            let host = host.split(':').next().unwrap_or_default();
            if !is_own(host) {
                return broken(format!("{place:?} is dialled"));
            }
        }
    }
    match NESTING.contains(&name) {
        true => directive.block().iter().try_for_each(|inside| written(inside, is_own)),
        false => Ok(()),
    }
}

fn placeholders(directive: &Directive) -> Result<(), Broken> {
    for word in std::iter::once(&directive.name).chain(&directive.args) {
        check_v2(word).map_err(Broken)?;
    }
    directive.block().iter().try_for_each(placeholders)
}
