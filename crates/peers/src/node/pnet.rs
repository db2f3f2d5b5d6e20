//! The key of a private network: a file `swarm.key` in the form that Kubo has. Whoever lacks it cannot even shake hands.

use std::str::FromStr;

pub use libp2p::pnet::PreSharedKey;
use llm_router::{Error, Result};

/// Reads a `swarm.key`: `/key/swarm/psk/1.0.0/`, `/base16/`, then 64 hex digits, each on a line. White space at a line's end, which editors leave, is no part of it.
///
/// # Errors
/// `caller_invalid_request`; nothing of the key is said.
pub fn read(text: &str) -> Result<PreSharedKey> {
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    PreSharedKey::from_str(&lines.join("\n")).map_err(|_| {
        Error::invalid("this is no swarm.key")
            .with_hint("it has three lines: /key/swarm/psk/1.0.0/, /base16/ and 64 hex digits")
    })
}

/// A new key, as the text of its file.
#[must_use]
pub fn make() -> String {
    // The generator of the system, by way of the one that makes identities: `fastrand` is no source of secrets.
    let seed = libp2p::identity::ed25519::Keypair::generate();
    let mut key = [0; 32];
    key.iter_mut().zip(seed.secret().as_ref()).for_each(|(to, from)| *to = *from);
    PreSharedKey::new(key).to_key_file()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_of_kubo_is_read_and_nothing_else() {
        let digits = "0123456789abcdef".repeat(4);
        let file = format!("/key/swarm/psk/1.0.0/\n/base16/\n{digits}");
        let key = read(&file).unwrap();
        assert_eq!(read(&format!("/key/swarm/psk/1.0.0/ \r\n/base16/\r\n{digits}\n\n")).unwrap(), key);
        assert!(!format!("{key:?}").contains(&digits));
        for bad in ["", "/key/swarm/psk/1.0.0/\n/base64/\nAAAA", &file[..file.len() - 1]] {
            let error = read(bad).unwrap_err();
            assert!(!error.to_string().contains(&digits[..8]), "{error}");
        }
        assert_ne!(read(&make()).unwrap(), read(&make()).unwrap());
    }
}
