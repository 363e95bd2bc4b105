//! A real WordPress with MariaDB: what its files make of `btrfs send`, in moves to and fro and in replication.

use std::time::Instant;

use serde_json::Value;

use crate::support::blog::{Author, Blog, Kept};
use crate::support::{Lab, NODES, Repo, get, until};

const HOST: &str = "blog.test";
/// What a receiver says that can't count from a snapshot which it took itself.
const REFUSED: &str = "could not apply changes to";

#[test]
fn a_blog_moves_to_and_fro_and_is_replicated_after_each_move() {
    let lab = Lab::get();
    lab.run(&["image", "blog"]);
    let repo = Repo::publish(&lab, "blog", "blog");
    lab.deploy(&repo, "node1", Some("node2"));
    let blog = Blog { ip: lab.ip("node3"), host: HOST.to_owned() };
    let author = Author::start(blog.clone(), Kept::default());

    let mut told = Vec::new();
    for (master, slave) in
        [("node2", "node1"), ("node1", "node2"), ("node2", "node1"), ("node1", "node2")]
    {
        let started = Instant::now();
        let record = lab.deploy(&repo, master, Some(slave));
        let warnings = record["warnings"].as_array().unwrap().iter();
        let warnings: Vec<_> = warnings.filter_map(Value::as_str).map(str::to_owned).collect();
        eprintln!("to {master} in {:?}: {warnings:#?}", started.elapsed());
        no_late_surprise(&record, &warnings);
        told.extend(warnings.into_iter().filter(|warning| warning.contains(REFUSED)));
    }
    assert!(!told.is_empty(), "nothing was refused: this app no longer shows what it is here for");
    lab.deploy(&repo, "node1", Some("node2"));

    // Rounds of buttervolume's schedule; what they could not send is sent by the agent.
    let mut newest = copies(&lab, &repo);
    set_timer(&lab, "node1", 15);
    for _ in 0..2 {
        newest = until("a newer copy of each volume", || {
            let now = copies(&lab, &repo);
            (now.len() == 2 && now.iter().all(|copy| !newest.contains(copy))).then_some(now)
        });
    }
    until("a master with nothing to complain of", || {
        lab.kv_keys("tandem/stalled/").is_empty().then_some(())
    });

    set_timer(&lab, "node1", 60);
    let log = lab.agent_log("node1");
    let resent = log.lines().filter(|line| line.contains("replicated in place of the schedule"));
    eprintln!("the agent of node1 replicated {} times", resent.count());
    let (kept, story) = author.end();
    eprintln!("{} posts, {} uploads; {story:#?}", kept.posts.len(), kept.uploads.len());
    assert!(kept.posts.len() > 50 && kept.uploads.len() > 10, "{story:#?}");
    assert_eq!(blog.lost(&kept), [""; 0]);
    for node in NODES {
        let page = get(&lab.ip(node), HOST, "/").unwrap();
        assert!(page.status == 200 && page.body.contains("Blog"), "{node}: {page:?}");
    }
    lab.destroy(&repo);
    assert_eq!(lab.leftovers(&repo), [""; 0]);
}

/// The last send, for which the app stands still, counts from what those before it have sent: that was not refused.
fn no_late_surprise(record: &Value, refused: &[String]) {
    let steps = record["steps"].as_array().unwrap().iter();
    let seeds: Vec<_> = steps.filter(|step| step["step"]["seed"].is_object()).collect();
    assert_eq!(seeds.len(), 1, "{record:#}");
    for announced in seeds[0]["output"].as_object().unwrap().values() {
        let snapshot = announced.as_str().unwrap().split(' ').next().unwrap();
        assert!(!refused.iter().any(|warning| warning.contains(snapshot)), "{refused:#?}");
    }
}

/// The snapshots of which the slave has verified copies.
fn copies(lab: &Lab, repo: &Repo) -> Vec<String> {
    let text = lab.kv(&format!("tandem/replicas/{}/node2", repo.app())).unwrap_or_default();
    let state: Value = serde_json::from_str(&text).unwrap_or_default();
    let volumes = state["volumes"].as_object().cloned().unwrap_or_default();
    volumes.values().filter_map(|copy| Some(copy["snapshot"].as_str()?.to_owned())).collect()
}

/// So many seconds between the rounds of a node's schedule.
fn set_timer(lab: &Lab, node: &str, seconds: u32) {
    let edit = format!("s/^TIMER = .*/TIMER = {seconds}/");
    lab.node(node, &["sed", "-i", &edit, "/etc/buttervolume/config.ini"]);
    lab.run(&["stop", node, "buttervolume"]);
    lab.run(&["start", node, "buttervolume"]);
}
