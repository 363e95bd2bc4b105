//! Which Caddy a text is written for.

use super::lexer::{single_quoted, tokens};
use super::parser::{Block, blocks};
use super::{CaddyfileError, v1, v2};

/// The two languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Caddy 0.x and 1.x.
    V1,
    /// Caddy 2.
    V2,
}

impl Dialect {
    /// The status of its redirects from HTTP to HTTPS.
    pub fn redirect_status(self) -> u16 {
        match self {
            Self::V1 => 301,
            Self::V2 => 308,
        }
    }
}

/// Reads a text. A first line `# caddy 2` (or `1`) says which it is; else the directives that only one of the two has;
/// else it is Caddy 1, as in the compose files that were there before Caddy 2.
pub(super) fn read(text: &str) -> Result<(Dialect, Vec<Block>), CaddyfileError> {
    if let Some(dialect) = marked(text) {
        return Ok((dialect, blocks(&tokens(text, dialect)?)?));
    }
    let first = tokens(text, Dialect::V1).and_then(|tokens| blocks(&tokens));
    let second = tokens(text, Dialect::V2).and_then(|tokens| blocks(&tokens));
    let words = |blocks: &Result<Vec<Block>, CaddyfileError>, is_own: IsOwn| {
        only(blocks.as_deref().ok()?, is_own)
    };
    // What only Caddy 1's lexer can read is not Caddy 1 because of that: the words say what was meant.
    let of_v2 = if second.is_ok() { &second } else { &first };
    let Some(v2_word) = words(of_v2, v2::is_own) else {
        return first.map(|blocks| (Dialect::V1, blocks));
    };
    if let Some(v1_word) = words(&first, v1::is_own) {
        let what = format!("{:?} is Caddy 1 and {:?} is Caddy 2", v1_word.0, v2_word.0);
        return Err(CaddyfileError::syntax(v1_word.1, what));
    }
    second.map(|blocks| (Dialect::V2, blocks))
}

/// Whether neither a mark nor a word says that a text is Caddy 1's.
pub(super) fn is_guess(text: &str, blocks: &[Block]) -> bool {
    marked(text).is_none() && only(blocks, v1::is_own).is_none()
}

/// Reads a text of Caddy 1 with single quotes as quotes, where that makes a difference: the older system took them so.
/// Only for what makes no sense as Caddy reads it.
pub(super) fn read_single_quoted(text: &str) -> Option<Vec<Block>> {
    if !text.contains('\'') || marked(text) == Some(Dialect::V2) {
        return None;
    }
    let blocks = single_quoted(text).and_then(|tokens| blocks(&tokens)).ok()?;
    only(&blocks, v2::is_own).is_none().then_some(blocks)
}

fn marked(text: &str) -> Option<Dialect> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    let words = first.strip_prefix('#')?.to_ascii_lowercase();
    match words.split_whitespace().collect::<String>().as_str() {
        "caddy1" | "caddyv1" => Some(Dialect::V1),
        "caddy2" | "caddyv2" => Some(Dialect::V2),
        _ => None,
    }
}

/// Whether only one of the two has a directive.
type IsOwn = fn(&str, &[String]) -> bool;

fn only(blocks: &[Block], is_own: IsOwn) -> Option<(String, u32)> {
    let mut directives = blocks.iter().flat_map(|block| &block.directives);
    let found = directives.find(|directive| is_own(&directive.name, &directive.args))?;
    Some((found.name.clone(), found.line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_tell() {
        let dialect = |text: &str| read(text).map(|(dialect, _)| dialect);
        assert_eq!(dialect("h.test {\n proxy / http://c:80\n}"), Ok(Dialect::V1));
        assert_eq!(dialect("h.test {\n reverse_proxy c:80\n}"), Ok(Dialect::V2));
        assert_eq!(dialect("http://h.test {\n redir http://i.test\n}"), Ok(Dialect::V1));
        assert_eq!(dialect("# caddy 2\nhttp://h.test {\n redir http://i.test\n}"), Ok(Dialect::V2));
        assert_eq!(dialect("h.test {\n tls self_signed\n}"), Ok(Dialect::V1));
        for words in [
            "redir https://i.test{uri} permanent",
            "redir /a /b temporary",
            "header {\n  X-A b\n }",
            "header X-A b",
            "header @m X-A b",
            "abort",
            "log_skip /x",
        ] {
            assert_eq!(dialect(&format!("h.test {{\n {words}\n}}")), Ok(Dialect::V2), "{words}");
        }
        for words in
            ["header / X-A b", "header /a {\n  X-A b\n }", "redir / /b 301", "redir http://i.test"]
        {
            assert_eq!(dialect(&format!("h.test {{\n {words}\n}}")), Ok(Dialect::V1), "{words}");
        }
        assert!(dialect("h.test {\n gzip\n reverse_proxy c:80\n}").is_err());
        let open = dialect("h.test {\n reverse_proxy c:80\n respond `x\n}").unwrap_err();
        assert_eq!(open.to_string(), "line 3: a quote is not closed");
    }
}
