//! One entry of KV as the proxies read it: once, however many views hold it.

use std::sync::Arc;

use serde_json::Value;

use crate::consul::kv::Entry;
use crate::model::{AppName, AppRecord, HandOver, Held, keys};

/// An entry, read.
#[derive(Debug, PartialEq)]
pub struct Item {
    /// The whole key.
    pub key: Box<str>,
    /// The index of its last change.
    pub modify_index: u64,
    /// What it says, or why it makes no sense.
    pub(super) what: Result<What, String>,
}

/// What an entry says.
#[derive(Debug, PartialEq)]
pub(super) enum What {
    App(AppName, Arc<AppRecord>),
    Maintenance {
        app: AppName,
        is_held: bool,
    },
    Swarm(Box<str>, Arc<Value>),
    /// Its text: policies are few, and are read together.
    Policy(Box<[u8]>),
    /// None of the proxies' concern.
    Other,
}

impl Item {
    /// Reads an entry as it came from Consul.
    pub fn read(entry: Entry) -> Self {
        Self { modify_index: entry.modify_index, ..Self::of(&entry.key, &entry.value) }
    }

    /// Reads a key's value.
    pub fn of(key: &str, value: &[u8]) -> Self {
        let what = match key.starts_with(keys::POLICIES) {
            true => Ok(What::Policy(value.into())),
            false => What::read(key, value),
        };
        Self { key: key.into(), modify_index: 0, what }
    }

    /// Why it makes no sense; none if it does.
    pub fn wrong(&self) -> Option<&str> {
        self.what.as_ref().err().map(String::as_str)
    }

    /// The app that a deployment hands over, where this is its key below `maintenance/`.
    pub fn handed_over(&self) -> Option<AppName> {
        match &self.what {
            Ok(What::Maintenance { app, is_held: true }) => Some(app.clone()),
            _ => None,
        }
    }

    /// The app of an entry below `app/`, and its record if that can be read.
    pub fn app(&self) -> Option<(AppName, Option<&AppRecord>)> {
        match &self.what {
            Ok(What::App(name, record)) => Some((name.clone(), Some(record))),
            Ok(_) => None,
            Err(_) => Some((AppName::parse(self.key.strip_prefix(keys::APPS)?).ok()?, None)),
        }
    }
}

impl What {
    fn read(key: &str, value: &[u8]) -> Result<Self, String> {
        let Some((prefix, rest)) = key.split_once('/').filter(|(_, rest)| !rest.is_empty()) else {
            return Ok(Self::Other);
        };
        match prefix {
            "app" => {
                let name = app_name(rest)?;
                let record = serde_json::from_slice(value)
                    .map_err(|error| format!("is not an app's record: {error}"))?;
                Ok(Self::App(name, Arc::new(without_rest(record))))
            }
            "maintenance" => {
                Ok(Self::Maintenance { app: app_name(rest)?, is_held: HandOver::is(value) })
            }
            "swarm" => {
                let value = serde_json::from_slice(value)
                    .map_err(|error| format!("is not JSON: {error}"))?;
                Ok(Self::Swarm(rest.into(), Arc::new(value)))
            }
            _ => Ok(Self::Other),
        }
    }
}

/// There are thousands of them, and neither the proxies nor the replicas ask for these fields.
fn without_rest(mut record: AppRecord) -> AppRecord {
    record.other = serde_json::Map::new();
    record.claims = Held::default();
    record.urls = String::new();
    record.previous_deploy_id = None;
    record
}

fn app_name(text: &str) -> Result<AppName, String> {
    AppName::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_apps_entry_is_its_own_even_if_it_can_not_be_read() {
        let good =
            br#"{"repo_url":"https://h/a","branch":"b","deploy_id":"1","master":"n1","x":1}"#;
        let named = |key: &str, value: &[u8]| {
            let item = Item::of(key, value);
            item.app().map(|(name, record)| (name.to_string(), record.is_some()))
        };
        assert_eq!(named("app/a_b.12345", good), Some(("a_b.12345".to_owned(), true)));
        assert_eq!(named("app/a_b.12345", b"{"), Some(("a_b.12345".to_owned(), false)));
        assert_eq!(named("app/-x", good), None);
        assert_eq!(named("swarm/a_b.12345", b"{"), None);
        assert_eq!(named("maintenance/a_b.12345", b""), None);
    }
}
