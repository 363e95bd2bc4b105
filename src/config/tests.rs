use super::*;

fn parse(values: &[(&'static str, &str)], file: &str) -> Result<Config, ConfigError> {
    let values = values.iter().map(|(key, text)| (*key, (*text).to_owned())).collect();
    Config::parse(&values, file, "tandem.yml")
}

#[test]
fn the_defaults_are_those_of_the_specification() {
    let config = parse(&[], "").unwrap();
    assert_eq!(config.deploy_dir, Path::new("/deploy"));
    assert_eq!(
        config.volumes.drivers,
        ["anybox/buttervolume:latest", "ccomb/buttervolume:latest", "btrfs"]
    );
    let periods = (
        config.volumes.replicate_minutes,
        config.volumes.snapshot_minutes,
        config.volumes.purge_minutes,
    );
    assert_eq!(periods, (60, 60, 1440));
    assert_eq!(config.volumes.purge_pattern, "1h:1d:1w:4w:1y");
}

#[test]
fn flags_and_environment_win_over_the_file() {
    let file = "replicate_minutes: 5\nsettle: 1s\nvolume_drivers: [btrfs, other]\n";
    let config = parse(&[("settle", "250ms")], file).unwrap();
    assert_eq!(config.volumes.replicate_minutes, 5);
    assert_eq!(config.settle, Duration::from_millis(250));
    assert_eq!(config.volumes.drivers, ["btrfs", "other"]);
}

#[test]
fn every_error_is_reported_at_once_with_its_place() {
    let file = "purge_minutes: soon\ncolour: red\ndeploy_dir: relative\n";
    let ConfigError(problems) =
        parse(&[("settle", "5 days"), ("session-ttl", "1s")], file).unwrap_err();
    let text = problems.join("\n");
    for part in [
        "tandem.yml: purge_minutes: \"soon\"",
        "there is no setting \"colour\"",
        "deploy_dir: \"relative\" is not an absolute path",
        "--settle or TANDEM_SETTLE",
        "--session-ttl or TANDEM_SESSION_TTL: must be between",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(problems.len(), 5, "{text}");
}

#[test]
fn a_colon_in_a_path_is_refused() {
    let ConfigError(problems) = parse(&[("deploy-dir", "/a:b")], "").unwrap_err();
    assert!(problems[0].contains("breaks bind mounts"), "{problems:?}");
}

#[test]
fn a_token_is_for_hosts_that_are_named() {
    let ConfigError(problems) = parse(&[("https-token", "secret")], "").unwrap_err();
    assert!(problems[0].contains("https-hosts has to name the hosts"), "{problems:?}");
    assert!(!problems[0].contains("secret"));
    let file = "https_token: secret\nhttps_hosts: [Git.Example.com, 'git.example.com:8443']\n";
    let config = parse(&[], file).unwrap();
    assert_eq!(config.git.https_hosts, ["git.example.com:443", "git.example.com:8443"]);
    let wrong = parse(&[("https-token", "x"), ("https-hosts", "https://git.test")], "");
    assert!(wrong.unwrap_err().0[0].contains("is no name of a host"));
}
