use super::*;
use serde_json::json;

use crate::model::AppName;

/// What Compose 2.26.1 printed for a file with every form that is read.
const REAL: &str = include_str!("compose-2.26.json");

fn project() -> ProjectName {
    AppName::parse("proj1").unwrap().project()
}

fn parse(config: &Value) -> Result<Manifest, ManifestError> {
    let drivers = ["btrfs", "anybox/buttervolume:latest"].map(str::to_owned);
    Manifest::parse(config, &project(), &drivers)
}

fn with_variable(variable: &str, text: &str) -> Result<Manifest, ManifestError> {
    parse(&json!({"services": {"web": {"environment": {variable: text}}}}))
}

#[test]
fn a_file_that_compose_printed_is_read() {
    let manifest = parse(&serde_json::from_str(REAL).unwrap()).unwrap();
    let web = &manifest.services["web"];
    assert_eq!(web.container, "custom_web");
    let caddyfile = web.caddyfile.as_deref().unwrap();
    assert!(caddyfile.contains("proxy / http://custom_web:80\n"), "{caddyfile}");
    assert!(caddyfile.contains("\"$y custom_web own dflt\""), "{caddyfile}");
    assert_eq!(web.check_urls, ["http://a.example/x"]);
    assert_eq!(web.stop_grace, Some(Duration::from_secs(90)));
    assert_eq!(web.place.networks, ["cluster_default", "proj1_default"]);
    assert!(!web.builds && web.image.as_deref() == Some("nginx"));
    let db = &manifest.services["db"];
    assert_eq!(db.container, "proj1_db_1");
    assert!(db.builds && db.image.is_none() && !db.completes);
    assert_eq!(db.place.networks, ["proj1_default"]);
    let backend = &db.haproxy.as_ref().unwrap()["db-front"]["backends"][0];
    assert_eq!(*backend, json!({"name": "ssh", "port": 22, "peer_port": "2222"}));
    assert!(manifest.services["init"].completes);
    assert_eq!(manifest.services["none"].replicas, 0);
    assert_eq!(manifest.stop_grace(), Some(Duration::from_secs(90)));
}

#[test]
fn a_service_is_found_by_its_aliases_on_networks_that_others_join() {
    let manifest = parse(&json!({
        "services": {
            "web": {"hostname": "w", "networks": {
                "shared": {"aliases": ["Caddy", "x"]}, "default": {"aliases": ["own"]},
                "given": null, "outer": null,
            }},
            "db": {}, "host": {"network_mode": "host"},
        },
        "networks": {
            "shared": {"name": "cluster_default", "external": true}, "default": {"name": "proj1_default"},
            "given": {"name": "given"}, "outer": {"external": true},
        },
    }));
    let services = manifest.unwrap().services;
    let web = &services["web"].place;
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(web.aliases, names(&["Caddy", "x"]));
    assert_eq!(
        web.shared.iter().cloned().collect::<BTreeSet<_>>(),
        names(&["cluster_default", "given", "outer"])
    );
    assert_eq!(web.external, names(&["cluster_default", "outer"]));
    assert!(web.is_found() && web.hostname.as_deref() == Some("w"));
    assert_eq!(
        (services["db"].place.networks.as_slice(), services["db"].place.is_found()),
        (&["proj1_default".to_owned()][..], false)
    );
    assert_eq!(
        (services["host"].place.mode.as_deref(), services["host"].place.networks.len()),
        (Some("host"), 0)
    );
}

#[test]
fn ports_and_mounts_are_read_as_compose_prints_them() {
    let manifest = parse(&json!({"services": {"web": {
        "ports": [
            {"mode": "ingress", "target": 80, "published": "8080", "protocol": "tcp"},
            {"target": 53, "published": 53, "protocol": "udp", "host_ip": "127.0.0.1"},
            {"target": 81, "protocol": "tcp"}, {"target": 82, "published": "9000-9010"},
        ],
        "tmpfs": ["/tmp:size=1m"],
        "volumes": [
            {"type": "bind", "source": "/deploy/x/da$$ta", "target": "/data"},
            {"type": "bind", "source": "/etc/hosts", "target": "/h", "read_only": true},
            {"type": "volume", "source": "data", "target": "/v"}, {"type": "volume", "target": "/cache"},
            {"type": "tmpfs", "target": "/run"},
        ],
    }}}));
    let web = &manifest.unwrap().services["web"];
    let ports: Vec<_> = web.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["53/udp", "8080/tcp"]);
    let bind = |source: &str, target: &str, read_only| Mount::Bind {
        source: source.into(),
        target: target.to_owned(),
        read_only,
    };
    let expected = [
        bind("/deploy/x/da$ta", "/data", false),
        bind("/etc/hosts", "/h", true),
        Mount::Anonymous { target: "/cache".to_owned() },
    ];
    assert_eq!(web.mounts.kept_by_nobody, expected);
    assert_eq!(web.mounts.targets, ["/tmp", "/data", "/h", "/v", "/cache", "/run"]);
}

#[test]
fn volumes_have_the_names_that_docker_gives_them() {
    let manifest = parse(&serde_json::from_str(REAL).unwrap()).unwrap();
    let volume = |name: &str, key: &str, driver: &str, replicated, migratable, external| Volume {
        name: name.to_owned(),
        key: key.to_owned(),
        driver: driver.to_owned(),
        replicated,
        migratable,
        external,
    };
    let expected = [
        volume("proj1_anon", "anon", "btrfs", true, false, false),
        volume("proj1_data", "data", "btrfs", true, true, false),
        volume("outer", "ext", "local", false, true, true),
        volume("proj1_local", "local", "local", false, true, false),
        volume("shared", "named", "anybox/buttervolume:latest", true, false, false),
    ];
    assert_eq!(manifest.volumes, expected);
    let replicated: Vec<_> = manifest.replicated_volumes().map(|v| v.name.as_str()).collect();
    assert_eq!(replicated, ["proj1_anon", "proj1_data", "shared"]);
}

#[test]
fn a_service_that_is_to_be_reached_is_to_run() {
    let manifest = parse(&json!({"services": {
        "web": {"restart": "no", "environment": {"CADDYFILE": "x"}},
        "job": {"restart": "no"}, "db": {},
        "awaits": {"restart": "always", "depends_on": {"db": {"condition": "service_completed_successfully"}}},
    }}));
    let ends: Vec<_> =
        manifest.unwrap().services.into_values().map(|service| service.ends).collect();
    assert_eq!(ends, [Ends::Never, Ends::Done, Ends::Done, Ends::Never]);
}

#[test]
fn environment_may_be_a_list() {
    let manifest = parse(&json!({"services": {"web": {"environment": [
        "OTHER", "CADDYFILE=http://a {\n proxy / $$CONTAINER:80?x=y\n}", "HAPROXY= "
    ]}}}));
    let web = &manifest.unwrap().services["web"];
    assert_eq!(web.caddyfile.as_deref(), Some("http://a {\n proxy / proj1_web_1:80?x=y\n}"));
    assert_eq!(web.haproxy, None);
}

#[test]
fn haproxy_may_be_yaml_or_json() {
    let yaml = "front:\n  backends:\n  - {name: a, port: 22, peer_port: \"0022\"}\n";
    let json =
        "{\"front\":\t{\"backends\": [{\"name\":\"a\",\"port\":22,\"peer_port\":\"0022\"}]}}";
    let value = |text| with_variable("HAPROXY", text).unwrap().services["web"].haproxy.clone();
    assert_eq!(value(yaml), value(json));
    assert_eq!(value(yaml).unwrap()["front"]["backends"][0]["peer_port"], json!("0022"));
}

#[test]
fn errors_name_the_service_and_the_variable() {
    for (variable, text, message) in [
        ("HAPROXY", "{a: [", "service web: HAPROXY is neither YAML nor JSON"),
        ("HAPROXY", "[a]", "service web: HAPROXY is not a mapping"),
        ("HAPROXY", "a: !!x y\n---\nb: c", "service web: HAPROXY is neither YAML nor JSON"),
        (
            "CONSUL_CHECK_URLS",
            "{a: b}",
            "service web: CONSUL_CHECK_URLS is not a list of http:// or https:// URLs",
        ),
        (
            "CONSUL_CHECK_URLS",
            "[1]",
            "service web: CONSUL_CHECK_URLS is not a list of http:// or https:// URLs",
        ),
        (
            "CONSUL_CHECK_URLS",
            "['http://a\"b']",
            "service web: CONSUL_CHECK_URLS is not a list of http:// or https:// URLs",
        ),
        (
            "CONSUL_CHECK_URLS",
            "['file:///etc/passwd']",
            "service web: CONSUL_CHECK_URLS is not a list of http:// or https:// URLs",
        ),
    ] {
        let error = with_variable(variable, text).unwrap_err();
        assert_eq!(error.to_string(), message, "{text}");
    }
    let error = with_variable("CADDYFILE", &"x".repeat(MAX_VARIABLE + 1)).unwrap_err();
    assert_eq!(error.to_string(), "service web: CADDYFILE has 65537 bytes, and 65536 are allowed");
    assert!(with_variable("CADDYFILE", &"x".repeat(MAX_VARIABLE)).is_ok());
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let before = format!("*a{},", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{before}]\n"));
    }
    assert!(matches!(with_variable("HAPROXY", &text), Err(ManifestError::Syntax { .. })));
}

#[test]
fn too_many_services_and_names_out_of_place_are_refused() {
    let many: Map<_, _> = (0..101).map(|n| (format!("s{n}"), json!({}))).collect();
    let error = parse(&json!({"services": many})).unwrap_err();
    assert_eq!(error.to_string(), "101 services, and 100 are allowed");
    for config in [
        json!({"services": {"web": {"container_name": "a b"}}}),
        json!({"services": {"a;b": {}}}),
        json!({"volumes": {"v": {"name": "a$(id)"}}}),
        json!({"volumes": {"v": {"name": "-a"}}}),
        json!({"volumes": {"v": {"name": "a@b"}}}),
    ] {
        assert!(matches!(parse(&config), Err(ManifestError::Name { .. })), "{config}");
    }
    assert!(matches!(parse(&json!({"services": []})), Err(ManifestError::Shape { .. })));
    assert!(matches!(parse(&json!([])), Err(ManifestError::Shape { .. })));
    assert!(parse(&json!({"services": {}})).unwrap().services.is_empty());
}
