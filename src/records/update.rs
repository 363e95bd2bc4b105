//! Changes by check-and-set: who was not first reads anew and tries again, but not for ever.

use super::{ReadError, Record, Versioned, encode, read};
use crate::consul::kv::Kv;

/// How often a change is tried: a key has at most a handful of writers.
const TRIES: u32 = 20;

/// Too many others write the same key at the same time.
#[derive(Debug, thiserror::Error)]
#[error("{key} is written by others all the time; gave up after {TRIES} tries")]
pub struct Contended {
    key: String,
}

/// Tries a change that ends in a transaction until nobody was faster: `attempt` (told how many were before it) reads what
/// it needs, and has nothing where somebody was. `key` is what they contend for.
///
/// # Errors
/// What an attempt fails with, or [`Contended`].
pub async fn contend<T, E, F>(key: &str, attempt: impl Fn(u32) -> F) -> Result<T, E>
where
    E: From<Contended>,
    F: Future<Output = Result<Option<T>, E>>,
{
    for before in 0..TRIES {
        if let Some(done) = attempt(before).await? {
            return Ok(done);
        }
    }
    Err(Contended { key: key.to_owned() }.into())
}

/// Changes one record, none if there is none; `change` has nothing where it is to stay as it is.
///
/// # Errors
/// [`ReadError`] or [`Contended`]. What can't be read is not written over.
pub async fn update<T: Record, E>(
    kv: &dyn Kv,
    key: &str,
    change: impl Fn(Option<T>) -> Option<T>,
) -> Result<(), E>
where
    E: From<ReadError> + From<Contended>,
{
    let change = &change;
    let attempt = async |_: u32| -> Result<Option<()>, E> {
        let (found, index) = match read::<T>(kv, key).await? {
            Some(Versioned { value, index }) => (Some(value), index),
            None => (None, 0),
        };
        let Some(changed) = change(found) else { return Ok(Some(())) };
        let written = kv.put_cas(key, encode(&changed), index).await.map_err(ReadError::Consul)?;
        Ok(written.map(|_| ()))
    };
    contend(key, attempt).await
}
