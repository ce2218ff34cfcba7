//! Web origins: what devices sign when they sign in, and what browsers say they come from.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// `scheme://host[:port]`, lower case, without a default port: just as a browser sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Reads `http://` or `https://`, a host, and perhaps a port; nothing may follow but one slash.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.trim().to_ascii_lowercase();
        let (scheme, rest) = lower.split_once("://")?;
        let default_port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return None,
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        // Parsing as a URI authority refuses spaces, paths, queries and ports that are no number.
        let uri: axum::http::uri::Authority = authority.parse().ok()?;
        if authority.contains('@') || uri.host().is_empty() || authority.ends_with(':') {
            return None;
        }
        let after_host = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
        if after_host.split_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_err()) {
            return None;
        }
        let authority = authority.strip_suffix(default_port).unwrap_or(authority);
        Some(Self(format!("{scheme}://{authority}")))
    }

    /// The origins by which programs on this machine, or on the network of a specific address, reach a listener.
    pub fn of_listener(address: SocketAddr, tls: bool) -> Vec<Self> {
        let scheme = if tls { "https" } else { "http" };
        let port = address.port();
        let mut hosts: Vec<String> = Vec::new();
        if !address.ip().is_unspecified() {
            hosts.push(host(address.ip()));
        }
        for name in ["127.0.0.1", "localhost"] {
            if !hosts.iter().any(|host| host == name) {
                hosts.push(name.to_owned());
            }
        }
        hosts.iter().filter_map(|host| Self::parse(&format!("{scheme}://{host}:{port}"))).collect()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether its host is this machine.
    pub fn is_loopback(&self) -> bool {
        let authority = self.0.split_once("://").map_or("", |(_, authority)| authority);
        let host = match authority.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or(""),
            None => authority.split(':').next().unwrap_or(""),
        };
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_origin_is_written_as_a_browser_sends_it() {
        assert_eq!(
            Origin::parse("HTTPS://Chat.Example.org:443/").unwrap().as_str(),
            "https://chat.example.org"
        );
        assert_eq!(Origin::parse("http://[::1]:8080").unwrap().as_str(), "http://[::1]:8080");
        for bad in [
            "",
            "chat.example.org",
            "ftp://x",
            "https://",
            "https://a/b",
            "https://a?b",
            "https://u@a",
            "http://a:b",
            "http://a:99999",
            "http://a:",
        ] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_listener_on_loopback_has_its_two_usual_names() {
        let names = |address: &str| -> Vec<String> {
            Origin::of_listener(address.parse().unwrap(), false).iter().map(|o| o.to_string()).collect()
        };
        assert_eq!(names("127.0.0.1:8080"), ["http://127.0.0.1:8080", "http://localhost:8080"]);
        assert_eq!(names("0.0.0.0:80"), ["http://127.0.0.1", "http://localhost"]);
        assert_eq!(names("[::1]:9"), ["http://[::1]:9", "http://127.0.0.1:9", "http://localhost:9"]);
        assert!(Origin::parse("http://[::1]:9").unwrap().is_loopback());
        assert!(!Origin::parse("https://127.0.0.1.example.org").unwrap().is_loopback());
    }
}
