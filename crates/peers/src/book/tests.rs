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

fn known(number: u8, addresses: &[&str]) -> Known {
    Known::new(id(number)).at(addresses.iter().map(|text| address(text)).collect())
}

#[test]
fn what_one_process_writes_another_one_sees() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("state/peers");
    let (one, other) = (Book::open(&folder).unwrap(), Book::open(&folder).unwrap());
    assert!(one.find(&id(2)).is_none() && !other.look().unwrap());
    let lab = known(2, &["/ip4/192.0.2.7/tcp/4101"]).showing(grant(2, None)).named(Some("lab".into())).with_tools();
    one.allow(lab.clone()).unwrap();
    assert!(other.find(&id(2)).is_none());
    let mut told = other.changed();
    assert!(other.look().unwrap() && !other.look().unwrap() && told.has_changed().unwrap());
    told.mark_unchanged();
    assert_eq!(other.find(&id(2)).unwrap(), lab);
    // Neither writes over what the other one wrote.
    other.allow(known(3, &[]).by_grant(grant(1, Some(3)))).unwrap();
    one.allow(known(4, &[])).unwrap();
    assert_eq!(one.all().len(), 3);
    assert!(!one.find(&id(3)).unwrap().may_ask && one.find(&id(4)).unwrap().may_ask);
    assert!(one.forget(&id(3)).unwrap() && !one.forget(&id(9)).unwrap());
    assert!(other.look().unwrap() && other.find(&id(3)).is_none());
    assert!(!one.look().unwrap(), "one's own change is no news");
}

#[cfg(unix)]
#[test]
fn it_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("peers");
    Book::open(&folder).unwrap().allow(known(2, &[])).unwrap();
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
    book.admit(&granted, id(1), id(2), now()).unwrap();
    let written = std::fs::read(folder.path().join("book.json")).unwrap();
    book.admit(&granted, id(1), id(2), now()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("book.json")).unwrap(), written);
    let other = book.admit(&granted, id(1), id(3), now()).unwrap_err();
    assert!(other.kind() == ErrorKind::PolicyForbidden && other.message().contains("another peer"), "{other}");
    assert!(book.admit(&granted, id(4), id(2), now()).is_err(), "of another issuer");

    // Whoever is forgotten cannot come back with what it has.
    assert!(book.forget(&id(2)).unwrap());
    let reopened = Book::open(folder.path()).unwrap();
    assert!(reopened.find(&id(2)).is_none());
    let error = reopened.admit(&granted, id(1), id(2), now()).unwrap_err();
    assert!(error.message().contains("taken back"), "{error}");

    // Nor can anybody with a ticket that was taken back before it was used; one for a peer by name is the same.
    for granted in [grant(1, None), grant(1, Some(5))].map(|grant| grant.open(now()).unwrap()) {
        assert_eq!(reopened.take_back(&granted).unwrap(), None);
        assert!(reopened.admit(&granted, id(1), id(5), now()).is_err());
    }
    let named = grant(1, Some(5));
    reopened.allow(known(5, &[]).by_grant(named.clone())).unwrap();
    assert_eq!(reopened.take_back(&named.open(now()).unwrap()).unwrap(), Some(id(5)));
    assert!(reopened.find(&id(5)).is_none());
}

#[test]
fn the_configuration_trusts_besides_and_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let book = Book::open(folder.path()).unwrap().with_trusted([id(2)], [id(2), id(3)]);
    assert!(book.find(&id(2)).unwrap().tools && book.find(&id(3)).is_none());
    book.allow(known(3, &[]).by_grant(grant(1, Some(3)))).unwrap();
    book.allow(known(2, &["/ip4/192.0.2.7/tcp/1"]).by_grant(grant(1, Some(2)))).unwrap();
    let (lab, other) = (book.find(&id(2)).unwrap(), book.find(&id(3)).unwrap());
    assert!(lab.may_ask && lab.configured && lab.addresses.len() == 1);
    assert!(!other.may_ask && !other.configured && other.tools);
    assert_eq!(book.all().len(), 2);
    assert!(book.forget(&id(2)).unwrap_err().hint().unwrap().contains("trusted"));
    assert!(!Book::open(folder.path()).unwrap().find(&id(2)).unwrap().may_ask);
}

#[test]
fn a_file_that_somebody_broke_is_named_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("book.json");
    let book = Book::open(folder.path()).unwrap();
    book.allow(known(2, &[])).unwrap();
    for broken in ["{", "{\"v\":1,\"peers\":[{\"id\":\"nobody\"}]}", "{\"v\":2}"] {
        std::fs::write(&file, broken).unwrap();
        let error = Book::open(folder.path()).unwrap_err();
        assert!(error.message().contains("book.json") && error.hint().is_some(), "{error}");
        assert!(book.look().is_err() && book.allow(known(3, &[])).is_err());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), broken);
        assert!(book.find(&id(2)).is_some(), "what was known holds on");
    }
}
