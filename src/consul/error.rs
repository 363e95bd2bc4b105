//! What can go wrong with Consul.

use std::time::Duration;

use consulrs::error::ClientError;
use rustify::errors::ClientError as RestError;

/// A cause from a library.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A failed call to Consul. `call` is the method and path, without token or value.
#[derive(Debug, thiserror::Error)]
pub enum ConsulError {
    /// Variables of the environment are wrong: one text each, which begins with the variable's name.
    #[error("Consul's settings are wrong: {}", .0.join("; "))]
    Settings(Vec<String>),
    /// The agent didn't take the request or cut the answer; a write may have happened.
    #[error("{call}: no connection to Consul")]
    Unreachable {
        /// The call.
        call: String,
        /// What the connection reported.
        #[source]
        source: BoxError,
    },
    /// No answer in time; a write may have happened.
    #[error("{call}: no answer from Consul after {after:?}")]
    Timeout {
        /// The call.
        call: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// Consul has got another leader before the answer came; a write may have happened.
    #[error("{call}: Consul has a new leader")]
    Deposed {
        /// The call.
        call: String,
    },
    /// Consul refused or failed.
    #[error("{call}: Consul answers {code}: {message}")]
    Api {
        /// The call.
        call: String,
        /// The HTTP status.
        code: u16,
        /// Consul's own words.
        message: String,
    },
    /// The answer isn't what Consul documents.
    #[error("{call}: Consul's answer can't be read")]
    Decode {
        /// The call.
        call: String,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// More than Consul takes; refused before it was sent where the limit is known.
    #[error("{call}: {what} of {size}, Consul takes {limit} at most")]
    TooLarge {
        /// The call.
        call: String,
        /// What is too large, with its unit: `value in bytes`.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The largest that is taken.
        limit: usize,
    },
    /// The caller asked for what can't be asked of Consul; nothing was sent.
    #[error("{call}: {reason}")]
    Argument {
        /// The call.
        call: String,
        /// Why not.
        reason: String,
    },
}

impl ConsulError {
    /// Whether the same call can succeed later without anyone's help: no connection, no answer, no leader, overload.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Deposed { .. } => true,
            Self::Api { code, .. } => *code >= 500 || *code == 429,
            Self::Settings(_)
            | Self::Decode { .. }
            | Self::TooLarge { .. }
            | Self::Argument { .. } => false,
        }
    }

    pub(super) fn decode(call: &str, source: impl Into<BoxError>) -> Self {
        Self::Decode { call: call.to_owned(), source: source.into() }
    }

    pub(super) fn argument(call: &str, reason: impl Into<String>) -> Self {
        Self::Argument { call: call.to_owned(), reason: reason.into() }
    }

    /// An error of consulrs: its status errors keep Consul's text, the rest is sorted by what failed.
    pub(super) fn from_library(call: &str, error: ClientError) -> Self {
        let call = call.to_owned();
        match error {
            ClientError::APIError { code, message } => {
                Self::Api { call, code, message: message.unwrap_or_default().trim().to_owned() }
            }
            ClientError::RestClientError { source } => Self::from_rest(call, source),
            ClientError::Base64DecodeError { .. }
            | ClientError::EmptyResponseError
            | ClientError::FileReadError { .. }
            | ClientError::JsonDeserializeError { .. }
            | ClientError::JsonSerializeError { .. }
            | ClientError::ParseCertificateError { .. }
            | ClientError::ResponseEmptyError
            | ClientError::RestClientBuildError { .. }
            | ClientError::Utf8DecodeError { .. } => Self::Decode { call, source: Box::new(error) },
        }
    }

    /// An error of rustify.
    pub(super) fn from_rest(call: String, error: RestError) -> Self {
        match error {
            RestError::RequestError { .. } | RestError::ResponseError { .. } => {
                Self::Unreachable { call, source: Box::new(error) }
            }
            RestError::ServerResponseError { code, content } => {
                Self::Api { call, code, message: content.unwrap_or_default().trim().to_owned() }
            }
            RestError::DataParseError { .. }
            | RestError::EndpointBuildError { .. }
            | RestError::GenericError { .. }
            | RestError::RequestBuildError { .. }
            | RestError::ReqwestBuildError { .. }
            | RestError::UrlBuildError { .. }
            | RestError::UrlQueryParseError { .. }
            | RestError::UrlParseError { .. } => Self::Argument { call, reason: error.to_string() },
            RestError::ResponseConversionError { .. } | RestError::ResponseParseError { .. } => {
                Self::Decode { call, source: Box::new(error) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaderless_cluster_is_transient_and_a_refusal_is_not() {
        let api = |code| ConsulError::Api {
            call: "GET kv/x".into(),
            code,
            message: "No cluster leader".into(),
        };
        assert!(api(500).is_transient() && api(503).is_transient() && api(429).is_transient());
        assert!(!api(403).is_transient() && !api(413).is_transient());
        assert!(!ConsulError::Settings(vec![]).is_transient());
    }

    #[test]
    fn the_cause_is_a_source_and_not_in_the_text() {
        let error = ConsulError::Unreachable {
            call: "GET kv/x".into(),
            source: "connection refused".into(),
        };
        assert_eq!(error.to_string(), "GET kv/x: no connection to Consul");
        assert!(std::error::Error::source(&error).is_some());
    }
}
