//! A slave whose clock is hours ahead: its agent and its buttervolume go by another time than the rest of the lab.

use crate::deploy::body;
use crate::lost::App;
use crate::support::{Lab, until};

const HOST: &str = "hello.test";
const PARTS: [(&str, &str); 2] = [
    (
        "buttervolume",
        "rm -f /run/docker/plugins/btrfs.sock; exec buttervolume run >>/var/log/lab/buttervolume.log 2>&1",
    ),
    ("agent", "exec tandem agent >>/var/log/lab/agent.log 2>&1"),
];

/// The clock of node2, until this ends. Waiting takes as long as ever.
struct Ahead<'a> {
    lab: &'a Lab,
    parts: Vec<std::process::Child>,
}

impl<'a> Ahead<'a> {
    fn by_three_hours(lab: &'a Lab) -> Self {
        let found = lab.node("node2", &["sh", "-c", "ls /usr/lib/*/faketime/libfaketimeMT.so.1"]);
        let preload = format!("LD_PRELOAD={}", found.trim());
        let mut ahead = Self { lab, parts: Vec::new() };
        for (part, _) in PARTS.iter().rev() {
            lab.run(&["stop", "node2", part]);
        }
        for (part, line) in PARTS {
            let argv = [
                "env",
                &preload,
                "FAKETIME=+3h",
                "FAKETIME_DONT_FAKE_MONOTONIC=1",
                "sh",
                "-c",
                line,
            ];
            ahead.parts.push(lab.spawn("node2", &argv));
            until(&format!("{part} to run"), || match part {
                "agent" => lab.kv("tandem/nodes/node2").map(drop),
                _ => lab
                    .try_node("node2", &["buttervolume", "scheduled"])
                    .status
                    .success()
                    .then_some(()),
            });
        }
        ahead
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        for name in ["^tandem agent", "buttervolume run"] {
            self.lab.try_node("node2", &["pkill", "-TERM", "-f", name]);
        }
        for part in &mut self.parts {
            let _ = part.wait();
        }
        for (part, _) in PARTS {
            self.lab.try_run(&["start", "node2", part]);
        }
    }
}

/// Copies are told apart by what they are of, not by when they say that they were made.
#[test]
fn an_app_moves_to_a_slave_whose_clock_is_hours_ahead_and_back_with_all_of_its_data() {
    let app = App::deploy_on("ahead", "node1");
    let (lab, repo, volume) = (&app.lab, &app.repo, &app.volume);
    let status = || lab.node("node3", &["tandem", "status"]);
    let ahead = Ahead::by_three_hours(lab);
    until("the clock in the status", || {
        let text = status();
        (text.contains("node2: its clock is 3 h 0 min ahead")
            || text.contains("node2: its clock is 2 h 59 min ahead"))
        .then_some(())
    });
    app.write("node1", "before");
    lab.deploy(repo, "node2", Some("node1"));
    assert!(app.has("node2", "copied") && app.has("node2", "before") && !app.has("node1", ""));
    assert!(body(lab, "node3", HOST, "/").contains("hello"));
    app.write("node2", "from-ahead");
    // Of a time that is to come for everybody else.
    let late = lab.node("node2", &["buttervolume", "snapshot", volume]);
    println!("{late}");
    lab.deploy(repo, "node1", Some("node2"));
    assert!(app.has("node1", "from-ahead") && !app.has("node2", ""));
    drop(ahead);
    until("the clock not to be named", || (!status().contains("its clock is")).then_some(()));

    // What is newest now has an earlier name than what was taken then.
    app.write("node1", "newest");
    lab.deploy(repo, "node2", Some("node1"));
    for file in ["copied", "before", "from-ahead", "newest"] {
        assert!(app.has("node2", file), "{file}");
    }
    assert!(body(lab, "node3", HOST, "/").contains("hello"));
    lab.destroy(repo);
    assert_eq!(lab.leftovers(repo), [""; 0]);
}
