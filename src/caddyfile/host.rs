//! Names of hosts, in one spelling.

use std::net::IpAddr;

/// Why a text is not taken for a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// DNS has no such names.
    #[error("{0:?} is not a host name")]
    NoName(String),
    /// It would be a whole top-level domain, or addresses.
    #[error("{0:?} is too wide a wildcard")]
    TooWide(String),
}

/// A host name as DNS has it: lower case, international names as `xn--…`, no dot at the end. `*.` in front is a
/// wildcard. Two names are one host if and only if they are equal then.
pub fn host(text: &str) -> Result<String, HostError> {
    let (star, name) = match text.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", text),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    // Also passes what is in ASCII already through: `xn--` has to be followed by what such a name would be written as.
    let name = idna::domain_to_ascii(name).map_err(|_| HostError::NoName(text.to_owned()))?;
    let lower = format!("{star}{name}");
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(HostError::NoName(text.to_owned()));
    }
    if lower.starts_with("*.") && (!name.contains('.') || name.parse::<IpAddr>().is_ok()) {
        return Err(HostError::TooWide(text.to_owned()));
    }
    Ok(lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_lower_case_names() {
        assert_eq!(host("App.Example.COM").unwrap(), "app.example.com");
        assert_eq!(host("*.example.com").unwrap(), "*.example.com");
        for bad in [
            "",
            ".",
            "*",
            "*.",
            "*.com",
            "*.com.",
            "*.*.a.b",
            "a.*.b",
            "a b",
            "a..b",
            "a.b..",
            "-a.b",
            "{env.X}",
            "a/b",
            "a;b",
            "a:80",
            "a\nb",
            "xn--a.fr",
            "xn--.fr",
            "a\u{200b}.fr b",
            "[::1]",
            "*.10.0.0.1",
        ] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn one_host_has_one_name() {
        for (one, other) in [
            ("App.Test", "app.test"),
            ("app.test.", "app.test"),
            ("bücher.test", "xn--bcher-kva.test"),
            ("BÜCHER.test", "XN--bcher-KVA.test"),
            ("bu\u{308}cher.test", "bücher.test"),
            ("ａｐｐ.test", "app.test"),
            ("app。test", "app.test"),
            ("*.bücher.test", "*.xn--bcher-kva.test"),
            ("*.App.Test.", "*.app.test"),
        ] {
            let (one, other) = (host(one).unwrap(), host(other).unwrap());
            assert_eq!(one, other);
            assert!(one.is_ascii());
            assert_eq!(host(&one).unwrap(), one, "once is enough");
        }
        for (one, other) in
            [("app.test", "*.app.test"), ("a.app.test", "*.app.test"), ("faß.test", "fass.test")]
        {
            assert_ne!(host(one).unwrap(), host(other).unwrap());
        }
    }
}
