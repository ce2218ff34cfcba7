//! Which local addresses a link binds, and with that which host candidates it offers.
//!
//! Looked up anew for each gathering, so that an ICE restart follows the machine to another network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};

/// Sockets of one connection. A host with many container bridges has dozens of addresses; each costs a socket
/// with a 96 KiB buffer, and ICE checks every pair.
const MAX_ADDRESSES: usize = 8;

/// The machine's own addresses, with ports chosen by the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddresses {
    pub(super) include_loopback: bool,
}

impl ToSocketAddrs for LocalAddresses {
    type Iter = std::vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let interfaces = rtc::shared::ifaces::ifaces()?;
        let found = interfaces.into_iter().filter_map(|interface| interface.addr).map(|addr| addr.ip());
        let chosen = choose(found, self.include_loopback);
        Ok(chosen.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>().into_iter())
    }
}

/// Every address that a peer may reach; loopback if asked for, or if there is nothing else.
fn choose(found: impl Iterator<Item = IpAddr>, include_loopback: bool) -> Vec<IpAddr> {
    let mut chosen = Vec::new();
    for ip in found.filter(reachable) {
        if chosen.len() < MAX_ADDRESSES && !chosen.contains(&ip) {
            chosen.push(ip);
        }
    }
    if include_loopback || chosen.is_empty() {
        chosen.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    chosen
}

fn reachable(ip: &IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        // A peer cannot use one without its zone, which a candidate does not carry.
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(link_local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(found: &[&str], include_loopback: bool) -> Vec<String> {
        let found = found.iter().map(|ip| ip.parse().unwrap());
        choose(found, include_loopback).iter().map(IpAddr::to_string).collect()
    }

    #[test]
    fn addresses_that_no_peer_can_use_are_left_out() {
        let found = ["127.0.0.1", "::1", "192.0.2.2", "169.254.1.1", "fe80::1", "fd00::2", "192.0.2.2"];
        assert_eq!(chosen(&found, false), ["192.0.2.2", "fd00::2"]);
        assert_eq!(chosen(&found, true), ["192.0.2.2", "fd00::2", "127.0.0.1"]);
    }

    #[test]
    fn a_machine_with_loopback_only_can_link_to_itself() {
        assert_eq!(chosen(&["127.0.0.1", "::1"], false), ["127.0.0.1"]);
        assert_eq!(chosen(&[], false), ["127.0.0.1"]);
    }

    #[test]
    fn a_machine_with_many_addresses_offers_some() {
        let found: Vec<String> = (1..100).map(|n| format!("10.0.{n}.1")).collect();
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        assert_eq!(chosen(&found, false).len(), MAX_ADDRESSES);
    }
}
