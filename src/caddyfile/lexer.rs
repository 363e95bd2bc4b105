//! Words of a Caddyfile, by the rules of Caddy 1 or of Caddy 2 (they differ in comments, backticks and continuations).

use std::iter::Peekable;
use std::str::Chars;

use super::{CaddyfileError, Dialect};

const MAX_TEXT: usize = 64 * 1024;
const MAX_TOKENS: usize = 10_000;

/// A word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) text: String,
    pub(super) line: u32,
    pub(super) quoted: bool,
}

struct Lexer<'a> {
    chars: Peekable<Chars<'a>>,
    line: u32,
    dialect: Dialect,
    single_quotes: bool,
}

/// Splits a text; what Caddy would expand, or would read differently from version to version, is refused.
pub(super) fn tokens(text: &str, dialect: Dialect) -> Result<Vec<Token>, CaddyfileError> {
    split(text, dialect, false)
}

/// Splits a text of Caddy 1 in which single quotes are quotes too: no Caddy reads them so, the older system did.
pub(super) fn single_quoted(text: &str) -> Result<Vec<Token>, CaddyfileError> {
    split(text, Dialect::V1, true)
}

fn split(text: &str, dialect: Dialect, single_quotes: bool) -> Result<Vec<Token>, CaddyfileError> {
    if text.len() > MAX_TEXT {
        return Err(CaddyfileError::syntax(1, "the text is longer than 64 KiB"));
    }
    let chars = text.trim_start_matches('\u{feff}').chars().peekable();
    let mut lexer = Lexer { chars, line: 1, dialect, single_quotes };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token()? {
        check(&token)?;
        tokens.push(token);
        if tokens.len() > MAX_TOKENS {
            return Err(CaddyfileError::syntax(lexer.line, "the text has too many words"));
        }
    }
    Ok(tokens)
}

fn check(token: &Token) -> Result<(), CaddyfileError> {
    let text = &token.text;
    let what = if text.contains("{$") || text.contains("{%") {
        "environment variables are not read from a CADDYFILE"
    } else if text.chars().any(char::is_control) {
        "a word contains a control character or a line break"
    } else if text.starts_with("<<") {
        "heredocs are not supported"
    } else if token.quoted && matches!(text.as_str(), "{" | "}") {
        "a quoted brace is a brace to Caddy"
    } else {
        return Ok(());
    };
    Err(CaddyfileError::syntax(token.line, what))
}

impl Lexer<'_> {
    fn bump(&mut self) -> Option<char> {
        let c = self.chars.next()?;
        self.line += u32::from(c == '\n');
        Some(c)
    }

    fn next_token(&mut self) -> Result<Option<Token>, CaddyfileError> {
        self.skip_blanks();
        let line = self.line;
        let token = |text, quoted| Some(Token { text, line, quoted });
        Ok(match self.chars.peek() {
            None => None,
            Some('"') => token(self.quoted('"')?, true),
            Some('\'') if self.single_quotes => token(self.quoted('\'')?, true),
            Some('`') if self.dialect == Dialect::V2 => token(self.quoted('`')?, true),
            Some(_) => token(self.plain(), false),
        })
    }

    fn skip_blanks(&mut self) {
        while let Some(c) = self.chars.peek().copied() {
            if c == '#' {
                while self.chars.peek().is_some_and(|c| *c != '\n') {
                    self.bump();
                }
            } else if c.is_whitespace() {
                self.bump();
            } else if !(c == '\\' && self.continues()) {
                return;
            }
        }
    }

    /// Takes a backslash at the end of a line: in Caddy 2 the next line continues this one.
    fn continues(&mut self) -> bool {
        let mut ahead = self.chars.clone();
        ahead.next();
        let is_end = match ahead.next() {
            Some('\n') => true,
            Some('\r') => ahead.next() == Some('\n'),
            _ => false,
        };
        if self.dialect == Dialect::V1 || !is_end {
            return false;
        }
        // The line is not counted: its words belong to the line that they continue.
        self.chars = ahead;
        true
    }

    fn plain(&mut self) -> String {
        let mut text = String::new();
        while let Some(c) = self.chars.peek().copied() {
            let ends = c.is_whitespace() || (c == '#' && self.dialect == Dialect::V1);
            if ends || (c == '\\' && self.continues()) {
                break;
            }
            text.extend(self.bump());
        }
        text
    }

    fn quoted(&mut self, quote: char) -> Result<String, CaddyfileError> {
        let start = self.line;
        let mut text = String::new();
        self.bump();
        while let Some(c) = self.bump() {
            if c == quote {
                return Ok(text);
            }
            if c == '\\' && quote == '"' && self.chars.peek() == Some(&'"') {
                text.extend(self.bump());
            } else {
                text.push(c);
            }
        }
        Err(CaddyfileError::syntax(start, "a quote is not closed"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str, dialect: Dialect) -> Vec<String> {
        let tokens = tokens(text, dialect).unwrap();
        tokens.into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn the_two_lexers_differ_where_caddy_does() {
        use Dialect::{V1, V2};
        assert_eq!(words("/a#b c\nd", V1), ["/a", "d"]);
        assert_eq!(words("/a#b c\nd", V2), ["/a#b", "c", "d"]);
        assert_eq!(words("`a b`", V1), ["`a", "b`"]);
        assert_eq!(words("`a b`", V2), ["a b"]);
        assert_eq!(words("X \\\n b", V1), ["X", "\\", "b"]);
        assert_eq!(words("X \\\n b", V2), ["X", "b"]);
        for dialect in [V1, V2] {
            assert_eq!(words("# c\r\n\u{feff}", dialect).len(), 1);
            assert_eq!(words("'a b' a\"b", dialect), ["'a", "b'", "a\"b"]);
            assert_eq!(words(r#""a \"b\" \n""#, dialect), [r#"a "b" \n"#]);
            for bad in ["\"a", "{$X}", "a{%X%}", "\"{\"", "\"a\nb\"", "<<E", "a\0b"] {
                assert!(tokens(bad, dialect).is_err(), "{bad:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*|[\\s{}\"`\\\\#a<@$%]*") {
            let _ = tokens(&text, Dialect::V1);
            let _ = tokens(&text, Dialect::V2);
            let _ = single_quoted(&text);
        }
    }
}
