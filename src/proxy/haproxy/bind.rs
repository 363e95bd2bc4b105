//! `bind` of an app's own frontend: an address, a port and a few words.

use std::fmt;
use std::net::Ipv4Addr;

use crate::proxy::text::haproxy_words;

const WORDS: [&str; 3] = ["accept-proxy", "tfo", "v4v6"];

/// Where a frontend listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    address: Option<Ipv4Addr>,
    /// The port.
    pub port: u16,
    words: Vec<&'static str>,
}

impl Bind {
    /// Parses `[*|IPv4]:port` and words of a short list.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let words = haproxy_words(text).map_err(|error| format!("bind {text:?} {error}"))?;
        let Some((place, rest)) = words.split_first() else {
            return Err("bind is empty".to_owned());
        };
        let Some((address, port)) = place.rsplit_once(':') else {
            return Err(format!("bind {text:?} is not ADDRESS:PORT"));
        };
        let address = match address {
            "" | "*" => None,
            ip => Some(
                ip.parse()
                    .map_err(|_| format!("bind {text:?} has neither '*' nor an IPv4 address"))?,
            ),
        };
        let known =
            rest.iter().map(|word| WORDS.into_iter().find(|known| known == word).ok_or(word));
        let words = known
            .collect::<Result<_, _>>()
            .map_err(|word| format!("bind {text:?}: {word:?} is not allowed"))?;
        Ok(Self {
            address,
            port: port_number(port).ok_or_else(|| format!("bind {text:?} has no port"))?,
            words,
        })
    }
}

impl Bind {
    /// The same place by IPv6, for a bind of all addresses.
    pub fn by_ipv6(&self) -> Option<String> {
        let words = self.words.iter().filter(|word| **word != "v4v6");
        let words: String = words.map(|word| format!(" {word}")).collect();
        self.address.is_none().then(|| format!(":::{} v6only{words}", self.port))
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(ip) => write!(f, "{ip}:{}", self.port)?,
            None => write!(f, "*:{}", self.port)?,
        }
        self.words.iter().try_for_each(|word| write!(f, " {word}"))
    }
}

/// A port, from plain digits only (HAProxy gives `+10` and `-1` meanings of their own).
pub(super) fn port_number(text: &str) -> Option<u16> {
    let digits = text.chars().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_is_an_address_and_a_port() {
        assert_eq!(Bind::parse("*:2222").unwrap().to_string(), "*:2222");
        assert_eq!(Bind::parse(":22 accept-proxy").unwrap().to_string(), "*:22 accept-proxy");
        assert_eq!(Bind::parse("127.0.0.1:25").unwrap().to_string(), "127.0.0.1:25");
        assert_eq!(Bind::parse("0.0.0.0:02222").unwrap().port, 2222);
        let by_ipv6 = |text| Bind::parse(text).unwrap().by_ipv6();
        assert_eq!(by_ipv6(":22 accept-proxy v4v6").unwrap(), ":::22 v6only accept-proxy");
        assert_eq!(by_ipv6("127.0.0.1:25"), None);
        for bad in [
            "",
            "2222",
            "*:0",
            "*:-1",
            "*:+10",
            "*:1-65535",
            "[::]:2222",
            ":::2222",
            "::1:2222",
            "localhost:2222",
            "0:2222",
            "0x7f.1:2222",
            "*:99999",
            "unix@/run/x",
            "abns@x:1",
            "*:1,*:2",
            "*:1 ssl crt /etc",
            "*:1 interface eth0",
            "*:1 level admin",
            "*:1\nmode http",
            "*:ssh",
            "fd@3:1",
            "*:1 user root",
        ] {
            assert!(Bind::parse(bad).is_err(), "{bad:?}");
        }
    }
}
