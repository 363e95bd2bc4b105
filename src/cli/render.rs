//! `tandem render`

mod diff;

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::printer::Printer;
use super::{agent, consul_failure};
use crate::agent::{PREFIXES, proxy_settings};
use crate::config::{Config, RawSettings};
use crate::consul::ConsulError;
use crate::consul::catalog::Catalog;
use crate::consul::kv::Kv;
use crate::error::{CommandFailure, ErrorKind};
use crate::model::AppName;
use crate::proxy::render::{AppSites, Rendered, Route, Templates, render};
use crate::proxy::{ClusterView, Problem};

/// Print what a node's proxies would run, and where each part comes from
///
/// Made from KV and the members as the agents make it: haproxy.cfg with a comment for each part that an app or a swarm key
/// asks for, the hosts with where they lead and whose wish that is, a Caddyfile for each app in whose pair the node is
/// (its slave's Caddy stands by), and what is left out. HAProxy and Caddy are not asked: what only they refuse is shown, where an agent leaves it out.
///
/// With --diff the files in place on this node are compared with it: HAProxy's line by line, and Caddy's by the hosts that
/// it has to answer for. Nothing is printed if they are the same, and the exit code is 1 if they are not. The settings are those of the agent; --node NAME makes it another node's configuration.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct RenderArgs {
    /// Compare with what is in place on this node
    #[arg(long)]
    diff: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "diff")]
    json: bool,
    #[command(flatten)]
    settings: RawSettings,
}

#[derive(Serialize)]
struct Shown<'a> {
    node: &'a str,
    haproxy_cfg: &'a str,
    routes: Vec<Route>,
    /// By TLS: what policies give, by name. Keys are in no output.
    certificates: Vec<Shelved<'a>>,
    /// By app.
    caddyfiles: BTreeMap<&'a str, &'a str>,
    /// Of the apps whose slave the node is.
    standby_caddyfiles: BTreeMap<&'a str, &'a str>,
    left_out: BTreeMap<&'a str, &'a str>,
}

/// A host whose certificate an admin has put on the node.
#[derive(Serialize)]
struct Shelved<'a> {
    host: &'a str,
    name: &'a str,
    source: String,
}

pub(super) async fn run(
    args: &RenderArgs,
    kv: &dyn Kv,
    catalog: &dyn Catalog,
    out: &mut Printer<'_>,
) -> Result<(), CommandFailure> {
    let config = agent::load(&args.settings)?;
    let found = look(&config, kv, catalog).await;
    let (view, unreadable) = found.map_err(|error| consul_failure(&error))?;
    let settings = proxy_settings(&config);
    let rendered = Templates::built_in()
        .and_then(|templates| render(&view, &settings, &templates, &BTreeMap::new()))
        .map_err(|error| CommandFailure::from_error(ErrorKind::Failed, &error))?;
    if args.diff {
        return diff::print(&settings, &rendered, out);
    }
    let left_out: Vec<&Problem> = unreadable.iter().chain(&rendered.problems).collect();
    match args.json {
        true => out.json(&shown(&view, &rendered, &left_out)),
        false => print(&rendered, &left_out, out),
    }
}

/// The cluster, as one node sees it.
async fn look(
    config: &Config,
    kv: &dyn Kv,
    catalog: &dyn Catalog,
) -> Result<(ClusterView, Vec<Problem>), ConsulError> {
    let me = match &config.node {
        Some(node) => node.clone(),
        None => catalog.own_name().await?.0,
    };
    let members = catalog.members().await?.into_iter();
    let nodes = members.map(|member| (member.name, member.address)).collect();
    let mut entries = Vec::new();
    for prefix in PREFIXES {
        entries.extend(kv.list(prefix).await?.entries);
    }
    let entries = entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_slice()));
    Ok(ClusterView::from_entries(me, nodes, entries))
}

fn shown<'a>(view: &'a ClusterView, rendered: &'a Rendered, left_out: &[&'a Problem]) -> Shown<'a> {
    let texts = |sites: &'a BTreeMap<AppName, Arc<AppSites>>| {
        sites.iter().map(|(app, sites)| (app.as_str(), sites.text.as_str())).collect()
    };
    Shown {
        node: view.me.as_str(),
        haproxy_cfg: &rendered.haproxy_cfg,
        routes: rendered.routes(),
        certificates: certificates(rendered),
        caddyfiles: texts(&rendered.caddy_sites),
        standby_caddyfiles: texts(&rendered.caddy_standby),
        left_out: left_out.iter().map(|p| (p.source.as_str(), p.what.as_str())).collect(),
    }
}

fn certificates(rendered: &Rendered) -> Vec<Shelved<'_>> {
    let mut all = Vec::new();
    for (app, sites) in &rendered.caddy_sites {
        all.extend(sites.given.iter().map(|(host, name)| Shelved {
            host,
            name: name.as_str(),
            source: format!("app/{app}"),
        }));
    }
    all
}

fn print(
    rendered: &Rendered,
    left_out: &[&Problem],
    out: &mut Printer<'_>,
) -> Result<(), CommandFailure> {
    out.line("==> haproxy.cfg")?;
    out.line(rendered.haproxy_cfg.trim_end())?;
    out.line("\n==> hosts")?;
    let heading = ["SCHEME", "HOST", "TO", "FROM"].map(str::to_owned).to_vec();
    let routes = rendered
        .routes()
        .into_iter()
        .map(|route| vec![route.scheme.to_owned(), route.host, route.to, route.source]);
    out.table(&std::iter::once(heading).chain(routes).collect::<Vec<_>>())?;
    let shelved = certificates(rendered);
    if !shelved.is_empty() {
        out.line("\n==> certificates that policies give")?;
        let heading = ["HOST", "NAME", "FROM"].map(str::to_owned).to_vec();
        let rows = shelved.into_iter();
        let rows = rows.map(|one| vec![one.host.to_owned(), one.name.to_owned(), one.source]);
        out.table(&std::iter::once(heading).chain(rows).collect::<Vec<_>>())?;
    }
    let own = rendered.caddy_sites.iter().map(|(app, sites)| (app, "", sites));
    let standby =
        rendered.caddy_standby.iter().map(|(app, sites)| (app, ", which stands by", sites));
    for (app, what, sites) in own.chain(standby) {
        out.line(&format!("\n==> Caddyfile of app/{app}{what}"))?;
        out.line(sites.text.trim_end())?;
    }
    if !left_out.is_empty() {
        out.line("\n==> left out")?;
    }
    left_out
        .iter()
        .try_for_each(|problem| out.line(&format!("{}: {}", problem.source, problem.what)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::consul::memory::MemoryConsul;
    use crate::model::NodeName;

    async fn consul() -> MemoryConsul {
        let consul = MemoryConsul::new();
        let [one, two] = ["node1", "node2"].map(|name| NodeName::parse(name).unwrap());
        consul.client(&two);
        let client = consul.client(&one);
        let app = serde_json::json!({"repo_url": "file:///lab/git/app", "branch": "main",
            "deploy_id": "1", "master": "node1", "slave": "node2", "ip": "10.77.0.1", "ct": {"web": "appmain44dd7_web_1"},
            "caddyfile": "http://app.test, https://app.test {\n reverse_proxy appmain44dd7_web_1:80\n}"});
        let policy = serde_json::json!({"repo": "file:///lab/git/app", "certificates": {"shop": ["app.test"]}});
        let swarm = serde_json::json!({"domains": ["*.swarm.test"]});
        for (key, value) in [
            ("app/app_main.44dd7", &app),
            ("swarm/x", &swarm),
            ("tandem/policy/app", &policy),
            ("swarm/wrong", &serde_json::json!(1)),
        ] {
            let kv: &dyn Kv = &client;
            kv.put_cas(key, value.to_string().into_bytes(), 0).await.unwrap().unwrap();
        }
        client
    }

    async fn told(
        consul: &MemoryConsul,
        data: &Path,
        change: impl FnOnce(&mut RenderArgs),
    ) -> (String, Result<(), CommandFailure>) {
        let settings = RawSettings::default();
        let mut args = RenderArgs { diff: false, json: false, settings };
        args.settings.values.insert("data-dir", data.display().to_string());
        change(&mut args);
        let mut text = Vec::new();
        let ended = run(&args, consul, consul, &mut Printer::to(&mut text)).await;
        (String::from_utf8(text).unwrap(), ended)
    }

    #[tokio::test]
    async fn each_part_is_told_with_its_source() {
        let (consul, dir) = (consul().await, tempfile::tempdir().unwrap());
        let (text, ended) = told(&consul, dir.path(), |_| {}).await;
        ended.unwrap();
        for line in [
            "backend http-node2",
            "http    app.test      node1  app/app_main.44dd7",
            "https   *.swarm.test  swarm  swarm/x",
            "app.test  shop  app/app_main.44dd7",
            "==> Caddyfile of app/app_main.44dd7",
            "swarm/wrong: is not an object",
        ] {
            assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        }
        let of_node2 = |args: &mut RenderArgs| {
            args.settings.values.insert("node", "node2".to_owned());
        };
        let (other, _) = told(&consul, dir.path(), of_node2).await;
        assert!(
            other.contains("==> Caddyfile of app/app_main.44dd7, which stands by\n"),
            "{other}"
        );
        let of_node3 = |args: &mut RenderArgs| {
            args.settings.values.insert("node", "node3".to_owned());
        };
        let (other, _) = told(&consul, dir.path(), of_node3).await;
        assert!(!other.contains("Caddyfile of") && other.contains("app.test"), "{other}");
        let (json, _) = told(&consul, dir.path(), |args| args.json = true).await;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["routes"][0]["source"], "app/app_main.44dd7");
        assert_eq!(json["certificates"][0]["name"], "shop");
        assert_eq!(json["left_out"]["swarm/wrong"], "is not an object");
    }

    /// What Caddy would have for a host by HTTP, and for the app's by TLS.
    fn routes(http: &str) -> String {
        let server = |host: &str| serde_json::json!({"routes": [{"match": [{"host": [host]}]}, {"handle": []}]});
        let servers = serde_json::json!({"http": server(http), "https": server("app.test")});
        serde_json::json!({"apps": {"http": {"servers": servers}}}).to_string()
    }

    #[tokio::test]
    async fn what_is_in_place_is_compared() {
        let (consul, dir) = (consul().await, tempfile::tempdir().unwrap());
        let (_, ended) = told(&consul, dir.path(), |args| args.diff = true).await;
        assert_eq!(ended.unwrap_err().kind, ErrorKind::NotFound);
        let (json, _) = told(&consul, dir.path(), |args| args.json = true).await;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let files = dir.path().join("haproxy");
        std::fs::create_dir(&files).unwrap();
        std::fs::write(files.join("haproxy.cfg"), json["haproxy_cfg"].as_str().unwrap()).unwrap();
        std::fs::write(files.join("http.map"), "app.test node1\n").unwrap();
        std::fs::write(files.join("https.map"), "app.test node1\n").unwrap();
        std::fs::write(files.join("http-wild.map"), ".swarm.test swarm\n").unwrap();
        std::fs::write(files.join("https-wild.map"), ".swarm.test swarm\n").unwrap();
        std::fs::write(files.join("held.map"), "").unwrap();
        let files = dir.path().join("caddy");
        std::fs::create_dir(&files).unwrap();
        let caddy = files.join("caddy.json");
        std::fs::write(&caddy, routes("app.test")).unwrap();
        let (text, ended) = told(&consul, dir.path(), |args| args.diff = true).await;
        assert!(ended.is_ok() && text.is_empty(), "{text}");
        let map = dir.path().join("haproxy/http.map");
        std::fs::write(&map, "app.test node2\n").unwrap();
        let (text, ended) = told(&consul, dir.path(), |args| args.diff = true).await;
        assert!(text.contains("-app.test node2\n+app.test node1"), "{text}");
        assert_eq!(ended.unwrap_err().kind, ErrorKind::Failed);
        std::fs::write(&map, "app.test node1\n").unwrap();
        std::fs::write(&caddy, routes("other.test")).unwrap();
        let (text, ended) = told(&consul, dir.path(), |args| args.diff = true).await;
        assert_eq!(
            text.trim_end(),
            format!("{}: no route for http://app.test, of app/app_main.44dd7", caddy.display())
        );
        assert!(ended.unwrap_err().text.contains("caddy.json"));
        std::fs::write(&caddy, &routes("app.test")[..20]).unwrap();
        let (text, ended) = told(&consul, dir.path(), |args| args.diff = true).await;
        assert!(text.contains("caddy.json: is no JSON: EOF") && !text.contains("no route"));
        assert!(ended.unwrap_err().text.contains("caddy.json"));
    }
}
