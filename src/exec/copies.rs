//! Where else an app's data is, for whoever finds it gone.

use std::fmt;

use chrono::{DateTime, Utc};

use super::context::Context;
use crate::clock;
use crate::model::{AppName, NodeName};
use crate::records;
use crate::replication::{ReplicaState, age};

/// An app whose data is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sought<'a> {
    pub(crate) app: &'a AppName,
    /// Its repository and its branch, as an event names them.
    pub(crate) repo: &'a str,
    pub(crate) branch: &'a str,
}

/// A copy of a volume, by the word of the node that has it.
struct Copy {
    node: NodeName,
    snapshot: String,
    taken_at: DateTime<Utc>,
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let old = clock::now() - self.taken_at;
        write!(f, "{} on {}, {} old", self.snapshot, self.node, age(old))
    }
}

/// The newest verified copy of a volume, the node that has it, and its age.
pub(crate) async fn newest(ctx: &Context, app: &AppName, volume: &str) -> Option<String> {
    Some(newest_published(&published(ctx, app).await, volume)?.to_string())
}

/// A line for each volume that is not on this node where it should be, with its newest copy, and the ways on.
pub(crate) async fn tell(ctx: &Context, sought: Sought<'_>, missing: &[&str]) -> Vec<String> {
    let published = published(ctx, sought.app).await;
    let mut lines = Vec::new();
    let mut from = None;
    for volume in missing {
        let me = &ctx.me;
        let copy = newest_published(&published, volume);
        let what = match (&copy, newest_here(ctx, volume).await) {
            (Some(copy), _) => format!("its newest verified copy is {copy}"),
            (None, Some(snapshot)) => format!(
                "no other node has told of a copy; the newest snapshot here is {snapshot} (buttervolume restore \
                 {snapshot} {volume})"
            ),
            (None, None) => "no node has told of a copy".to_owned(),
        };
        from = from.or(copy.map(|copy| copy.node));
        lines.push(format!("volume {volume} is gone from {me}: {what}"));
    }
    lines.push(ways(ctx, sought, from.as_ref()));
    lines
}

/// The commands that lead on.
fn ways(ctx: &Context, sought: Sought<'_>, from: Option<&NodeName>) -> String {
    let empty = "to begin empty, destroy the app first (snapshots are kept)";
    let Some(node) = from else { return empty.to_owned() };
    let payload = serde_json::json!({
        "repo": sought.repo, "branch": sought.branch, "master": node, "slave": ctx.me, "from_replica": true,
    });
    format!("to go on with the copies, run: consul event -name=deploy '{payload}'; {empty}")
}

async fn published(ctx: &Context, app: &AppName) -> Vec<(NodeName, ReplicaState)> {
    let listed = records::list::<ReplicaState>(ctx.cluster.kv.as_ref()).await;
    // Without Consul the copies can't be named; that the volume is gone is the news.
    let found = listed.map(|listed| listed.found).unwrap_or_default().into_iter();
    let of_app = found.filter(|told| told.name.0 == *app);
    of_app.map(|told| (told.name.1, told.value)).collect()
}

fn newest_published(published: &[(NodeName, ReplicaState)], volume: &str) -> Option<Copy> {
    let copies = published.iter().filter_map(|(node, state)| {
        let copy = state.volumes.get(volume)?.as_ref()?;
        let (snapshot, taken_at) = (copy.snapshot.clone(), copy.taken_at);
        Some(Copy { node: node.clone(), snapshot, taken_at })
    });
    copies.max_by_key(|copy| copy.taken_at)
}

/// The newest whole snapshot on this node itself.
pub(crate) async fn newest_here(ctx: &Context, volume: &str) -> Option<String> {
    let seam = &ctx.host.volumes;
    let names = seam.snapshots(volume).await.unwrap_or_default();
    let mut newest = None;
    for name in names.into_iter().filter(|name| name.sent_to().is_none()) {
        if let Ok(Some(facts)) = seam.facts(&name).await
            && facts.read_only
        {
            newest = newest.max(Some((facts.order(), name.to_string())));
        }
    }
    newest.map(|(_, name)| name)
}
