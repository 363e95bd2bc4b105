//! Many events in a row on clusters of any size, with nodes that are away and deployments that fail.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use tandem::model::NodeName;
use tandem::model::deployment::State;

use crate::run::{Fault, Run, Wish};
use crate::table;
use crate::world::{Node, World, Wrong, name, need};

/// What happens next.
#[derive(Debug, Clone)]
struct Event {
    /// Whether the repository has a new version.
    pushed: bool,
    wish: Wish,
    update: bool,
    away: BTreeSet<NodeName>,
    /// The nodes in the order in which they look at the record.
    order: Vec<NodeName>,
    /// The step that fails, if one does, and whether that is before it does anything.
    fault: Option<(Index, bool)>,
}

fn events() -> impl Strategy<Value = (usize, Vec<Event>)> {
    (2..=5_usize).prop_flat_map(|nodes| (Just(nodes), prop::collection::vec(event(nodes), 1..8)))
}

fn event(nodes: usize) -> impl Strategy<Value = Event> {
    let names: Vec<NodeName> = (1..=nodes).map(name).collect();
    let pair = subsequence((1..=nodes).collect::<Vec<_>>(), 1..=2).prop_shuffle();
    let pair = pair.prop_map(|pair| Wish::Deploy((pair[0], pair.get(1).copied())));
    let wish =
        prop_oneof![8 => pair, 1 => Just(Wish::Destroy), 2 => (1..=nodes).prop_map(Wish::Migrate)];
    let away = subsequence(names.clone(), 0..=1).prop_map(BTreeSet::from_iter);
    let fault = prop::option::weighted(0.3, any::<(Index, bool)>());
    let order = Just(names).prop_shuffle();
    (any::<bool>(), wish, any::<bool>(), away, order, fault).prop_map(
        |(pushed, wish, update, away, order, fault)| Event {
            pushed,
            wish,
            update,
            away,
            order,
            fault,
        },
    )
}

/// A cluster, and what nodes that were away have yet to do.
struct History {
    world: World,
    debts: Vec<Run>,
    number: usize,
}

impl History {
    fn next(&mut self, event: &Event) -> Result<(), Wrong> {
        self.number += 1;
        self.world.head += u32::from(event.pushed);
        self.settle(event)?;
        let wish = (event.wish, event.update);
        let accepted = Run::accept(self.world.clone(), self.number, wish, &event.away);
        need(accepted.as_ref().err().is_some() == self.is_refused(event), || {
            format!("the planner said {:?}", accepted.as_ref().err())
        })?;
        let Ok(mut run) = accepted else { return Ok(()) };
        let outcome = run.go(&event.order, &event.away, fault(event, &run))?;
        if run.deployment.committed {
            need(outcome == State::Completed, || format!("committed, but {outcome}"))?;
            table::check(&run)?;
        } else {
            need(matches!(outcome, State::Undone | State::Refused), || outcome.to_string())?;
            need(run.world.essence() == run.before.essence(), || "not undone".to_owned())?;
        }
        self.world = run.world.clone();
        self.debts.extend(Some(run).filter(|run| !run.owed().is_empty()));
        Ok(())
    }

    /// A node that is back does what it owes before it takes part in anything newer.
    fn settle(&mut self, event: &Event) -> Result<(), Wrong> {
        for mut run in std::mem::take(&mut self.debts) {
            let debtors = run.owed().into_iter().map(|index| &run.deployment.steps[index].node);
            if debtors.into_iter().any(|node| event.away.contains(node)) {
                self.debts.push(run);
                continue;
            }
            std::mem::swap(&mut run.world, &mut self.world);
            run.pay()?;
            std::mem::swap(&mut run.world, &mut self.world);
        }
        Ok(())
    }

    /// Whoever is to do something before the commit has to be there.
    fn is_refused(&self, event: &Event) -> bool {
        let former = self.world.entry.as_ref().map(|entry| &entry.pair.master);
        let is_away = |node: &NodeName| event.away.contains(node);
        match event.wish {
            Wish::Destroy => former.is_none_or(is_away),
            Wish::Migrate(master) => former.is_none_or(is_away) || is_away(&name(master)),
            Wish::Deploy((master, slave)) => {
                let mut pair = std::iter::once(master).chain(slave).map(name);
                pair.any(|node| is_away(&node)) || former.is_some_and(is_away)
            }
        }
    }
}

fn fault(event: &Event, run: &Run) -> Fault {
    let steps = &run.deployment.steps;
    match event.fault {
        None => Fault::No,
        Some((index, before)) => {
            let commit = steps.iter().position(|step| crate::run::is_commit(&step.step)).unwrap();
            let index = index.index(commit);
            if before { Fault::Before(index) } else { Fault::After(index) }
        }
    }
}

proptest! {
    /// No history leads to two masters, to data that nobody has, or to anything left behind.
    #[test]
    fn no_history_harms_the_app((nodes, events) in events()) {
        let mut history = History { world: World::new(nodes), debts: Vec::new(), number: 0 };
        for event in &events {
            prop_assert_eq!(history.next(event), Ok(()), "{:?}", event);
        }
    }

    /// Every node that plans a request plans the same, and who has no part in it changes nothing.
    #[test]
    fn all_nodes_plan_the_same((nodes, events) in events()) {
        let mut world = World::new(nodes);
        for (number, event) in events.iter().enumerate() {
            let wish = (event.wish, event.update);
            let planned = |world: &World| Run::accept(world.clone(), number, wish, &event.away);
            let steps = |world: &World| planned(world).map(|run| run.deployment.steps);
            let first = steps(&world);
            prop_assert_eq!(&steps(&world), &first);
            let mut larger = world.clone();
            larger.nodes.insert(name(nodes + 1), Node::default());
            prop_assert_eq!(&steps(&larger), &first);
            if let Ok(mut run) = planned(&world) {
                prop_assert_eq!(run.go(&event.order, &event.away, Fault::No), Ok(State::Completed));
                world = run.world;
            }
        }
    }
}
