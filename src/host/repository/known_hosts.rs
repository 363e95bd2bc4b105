//! The SSH keys of git hosts, in the format of OpenSSH's known_hosts. Pure.

/// What the file says about a host and the key that it shows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// The key is on file.
    Match,
    /// Other keys of this host are on file, or this one is revoked.
    Mismatch,
    /// Nothing is on file. Hashed names are not read.
    Unknown,
}

/// Looks a host up, named as [`super::endpoint::Endpoint::in_known_hosts`] does.
pub(super) fn look_up(file: &str, host: &str, key: &[u8]) -> Knowledge {
    let shown = base64(key);
    let mut knowledge = Knowledge::Unknown;
    for line in file.lines() {
        let mut words = line.split_whitespace().peekable();
        let marker = words.next_if(|word| word.starts_with('@'));
        let (Some(names), Some(_), Some(stored)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let same_host = names.split(',').any(|name| name.eq_ignore_ascii_case(host));
        if names.starts_with('#') || !same_host {
            continue;
        }
        match (marker, stored == shown) {
            (None, true) => return Knowledge::Match,
            (None, false) | (Some("@revoked"), true) => knowledge = Knowledge::Mismatch,
            (Some(_), _) => {}
        }
    }
    knowledge
}

/// The line that puts a host's key on file, or `None` if the key is not one.
pub(super) fn line(host: &str, key: &[u8]) -> Option<String> {
    // A key begins with the length of its type's name and the name.
    let (length, rest) = key.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let kind = std::str::from_utf8(rest.get(..length)?).ok()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-@.".contains(c);
    (!kind.is_empty() && kind.chars().all(plain))
        .then(|| format!("{host} {kind} {}\n", base64(key)))
}

/// A SHA-256 hash as OpenSSH prints it.
pub(super) fn fingerprint(sha256: &[u8]) -> String {
    format!("SHA256:{}", base64(sha256).trim_end_matches('='))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            let digit = (word >> (18 - 6 * place)) & 63;
            text.push(if place <= chunk.len() { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x04abcd";

    #[test]
    fn base64_is_the_standard_one() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
            ("\u{ff}~?", "w79+Pw=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_key_that_was_put_on_file_is_found() {
        let file = line("[h]:2222", KEY).unwrap();
        assert!(file.starts_with("[h]:2222 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5"), "{file}");
        assert_eq!(look_up(&file, "[h]:2222", KEY), Knowledge::Match);
        assert_eq!(look_up(&file, "[H]:2222", KEY), Knowledge::Match);
        assert_eq!(look_up(&file, "h", KEY), Knowledge::Unknown);
        assert_eq!(look_up(&file, "[h]:2222", b"other"), Knowledge::Mismatch);
    }

    #[test]
    fn one_of_several_keys_is_enough_but_a_revoked_one_is_none() {
        let good = line("a,h", KEY).unwrap();
        let file = format!("# h x\n\nh ssh-rsa AAAA\n{good}");
        assert_eq!(look_up(&file, "h", KEY), Knowledge::Match);
        let revoked = format!("@revoked {good}");
        assert_eq!(look_up(&revoked, "h", KEY), Knowledge::Mismatch);
        assert_eq!(look_up(&revoked, "h", b"other"), Knowledge::Unknown);
    }

    #[test]
    fn what_is_no_key_makes_no_line() {
        for bytes in [b"".as_slice(), b"\0\0\0\xff", b"\0\0\0\x03a b", b"\0\0\0\0"] {
            assert_eq!(line("h", bytes), None);
        }
    }
}
