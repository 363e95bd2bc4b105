//! Where else an app's data is, for whoever finds it gone.

use std::fmt;

use chrono::{DateTime, Utc};

use super::context::Context;
use crate::clock;
use crate::error::chain;
use crate::host::volume::VolumeError;
use crate::model::{AppName, NodeName};
use crate::records::{self, RecordError, name_of};
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

/// The newest verified copy of a volume, the node that has it, and its age; or that there is none, or nobody could be asked.
pub(crate) async fn newest(ctx: &Context, app: &AppName, volume: &str) -> String {
    let told = told(ctx, app).await;
    match newest_told(&told, volume) {
        Some(copy) => copy.to_string(),
        None => told.silence.unwrap_or_else(|| "no node has told of one".to_owned()),
    }
}

/// A line for each volume that is not on this node where it should be, with its newest copy, and the ways on.
pub(crate) async fn tell(ctx: &Context, sought: Sought<'_>, missing: &[&str]) -> Vec<String> {
    let told = told(ctx, sought.app).await;
    let mut lines = Vec::new();
    let mut from = None;
    let mut is_known = told.silence.is_none();
    for volume in missing {
        let me = &ctx.me;
        let copy = newest_told(&told, volume);
        let others = || match &told.silence {
            Some(why) => why.clone(),
            None => "no other node has told of a copy".to_owned(),
        };
        let what = match (&copy, newest_here(ctx, volume).await) {
            (Some(copy), _) => format!("its newest verified copy is {copy}"),
            (None, Ok(Some(snapshot))) => format!(
                "{}; the newest snapshot here is {snapshot} (buttervolume restore {snapshot} {volume})",
                others()
            ),
            (None, Ok(None)) => format!("{}, and there is no snapshot of it here", others()),
            (None, Err(error)) => {
                is_known = false;
                format!("{}; {}", others(), not_looked_at(&error))
            }
        };
        from = from.or(copy.map(|copy| copy.node));
        lines.push(format!("volume {volume} is gone from {me}: {what}"));
    }
    lines.push(ways(ctx, sought, from.as_ref(), is_known));
    lines
}

/// What is said where the node's own snapshots can't be told.
pub(crate) fn not_looked_at(error: &VolumeError) -> String {
    format!("which snapshots are here could not be asked ({})", chain(error))
}

/// The commands that lead on. `is_known`: everybody who may have a copy was asked.
fn ways(ctx: &Context, sought: Sought<'_>, from: Option<&NodeName>, is_known: bool) -> String {
    let empty = "to begin empty, destroy the app first (snapshots are kept)";
    let Some(node) = from else {
        return if is_known {
            empty
        } else {
            "there may be copies: look again when all can be asked"
        }
        .to_owned();
    };
    let payload = serde_json::json!({
        "repo": sought.repo, "branch": sought.branch, "master": node, "slave": ctx.me, "from_replica": true,
    });
    format!("to go on with the copies, run: consul event -name=deploy '{payload}'; {empty}")
}

/// What the nodes have told of an app's copies.
#[derive(Default)]
struct Told {
    states: Vec<(NodeName, ReplicaState)>,
    /// Why there may be more that was not heard.
    silence: Option<String>,
}

async fn told(ctx: &Context, app: &AppName) -> Told {
    let listed = match records::list::<ReplicaState>(ctx.cluster.kv.as_ref()).await {
        Ok(listed) => listed,
        Err(error) => {
            let silence = format!("who has a copy could not be asked ({})", chain(&error));
            return Told { silence: Some(silence), ..Told::default() };
        }
    };
    let is_of_app = |error: &&RecordError| {
        name_of::<ReplicaState>(error.key()).is_some_and(|(of, _)| of == *app)
    };
    let unreadable: Vec<_> =
        listed.unreadable.iter().filter(is_of_app).map(|error| chain(error)).collect();
    let of_app = listed.found.into_iter().filter(|told| told.name.0 == *app);
    let states = of_app.map(|told| (told.name.1, told.value)).collect();
    let silence = (!unreadable.is_empty())
        .then(|| format!("who has a copy could not be told ({})", unreadable.join("; ")));
    Told { states, silence }
}

fn newest_told(told: &Told, volume: &str) -> Option<Copy> {
    let copies = told.states.iter().filter_map(|(node, state)| {
        let copy = state.volumes.get(volume)?.as_ref()?;
        let (snapshot, taken_at) = (copy.snapshot.clone(), copy.taken_at);
        Some(Copy { node: node.clone(), snapshot, taken_at })
    });
    copies.max_by_key(|copy| copy.taken_at)
}

/// The newest whole snapshot on this node itself.
pub(crate) async fn newest_here(
    ctx: &Context,
    volume: &str,
) -> Result<Option<String>, VolumeError> {
    let seam = &ctx.host.volumes;
    let names = seam.snapshots(volume).await?;
    let mut newest = None;
    for name in names.into_iter().filter(|name| name.sent_to().is_none()) {
        if let Some(facts) = seam.facts(&name).await?
            && facts.read_only
        {
            newest = newest.max(Some((facts.order(), name.to_string())));
        }
    }
    Ok(newest.map(|(_, name)| name))
}
