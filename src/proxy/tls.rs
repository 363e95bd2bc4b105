//! Where the certificate of a site comes from on this node: what its text wishes, or what was settled instead.

use std::path::PathBuf;

use caddyfile::TlsWish;

/// Where a node's Caddy has a site's certificate from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsSource {
    /// It is issued here, as the text wishes.
    Issued(TlsWish),
    /// An admin, by a policy; none: there is none that can be used, and nobody else is asked for one.
    Given(Option<Box<Given>>),
    /// A public authority, with this account or as the settings say; but another node sees to it, and this one only has a
    /// copy.
    Lent(Option<String>),
}

impl TlsSource {
    /// As the node's settings say.
    pub const DEFAULT: Self = Self::Issued(TlsWish::Default);

    /// Whether a certificate from here is as good as one from the other, whoever renews it.
    pub fn is_as_good_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Lent(account), Self::Issued(wish))
            | (Self::Issued(wish), Self::Lent(account)) => match wish {
                TlsWish::Default => account.is_none(),
                TlsWish::Email(email) => account.as_ref() == Some(email),
                TlsWish::Internal => false,
            },
            _ => self == other,
        }
    }
}

impl From<TlsWish> for TlsSource {
    fn from(wish: TlsWish) -> Self {
        Self::Issued(wish)
    }
}

/// A copy of an admin's certificate that Caddy reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Given {
    /// Another one for each pair of files.
    pub tag: String,
    /// The certificate and its chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_as_good_as_what_it_is_a_copy_of_and_as_nothing_else() {
        let email = |text: &str| TlsSource::Issued(TlsWish::Email(text.to_owned()));
        let lent = |text: &str| TlsSource::Lent(Some(text.to_owned()));
        for (one, other) in [
            (TlsSource::Lent(None), TlsSource::DEFAULT),
            (lent("x@y.test"), email("x@y.test")),
            (TlsSource::Given(None), TlsSource::Given(None)),
        ] {
            assert!(one.is_as_good_as(&other) && other.is_as_good_as(&one), "{one:?} {other:?}");
        }
        for (one, other) in [
            (TlsSource::Lent(None), email("x@y.test")),
            (lent("x@y.test"), TlsSource::DEFAULT),
            (lent("x@y.test"), email("z@y.test")),
            (TlsSource::Lent(None), TlsSource::Issued(TlsWish::Internal)),
            (TlsSource::Lent(None), TlsSource::Given(None)),
            (TlsSource::DEFAULT, TlsSource::Given(None)),
        ] {
            assert!(!one.is_as_good_as(&other) && !other.is_as_good_as(&one), "{one:?} {other:?}");
        }
    }
}
