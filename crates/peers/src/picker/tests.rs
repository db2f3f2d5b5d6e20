#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use llm_router::error::ErrorKind;

use super::*;
use crate::record::{Heard, Load, Model, Record};
use crate::table::{Bounds, Failure, Outcome, Source, State, Trust};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn id(number: u64) -> PeerId {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    PeerId::from_multihash(multihash::Multihash::wrap(0x12, &digest).unwrap()).unwrap()
}

/// A table of so many peers that serve the model `m`, as `change` has them.
fn table(peers: u64, now: Instant, change: impl Fn(u64, &mut Record)) -> Table {
    let mut table = Table::new(Bounds::default(), 42, now);
    for number in 0..peers {
        let mut record = Record::new(id(number), 1, 1, SystemTime::UNIX_EPOCH);
        let mut model = Model::new("m", 8192, 8);
        (model.first_token_ms, model.tokens_per_second) = (Some(200), Some(50));
        (model.price_in, model.price_out) = (Some(0), Some(0));
        record.models = vec![model];
        record.addresses = vec![format!("/ip4/10.{}.{}.7/tcp/1", number / 250, number % 250).parse().unwrap()];
        change(number, &mut record);
        table.hear(&Heard::unsigned(record), Source::hearsay(), now).unwrap();
    }
    table
}

fn alike(_: u64, _: &mut Record) {}

fn any() -> Need<'static> {
    Need { strangers: true, ..Need::new("m", 100, 100) }
}

fn answered() -> Outcome {
    Outcome::Answered { further: 50, took: SECOND }
}

/// Whom so many requests go to, one after the other.
fn picked(table: &mut Table, need: &Need<'_>, times: usize, now: Instant) -> HashMap<PeerId, usize> {
    let mut counts = HashMap::new();
    for _ in 0..times {
        let pick = table.pick(need, now).unwrap();
        *counts.entry(pick.peer).or_default() += 1;
        table.end(pick.lease, answered(), now);
    }
    counts
}

/// Makes a peer's time to a first token known.
fn measure(table: &mut Table, peer: PeerId, took: Duration, now: Instant) {
    let others: Vec<PeerId> = table.views(now).map(|view| view.id).filter(|other| *other != peer).collect();
    for _ in 0..3 {
        let mut pick = table.pick(&Need { tried: &others, ..any() }, now).unwrap();
        assert_eq!(pick.peer, peer);
        table.first_token(&mut pick.lease, now + took);
        table.end(pick.lease, answered(), now + took);
    }
}

fn refusal(table: &mut Table, need: &Need<'_>, now: Instant) -> (Vec<(Why, usize)>, ErrorKind) {
    let refused = table.pick(need, now).unwrap_err();
    (refused.why.clone(), refused.error(need.model).kind())
}

#[test]
fn what_cannot_be_is_left_out() {
    let now = Instant::now();
    let mut table = table(6, now, |number, record| {
        let model = &mut record.models[0];
        match number {
            0 => model.context = 150,
            1 => model.price_out = Some(10_000_000_000),
            2 => model.price_in = None,
            3 => (model.tools, model.modalities) = (true, Modalities::IMAGE),
            _ => {}
        }
    });
    let only = |table: &mut Table, need: Need<'_>| -> HashSet<u64> {
        let picks = picked(table, &need, 60, now);
        (0..6).filter(|number| picks.contains_key(&id(*number))).collect()
    };
    assert_eq!(
        only(&mut table, any()),
        (0..6).filter(|number| ![0, 1].contains(number)).collect(),
        "0 is too small for 100 + 100 tokens, 1 too dear to win"
    );
    assert_eq!(only(&mut table, Need { most_cost: Some(1000), ..any() }), [3, 4, 5].into());
    assert_eq!(only(&mut table, Need { modalities: Modalities::IMAGE, ..any() }), [3].into());
    assert_eq!(only(&mut table, Need { tried: &[id(3), id(4)], ..any() }), [2, 5].into());
    let tools = Need { tools: true, ..any() };
    assert_eq!(refusal(&mut table, &tools, now).0, [(Why::Context, 1), (Why::Tools, 5)]);
    table.trust(id(3), Trust::Trusted);
    assert!(table.pick(&tools, now).is_err(), "who is trusted may not call tools for that");
    table.trust(id(3), Trust::WithTools);
    assert_eq!(only(&mut table, tools), [3].into());
    assert_eq!(only(&mut table, Need { strangers: false, ..any() }), [3].into(), "the only one that is trusted");
}

#[test]
fn a_refusal_says_why_and_what_helps() {
    let now = Instant::now();
    let mut table = table(3, now, alike);
    let refused = |table: &mut Table, need: Need<'_>| {
        let error = table.pick(&need, now).unwrap_err().error(need.model);
        (error.kind(), error.to_string(), error.hint().unwrap_or_default().to_owned())
    };
    let (kind, text, hint) = refused(&mut table, Need { strangers: false, ..any() });
    assert!(kind == ErrorKind::ProviderUnavailable && text.contains("of 3 that serve it 3 not trusted"), "{text}");
    assert_eq!(hint, "ask for: llm-router peers invite");
    let (kind, text, _) = refused(&mut table, Need { input: 9000, ..any() });
    assert!(kind == ErrorKind::CallerContextLength && text.contains("too small a window"), "{text}");
    let (kind, text, _) = refused(&mut table, Need { model: "other", ..any() });
    assert!(kind == ErrorKind::CallerModelUnknown && text.contains("none serves it"), "{text}");
    (0..3).for_each(|number| table.unreachable(&id(number), now));
    let error = table.pick(&any(), now).unwrap_err().error("m");
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::ProviderUnavailable, Some(SECOND)));
}

#[test]
fn the_quick_the_near_the_idle_and_the_cheap_are_preferred() {
    let now = Instant::now();
    let most = |table: &mut Table| {
        let counts = picked(table, &any(), 100, now);
        counts.into_iter().max_by_key(|(_, count)| *count).unwrap()
    };
    let mut slow = table(2, now, |number, record| record.models[0].first_token_ms = Some(200 + 4000 * number as u32));
    assert_eq!(most(&mut slow), (id(0), 100));
    let mut far = table(2, now, alike);
    far.saw_rtt(&id(0), 5 * MS);
    far.saw_rtt(&id(1), 500 * MS);
    assert_eq!(most(&mut far), (id(0), 100));
    let mut busy = table(2, now, |number, record| record.load = Load::new(12 * number as u32, 0));
    assert_eq!(most(&mut busy), (id(0), 100));
    let mut dear = table(2, now, |number, record| record.models[0].price_out = Some(100_000_000 * number));
    assert_eq!(most(&mut dear), (id(0), 100));
    let mut relayed = table(2, now, alike);
    relayed.connected(&id(0), Path::Direct);
    relayed.connected(&id(1), Path::Relayed);
    assert_eq!(most(&mut relayed), (id(0), 100));
}

#[test]
fn what_is_measured_outweighs_what_is_advertised() {
    let now = Instant::now();
    let mut table = table(2, now, |number, record| {
        record.models[0].first_token_ms = Some(if number == 0 { 1 } else { 900 });
        record.models[0].tokens_per_second = Some(50);
    });
    assert_eq!(picked(&mut table, &any(), 20, now).get(&id(0)), Some(&20), "it says that it is quick");
    measure(&mut table, id(0), 5 * SECOND, now);
    assert_eq!(picked(&mut table, &any(), 20, now).get(&id(1)), Some(&20), "and is not");
}

#[test]
fn a_request_under_way_counts_at_once() {
    let now = Instant::now();
    let mut table = table(4, now, alike);
    let picks: Vec<Pick> = (0..32).map(|_| table.pick(&any(), now).unwrap()).collect();
    let mut counts: HashMap<PeerId, usize> = HashMap::new();
    picks.iter().for_each(|pick| *counts.entry(pick.peer).or_default() += 1);
    assert!(counts.values().all(|count| (6..=10).contains(count)), "{counts:?}");
    picks.into_iter().for_each(|pick| table.end(pick.lease, answered(), now));
    assert!(table.views(now).all(|view| view.in_flight == 0));
}

#[test]
fn one_failed_attempt_is_the_last_one() {
    let now = Instant::now();
    let mut table = table(50, now, alike);
    let pick = table.pick(&any(), now).unwrap();
    let dead = pick.peer;
    table.end(pick.lease, Outcome::Failed(Failure::Unreachable), now);
    for seconds in 0..250 {
        let now = now + SECOND * seconds;
        let pick = table.pick(&any(), now).unwrap();
        assert_ne!(pick.peer, dead, "also when its pause is over: others are left");
        table.end(pick.lease, answered(), now);
    }
}

#[test]
fn a_single_candidate_has_a_breaker_too_and_one_request_probes_it() {
    let now = Instant::now();
    let mut table = table(1, now, alike);
    let pick = table.pick(&any(), now).unwrap();
    assert_eq!(pick.reason, Reason::Only);
    table.end(pick.lease, Outcome::Failed(Failure::Unreachable), now);
    assert_eq!(refusal(&mut table, &any(), now), (vec![(Why::Unreachable, 1)], ErrorKind::ProviderUnavailable));
    let later = now + SECOND;
    let probe = table.pick(&any(), later).unwrap();
    assert_eq!(probe.reason, Reason::Probe);
    assert!(table.pick(&any(), later).is_err(), "one at a time");
    table.end(probe.lease, answered(), later);
    assert_eq!(table.pick(&any(), later).unwrap().reason, Reason::Only);
}

#[test]
fn three_error_answers_in_a_row_and_it_is_left_alone() {
    let now = Instant::now();
    let mut table = table(2, now, |number, record| record.models[0].first_token_ms = Some(100 + 4000 * number as u32));
    for _ in 0..3 {
        let pick = table.pick(&Need { tried: &[id(1)], ..any() }, now).unwrap();
        table.end(pick.lease, Outcome::Failed(Failure::Error), now);
    }
    assert_eq!(picked(&mut table, &any(), 9, now).get(&id(1)), Some(&9));
    assert!(matches!(table.view(&id(0), now).unwrap().models[0].state, State::Held(_)));
    assert_eq!(table.view(&id(0), now).unwrap().state, State::Ready, "its other models are another matter");
}

#[test]
fn who_has_no_room_or_does_not_let_us_ask_is_left_alone_for_a_while() {
    let now = Instant::now();
    let mut table = table(1, now, alike);
    let mut fail = |failure, now| {
        let pick = table.pick(&any(), now).unwrap();
        table.end(pick.lease, Outcome::Failed(failure), now);
        table.pick(&any(), now).unwrap_err().again.unwrap()
    };
    assert_eq!(fail(Failure::Busy(Some(3 * SECOND)), now), 3 * SECOND);
    assert_eq!(fail(Failure::Busy(Some(900 * SECOND)), now + 4 * SECOND), 30 * SECOND, "nobody is believed for longer");
    assert!(fail(Failure::Denied, now + 40 * SECOND) > 500 * SECOND);
}

#[test]
fn prompts_that_begin_alike_stay_together_and_others_spread() {
    let now = Instant::now();
    let mut table = table(200, now, alike);
    let mut homes = HashSet::new();
    for prefix in 0..200 {
        let need = Need { prefix: Some(prefix), ..any() };
        let counts = picked(&mut table, &need, 5, now);
        assert_eq!(counts.len(), 1, "one at a time they all go home");
        homes.extend(counts.into_keys());
    }
    assert!(homes.len() > 90, "{} homes of 200 prompts", homes.len());
}

#[test]
fn few_homes_move_when_peers_come_and_go() {
    let now = Instant::now();
    let mut table = table(500, now, alike);
    let home = |table: &mut Table, prefix| {
        let need = Need { prefix: Some(prefix), ..any() };
        let pick = table.pick(&need, now).unwrap();
        assert_eq!(pick.reason, Reason::Home);
        table.end(pick.lease, Outcome::Failed(Failure::Request), now);
        pick.peer
    };
    let before: Vec<PeerId> = (0..300).map(|prefix| home(&mut table, prefix)).collect();
    (0..25).for_each(|number| table.forget(&id(number)));
    let gone: HashSet<PeerId> = (0..25).map(id).collect();
    let moved = (0..300).zip(&before).filter(|(prefix, before)| home(&mut table, *prefix) != **before).count();
    let homeless = before.iter().filter(|peer| gone.contains(peer)).count();
    assert!(moved >= homeless && moved < 45, "{moved} moved, {homeless} had to: a twentieth of the peers went");
}

#[test]
fn a_home_is_not_busier_than_a_quarter_above_the_others() {
    let now = Instant::now();
    let mut table = table(40, now, |_, record| record.load = Load::new(4, 0));
    let need = Need { prefix: Some(3), ..any() };
    let picks: Vec<Pick> = (0..40).map(|_| table.pick(&need, now).unwrap()).collect();
    let mut counts: HashMap<PeerId, usize> = HashMap::new();
    picks.iter().for_each(|pick| *counts.entry(pick.peer).or_default() += 1);
    // Four of others, and all forty of ours on average one more: a bound of about 1.25 × 5.
    assert!(counts.values().all(|count| *count <= 4), "{counts:?}");
    assert!(counts.len() < 36, "{} peers: they still stay together as far as they can", counts.len());
    picks.into_iter().for_each(|pick| table.end(pick.lease, answered(), now));
}

#[test]
fn one_of_fifty_explores_and_only_where_it_may() {
    let now = Instant::now();
    let mut table = table(500, now, alike);
    let mut explored = |need: &Need<'_>| {
        let reasons = (0..3000).map(|_| {
            let pick = table.pick(need, now).unwrap();
            table.end(pick.lease, Outcome::Failed(Failure::Request), now);
            pick.reason
        });
        reasons.filter(|reason| *reason == Reason::Explored).count()
    };
    let count = explored(&Need { explore: true, ..any() });
    assert!((30..=95).contains(&count), "{count} of 3000");
    assert_eq!(explored(&any()), 0);
}

#[test]
fn a_second_attempt_goes_where_it_is_known_how_it_goes() {
    let now = Instant::now();
    let mut table = table(40, now, alike);
    measure(&mut table, id(5), 150 * MS, now);
    for _ in 0..20 {
        let pick = table.pick(&Need { tried: &[id(1)], ..any() }, now).unwrap();
        assert_eq!(pick.peer, id(5));
        table.end(pick.lease, answered(), now);
    }
}

#[test]
fn something_rare_is_found_among_many() {
    let now = Instant::now();
    let mut table = table(5000, now, |number, record| {
        if number == 4321 {
            record.models[0].context = 1_000_000;
        }
    });
    let need = Need { input: 500_000, ..any() };
    assert_eq!(table.pick(&need, now).unwrap().peer, id(4321));
}

#[test]
fn the_best_of_many_are_found_by_and_by() {
    let now = Instant::now();
    // One of a hundred is near.
    let mut table = table(2000, now, alike);
    (0..2000).for_each(|number| table.saw_rtt(&id(number), if number % 100 == 0 { MS } else { 400 * MS }));
    picked(&mut table, &any(), 1000, now);
    let counts = picked(&mut table, &any(), 1000, now);
    let near: usize = (0..2000).step_by(100).filter_map(|number| counts.get(&id(number))).sum();
    // They are twenty of the thirty-two best, of which one is drawn.
    assert!(near > 550, "{near} of 1000 went to the twenty that are near");
}

#[test]
fn tables_of_one_seed_choose_alike() {
    let now = Instant::now();
    let run = || {
        let mut table = table(300, now, alike);
        (0..200)
            .map(|step| {
                let pick = table.pick(&Need { explore: true, prefix: Some(step % 7), ..any() }, now).unwrap();
                table.end(pick.lease, answered(), now);
                pick.peer
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn what_is_thought_of_each_can_be_shown() {
    let now = Instant::now();
    let mut table = table(3, now, |number, record| record.models[0].first_token_ms = Some(200 + 1000 * number as u32));
    table.unreachable(&id(0), now);
    let shown = table.consider(&any(), 9, now);
    let order: Vec<(PeerId, Option<Why>)> = shown.iter().map(|one| (one.peer, one.out)).collect();
    assert_eq!(order, [(id(1), None), (id(2), None), (id(0), Some(Why::Unreachable))]);
    assert!(shown[0].cost > 3 * SECOND && shown[0].cost < 6 * SECOND, "{:?}", shown[0].cost);
    assert_eq!(Reason::Cheaper { cost: 0.421, than: 0.6 }.to_string(), "the cheaper of two: 0.42 s against 0.60 s");
}
