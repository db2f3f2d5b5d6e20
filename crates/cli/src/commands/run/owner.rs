//! Whose program listens at a port of this machine. Any user may take a port that is free, and would be sent what was meant for the router.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The tables of the system, and how many digits an address has in each.
const TABLES: [(&str, usize); 2] = [("/proc/net/tcp", 8), ("/proc/net/tcp6", 32)];
/// The state of a socket that listens.
const LISTENS: &str = "0A";

/// How often one looks again: while somebody of one's own listens, and while nobody does.
pub(super) const LOOK: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(50)];

/// Who listens at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// This user, or the system's own.
    Ours,
    /// Nobody, or the system does not tell.
    Nobody,
    /// Another user.
    Theirs,
}

/// Looks who listens there.
pub(super) fn of(address: SocketAddr) -> Owner {
    let own = rustix::process::geteuid().as_raw();
    let tables = TABLES.iter().filter_map(|(file, digits)| Some((fs::read_to_string(file).ok()?, *digits)));
    let owners: Vec<u32> = tables.flat_map(|(table, digits)| owners(&table, digits, address)).collect();
    match owners.iter().all(|owner| *owner == own || *owner == 0) {
        true if owners.is_empty() => Owner::Nobody,
        true => Owner::Ours,
        false => Owner::Theirs,
    }
}

/// Looks again and again until it is another user's. Nobody's it may be for a while: a router is started anew.
pub(super) async fn taken(look: impl Fn() -> Owner, [ours, nobody]: [Duration; 2]) {
    loop {
        let pause = match look() {
            Owner::Ours => ours,
            Owner::Nobody => nobody,
            Owner::Theirs => return,
        };
        tokio::time::sleep(pause).await;
    }
}

/// The users whose sockets listen at an address of this machine, by a table as the system prints it.
fn owners(table: &str, digits: usize, address: SocketAddr) -> Vec<u32> {
    let port = format!("{:04X}", address.port());
    let of = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (at, listening) = words.next()?.split_once(':')?;
        let state = words.nth(1)?;
        let owner = words.nth(3)?.parse().ok()?;
        let here = at.len() == digits && (at.bytes().all(|digit| digit == b'0') || is_at(at, address.ip()));
        (here && listening == port && state == LISTENS).then_some(owner)
    };
    table.lines().filter_map(of).collect()
}

/// Whether so many hexadecimal digits, each word of four bytes in the order of this machine, are an address.
fn is_at(digits: &str, address: IpAddr) -> bool {
    let bytes = match address {
        IpAddr::V4(v4) if digits.len() == 8 => v4.octets().to_vec(),
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).filter_map(|word| Some(u32::from_ne_bytes(word.try_into().ok()?)));
    words.map(|word| format!("{word:08X}")).collect::<String>() == digits
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 00000000:1F41 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0
   2: 0100007F:1F40 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1001        0 3 1 0 20 4 30 10 -1
   3: 0200007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 4 1 0 100 0 0 10 0
";

    #[test]
    fn the_owner_of_what_listens() {
        let at = |text: &str| owners(TABLE, 8, text.parse().unwrap());
        assert_eq!(at("127.0.0.1:8000"), [1000]);
        assert_eq!(at("127.0.0.1:8001"), [0]);
        assert!(at("127.0.0.1:8002").is_empty() && at("[::1]:8000").is_empty());
        assert!(is_at("0000000000000000FFFF00000100007F", "127.0.0.1".parse().unwrap()));
        assert!(is_at("00000000000000000000000001000000", "::1".parse().unwrap()));
    }

    #[test]
    fn a_socket_of_this_process_is_ours() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(of(address), Owner::Ours);
        drop(listener);
        assert_eq!(of(address), Owner::Nobody);
    }

    #[tokio::test]
    async fn one_looks_until_it_is_another_users() {
        let seen = std::cell::Cell::new(0);
        let look = || {
            seen.set(seen.get() + 1);
            let all = [Owner::Ours, Owner::Nobody, Owner::Nobody, Owner::Ours];
            all.get(seen.get() - 1).copied().unwrap_or(Owner::Theirs)
        };
        taken(look, [Duration::ZERO; 2]).await;
        assert_eq!(seen.get(), 5);
    }
}
