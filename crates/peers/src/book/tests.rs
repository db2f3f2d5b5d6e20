#![allow(clippy::unwrap_used)]
use super::*;
use libp2p_identity::Keypair;
use llm_router::limits::grant::Caveats;

fn now() -> SystemTime {
    SystemTime::now()
}

fn key(number: u8) -> Keypair {
    Keypair::ed25519_from_bytes([number; 32]).unwrap()
}

fn id(number: u8) -> PeerId {
    key(number).public().to_peer_id()
}

fn grant(issuer: u8, subject: Option<u8>) -> Grant {
    let mut caveats = Caveats::default();
    caveats.expires = Some(crate::record::seconds(now()) + 3600);
    caveats.limits.concurrency = Some(2);
    Grant::issue(&key(issuer), subject.map(id), caveats, now()).unwrap()
}

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

#[test]
fn what_one_process_writes_another_one_sees() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("state/peers");
    let (one, other) = (Book::open(&folder).unwrap(), Book::open(&folder).unwrap());
    assert!(one.find(&id(2)).is_none() && !other.changed().unwrap());
    one.allow(id(2), vec![address("/ip4/192.0.2.7/tcp/4101")], Some(grant(2, None))).unwrap();
    assert!(other.find(&id(2)).is_none());
    assert!(other.changed().unwrap() && !other.changed().unwrap());
    let known = other.find(&id(2)).unwrap();
    assert_eq!(known, one.find(&id(2)).unwrap());
    assert!(known.grant.is_some() && known.may_ask(now()));
    // Neither writes over what the other one wrote.
    other.allow(id(3), Vec::new(), None).unwrap();
    one.allow(id(4), Vec::new(), None).unwrap();
    assert_eq!(one.all().len(), 3);
    assert!(one.forget(&id(3)).unwrap() && !one.forget(&id(3)).unwrap());
    assert!(other.changed().unwrap() && other.find(&id(3)).is_none());
    assert!(!one.changed().unwrap(), "one's own change is no news");
}

#[cfg(unix)]
#[test]
fn it_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("peers");
    Book::open(&folder).unwrap().allow(id(2), Vec::new(), None).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in std::fs::read_dir(&folder).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn a_ticket_is_whose_it_was_shown_by_first_and_is_gone_with_its_peer() {
    let folder = tempfile::tempdir().unwrap();
    let book = Book::open(folder.path()).unwrap();
    let granted = grant(1, None).open(now()).unwrap();
    book.remember(&granted, id(1), id(2), now()).unwrap();
    let written = std::fs::read(folder.path().join("book.json")).unwrap();
    book.remember(&granted, id(1), id(2), now()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("book.json")).unwrap(), written);
    assert_eq!(book.find(&id(2)).unwrap().given.unwrap().limits[0].concurrency, Some(2));
    let other = book.remember(&granted, id(1), id(3), now()).unwrap_err();
    assert!(other.kind() == ErrorKind::PolicyForbidden && other.message().contains("another peer"), "{other}");
    assert!(book.remember(&granted, id(4), id(2), now()).is_err(), "of another issuer");

    // Whoever is forgotten cannot come back with what it has.
    assert!(book.forget(&id(2)).unwrap());
    let reopened = Book::open(folder.path()).unwrap();
    assert!(reopened.find(&id(2)).is_none());
    let error = reopened.remember(&granted, id(1), id(2), now()).unwrap_err();
    assert!(error.message().contains("taken back"), "{error}");

    // Nor can anybody with a ticket that was taken back before it was used; one for a peer by name is the same.
    for granted in [grant(1, None), grant(1, Some(5))].map(|grant| grant.open(now()).unwrap()) {
        assert_eq!(reopened.take_back(&granted).unwrap(), None);
        assert!(reopened.remember(&granted, id(1), id(5), now()).is_err());
    }
}

#[test]
fn a_grant_that_ended_lets_nobody_ask() {
    let book = Book::in_memory();
    let granted = grant(1, Some(2)).open(now()).unwrap();
    book.remember(&granted, id(1), id(2), now()).unwrap();
    let known = book.find(&id(2)).unwrap();
    assert!(known.may_ask(now()) && !known.may_ask(now() + Duration::from_secs(3601)));
    assert_eq!(book.take_back(&granted).unwrap(), Some(id(2)));
}

#[test]
fn the_configuration_trusts_besides_and_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let book = Book::open(folder.path()).unwrap().with_trusted([id(2)], [id(2), id(3)]);
    assert!(book.find(&id(2)).unwrap().tools && book.find(&id(3)).is_none());
    book.allow(id(3), vec![address("/ip4/192.0.2.7/tcp/1")], None).unwrap();
    book.allow(id(3), vec![address("/ip4/192.0.2.7/tcp/2")], None).unwrap();
    book.describe(id(3), Some("lab".into()), false).unwrap();
    let known = book.find(&id(3)).unwrap();
    assert_eq!((known.name.as_deref(), known.tools, known.configured), (Some("lab"), true, false));
    assert_eq!(known.addresses, ["/ip4/192.0.2.7/tcp/2", "/ip4/192.0.2.7/tcp/1"].map(address));
    assert_eq!(book.all().len(), 2);
    assert!(book.forget(&id(2)).unwrap_err().hint().unwrap().contains("trusted"));
    assert!(Book::open(folder.path()).unwrap().find(&id(2)).is_none());
}

#[test]
fn a_file_that_somebody_broke_is_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("book.json");
    let book = Book::open(folder.path()).unwrap();
    book.allow(id(2), Vec::new(), None).unwrap();
    for broken in ["{", "{\"v\":1,\"peers\":[{\"id\":\"nobody\"}]}", "{\"v\":2}"] {
        std::fs::write(&file, broken).unwrap();
        let error = Book::open(folder.path()).unwrap_err();
        assert!(error.message().contains("book.json") && error.hint().is_some(), "{error}");
        assert!(book.changed().is_err() && book.allow(id(3), Vec::new(), None).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), broken);
        assert!(book.find(&id(2)).is_some(), "what was known holds on");
    }
}
