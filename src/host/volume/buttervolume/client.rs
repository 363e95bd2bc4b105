//! Calls of buttervolume's API.

use std::time::Duration;

use hyper::Method;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Buttervolume;
use super::answer::Answer;
use crate::host::unix_http::{Reply, UnixHttpError, request};
use crate::host::volume::VolumeError;

/// Between two tries while the socket is away.
const RETRY: Duration = Duration::from_millis(250);

/// One request, and how to speak about it.
pub(super) struct Call<'a> {
    operation: &'static str,
    subject: &'a str,
    method: Method,
    path: String,
    body: Option<Value>,
    pub(super) deadline: Duration,
}

impl Buttervolume {
    pub(super) fn post<'a>(
        &self,
        operation: &'static str,
        subject: &'a str,
        path: &str,
        body: Value,
    ) -> Call<'a> {
        Call {
            operation,
            subject,
            method: Method::POST,
            path: path.to_owned(),
            body: Some(body),
            deadline: self.settings.deadline,
        }
    }

    pub(super) fn get<'a>(
        &self,
        operation: &'static str,
        subject: &'a str,
        path: String,
    ) -> Call<'a> {
        Call {
            operation,
            subject,
            method: Method::GET,
            path,
            body: None,
            deadline: self.settings.deadline,
        }
    }

    /// Makes a call; whatever buttervolume says in `Err` is an error.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answer, VolumeError> {
        let operation = call.operation;
        let reply = match self.exchange(&call).await {
            Ok(reply) => reply,
            Err(UnixHttpError::TimedOut { after, .. }) => {
                return Err(VolumeError::TimedOut {
                    operation,
                    subject: call.subject.to_owned(),
                    after,
                });
            }
            Err(source) => return Err(VolumeError::Unreachable { operation, source }),
        };
        Answer::read(operation, call.subject, &reply)
    }

    async fn exchange(&self, call: &Call<'_>) -> Result<Reply, UnixHttpError> {
        let body = call.body.as_ref().map(Value::to_string).unwrap_or_default();
        let headers = [("content-type", "application/json")];
        let end = Instant::now() + self.settings.absence;
        loop {
            let body = body.clone().into_bytes();
            let reply = request(
                &self.settings.socket,
                call.method.clone(),
                &call.path,
                &headers,
                body,
                call.deadline,
            );
            match reply.await {
                Err(error) if error.is_absent() && Instant::now() < end => sleep(RETRY).await,
                reply => return reply,
            }
        }
    }
}
