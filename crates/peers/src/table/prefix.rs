//! Where a peer comes from, as far as that bounds how many peers one owner can pretend to be: identities are free, addresses are not.

use std::net::IpAddr;

use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use sha2::{Digest, Sha256};

/// The part of an address that one owner can be thought to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// A /24 of IPv4.
    V4([u8; 3]),
    /// A /48 of IPv6.
    V6([u8; 6]),
    /// A name, by its hash.
    Name(u32),
    /// By way of a relay in this /24 or /48, or of this name, by its hash: many may stand behind one.
    Relay(u32),
    /// No address is known.
    Unknown,
}

impl Prefix {
    /// Of an address from which a peer was seen to come.
    #[must_use]
    pub fn of_ip(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }

    /// Of an address that a connection or a record names.
    #[must_use]
    pub fn of(address: &Multiaddr) -> Self {
        let mut prefix = Self::Unknown;
        for part in address {
            prefix = match part {
                Protocol::Ip4(ip) => Self::of_ip(ip.into()),
                Protocol::Ip6(ip) => Self::of_ip(ip.into()),
                Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) | Protocol::Dnsaddr(name) => {
                    Self::Name(hash(name.as_bytes()))
                }
                Protocol::P2pCircuit => return Self::Relay(hash(format!("{prefix:?}").as_bytes())),
                _ => prefix,
            };
        }
        prefix
    }

    /// Of the first of some addresses that says anything, those without a relay first.
    pub(crate) fn of_any<'a>(addresses: impl IntoIterator<Item = &'a Multiaddr>) -> Self {
        let mut best = Self::Unknown;
        for address in addresses {
            match Self::of(address) {
                Self::Unknown => {}
                relay @ Self::Relay(_) => best = if best == Self::Unknown { relay } else { best },
                direct => return direct,
            }
        }
        best
    }

    /// How many peers may come from it, where so many may come from one address range.
    pub(crate) fn most(self, per_range: u32) -> u32 {
        match self {
            Self::V4(_) | Self::V6(_) | Self::Name(_) => per_range,
            Self::Relay(_) => per_range.saturating_mul(8),
            Self::Unknown => per_range.saturating_mul(16),
        }
    }
}

fn hash(bytes: &[u8]) -> u32 {
    Sha256::digest(bytes).iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(address: &str) -> Prefix {
        Prefix::of(&address.parse().unwrap())
    }

    #[test]
    fn neighbours_are_one() {
        assert_eq!(of("/ip4/192.0.2.7/tcp/1"), Prefix::V4([192, 0, 2]));
        assert_eq!(of("/ip4/192.0.2.7/tcp/1"), of("/ip4/192.0.2.200/udp/9/quic-v1"));
        assert_eq!(of("/ip6/2001:db8:1:2::1/tcp/1"), of("/ip6/2001:db8:1:ffff::9/tcp/2"));
        assert_ne!(of("/ip6/2001:db8:1::1/tcp/1"), of("/ip6/2001:db8:2::1/tcp/1"));
        assert_eq!(of("/ip6/::ffff:192.0.2.7/tcp/1"), of("/ip4/192.0.2.8/tcp/1"), "one machine in two families");
        assert_eq!(of("/dns4/example.org/tcp/1"), of("/dns/example.org/tcp/443"));
        assert_eq!(of("/memory/7"), Prefix::Unknown);
    }

    #[test]
    fn a_relay_is_not_the_peer_behind_it() {
        let relay = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        let relayed = format!("/ip4/192.0.2.7/tcp/1/p2p/{relay}/p2p-circuit");
        assert!(matches!(of(&relayed), Prefix::Relay(_)));
        let list: Vec<Multiaddr> = [&relayed[..], "/ip4/198.51.100.1/tcp/1"].map(|one| one.parse().unwrap()).into();
        assert_eq!(Prefix::of_any(&list), Prefix::V4([198, 51, 100]), "the direct one says more");
        assert_eq!(Prefix::of_any(&list[..1]), of(&relayed));
        assert!(of(&relayed).most(32) > Prefix::V4([0; 3]).most(32));
    }
}
