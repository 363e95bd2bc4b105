//! A `CADDYFILE` as the node's Caddy gets it.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use caddyfile::invariants::sites;
use serde_json::{Value, json};

use super::{APP, Broken, CONTAINER, broken, is_own, rendered};

/// What every text begins with: the app's name and the options of the whole.
static HEADER: LazyLock<Result<String, Broken>> = LazyLock::new(|| {
    let rendered = rendered("node1", &[(APP, &record("http://h.test {\n respond x\n}\n"))])?;
    let text = rendered.caddy_sites.values().next().map(|sites| sites.text.as_str());
    let header = text.and_then(|text| text.find("http://h.test").map(|end| &text[..end]));
    header.map(str::to_owned).ok_or_else(|| Broken("a plain site is not taken".to_owned()))
});

fn record(caddyfile: &str) -> Value {
    json!({
        "repo_url": "https://git.test/app", "branch": "main", "deploy_id": "1", "master": "node1", "ip": "10.0.0.1",
        "caddyfile": caddyfile, "ct": {"web": CONTAINER},
    })
}

/// A text is either refused with a reason, or becomes exactly the sites that the app then claims, and HAProxy leads
/// each of them to the app's master.
pub fn caddyfile(text: &str) -> Result<(), Broken> {
    let record = record(&text.replace("$CONTAINER", CONTAINER));
    let rendered = rendered("node1", &[(APP, &record)])?;
    let Some(app) = rendered.caddy_sites.values().next() else {
        let is_silent = rendered.problems.is_empty() && !text.trim().is_empty();
        return match is_silent {
            true => broken("the text was left out without a word"),
            false => Ok(()),
        };
    };
    let header = HEADER.as_ref().map_err(Clone::clone)?;
    let Some(own) = app.text.strip_prefix(header.as_str()) else {
        return broken(format!("the text does not begin as every text does:\n{}", app.text));
    };
    let claimed: BTreeSet<_> =
        app.hosts.keys().map(|(scheme, host)| format!("{scheme}://{host}")).collect();
    sites(own, &claimed, &is_own).map_err(|Broken(what)| Broken(format!("{what}\n{own}")))?;
    for host in &claimed {
        let is_led = |route: &crate::proxy::render::Route| {
            *host == format!("{}://{}", route.scheme, route.host) && route.to == "node1"
        };
        if !rendered.routes().iter().any(is_led) {
            return broken(format!("{host} is served, and no request is led to it"));
        }
    }
    Ok(())
}
