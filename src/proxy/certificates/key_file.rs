//! The key that all nodes share, and sealing by it.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};

use crate::host::files::{FileError, read_text};

/// 64 digits and some white space.
const MAX_FILE: u64 = 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It can't be read.
    #[error("the key of the certificates can't be read (make it by `openssl rand -hex 32`)")]
    File(#[from] FileError),
    /// There is none.
    #[error("{} does not exist: make it by `openssl rand -hex 32`, the same on all nodes", .0.display())]
    Missing(PathBuf),
    /// Others may read it.
    #[error("{} can be read by others: `chmod 600` it", .0.display())]
    Open(PathBuf),
    /// It holds something else.
    #[error("{} has to hold 64 hexadecimal digits: make it by `openssl rand -hex 32`", .0.display())]
    Content(PathBuf),
}

/// What went wrong with sealing, or with opening: the key is another one, or the bytes were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsealed;

/// Seals what stands in KV: AES-256-GCM with a nonce of its own, drawn anew, for each value.
pub struct SharedKey(LessSafeKey);

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey")
    }
}

impl SharedKey {
    /// Reads it from the file of `certificate-key-file`, which nobody but its owner may read.
    pub fn load(path: &Path) -> Result<Self, KeyFileError> {
        // What a symbolic link leads to: an operator may keep it elsewhere.
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let text = read_text(&real, MAX_FILE)?.ok_or_else(|| KeyFileError::Missing(path.into()))?;
        let facts = std::fs::metadata(&real).map_err(|source| FileError::Io {
            action: "read",
            path: real.clone(),
            source,
        })?;
        if facts.permissions().mode() & 0o077 != 0 {
            return Err(KeyFileError::Open(path.to_owned()));
        }
        Self::parse(&text).ok_or_else(|| KeyFileError::Content(path.to_owned()))
    }

    /// 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits = text.bytes().all(|digit| digit.is_ascii_hexdigit()) && text.len() == 64;
        let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        let bytes = (0..64).step_by(2).map(byte).collect::<Option<Vec<u8>>>().filter(|_| digits)?;
        UnboundKey::new(&AES_256_GCM, &bytes).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// A nonce and what it sealed. Only the same `place` opens it.
    pub(super) fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, Unsealed> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Unsealed)?;
        let mut text = plain.to_vec();
        let place = Aad::from(place.as_bytes());
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), place, &mut text)
            .map_err(|_| Unsealed)?;
        Ok([nonce.as_slice(), &text].concat())
    }

    pub(super) fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, Unsealed> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Unsealed)?;
        let mut text = text.to_vec();
        let place = Aad::from(place.as_bytes());
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), place, &mut text);
        opened.map(|plain| plain.to_vec()).map_err(|_| Unsealed)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    fn key(digit: &str) -> SharedKey {
        SharedKey::parse(&digit.repeat(64)).unwrap()
    }

    #[test]
    fn only_the_same_key_and_place_open_what_was_sealed() {
        let (key, other) = (key("a"), key("b"));
        let sealed = key.seal("here", b"secret").unwrap();
        assert_eq!(key.open("here", &sealed).unwrap(), b"secret");
        assert!(other.open("here", &sealed).is_err() && key.open("there", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open("here", &changed).is_err(), "{at}");
            assert!(key.open("here", &sealed[..at]).is_err(), "{at}");
        }
        assert_ne!(sealed, key.seal("here", b"secret").unwrap(), "a nonce is used once");
        assert!(!sealed.windows(6).any(|part| part == b"secret"));
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let load = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            SharedKey::load(&path).map_err(|error| error.to_string())
        };
        assert!(SharedKey::load(&path).unwrap_err().to_string().contains("openssl rand"));
        assert!(load(&format!("{}\n", "0F".repeat(32)), 0o400).is_ok());
        fs::remove_file(&path).unwrap();
        assert!(load(&"a".repeat(64), 0o640).unwrap_err().contains("chmod 600"));
        for text in ["", "a", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64), &"é".repeat(32)] {
            fs::remove_file(&path).unwrap();
            assert!(load(text, 0o600).unwrap_err().contains("64 hexadecimal"), "{text:?}");
        }
        let link = dir.path().join("link");
        fs::write(&path, "a".repeat(64)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(SharedKey::load(&link).is_ok(), "a link is followed");
    }
}
