//! The state of the cluster in memory and how it changes: plain data, no waiting.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::ConsulError;
use super::super::catalog::Member;
use super::super::event::UserEvent;
use super::super::health::{Health, WireCheck};
use super::super::kv::{Entry, Listing};
use super::super::txn::{Txn, TxnOp};
use crate::model::placement::NodeName;

/// How many events an agent keeps.
const EVENTS: usize = 256;

/// The connection between a node and its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    UpFor(u32),
    LosesAnswer,
    Down,
}

#[derive(Debug, Clone)]
struct Node {
    address: String,
    alive: bool,
    link: Link,
}

#[derive(Debug, Clone)]
struct Event {
    event: UserEvent,
    missed_by: BTreeSet<NodeName>,
}

/// Everything that the cluster knows.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether anything changed that somebody may wait for.
    changed: bool,
    index: u64,
    kv: Store,
    sessions: BTreeMap<String, Option<NodeName>>,
    sessions_made: u64,
    nodes: BTreeMap<NodeName, Node>,
    members_index: u64,
    services: BTreeMap<Option<NodeName>, BTreeMap<String, Value>>,
    events: Vec<Event>,
    events_fired: u64,
}

/// The keys, and when the last one of each name was deleted.
#[derive(Debug, Default)]
pub(super) struct Store {
    entries: BTreeMap<String, Entry>,
    deleted: BTreeMap<String, u64>,
}

impl State {
    fn advance(&mut self) {
        self.index += 1;
        self.changed = true;
    }

    /// Whether anything changed since this was last asked.
    pub(super) fn takes_change(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    pub(super) fn join(&mut self, name: &NodeName) {
        if self.nodes.contains_key(name) {
            return;
        }
        self.advance();
        self.members_index = self.index;
        let node = Node {
            address: format!("10.77.0.{}", self.nodes.len() + 1),
            alive: true,
            link: Link::Up,
        };
        self.nodes.insert(name.clone(), node);
    }

    pub(super) fn set_link(&mut self, name: &NodeName, link: Link) {
        self.join(name);
        self.changed = true;
        if let Some(node) = self.nodes.get_mut(name) {
            node.link = link;
        }
    }

    pub(super) fn set_alive(&mut self, name: &NodeName, alive: bool) {
        self.join(name);
        self.advance();
        self.members_index = self.index;
        if let Some(node) = self.nodes.get_mut(name) {
            node.alive = alive;
        }
        if !alive {
            let theirs: Vec<String> = self
                .sessions
                .iter()
                .filter(|(_, owner)| owner.as_ref() == Some(name))
                .map(|(id, _)| id.clone())
                .collect();
            for id in theirs {
                self.end_session(&id);
            }
        }
    }

    /// Fails if the node is cut off.
    pub(super) fn check_link(
        &self,
        node: Option<&NodeName>,
        call: &str,
    ) -> Result<(), ConsulError> {
        match node.and_then(|name| self.nodes.get(name)).map(|n| n.link) {
            Some(Link::Down) => Err(ConsulError::Unreachable {
                call: call.to_owned(),
                source: "the test cut this node off".into(),
            }),
            Some(Link::Up | Link::UpFor(_) | Link::LosesAnswer) | None => Ok(()),
        }
    }

    /// As [`State::check_link`], and counts the call.
    pub(super) fn admit(&mut self, node: Option<&NodeName>, call: &str) -> Result<(), ConsulError> {
        if let Some(node) = node.and_then(|name| self.nodes.get_mut(name))
            && let Link::UpFor(calls) = node.link
        {
            node.link = calls.checked_sub(1).map_or(Link::Down, Link::UpFor);
            self.changed = true;
        }
        self.check_link(node, call)
    }

    /// Whether the answer to this write is to be lost; true once.
    pub(super) fn takes_answer(&mut self, node: Option<&NodeName>) -> bool {
        match node.and_then(|name| self.nodes.get_mut(name)) {
            Some(node) if node.link == Link::LosesAnswer => {
                node.link = Link::Up;
                true
            }
            Some(_) | None => false,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Entry> {
        self.kv.entries.get(key).cloned()
    }

    /// The entries below a prefix, with the prefix's own index, or the store's if nothing was ever below it.
    pub(super) fn list(&self, prefix: &str) -> Listing {
        let entries = below(&self.kv.entries, prefix).map(|(_, entry)| entry.clone()).collect();
        Listing { index: self.list_index(prefix), entries }
    }

    /// The index of [`State::list`].
    pub(super) fn list_index(&self, prefix: &str) -> u64 {
        let newest = below(&self.kv.entries, prefix).map(|(_, entry)| entry.modify_index).max();
        let deleted = below(&self.kv.deleted, prefix).map(|(_, index)| *index).max();
        newest.max(deleted).unwrap_or(self.index.max(1))
    }

    /// All of the operations or none; only a committed transaction moves the index.
    pub(super) fn transact(&mut self, ops: &[TxnOp]) -> Txn {
        let before = self.kv.touched_by(ops);
        let index = self.index + 1;
        let mut entries = Vec::new();
        let mut refused = Vec::new();
        for op in ops {
            match self.kv.apply(op, index, &self.sessions) {
                Ok(entry) => entries.extend(entry),
                Err(reason) => refused.push(reason),
            }
        }
        if !refused.is_empty() {
            self.kv.put_back(before);
            return Txn::Refused(refused);
        }
        self.advance();
        Txn::Committed(entries)
    }

    pub(super) fn create_session(&mut self, node: Option<&NodeName>) -> String {
        self.advance();
        self.sessions_made += 1;
        let id = format!("5e550000-0000-4000-8000-{:012x}", self.sessions_made);
        self.sessions.insert(id.clone(), node.cloned());
        id
    }

    pub(super) fn has_session(&self, id: &str) -> bool {
        self.sessions.contains_key(id)
    }

    /// Ends a session and deletes the keys that it holds.
    pub(super) fn end_session(&mut self, id: &str) {
        if self.sessions.remove(id).is_none() {
            return;
        }
        self.advance();
        let held: Vec<String> = self
            .kv
            .entries
            .values()
            .filter(|entry| entry.session.as_deref() == Some(id))
            .map(|entry| entry.key.clone())
            .collect();
        for key in held {
            self.kv.remove(&key, self.index);
        }
    }

    pub(super) fn members(&self) -> Vec<Member> {
        let member = |(name, node): (&NodeName, &Node)| Member {
            name: name.clone(),
            address: node.address.clone(),
            alive: node.alive,
        };
        self.nodes.iter().map(member).collect()
    }

    pub(super) fn members_index(&self) -> u64 {
        self.members_index.max(1)
    }

    pub(super) fn address(&self, name: &NodeName) -> Option<String> {
        self.nodes.get(name).map(|node| node.address.clone())
    }

    /// The checks of all services.
    pub(super) fn checks(&self) -> Vec<WireCheck> {
        let services = self.services.values().flatten();
        let checks = services.flat_map(|(id, body)| {
            let checks = body["Checks"].as_array().into_iter().flatten();
            checks.map(|check| WireCheck {
                service_id: id.clone(),
                status: serde_json::from_value(check["Status"].clone()).unwrap_or(Health::Critical),
            })
        });
        checks.collect()
    }

    pub(super) fn services(&mut self, node: Option<&NodeName>) -> &mut BTreeMap<String, Value> {
        self.services.entry(node.cloned()).or_default()
    }

    /// Fires an event to all nodes that can be reached.
    pub(super) fn fire(&mut self, name: &str, payload: &[u8]) -> String {
        self.events_fired += 1;
        self.changed = true;
        let id = format!("e7e00000-0000-4000-8000-{:012x}", self.events_fired);
        let cut_off = self.nodes.iter().filter(|(_, node)| node.link == Link::Down);
        self.events.push(Event {
            event: UserEvent {
                id: id.clone(),
                name: name.to_owned(),
                payload: payload.to_vec(),
                ltime: self.events_fired,
            },
            missed_by: cut_off.map(|(name, _)| name.clone()).collect(),
        });
        id
    }

    /// The last events of a node and their index: a hash, beyond the signed numbers for some.
    pub(super) fn events(&self, node: Option<&NodeName>) -> (u64, Vec<UserEvent>) {
        let reached = |event: &&Event| node.is_none_or(|name| !event.missed_by.contains(name));
        let mut events: Vec<_> = self.events.iter().filter(reached).collect();
        events.drain(..events.len().saturating_sub(EVENTS));
        let index =
            events.last().map_or(1, |last| last.event.ltime.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        (index, events.iter().map(|e| e.event.clone()).collect())
    }
}

fn below<'a, T>(
    map: &'a BTreeMap<String, T>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a String, &'a T)> {
    map.range(prefix.to_owned()..).take_while(move |(key, _)| key.starts_with(prefix))
}

mod store;
