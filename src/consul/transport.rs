//! The calls that consulrs lacks or answers too briefly for, sent by its own HTTP client.
//!
//! Its `exec_with_*` functions drop a failed answer's headers, and the index of an empty prefix stands in the headers
//! of a 404; they also encode a path's `%` twice. So the request is made by its middleware (token, features), gets its
//! path written here, and goes out through its client.

use std::fmt::Write as _;
use std::time::Duration;

use consulrs::api::Features;
use consulrs::api::features::{Blocking, ConsistencyMode};
use consulrs::client::{Client as _, ConsulClient};
use rustify::client::Client as _;
use rustify::endpoint::Endpoint;
use rustify::enums::{RequestMethod, RequestType, ResponseType};
use rustify::errors::ClientError as RestError;
use serde::de::DeserializeOwned;

use super::error::ConsulError;

/// One request below `/v1/`.
pub(super) struct Call {
    method: RequestMethod,
    path: String,
    query: Option<&'static str>,
    body: Option<Vec<u8>>,
    features: Features,
    wait: Duration,
}

impl Call {
    /// Reads `path`, which is not encoded yet.
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::new(RequestMethod::GET, path.into(), None)
    }

    /// Writes `body` to `path`, which is not encoded yet.
    pub(super) fn put(path: impl Into<String>, body: Vec<u8>) -> Self {
        Self::new(RequestMethod::PUT, path.into(), Some(body))
    }

    fn new(method: RequestMethod, path: String, body: Option<Vec<u8>>) -> Self {
        Self {
            method,
            path,
            query: None,
            body,
            features: Features::default(),
            wait: Duration::ZERO,
        }
    }

    /// Adds a query, already encoded.
    pub(super) fn query(mut self, query: &'static str) -> Self {
        self.query = Some(query);
        self
    }

    /// Makes the leader check with its quorum that it still leads before it answers.
    pub(super) fn consistent(mut self) -> Self {
        self.features.mode = Some(ConsistencyMode::CONSISTENT);
        self
    }

    /// Leaves out what doesn't match a filter expression.
    pub(super) fn filter(mut self, expression: &str) -> Self {
        self.features.filter = Some(expression.to_owned());
        self
    }

    /// Answers at once without `after`, else when the index is another one or `wait` is over.
    pub(super) fn blocking(mut self, after: Option<u64>, wait: Duration) -> Self {
        if let Some(index) = after {
            self.features.blocking =
                Some(Blocking { index, wait: Some(format!("{}ms", wait.as_millis())) });
            self.wait = wait;
        }
        self
    }

    /// The time that Consul may take on purpose: it adds up to a sixteenth to the wait that was asked for.
    pub(super) fn patience(&self) -> Duration {
        self.wait + self.wait / 16
    }

    /// Names the call in errors.
    pub(super) fn name(&self) -> String {
        let method = match self.method {
            RequestMethod::PUT => "PUT",
            RequestMethod::GET
            | RequestMethod::CONNECT
            | RequestMethod::DELETE
            | RequestMethod::HEAD
            | RequestMethod::LIST
            | RequestMethod::OPTIONS
            | RequestMethod::PATCH
            | RequestMethod::POST
            | RequestMethod::TRACE => "GET",
        };
        format!("{method} {}", self.path)
    }
}

impl Endpoint for Call {
    type Response = ();
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.path.clone()
    }

    fn method(&self) -> RequestMethod {
        self.method.clone()
    }

    fn query(&self) -> Result<Option<String>, RestError> {
        Ok(self.query.map(str::to_owned))
    }

    fn body(&self) -> Result<Option<Vec<u8>>, RestError> {
        Ok(self.body.clone())
    }
}

/// Consul's answer, whatever its status.
pub(super) struct Reply {
    call: String,
    /// The HTTP status.
    pub(super) status: u16,
    index: Option<u64>,
    body: Vec<u8>,
}

impl Reply {
    /// The reply if its status is a success.
    pub(super) fn success(self) -> Result<Self, ConsulError> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(ConsulError::Api {
            code: self.status,
            message: String::from_utf8_lossy(&self.body).trim().to_owned(),
            call: self.call,
        })
    }

    /// The body as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ConsulError> {
        serde_json::from_slice(&self.body).map_err(|error| ConsulError::decode(&self.call, error))
    }

    /// The body as it came.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// The index for the next blocking call.
    pub(super) fn index(&self) -> Result<u64, ConsulError> {
        self.index.ok_or_else(|| ConsulError::decode(&self.call, "it has no X-Consul-Index"))
    }

    /// Names the call in errors.
    pub(super) fn call(&self) -> &str {
        &self.call
    }
}

/// Sends a call and reads the whole answer. The caller sets the deadline.
pub(super) async fn send(client: &ConsulClient, call: Call) -> Result<Reply, ConsulError> {
    let name = call.name();
    let path = encode_path(&call.path);
    let middleware = client.middle(Some(call.features.clone()));
    let base = client.http().base();
    let result = async {
        let mut request = call.with_middleware(&middleware).request(base)?;
        let mut uri = format!("{base}/v1/{path}");
        if let Some(query) = request.uri().query() {
            let _ = write!(uri, "?{query}");
        }
        *request.uri_mut() = uri.parse().map_err(|source| RestError::UrlBuildError { source })?;
        client.http().send(request).await
    };
    let response = result.await.map_err(|error| ConsulError::from_rest(name.clone(), error))?;
    let index = response
        .headers()
        .get("X-Consul-Index")
        .and_then(|value| value.to_str().ok()?.parse().ok());
    Ok(Reply { call: name, status: response.status().as_u16(), index, body: response.into_body() })
}

/// Percent-encodes a path but for its slashes.
pub(super) fn encode_path(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_its_slashes_and_loses_its_meaning_elsewhere() {
        assert_eq!(encode_path("kv/app/a b_x/1.0"), "kv/app/a%20b_x/1.0".to_owned());
        assert_eq!(encode_path("a?b#c%d+é"), "a%3Fb%23c%25d%2B%C3%A9");
    }

    #[test]
    fn only_a_blocking_call_is_given_more_time() {
        let minute = Duration::from_secs(64);
        assert_eq!(Call::get("x").blocking(None, minute).patience(), Duration::ZERO);
        assert_eq!(Call::get("x").blocking(Some(1), minute).patience(), Duration::from_secs(68));
    }
}
