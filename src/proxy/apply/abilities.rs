//! What Caddy can do, and the order in which the proxies begin and cease to use it.
//!
//! HAProxy names its clients to Caddy by a header that a Caddy which does not expect it takes for nonsense. So Caddy is
//! told first to expect it, which leaves connections without it as they are, and HAProxy to send it only when Caddy has
//! taken that; and the other way round HAProxy ceases first. Neither waits for other changes to be gathered.

use serde_json::Value;
use tracing::debug;

use super::{Proxies, ProxyError, make_parent, read_optional, write_atomic};
use crate::proxy::caddy::CaddyAbilities;

impl Proxies {
    /// Asks what Caddy can do. While that can't be said it is what was known last: nobody gives a node another Caddy while
    /// Docker is away.
    pub(super) async fn look_at_caddy(&mut self) -> Result<(), ProxyError> {
        let path = self.settings.abilities_file();
        if self.expects_proxy.is_none() {
            // A process that begins: what it left on disk is what runs.
            let known = read_optional(&path).await?.unwrap_or_default();
            self.settings.caddy_abilities = serde_json::from_slice(&known).unwrap_or_default();
            let taken = read_optional(&self.settings.caddy_file()).await?.unwrap_or_default();
            let taken = serde_json::from_slice::<Value>(&taken).unwrap_or_default();
            self.expects_proxy = Some(CaddyAbilities::are_used_by(&taken));
        }
        match self.control.caddy_abilities().await {
            Ok(found) if found != self.settings.caddy_abilities => {
                make_parent(&path).await?;
                let text = serde_json::to_string(&found).unwrap_or_default();
                write_atomic(&path, text, 0o644).await?;
                self.settings.caddy_abilities = found;
                self.caddy_turn.is_now();
            }
            Ok(_) => {}
            Err(error) => debug!(%error, "what Caddy can do is what was known last"),
        }
        self.settings.sends_proxy = self.may_send_proxy();
        if self.is_going_back() {
            // Until HAProxy has ceased, what it sends is nonsense to Caddy.
            self.caddy_turn.is_now();
            self.haproxy_turn.is_now();
        }
        Ok(())
    }

    /// Whether Caddy, as it runs or would start, expects HAProxy's header and will go on to.
    pub(super) fn may_send_proxy(&self) -> bool {
        self.expects_proxy == Some(true) && self.settings.caddy_abilities.is_current()
    }

    /// Whether Caddy expects the header and is to do so no longer: until HAProxy has ceased to send it, Caddy is not touched.
    pub(super) fn is_going_back(&self) -> bool {
        self.expects_proxy == Some(true) && !self.settings.caddy_abilities.is_current()
    }
}
