//! `proxy` of Caddy 1: a table of its subdirectives.

use super::header::is_header;
use super::upstream::{Upstream, forwarded, says_real_ip};
use super::{literally, prefix, small};
use crate::CaddyfileError;
use crate::address::Scheme;
use crate::duration::{CAPPED, LONGEST, TEN_MINUTES, milliseconds};
use crate::parser::Directive;
use crate::site::Scope;
use crate::write::Line;

const POLICIES: &[&str] = &["random", "least_conn", "round_robin", "first", "ip_hash", "uri_hash"];

/// What a subdirective's one argument must be, and the word that it becomes.
enum Rule {
    Seconds(&'static str),
    Number(&'static str),
    Nothing,
}

use Rule::{Nothing, Number, Seconds};

const RULES: &[(&str, Rule)] = &[
    ("fail_timeout", Seconds("fail_duration")),
    ("max_fails", Number("max_fails")),
    ("max_conns", Number("unhealthy_request_count")),
    ("try_duration", Seconds("lb_try_duration")),
    ("try_interval", Seconds("lb_try_interval")),
    ("health_check_interval", Seconds("health_interval")),
    ("health_check_timeout", Seconds("health_timeout")),
    ("health_check_port", Number("health_port")),
    ("transparent", Nothing),
    ("websocket", Nothing),
];

/// The parts of a `reverse_proxy` while they are gathered.
#[derive(Default)]
struct Parts {
    upstreams: Vec<Upstream>,
    lines: Vec<Line>,
    transport: Vec<Line>,
    is_insecure: bool,
    without: Option<String>,
    except: Vec<String>,
    has_real_ip: bool,
}

/// `proxy FROM TO… { … }`
pub(super) fn proxy(
    directive: &Directive,
    scope: &mut Scope<'_>,
    rank: u8,
) -> Result<(), CaddyfileError> {
    let args = directive.args();
    let Some((from, upstreams)) = args.split_first() else {
        return Err(directive.error("is not 'proxy FROM TO'"));
    };
    let matcher = prefix(directive, from)?;
    let mut parts = Parts::default();
    for upstream in upstreams {
        parts.upstream(directive, upstream, scope)?;
    }
    for option in directive.block() {
        parts.option(option, scope)?;
    }
    let lines = parts.finish(directive, from, matcher, scope)?;
    // Caddy 1 takes the longest FROM, whatever the order: the sort by rank keeps the order in which lines are pushed.
    let at = scope
        .lines
        .iter()
        .position(|(known, line)| *known == rank && line.matched_length() < from.len());
    let at = at.unwrap_or(scope.lines.len());
    for line in lines.into_iter().rev() {
        scope.lines.insert(at, (rank, line.for_path(from.len())));
    }
    Ok(())
}

impl Parts {
    fn upstream(
        &mut self,
        directive: &Directive,
        text: &str,
        scope: &Scope<'_>,
    ) -> Result<(), CaddyfileError> {
        let upstreams = Upstream::parse_all(text, scope.may_dial);
        for upstream in upstreams.map_err(|what| directive.error(what))? {
            let same =
                |known: &Upstream| known.scheme == upstream.scheme && known.path == upstream.path;
            if !self.upstreams.iter().all(same) {
                return Err(directive.error("the upstreams have different schemes or paths"));
            }
            self.upstreams.push(upstream);
        }
        Ok(())
    }

    fn option(&mut self, option: &Directive, scope: &mut Scope<'_>) -> Result<(), CaddyfileError> {
        let args = option.args();
        if let Some((_, rule)) = RULES.iter().find(|(name, _)| *name == option.name) {
            let (word, value) = match (rule, args.as_slice()) {
                (Nothing, []) => return Ok(()),
                (Seconds(word), [value]) => (word, seconds(option, value, scope)?),
                (Number(word), [value]) => (word, small(option, value, 65_535)?.to_string()),
                _ => return Err(option.error("has the wrong number of arguments")),
            };
            self.lines.push(Line::new([*word, &value], option.line));
            return Ok(());
        }
        match (option.name.as_str(), args.as_slice()) {
            ("upstream", [text]) => self.upstream(option, text, scope)?,
            ("insecure_skip_verify", []) => self.is_insecure = true,
            ("policy", [name]) if POLICIES.contains(name) => {
                self.lines.push(Line::new(["lb_policy", name], option.line));
            }
            ("policy", ["header", name]) if is_header(name) => {
                self.lines.push(Line::new(["lb_policy", "header", name], option.line));
            }
            ("header_upstream" | "header_downstream", [name, values @ ..]) => {
                self.header(option, scope, name, values)?;
            }
            ("health_check", [path]) => self.health_check(option, path, scope)?,
            ("health_check_contains", [text]) => {
                // Caddy 2 takes a regular expression.
                let words = ["health_body", &literally(option, text)?];
                self.lines.push(Line::new(words, option.line));
            }
            ("keepalive", ["0"]) => {
                self.transport.push(Line::new(["keepalive", "off"], option.line));
            }
            ("keepalive", [number]) => {
                let number = small(option, number, 10_000)?.to_string();
                let words = ["keepalive_idle_conns_per_host", &number];
                self.transport.push(Line::new(words, option.line));
            }
            ("timeout", [value]) => {
                let words = ["dial_timeout", &seconds(option, value, scope)?];
                self.transport.push(Line::new(words, option.line));
            }
            ("fallback_delay", [value]) => {
                let words = ["dial_fallback_delay", &seconds(option, value, scope)?];
                self.transport.push(Line::new(words, option.line));
            }
            ("without", [path]) => {
                prefix(option, path)?;
                self.without = Some((*path).to_owned());
            }
            ("except", paths) if !paths.is_empty() => {
                self.except.extend(paths.iter().map(|path| (*path).to_owned()));
            }
            ("ca_certificates" | "tls_client", _) => {
                return Err(option.error("files of the node are not read"));
            }
            _ => return Err(option.error("is not a subdirective of proxy that has a translation")),
        }
        Ok(())
    }

    fn health_check(
        &mut self,
        option: &Directive,
        path: &str,
        scope: &mut Scope<'_>,
    ) -> Result<(), CaddyfileError> {
        prefix(option, path)?;
        // Caddy 2 can be told one status, or one class of them.
        scope.ignore(option, "healthy is what answers 2xx; in Caddy 1 3xx was healthy, too");
        self.lines.push(Line::new(["health_uri", path], option.line));
        Ok(())
    }

    fn header(
        &mut self,
        option: &Directive,
        scope: &Scope<'_>,
        name: &str,
        values: &[&str],
    ) -> Result<(), CaddyfileError> {
        let is_up = option.name == "header_upstream";
        let bare = name.strip_prefix(['+', '-']).unwrap_or(name);
        if !is_header(bare) {
            return Err(option.error(format!("{name:?} is not a header's name")));
        }
        let values = values
            .iter()
            .map(|value| scope.word(option, value, None))
            .collect::<Result<Vec<_>, _>>()?;
        // Caddy 2 sends these already, from what it knows rather than from what the client says.
        let automatic =
            ["host", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip"];
        let known = ["{hostport}", "{host}", "{remote_host}", "{scheme}"];
        let is_default = matches!(values.as_slice(), [value] if known.contains(&value.as_str()));
        if is_up && is_default && automatic.contains(&bare.to_ascii_lowercase().as_str()) {
            return Ok(());
        }
        self.has_real_ip |= is_up && says_real_ip(name, values.len());
        let word = if is_up { "header_up" } else { "header_down" };
        let words = [word.to_owned(), name.to_owned()].into_iter().chain(values);
        self.lines.push(Line::new(words, option.line));
        Ok(())
    }

    fn finish(
        mut self,
        directive: &Directive,
        from: &str,
        matcher: Option<String>,
        scope: &Scope<'_>,
    ) -> Result<Vec<Line>, CaddyfileError> {
        let Some(first) = self.upstreams.first().cloned() else {
            return Err(directive.error("has no upstream"));
        };
        if self.is_insecure && first.scheme == Scheme::Https {
            let words = ["tls_insecure_skip_verify"];
            self.transport.push(Line::new(words, directive.line));
        }
        self.lines.extend(forwarded(directive.line, self.has_real_ip));
        if !self.transport.is_empty() {
            let transport = Line::new(["transport", "http"], directive.line);
            self.lines.push(transport.with(self.transport));
        }
        let mut out = Vec::new();
        let mut matcher = matcher;
        if !self.except.is_empty() {
            let name = format!("@{}", scope.fresh("p"));
            let base = from.trim_end_matches('/');
            let mut not = vec!["not".to_owned(), "path".to_owned()];
            for path in &self.except {
                prefix(directive, path)?;
                not.push(format!("{base}{path}*"));
            }
            let mut conditions = vec![Line::new(not, directive.line)];
            conditions
                .extend(matcher.map(|path| Line::new(["path".to_owned(), path], directive.line)));
            out.push(Line::new([&name], directive.line).with(conditions));
            matcher = Some(name);
        }
        let path = first.path.as_str();
        let is_wrapped = self.without.is_some() || !path.is_empty();
        let mut words = vec!["reverse_proxy".to_owned()];
        words.extend(matcher.clone().filter(|_| !is_wrapped));
        words.extend(self.upstreams.iter().map(|upstream| upstream.dial.clone()));
        let proxy = Line::new(words, directive.line).with(self.lines);
        if !is_wrapped {
            out.push(proxy);
            return Ok(out);
        }
        let mut inside = Vec::new();
        if let Some(without) = &self.without {
            inside.push(Line::new(["uri", "strip_prefix", without], directive.line));
        }
        if !path.is_empty() {
            inside.push(Line::new(["rewrite", "*", &format!("{path}{{uri}}")], directive.line));
        }
        inside.push(proxy);
        let words = std::iter::once("route".to_owned()).chain(matcher);
        out.push(Line::new(words, directive.line).with(inside));
        Ok(out)
    }
}

/// A duration in Go's words, from a tenth of a second (or nothing); a bare number is refused by Caddy 2.
fn seconds(
    directive: &Directive,
    text: &str,
    scope: &mut Scope<'_>,
) -> Result<String, CaddyfileError> {
    match milliseconds(text) {
        Some(0.0) => Ok("0".to_owned()),
        Some(time) if time > LONGEST => {
            scope.ignore(directive, CAPPED);
            Ok(TEN_MINUTES.to_owned())
        }
        Some(100.0..) => Ok(text.to_owned()),
        Some(_) => Err(directive.error(format!("{text:?} is less than 100ms"))),
        None => Err(directive.error(format!("{text:?} is not a duration like 30s"))),
    }
}
