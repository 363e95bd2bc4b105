//! `tandem drain` and `tandem undrain`

use clap::Args;

use super::consul_failure;
use super::printer::Printer;
use crate::consul::ConsulError;
use crate::consul::catalog::Catalog;
use crate::consul::kv::Kv;
use crate::consul::txn::TxnOp;
use crate::error::{CommandFailure, ErrorKind};
use crate::model::{AppRecord, NodeName, keys};
use crate::records::list;

/// Mark a node as draining: nothing is picked to go there
///
/// The apps that it has stay where they are. A `deploy` event that leaves master and slave out moves one away; one that
/// names the node is obeyed. `tandem undrain NODE` ends it.
#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    /// The node's name in Consul
    #[arg(value_parser = NodeName::parse)]
    node: NodeName,
    /// Why, for `tandem status` and the records
    #[arg(default_value = "", hide_default_value = true)]
    reason: String,
}

/// End a node's draining
#[derive(Debug, Args)]
pub(super) struct UndrainArgs {
    /// The node's name in Consul
    #[arg(value_parser = NodeName::parse)]
    node: NodeName,
}

pub(super) async fn drain(
    args: &DrainArgs,
    kv: &dyn Kv,
    catalog: &dyn Catalog,
    out: &mut Printer<'_>,
) -> Result<(), CommandFailure> {
    let node = &args.node;
    let members = catalog.members().await.map_err(|error| consul_failure(&error))?;
    if !members.iter().any(|member| member.name == *node) {
        let text = format!("there is no node named {node}");
        return Err(
            CommandFailure::new(ErrorKind::NotFound, text).hint("`tandem status` lists the nodes")
        );
    }
    let value = args.reason.clone().into_bytes();
    let (masters, slaves) = async {
        kv.transact(vec![TxnOp::Set { key: keys::draining(node), value }]).await?;
        roles(kv, node).await
    }
    .await
    .map_err(|error| consul_failure(&error))?;
    out.line(&format!(
        "{node} is draining. Its apps stay until they are deployed elsewhere: it is the master of {masters} and the \
         slave of {slaves}"
    ))
}

pub(super) async fn undrain(
    args: &UndrainArgs,
    kv: &dyn Kv,
    out: &mut Printer<'_>,
) -> Result<(), CommandFailure> {
    let (node, key) = (&args.node, keys::draining(&args.node));
    let was = async {
        let was = kv.get(&key).await?.is_some();
        kv.transact(vec![TxnOp::Delete { key }]).await?;
        Ok(was)
    }
    .await
    .map_err(|error| consul_failure(&error))?;
    let not = if was { "no longer" } else { "not" };
    out.line(&format!("{node} is {not} draining"))
}

/// Of how many apps a node is the master, and of how many the slave.
async fn roles(kv: &dyn Kv, node: &NodeName) -> Result<(usize, usize), ConsulError> {
    let apps = list::<AppRecord>(kv).await?.found;
    let masters = apps.iter().filter(|app| app.value.master == *node).count();
    Ok((masters, apps.iter().filter(|app| app.value.slave.as_ref() == Some(node)).count()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consul::memory::MemoryConsul;

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    async fn drained(
        consul: &MemoryConsul,
        name: &str,
        reason: &str,
    ) -> Result<String, CommandFailure> {
        let args = DrainArgs { node: node(name), reason: reason.to_owned() };
        let mut text = Vec::new();
        drain(&args, consul, consul, &mut Printer::to(&mut text)).await?;
        Ok(String::from_utf8(text).unwrap())
    }

    async fn undrained(consul: &MemoryConsul, name: &str) -> String {
        let mut text = Vec::new();
        let args = UndrainArgs { node: node(name) };
        undrain(&args, consul, &mut Printer::to(&mut text)).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_node_drains_until_it_is_undrained() {
        let consul = MemoryConsul::new();
        consul.client(&node("node1"));
        for (app, entry) in [
            ("a_b.12345", r#""master":"node1","slave":"node2""#),
            ("b_b.12345", r#""master":"node2","slave":"node1""#),
            ("c_b.12345", r#""master":"node1","slave":null"#),
        ] {
            let entry =
                format!(r#"{{"repo_url":"https://h/a","branch":"b","deploy_id":"1",{entry}}}"#);
            let op = TxnOp::Set { key: format!("app/{app}"), value: entry.into_bytes() };
            consul.transact(vec![op]).await.unwrap();
        }
        let told = drained(&consul, "node1", "new disk").await.unwrap();
        assert!(told.contains("master of 2 and the slave of 1"), "{told}");
        let marked = consul.get("tandem/draining/node1").await.unwrap().unwrap();
        assert_eq!(marked.value, b"new disk");
        assert_eq!(undrained(&consul, "node1").await, "node1 is no longer draining\n");
        assert_eq!(consul.get("tandem/draining/node1").await.unwrap(), None);
        assert_eq!(undrained(&consul, "node1").await, "node1 is not draining\n");
    }

    #[tokio::test]
    async fn a_node_that_is_not_there_is_not_found() {
        let consul = MemoryConsul::new();
        let failure = drained(&consul, "node1", "").await.unwrap_err();
        assert_eq!(failure.kind, ErrorKind::NotFound);
        assert_eq!(consul.list("tandem/").await.unwrap().entries, []);
    }
}
