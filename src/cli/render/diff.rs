//! `tandem render --diff`: what is rendered beside what is in place.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::Printer;
use crate::error::{CommandFailure, ErrorKind};
use crate::proxy::ProxySettings;
use crate::proxy::render::Rendered;

/// Prints how the files in place differ; fails if they do.
pub(super) fn print(
    settings: &ProxySettings,
    rendered: &Rendered,
    out: &mut Printer<'_>,
) -> Result<(), CommandFailure> {
    let mut differ = haproxy(&settings.haproxy_dir(), rendered, out)?;
    let caddy = settings.caddy_file();
    let lines = match serde_json::from_str(&read(&caddy)?) {
        Ok(config) => missing_hosts(&config, rendered)
            .into_iter()
            .map(|(host, app)| format!("no route for {host}, of app/{app}"))
            .collect(),
        Err(error) => vec![format!("is no JSON: {error}")],
    };
    if !lines.is_empty() {
        differ.push("caddy.json");
    }
    lines.iter().try_for_each(|line| out.line(&format!("{}: {line}", caddy.display())))?;
    match differ.is_empty() {
        true => Ok(()),
        false => {
            let text = format!("in place is something else: {}", differ.join(", "));
            Err(CommandFailure::new(ErrorKind::Failed, text)
                .hint("the agent's log and `tandem status` say what it could not put in place"))
        }
    }
}

/// HAProxy's files, by their lines: the names of those that differ.
fn haproxy(
    dir: &Path,
    rendered: &Rendered,
    out: &mut Printer<'_>,
) -> Result<Vec<&'static str>, CommandFailure> {
    let files = std::iter::once(("haproxy.cfg", &rendered.haproxy_cfg))
        .chain(rendered.maps.iter().map(|(name, text)| (*name, text)));
    let mut differ = Vec::new();
    for (name, text) in files {
        let path = dir.join(name);
        let there = read(&path)?;
        if there != *text {
            let diff = similar::TextDiff::from_lines(there.as_str(), text.as_str());
            let shown = path.display().to_string();
            let unified =
                diff.unified_diff().header(&shown, &format!("{name} rendered")).to_string();
            out.line(unified.trim_end())?;
            differ.push(name);
        }
    }
    Ok(differ)
}

/// The hosts that the node's apps have, and Caddy's configuration has no route for, with the app. What is there besides
/// stands by, or is on its way out.
fn missing_hosts(caddy: &Value, rendered: &Rendered) -> Vec<(String, String)> {
    let there: BTreeSet<_> = ["http", "https"].into_iter().flat_map(|s| routed(caddy, s)).collect();
    let apps = rendered.caddy_sites.iter();
    let hosts = apps.flat_map(|(app, sites)| {
        sites.hosts.keys().map(move |(scheme, host)| (format!("{scheme}://{host}"), app))
    });
    let missing = hosts.filter(|(host, _)| !there.contains(host));
    missing.map(|(host, app)| (host, app.to_string())).collect()
}

/// The hosts for which a server has routes.
fn routed<'a>(caddy: &'a Value, scheme: &'a str) -> impl Iterator<Item = String> + 'a {
    let routes = caddy.pointer(&format!("/apps/http/servers/{scheme}/routes"));
    let routes = routes.and_then(Value::as_array).into_iter().flatten();
    let matchers = routes.filter_map(|route| route.get("match")?.as_array()).flatten();
    let hosts = matchers.filter_map(|matcher| matcher.get("host")?.as_array()).flatten();
    hosts.filter_map(Value::as_str).map(move |host| format!("{scheme}://{host}"))
}

fn read(path: &Path) -> Result<String, CommandFailure> {
    std::fs::read_to_string(path).map_err(|error| {
        CommandFailure::new(ErrorKind::NotFound, format!("{}: {error}", path.display()))
            .hint("--diff is for the node that it runs on, with its agent's settings")
    })
}
