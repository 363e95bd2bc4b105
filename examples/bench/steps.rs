//! Where a deployment's time goes, by the times in its record.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use tandem::model::deployment::Deployment;

use crate::probe::seconds;
use crate::stats::Summary;

/// One part of the time, over all runs.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) what: String,
    /// Seconds.
    pub(crate) time: Summary,
}

/// The stages of a record: what each does, when it began and ended.
pub(crate) struct Stages(Vec<(String, SystemTime, SystemTime)>);

/// The times of one run, by part.
pub(crate) type Times = Vec<(String, f64)>;

impl Stages {
    pub(crate) fn of(record: &Value) -> Self {
        let deployment: Deployment = serde_json::from_value(record.clone()).unwrap();
        let mut stages: Vec<(u16, String, SystemTime, SystemTime)> = Vec::new();
        for step in &deployment.steps {
            let (began, ended) = (parse(step.started_at.as_ref()), parse(step.ended_at.as_ref()));
            match stages.iter_mut().find(|stage| stage.0 == step.stage) {
                Some(stage) => (stage.2, stage.3) = (stage.2.min(began), stage.3.max(ended)),
                None => stages.push((step.stage, step.step.to_string(), began, ended)),
            }
        }
        Self(stages.into_iter().map(|(_, what, began, ended)| (what, began, ended)).collect())
    }

    /// When a step began.
    pub(crate) fn began(&self, what: &str) -> SystemTime {
        self.0.iter().find(|stage| stage.0 == what).unwrap().1
    }

    /// The stages from one to another (without that) with their times, and the rest between them.
    pub(crate) fn between(&self, first: usize, until: &str) -> Times {
        let end = self.0.iter().position(|stage| stage.0 == until).unwrap();
        let stages = &self.0[first..end];
        let mut times: Times =
            stages.iter().map(|(what, from, to)| (what.clone(), seconds(*from, *to))).collect();
        let whole = seconds(stages[0].1, self.0[end].1);
        let rest = whole - times.iter().map(|part| part.1).sum::<f64>();
        times.push(("between these steps".to_owned(), rest));
        times
    }

    /// The place of a step in the order.
    pub(crate) fn position(&self, what: &str) -> usize {
        self.0.iter().position(|stage| stage.0 == what).unwrap()
    }
}

/// The parts over all runs; each run has the same.
pub(crate) fn summarize(runs: &[Times]) -> Vec<Part> {
    let part = |(index, (what, _)): (usize, &(String, f64))| Part {
        what: what.clone(),
        time: Summary::of(runs.iter().map(|run| run[index].1)),
    };
    runs[0].iter().enumerate().map(part).collect()
}

/// When the outcome was written.
pub(crate) fn finished(record: &Value) -> SystemTime {
    parse(record["finished_at"].as_str().map(str::to_owned).as_ref())
}

/// When the event was accepted.
pub(crate) fn accepted(record: &Value) -> SystemTime {
    parse(record["accepted_at"].as_str().map(str::to_owned).as_ref())
}

fn parse(time: Option<&String>) -> SystemTime {
    chrono::DateTime::parse_from_rfc3339(time.expect("every step has its times")).unwrap().into()
}
