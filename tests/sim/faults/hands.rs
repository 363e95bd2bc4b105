//! What somebody does to the keys by hand, and puts right later.

use futures_util::FutureExt;
use serde_json::{Value, json};
use tandem::consul::kv::Kv;
use tandem::consul::txn::TxnOp;
use tandem::model::keys;
use tandem::records::Queue;

use super::Fault;
use crate::apps::App;
use crate::director::{Action, Director};
use crate::kv;
use crate::rng::Rng;
use crate::world::World;

/// What is done to an app's entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edit {
    Deleted,
    Garbage,
    MasterSwapped,
    SlaveNulled,
}

pub(super) fn draw(rng: &Rng) -> Edit {
    *rng.pick(&[Edit::Deleted, Edit::Garbage, Edit::MasterSwapped, Edit::SlaveNulled])
}

/// What somebody has done to an app's entry.
#[derive(Debug, Default)]
pub(crate) struct Hands {
    edited: Option<Edited>,
    /// Deployments went by what was not so.
    misled: bool,
    /// A deployment had the app in its hands when all keys went, or a first one when its entry came back: nobody can know how
    /// far it was.
    torn: bool,
    /// All keys went: epochs begin anew, and nodes that remember later ones do nothing for those.
    anew: bool,
}

#[derive(Debug)]
struct Edited {
    /// The entry as it was.
    was: Vec<u8>,
    /// What was written in its place.
    written: Option<Vec<u8>>,
    queue: Option<Queue>,
}

impl Hands {
    /// Whether what the app's entry said may have misled a deployment.
    pub(crate) fn are_felt(&self) -> bool {
        self.misled || self.edited.is_some()
    }

    /// Whether epochs have begun anew.
    pub(crate) fn have_begun_anew(&self) -> bool {
        self.anew
    }

    /// Something goes by what the entry says now. What can't be read says nothing, and is waited for.
    pub(crate) fn mislead(&mut self) {
        let is_readable = |text: &Vec<u8>| serde_json::from_slice::<Value>(text).is_ok();
        let says = |edited: &Edited| edited.written.as_ref().is_none_or(is_readable);
        self.misled |= self.edited.as_ref().is_some_and(says);
    }

    /// Whether what users wrote may be in several copies, none of which has all of it: users were led on while a
    /// deployment was left half-way.
    pub(crate) fn have_torn(&self) -> bool {
        self.torn
    }
}

/// Changes an app's entry; it is put back later, or when everything is over.
pub(super) fn edit(director: &mut Director, app: usize, edit: Edit) {
    let world = director.world.clone();
    let owner = &world.apps[app];
    let Some(entry) = kv::entry(&world.consul, &keys::app(&owner.name)) else { return };
    let Ok(mut value) = serde_json::from_slice::<Value>(&entry.value) else { return };
    let names: Vec<&str> = world.machines.iter().map(|machine| machine.name.as_str()).collect();
    match edit {
        Edit::Deleted | Edit::Garbage => {}
        Edit::MasterSwapped if value["slave"].is_string() && world.rng.percent(60) => {
            let pair = value.as_object_mut().expect("an entry");
            let slave = pair.insert("slave".to_owned(), pair["master"].clone());
            pair.insert("master".to_owned(), slave.unwrap_or_default());
        }
        Edit::MasterSwapped => value["master"] = json!(world.rng.pick(&names)),
        Edit::SlaveNulled => value["slave"] = Value::Null,
    }
    let written = match edit {
        Edit::Deleted => None,
        Edit::Garbage => Some(b"{\"master\": ".to_vec()),
        Edit::MasterSwapped | Edit::SlaveNulled => Some(value.to_string().into_bytes()),
    };
    if !lay_hands(&world, owner, written.clone()) {
        return;
    }
    world.trace.line("user", || format!("the entry of {} is edited: {edit:?}", owner.name));
    set(&world, &keys::app(&owner.name), written);
    if world.rng.percent(70) {
        let delay = world.rng.millis(5_000..120_000);
        director.after(delay, Action::Fault(Fault::EntryPutBack(app)));
    }
}

/// Notes an app's entry as it is; false if there is none, or it is what somebody made of it. What a deployment has
/// written since is real, and what was noted before it is history.
fn lay_hands(world: &World, app: &App, written: Option<Vec<u8>>) -> bool {
    let mut hands = app.hands.lock().unwrap();
    let Some(entry) = kv::entry(&world.consul, &keys::app(&app.name)) else { return false };
    if let Some(before) = hands.edited.take() {
        if before.written.as_ref() == Some(&entry.value) {
            hands.edited = Some(before);
            return false;
        }
        hands.misled = true;
    }
    let queue: Option<Queue> = kv::read(&world.consul, &keys::queue(&app.name));
    let is_idle =
        queue.as_ref().is_none_or(|queue| queue.running.is_none() && queue.waiting.is_none());
    hands.misled |= !is_idle;
    hands.edited = Some(Edited { was: entry.value, written, queue });
    true
}

/// Puts an app's entry back as it was, if it still is what somebody made of it.
pub(super) fn put_back(world: &World, app: usize) {
    let app = &world.apps[app];
    let mut hands = app.hands.lock().unwrap();
    let Some(edited) = hands.edited.take() else { return };
    let key = keys::app(&app.name);
    let now = kv::entry(&world.consul, &key).map(|entry| entry.value);
    let queue: Option<Queue> = kv::read(&world.consul, &keys::queue(&app.name));
    hands.misled |= queue != edited.queue || now != edited.written;
    // Where a first deployment is between *up* and its commit, users are led to what it has made, and what they wrote
    // before is elsewhere.
    let is_deployed = queue.is_some_and(|queue| queue.running.is_some());
    hands.torn |= edited.written.is_none() && is_deployed;
    if now == edited.written {
        world.trace.line("user", || format!("the entry of {} is put back", app.name));
        set(world, &key, Some(edited.was));
    }
}

/// Deletes all keys that begin with a prefix.
pub(super) fn empty(director: &mut Director, prefix: &'static str) {
    let world = director.world.clone();
    for app in &world.apps {
        lay_hands(&world, app, None);
        let queue: Option<Queue> = kv::read(&world.consul, &keys::queue(&app.name));
        let mut hands = app.hands.lock().unwrap();
        hands.misled |= prefix.is_empty();
        hands.anew |= prefix.is_empty();
        hands.torn |= prefix.is_empty() && queue.is_some_and(|queue| queue.running.is_some());
    }
    world.trace.line("user", || format!("all keys below {prefix:?} are deleted"));
    let delete = TxnOp::DeleteTree { prefix: prefix.to_owned() };
    let _ = world.consul.transact(vec![delete]).now_or_never();
    if prefix.is_empty() {
        world.gossip.forget();
    }
    if world.rng.percent(70) {
        let delay = world.rng.millis(5_000..300_000);
        director.after(delay, Action::Fault(Fault::KvPutBack));
    }
}

/// Puts the entries back that are gone.
pub(super) fn put_all_back(world: &World) {
    for app in 0..world.apps.len() {
        let gone = |edited: &Edited| edited.written.is_none();
        let is_gone = world.apps[app].hands.lock().unwrap().edited.as_ref().is_some_and(gone);
        if is_gone {
            put_back(world, app);
        }
    }
}

fn set(world: &World, key: &str, value: Option<Vec<u8>>) {
    let key = key.to_owned();
    let op = match value {
        Some(value) => TxnOp::Set { key, value },
        None => TxnOp::Delete { key },
    };
    let done = world.consul.transact(vec![op]).now_or_never().expect("it is in memory");
    done.expect("it is never cut off");
}
