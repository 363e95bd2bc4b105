//! The rules that every text from an app meets before it goes near a configuration.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_nothing_that_haproxy_reads_twice() {
        assert_eq!(haproxy_words("option  tcplog").unwrap(), ["option", "tcplog"]);
        for bad in ["a\nb", "a\rb", "a\tb", "a\"b", "a'b", "a\\b", "$x", "a#b", "%[x]", "é", "a;b"]
        {
            assert!(haproxy_words(bad).is_err(), "{bad:?}");
        }
    }
}
