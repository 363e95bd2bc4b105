//! A prefix read by difference: what did not change since it was read before is neither decoded nor copied.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, SeqAccess, Visitor};

use super::super::base64;
use super::{Entry, Listing};

/// Where an entry stands in what was read before, by its key and its modify index; none if it was not there so.
pub type IsKnown<'a> = dyn Fn(&str, u64) -> Option<usize> + Sync + 'a;

/// The entries below a prefix, in the order of their keys, beside what was known of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// As in [`Listing`].
    pub index: u64,
    /// All of them.
    pub entries: Vec<Seen>,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// As it was: its place in what was read before.
    Known(usize),
    /// Another one than before.
    New(Entry),
}

impl Changes {
    /// The changes of a whole listing.
    pub fn of(listing: Listing, known: &IsKnown<'_>) -> Self {
        let seen = |entry: Entry| match known(&entry.key, entry.modify_index) {
            Some(place) => Seen::Known(place),
            None => Seen::New(entry),
        };
        Self { index: listing.index, entries: listing.entries.into_iter().map(seen).collect() }
    }
}

/// Reads Consul's answer about a prefix. Nothing is copied of an entry that is known.
///
/// # Errors
/// What is wrong with the text.
pub fn read_changes(
    body: &[u8],
    prefix: &str,
    known: &IsKnown<'_>,
) -> Result<Vec<Seen>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let seen = reader.deserialize_seq(Reader { prefix, known })?;
    reader.end()?;
    Ok(seen)
}

struct Reader<'a> {
    prefix: &'a str,
    known: &'a IsKnown<'a>,
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Vec<Seen>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Seen>, A::Error> {
        let mut all = Vec::new();
        while let Some(entry) = list.next_element::<BorrowedEntry<'de>>()? {
            if !entry.key.starts_with(self.prefix) {
                continue;
            }
            all.push(match (self.known)(&entry.key, entry.modify_index) {
                Some(place) => Seen::Known(place),
                None => Seen::New(entry.decode().map_err(serde::de::Error::custom)?),
            });
        }
        Ok(all)
    }
}

/// An entry as Consul writes it, whose texts stay where they are.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct BorrowedEntry<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    create_index: u64,
    modify_index: u64,
    #[serde(default)]
    lock_index: u64,
    #[serde(borrow)]
    session: Option<Text<'a>>,
}

/// Inside an `Option` a plain [`Cow`] would always be copied.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl BorrowedEntry<'_> {
    fn decode(self) -> Result<Entry, ::base64::DecodeError> {
        let session = self.session.map(|text| text.0.into_owned());
        Ok(Entry {
            value: base64::decode(self.value.as_ref().map(|text| text.0.as_ref()))?,
            key: self.key.into_owned(),
            create_index: self.create_index,
            modify_index: self.modify_index,
            lock_index: self.lock_index,
            session: session.filter(|session| !session.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"[
        {"LockIndex":0,"Key":"app/a","Flags":0,"Value":"eA==","CreateIndex":1,"ModifyIndex":9},
        {"LockIndex":2,"Key":"app/\u0062","Flags":0,"Value":null,"Session":"s","CreateIndex":2,"ModifyIndex":3},
        {"LockIndex":0,"Key":"apple","Flags":0,"Value":"*","CreateIndex":2,"ModifyIndex":3}
    ]"#;

    fn read(body: &str, known: &IsKnown<'_>) -> Result<Vec<Seen>, String> {
        read_changes(body.as_bytes(), "app/", known).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_known_is_left_where_it_is() {
        let all = read(BODY, &|_, _| None).unwrap();
        let [Seen::New(a), Seen::New(b)] = all.as_slice() else { panic!("{all:?}") };
        assert_eq!((a.key.as_str(), a.value.as_slice(), a.modify_index), ("app/a", &b"x"[..], 9));
        assert_eq!((b.key.as_str(), b.value.as_slice()), ("app/b", &b""[..]));
        assert_eq!((b.lock_index, b.session.as_deref()), (2, Some("s")));
        // Its value is not even looked at.
        let torn = BODY.replace("eA==", "*");
        let known = |key: &str, index| (key == "app/a" && index == 9).then_some(7);
        let some = read(&torn, &known).unwrap();
        assert_eq!(some, [Seen::Known(7), Seen::New(b.clone())]);
        assert!(read(&torn, &|_, _| None).is_err());
    }

    #[test]
    fn a_listing_and_its_text_give_the_same() {
        let entries = |seen: Vec<Seen>| {
            let all = seen.into_iter().filter_map(|seen| match seen {
                Seen::New(entry) => Some(entry),
                Seen::Known(_) => None,
            });
            all.collect::<Vec<_>>()
        };
        let listing = Listing { index: 9, entries: entries(read(BODY, &|_, _| None).unwrap()) };
        for known in [None, Some(3), Some(9)] {
            let is_known = |_: &str, index: u64| (Some(index) == known).then_some(0);
            let changes = Changes::of(listing.clone(), &is_known);
            assert_eq!(changes.entries, read(BODY, &is_known).unwrap());
        }
    }

    #[test]
    fn what_is_no_list_of_entries_is_an_error() {
        for body in ["", "{}", "[{}]", "[] x", r#"[{"Key":1}]"#] {
            assert!(read(body, &|_, _| None).is_err(), "{body}");
        }
    }
}
