//! One change at a time, and a thousand.

use std::time::{Duration, Instant, SystemTime};

use super::apps::App;
use super::watch::{LED, NAMED, Watch, time, write};
use crate::probe::seconds;
use crate::support::{Lab, NODES, get, told, within};

pub(crate) type Seconds = f64;

/// How long anything may take, however many apps there are.
const PATIENCE: Duration = Duration::from_secs(900);
/// Between two requests that ask whether a change is live.
const PACE: Duration = Duration::from_millis(5);
/// Flips of the minute.
const FLIPS: usize = 1000;
/// Between two of them.
const FLIP_PACE: &str = "60000";

/// Has an app's pair swap its roles, until every node's HAProxy does.
pub(crate) fn flip(lab: &Lab, app: &mut App) -> Seconds {
    app.swap();
    let (host, value) = (app.host(), app.record(lab).to_string());
    let watches = NODES.map(|node| Watch::start(node, LED, &[&host, app.master]));
    let at = write(lab, &app.key(), Some(&value));
    last(at, watches.map(Watch::end))
}

/// Adds an app, until every node answers with its page.
pub(crate) fn add(lab: &Lab, app: &App) -> Seconds {
    let (page, value) = (app.page(), app.record(lab).to_string());
    let watches = watch_answers(lab, app, move |status, body| status == 200 && body == page);
    let at = write(lab, &app.key(), Some(&value));
    last(at, watches.map(|watch| watch.join().unwrap()))
}

/// Removes an app, until no node knows it.
pub(crate) fn remove(lab: &Lab, app: &App) -> Seconds {
    let watches = watch_answers(lab, app, |status, body| {
        status == 404 && body.contains("no app serves this host")
    });
    let at = write(lab, &app.key(), None);
    last(at, watches.map(|watch| watch.join().unwrap()))
}

/// Adds an app that can't be served, until its master says so; another one has to be served meanwhile.
pub(crate) fn bad(lab: &Lab, run: usize, good: &App) -> Seconds {
    let app = App::new(900_000 + run, NODES[0]);
    let (key, value) = (app.key(), app.bad_record(lab).to_string());
    let watch = Watch::start(app.master, NAMED, &[app.master, &key]);
    let at = write(lab, &key, Some(&value));
    let seen = watch.end();
    for node in NODES {
        let reply = get(&lab.ip(node), &good.host(), "/").unwrap();
        assert_eq!((reply.status, reply.body.trim()), (200, good.page().as_str()), "by {node}");
    }
    write(lab, &key, None);
    seconds(at, seen)
}

/// Waits until every node serves an app.
pub(crate) fn await_served(lab: &Lab, app: &App) {
    for node in NODES {
        let ip = lab.ip(node);
        within(PATIENCE, &format!("{} by {node}", app.host()), || {
            let reply = get(&ip, &app.host(), "/").ok()?;
            (reply.status == 200 && reply.body.trim() == app.page()).then_some(())
        });
    }
}

/// Waits until each node's Caddy knows the apps whose slave the node is, too: an agent sees to it after all else.
pub(crate) fn await_standby(lab: &Lab, apps: &[App]) {
    for node in NODES {
        let wanted = apps.iter().filter(|app| [app.master, app.slave].contains(&node)).count();
        let count =
            r#"grep -oE '"scale[0-9]+\.test"' /var/lib/tandem/caddy/caddy.json | sort -u | wc -l"#;
        within(PATIENCE, &format!("{node} to know {wanted} apps"), || {
            let told = lab.node(node, &["bash", "-c", count]);
            (told.trim().parse() == Ok(wanted)).then_some(())
        });
    }
}

/// A thousand flips in a minute, of as many apps as there are: how many, the seconds that they took to be written, and
/// those from then until every node leads each app where it belongs.
pub(crate) fn many_flips(lab: &Lab, apps: &mut [App]) -> (usize, Seconds, Seconds) {
    let mut lines = String::new();
    for flip in 0..FLIPS {
        let app = &mut apps[flip % apps.len()];
        app.swap();
        lines.push_str(&format!("{}\t{}\n", app.key(), app.record(lab)));
    }
    let script = r#"due=${EPOCHREALTIME/[.,]/}; echo $due
        while IFS=$'\t' read -r key value; do
            curl -fsS -o /dev/null -X PUT --data-binary "$value" "http://127.0.0.1:8500/v1/kv/$key" || exit 1
            due=$((due + $1)); left=$((due - ${EPOCHREALTIME/[.,]/}))
            if [ $left -gt 0 ]; then sleep "$((left / 1000000)).$(printf %06d $((left % 1000000)))"; fi
        done; echo "${EPOCHREALTIME/[.,]/}""#;
    let argv = ["bash", "-c", script, "flips", FLIP_PACE];
    let output = lab.node_with_stdin(NODES[0], &argv, lines.as_bytes());
    assert!(output.status.success(), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let times: Vec<SystemTime> = said.lines().filter_map(time).collect();
    let [began, ended] = times.as_slice() else { panic!("{said}") };
    let wanted: Vec<(String, &str)> = apps.iter().map(|app| (app.host(), app.master)).collect();
    for node in NODES {
        within(PATIENCE, &format!("every flip on {node}"), || {
            leads_all(&lab.node(node, &["cat", "/var/lib/tandem/haproxy/http.map"]), &wanted)
                .then_some(())
        });
    }
    (FLIPS, seconds(*began, *ended), seconds(*ended, SystemTime::now()))
}

/// Whether a map leads each host where it belongs.
fn leads_all(map: &str, wanted: &[(String, &str)]) -> bool {
    let entries: std::collections::BTreeMap<&str, &str> =
        map.lines().filter_map(|line| line.split_once(' ')).collect();
    wanted.iter().all(|(host, to)| entries.get(host.as_str()) == Some(to))
}

type Waiting = std::thread::JoinHandle<SystemTime>;

/// Asks every node for an app's page until the answer is the one that is waited for.
fn watch_answers(
    lab: &Lab,
    app: &App,
    is_it: impl Fn(u16, &str) -> bool + Clone + Send + 'static,
) -> [Waiting; 3] {
    NODES.map(|node| {
        let (ip, host, is_it) = (lab.ip(node), app.host(), is_it.clone());
        std::thread::spawn(move || {
            let began = Instant::now();
            loop {
                let reply = get(&ip, &host, "/");
                if reply.is_ok_and(|reply| is_it(reply.status, reply.body.trim())) {
                    return SystemTime::now();
                }
                assert!(began.elapsed() < PATIENCE, "{host} on {ip} does not change");
                std::thread::sleep(PACE);
            }
        })
    })
}

/// From a time to the last of others.
fn last(from: SystemTime, seen: [SystemTime; 3]) -> Seconds {
    seen.into_iter().map(|at| seconds(from, at)).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_has_to_lead_every_host() {
        let wanted = [("a.test".to_owned(), "node1"), ("b.test".to_owned(), "node2")];
        assert!(leads_all("a.test node1\nb.test node2\nc.test node3\n", &wanted));
        assert!(!leads_all("a.test node1\nb.test hold\n", &wanted));
        assert!(!leads_all("a.test node1\n", &wanted));
    }

    #[test]
    fn the_last_node_counts() {
        let at = |milliseconds| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds);
        let found = last(at(1000), [at(1100), at(1500), at(900)]);
        assert!((found - 0.5).abs() < 1e-9, "{found}");
    }
}
