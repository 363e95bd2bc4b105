//! One deployment, from its request to its outcome.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;
use tandem::event::{Decoded, decode};
use tandem::model::deployment::{Deployment, Mark, Next, State, Status, Step};
use tandem::model::{DeployId, NodeName, Request};
use tandem::plan::{Plan, Refusal, plan};

use crate::meaning::Act;
use crate::world::{World, Wrong, name, need};

/// More looks at the record than any deployment needs.
const LOOKS: usize = 1000;
const AT: &str = "2025-01-01T00:00:00Z";

/// The pair that an event names, by number.
pub(crate) type Pair = (usize, Option<usize>);

/// What an event asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Deploy(Pair),
    Destroy,
    /// From an app whose master has this number.
    Migrate(usize),
}

/// What becomes of one of the steps, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: all goes well.
    No,
    /// It fails before it did anything.
    Before(usize),
    /// It fails when it had done everything.
    After(usize),
    /// It can't be done before the deployment's end.
    Late(usize),
}

/// A deployment that was accepted, with the cluster that it changes.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) world: World,
    pub(crate) deployment: Deployment,
    /// The cluster as it was found.
    pub(crate) before: World,
}

impl Wish {
    pub(crate) fn request(self, update: bool) -> Request {
        let app = json!({"repo": "git://h/app", "branch": "main", "update": update});
        let (verb, payload) = match self {
            Self::Deploy((master, slave)) => {
                let mut payload = app;
                payload["master"] = json!(name(master));
                payload["slave"] = json!(slave.map(name));
                ("deploy", payload)
            }
            Self::Destroy => ("destroy", app),
            Self::Migrate(_) => {
                let target = json!({"branch": "main"});
                let repo = "git://h/app";
                (
                    "migrate",
                    json!({"repo": repo, "branch": "other", "target": target, "update": update}),
                )
            }
        };
        match decode(verb, payload.to_string().as_bytes()) {
            Ok(Decoded::Request(request)) => request,
            other => panic!("{payload} is no request: {other:?}"),
        }
    }
}

impl Run {
    /// Plans what an event asks for.
    pub(crate) fn accept(
        mut world: World,
        number: usize,
        (wish, update): (Wish, bool),
        away: &BTreeSet<NodeName>,
    ) -> Result<Self, Refusal> {
        let id = DeployId::parse(&format!("d{number}")).unwrap();
        let request = wish.request(update);
        world.source = match wish {
            Wish::Migrate(master) => Some(name(master)),
            Wish::Deploy(_) | Wish::Destroy => None,
        };
        let Plan { placement, transitions, steps, .. } = plan(&id, &request, &world.facts(away))?;
        let deployment = serde_json::from_value(json!({
            "format": 1, "id": id, "request": request, "epoch": number, "state": "running",
            "accepted_at": AT, "accepted_by": name(1), "former": world.record(),
            "source": world.source_record(),
            "placement": placement, "transitions": transitions, "steps": steps,
        }));
        Ok(Self { before: world.clone(), world, deployment: deployment.unwrap() })
    }

    /// Lets each node do what is next for it, in this order, until there is an outcome. Nodes that are away do nothing:
    /// behind the commit they owe their steps, and before it they must have none.
    pub(crate) fn go(
        &mut self,
        order: &[NodeName],
        away: &BTreeSet<NodeName>,
        fault: Fault,
    ) -> Result<State, Wrong> {
        for _ in 0..LOOKS {
            for node in order {
                match self.deployment.next(node) {
                    Next::Run(index) if away.contains(node) => {
                        let away = || format!("step {index} is one of {node}, which is away");
                        need(self.deployment.committed, away)?;
                        self.mark(index, Mark::Owed("away".to_owned()));
                    }
                    Next::Run(index) => self.forward(index, fault)?,
                    Next::Undo(index) => self.backward(index)?,
                    Next::Finish(outcome) => return Ok(outcome),
                    Next::Wait | Next::Over => continue,
                }
                self.look()?;
            }
        }
        Err(format!("it has no end: {:#?}", self.deployment))
    }

    /// What was left for later, in the order of the steps.
    pub(crate) fn pay(&mut self) -> Result<(), Wrong> {
        for index in self.owed() {
            self.act(index).apply().map_err(|why| self.at(index, &why))?;
            self.mark(index, Mark::Done(BTreeMap::new()));
            self.look()?;
        }
        Ok(())
    }

    /// The steps that were left for later.
    pub(crate) fn owed(&self) -> Vec<usize> {
        let steps = self.deployment.steps.iter().enumerate();
        steps.filter(|(_, step)| step.status == Status::Owed).map(|(index, _)| index).collect()
    }

    fn forward(&mut self, index: usize, fault: Fault) -> Result<(), Wrong> {
        self.mark(index, Mark::Running);
        if fault == Fault::Before(index) {
            self.mark(index, Mark::Failed("before".to_owned()));
            return Ok(());
        }
        if fault == Fault::Late(index) {
            self.mark(index, Mark::Owed("later".to_owned()));
            return Ok(());
        }
        let notes = self.act(index).apply().map_err(|why| self.at(index, &why))?;
        if fault == Fault::After(index) {
            self.mark(index, Mark::Failed("after".to_owned()));
            return Ok(());
        }
        if is_commit(&self.deployment.steps[index].step) {
            need(!self.deployment.committed, || "it commits twice".to_owned())?;
            self.deployment.committed = true;
        }
        self.mark(index, Mark::Done(notes));
        Ok(())
    }

    fn backward(&mut self, index: usize) -> Result<(), Wrong> {
        self.mark(index, Mark::Undoing);
        self.act(index).undo().map_err(|why| self.at(index, &format!("undo: {why}")))?;
        self.mark(index, Mark::Undone);
        Ok(())
    }

    fn act(&mut self, index: usize) -> Act<'_> {
        Act { world: &mut self.world, deployment: &self.deployment, index }
    }

    fn mark(&mut self, index: usize, mark: Mark) {
        self.deployment.mark(index, mark, AT).unwrap();
    }

    /// What must hold after whatever happened.
    fn look(&mut self) -> Result<(), Wrong> {
        self.world.tick()?;
        if self.deployment.committed { Ok(()) } else { self.world.keeps(&self.before) }
    }

    fn at(&self, index: usize, why: &str) -> Wrong {
        let step = &self.deployment.steps[index];
        format!("{} on {}: {why}", step.step, step.node)
    }
}

/// Whether the step is a point of no return.
pub(crate) fn is_commit(step: &Step) -> bool {
    matches!(step, Step::Commit | Step::Forget)
}
