//! `rewrite` of Caddy 1.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::condition::Conditions;
use super::{expression, prefix};
use crate::CaddyfileError;
use crate::parser::Directive;
use crate::site::Scope;
use crate::write::{self, Line};

/// A rule, with what has to hold for it.
struct Rule<'a> {
    directive: &'a Directive,
    /// What the path begins with; none where it may be any.
    base: Option<String>,
    /// What the path matches, or does not match.
    expression: Option<(&'a str, bool)>,
    /// Paths of which it is one, besides.
    endings: Option<Line>,
    conditions: Conditions,
    to: &'a str,
}

/// `rewrite [not] REGEXP TO`, or `rewrite [PATH]` with a block, all of a site.
///
/// Caddy 1 applies one of them: of those that fit the one with the longest PATH, and of these the first.
pub(super) fn rewrite(
    directives: &[&Directive],
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let rules = directives.iter().map(|directive| Rule::of(directive, scope));
    let rules = in_turn(rules.collect::<Result<_, _>>()?)?;
    let is_alone = rules.len() == 1;
    let mut lines = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        lines.extend(rule.lines(&format!("w{at}"), is_alone, scope)?);
    }
    // The rewrites of a `handle` exclude each other in every Caddy 2; those of a `route` do so in later ones.
    if let (false, Some(first)) = (is_alone, rules.first()) {
        lines = vec![Line::new(["handle"], first.directive.line).with(lines)];
    }
    scope.lines.extend(lines.into_iter().map(|line| (rank, line)));
    Ok(())
}

/// The rules in the order in which they are tried, without those that are never reached.
fn in_turn(mut rules: Vec<Rule<'_>>) -> Result<Vec<Rule<'_>>, CaddyfileError> {
    rules.sort_by_key(|rule| Reverse(rule.base.as_ref().map_or(0, String::len)));
    let mut seen = BTreeSet::new();
    let mut reached = Vec::new();
    for rule in rules {
        let conditions = write::text(&rule.conditions("w", false)?, 0)?;
        let is_last = conditions.is_empty();
        if seen.insert(conditions) {
            reached.push(rule);
        }
        if is_last {
            break;
        }
    }
    Ok(reached)
}

impl<'a> Rule<'a> {
    fn of(directive: &'a Directive, scope: &Scope<'_>) -> Result<Self, CaddyfileError> {
        let mut rule = Rule {
            directive,
            base: None,
            expression: None,
            endings: None,
            conditions: Conditions::default(),
            to: "",
        };
        let args: Vec<&'a str> = directive.args.iter().map(String::as_str).collect();
        match (args.as_slice(), &directive.block) {
            ([regexp, to], None) => (rule.expression, rule.to) = (Some((*regexp, true)), *to),
            (["not", regexp, to], None) => {
                (rule.expression, rule.to) = (Some((*regexp, false)), *to);
            }
            ([], Some(block)) => rule.take(block, scope)?,
            ([path], Some(block)) => {
                rule.base = prefix(directive, path)?;
                rule.take(block, scope)?;
            }
            _ => return Err(directive.error("is not 'rewrite [not] REGEXP TO' or a block")),
        }
        Ok(rule)
    }

    fn take(&mut self, block: &'a [Directive], scope: &Scope<'_>) -> Result<(), CaddyfileError> {
        let mut to = None;
        for entry in block {
            if self.conditions.take(entry, scope)? {
                continue;
            }
            match (entry.name.as_str(), entry.args.as_slice()) {
                ("r" | "regexp", [regexp]) if self.base.is_none() && self.expression.is_none() => {
                    self.expression = Some((regexp.as_str(), true));
                }
                ("r" | "regexp", [_]) => {
                    return Err(entry.error("only one, and without a path after 'rewrite'"));
                }
                ("ext", [_, ..]) => self.endings = Some(extension(entry)?),
                ("to", [single]) => to = Some(single.as_str()),
                ("to", _) => return Err(entry.error("looks for files, which apps have none of")),
                _ => return Err(entry.error("is no part of rewrite")),
            }
        }
        self.to = to.ok_or_else(|| self.directive.error("lacks 'to'"))?;
        Ok(())
    }

    /// The lines of a named matcher's block; `name` is that of the expression.
    ///
    /// A single `path` is written as it is only for a rule that is alone: Caddy 2 takes several of a block for
    /// alternatives, and sorts by it.
    fn conditions(&self, name: &str, is_alone: bool) -> Result<Vec<Line>, CaddyfileError> {
        let line = self.directive.line;
        let base = self.base.iter().map(|base| Line::new(["path", base], line));
        let paths: Vec<_> = base.chain(self.endings.clone()).collect();
        let is_negative = |path: &Line| path.has_word("not");
        let is_plain = is_alone && paths.iter().filter(|path| !is_negative(path)).count() == 1;
        let twice = |path: Line| match is_negative(&path) || (is_plain && path.has_word("path")) {
            true => path,
            false => {
                let not = Line::new(["not"], line).with(vec![path]);
                Line::new(["not"], line).with(vec![not])
            }
        };
        let mut lines: Vec<_> = paths.into_iter().map(twice).collect();
        match self.expression {
            Some((regexp, true)) => {
                let words = ["path_regexp", name, expression(self.directive, regexp)?];
                lines.push(Line::new(words, line));
            }
            Some((regexp, false)) => {
                let words = ["not", "path_regexp", expression(self.directive, regexp)?];
                lines.push(Line::new(words, line));
            }
            None => {}
        }
        lines.extend(self.conditions.lines());
        Ok(lines)
    }

    fn lines(
        &self,
        name: &str,
        is_alone: bool,
        scope: &Scope<'_>,
    ) -> Result<Vec<Line>, CaddyfileError> {
        let capture = self.expression.is_some_and(|(_, is_positive)| is_positive).then_some(name);
        let to = scope.word(self.directive, self.to, capture)?;
        let conditions = self.conditions(name, is_alone)?;
        let line = self.directive.line;
        if conditions.is_empty() {
            return Ok(vec![Line::new(["rewrite", "*", &to], line)]);
        }
        let matcher = format!("@{name}");
        let rewrite = Line::new(["rewrite", &matcher, &to], line);
        Ok(vec![Line::new([&matcher], line).with(conditions), rewrite])
    }
}

/// `ext .php !.html`: paths with an ending, or without; `/` stands for none.
fn extension(directive: &Directive) -> Result<Line, CaddyfileError> {
    let is_not = directive.args.iter().all(|extension| extension.starts_with('!'));
    let mut endings = Vec::new();
    for extension in &directive.args {
        let plain = extension.strip_prefix('!').unwrap_or(extension);
        let is_mixed = is_not != extension.starts_with('!');
        let is_known = plain == "/"
            || plain.strip_prefix('.').is_some_and(|rest| {
                !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric())
            });
        if is_mixed || !is_known {
            return Err(directive.error("takes endings like .php, or all of them with '!'"));
        }
        endings.push(plain);
    }
    let mut words = if is_not { vec!["not".to_owned()] } else { Vec::new() };
    if endings.contains(&"/") {
        let endings: Vec<_> = endings.iter().map(|ending| one_of_several(ending)).collect();
        words.extend(["path_regexp".to_owned(), format!("(?:{})$", endings.join("|"))]);
    } else {
        words.push("path".to_owned());
        words.extend(endings.iter().map(|ending| format!("*{ending}")));
    }
    Ok(Line::new(words, directive.line))
}

/// An ending as a part of an expression. A path without one has no dot in its last part.
fn one_of_several(ending: &str) -> String {
    match ending.strip_prefix('.') {
        Some(rest) => format!("\\.{rest}"),
        None => "/[^/.]*/?".to_owned(),
    }
}
