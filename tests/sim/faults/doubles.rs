//! A second agent under a node's name: it is kept out while the first one is there.

use std::sync::Arc;
use std::time::Duration;

use tandem::agent::AgentError;
use tandem::agent::alone;
use tandem::consul::kv::Kv;
use tandem::consul::memory::MemoryConsul;
use tandem::model::{NodeName, keys};
use tandem::records::{NodeInfo, readable};
use tokio::time::Instant;

use crate::director::{Action, Director};
use crate::kv;
use crate::rng::Rng;
use crate::world::World;

/// Where the second agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Double {
    /// Started once more on the same machine.
    Again,
    /// On another machine, whose settings give it the name.
    Elsewhere,
}

pub(super) fn draw(rng: &Rng) -> Double {
    *rng.pick(&[Double::Again, Double::Elsewhere])
}

/// How long a session may outlast its agent.
const TTL: Duration = Duration::from_secs(15);
/// An address that no machine has.
const ADDRESS: &str = "10.77.9.9";

/// A second agent starts, and again and again for a while, as by its supervisor.
pub(super) fn start(director: &mut Director, node: usize, double: Double, time: Duration) {
    let world = director.world.clone();
    let name = world.machines[node].name.as_str();
    world.trace.line(name, || format!("a second agent comes: {double:?}"));
    match double {
        Double::Again => again(director, node),
        Double::Elsewhere => {
            let other = NodeName::parse("elsewhere").expect("a name");
            let client = world.consul.client(&other);
            tokio::spawn(comes(world, node, client, time));
        }
    }
}

/// The lock of the data directory tells who is there; where nobody is, the second agent is the node's.
fn again(director: &mut Director, node: usize) {
    let world = director.world.clone();
    let machine = &world.machines[node];
    let (powered, runs) = {
        let state = machine.state();
        (state.powered, state.agent)
    };
    let data = machine.dir.join("data");
    if !powered || !data.is_dir() {
        return;
    }
    match alone::lock(&data) {
        Err(AgentError::Second { .. }) if runs => {}
        Ok(Some(_)) if !runs => director.after(Duration::ZERO, Action::Start(node)),
        other => world.broken(format!(
            "a second agent on {}, where one runs: {runs}, gets {:?}",
            machine.name,
            other.map(|lock| lock.is_some())
        )),
    }
}

/// Somebody asks for the name until it is told that it is taken, or it is free: then who had it is gone, and the second
/// one is stopped before it does anything.
async fn comes(world: Arc<World>, node: usize, client: MemoryConsul, time: Duration) {
    let me = &world.machines[node].name;
    let end = Instant::now() + time;
    while Instant::now() < end {
        match alone::await_name(&client, me, ADDRESS, TTL).await {
            Err(error) => world.trace.line(me.as_str(), || format!("the second agent: {error}")),
            // Whoever can't ask is let in: it does nothing for the node until Consul gives it the name.
            Ok(()) if client.get(&keys::node(me)).await.is_err() => return,
            Ok(()) => return let_in(&world, node),
        }
    }
}

/// That is right only where the node's agent does not hold the name.
fn let_in(world: &World, node: usize) {
    let machine = &world.machines[node];
    world.trace.line(machine.name.as_str(), || "the second agent would be let in".to_owned());
    let entry = kv::entry(&world.consul, &keys::node(&machine.name));
    let held = entry.filter(|entry| entry.session.is_some());
    let holder = held.as_ref().and_then(readable::<NodeInfo>);
    if holder.is_some_and(|holder| holder.value.address == machine.address) {
        world.broken(format!("a second agent is let in beside the one on {}", machine.name));
    }
}
