//! Upstreams: an app's own container or what an admin has added, a port, a scheme that is always written.

use crate::address::Scheme;
use crate::site::{Dial, MayDial};
use crate::write::Line;

/// An upstream after normalisation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) scheme: Scheme,
    pub(super) dial: String,
    /// A path in front of the request's, without a slash at the end.
    pub(super) path: String,
}

/// The most ports of a range.
const MAX_RANGE: u16 = 64;

impl Upstream {
    /// An upstream, or one for each port of a range: `app:8080-8083`.
    pub(super) fn parse_all(text: &str, may_dial: MayDial<'_>) -> Result<Vec<Self>, String> {
        let Some((before, last, path)) = range(text) else {
            return Ok(vec![Self::parse(text, may_dial)?]);
        };
        let (place, first) = before.rsplit_once(':').unwrap_or((before, ""));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last && last - first < MAX_RANGE => (first..=last)
                .map(|port| Self::parse(&format!("{place}:{port}{path}"), may_dial))
                .collect(),
            _ => Err(format!("the upstream {text:?} has no range of up to {MAX_RANGE} ports")),
        }
    }

    pub(super) fn parse(text: &str, may_dial: MayDial<'_>) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some((other, _)) => {
                return Err(format!("the upstream's scheme {other:?} is not allowed"));
            }
            None => (Scheme::Http, text),
        };
        let (place, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match (place.rsplit_once(':'), scheme) {
            (Some((host, port)), _) => (host, port),
            (None, Scheme::Http) => (place, "80"),
            (None, Scheme::Https) => (place, "443"),
        };
        let digits = port.chars().all(|c| c.is_ascii_digit());
        let number = port.parse::<u16>().ok().filter(|port| digits && *port > 0);
        let number = number.ok_or_else(|| format!("the upstream {text:?} has no single port"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        let dial = if host.chars().all(plain) { may_dial(host, number) } else { Dial::MayNot };
        match dial {
            Dial::May => {}
            Dial::MayNot => {
                return Err(format!(
                    "the upstream {host:?} is not a container of the app: write $CONTAINER"
                ));
            }
            Dial::Service(container) => {
                return Err(format!(
                    "the upstream {host:?} is not a container of the app: its container is {container}: write $CONTAINER, in the CADDYFILE of that service"
                ));
            }
        }
        let path = path.trim_end_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._~-".contains(c);
        if !path.chars().all(plain) {
            return Err(format!("the path of the upstream {text:?} is not plain"));
        }
        Ok(Self { scheme, dial: format!("{scheme}://{host}:{port}"), path: path.to_owned() })
    }
}

/// Splits `app:8080-8083/path` at the last port: `app:8080`, `8083`, `/path`.
fn range(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("://").map_or(0, |at| at + 3);
    let end = text[start..].find('/').map_or(text.len(), |at| start + at);
    let (place, path) = text.split_at(end);
    let (before, last) = place.rsplit_once('-')?;
    let is_port = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    // A host may have hyphens, too.
    let first = before.rsplit_once(':').map(|(_, first)| first)?;
    (is_port(first) && is_port(last)).then_some((before, last, path))
}

/// Whether Caddy 2 may be given an upstream as it is.
pub(crate) fn own_upstream(text: &str, may_dial: MayDial<'_>) -> Result<(), String> {
    // HTTP/2 without TLS is only another way to speak to the same place.
    let place = match text.strip_prefix("h2c://") {
        Some(rest) if rest.contains("://") => text,
        Some(rest) => rest,
        None => text,
    };
    let upstream = Upstream::parse(place, may_dial)?;
    match upstream.path.is_empty() && !text.ends_with('/') {
        true => Ok(()),
        false => Err(format!("the upstream {text:?} has a path; use rewrite")),
    }
}

/// The line of `reverse_proxy` that tells the app who its client is, as X-Forwarded-For does: the one that HAProxy names.
/// What a client wrote there is not believed.
///
/// None where the app says itself what X-Real-IP is to be: in Caddy 1 its word counted, too.
pub(crate) fn forwarded(line: u32, has_real_ip: bool) -> Option<Line> {
    (!has_real_ip).then(|| Line::new(["header_up", "X-Real-IP", "{remote_host}"], line))
}

/// Whether a line of headers for the app sets or removes X-Real-IP. What adds to it, or replaces a part of it, is about
/// the true one.
pub(crate) fn says_real_ip(name: &str, values: usize) -> bool {
    let name = name.trim_end_matches(':');
    let (name, wanted) = name.strip_prefix('-').map_or((name, 1), |name| (name, 0));
    name.eq_ignore_ascii_case("x-real-ip") && values == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fuzz target found the first one: who only looks at how a name begins takes them.
    #[test]
    fn an_upstream_is_a_name_and_nothing_else() {
        let is_own = |host: &str, _: u16| host.starts_with("app_").into();
        for bad in [
            "http://app_web{env.X}:80",
            "app_web{header.X}:80",
            "app_web@other:80",
            "app_web%2e:80",
        ] {
            assert!(Upstream::parse_all(bad, &is_own).is_err(), "{bad}");
            assert!(own_upstream(bad, &is_own).is_err(), "{bad}");
        }
        assert!(own_upstream("app_web:80", &is_own).is_ok());
        assert!(own_upstream("h2c://app_web:80", &is_own).is_ok());
        assert!(own_upstream("h2c://other:80", &is_own).is_err());
        assert!(own_upstream("h2c://https://app_web:80", &is_own).is_err());
    }
}
