//! The keywords that an app has only if a policy for its repository names them. Each may harm the app's own users, or weigh
//! on the node; none opens a file, runs something, or reaches another app.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;

use super::Word::{self, Header, Is, Number, OneOf, Plain};
use super::{begins, matches};

/// Those that a policy adds.
pub type Keywords = BTreeSet<Keyword>;

/// What a policy may add.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keyword {
    /// `option abortonclose`: requests of clients that have gone are dropped.
    Abortonclose,
    /// `compression …`: takes the node's time.
    Compression,
    /// `option http-buffer-request`: takes the node's memory.
    HttpBufferRequest,
    /// `maxconn N` of a frontend.
    Maxconn,
    /// `option nolinger`: what is under way is lost when a connection ends.
    Nolinger,
    /// `on-marked-down shutdown-sessions` of a server.
    OnMarkedDown,
    /// `proto h2` of a server.
    ProtoH2,
    /// `option smtpchk` and the like: checks that speak the server's language.
    ProtocolChecks,
    /// `rate-limit sessions N`.
    RateLimit,
    /// `http-request set-header` and the like: also of headers that say who the client is.
    SetHeader,
}

impl Keyword {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Abortonclose,
        Self::Compression,
        Self::HttpBufferRequest,
        Self::Maxconn,
        Self::Nolinger,
        Self::OnMarkedDown,
        Self::ProtoH2,
        Self::ProtocolChecks,
        Self::RateLimit,
        Self::SetHeader,
    ];
}

impl fmt::Display for Keyword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abortonclose => "abortonclose",
            Self::Compression => "compression",
            Self::HttpBufferRequest => "http-buffer-request",
            Self::Maxconn => "maxconn",
            Self::Nolinger => "nolinger",
            Self::OnMarkedDown => "on-marked-down",
            Self::ProtoH2 => "proto-h2",
            Self::ProtocolChecks => "protocol-checks",
            Self::RateLimit => "rate-limit",
            Self::SetHeader => "set-header",
        })
    }
}

type Pattern = &'static [Word];

const SIDES: &[&str] = &["http-request", "http-response"];
const PROTOCOLS: &[&str] =
    &["ldap-check", "mysql-check", "redis-check", "smtpchk", "ssl-hello-chk"];

/// Lines of a frontend or backend.
const LINES: &[(Keyword, Pattern)] = &[
    (Keyword::Abortonclose, &[Is("option"), Is("abortonclose")]),
    (Keyword::Compression, &[Is("compression"), Is("algo"), OneOf(&["gzip", "deflate"])]),
    (Keyword::Compression, &[Is("compression"), Is("type"), Plain]),
    (Keyword::HttpBufferRequest, &[Is("option"), Is("http-buffer-request")]),
    (Keyword::Maxconn, &[Is("maxconn"), Number]),
    (Keyword::Nolinger, &[Is("option"), Is("nolinger")]),
    (Keyword::ProtocolChecks, &[Is("option"), OneOf(PROTOCOLS)]),
    (Keyword::ProtocolChecks, &[Is("option"), Is("smtpchk"), OneOf(&["HELO", "EHLO"]), Plain]),
    (
        Keyword::ProtocolChecks,
        &[Is("option"), OneOf(&["mysql-check", "pgsql-check"]), Is("user"), Plain],
    ),
    (Keyword::RateLimit, &[Is("rate-limit"), Is("sessions"), Number]),
    (Keyword::SetHeader, &[OneOf(SIDES), OneOf(&["set-header", "add-header"]), Header, Plain]),
    (Keyword::SetHeader, &[OneOf(SIDES), Is("del-header"), Header]),
];

/// Pieces of a `server` line. It stands on all nodes, in front of the container on the master, in front of the master
/// elsewhere: what only one of the two understands is not among them.
const SERVER: &[(Keyword, Pattern)] = &[
    (Keyword::OnMarkedDown, &[Is("on-marked-down"), Is("shutdown-sessions")]),
    (Keyword::ProtoH2, &[Is("proto"), Is("h2")]),
];

/// The keyword that a whole line needs.
pub(super) fn of_line(words: &[&str]) -> Option<Keyword> {
    LINES.iter().find(|(_, pattern)| matches(pattern, words)).map(|(keyword, _)| *keyword)
}

/// The keyword that the first of a server's words need, and how many words those are.
pub(super) fn of_server(words: &[&str]) -> Option<(Keyword, usize)> {
    let found = SERVER.iter().find(|(_, pattern)| begins(pattern, words));
    found.map(|(keyword, pattern)| (*keyword, pattern.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyword_is_written_as_it_is_read() {
        for keyword in Keyword::ALL {
            let text = format!("\"{keyword}\"");
            assert_eq!(serde_json::from_str::<Keyword>(&text).unwrap(), keyword);
        }
    }
}
