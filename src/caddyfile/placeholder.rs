//! `{placeholders}`: those that speak of the request. The environment, files and the host are not among them.

const V1: &[(&str, &str)] = &[
    ("dir", "{dir}"),
    ("file", "{file}"),
    ("host", "{hostport}"),
    ("hostonly", "{host}"),
    ("method", "{method}"),
    ("path", "{http.request.orig_uri.path}"),
    ("port", "{remote_port}"),
    ("proto", "{http.request.proto}"),
    ("query", "{http.request.orig_uri.query}"),
    ("remote", "{remote_host}"),
    ("request_id", "{http.request.uuid}"),
    ("rewrite_path", "{path}"),
    ("rewrite_uri", "{uri}"),
    ("scheme", "{scheme}"),
    ("uri", "{http.request.orig_uri}"),
    ("when", "{time.now.common_log}"),
    ("when_unix", "{time.now.unix}"),
    ("when_unix_ms", "{time.now.unix_ms}"),
];
const V1_PREFIXES: &[(char, &str)] = &[('>', "header"), ('?', "query")];
/// Placeholders of Caddy 1 that Caddy 2 would leave as they are, or empty: how they begin, and why they are refused.
const V1_LOST: &[(&str, &str)] = &[
    (
        "{~",
        "cookies can't be written; where one is absent Caddy 2 would write its name: use {>Cookie}",
    ),
    ("{user}", "the user can't be written: {>Authorization} has the name and the password"),
];

const V2: &[&str] = &[
    "dir",
    "file",
    "host",
    "hostport",
    "method",
    "path",
    "port",
    "query",
    "remote",
    "remote_host",
    "remote_port",
    "scheme",
    "tls_cipher",
    "tls_version",
    "uri",
    "upstream_hostport",
    "err.status_code",
    "err.status_text",
    "http.auth.user.id",
    "http.error.status_code",
    "http.error.status_text",
    "http.request.host",
    "http.request.hostport",
    "http.request.method",
    "http.request.orig_method",
    "http.request.orig_uri",
    "http.request.orig_uri.path",
    "http.request.orig_uri.query",
    "http.request.port",
    "http.request.proto",
    "http.request.remote",
    "http.request.remote.host",
    "http.request.remote.port",
    "http.request.scheme",
    "http.request.tls.cipher_suite",
    "http.request.tls.version",
    "http.request.uri",
    "http.request.uri.path",
    "http.request.uri.path.dir",
    "http.request.uri.path.file",
    "http.request.uri.query",
    "http.request.uuid",
    "http.reverse_proxy.upstream.hostport",
];
const V2_PREFIXES: &[&str] = &[
    "cookie.",
    "header.",
    "labels.",
    "path.",
    "query.",
    "re.",
    "time.now.",
    "http.request.cookie.",
    "http.request.header.",
    "http.request.host.labels.",
    "http.request.uri.query.",
    "http.regexp.",
    "http.reverse_proxy.header.",
];

/// What Caddy 1's placeholders speak of besides the request.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Speaks<'a> {
    /// The name of the regular expression whose groups are `{1}` and on.
    pub(super) capture: Option<&'a str>,
    /// How many labels the site's host has: Caddy 1 counts them from the left, Caddy 2 from the right.
    pub(super) labels: usize,
    /// The site's port: Caddy 1 has it where the request names none, Caddy 2 has nothing then.
    pub(super) port: u16,
}

/// Rewrites Caddy 1's placeholders as Caddy 2's.
pub(super) fn from_v1(text: &str, of: Speaks<'_>) -> Result<String, String> {
    if let Some((_, why)) = V1_LOST.iter().find(|(start, _)| text.contains(start)) {
        return Err((*why).to_owned());
    }
    each(text, false, |name| {
        if name == "server_port" {
            return Some(of.port.to_string());
        }
        if let Some((_, new)) = V1.iter().find(|(old, _)| *old == name) {
            return Some((*new).to_owned());
        }
        if let (Some(capture), Ok(1..=9)) = (of.capture, name.parse::<u8>()) {
            return Some(format!("{{re.{capture}.{name}}}"));
        }
        if let Some(label) = name.strip_prefix("label") {
            let label = label.parse().ok().filter(|label| *label > 0)?;
            return Some(format!("{{labels.{}}}", of.labels.checked_sub(label)?));
        }
        let (kind, field) =
            V1_PREFIXES.iter().find_map(|(c, kind)| Some((kind, name.strip_prefix(*c)?)))?;
        is_field(field).then(|| format!("{{{kind}.{field}}}"))
    })
}

/// Passes Caddy 2's placeholders that are allowed.
pub(super) fn check_v2(text: &str) -> Result<String, String> {
    each(text, true, |name| {
        let prefixed = V2_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix));
        (V2.contains(&name) || prefixed.is_some_and(is_field)).then(|| format!("{{{name}}}"))
    })
}

fn is_field(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    !text.is_empty() && text.len() <= 64 && text.chars().all(plain)
}

/// How often a part of a regular expression is repeated, at the beginning of a text: `{8}`, `{2,}`, `{1,3}`. No placeholder
/// has a digit first.
pub(super) fn repetition(text: &str) -> Option<&str> {
    let end = text.find('}')?;
    let inside = text[..end].strip_prefix('{')?;
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let is_number = |text: &str| text.len() <= 4 && text.chars().all(|c| c.is_ascii_digit());
    (!least.is_empty() && is_number(least) && is_number(most)).then(|| &text[..=end])
}

/// Replaces what stands in braces; `is_lenient` lets braces pass that can't begin a placeholder, as in JSON and in regular
/// expressions.
fn each(
    text: &str,
    is_lenient: bool,
    known: impl Fn(&str) -> Option<String>,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, after) = rest.split_at(open);
        out.push_str(before);
        if is_lenient && after[1..].starts_with(['"', ' ', ':', ';']) {
            out.push('{');
            rest = &after[1..];
            continue;
        }
        if let Some(repetition) = repetition(after).filter(|_| is_lenient) {
            out.push_str(repetition);
            rest = &after[repetition.len()..];
            continue;
        }
        let name = after[1..].split('}').next().unwrap_or_default();
        let closed = after[1..].len() > name.len();
        let new = known(name).filter(|_| closed).ok_or_else(|| {
            format!("the placeholder {{{name}}} is not allowed, or has no equivalent")
        })?;
        out.push_str(&new);
        rest = &after[name.len() + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_request_is_spoken_of() {
        let of = Speaks { capture: Some("r"), labels: 3, port: 443 };
        assert_eq!(from_v1("{>X-A}{host}", of).unwrap(), "{header.X-A}{hostport}");
        assert_eq!(from_v1("/{1}", of).unwrap(), "/{re.r.1}");
        assert_eq!(from_v1("{label1}.{label3}", of).unwrap(), "{labels.2}.{labels.0}");
        assert_eq!(from_v1("{host}:{server_port}", of).unwrap(), "{hostport}:443");
        for lost in ["a{~c}", "{user}"] {
            assert!(from_v1(lost, of).unwrap_err().contains("can't be written"), "{lost}");
        }
        assert_eq!(check_v2("a{header.X}b").unwrap(), "a{header.X}b");
        for pattern in ["^/d/([0-9a-f]{8})$", "a{2,}b{1,3}c{0}", "{host}{4}"] {
            assert_eq!(check_v2(pattern).unwrap(), pattern);
        }
        for bad in
            ["{8", "{8,x}", "{,8}", "{8}{env.X}", "{1,2,3}", "{12345}", "{8}}{env.X}", "{-1}"]
        {
            assert!(check_v2(bad).is_err(), "{bad:?}");
        }
        for bad in [
            "{env.TOKEN}",
            "{system.hostname}",
            "{file./etc/x}",
            "{",
            "{a",
            "{{host}}",
            "{$X}",
            "{}",
            "{header.}",
            "{label0}",
            "{label4}",
            "{1x}",
        ] {
            assert!(check_v2(bad).is_err(), "{bad:?}");
            assert!(from_v1(bad, of).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[{}é$a-z.>?~0-9]*") {
            let of = Speaks { capture: Some("r"), labels: 3, port: 80 };
            let _ = (from_v1(&text, of), check_v2(&text));
        }
    }
}
