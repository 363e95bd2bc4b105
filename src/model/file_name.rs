//! An app's name as the name of one file: the only way in which it becomes one. (A checkout is a path, and keeps the
//! form that the older system gave it.)

use std::fmt::Write as _;

use ring::digest::{SHA256, digest};

use super::AppName;

/// What Linux takes.
const LONGEST: usize = 255;
/// Stands between the beginning of a name that is too long and its digest. No other name has it: after a `%` there are
/// two digits.
const CUT: &str = "%-";
const DIGEST: usize = 64;

impl AppName {
    /// The name of the app's file, wherever it has one: itself, as long as it has only letters, digits, `_`, `+`, `-` and
    /// single dots, and is short; `feature/x` becomes `feature%2Fx`. No two apps have the same.
    pub fn file_name(&self) -> String {
        let escaped = escaped(self.as_str());
        match escaped.len() <= LONGEST {
            true => escaped,
            false => {
                let begin: String = escaped.chars().take(LONGEST - CUT.len() - DIGEST).collect();
                format!("{begin}{CUT}{}", hex(self.as_str()))
            }
        }
    }
}

fn escaped(name: &str) -> String {
    let mut text = String::new();
    let mut before = None;
    for byte in name.bytes() {
        let is_plain = byte.is_ascii_alphanumeric()
            || b"_+-".contains(&byte)
            // Not at the beginning, where it would hide the file, nor after another one.
            || (byte == b'.' && !matches!(before, None | Some(b'.')));
        match is_plain {
            true => text.push(char::from(byte)),
            // Writing to a text does not fail.
            false => drop(write!(text, "%{byte:02X}")),
        }
        before = Some(byte);
    }
    text
}

fn hex(text: &str) -> String {
    let digest = digest(&SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn file(name: &str) -> String {
        AppName::parse(name).unwrap().file_name()
    }

    #[test]
    fn plain_names_stay_and_the_others_are_told_apart() {
        assert_eq!(file("foobar_master.ddb14"), "foobar_master.ddb14");
        assert_eq!(file("foobar_Feature/x-1.ddb14"), "foobar_Feature%2Fx-1.ddb14");
        assert_eq!(file("foobar_Feature%2Fx-1.ddb14"), "foobar_Feature%252Fx-1.ddb14");
        assert_eq!(file("a..b"), "a.%2Eb");
        let long = "x/".repeat(200) + "y";
        let (one, other) = (file(&long), file(&format!("{}z", &long[..long.len() - 1])));
        assert_eq!((one.len(), other.len()), (LONGEST, LONGEST));
        assert_ne!(one, other);
    }

    /// Names as keys may hold them, and as repositories and branches make them.
    fn names() -> impl Strategy<Value = AppName> {
        let any = "[a-zA-Z0-9._~:/@%+\\[\\]-]{1,400}";
        let close = "[ab./%~-]{1,6}";
        let made = ("[a-z0-9._~%@-]{1,40}", "[a-zA-Z0-9._/+-]{1,128}");
        let made = made.prop_map(|(repo, branch)| format!("{repo}_{branch}.12345"));
        let text = prop_oneof![any, close, made];
        text.prop_filter_map("a name", |text| AppName::parse(&text).ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig { max_global_rejects: 1_000_000, ..ProptestConfig::default() })]
        #[test]
        fn every_name_is_one_step_of_a_path_and_nobody_elses(
            all in proptest::collection::vec(names(), 2..20)
        ) {
            let mut files = BTreeMap::new();
            for name in all {
                let file = name.file_name();
                prop_assert!((1..=LONGEST).contains(&file.len()), "{file}");
                prop_assert!(!file.contains("..") && !file.starts_with('.'), "{file}");
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-%".contains(c);
                prop_assert!(file.chars().all(is_plain), "{file}");
                let former = files.insert(file, name.clone());
                prop_assert!(former.is_none_or(|former| former == name));
            }
        }
    }
}
