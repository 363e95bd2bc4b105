//! The rules that every text from an app meets before it goes near a configuration.

use std::net::IpAddr;

const MAX_VALUE: usize = 256;
const MAX_WORDS: usize = 60;

/// Why a text may not stand in a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TextError(pub(crate) String);

/// A name of a frontend, backend or server.
pub fn config_name(text: &str) -> Result<&str, TextError> {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
    if plain
        && (1..=64).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Ok(text);
    }
    Err(TextError(format!(
        "{text:?} is no name: 1 to 64 letters, digits, '_', '.' or '-', the first a letter or digit"
    )))
}

/// One line of words for HAProxy: what could end the line, quote, comment, or expand is refused.
pub fn haproxy_words(text: &str) -> Result<Vec<&str>, TextError> {
    if text.len() > MAX_VALUE {
        return Err(TextError(format!("is longer than {MAX_VALUE} characters")));
    }
    if let Some(c) = text.chars().find(|c| !(' '..='~').contains(c) || "\"'\\$#`%;".contains(*c)) {
        return Err(TextError(format!("contains {c:?}")));
    }
    let words: Vec<_> = text.split(' ').filter(|word| !word.is_empty()).collect();
    if words.len() > MAX_WORDS {
        return Err(TextError(format!("has more than {MAX_WORDS} words")));
    }
    Ok(words)
}

/// A host name as DNS has it: lower case, international names as `xn--…`, no dot at the end. `*.` in front is a
/// wildcard. Two names are one host if and only if they are equal then.
pub fn host(text: &str) -> Result<String, TextError> {
    let (star, name) = match text.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", text),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    // Also passes what is in ASCII already through: `xn--` has to be followed by what such a name would be written as.
    let name = idna::domain_to_ascii(name)
        .map_err(|_| TextError(format!("{text:?} is not a host name")))?;
    let lower = format!("{star}{name}");
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(TextError(format!("{text:?} is not a host name")));
    }
    if lower.starts_with("*.") && (!name.contains('.') || name.parse::<IpAddr>().is_ok()) {
        return Err(TextError(format!("{text:?} is too wide a wildcard")));
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

    #[test]
    fn words_hold_nothing_that_haproxy_reads_twice() {
        assert_eq!(haproxy_words("option  tcplog").unwrap(), ["option", "tcplog"]);
        for bad in ["a\nb", "a\rb", "a\tb", "a\"b", "a'b", "a\\b", "$x", "a#b", "%[x]", "é", "a;b"]
        {
            assert!(haproxy_words(bad).is_err(), "{bad:?}");
        }
    }
}
