#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use ipld_core::ipld::Ipld;
use proptest::prelude::*;

use super::*;

/// Some time in 2026.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

fn after(seconds: u64) -> SystemTime {
    now() + Duration::from_secs(seconds)
}

fn key() -> Keypair {
    Keypair::ed25519_from_bytes([7; 32]).unwrap()
}

fn record() -> Record {
    let mut record = Record::new(key().public().to_peer_id(), 3, 9, now());
    record.addresses = vec!["/ip4/192.0.2.7/tcp/4101".parse().unwrap()];
    let mut model = Model::new("qwen3-30b", 32_768, 8);
    (model.price_in, model.price_out) = (Some(0), Some(150_000));
    model.modalities = Modalities::IMAGE.with(Modalities::AUDIO);
    model.digest = Some(vec![1; 8]);
    record.models = vec![model, Model::new("small", 4096, 1)];
    record.load = Load::new(3, 1);
    record.software = "llm-router/0.1.0".into();
    record
}

/// The record as a map that anybody could have signed.
fn as_map(record: &Record) -> BTreeMap<String, Ipld> {
    serde_ipld_dagcbor::from_slice(&serde_ipld_dagcbor::to_vec(record).unwrap()).unwrap()
}

fn opened(map: &BTreeMap<String, Ipld>) -> Result<Heard, Refused> {
    Record::open(&KIND.seal(&key(), map).unwrap(), now())
}

#[test]
fn what_was_signed_is_read() {
    let bytes = record().seal(&key()).unwrap();
    assert!(bytes.len() < 512, "{}", bytes.len());
    let heard = Record::open(&bytes, after(100)).unwrap();
    assert_eq!((heard.record(), heard.left()), (&record(), Duration::from_secs(200)));
}

#[test]
fn the_wire_names_are_these() {
    let map = as_map(&record());
    let names: Vec<&str> = map.keys().map(String::as_str).collect();
    assert_eq!(names, ["addrs", "iat", "inc", "load", "models", "peer", "policy", "seq", "sw", "ttl", "v"]);
    let Some(Ipld::List(models)) = map.get("models") else { panic!("no list") };
    let Some(Ipld::Map(model)) = models.first() else { panic!("no map") };
    let names: Vec<&str> = model.keys().map(String::as_str).collect();
    assert_eq!(names, ["ctx", "digest", "id", "max_conc", "modalities", "price_in", "price_out", "tools"][..7]);
    assert_eq!(
        map.get("policy").unwrap(),
        &Ipld::Map(
            [("access".to_owned(), Ipld::String("allow".into())), ("log".to_owned(), Ipld::String("full".into())),]
                .into()
        )
    );
}

#[test]
fn times_are_believed_within_the_skew_of_clocks_and_the_ttl() {
    let bytes = record().seal(&key()).unwrap();
    let before = |seconds| now() - Duration::from_secs(seconds);
    assert_eq!(Record::open(&bytes, before(120)).unwrap().left(), LONGEST_TTL, "no more than it says");
    assert_eq!(Record::open(&bytes, before(121)).unwrap_err(), Refused::Early(Duration::from_secs(1)));
    assert_eq!(Record::open(&bytes, after(299)).unwrap().left(), Duration::from_secs(1));
    assert_eq!(Record::open(&bytes, after(300)).unwrap_err(), Refused::Expired(Duration::ZERO));
}

#[test]
fn a_record_of_somebody_else_is_stolen() {
    let other = Keypair::ed25519_from_bytes([8; 32]).unwrap();
    let stolen = KIND.seal(&other, &record()).unwrap();
    let signer = other.public().to_peer_id();
    assert_eq!(Record::open(&stolen, now()).unwrap_err(), Refused::Stolen { signer });
    assert_eq!(record().seal(&other).unwrap_err(), Refused::Stolen { signer });
}

#[test]
fn unknown_keys_are_ignored_unless_they_are_critical() {
    let mut map = as_map(&record());
    map.insert("gpu".into(), Ipld::List(vec![Ipld::Integer(4)]));
    assert_eq!(opened(&map).unwrap().record(), &record());
    map.insert("crit".into(), Ipld::List(vec![Ipld::String("ttl".into())]));
    assert!(opened(&map).is_ok());
    map.insert("crit".into(), Ipld::List(vec![Ipld::String("gpu".into())]));
    let refused = opened(&map).unwrap_err();
    assert_eq!(refused, Refused::Critical("gpu".into()));
    assert!(refused.is_innocent() && refused.to_string().contains("newer version"));
}

#[test]
fn words_of_a_later_version_are_read_with_care() {
    let mut map = as_map(&record());
    let policy = [("access", "friends"), ("log", "hashes")];
    let policy = policy.map(|(key, word)| (key.to_owned(), Ipld::String(word.into())));
    map.insert("policy".into(), Ipld::Map(policy.into()));
    assert_eq!(opened(&map).unwrap().record().policy, Policy { access: Access::Allowed, log: Logs::Full });
    map.insert("v".into(), Ipld::Integer(2));
    assert_eq!(opened(&map).unwrap_err(), Refused::Version(2));
    // An address of a kind that does not exist yet.
    map = as_map(&record());
    map.insert("addrs".into(), Ipld::List(vec![Ipld::Bytes(vec![0xff, 0xff, 0x03, 1])]));
    assert!(opened(&map).unwrap().record().addresses.is_empty());
}

#[test]
fn every_field_is_bounded() {
    type Change = Box<dyn Fn(&mut Record)>;
    let text = |length: usize| "x".repeat(length);
    let other = Keypair::ed25519_from_bytes([8; 32]).unwrap().public().to_peer_id();
    let changes: Vec<(&str, Change)> = vec![
        ("ttl", Box::new(|record| record.ttl = 301)),
        ("ttl", Box::new(|record| record.ttl = 0)),
        ("iat", Box::new(|record| record.issued = u64::MAX)),
        ("addrs", Box::new(|record| record.addresses = vec!["/ip4/192.0.2.7/tcp/1".parse().unwrap(); 17])),
        (
            "addrs",
            Box::new(move |record| record.addresses = vec![format!("/ip4/192.0.2.7/p2p/{other}").parse().unwrap()]),
        ),
        ("addrs", Box::new(|record| record.addresses = vec![Multiaddr::empty()])),
        ("models", Box::new(|record| record.models = (0..33).map(|at| Model::new(at.to_string(), 1, 1)).collect())),
        ("models", Box::new(|record| record.models = vec![Model::new("m", 1, 1); 2])),
        ("models", Box::new(move |record| record.models[0].id = text(129))),
        ("models", Box::new(|record| record.models[0].id = "-rm".into())),
        ("models", Box::new(|record| record.models[0].id = " padded".into())),
        ("models", Box::new(|record| record.models[0].context = 0)),
        ("models", Box::new(|record| record.models[0].slots = 0)),
        ("models", Box::new(|record| record.models[0].price_in = Some(u64::MAX))),
        ("models", Box::new(|record| record.models[0].digest = Some(vec![1; 33]))),
        ("models", Box::new(|record| record.models[0].quant = Some("\u{1b}[2J".into()))),
        ("models", Box::new(|record| record.models[0].tokens_per_second = Some(0))),
        ("models", Box::new(|record| record.models[0].first_token_ms = Some(600_001))),
        ("load", Box::new(|record| record.load.queue = 65_536)),
        ("load", Box::new(|record| record.load.free = Some(101))),
        ("region", Box::new(|record| record.region = Some(String::new()))),
        ("sw", Box::new(|record| record.software = "a\nb".into())),
    ];
    for (field, change) in changes {
        let mut bad = record();
        change(&mut bad);
        assert_eq!(bad.seal(&key()).unwrap_err(), Refused::Field(field));
        // Somebody else's program may sign it nevertheless.
        let refused = Record::open(&KIND.seal(&key(), &bad).unwrap(), now()).unwrap_err();
        let early = field == "iat" && matches!(refused, Refused::Field("iat") | Refused::Early(_));
        assert!(early || refused == Refused::Field(field), "{field}: {refused}");
    }
}

#[test]
fn as_many_models_are_told_of_as_there_is_room_for() {
    let mut many = record();
    many.models = (0..40).map(|at| Model::new(format!("{at}-{}", "m".repeat(80)), 4096, 4)).collect();
    let (bytes, left_out) = many.clone().seal_fitting(&key()).unwrap();
    let heard = Record::open(&bytes, now()).unwrap();
    let told = heard.record().models.len();
    assert!(bytes.len() <= MOST_BYTES && told > 10 && told + left_out == 40, "{told} told, {left_out} left out");
    assert_eq!(heard.record().models[..], many.models[..told], "the first ones");
}

#[test]
fn deep_nesting_is_an_error_and_not_a_full_stack() {
    let mut body = b"\xa1\x61x".to_vec();
    body.resize(1900, 0x81);
    let envelope = libp2p_core::SignedEnvelope::new(&key(), KIND.domain.into(), KIND.domain.into(), body).unwrap();
    let refused = Record::open(&envelope.into_protobuf_encoding(), now()).unwrap_err();
    assert_eq!(refused.label(), "malformed");
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange_to_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Record::open(&bytes, now()).is_err());
    }

    #[test]
    fn no_body_is_too_strange_to_read(body in prop::collection::vec(any::<u8>(), 0..600)) {
        let envelope = libp2p_core::SignedEnvelope::new(&key(), KIND.domain.into(), KIND.domain.into(), body).unwrap();
        let _ = Record::open(&envelope.into_protobuf_encoding(), now());
    }

    #[test]
    fn a_changed_field_is_refused_or_means_what_it_says(
        field in prop::sample::select(vec!["v", "inc", "seq", "iat", "ttl", "addrs", "models", "load", "relay", "policy", "sw", "crit", "peer"]),
        value in prop_oneof![
            any::<i64>().prop_map(|number| Ipld::Integer(number.into())),
            ".{0,80}".prop_map(Ipld::String),
            prop::collection::vec(any::<u8>(), 0..80).prop_map(Ipld::Bytes),
            prop::collection::vec(any::<bool>().prop_map(Ipld::Bool), 0..4).prop_map(Ipld::List),
            Just(Ipld::Null),
            Just(Ipld::Map(BTreeMap::new())),
        ],
    ) {
        let mut map = as_map(&record());
        map.insert(field.to_owned(), value);
        if let Ok(heard) = opened(&map) {
            prop_assert!(heard.left() <= LONGEST_TTL && !heard.left().is_zero());
            prop_assert!(heard.record().seal(&key()).is_ok(), "what was read can be signed");
        }
    }

    #[test]
    fn any_sound_record_comes_back(
        incarnation: u64, sequence: u64, ttl in 1_u32..=300, in_flight in 0_u32..65_536, free in prop::option::of(0_u8..=100),
        names in prop::collection::btree_set("[a-z0-9/:.@_-]{0,30}[a-z0-9]", 0..12), context in 1_u32..(1 << 27), price in prop::option::of(0..1_000_000_000_000_u64),
    ) {
        let mut one = record();
        (one.incarnation, one.sequence, one.ttl) = (incarnation, sequence, ttl);
        one.load = Load { in_flight, queue: 0, free };
        one.models = names.into_iter().filter(|name| !name.starts_with('-')).map(|name| Model { price_out: price, ..Model::new(name, context, 2) }).collect();
        if let Ok((bytes, _)) = one.clone().seal_fitting(&key()) {
            let heard = Record::open(&bytes, now()).unwrap();
            one.models.truncate(heard.record().models.len());
            prop_assert_eq!(heard.record(), &one);
        }
    }
}
