//! What the running proxies are asked and told with as few words as will do.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tandem::proxy::ProxySettings;
use tandem::proxy::caddy::{Apps, whole};
use tandem::proxy::control::{
    CheckRunner, ContainerFacts, Effect, ExecOutput, LocalControl, ProxyControl,
};
use tandem::proxy::render::Pages;

use super::binary;
use super::maintenance::Place;

/// Longer than HAProxy has to run before it is told from one that starts anew.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nothing is checked here.
struct NoChecks;

#[async_trait::async_trait]
impl CheckRunner for NoChecks {
    async fn exec(&self, _: &str, _: &[String], _: Duration) -> Result<ExecOutput, String> {
        Err("there is no container".to_owned())
    }

    async fn look(&self, _: &str) -> Result<Option<ContainerFacts>, String> {
        Ok(None)
    }
}

fn control(settings: &ProxySettings) -> LocalControl {
    LocalControl::new(settings.clone(), Arc::new(NoChecks))
}

#[tokio::test]
async fn caddy_tells_the_mark_of_what_it_runs() {
    let binary = binary("caddy");
    let place = Place::new();
    let control = control(&place.settings);
    let first = whole(&place.settings, &Apps::new(), &Pages::default());
    assert_eq!(control.caddy_runs(first.mark()).await.unwrap(), None);
    assert_eq!(control.load_caddy(&first).await.unwrap(), Effect::NotRunning);
    let running = place.caddy(&binary);
    assert_eq!(control.caddy_runs(first.mark()).await.unwrap(), Some(false));
    assert_eq!(control.load_caddy(&first).await.unwrap(), Effect::Changed(1));
    assert_eq!(control.caddy_runs(first.mark()).await.unwrap(), Some(true));
    assert_eq!(control.load_caddy(&first).await.unwrap(), Effect::Changed(0));
    let second = whole(&place.settings, &Apps::new(), &place.rendered.pages);
    assert_ne!(second.mark(), first.mark());
    assert_eq!(control.load_caddy(&second).await.unwrap(), Effect::Changed(1));
    let marks = [first.mark(), second.mark()].map(|mark| control.caddy_runs(mark));
    let [old, new] = marks;
    assert_eq!((old.await.unwrap(), new.await.unwrap()), (Some(false), Some(true)));
    drop(running);
    // From its file, too.
    let _running = place.caddy(&binary);
    let text = std::fs::read(place.settings.caddy_file()).unwrap();
    let text: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let mark = tandem::proxy::caddy::CaddyConfig::mark_of(&text).unwrap();
    assert_eq!(control.caddy_runs(mark).await.unwrap(), Some(true), "{}", binary.display());
}

/// What HAProxy says to a command. While it starts, connections may end before they are answered.
fn said(settings: &ProxySettings, command: &str) -> String {
    let started = Instant::now();
    loop {
        match try_said(settings, command) {
            Ok(answer) => return answer,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{command}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn try_said(settings: &ProxySettings, command: &str) -> std::io::Result<String> {
    let mut socket = UnixStream::connect(settings.runtime_socket())?;
    socket.write_all(format!("{command}\n").as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Where a map leads a host.
fn led(settings: &ProxySettings, host: &str) -> Option<String> {
    let map = settings.haproxy_dir().join("http.map");
    let shown = said(settings, &format!("show map {}", map.display()));
    let line = shown.lines().find(|line| line.split(' ').nth(1) == Some(host))?;
    line.split(' ').nth(2).map(str::to_owned)
}

#[tokio::test]
async fn haproxy_is_told_only_what_changed_as_long_as_it_is_the_same() {
    let binary = binary("haproxy");
    let place = Place::new();
    let settings = &place.settings;
    let control = control(settings);
    let map = settings.haproxy_dir().join("http.map");
    let text = |turn: usize| format!("a.test node1\nb.test node{}\n", turn % 2 + 1);
    let apply = async |turn: usize| {
        std::fs::write(&map, text(turn)).unwrap();
        control.apply_map("http.map", &text(turn)).await.unwrap()
    };
    assert_eq!(apply(0).await, Effect::NotRunning);
    let running = place.haproxy(&binary);
    assert!(matches!(apply(0).await, Effect::Changed(1..)));
    let (started, mut turn) = (Instant::now(), 0);
    // What somebody else changed is put right as long as all is compared, and not any more when it is known.
    loop {
        turn += 1;
        said(settings, &format!("set map {} a.test maint", map.display()));
        assert!(matches!(apply(turn).await, Effect::Changed(1..)));
        assert_eq!(led(settings, "b.test"), Some(format!("node{}", turn % 2 + 1)));
        if led(settings, "a.test").as_deref() == Some("maint") {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{}: still compares all", binary.display());
        std::thread::sleep(Duration::from_millis(100));
    }
    // An entry that is gone although it is known: the whole is compared after all.
    said(settings, &format!("del map {} b.test", map.display()));
    assert!(matches!(apply(turn + 1).await, Effect::Changed(1..)));
    let node = format!("node{}", (turn + 1) % 2 + 1);
    assert_eq!(led(settings, "b.test"), Some(node));
    assert_eq!(led(settings, "a.test").as_deref(), Some("node1"));
    drop(running);
    let _running = place.haproxy(&binary);
    said(settings, &format!("set map {} a.test maint", map.display()));
    assert!(matches!(apply(turn).await, Effect::Changed(1..)));
    assert_eq!(led(settings, "a.test").as_deref(), Some("node1"), "another process");
}
