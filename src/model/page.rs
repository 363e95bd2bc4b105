//! `maintenance.html`: what visitors of an app see while it is under maintenance, as its repository has it.

use std::sync::Arc;

/// Its name, at the root of the repository.
pub const FILE: &str = "maintenance.html";
/// In bytes. It stands in the app's entry, in its deployments' records and in every node's Caddy.
pub const MAX: usize = 32 * 1024;

/// Why a page is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// It is too long.
    #[error("{FILE} is larger than 32 KiB: make it smaller, and its images links")]
    TooLarge,
    /// It is in another encoding, or no text at all.
    #[error("{FILE} is not UTF-8 from its byte {0} on (counted from 0): save it as UTF-8")]
    NotUtf8(usize),
    /// It holds what no text does.
    #[error("{FILE}, line {line}: U+{code:04X} is no character of a text: remove it")]
    NotText {
        /// Counted from 1.
        line: usize,
        /// The character.
        code: u32,
    },
    /// It would show nothing.
    #[error("{FILE} is empty: write the page, or remove the file and the default page is shown")]
    Empty,
}

/// A page: text of a bounded length. What it says is its author's affair; it is sent to visitors as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenancePage(Arc<str>);

impl MaintenancePage {
    /// Takes a file's content.
    ///
    /// # Errors
    /// [`PageError`] for what is too long or no text.
    pub fn parse(content: &[u8]) -> Result<Self, PageError> {
        if content.len() > MAX {
            return Err(PageError::TooLarge);
        }
        let text = std::str::from_utf8(content)
            .map_err(|error| PageError::NotUtf8(error.valid_up_to()))?;
        let wrong =
            |(_, c): &(usize, char)| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0c');
        if let Some((at, c)) = text.char_indices().find(wrong) {
            let line = text[..at].matches('\n').count() + 1;
            return Err(PageError::NotText { line, code: c.into() });
        }
        if text.trim().is_empty() {
            return Err(PageError::Empty);
        }
        Ok(Self(text.into()))
    }

    /// The page as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_a_text_that_is_not_too_long() {
        let page = "<!doctype html>\r\n\t<p>À bientôt {env.HOME}\x0c</p>\n";
        assert_eq!(MaintenancePage::parse(page.as_bytes()).unwrap().as_str(), page);
        assert!(MaintenancePage::parse("x".repeat(MAX).as_bytes()).is_ok());
        for (content, expected) in [
            ("x".repeat(MAX + 1).into_bytes(), "is larger than 32 KiB"),
            (b"<p>\xe9t\xe9".to_vec(), "is not UTF-8 from its byte 3 on"),
            (b"a\nb\0c".to_vec(), "maintenance.html, line 2: U+0000"),
            ("a\u{85}".into(), "line 1: U+0085"),
            (b"\x1f\x8b".to_vec(), "is not UTF-8"),
            (b" \n".to_vec(), "is empty"),
            (Vec::new(), "is empty"),
        ] {
            let error = MaintenancePage::parse(&content).unwrap_err().to_string();
            assert!(error.starts_with(FILE) && error.contains(expected), "{expected}: {error}");
        }
    }
}
