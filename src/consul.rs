//! Consul: KV, sessions, the catalog and events, each behind a narrow trait that a fake implements too.
//!
//! [`Client`] is the real thing. Every call has a deadline, because the library beneath has none, and names itself in
//! its error. With the feature `testing` there is `memory::MemoryConsul`, one deterministic cluster in memory.

mod base64;
pub mod catalog;
mod elections;
mod error;
pub mod event;
pub mod health;
mod http;
pub mod kv;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod session;
mod settings;
mod transport;
pub mod txn;
pub mod watcher;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use consulrs::api::ApiResponse;
use consulrs::client::ConsulClient;

pub use catalog::Catalog;
use elections::Elections;
pub use error::{BoxError, ConsulError};
pub use event::Events;
pub use kv::Kv;
pub use session::Sessions;
use transport::{Call, Reply};

/// How long a call that doesn't block may take; a blocking one has this on top of its wait.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of the local Consul agent; clones share its connections.
#[derive(Clone)]
pub struct Client {
    http: Arc<ConsulClient>,
    timeout: Duration,
    elections: Arc<Elections>,
}

impl Client {
    /// Makes a client from the variables that Consul's own tools read (`CONSUL_HTTP_ADDR` and so on), as `env` gives
    /// them. Reads the token and certificate files that they name, and connects to nothing yet.
    ///
    /// # Errors
    /// [`ConsulError::Settings`] with every wrong variable, not only the first.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConsulError> {
        let settings = settings::from_env(env).map_err(ConsulError::Settings)?;
        let http =
            http::connect(settings).map_err(|problem| ConsulError::Settings(vec![problem]))?;
        let elections = Arc::new(Elections::new());
        Ok(Self { http: Arc::new(http), timeout: CALL_TIMEOUT, elections })
    }

    /// The same client with another deadline than 10 s for calls that don't block.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a call of our own; any status is a reply. One that a former leader has in hand is not waited for.
    async fn send(&self, call: Call) -> Result<Reply, ConsulError> {
        let after = self.timeout + call.patience();
        let name = call.name();
        let mut elections = self.elections.follow(&self.http);
        let deposed = async {
            // It ends with the client, which is here.
            if elections.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            result = tokio::time::timeout(after, transport::send(&self.http, call)) => match result {
                Ok(result) => result,
                Err(_) => Err(ConsulError::Timeout { call: name, after }),
            },
            () = deposed => Err(ConsulError::Deposed { call: name }),
        }
    }

    /// Awaits one of the library's calls within the deadline.
    async fn run<T>(
        &self,
        call: &str,
        request: impl Future<Output = Result<ApiResponse<T>, consulrs::error::ClientError>>,
    ) -> Result<T, ConsulError> {
        match tokio::time::timeout(self.timeout, request).await {
            Ok(Ok(answer)) => Ok(answer.response),
            Ok(Err(error)) => Err(ConsulError::from_library(call, error)),
            Err(_) => Err(ConsulError::Timeout { call: call.to_owned(), after: self.timeout }),
        }
    }
}

/// Shows the address alone: the settings hold the token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.http.settings.address)
            .finish_non_exhaustive()
    }
}
