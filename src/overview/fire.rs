//! Fires events: what does not fit into one goes by the short form, with its text in KV.

use std::fmt::Write as _;

use ring::rand::{SecureRandom, SystemRandom};

use crate::consul::ConsulError;
use crate::consul::event::Events;
use crate::consul::kv::Kv;
use crate::event::encode;
use crate::model::{DeployId, Request, keys};

/// Why an event was not fired.
#[derive(Debug, thiserror::Error)]
pub enum FireError {
    /// Consul does not answer or refuses.
    #[error("Consul")]
    Consul(#[from] ConsulError),
    /// The text's name can't be drawn.
    #[error("there is no randomness")]
    Random,
}

/// Fires the event that asks for this, and returns its id, by which its deployment goes.
///
/// # Errors
/// [`FireError`].
pub async fn fire(
    kv: &dyn Kv,
    events: &dyn Events,
    request: &Request,
) -> Result<String, FireError> {
    let payload = encode(request);
    match events.fire(request.verb(), &payload).await {
        Err(ConsulError::TooLarge { .. }) => {}
        fired => return Ok(fired?),
    }
    let id = random_id()?;
    // Consul has it before anybody hears of it.
    kv.put_cas(&keys::request(&id), payload, 0).await?;
    let short = serde_json::json!({ "request": id }).to_string();
    Ok(events.fire(request.verb(), short.as_bytes()).await?)
}

/// 128 bits: nobody has drawn it before.
fn random_id() -> Result<DeployId, FireError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| FireError::Random)?;
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    DeployId::parse(&text).map_err(|_| FireError::Random)
}
