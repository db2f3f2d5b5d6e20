#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

fn after(seconds: u64) -> SystemTime {
    now() + Duration::from_secs(seconds)
}

fn key(number: u8) -> Keypair {
    Keypair::ed25519_from_bytes([number; 32]).unwrap()
}

fn id(number: u8) -> PeerId {
    key(number).public().to_peer_id()
}

/// That holds for so many seconds, for these models.
fn caveats(seconds: u64, models: &[&str]) -> Caveats {
    let mut caveats = Caveats::default();
    caveats.expires = Some(1_790_000_000 + seconds);
    caveats.limits.models = models.iter().map(|model| (*model).to_owned()).collect();
    caveats
}

fn issued(subject: Option<PeerId>) -> Grant {
    let mut limits = caveats(3600, &["qwen*", "gpt-oss"]);
    limits.limits.tokens_per_minute = Some(20_000);
    limits.limits.concurrency = Some(2);
    limits.limits.budget = Some(5_000_000);
    Grant::issue(&key(1), subject, limits, now()).unwrap()
}

#[test]
fn what_was_granted_is_read_and_counted_in_the_words_of_keys() {
    let grant = Grant::from_bytes(&issued(Some(id(2))).to_bytes().unwrap()).unwrap();
    let granted = grant.open(after(60)).unwrap();
    assert_eq!((granted.issuer, granted.subject), (id(1), Some(id(2))));
    let limits = granted.limits().next().unwrap();
    assert_eq!((limits.tokens_per_minute, limits.concurrency, limits.budget), (Some(20_000), Some(2), Some(5_000_000)));
    assert!(granted.allows("qwen3-30b") && granted.allows("gpt-oss") && !granted.allows("gpt-oss-120b"));
}

#[test]
fn its_end_is_its_end() {
    let grant = issued(None);
    assert!(grant.open(after(3599)).is_ok());
    let error = grant.open(after(3700)).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::PolicyUnauthenticated, "the grant ended 100 s ago"));
    assert_eq!(error.hint(), Some("ask for: llm-router peers invite"));
    for (expires, says) in [(None, "has an end"), (Some(5), "ended before"), (Some(1_900_000_000), "366 days")] {
        let mut limits = Caveats::default();
        limits.expires = expires;
        assert!(Grant::issue(&key(1), None, limits, now()).unwrap_err().message().contains(says), "{says}");
    }
}

#[test]
fn whoever_bears_it_first_has_it() {
    let (granted, mut bearers) = (issued(None).open(now()).unwrap(), Bearers::default());
    assert!(bearers.admit(&granted, id(1), id(2), now()).unwrap(), "new");
    assert!(!bearers.admit(&granted, id(1), id(2), now()).unwrap(), "known");
    let error = bearers.admit(&granted, id(1), id(3), now()).unwrap_err();
    assert!(error.kind() == ErrorKind::PolicyForbidden && error.message().contains("came with this grant before"));
    let kept: Vec<Claim> = bearers.claims().cloned().collect();
    let bytes = serde_ipld_dagcbor::to_vec(&kept).unwrap();
    let mut bearers = Bearers::of(serde_ipld_dagcbor::from_slice::<Vec<Claim>>(&bytes).unwrap());
    assert!(bearers.admit(&granted, id(1), id(3), now()).is_err(), "after a start too");
    bearers.take_back(granted.id, granted.expires, now()).unwrap();
    assert!(bearers.admit(&granted, id(1), id(2), now()).unwrap_err().message().contains("taken back"));
}

#[test]
fn one_for_a_peer_is_for_nobody_else_and_for_no_other_issuer() {
    let (granted, mut bearers) = (issued(Some(id(2))).open(now()).unwrap(), Bearers::default());
    assert!(!bearers.admit(&granted, id(1), id(2), now()).unwrap(), "nothing to remember");
    assert!(bearers.admit(&granted, id(1), id(3), now()).unwrap_err().message().contains("another peer"));
    assert!(bearers.admit(&granted, id(9), id(2), now()).unwrap_err().message().contains("of another peer than"));
}

#[test]
fn no_more_bearers_are_remembered_than_there_is_room_for() {
    let mut bearers = Bearers::of((0..MOST_BEARERS).map(|at| {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&at.to_be_bytes());
        Claim { id: id.into(), by: Some(super::tests::id(5)), expires: 1_790_000_100 }
    }));
    let granted = issued(None).open(now()).unwrap();
    assert_eq!(bearers.admit(&granted, id(1), id(2), now()).unwrap_err().kind(), ErrorKind::RouterOverloaded);
    assert!(bearers.admit(&granted, id(1), id(2), after(100)).unwrap(), "those that ended make room");
    assert_eq!(bearers.claims().count(), 1);
}

#[test]
fn who_holds_one_narrows_it_for_another_without_asking() {
    let narrower = issued(Some(id(2))).narrow(&key(2), id(3), caveats(600, &["*-30b"]), now()).unwrap();
    let granted = narrower.open(now()).unwrap();
    assert_eq!((granted.issuer, granted.subject, &granted.through[..]), (id(1), Some(id(3)), &[id(2)][..]));
    assert_eq!(granted.expires, 1_790_000_600);
    assert!(granted.allows("qwen3-30b") && !granted.allows("qwen3-8b") && !granted.allows("other-30b"));
    assert!(narrower.open(after(600)).is_err());
    let error = issued(Some(id(2))).narrow(&key(4), id(3), caveats(600, &[]), now()).unwrap_err();
    assert!(error.message().contains("who alone can narrow it"), "{error}");
    let error = issued(None).narrow(&key(2), id(3), caveats(600, &[]), now()).unwrap_err();
    assert!(error.message().contains("bears it first"), "{error}");
}

#[test]
fn a_grant_is_narrowed_eight_times_at_most() {
    let mut grant = Grant::issue(&key(1), Some(id(2)), caveats(3600, &[]), now()).unwrap();
    for step in 0..8 {
        grant = grant.narrow(&key(2 + step), id(3 + step), caveats(3000, &[]), now()).unwrap();
    }
    assert_eq!(grant.open(now()).unwrap().caveats.len(), 9);
    let error = grant.narrow(&key(10), id(11), caveats(60, &[]), now()).unwrap_err();
    assert!(error.message().contains("8 times"), "{error}");
}

#[test]
fn a_block_taken_away_added_or_exchanged_is_no_grant() {
    let whole = issued(Some(id(2)))
        .narrow(&key(2), id(3), caveats(600, &["qwen*"]), now())
        .and_then(|grant| grant.narrow(&key(3), id(4), caveats(500, &[]), now()))
        .unwrap();
    let other = issued(Some(id(2))).narrow(&key(2), id(3), caveats(700, &[]), now()).unwrap();
    let opened = |blocks: &[&ByteBuf]| Grant(blocks.iter().map(|block| (*block).clone()).collect()).open(now());
    let [a, b, c] = [&whole.0[0], &whole.0[1], &whole.0[2]];
    assert!(opened(&[a, b, c]).is_ok());
    for blocks in [&[a, c][..], &[b, c], &[a, c, b], &[a, b, b], &[a, &other.0[1]], &[]] {
        assert!(opened(blocks).is_err());
    }
    // Taken away at the end it is the one before it: its holder gave it away itself, and it is for that holder alone.
    assert_eq!(opened(&[a, b]).unwrap().subject, Some(id(3)));
}

#[test]
fn what_a_later_version_takes_away_is_not_overlooked() {
    #[derive(Serialize)]
    struct Later<'a> {
        v: u32,
        id: ByteArray<16>,
        #[serde(with = "peer_bytes")]
        iss: PeerId,
        iat: u64,
        may: Caveats,
        #[serde(skip_serializing_if = "Option::is_none")]
        weekdays: Option<&'a str>,
    }
    let sealed = |v, weekdays, iss| {
        let body = Later { v, id: [1; 16].into(), iss, iat: 1_790_000_000, may: caveats(60, &[]), weekdays };
        Grant(vec![ByteBuf::from(FIRST.seal(&key(1), &body).unwrap())]).open(now())
    };
    assert!(sealed(1, None, id(1)).is_ok());
    assert!(sealed(1, Some("only"), id(1)).unwrap_err().message().contains("weekdays"));
    assert!(sealed(2, None, id(1)).unwrap_err().message().contains("version 2"));
    assert!(sealed(1, None, id(2)).unwrap_err().message().contains("not signed by the peer that it names"));
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange_to_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(grant) = Grant::from_bytes(&bytes) {
            prop_assert!(grant.open(now()).is_err());
        }
    }

    #[test]
    fn no_changed_bit_changes_what_is_granted(at: prop::sample::Index, bit in 0..8_u8) {
        let grant = issued(Some(id(2))).narrow(&key(2), id(3), caveats(600, &[]), now()).unwrap();
        let mut bytes = grant.to_bytes().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // The list around the envelopes is not signed, and its decoder reads some lengths leniently.
        if let Ok(granted) = Grant::from_bytes(&bytes).and_then(|grant| grant.open(now())) {
            prop_assert_eq!(granted, grant.open(now()).unwrap());
        }
    }
}
