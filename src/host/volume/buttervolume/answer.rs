//! buttervolume's answers. Pure.

use serde_json::Value;

use crate::host::unix_http::Reply;
use crate::host::volume::{Action, Schedule, VolumeError};

const PAUSED: &str = "Schedule is globally paused";
const MAX_SAID: usize = 300;

/// An answer without an error in it.
#[derive(Debug)]
pub(super) struct Answer {
    operation: &'static str,
    body: Value,
}

impl Answer {
    pub(super) fn read(
        operation: &'static str,
        subject: &str,
        reply: &Reply,
    ) -> Result<Self, VolumeError> {
        let Some(body) = parse(reply) else {
            let said = format!("status {}, {}", reply.status, reply.text());
            return Err(odd(operation, &said));
        };
        let why = body.get("Err").map(text_of).unwrap_or_default();
        match why.trim() {
            "" => Ok(Self { operation, body }),
            PAUSED => Err(VolumeError::SchedulerPaused),
            why => Err(VolumeError::Refused {
                operation,
                subject: subject.to_owned(),
                why: why.to_owned(),
            }),
        }
    }

    pub(super) fn text(&self, key: &str) -> Result<String, VolumeError> {
        self.optional_text(key).ok_or_else(|| self.odd())
    }

    pub(super) fn optional_text(&self, key: &str) -> Option<String> {
        self.body.get(key).map(text_of).filter(|text| !text.is_empty())
    }

    /// A list of names, or of objects with a `Name`.
    pub(super) fn names(&self, key: &str) -> Result<Vec<String>, VolumeError> {
        let items = self.body.get(key).and_then(Value::as_array);
        let name = |item: &Value| {
            let name = item.get("Name").unwrap_or(item).as_str();
            name.map(str::to_owned)
        };
        let names: Option<_> = items.and_then(|items| items.iter().map(name).collect());
        names.ok_or_else(|| self.odd())
    }

    pub(super) fn schedules(&self) -> Result<Vec<Schedule>, VolumeError> {
        let rows = self.body.get("Schedule").and_then(Value::as_array);
        let rows = rows.ok_or_else(|| self.odd())?;
        // A line that a person spoilt is no schedule; buttervolume skips it too.
        Ok(rows.iter().filter_map(schedule).collect())
    }

    fn odd(&self) -> VolumeError {
        odd(self.operation, &self.body.to_string())
    }
}

fn parse(reply: &Reply) -> Option<Value> {
    let body: Value = serde_json::from_slice(&reply.body).ok()?;
    (reply.status == 200 && body.is_object()).then_some(body)
}

fn odd(operation: &'static str, said: &str) -> VolumeError {
    let said = said.chars().take(MAX_SAID).collect();
    VolumeError::Answer { operation, said }
}

/// A text as it is, another value as JSON, null as nothing.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn schedule(row: &Value) -> Option<Schedule> {
    let field = |name: &str| row.get(name).map(text_of);
    Some(Schedule {
        volume: field("Name")?,
        action: Action::parse(&field("Action")?),
        minutes: field("Timer")?.trim().parse().ok()?,
        // Lines of older releases have no fourth column, and count.
        active: !field("Active").is_some_and(|text| text.eq_ignore_ascii_case("false")),
    })
}
