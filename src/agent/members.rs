//! The members that the proxies are made for, followed in a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use crate::consul::catalog::Member;
use crate::error::chain;
use crate::exec::Context;
use crate::model::NodeName;

const WAIT: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);
/// A Consul whose servers all start anew strikes the members off that it has not heard of yet, and takes them in again
/// seconds later. A member that is off the list for less than this stays in the proxies: each change of the list would
/// cost two reloads on every node. One that is really gone answers no check, which takes it out of use.
const KEPT: Duration = Duration::from_secs(600);

/// Follows the members for as long as the receiver lives; none until Consul has told them.
pub(super) fn follow(ctx: Arc<Context>) -> watch::Receiver<Option<Vec<Member>>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let (mut after, mut kept) = (None, Kept::default());
        while !sender.is_closed() {
            match ctx.cluster.catalog.watch_members(after, WAIT).await {
                Ok((index, members)) => {
                    after = Some(index);
                    let members = kept.update(members, Instant::now());
                    sender.send_if_modified(|known: &mut Option<Vec<Member>>| {
                        let is_new = known.as_ref() != Some(&members);
                        *known = Some(members);
                        is_new
                    });
                }
                Err(error) => {
                    after = None;
                    warn!(error = %chain(&error), "Consul does not tell the members");
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    });
    receiver
}

/// Every member of late, and when Consul last listed it.
#[derive(Default)]
struct Kept(BTreeMap<NodeName, (Member, Instant)>);

impl Kept {
    /// Takes Consul's list; returns it with those that are off it for a short time only, as not alive.
    fn update(&mut self, members: Vec<Member>, now: Instant) -> Vec<Member> {
        for (member, _) in self.0.values_mut() {
            member.alive = false;
        }
        for member in members {
            self.0.insert(member.name.clone(), (member, now));
        }
        self.0.retain(|_, (_, listed)| now.duration_since(*listed) < KEPT);
        self.0.values().map(|(member, _)| member.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, address: &str) -> Member {
        let name = NodeName::parse(name).unwrap();
        Member { name, address: address.into(), alive: true }
    }

    #[test]
    fn a_member_is_kept_for_a_while_and_then_forgotten() {
        let (mut kept, start) = (Kept::default(), Instant::now());
        let both = vec![member("node1", "10.0.0.1"), member("node2", "10.0.0.2")];
        assert_eq!(kept.update(both.clone(), start), both);
        let one = vec![member("node1", "10.0.0.9")];
        let seen = kept.update(one.clone(), start + KEPT / 2);
        let lost = Member { alive: false, ..member("node2", "10.0.0.2") };
        assert_eq!(seen, [one[0].clone(), lost], "the address is the newest");
        assert_eq!(
            kept.update(both.clone(), start + KEPT / 2),
            both,
            "and it comes back as it was"
        );
        kept.update(one.clone(), start + KEPT);
        assert_eq!(kept.update(one.clone(), start + KEPT * 2), one);
    }
}
