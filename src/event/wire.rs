//! The payloads on the wire (compat): the words `master` and `slave` and the exact field names live here.

use serde_json::{Map, Value};

use super::{DecodeError, Decoded};
use crate::model::app::NameError;
use crate::model::{AppId, Branch, DeployId, NodeName, Repo, Request, Wanted};

pub(super) fn decode_request(name: &str, payload: &[u8]) -> Result<Decoded, DecodeError> {
    let value: Value =
        serde_json::from_slice(payload).map_err(|source| DecodeError::NotJson(Some(source)))?;
    let Value::Object(fields) = value else {
        return Err(DecodeError::NotJson(None));
    };
    if let Some(reference) = fields.get("request") {
        return reference_id(reference).map(Decoded::Reference);
    }
    let app = app(&fields)?;
    let request = match name {
        "deploy" => deploy(app, &fields)?,
        "destroy" => Request::Destroy { app },
        _ => migrate(app, &fields)?,
    };
    Ok(Decoded::Request(request))
}

/// The payload that asks for this.
pub(super) fn encode_request(request: &Request) -> Value {
    let of = |app: &AppId| -> Map<String, Value> {
        let fields = [("repo", app.repo.as_str()), ("branch", app.branch.as_str())];
        fields.map(|(field, text)| (field.to_owned(), text.into())).into_iter().collect()
    };
    let mut fields = Map::new();
    match request {
        Request::Deploy { app, master, replica, update, from_replica } => {
            fields.extend(of(app));
            fields.extend(master.iter().map(|node| ("master".to_owned(), node.as_str().into())));
            match replica {
                Wanted::Node(node) => fields.insert("slave".to_owned(), node.as_str().into()),
                Wanted::Nobody => fields.insert("slave".to_owned(), Value::Null),
                Wanted::Unsaid => None,
            };
            let flags = [("update", *update), ("from_replica", *from_replica)];
            let flags = flags.into_iter().filter(|(_, flag)| *flag);
            fields.extend(flags.map(|(field, flag)| (field.to_owned(), flag.into())));
        }
        Request::Destroy { app } => fields.extend(of(app)),
        Request::Migrate { app, target, update } => {
            fields.extend(of(app));
            fields.insert("target".to_owned(), of(target).into());
            fields.insert("update".to_owned(), (*update).into());
        }
    }
    fields.into()
}

fn reference_id(value: &Value) -> Result<DeployId, DecodeError> {
    let text = value.as_str().ok_or(DecodeError::Type { field: "request", expected: "a text" })?;
    parse("request", text, DeployId::parse)
}

fn app(fields: &Map<String, Value>) -> Result<AppId, DecodeError> {
    let repo = required(fields, "repo", "repo")?;
    let branch = required(fields, "branch", "branch")?;
    Ok(AppId {
        repo: parse("repo", repo, Repo::parse)?,
        branch: parse("branch", branch, Branch::parse)?,
    })
}

fn deploy(app: AppId, fields: &Map<String, Value>) -> Result<Request, DecodeError> {
    let master = node(fields, "master")?;
    let replica = match node(fields, "slave")? {
        Some(name) => Wanted::Node(name),
        None if fields.contains_key("slave") => Wanted::Nobody,
        None => Wanted::Unsaid,
    };
    if master.is_some() && master.as_ref() == replica.node() {
        let problem = "is the master too; a pair has two nodes".to_owned();
        return Err(DecodeError::Value { field: "slave", problem });
    }
    let update = flag(fields, "update", false)?;
    let from_replica = flag(fields, "from_replica", false)?;
    Ok(Request::Deploy { app, master, replica, update, from_replica })
}

fn migrate(app: AppId, fields: &Map<String, Value>) -> Result<Request, DecodeError> {
    let target = match fields.get("target") {
        Some(Value::Object(target)) => target,
        Some(_) => {
            return Err(DecodeError::Type { field: "target", expected: "an object" });
        }
        None => return Err(DecodeError::Missing("target")),
    };
    let repo = match optional(target, "repo", "target.repo")? {
        Some(text) => parse("target.repo", text, Repo::parse)?,
        None => app.repo.clone(),
    };
    let branch = match optional(target, "branch", "target.branch")? {
        Some(text) => parse("target.branch", text, Branch::parse)?,
        None => app.branch.clone(),
    };
    let target = AppId { repo, branch };
    if target == app {
        let problem =
            "is the source itself; it needs another repo, another branch or both".to_owned();
        return Err(DecodeError::Value { field: "target", problem });
    }
    Ok(Request::Migrate { app, target, update: flag(fields, "update", true)? })
}

fn parse<T>(
    field: &'static str,
    text: &str,
    parse: impl Fn(&str) -> Result<T, NameError>,
) -> Result<T, DecodeError> {
    parse(text).map_err(|error| DecodeError::Value { field, problem: error.to_string() })
}

fn required<'a>(
    fields: &'a Map<String, Value>,
    key: &str,
    field: &'static str,
) -> Result<&'a str, DecodeError> {
    optional(fields, key, field)?.ok_or(DecodeError::Missing(field))
}

/// A text field; null counts as absent.
fn optional<'a>(
    fields: &'a Map<String, Value>,
    key: &str,
    field: &'static str,
) -> Result<Option<&'a str>, DecodeError> {
    match fields.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(DecodeError::Type { field, expected: "a text" }),
    }
}

/// A node's name; null and the empty text name none.
fn node(fields: &Map<String, Value>, field: &'static str) -> Result<Option<NodeName>, DecodeError> {
    match optional(fields, field, field)?.map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => parse(field, text, NodeName::parse).map(Some),
    }
}

fn flag(
    fields: &Map<String, Value>,
    field: &'static str,
    default: bool,
) -> Result<bool, DecodeError> {
    match fields.get(field) {
        None | Some(Value::Null) => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        // As older clients write it.
        Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.trim().eq_ignore_ascii_case("false") => Ok(false),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(false),
        Some(_) => Err(DecodeError::Type { field, expected: "true or false" }),
    }
}
