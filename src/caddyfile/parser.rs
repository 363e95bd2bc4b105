//! Sites and directives of a Caddyfile.

use super::CaddyfileError;
use super::lexer::Token;

const MAX_DEPTH: usize = 8;
const MAX_SITES: usize = 200;

/// An address, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) text: String,
    pub(super) line: u32,
}

/// A site block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) keys: Vec<Key>,
    pub(super) directives: Vec<Directive>,
}

/// A line, with the lines in its braces if it has some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: String,
    pub(super) args: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
    pub(super) line: u32,
}

impl Directive {
    pub(super) fn error(&self, what: impl Into<String>) -> CaddyfileError {
        CaddyfileError::Directive {
            line: self.line,
            directive: self.name.clone(),
            what: what.into(),
        }
    }

    pub(super) fn args(&self) -> Vec<&str> {
        self.args.iter().map(String::as_str).collect()
    }

    pub(super) fn block(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

/// Groups words into site blocks.
pub(super) fn blocks(tokens: &[Token]) -> Result<Vec<Block>, CaddyfileError> {
    let mut parser = Parser { tokens, at: 0 };
    let mut blocks: Vec<Block> = Vec::new();
    while let Some(token) = parser.peek() {
        let line = token.line;
        let (keys, has_braces) = parser.keys()?;
        if !has_braces && !blocks.is_empty() {
            return Err(CaddyfileError::syntax(line, "a site lacks its opening brace"));
        }
        let directives = parser.directives(if has_braces { 1 } else { 0 })?;
        blocks.push(Block { keys, directives });
        if blocks.len() > MAX_SITES {
            return Err(CaddyfileError::syntax(line, "there are too many sites"));
        }
    }
    if blocks.is_empty() {
        return Err(CaddyfileError::syntax(1, "there is no site"));
    }
    Ok(blocks)
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&'a Token> {
        self.at += 1;
        self.tokens.get(self.at - 1)
    }

    /// Words up to the brace, or to the end of the line where the only site has none.
    fn keys(&mut self) -> Result<(Vec<Key>, bool), CaddyfileError> {
        let mut keys: Vec<Key> = Vec::new();
        let mut more = true;
        while let Some(token) = self.peek() {
            let line = token.line;
            if token.text == "{" {
                if keys.is_empty() {
                    return Err(CaddyfileError::syntax(
                        line,
                        "a block without an address (global options are not for apps)",
                    ));
                }
                self.at += 1;
                return Ok((keys, true));
            }
            if keys.last().is_some_and(|last| last.line != line) && !more {
                break;
            }
            self.at += 1;
            let text = token.text.strip_suffix(',').unwrap_or(&token.text);
            if text.contains([',', '{', '}', '(', ')', '&']) || text == "import" {
                let hint = match text.starts_with('(') || text == "import" {
                    true => {
                        ": snippets are not for apps, write their lines where they are imported"
                    }
                    false => "",
                };
                let what = format!("{:?} is not an address{hint}", token.text);
                return Err(CaddyfileError::syntax(line, what));
            }
            more = token.text.ends_with(',');
            if !text.is_empty() {
                let text = text.to_owned();
                keys.push(Key { text, line });
            }
        }
        let line = self.tokens.last().map_or(1, |token| token.line);
        match keys.is_empty() {
            true => Err(CaddyfileError::syntax(line, "a site has no address")),
            false => Ok((keys, false)),
        }
    }

    /// Lines up to the closing brace; at depth 0 to the end of the text.
    fn directives(&mut self, depth: usize) -> Result<Vec<Directive>, CaddyfileError> {
        let mut directives = Vec::new();
        while let Some(token) = self.next() {
            if depth > MAX_DEPTH {
                return Err(CaddyfileError::syntax(token.line, "blocks are nested too deep"));
            }
            match (token.text.as_str(), depth) {
                ("}", 1..) => {
                    let rest = self.peek().filter(|next| next.line == token.line);
                    return match rest {
                        Some(next) => {
                            Err(CaddyfileError::syntax(next.line, "words after a closing brace"))
                        }
                        None => Ok(directives),
                    };
                }
                ("{" | "}", _) => {
                    return Err(CaddyfileError::syntax(
                        token.line,
                        "a brace that belongs to nothing",
                    ));
                }
                _ => directives.push(self.directive(token, depth)?),
            }
        }
        match depth {
            0 => Ok(directives),
            _ => {
                let line = self.tokens.last().map_or(1, |token| token.line);
                Err(CaddyfileError::syntax(line, "a closing brace is missing"))
            }
        }
    }

    fn directive(&mut self, name: &Token, depth: usize) -> Result<Directive, CaddyfileError> {
        let mut directive =
            Directive { name: name.text.clone(), args: Vec::new(), block: None, line: name.line };
        while let Some(token) = self.peek().filter(|token| token.line == name.line) {
            self.at += 1;
            match token.text.as_str() {
                "}" => {
                    return Err(CaddyfileError::syntax(
                        token.line,
                        "a closing brace has to stand on a line of its own",
                    ));
                }
                "{" => {
                    if let Some(next) = self.peek().filter(|next| next.line == name.line) {
                        return Err(CaddyfileError::syntax(
                            next.line,
                            "words after an opening brace",
                        ));
                    }
                    directive.block = Some(self.directives(depth.max(1) + 1)?);
                    break;
                }
                text => directive.args.push(text.to_owned()),
            }
        }
        Ok(directive)
    }
}
