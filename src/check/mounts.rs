//! Mounts whose content Tandem neither copies nor keeps.

use std::path::{Path, PathBuf};

use super::Findings;
use crate::model::manifest::{InRepository, Manifest, Mount};

/// Below these nothing lasts, or nothing of it is the app's.
const NO_DATA: [&str; 6] = ["/run", "/var/run", "/dev", "/proc", "/sys", "/etc"];

/// A writable mount below the checkout that the repository has nothing for: data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Data {
    /// The service that has it.
    pub service: String,
    /// Where it is below the checkout.
    pub path: PathBuf,
}

/// Looks at what the services mount. `in_repository` tells what a path below the checkout is; what is data there is
/// returned, to be refused or carried along.
pub fn mounts(
    manifest: &Manifest,
    checkout: &Path,
    in_repository: impl Fn(&Path) -> InRepository,
) -> (Findings, Vec<Data>) {
    let (mut findings, mut data) = (Findings::default(), Vec::new());
    for (service, what) in &manifest.services {
        for mount in &what.mounts.kept_by_nobody {
            let told = match mount {
                Mount::Anonymous { target } => Some(anonymous(target)),
                Mount::Bind { read_only: true, .. } => None,
                Mount::Bind { source, .. } => match source.strip_prefix(checkout) {
                    Err(_) => elsewhere(source),
                    Ok(path) => match in_repository(path) {
                        InRepository::File => None,
                        InRepository::Folder => Some(format!(
                            "may write to {:?} of its checkout, and the next deployment has a new one: what it writes there is lost (`:ro` says that it doesn't)",
                            shown(path)
                        )),
                        InRepository::Nothing => {
                            data.push(Data { service: service.clone(), path: path.to_owned() });
                            None
                        }
                    },
                },
            };
            findings.warnings.extend(told.map(|told| format!("service {service} {told}")));
        }
    }
    (findings, data)
}

/// What is said of a volume that Docker makes with the container.
pub fn anonymous(target: &str) -> String {
    format!(
        "has a volume without a name at {target}: it is not replicated, and on another node it begins empty; give it one of the btrfs driver"
    )
}

fn elsewhere(source: &Path) -> Option<String> {
    let is_none = NO_DATA.iter().any(|place| source.starts_with(place));
    (!is_none).then(|| {
        format!(
            "mounts {source:?} of the node: it is not replicated, and does not move with the app"
        )
    })
}

impl Data {
    /// Why it is refused, and how to do it right.
    pub fn refusal(&self) -> String {
        let (service, path) = (&self.service, shown(&self.path));
        format!(
            "service {service} keeps data in {path:?} of its checkout, and each deployment has a new one: it would be lost. Use a named volume of the btrfs driver in its place (`volumes: [data:/…]`, and below: `volumes: {{data: {{driver: anybox/buttervolume:latest}}}}`)"
        )
    }
}

/// `./data`; the checkout itself is `.`.
fn shown(path: &Path) -> PathBuf {
    Path::new(".").join(path)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(volumes: &serde_json::Value) -> (Vec<String>, Vec<Data>) {
        let config = json!({"services": {"web": {"image": "x", "volumes": volumes}}});
        let project = crate::model::AppName::parse("a_main.11111").unwrap().project();
        let manifest = Manifest::parse(&config, &project, &[]).unwrap();
        let (findings, data) =
            mounts(&manifest, Path::new("/deploy/a-1"), |path| match path.to_str() {
                Some("app.conf") => InRepository::File,
                Some("html" | "") => InRepository::Folder,
                _ => InRepository::Nothing,
            });
        assert!(findings.errors.is_empty());
        (findings.warnings, data)
    }

    fn bind(source: &str, read_only: bool) -> serde_json::Value {
        json!([{"type": "bind", "source": source, "target": "/x", "read_only": read_only}])
    }

    #[test]
    fn what_git_has_not_below_the_checkout_is_data() {
        for (path, is_data, is_told) in [
            ("/deploy/a-1/data", true, false),
            ("/deploy/a-1/html/uploads", true, false),
            ("/deploy/a-1/app.conf", false, false),
            ("/deploy/a-1/html", false, true),
            ("/deploy/a-1", false, true),
            ("/deploy/a-10/data", false, true),
            ("/srv/media", false, true),
            ("/var/run/docker.sock", false, false),
            ("/etc/localtime", false, false),
        ] {
            let (warnings, data) = judged(&bind(path, false));
            assert_eq!((!data.is_empty(), !warnings.is_empty()), (is_data, is_told), "{path}");
            assert_eq!(judged(&bind(path, true)), (Vec::new(), Vec::new()), "{path}");
        }
        let (_, data) = judged(&bind("/deploy/a-1/data", false));
        assert!(data[0].refusal().starts_with("service web keeps data in \"./data\""));
    }

    #[test]
    fn a_volume_without_a_name_is_told_and_a_named_one_is_not() {
        let (warnings, _) = judged(&json!([{"type": "volume", "target": "/cache"}]));
        assert!(warnings[0].starts_with("service web has a volume without a name at /cache"));
        let named = json!([{"type": "volume", "source": "data", "target": "/d"}, {"type": "tmpfs", "target": "/t"}]);
        assert_eq!(judged(&named), (Vec::new(), Vec::new()));
    }
}
