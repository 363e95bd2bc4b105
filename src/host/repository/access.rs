//! How libgit2 gets in: credentials to offer, and the host's key to accept or not.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use git2::{CertificateCheckStatus, Cred, CredentialType, ErrorClass, ErrorCode};

use super::endpoint::Endpoint;
use super::git::{GitSettings, HostKeyPolicy};
use super::known_hosts::{self, Knowledge};

/// What happened at the door, for the error message.
#[derive(Debug, Default, Clone)]
pub(super) struct Findings {
    /// Credentials offered so far, without secrets.
    pub(super) tried: Vec<String>,
    /// Why the host's key was not accepted.
    pub(super) host_key: Option<String>,
}

/// The door of one host, for one checkout.
pub(super) struct Access<'a> {
    settings: &'a GitSettings,
    endpoint: Option<Endpoint>,
    https: bool,
    findings: RefCell<Findings>,
}

impl<'a> Access<'a> {
    pub(super) fn new(settings: &'a GitSettings, url: &str) -> Self {
        Self {
            settings,
            endpoint: Endpoint::of(url),
            https: url.starts_with("https://"),
            findings: RefCell::default(),
        }
    }

    pub(super) fn findings(&self) -> Findings {
        self.findings.borrow().clone()
    }

    /// Offers each credential once; libgit2 asks again after each refusal.
    pub(super) fn credential(
        &self,
        user: Option<&str>,
        allowed: CredentialType,
    ) -> Result<Cred, git2::Error> {
        let user = user.unwrap_or("git");
        if allowed.contains(CredentialType::SSH_KEY) {
            return self.ssh_credential(user);
        }
        if allowed.contains(CredentialType::USERNAME) {
            return Cred::username(user);
        }
        let name = &self.settings.https_user;
        if allowed.contains(CredentialType::USER_PASS_PLAINTEXT)
            && let Some(token) = self.token()
            && self.first_time(format!("the token of {name}"))
        {
            return Cred::userpass_plaintext(name, token);
        }
        Err(refusal("no more credentials to offer"))
    }

    /// The token, if it is meant for this host: an event may name any.
    fn token(&self) -> Option<&str> {
        let token = self.settings.https_token.as_deref().filter(|_| self.https)?;
        let endpoint = self.endpoint.as_ref()?;
        let place = endpoint.to_string().to_lowercase();
        if self.settings.https_hosts.contains(&place) {
            return Some(token);
        }
        self.first_time(format!("no token: https-hosts does not have {endpoint}"));
        None
    }

    fn ssh_credential(&self, user: &str) -> Result<Cred, git2::Error> {
        let passphrase = self.settings.ssh_passphrase.as_deref();
        for key in self.keys() {
            if self.first_time(format!("{user} with key {}", key.display())) {
                return Cred::ssh_key(user, None, &key, passphrase);
            }
        }
        let agent = std::env::var_os("SSH_AUTH_SOCK").is_some();
        if agent && self.first_time(format!("{user} with the keys of the SSH agent")) {
            return Cred::ssh_key_from_agent(user);
        }
        Err(refusal("no more SSH keys to offer"))
    }

    /// The configured key, or those that ssh itself would take, as far as they exist.
    fn keys(&self) -> Vec<PathBuf> {
        if let Some(key) = &self.settings.ssh_key {
            return vec![key.clone()];
        }
        let Some(home) = std::env::var_os("HOME") else {
            return Vec::new();
        };
        let home = PathBuf::from(home).join(".ssh");
        ["id_ed25519", "id_ecdsa", "id_rsa"]
            .map(|name| home.join(name))
            .into_iter()
            .filter(|key| key.exists())
            .collect()
    }

    fn first_time(&self, offer: String) -> bool {
        let tried = &mut self.findings.borrow_mut().tried;
        let first = !tried.contains(&offer);
        if first {
            tried.push(offer);
        }
        first
    }

    /// Judges the host's SSH key; certificates of https hosts are left to the TLS library.
    pub(super) fn certificate(
        &self,
        cert: &git2::cert::Cert<'_>,
    ) -> Result<CertificateCheckStatus, git2::Error> {
        let (Some(shown), Some(endpoint)) = (cert.as_hostkey(), &self.endpoint) else {
            return Ok(CertificateCheckStatus::CertificatePassthrough);
        };
        let host = endpoint.in_known_hosts();
        let print = shown.hash_sha256().map(|hash| known_hosts::fingerprint(hash));
        let print = print.unwrap_or_else(|| "of an unknown type".to_owned());
        let note = |why: &str| {
            let said = format!("{host} shows the key {print}, and {why}");
            self.findings.borrow_mut().host_key = Some(said);
        };
        match self.judge(&host, shown.hostkey().unwrap_or_default()) {
            Ok(true) => Ok(CertificateCheckStatus::CertificateOk),
            Ok(false) => {
                // libgit2 looks into ~/.ssh/known_hosts, hashed names included, and refuses what is not there.
                note("no file of known hosts has it");
                Ok(CertificateCheckStatus::CertificatePassthrough)
            }
            Err(why) => {
                note(&why);
                Err(refusal("host key refused"))
            }
        }
    }

    /// Whether the key is a good one; false leaves it to libgit2, an error is the reason against it.
    fn judge(&self, host: &str, key: &[u8]) -> Result<bool, String> {
        let policy = self.settings.host_keys;
        if policy == HostKeyPolicy::Off {
            return Ok(true);
        }
        let path = &self.settings.known_hosts;
        let file = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(format!("{} can't be read: {error}", path.display())),
        };
        match (known_hosts::look_up(&file, host, key), policy) {
            (Knowledge::Match, _) => Ok(true),
            (Knowledge::Mismatch, _) => Err(format!("{} has another one", path.display())),
            (Knowledge::Unknown, HostKeyPolicy::Strict) => Ok(false),
            (Knowledge::Unknown, HostKeyPolicy::AcceptNew | HostKeyPolicy::Off) => {
                self.remember(host, key)?;
                Ok(true)
            }
        }
    }

    fn remember(&self, host: &str, key: &[u8]) -> Result<(), String> {
        let path = &self.settings.known_hosts;
        let line = known_hosts::line(host, key).ok_or("it is not a key")?;
        let append = || -> std::io::Result<()> {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            // One write of a whole line: concurrent checkouts can't mix theirs.
            let mut file = OpenOptions::new().append(true).create(true).open(path)?;
            file.write_all(line.as_bytes())
        };
        append().map_err(|error| format!("{} can't be written: {error}", path.display()))?;
        tracing::warn!(host, file = %path.display(), "accepted the new SSH key of a git host");
        Ok(())
    }
}

fn refusal(text: &str) -> git2::Error {
    git2::Error::new(ErrorCode::Auth, ErrorClass::Callback, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_to_the_hosts_that_it_is_meant_for() {
        let settings = GitSettings {
            https_token: Some("secret".to_owned()),
            https_hosts: vec!["git.test:443".to_owned(), "other.test:8443".to_owned()],
            ..GitSettings::default()
        };
        for (url, is_sent) in [
            ("https://git.test/a", true),
            ("https://x@Git.Test:443/a", true),
            ("https://other.test:8443/a", true),
            ("https://other.test/a", false),
            ("https://git.test.evil.test/a", false),
            ("https://git.test@evil.test/a", false),
            ("http://git.test:443/a", false),
        ] {
            let access = Access::new(&settings, url);
            let offered = access.credential(None, CredentialType::USER_PASS_PLAINTEXT);
            assert_eq!(offered.is_ok(), is_sent, "{url}");
        }
        let access = Access::new(&settings, "https://evil.test/a");
        assert!(access.credential(None, CredentialType::USER_PASS_PLAINTEXT).is_err());
        assert_eq!(access.findings().tried, ["no token: https-hosts does not have evil.test:443"]);
    }
}
