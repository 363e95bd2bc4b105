//! Who gives way to whom: what was issued last wins, in KV and in Caddy's storage.

use chrono::{DateTime, Utc};

use super::bundle::Bundle;
use super::published::PublishedError;
use crate::records::RecordError;

/// Whether the certificate that this node's Caddy has is written to KV, over what is there.
///
/// What can't be opened gives way: the app's master is the only one that writes here, and the others are of no use to
/// it. What a newer agent wrote stays.
pub fn is_published(
    own: &Bundle,
    there: Option<&Result<Bundle, PublishedError>>,
    now: DateTime<Utc>,
) -> bool {
    own.is_valid(now)
        && match there {
            None => true,
            Some(Ok(there)) => own.is_newer_than(there),
            Some(Err(PublishedError::Record(RecordError::Newer { .. }))) => false,
            Some(Err(
                PublishedError::Record(RecordError::Unreadable { .. })
                | PublishedError::Json(_)
                | PublishedError::Sealed(_)
                | PublishedError::Bundle(_)
                | PublishedError::Issuer(_)
                | PublishedError::Unsealable(_),
            )) => true,
        }
}

/// Whether what stands in KV is put into Caddy's storage, over what is there.
pub fn is_placed(there: &Bundle, own: Option<&Bundle>, now: DateTime<Utc>) -> bool {
    there.is_valid(now) && own.is_none_or(|own| there.is_newer_than(own))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bundle, day};
    use super::*;

    #[test]
    fn the_newest_valid_one_wins() {
        let old = || bundle("app.test", "2026-01-01", "2026-04-01");
        let new = || bundle("app.test", "2026-03-01", "2026-06-01");
        let now = day("2026-03-02");
        let published =
            |own: Bundle, there: Option<Bundle>| is_published(&own, there.map(Ok).as_ref(), now);
        assert!(published(old(), None) && published(new(), Some(old())));
        assert!(!published(old(), Some(new())) && !published(old(), Some(old())));
        assert!(is_placed(&old(), None, now) && is_placed(&new(), Some(&old()), now));
        assert!(!is_placed(&old(), Some(&new()), now) && !is_placed(&old(), Some(&old()), now));
        let over = day("2026-04-01");
        assert!(!is_published(&old(), None, over) && !is_placed(&old(), None, over));
    }

    #[test]
    fn what_is_of_no_use_gives_way_but_not_to_an_older_agent() {
        let own = bundle("app.test", "2026-01-01", "2026-04-01");
        let node = crate::model::NodeName::parse("node1").unwrap();
        let over = |there| is_published(&own, Some(&Err(there)), day("2026-01-02"));
        assert!(over(PublishedError::Sealed(node)));
        let newer = RecordError::Newer { key: String::new(), format: 2 };
        assert!(!over(newer.into()));
    }
}
