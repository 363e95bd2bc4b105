use async_trait::async_trait;

use super::*;
use crate::proxy::control::ExecOutput;

/// A node's containers: what the two proxies say of themselves, their images, and HAProxy's address.
struct Node {
    haproxy: &'static str,
    caddy: &'static str,
    image: &'static str,
    address: &'static str,
    /// Docker answers.
    is_there: bool,
    hangs: bool,
}

const FIT: Node = Node {
    haproxy: "HAProxy version 3.0.11-1+deb13u2 2026/01/02 - https://haproxy.org/\nStatus: long-term",
    caddy: "v2.11.4 h1:abc=",
    image: "an image",
    address: "198.18.244.2",
    is_there: true,
    hangs: false,
};

#[async_trait]
impl CheckRunner for Node {
    async fn exec(&self, of: &str, argv: &[String], _: Duration) -> Result<ExecOutput, String> {
        let said = match (of, argv.join(" ").as_str()) {
            ("tandem-haproxy-check", "haproxy -v") => self.haproxy,
            ("tandem-caddy-check", "caddy version") => self.caddy,
            other => panic!("{other:?}"),
        };
        Ok(ExecOutput { code: 0, stdout: said.into(), stderr: Vec::new() })
    }

    async fn look(&self, container: &str) -> Result<Option<ContainerFacts>, String> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if !self.is_there {
            return Err("no Docker".to_owned());
        }
        let (image, address) = match container {
            "haproxy" => (self.image, self.address),
            "caddy" => ("caddy's", "198.18.244.3"),
            "tandem-haproxy-check" => (self.image, ""),
            _ => ("caddy's", ""),
        };
        let addresses = address.parse().into_iter().collect();
        Ok(Some(ContainerFacts { image: image.to_owned(), addresses }))
    }
}

async fn told(stack: &mut Stack, node: Node) -> String {
    let unfit = stack.unfit(&ProxySettings::default(), &node).await;
    unfit.map(|unfit| unfit.to_string()).unwrap_or_default()
}

#[tokio::test]
async fn a_proxy_that_is_too_old_is_named_with_what_is_to_be_done() {
    for (haproxy, caddy, expected) in [
        (FIT.haproxy, FIT.caddy, ""),
        (FIT.haproxy, "2.7.0", ""),
        ("HAProxy version 2.8.0", FIT.caddy, ""),
        (FIT.haproxy, "(devel)", ""),
        (FIT.haproxy, "2.6.2", "Caddy 2.6 is too old: 2.7 or later is needed; nothing"),
        (
            "HAProxy version 2.6.12-1+deb12u1 2023/12/16",
            "v2.6.4 h1:x",
            "HAProxy 2.6 is too old: 2.8 or later is needed; nothing",
        ),
    ] {
        let told = told(&mut Stack::default(), Node { haproxy, caddy, ..FIT }).await;
        let is_right = told.starts_with(expected) && told.is_empty() == expected.is_empty();
        assert!(is_right, "{haproxy}, {caddy}: {told}");
        assert!(told.is_empty() || told.contains("stack.yml"), "{told}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_elsewhere_is_not_that_of_this_stack() {
    let told = told(&mut Stack::default(), Node { address: "172.19.0.2", ..FIT }).await;
    let expected = "HAProxy is not where it is looked for: the container haproxy does not have";
    assert!(told.starts_with(expected), "{told}");
    // One that does not run has no address, and is nobody's fault.
    assert_eq!(self::told(&mut Stack::default(), Node { address: "", ..FIT }).await, "");
}

#[tokio::test(start_paused = true)]
async fn while_nobody_can_say_it_is_as_it_was() {
    let mut stack = Stack::default();
    let away = || Node { is_there: false, ..FIT };
    let old = || Node { haproxy: "HAProxy version 2.6.12", image: "an older one", ..FIT };
    assert_eq!(told(&mut stack, away()).await, "", "nothing is known");
    assert_eq!(told(&mut stack, FIT).await, "");
    assert_eq!(told(&mut stack, old()).await, "", "asked a moment ago");
    tokio::time::advance(FRESH).await;
    let refused = told(&mut stack, old()).await;
    assert!(refused.starts_with("HAProxy 2.6 is too old"), "{refused}");
    assert_eq!(told(&mut stack, away()).await, refused);
    assert_eq!(told(&mut stack, FIT).await, "", "another image is asked for at once");
}

#[tokio::test(start_paused = true)]
async fn a_docker_that_hangs_keeps_a_change_of_the_maps_waiting_for_two_seconds_and_then_not_at_all()
 {
    let mut stack = Stack::default();
    let waited = async |stack: &mut Stack| {
        let began = Instant::now();
        assert_eq!(told(stack, Node { hangs: true, ..FIT }).await, "");
        began.elapsed().as_secs()
    };
    for expected in [2, 0, 0] {
        assert_eq!(waited(&mut stack).await, expected);
    }
    tokio::time::sleep(ASK_AGAIN).await;
    assert_eq!(waited(&mut stack).await, 2, "it is asked again");
}
