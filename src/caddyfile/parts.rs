//! The texts of an app's services as one text, and apart again.
//!
//! An app's record has one text for all of its services. Where there are several, the part of each begins with a
//! comment that names the service. So each part is read by itself, as the text that it was: in its own dialect, and with
//! its own lines. A text without such a comment is one part.

use super::CaddyfileError;

/// What a part begins with, before the service's name: a comment to both Caddys, and to whoever reads the record.
const MARK: &str = "#-- CADDYFILE of the service ";
/// Consul's KV holds it, beside all else of the app.
const MAX_TEXT: usize = 128 * 1024;

/// The part of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// None in a text of one part.
    pub(super) service: Option<&'a str>,
    pub(super) text: &'a str,
}

/// Joins texts, each with the name of its service.
pub fn join<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut joined = String::new();
    for (service, text) in texts {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        joined.push_str(&format!("{MARK}{service}\n{text}{end}"));
    }
    joined
}

/// Takes a text apart. An app that writes such comments itself cuts its own text in pieces, each of which is held to
/// the rules that hold for the whole.
pub(super) fn split(text: &str) -> Result<Vec<Part<'_>>, CaddyfileError> {
    if text.len() > MAX_TEXT {
        let what = "the texts of all services are longer than 128 KiB";
        return Err(CaddyfileError::syntax(1, what));
    }
    let mut parts = Vec::new();
    let (mut service, mut start, mut at) = (None, 0, 0);
    for line in text.split_inclusive('\n') {
        if let Some(name) = named(line) {
            parts.push(Part { service, text: &text[start..at] });
            (service, start) = (Some(name), at + line.len());
        }
        at += line.len();
    }
    let has_marks = service.is_some();
    parts.push(Part { service, text: &text[start..] });
    // Before the first comment there is nothing, as a rule.
    parts.retain(|part| !has_marks || part.service.is_some() || !part.text.trim().is_empty());
    Ok(parts)
}

/// The service that a line names.
fn named(line: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = line.strip_prefix(MARK)?.trim_end_matches(['\r', '\n']);
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apart(text: &str) -> Vec<(Option<&str>, &str)> {
        split(text).unwrap().into_iter().map(|part| (part.service, part.text)).collect()
    }

    #[test]
    fn what_was_joined_comes_apart_again() {
        let texts = [("web", "a.test {\n}"), ("api-1.x", "# caddy 2\nb.test\n")];
        let joined = join(texts);
        assert_eq!(
            apart(&joined),
            [(Some("web"), "a.test {\n}\n"), (Some("api-1.x"), "# caddy 2\nb.test\n")]
        );
        assert_eq!(apart(&joined.replace('\n', "\r\n"))[1].0, Some("api-1.x"));
        assert_eq!(join([]), "");
    }

    #[test]
    fn a_text_without_names_is_one_part() {
        for text in
            ["", "\n", "a.test {\n}\n", "# a comment\na.test", "#-- CADDYFILE of the service a b\n"]
        {
            assert_eq!(apart(text), [(None, text)]);
        }
        let mixed = format!("a.test\n{MARK}web\nb.test\n");
        assert_eq!(apart(&mixed), [(None, "a.test\n"), (Some("web"), "b.test\n")]);
        assert!(split(&"x".repeat(MAX_TEXT + 1)).is_err());
    }
}
