//! The lists of what an app may write in `options` and `server_option`. What is not in them is refused: HAProxy runs,
//! reads or opens much of what it is given.

mod extra;

use crate::proxy::text::haproxy_words;
pub use extra::{Keyword, Keywords};

/// What one word must be.
#[derive(Clone, Copy)]
enum Word {
    Is(&'static str),
    OneOf(&'static [&'static str]),
    Number,
    Time,
    /// A path, host or method: what no keyword list can hold.
    Plain,
    /// The name of a header.
    Header,
}

impl Word {
    fn accepts(self, word: &str) -> bool {
        let digits =
            |text: &str| (1..=9).contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit());
        match self {
            Self::Is(known) => word == known,
            Self::OneOf(known) => known.contains(&word),
            Self::Number => digits(word),
            Self::Time => {
                let units = ["us", "ms", "s", "m", "h", "d"];
                let number = units.iter().find_map(|unit| word.strip_suffix(unit));
                digits(number.unwrap_or(word))
            }
            Self::Header => {
                (1..=64).contains(&word.len())
                    && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
            }
            Self::Plain => {
                word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-?=&:*".contains(c))
            }
        }
    }
}

use Word::{Is, Number, OneOf, Plain, Time};

const FLAGS: &[&str] = &[
    "clitcpka",
    "dontlognull",
    "forwardfor",
    "http-keep-alive",
    "http-server-close",
    "httpclose",
    "httplog",
    "redispatch",
    "socket-stats",
    "srvtcpka",
    "tcp-check",
    "tcpka",
    "tcplog",
];
const TIMEOUTS: &[&str] = &[
    "check",
    "client",
    "client-fin",
    "connect",
    "http-keep-alive",
    "http-request",
    "queue",
    "server",
    "server-fin",
    "tunnel",
];
const BALANCES: &[&str] = &["first", "leastconn", "random", "roundrobin", "source", "static-rr"];
const METHODS: &[&str] = &["GET", "HEAD", "OPTIONS"];
const HELLO: &[&str] = &["req_ssl_hello_type", "req.ssl_hello_type"];

/// Lines of a frontend or backend.
const OPTIONS: &[&[Word]] = &[
    &[Is("option"), OneOf(FLAGS)],
    &[Is("option"), Is("httpchk")],
    &[Is("option"), Is("httpchk"), Plain],
    &[Is("option"), Is("httpchk"), OneOf(METHODS), Plain],
    &[Is("timeout"), OneOf(TIMEOUTS), Time],
    &[Is("balance"), OneOf(BALANCES)],
    &[Is("retries"), Number],
    &[Is("http-check"), Is("expect"), Is("status"), Number],
    &[Is("http-check"), Is("disable-on-404")],
    &[Is("tcp-request"), Is("inspect-delay"), Time],
    &[
        Is("tcp-request"),
        Is("content"),
        Is("accept"),
        Is("if"),
        Is("{"),
        OneOf(HELLO),
        Is("1"),
        Is("}"),
    ],
];

/// Pieces of a `server` line.
const SERVER: &[&[Word]] = &[
    &[Is("check")],
    &[Is("inter"), Time],
    &[Is("fastinter"), Time],
    &[Is("downinter"), Time],
    &[Is("fall"), Number],
    &[Is("rise"), Number],
    &[Is("weight"), Number],
    &[Is("maxconn"), Number],
    &[Is("slowstart"), Time],
    &[Is("resolvers"), Is("dns")],
    &[OneOf(&["send-proxy", "send-proxy-v2", "check-send-proxy", "backup"])],
    &[Is("ssl"), Is("verify"), Is("none")],
];

/// One line of `options`, in single spaces. `keywords` are those that a policy adds.
pub(super) fn option_line(text: &str, keywords: &Keywords) -> Result<String, String> {
    let words = haproxy_words(text).map_err(|error| format!("option {text:?} {error}"))?;
    let known = OPTIONS.iter().any(|pattern| matches(pattern, &words));
    let needed = extra::of_line(&words);
    match needed {
        _ if known => Ok(words.join(" ")),
        Some(keyword) if keywords.contains(&keyword) => Ok(words.join(" ")),
        Some(keyword) => Err(format!(
            "option {text:?} is not one of those that are allowed: a policy has to name \"{keyword}\""
        )),
        None => Err(format!("option {text:?} is not one of those that are allowed")),
    }
}

/// The words of `server_option`; `send_proxy`, as older files spell it, is `send-proxy`. `keywords` are those that a policy
/// adds.
pub(super) fn server_words(text: &str, keywords: &Keywords) -> Result<Vec<String>, String> {
    let words = haproxy_words(text).map_err(|error| format!("server_option {text:?} {error}"))?;
    let words: Vec<_> = words
        .into_iter()
        .map(|word| if word == "send_proxy" { "send-proxy" } else { word })
        .collect();
    let mut rest = words.as_slice();
    while !rest.is_empty() {
        let known =
            SERVER.iter().find(|pattern| begins(pattern, rest)).map(|pattern| pattern.len());
        let length = match (known, extra::of_server(rest)) {
            (Some(length), _) => length,
            (None, Some((keyword, length))) if keywords.contains(&keyword) => length,
            (None, Some((keyword, _))) => {
                return Err(format!(
                    "server_option {:?} is not allowed: a policy has to name \"{keyword}\"",
                    rest[0]
                ));
            }
            (None, None) => return Err(format!("server_option {:?} is not allowed", rest[0])),
        };
        rest = &rest[length..];
    }
    Ok(words.into_iter().map(str::to_owned).collect())
}

/// Whether words begin with those of a pattern.
fn begins(pattern: &[Word], words: &[&str]) -> bool {
    words.get(..pattern.len()).is_some_and(|first| matches(pattern, first))
}

fn matches(pattern: &[Word], words: &[&str]) -> bool {
    pattern.len() == words.len() && pattern.iter().zip(words).all(|(p, word)| p.accepts(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_options_pass() {
        for good in [
            "option tcplog",
            "option  socket-stats",
            "timeout server 2h",
            "balance leastconn",
            "option httpchk GET /health",
            "tcp-request content accept if { req_ssl_hello_type 1 }",
        ] {
            assert!(option_line(good, &Keywords::new()).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for bad in [
            "",
            "test",
            "backend z",
            "listen z",
            "peers p",
            "ring r",
            "defaults",
            "global",
            "lua-load /tmp/x",
            "stats enable",
            "log 1.2.3.4 local0",
            "filter spoe config /etc/passwd",
            "errorfile 503 /etc/passwd",
            "server x 1.2.3.4:80",
            "source 0.0.0.0",
            "acl x src -f /etc/x",
            "use_backend victim",
            "default_backend victim",
            "bind *:443",
            "option external-check",
            "option tcplog\nbackend z",
            "timeout client 15mn; x",
            "option httpchk GET /%[env(X)]",
            "http-request return status 200 file /etc/passwd",
            "tcp-request content accept if { src -f /etc/passwd }",
            "monitor fail",
            "capture cookie x len 9",
        ] {
            assert!(option_line(bad, &Keyword::ALL.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn server_options_are_pieces_of_a_list() {
        assert_eq!(
            server_words("resolvers dns check inter 3s", &Keywords::new()).unwrap().join(" "),
            "resolvers dns check inter 3s"
        );
        assert_eq!(server_words("send_proxy", &Keywords::new()).unwrap(), ["send-proxy"]);
        for bad in [
            "x\nserver evil 1.2.3.4:1",
            "source 0.0.0.0 usesrc clientip",
            "check addr 10.0.0.1",
            "agent-check agent-addr 1.2.3.4",
            "socks4 1.2.3.4:1",
            "ssl crt /etc/x",
            "init-addr 10.9.9.9",
            "disabled",
            "track b/s",
            "cookie x",
            "check port 22",
            "resolvers",
            "inter",
            "# x",
        ] {
            assert!(server_words(bad, &Keyword::ALL.into()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_keyword_lets_its_own_lines_pass_and_no_others() {
        let cases: [(Keyword, &[&str], &[&str]); Keyword::ALL.len()] = [
            (Keyword::Abortonclose, &["option abortonclose"], &[]),
            (Keyword::Compression, &["compression algo gzip", "compression type text/html"], &[]),
            (Keyword::HttpBufferRequest, &["option http-buffer-request"], &[]),
            (Keyword::Maxconn, &["maxconn 100"], &[]),
            (Keyword::Nolinger, &["option nolinger"], &[]),
            (Keyword::OnMarkedDown, &[], &["check on-marked-down shutdown-sessions"]),
            (Keyword::ProtoH2, &[], &["proto h2"]),
            (
                Keyword::ProtocolChecks,
                &["option smtpchk", "option smtpchk EHLO a.test", "option pgsql-check user me"],
                &[],
            ),
            (Keyword::RateLimit, &["rate-limit sessions 50"], &[]),
            (
                Keyword::SetHeader,
                &["http-request set-header X-A b", "http-response del-header Server"],
                &[],
            ),
        ];
        for (keyword, lines, servers) in cases {
            let others: Keywords = Keyword::ALL.into_iter().filter(|k| *k != keyword).collect();
            let named = format!("a policy has to name \"{keyword}\"");
            for line in lines {
                assert_eq!(option_line(line, &[keyword].into()).as_deref(), Ok(*line));
                assert!(option_line(line, &others).unwrap_err().ends_with(&named), "{line}");
            }
            for words in servers {
                assert_eq!(server_words(words, &[keyword].into()).unwrap().join(" "), *words);
                assert!(server_words(words, &others).unwrap_err().ends_with(&named), "{words}");
            }
        }
    }
}
