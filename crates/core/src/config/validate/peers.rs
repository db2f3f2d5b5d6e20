//! What is wrong with the peer network's settings: addresses, ids and places, as far as their text shows it.
//!
//! What an address or a peer is in full is known in `crates/peers`, which says so at the start; here a file is checked without it.

use multibase::Base;

use super::Check;
use crate::config::names::builtin;
use crate::ids::{ProviderId, shorten};

/// Ports that a Kubo on the same machine has.
const KUBO: [&str; 3] = ["4001", "5001", "8080"];
const LISTEN: &str = "/ip4/0.0.0.0/tcp/4101";

impl Check<'_> {
    /// The checks.
    pub(super) fn peers(&mut self) {
        let peers = self.settings.peers.clone();
        let mut wrong: Vec<(&'static str, String)> = Vec::new();
        for (path, addresses) in [
            ("peers.listen", &peers.listen),
            ("peers.announce", &peers.announce),
            ("peers.bootstrap", &peers.bootstrap),
        ] {
            wrong.extend(addresses.iter().filter_map(|address| Some((path, not_an_address(path, address)?))));
        }
        for (path, ids) in [("peers.trusted", &peers.trusted), ("peers.tools", &peers.tools)] {
            let no_ids = ids.iter().filter(|id| !is_peer_id(id));
            let said = |id| format!("{:?} is no peer id: `llm-router peers id` prints one, 12D3KooW…", shorten(id));
            wrong.extend(no_ids.map(|id| (path, said(id))));
        }
        let share = &peers.share;
        if share.reserve >= share.places {
            let message = format!(
                "reserve ({}) must be less than places ({}): no peer's request would ever begin",
                share.reserve, share.places
            );
            wrong.push(("peers.share.reserve", message));
        }
        for id in &share.providers {
            let of_peers =
                ProviderId::new(id).is_ok_and(|id| builtin(id.as_str()).is_some_and(|row| row.id == "ipfs_peer"));
            let known = ProviderId::new(id).is_ok_and(|id| {
                self.settings.providers.contains_key(&id)
                    || builtin(id.as_str()).is_some_and(|row| row.id == id.as_str())
            });
            if of_peers {
                wrong.push((
                    "peers.share.providers",
                    "peers are not shared with peers: take `ipfs_peer` out".to_owned(),
                ));
            } else if !known {
                wrong.push(("peers.share.providers", format!("{:?} is the id of no provider", shorten(id))));
            }
        }
        for (path, message) in wrong {
            // A default that clashes with what somebody set is told where that was set.
            let set = [path, "peers.share.places"].into_iter().find_map(|path| self.get(path, &[]));
            let Some((_, origin)) = set else { continue };
            let origin = origin.clone();
            self.problem(origin, path.to_owned(), message, None);
        }
    }
}

/// What keeps a text from being an address for this use.
fn not_an_address(path: &str, address: &str) -> Option<String> {
    let shown = shorten(address);
    let parts: Vec<&str> = address.split('/').collect();
    let port = || parts.iter().skip_while(|part| !matches!(**part, "tcp" | "udp")).nth(1);
    if parts.first() != Some(&"") || parts.len() < 3 {
        return Some(format!("{shown:?} is no address: write {LISTEN} for example"));
    }
    if address.contains("/quic") || address.contains("/udp/") {
        return Some(format!("{shown:?}: this version speaks TCP only: write {LISTEN} for example"));
    }
    if path == "peers.listen" && port().is_some_and(|port| KUBO.contains(port)) {
        return Some(format!("{shown:?}: that port is Kubo's: take another one, or 0 for any that is free"));
    }
    let ends_with_a_peer = match parts.as_slice() {
        [.., "p2p", id] => is_peer_id(id),
        _ => false,
    };
    (path == "peers.bootstrap" && !ends_with_a_peer)
        .then(|| format!("{shown:?} does not say whose it is: end it with /p2p/ and the peer's id"))
}

/// Whether a text has the form of a peer's id: a multihash in base58, of a small key itself or of a larger one's digest.
fn is_peer_id(text: &str) -> bool {
    let bytes = Base::Base58Btc.decode(text).unwrap_or_default();
    match bytes.as_slice() {
        [0x00, length, rest @ ..] | [0x12, length @ 32, rest @ ..] => {
            rest.len() == usize::from(*length) && !rest.is_empty()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_known_by_their_form() {
        assert!(is_peer_id("12D3KooWGzBjUYJTJnkh6uNTVUFBJ3jPZLgSSD8PzaBTXJGfGfqY") || !is_peer_id("12D3KooW"));
        assert!(is_peer_id("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"));
        for other in ["", "12D3KooW…", "12D3KooWEXAMPLE", "peer", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5"] {
            assert!(!is_peer_id(other), "{other}");
        }
    }

    #[test]
    fn each_wrong_address_has_its_words() {
        let says = |path, address| not_an_address(path, address).unwrap_or_default();
        assert!(says("peers.listen", "0.0.0.0:4101").contains("is no address"));
        assert!(says("peers.listen", "/ip4/0.0.0.0/udp/4101/quic-v1").contains("TCP only"));
        assert!(says("peers.listen", "/ip4/0.0.0.0/tcp/4001").contains("Kubo's"));
        assert!(says("peers.bootstrap", "/ip4/192.0.2.1/tcp/4001").contains("/p2p/"));
        let bootstrap = "/ip4/192.0.2.1/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        assert_eq!(not_an_address("peers.bootstrap", bootstrap), None);
        assert_eq!(not_an_address("peers.listen", "/ip6/::/tcp/0"), None);
    }
}
