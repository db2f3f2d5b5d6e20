#![allow(clippy::unwrap_used)]

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::picker::Need;
use crate::record::{Load, Record};

const SECOND: Duration = Duration::from_secs(1);

fn id(number: u64) -> PeerId {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    PeerId::from_multihash(multihash::Multihash::wrap(0x12, &digest).unwrap()).unwrap()
}

/// What a peer says for the `sequence`th time, from an address of its own range.
fn said(number: u64, sequence: u64, models: &[&str]) -> Record {
    let mut record = Record::new(id(number), 1, sequence, SystemTime::UNIX_EPOCH);
    record.models = models.iter().map(|model| Model::new(*model, 8192, 8)).collect();
    record.addresses = vec![format!("/ip4/10.{}.{}.7/tcp/1", number / 250, number % 250).parse().unwrap()];
    record
}

fn hear(table: &mut Table, record: Record, now: Instant) -> Result<News, NotTaken> {
    table.hear(&Heard::unsigned(record), Source::hearsay(), now)
}

fn small(peers: usize) -> Bounds {
    Bounds { peers, ..Bounds::default() }
}

fn wanting(model: &str) -> Need<'_> {
    Need { strangers: true, ..Need::new(model, 100, 100) }
}

/// That every list names what is there, once.
fn check(table: &Table) {
    let mut listed = 0;
    for (number, _) in table.models.iter().map(|(name, count)| (table.models.find(name).unwrap(), count)) {
        for trusted in [false, true] {
            let pool = table.models.pool(number, trusted).unwrap();
            assert_eq!(pool.list.len(), pool.homes.len());
            assert!(pool.best.iter().all(|offer| pool.list.contains(offer)), "a best one that is not listed");
            for (place, offer) in pool.list.iter().enumerate() {
                let known = &table.offers[*offer as usize];
                assert_eq!((known.place as usize, known.model, known.trusted), (place, number, trusted));
                let peer = &table.peers[known.peer as usize];
                assert!(peer.offers.contains(offer) && pool.homes.contains(&(peer.mark, *offer)));
                assert_eq!(peer.trust != Trust::Stranger, trusted);
                listed += 1;
            }
        }
    }
    assert_eq!(listed, table.offers.len());
    assert_eq!(table.marks.len(), table.peers.len());
    let strangers = table.peers.iter().filter(|(_, peer)| peer.trust == Trust::Stranger).count();
    assert_eq!(table.prefixes.values().sum::<u32>() as usize, strangers);
    assert!(table.peers.len() <= table.bounds.peers && table.offers.len() <= table.bounds.offers);
}

#[test]
fn only_what_is_newer_is_taken() {
    let now = Instant::now();
    let mut table = Table::new(Bounds::default(), 1, now);
    assert_eq!(hear(&mut table, said(1, 5, &["a", "b"]), now), Ok(News::New));
    assert_eq!(hear(&mut table, said(1, 5, &["c"]), now), Err(NotTaken::Stale), "replayed");
    assert_eq!(hear(&mut table, said(1, 4, &["c"]), now), Err(NotTaken::Stale), "older");
    assert_eq!(hear(&mut table, said(1, 6, &["b", "c"]), now), Ok(News::Newer));
    let mut again = said(1, 0, &["d"]);
    again.incarnation = 2;
    assert_eq!(hear(&mut table, again, now), Ok(News::Newer), "a new start counts from the beginning");
    assert_eq!(hear(&mut table, said(1, 7, &["c"]), now), Err(NotTaken::Stale), "of the start before");
    assert_eq!(table.served().collect::<Vec<_>>(), [("d", 1)]);
    check(&table);
}

#[test]
fn no_ghost_stays() {
    let now = Instant::now();
    let mut table = Table::new(Bounds::default(), 1, now);
    hear(&mut table, said(1, 1, &["a"]), now).unwrap();
    let mut short = said(2, 1, &["a"]);
    short.ttl = 10;
    hear(&mut table, short, now).unwrap();
    let later = now + 11 * SECOND;
    for _ in 0..20 {
        let pick = table.pick(&wanting("a"), later).unwrap();
        assert_eq!(pick.peer, id(1), "what is over is not picked, swept or not");
        table.end(pick.lease, Outcome::Cancelled, later);
    }
    assert_eq!(table.view(&id(2), later).unwrap().state, State::Over);
    assert_eq!((table.sweep(later), table.len()), (1, 1));
    assert_eq!((table.sweep(now + 301 * SECOND), table.len()), (1, 0));
    check(&table);
}

#[test]
fn a_request_under_way_keeps_its_peer_until_its_end() {
    let now = Instant::now();
    let mut table = Table::new(Bounds::default(), 1, now);
    hear(&mut table, said(1, 1, &["a"]), now).unwrap();
    let pick = table.pick(&wanting("a"), now).unwrap();
    assert_eq!(table.view(&id(1), now).unwrap().in_flight, 1);
    let later = now + 400 * SECOND;
    assert_eq!(table.sweep(later), 0);
    table.end(pick.lease, Outcome::Cancelled, later);
    assert_eq!(table.sweep(later), 1);
}

#[test]
fn what_ends_at_a_place_that_another_has_now_says_nothing_of_it() {
    let now = Instant::now();
    let mut table = Table::new(Bounds::default(), 1, now);
    hear(&mut table, said(1, 1, &["a"]), now).unwrap();
    let pick = table.pick(&wanting("a"), now).unwrap();
    table.forget(&id(1));
    hear(&mut table, said(2, 1, &["a"]), now).unwrap();
    table.end(pick.lease, Outcome::Failed(Failure::Unreachable), now);
    let view = table.view(&id(2), now).unwrap();
    assert_eq!((view.state, view.in_flight, view.models[0].samples), (State::Ready, 0, 0));
}

#[test]
fn the_least_useful_leave_first() {
    let now = Instant::now();
    let mut table = Table::new(small(100), 7, now);
    table.trust(id(0), Trust::Trusted);
    for number in 0..100 {
        hear(&mut table, said(number, 1, &["a"]), now).unwrap();
    }
    table.connected(&id(1), Path::Direct);
    // One is measured.
    let measured = loop {
        let mut pick = table.pick(&wanting("a"), now).unwrap();
        table.first_token(&mut pick.lease, now + SECOND);
        table.end(pick.lease, Outcome::Answered { further: 9, took: SECOND }, now + SECOND);
        let view = table.view(&pick.peer, now).unwrap();
        if view.models[0].samples >= ENOUGH {
            break pick.peer;
        }
    };
    let busy = table.pick(&wanting("a"), now).unwrap();
    for number in 100..5000 {
        hear(&mut table, said(number, 1, &["a"]), now + 2 * SECOND).unwrap();
        assert_eq!(table.len(), 100);
    }
    for kept in [id(0), id(1), measured, busy.peer] {
        assert!(table.view(&kept, now).is_some(), "{kept}");
    }
    check(&table);
}

#[test]
fn where_all_are_trusted_a_stranger_finds_no_room_and_a_trusted_peer_does() {
    let now = Instant::now();
    let mut table = Table::new(small(3), 7, now);
    for number in 0..3 {
        table.trust(id(number), Trust::Trusted);
        hear(&mut table, said(number, 1, &["a"]), now).unwrap();
    }
    assert_eq!(hear(&mut table, said(9, 1, &["a"]), now), Err(NotTaken::Full));
    table.trust(id(10), Trust::WithTools);
    assert_eq!(hear(&mut table, said(10, 1, &["a"]), now + SECOND), Ok(News::New));
    check(&table);
}

#[test]
fn five_hundred_identities_from_one_address_are_thirty_two_peers() {
    let now = Instant::now();
    let mut table = Table::new(Bounds::default(), 1, now);
    let from =
        |number: u64| Source::direct(Path::Direct, &format!("/ip4/203.0.113.{}/tcp/1", number % 250).parse().unwrap());
    let come = |table: &mut Table, number| table.hear(&Heard::unsigned(said(number, 1, &["a"])), from(number), now);
    let taken = (0..500).filter(|number| come(&mut table, *number).is_ok()).count();
    assert_eq!((taken, table.len()), (32, 32), "whatever addresses they claim to have");
    assert_eq!(come(&mut table, 600), Err(NotTaken::Crowded));
    table.trust(id(600), Trust::Trusted);
    assert!(come(&mut table, 600).is_ok(), "who is trusted is not counted");
    assert!(hear(&mut table, said(700, 1, &["a"]), now).is_ok(), "and nobody else is kept out");
    table.trust(id(0), Trust::Trusted);
    assert!(come(&mut table, 601).is_ok(), "one who became trusted makes room");
    table.trust(id(0), Trust::Stranger);
    check(&table);
}

#[test]
fn a_stranger_that_serves_everything_is_believed_in_part() {
    let now = Instant::now();
    let mut table = Table::new(Bounds::default(), 1, now);
    let names: Vec<String> = (0..30).map(|number| format!("model-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    hear(&mut table, said(1, 1, &names), now).unwrap();
    assert_eq!(table.served().count(), 16);
    table.trust(id(2), Trust::Trusted);
    hear(&mut table, said(2, 1, &names), now).unwrap();
    assert_eq!(table.served().count(), 30);
    check(&table);
}

#[test]
fn a_model_that_is_not_there_takes_the_ad_down_and_costs() {
    let now = Instant::now();
    let mut table = Table::new(Bounds::default(), 1, now);
    hear(&mut table, said(1, 1, &["a", "b"]), now).unwrap();
    for step in 1..=3 {
        let pick = table.pick(&wanting("a"), now).unwrap();
        table.end(pick.lease, Outcome::Failed(Failure::NoModel), now);
        assert_eq!(table.pick(&wanting("a"), now).unwrap_err().serving, 0);
        assert!(table.pick(&wanting("b"), now).is_ok(), "its other models stay");
        let penalty = table.view(&id(1), now).unwrap().penalty;
        assert!((penalty - 3_f32.powi(step)).abs() < 0.1, "{penalty}");
        // It says so again.
        hear(&mut table, said(1, 1 + step as u64, &["a", "b"]), now).unwrap();
    }
    hear(&mut table, said(2, 1, &["a"]), now).unwrap();
    for _ in 0..20 {
        let pick = table.pick(&wanting("a"), now).unwrap();
        assert_eq!(pick.peer, id(2));
        table.end(pick.lease, Outcome::Answered { further: 9, took: SECOND }, now);
    }
    check(&table);
}

#[test]
fn who_could_not_be_reached_comes_back_by_being_reached() {
    let now = Instant::now();
    let mut table = Table::new(Bounds::default(), 1, now);
    hear(&mut table, said(1, 1, &["a"]), now).unwrap();
    let fail = |table: &mut Table, now| table.unreachable(&id(1), now);
    let state = |table: &Table, now| table.view(&id(1), now).unwrap().state;
    fail(&mut table, now);
    assert!(matches!(state(&table, now), State::Held(_)) && table.to_dial(9, now).is_empty());
    let later = now + SECOND;
    assert_eq!(table.to_dial(9, later).len(), 1);
    hear(&mut table, said(1, 2, &["a"]), later).unwrap();
    assert_eq!(state(&table, later), State::HalfOpen, "gossip may be older than the failure");
    table.connected(&id(1), Path::Relayed);
    assert_eq!(state(&table, later), State::Ready);
    fail(&mut table, later);
    let mut restarted = said(1, 0, &["a"]);
    restarted.incarnation = 2;
    hear(&mut table, restarted, later).unwrap();
    assert_eq!(state(&table, later), State::Ready, "its program was started anew");
}

#[test]
fn what_answers_say_of_the_load_counts() {
    let now = Instant::now();
    let mut table = Table::new(Bounds::default(), 1, now);
    hear(&mut table, said(1, 1, &["a"]), now).unwrap();
    table.saw_load(&id(1), Load::new(6, 2), now);
    assert!((table.view(&id(1), now).unwrap().models[0].load - 8.0).abs() < 0.01);
}

/// What may happen to a table.
#[derive(Clone, Debug)]
enum Step {
    Hear(u64, u64, u8),
    Trust(u64, bool),
    Forget(u64),
    Pick(u8),
    End(Outcome),
    Wait(u16),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop::sample::select(vec![
        Outcome::Answered { further: 5, took: SECOND },
        Outcome::Cancelled,
        Outcome::Failed(Failure::Unreachable),
        Outcome::Failed(Failure::NoModel),
        Outcome::Failed(Failure::Busy(None)),
        Outcome::Failed(Failure::Error),
        Outcome::Failed(Failure::Denied),
        Outcome::Failed(Failure::Request),
    ]);
    prop_oneof![
        4 => (0..40_u64, 0..6_u64, any::<u8>()).prop_map(|(peer, sequence, models)| Step::Hear(peer, sequence, models)),
        1 => (0..40_u64, any::<bool>()).prop_map(|(peer, trusted)| Step::Trust(peer, trusted)),
        1 => (0..40_u64).prop_map(Step::Forget),
        4 => (0..8_u8).prop_map(Step::Pick),
        3 => outcome.prop_map(Step::End),
        1 => (0..400_u16).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_lists_agree_and_the_bounds_hold(steps in prop::collection::vec(step(), 0..200), seed: u64) {
        let (models, mut now) = (["a", "b", "c", "d", "e", "f", "g", "h"], Instant::now());
        let mut table = Table::new(Bounds { peers: 20, offers: 50, models: 7, ..Bounds::default() }, seed, now);
        let mut leases = Vec::new();
        for step in steps {
            match step {
                Step::Hear(peer, sequence, set) => {
                    let served: Vec<&str> = models.iter().enumerate().filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, name)| *name).collect();
                    let _ = hear(&mut table, said(peer, sequence, &served), now);
                }
                Step::Trust(peer, trusted) => table.trust(id(peer), if trusted { Trust::Trusted } else { Trust::Stranger }),
                Step::Forget(peer) => table.forget(&id(peer)),
                Step::Pick(model) => {
                    let need = Need { prefix: Some(7), explore: true, ..wanting(models[usize::from(model)]) };
                    leases.extend(table.pick(&need, now).map(|pick| pick.lease));
                }
                Step::End(outcome) => {
                    if let Some(mut lease) = leases.pop() {
                        table.first_token(&mut lease, now);
                        table.end(lease, outcome, now);
                    }
                }
                Step::Wait(tenths) => now += Duration::from_millis(100) * u32::from(tenths),
                Step::Sweep => { table.sweep(now); }
            }
        }
        check(&table);
        leases.into_iter().for_each(|lease| table.end(lease, Outcome::Cancelled, now));
        prop_assert!(table.peers.iter().all(|(_, peer)| peer.in_flight == 0));
        table.sweep(now + 301 * SECOND);
        prop_assert!(table.is_empty() && table.offers.is_empty() && table.models.len() == 0 && table.prefixes.is_empty());
    }
}
