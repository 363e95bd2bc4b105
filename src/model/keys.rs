//! Where things stand in KV. `app/`, `maintenance/` and `swarm/` are compat; the rest is Tandem's own.

use super::{AppName, DeployId, NodeName, ProjectName};

/// The apps that serve.
pub const APPS: &str = "app/";
/// Present: the app is under maintenance.
pub const MAINTENANCE: &str = "maintenance/";
/// Forwards to Swarm services, written by admins.
pub const SWARM: &str = "swarm/";
/// What admins let the apps of a repository do, or keep them from.
pub const POLICIES: &str = "tandem/policy/";
/// Per app: its epoch, the deployment that runs and the one that waits.
pub const QUEUES: &str = "tandem/apps/";
/// Deployment records.
pub const DEPLOYMENTS: &str = "tandem/deployments/";
/// Leases of running deployments.
pub const LEASES: &str = "tandem/leases/";
/// Whose each compose project is.
pub const PROJECTS: &str = "tandem/projects/";
/// What the running deployments' new versions ask for.
pub const CLAIMS: &str = "tandem/claims/";
/// What a node still has to do for deployments that went on without it.
pub const OWED: &str = "tandem/owed/";
/// Present: nothing is picked to go to the node. Set and deleted by operators.
pub const DRAINING: &str = "tandem/draining/";
/// What each agent says of its node; gone with the agent's session.
pub const NODES: &str = "tandem/nodes/";
/// Apps that an operator has given up, whose entries are missing.
pub const GONE: &str = "tandem/gone/";
/// Apps whose deployment waits for the proxies of all nodes.
pub const ROUTING: &str = "tandem/routing/";
/// What each node's proxies have taken up of maintenance, and of outcomes.
pub const HEARD: &str = "tandem/heard/";
/// See [`HEARD`].
pub const ROUTED: &str = "tandem/routed/";
/// What each slave's agent has verified of its copies.
pub const REPLICAS: &str = "tandem/replicas/";
/// What each master's agent could not replicate.
pub const STALLED: &str = "tandem/stalled/";
/// Which volumes, and which snapshots of them, are an app's own.
pub const LINES: &str = "tandem/lines/";
/// Certificates that apps take along when they move, sealed.
pub const CERTIFICATES: &str = "tandem/certificates/";
/// Events that could not be decoded.
pub const REJECTED: &str = "tandem/rejected/";
/// Full texts of events fired in the short form.
pub const REQUESTS: &str = "tandem/requests/";

/// `app/{app}`.
pub fn app(app: &AppName) -> String {
    format!("{APPS}{app}")
}

/// `maintenance/{app}`.
pub fn maintenance(app: &AppName) -> String {
    format!("{MAINTENANCE}{app}")
}

/// `tandem/heard/{app}/{node}`: the index of the maintenance key that the node's proxies have taken up.
pub fn heard(app: &AppName, node: &NodeName) -> String {
    format!("{}{node}", heard_prefix(app))
}

/// `tandem/heard/{app}/`.
pub fn heard_prefix(app: &AppName) -> String {
    format!("{HEARD}{app}/")
}

/// `tandem/gone/{app}`.
pub fn gone(app: &AppName) -> String {
    format!("{GONE}{app}")
}

/// `tandem/routing/{app}`: a [`Routing`](super::Routing).
pub fn routing(app: &AppName) -> String {
    format!("{ROUTING}{app}")
}

/// `tandem/routed/{app}/{node}`: the deployment whose outcome the node's proxies serve.
pub fn routed(app: &AppName, node: &NodeName) -> String {
    format!("{}{node}", routed_prefix(app))
}

/// `tandem/routed/{app}/`.
pub fn routed_prefix(app: &AppName) -> String {
    format!("{ROUTED}{app}/")
}

/// `tandem/apps/{app}`.
pub fn queue(app: &AppName) -> String {
    format!("{QUEUES}{app}")
}

/// `tandem/deployments/{app}/`: the prefix of an app's records.
pub fn deployments(app: &AppName) -> String {
    format!("{DEPLOYMENTS}{app}/")
}

/// `tandem/deployments/{app}/{id}`.
pub fn deployment(app: &AppName, id: &DeployId) -> String {
    format!("{DEPLOYMENTS}{app}/{id}")
}

/// `tandem/leases/{app}`.
pub fn lease(app: &AppName) -> String {
    format!("{LEASES}{app}")
}

/// `tandem/projects/{project}`.
pub fn project(project: &ProjectName) -> String {
    format!("{PROJECTS}{project}")
}

/// `tandem/claims/{app}`.
pub fn claims(app: &AppName) -> String {
    format!("{CLAIMS}{app}")
}

/// `tandem/owed/{node}/`: the prefix of what a node owes.
pub fn owed_by(node: &NodeName) -> String {
    format!("{OWED}{node}/")
}

/// `tandem/owed/{node}/{app}/`: the prefix of what a node owes an app.
pub fn owed_to(node: &NodeName, app: &AppName) -> String {
    format!("{OWED}{node}/{app}/")
}

/// `tandem/owed/{node}/{app}/{id}`.
pub fn owed(node: &NodeName, app: &AppName, id: &DeployId) -> String {
    format!("{OWED}{node}/{app}/{id}")
}

/// `tandem/nodes/{node}`.
pub fn node(node: &NodeName) -> String {
    format!("{NODES}{node}")
}

/// `tandem/draining/{node}`.
pub fn draining(node: &NodeName) -> String {
    format!("{DRAINING}{node}")
}

/// `tandem/replicas/{app}/{node}`.
pub fn replica(app: &AppName, node: &NodeName) -> String {
    format!("{REPLICAS}{app}/{node}")
}

/// `tandem/lines/{app}`.
pub fn lines(app: &AppName) -> String {
    format!("{LINES}{app}")
}

/// `tandem/stalled/{app}/{node}`.
pub fn stalled(app: &AppName, node: &NodeName) -> String {
    format!("{STALLED}{app}/{node}")
}

/// `tandem/rejected/{event id}`.
pub fn rejected(id: &DeployId) -> String {
    format!("{REJECTED}{id}")
}

/// `tandem/requests/{id}`.
pub fn request(id: &DeployId) -> String {
    format!("{REQUESTS}{id}")
}
