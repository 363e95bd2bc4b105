//! `app/{app name}` in KV (compat): read tolerantly, written with every key that was there before.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::placement::{NodeName, Placement};
use super::port::Port;

/// What KV stores for an app that serves; the keys are fixed by the older system's readers. Whoever edits an entry by hand
/// writes null for nothing, and the older system writes an empty text for no slave: both are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppRecord {
    /// The repository's URL.
    pub repo_url: String,
    /// The branch or tag.
    pub branch: String,
    /// The deployment that serves.
    pub deploy_id: String,
    /// The one before it; null at first.
    #[serde(default, deserialize_with = "unless_empty")]
    pub previous_deploy_id: Option<String>,
    /// `%Y-%m-%dT%H%M%S.%f`.
    #[serde(default, deserialize_with = "null_is_nothing")]
    pub deploy_date: String,
    /// The node that runs the app.
    pub master: NodeName,
    /// The node that holds copies, or null.
    #[serde(default, deserialize_with = "unless_empty")]
    pub slave: Option<NodeName>,
    /// The master's address.
    #[serde(default, deserialize_with = "null_is_nothing")]
    pub ip: String,
    /// Hosts of the URLs, bare addresses included.
    #[serde(default, deserialize_with = "without_nulls")]
    pub domains: Vec<String>,
    /// One text: comma and space between.
    #[serde(default, deserialize_with = "null_is_nothing")]
    pub urls: String,
    /// The site blocks as the app wrote them, `$CONTAINER` resolved.
    #[serde(default, deserialize_with = "null_is_nothing")]
    pub caddyfile: String,
    /// Frontend name to its HAPROXY value, `ct` filled in.
    #[serde(default, deserialize_with = "null_is_nothing")]
    pub haproxy: Map<String, Value>,
    /// Service to container name.
    #[serde(default, deserialize_with = "known")]
    pub ct: BTreeMap<String, String>,
    /// BTRFS volumes, as buttervolume names them.
    #[serde(default, deserialize_with = "without_nulls")]
    pub volumes: Vec<String>,
    /// What visitors see under maintenance, where the app's repository has a page for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance_page: Option<String>,
    /// What else is the app's alone.
    #[serde(default, skip_serializing_if = "Held::is_empty")]
    pub claims: Held,
    /// Keys of other writers: kept as they are.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What an app has that no other app may have, beside what the proxies and the replicas read of its entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    /// Ports of its master that its containers publish.
    pub ports: BTreeSet<Port>,
    /// Its volumes of any driver.
    pub volumes: BTreeSet<String>,
    /// Names that it gives its containers on networks that other apps join.
    pub aliases: BTreeSet<String>,
}

impl Held {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl AppRecord {
    /// The pair that the record names.
    pub fn placement(&self) -> Placement {
        Placement { master: self.master.clone(), replica: self.slave.clone() }
    }
}

/// Null is the same as absent.
fn null_is_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    value: D,
) -> Result<T, D::Error> {
    Option::deserialize(value).map(Option::unwrap_or_default)
}

/// An empty text is the same as null.
fn unless_empty<'de, D: Deserializer<'de>, T: TryFrom<String>>(
    value: D,
) -> Result<Option<T>, D::Error>
where
    T::Error: std::fmt::Display,
{
    let text = Option::<String>::deserialize(value)?.unwrap_or_default();
    match text.trim() {
        "" => Ok(None),
        text => T::try_from(text.to_owned()).map(Some).map_err(serde::de::Error::custom),
    }
}

/// A list of what is not null.
fn without_nulls<'de, D: Deserializer<'de>>(value: D) -> Result<Vec<String>, D::Error> {
    let items: Vec<Option<String>> = null_is_nothing(value)?;
    Ok(items.into_iter().flatten().collect())
}

/// A map of what is not null.
fn known<'de, D: Deserializer<'de>>(value: D) -> Result<BTreeMap<String, String>, D::Error> {
    let items: BTreeMap<String, Option<String>> = null_is_nothing(value)?;
    Ok(items.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(more: Value) -> Result<AppRecord, serde_json::Error> {
        let mut entry = json!({
            "repo_url": "https://h/a", "branch": "b", "deploy_id": "1", "master": "node1",
        });
        if let (Some(entry), Value::Object(more)) = (entry.as_object_mut(), more) {
            entry.extend(more);
        }
        serde_json::from_value(entry)
    }

    #[test]
    fn what_is_null_or_empty_is_read_as_absent() {
        let absent = read(json!({})).unwrap();
        let names = [
            "previous_deploy_id",
            "deploy_date",
            "slave",
            "ip",
            "domains",
            "urls",
            "caddyfile",
            "haproxy",
            "ct",
            "volumes",
            "maintenance_page",
        ];
        for name in names {
            assert_eq!(read(json!({name: null})).unwrap(), absent, "{name}");
        }
        for name in ["slave", "previous_deploy_id"] {
            assert_eq!(read(json!({name: " "})).unwrap(), absent, "{name}");
        }
        let inside = json!({"ct": {"web": null}, "volumes": [null], "domains": [null]});
        assert_eq!(read(inside).unwrap(), absent);
        let slave = read(json!({"slave": "node2"})).unwrap().slave;
        assert_eq!(slave.as_ref().map(NodeName::as_str), Some("node2"));
        assert!(read(json!({"slave": "-x"})).is_err() && read(json!({"master": ""})).is_err());
        assert!(read(json!({"volumes": [1]})).is_err());
    }

    /// Other readers find the form that they know.
    #[test]
    fn nothing_is_written_as_null() {
        let written =
            serde_json::to_value(read(json!({"slave": "", "haproxy": null})).unwrap()).unwrap();
        assert_eq!((&written["slave"], &written["haproxy"]), (&Value::Null, &json!({})));
    }
}
