//! Sessions: what a lease hangs on.

use std::time::Duration;

use async_trait::async_trait;
use consulrs::api::Features;
use consulrs::api::features::ConsistencyMode;
use consulrs::api::session::requests::{CreateSessionRequest, ReadSessionRequest};

use super::{Client, ConsulError};

/// The shortest and the longest TTL that Consul takes.
const TTL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(86_400);

/// Sessions of the local node.
#[async_trait]
pub trait Sessions: Send + Sync {
    /// Makes a session and returns its id. The keys that it holds are deleted when it ends.
    ///
    /// It ends when it is destroyed, when it wasn't renewed for `ttl` (10 s to a day; Consul takes up to twice as
    /// long), or when the node's agent is seen as dead by the others: Consul's default, the check `serfHealth`, is
    /// kept, so that a dead node's leases are free after seconds and the TTL is only the bound for a dead process on a
    /// live node. The price is that gossip can end the session of a node that is merely cut off; holders must therefore
    /// check the session in every transaction, which they must in any case. After an end that was not asked for, nobody
    /// gets its keys for `lock_delay` (0 is taken as none).
    ///
    /// # Errors
    /// [`ConsulError::Argument`] for a TTL out of range, else any.
    async fn create(
        &self,
        name: &str,
        ttl: Duration,
        lock_delay: Duration,
    ) -> Result<String, ConsulError>;

    /// Starts the TTL anew; false if the session has ended.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn renew(&self, id: &str) -> Result<bool, ConsulError>;

    /// Ends a session, which need not exist any more.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn destroy(&self, id: &str) -> Result<(), ConsulError>;

    /// Whether the session, of whichever node, still lives; never stale.
    ///
    /// # Errors
    /// Any of [`ConsulError`].
    async fn exists(&self, id: &str) -> Result<bool, ConsulError>;
}

#[async_trait]
impl Sessions for Client {
    async fn create(
        &self,
        name: &str,
        ttl: Duration,
        lock_delay: Duration,
    ) -> Result<String, ConsulError> {
        let call = "PUT session/create";
        check_ttl(call, ttl)?;
        let mut request = CreateSessionRequest::builder();
        request
            .name(name)
            .behavior("delete")
            .ttl(format!("{}ms", ttl.as_millis()))
            .lock_delay(format!("{}ms", lock_delay.as_millis()));
        let create = consulrs::session::create(&*self.http, Some(&mut request));
        Ok(self.run(call, create).await?.id)
    }

    async fn renew(&self, id: &str) -> Result<bool, ConsulError> {
        if !is_id(id) {
            return Ok(false);
        }
        let renew = consulrs::session::renew(&*self.http, id, None);
        match self.run("PUT session/renew", renew).await {
            Ok(sessions) => Ok(!sessions.is_empty()),
            Err(ConsulError::Api { code: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn destroy(&self, id: &str) -> Result<(), ConsulError> {
        if !is_id(id) {
            return Ok(());
        }
        let delete = consulrs::session::delete(&*self.http, id, None);
        self.run("PUT session/destroy", delete).await
    }

    async fn exists(&self, id: &str) -> Result<bool, ConsulError> {
        if !is_id(id) {
            return Ok(false);
        }
        let mut request = ReadSessionRequest::builder();
        request
            .features(Features { mode: Some(ConsistencyMode::CONSISTENT), ..Features::default() });
        let read = consulrs::session::read(&*self.http, id, Some(&mut request));
        let sessions = self.run("GET session/info", read).await?;
        Ok(!sessions.is_empty())
    }
}

/// Whether this can be a session's id; Consul answers another with a status that looks transient.
fn is_id(id: &str) -> bool {
    id.len() == 36 && id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Consul answers a TTL out of range with a status that looks transient.
pub(super) fn check_ttl(call: &str, ttl: Duration) -> Result<(), ConsulError> {
    if TTL.contains(&ttl) {
        return Ok(());
    }
    Err(ConsulError::argument(call, format!("a TTL is 10 s to 86400 s, not {ttl:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid() {
        assert!(is_id("96f30cb2-eb3f-a0b0-a36f-7b8a7904841f"));
        assert!(!is_id("") && !is_id("nope") && !is_id(&"/".repeat(36)));
    }

    #[test]
    fn a_ttl_has_bounds() {
        for (seconds, good) in [(9, false), (10, true), (86_400, true), (86_401, false)] {
            let ttl = Duration::from_secs(seconds);
            assert_eq!(check_ttl("PUT session/create", ttl).is_ok(), good);
        }
    }
}
