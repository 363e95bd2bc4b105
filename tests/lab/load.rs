//! Serving goes on while other apps come and go.

use crate::deploy::{authority, body};
use crate::support::{Lab, Load, NODES, Repo, get_tls, tcp_line, until};

#[test]
fn fifty_requests_a_second_see_no_failure_while_other_apps_are_deployed_and_removed() {
    let lab = Lab::get();
    let served = Repo::publish(&lab, "hello", "hello-load");
    let tcp = Repo::publish(&lab, "tcp", "tcp-load");
    lab.deploy(&served, "node1", Some("node2"));
    lab.deploy(&tcp, "node2", None);
    for node in NODES {
        body(&lab, node, "hello.test", "/");
        until("the tcp app", || tcp_line(&lab.ip(node), 2222).ok());
    }
    let ca = authority(&lab, "node1");
    let loads: Vec<_> =
        NODES.map(|node| (node, Load::start(&lab.ip(node), "hello.test", "/", 50))).into();
    // The third one binds a port: its coming and going reloads every HAProxy.
    let mut others: Vec<Repo> = (1..=2)
        .map(|n| {
            let (from, to) = ("http://plain.test", format!("http://plain{n}.test"));
            Repo::publish_edited(&lab, "plain", &format!("plain-load-{n}"), &[(from, to.as_str())])
        })
        .collect();
    let edits =
        [("2222", "2223"), ("\"tcp-greeter\"", "\"tcp-other\""), ("\"greeter\"", "\"other\"")];
    others.push(Repo::publish_edited(&lab, "tcp", "tcp-load-other", &edits));
    for (n, other) in others.iter().enumerate() {
        lab.deploy(other, NODES[n], Some(NODES[(n + 1) % 3]));
        let through = NODES[(n + 2) % 3];
        if n < 2 {
            assert!(body(&lab, through, &format!("plain{}.test", n + 1), "/").contains("plain"));
        } else {
            until("the third app's port", || tcp_line(&lab.ip(through), 2223).ok());
        }
        for node in NODES {
            let reply = get_tls(&lab.ip(node), "hello.test", "/", ca.path().to_str().unwrap());
            assert_eq!(reply.map(|reply| reply.status), Ok(200), "https through {node}");
            assert!(tcp_line(&lab.ip(node), 2222).is_ok(), "port 2222 through {node}");
        }
    }
    others.iter().for_each(|other| {
        lab.destroy(other);
    });
    for (node, load) in loads {
        let (good, bad) = load.end();
        assert!(
            good > 100 && bad.is_empty(),
            "through {node}: {good} succeeded, {} failed: {bad:?}",
            bad.len()
        );
    }
    lab.destroy(&tcp);
    lab.destroy(&served);
}
