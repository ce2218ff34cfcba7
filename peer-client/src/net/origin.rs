//! A server's address.

use std::fmt;

use url::{Host, Url};

/// Longest origin. A host name has at most 253 characters.
const LONGEST: usize = 256;

/// A server's origin in its one spelling, `scheme://host[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    text: String,
    host: String,
    port: u16,
    tls: bool,
    loopback: bool,
}

/// Why a text is no server's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("server: expected an address such as https://chat.example.org or http://127.0.0.1:8080, {0}")]
pub struct OriginError(&'static str);

impl Origin {
    /// Parses what a person typed.
    pub fn parse(raw: &str) -> Result<Self, OriginError> {
        let url = Url::parse(raw.trim()).map_err(|_| OriginError("and this is not a URL"))?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(OriginError("starting with https:// or http://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(OriginError("without a user name or password"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(OriginError("with nothing after host and port"));
        }
        let (host, loopback) = match url.host() {
            Some(Host::Domain(name)) => {
                (name.to_owned(), name == "localhost" || name.ends_with(".localhost"))
            }
            Some(Host::Ipv4(ip)) => (ip.to_string(), ip.is_loopback()),
            Some(Host::Ipv6(ip)) => (ip.to_string(), ip.is_loopback()),
            None => return Err(OriginError("with a host")),
        };
        let port = url.port_or_known_default().ok_or(OriginError("with a port"))?;
        let text = url.origin().ascii_serialization();
        if text.len() > LONGEST {
            return Err(OriginError("of at most 256 characters"));
        }
        Ok(Self { text, host, port, tls, loopback })
    }

    /// `scheme://host[:port]`, the port only if it is not the scheme's own.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host name or address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Whether it is on this machine, where encryption is not needed.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    /// What goes into the `Host` header.
    pub(crate) fn authority(&self) -> &str {
        self.text.split_once("://").map_or("", |(_, authority)| authority)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_spelling() {
        let spelled = |raw: &str| Origin::parse(raw).unwrap().as_str().to_owned();
        assert_eq!(spelled("HTTPS://Chat.Example.org:443/"), "https://chat.example.org");
        assert_eq!(spelled(" http://127.0.0.1:8080 "), "http://127.0.0.1:8080");
        assert_eq!(spelled("http://[::1]:8080"), "http://[::1]:8080");
        let ipv6 = Origin::parse("http://[::1]:8080").unwrap();
        assert_eq!((ipv6.host(), ipv6.port(), ipv6.authority()), ("::1", 8080, "[::1]:8080"));
        assert!(ipv6.is_loopback() && !ipv6.is_tls());
        assert_eq!(Origin::parse("https://example.org").unwrap().port(), 443);
    }

    #[test]
    fn what_is_no_origin_says_what_is_expected() {
        for bad in [
            "",
            "localhost:8080",
            "chat.example.org",
            "ftp://example.org",
            "http://a@example.org",
            "http://example.org/chat",
            "http://example.org/?x",
            "http://example.org/#x",
            "http://",
            &format!("http://{}.org", "a".repeat(300)),
        ] {
            let error = Origin::parse(bad).unwrap_err().to_string();
            assert!(error.starts_with("server: expected an address such as"), "{bad}: {error}");
        }
    }
}
