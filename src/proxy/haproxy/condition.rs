//! `use_backend_option`: `if { fetch [-i] [-m method] literal… } …`, with `!` and `or`; nothing that reads files,
//! environment or maps.

use std::collections::BTreeSet;
use std::fmt;

use caddyfile::host;

use crate::proxy::text::haproxy_words;

const HOST: &[&str] = &["hdr(host)", "req.hdr(host)", "req_ssl_sni", "req.ssl_sni", "ssl_fc_sni"];
const OTHER: &[&str] = &[
    "hdr_beg(host)",
    "hdr_end(host)",
    "hdr_dom(host)",
    "path",
    "path_beg",
    "path_end",
    "path_dir",
    "path_sub",
    "method",
    "src",
    "req_ssl_hello_type",
    "req.ssl_hello_type",
];
const METHODS: &[&str] = &["str", "beg", "end", "sub", "dir", "dom"];

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    negated: bool,
    words: Vec<String>,
    /// Full hosts that the term asks for; none where it asks for something else.
    hosts: BTreeSet<String>,
}

/// When a backend is used: alternatives of terms that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition(Vec<Vec<Term>>);

impl Condition {
    /// Parses the text; an empty one is no condition.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, String> {
        let wrong = |what: String| format!("use_backend_option {text:?} {what}");
        let words = haproxy_words(text).map_err(|error| wrong(error.to_string()))?;
        let Some((first, mut rest)) = words.split_first() else {
            return Ok(None);
        };
        if *first != "if" {
            return Err(wrong("does not begin with 'if'".to_owned()));
        }
        let mut alternatives = vec![Vec::new()];
        while let Some(word) = rest.first() {
            if matches!(*word, "or" | "||") {
                alternatives.push(Vec::new());
                rest = &rest[1..];
                continue;
            }
            let (term, after) = Term::parse(rest).map_err(&wrong)?;
            if let Some(last) = alternatives.last_mut() {
                last.push(term);
            }
            rest = after;
        }
        if alternatives.iter().any(Vec::is_empty) {
            return Err(wrong("lacks a condition in braces".to_owned()));
        }
        Ok(Some(Self(alternatives)))
    }

    /// The hosts that the condition is for, or `None` if some request of another host could meet it.
    pub fn hosts(&self) -> Option<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        for terms in &self.0 {
            let named = terms.iter().find(|term| !term.negated && !term.hosts.is_empty())?;
            all.extend(named.hosts.iter().cloned());
        }
        Some(all)
    }
}

impl Term {
    fn parse<'a, 'b>(words: &'a [&'b str]) -> Result<(Self, &'a [&'b str]), String> {
        let (negated, words) = match words {
            ["!", "{", ..] => (true, &words[1..]),
            ["!{", ..] => (true, words),
            _ => (false, words),
        };
        let opened = words.first().is_some_and(|word| matches!(*word, "{" | "!{"));
        let end = words.iter().position(|word| *word == "}");
        let (true, Some(end)) = (opened, end) else {
            return Err("has something else than conditions in braces".to_owned());
        };
        let inside = &words[1..end];
        let Some((fetch, arguments)) = inside.split_first() else {
            return Err("has empty braces".to_owned());
        };
        if !HOST.contains(fetch) && !OTHER.contains(fetch) {
            return Err(format!("asks for {fetch:?}, which is not allowed"));
        }
        let (exact, literals) = flags(arguments)?;
        let hosts = match HOST.contains(fetch) && exact {
            true => literals
                .iter()
                .map(|name| host(name).map_err(|error| error.to_string()))
                .collect::<Result<_, _>>()?,
            false => BTreeSet::new(),
        };
        let term =
            Self { negated, words: inside.iter().map(|word| (*word).to_owned()).collect(), hosts };
        Ok((term, &words[end + 1..]))
    }
}

/// Whether the match is of whole values, and the literals after the flags.
fn flags<'a, 'b>(mut words: &'a [&'b str]) -> Result<(bool, &'a [&'b str]), String> {
    let mut exact = true;
    loop {
        match words {
            ["-i", rest @ ..] => words = rest,
            ["-m", method, rest @ ..] if METHODS.contains(method) => {
                exact = *method == "str";
                words = rest;
            }
            ["--", rest @ ..] => return Ok((exact, literals(rest)?)),
            _ => return Ok((exact, literals(words)?)),
        }
    }
}

fn literals<'a, 'b>(words: &'a [&'b str]) -> Result<&'a [&'b str], String> {
    if words.is_empty() {
        return Err("has braces without a value".to_owned());
    }
    match words.iter().find(|word| word.starts_with('-') || word.contains(['{', '}'])) {
        Some(word) => Err(format!("has the value {word:?}, which is not allowed")),
        None => Ok(words),
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("if")?;
        for (index, terms) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" or")?;
            }
            for term in terms {
                let not = if term.negated { "!" } else { "" };
                write!(f, " {not}{{ {} }}", term.words.join(" "))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_which_hosts_they_are_for() {
        let parse = |text| Condition::parse(text).unwrap().unwrap();
        let both = parse(
            "if { hdr(host) -i A.test b.test } !{ path_beg /x } or { req.ssl_sni -i c.test }",
        );
        assert_eq!(
            both.to_string(),
            "if { hdr(host) -i A.test b.test } !{ path_beg /x } or { req.ssl_sni -i c.test }"
        );
        let hosts: Vec<_> = both.hosts().unwrap().into_iter().collect();
        assert_eq!(hosts, ["a.test", "b.test", "c.test"]);
        for open in [
            "if { path_beg /x }",
            "if !{ hdr(host) a.test }",
            "if { hdr(host) -m end .test }",
            "if { hdr(host) a.test } or { path /x }",
        ] {
            assert_eq!(parse(open).hosts(), None, "{open}");
        }
        assert_eq!(Condition::parse("").unwrap(), None);
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "if TRUE",
            "if",
            "unless { path / }",
            "if { hdr(host) -f /etc/passwd }",
            "if { hdr(host),map(/etc/x) -m found }",
            "if { env(SECRET) -m str x }",
            "if { path / } or",
            "if { path /\n}",
            "if { path }",
            "if { hdr(host) -i a.test",
            "if { path / } backend x",
            "if { hdr(host) -m found }",
        ] {
            assert!(Condition::parse(bad).is_err(), "{bad:?}");
        }
    }
}
