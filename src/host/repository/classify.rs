//! What libgit2's errors mean. Pure; every arm comes from an error seen from libgit2 1.9.

use git2::{ErrorClass, ErrorCode};

/// The kinds of failure that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    NoSuchRepository,
    HostUnreachable,
    Authentication,
    HostKey,
    TimedOut,
    Other,
}

/// Tells the kind of an error from its code, its class and, because libgit2 has few codes, its text.
pub(super) fn classify(code: ErrorCode, class: ErrorClass, message: &str) -> Kind {
    let text = message.to_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    if code == ErrorCode::Certificate || says(&["hostkey", "host key", "certificate"]) {
        Kind::HostKey
    } else if code == ErrorCode::Auth || says(&["failed to authenticate", "http status code: 403"])
    {
        Kind::Authentication
    } else if code == ErrorCode::Timeout || says(&["timed out", "timeout"]) {
        Kind::TimedOut
    } else if says(&[
        "failed to resolve address",
        "failed to connect",
        "connection refused",
        "no route to host",
        "network is unreachable",
    ]) {
        Kind::HostUnreachable
    } else if is_missing(class, &says) {
        Kind::NoSuchRepository
    } else {
        Kind::Other
    }
}

fn is_missing(class: ErrorClass, says: &dyn Fn(&[&str]) -> bool) -> bool {
    // A local path that is missing, or is no repository.
    (class == ErrorClass::Os && says(&["failed to resolve path"]))
        || (class == ErrorClass::Repository && says(&["could not find repository"]))
        || says(&[
            "http status code: 404",
            "repository not found",
            "does not appear to be a git repository",
            "repository not exported",
            "could not be found",
        ])
}

#[cfg(test)]
mod tests {
    use super::*;

    use ErrorClass::{Callback, Http, Net, Os, Repository, Ssh, Ssl};
    use ErrorCode::{Auth, Certificate, Eof, GenericError};

    const SEEN: &[(ErrorCode, ErrorClass, &str, Kind)] = &[
        (
            GenericError,
            Os,
            "failed to resolve path '/x': No such file or directory",
            Kind::NoSuchRepository,
        ),
        (GenericError, Repository, "could not find repository at '/x'", Kind::NoSuchRepository),
        (
            GenericError,
            Net,
            "remote error: access denied or repository not exported: /x",
            Kind::NoSuchRepository,
        ),
        (GenericError, Http, "unexpected http status code: 404", Kind::NoSuchRepository),
        (Eof, Ssh, "fatal: '/x' does not appear to be a git repository\n", Kind::NoSuchRepository),
        (Eof, Ssh, "ERROR: Repository not found.\n", Kind::NoSuchRepository),
        (GenericError, Http, "unexpected http status code: 403", Kind::Authentication),
        (Auth, Callback, "no more SSH keys to offer", Kind::Authentication),
        (
            GenericError,
            Ssh,
            "failed to authenticate SSH session: Unable to open private key file",
            Kind::Authentication,
        ),
        (Auth, Callback, "host key refused", Kind::HostKey),
        (Certificate, Ssh, "invalid or unknown remote ssh hostkey", Kind::HostKey),
        (Certificate, Ssl, "the SSL certificate is invalid", Kind::HostKey),
        (
            GenericError,
            Net,
            "failed to resolve address for h: Name or service not known",
            Kind::HostUnreachable,
        ),
        (GenericError, Os, "failed to connect to h: Connection refused", Kind::HostUnreachable),
        (GenericError, Http, "unexpected http status code: 502", Kind::Other),
        (Eof, Net, "could not read refs from remote repository", Kind::Other),
    ];

    #[test]
    fn errors_seen_are_told_apart() {
        for (code, class, message, kind) in SEEN {
            assert_eq!(classify(*code, *class, message), *kind, "{message}");
        }
    }
}
