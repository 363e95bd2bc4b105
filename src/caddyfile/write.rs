//! Caddy 2 text, quoted so that a word stays one word in every version.

use super::CaddyfileError;

/// A line of a site, with the lines in its braces if it has some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    words: Vec<String>,
    block: Vec<Line>,
    from: u32,
    path_length: usize,
}

impl Line {
    /// A line of words, and the line of the source that it comes from.
    pub(super) fn new<W: Into<String>>(words: impl IntoIterator<Item = W>, from: u32) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            block: Vec::new(),
            from,
            path_length: 0,
        }
    }

    pub(super) fn with(mut self, block: Vec<Line>) -> Self {
        self.block = block;
        self
    }

    /// Notes how long the path is that the line is for: Caddy 1 prefers the longest.
    pub(super) fn for_path(mut self, length: usize) -> Self {
        self.path_length = length;
        self
    }

    /// Whether the line answers every request that reaches it.
    pub(super) fn takes_all(&self) -> bool {
        match self.words.as_slice() {
            [name, first, ..] if name == "reverse_proxy" => first.contains("://"),
            [name, first, ..] if name == "redir" => first == "*",
            [name] => name == "route",
            _ => false,
        }
    }

    pub(super) fn has_word(&self, word: &str) -> bool {
        self.words.iter().any(|known| known == word)
    }

    pub(super) fn matched_length(&self) -> usize {
        self.path_length
    }
}

/// Lines as text, indented by tabs.
pub(super) fn text(lines: &[Line], depth: usize) -> Result<String, CaddyfileError> {
    let mut out = String::new();
    for line in lines {
        let words = line
            .words
            .iter()
            .map(|word| quote(word).map_err(|what| CaddyfileError::syntax(line.from, what)))
            .collect::<Result<Vec<_>, _>>()?;
        let indent = "\t".repeat(depth);
        out.push_str(&format!("{indent}{}", words.join(" ")));
        if line.block.is_empty() {
            out.push('\n');
        } else {
            out.push_str(" {\n");
            out.push_str(&text(&line.block, depth + 1)?);
            out.push_str(&format!("{indent}}}\n"));
        }
    }
    Ok(out)
}

fn quote(word: &str) -> Result<String, String> {
    if word.chars().any(char::is_control) || matches!(word, "{" | "}") {
        return Err(format!("the word {word:?} can't be written"));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:*@-+?{}>,=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return Ok(word.to_owned());
    }
    if !word.contains("\\\"") && !word.ends_with('\\') {
        return Ok(format!("\"{}\"", word.replace('"', "\\\"")));
    }
    match word.contains('`') {
        false => Ok(format!("`{word}`")),
        true => Err(format!("the word {word:?} mixes backslashes, quotes and backticks")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Dialect, lexer::tokens};
    use super::*;

    proptest! {
        #[test]
        fn a_word_stays_one_word(words in proptest::collection::vec("[ -~é\\\\\"`{}]{0,9}", 1..6)) {
            if let Ok(text) = text(&[Line::new(words.clone(), 1)], 0)
                && let Ok(read) = tokens(&text, Dialect::V2)
            {
                let read: Vec<_> = read.into_iter().map(|token| token.text).collect();
                prop_assert_eq!(read, words);
            }
        }
    }
}
