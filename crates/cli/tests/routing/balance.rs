//! Each way of sharing a group's load, counted at its members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::select_all;
use llm_router::testing::faults::{Act, Faults};
use llm_router::testing::voice::Refusal;

use crate::stage::{Stage, gate, route};

const THREE: [&str; 3] = ["a", "b", "c"];

fn answering() -> Vec<(&'static str, Vec<Act>)> {
    THREE.map(|name| (name, vec![Act::Answer])).to_vec()
}

async fn three(balance: &str) -> Stage {
    Stage::new(answering(), &route(&THREE, balance)).await
}

#[tokio::test]
async fn round_robin_asks_each_in_turn() {
    let stage = three("round_robin").await;
    assert_eq!(stage.answered_by("r", 6).await, ["a", "b", "c", "a", "b", "c"]);
    assert_eq!(stage.counts(THREE), [2, 2, 2]);
    let answer = stage.ask("r").answered().await;
    assert_eq!(answer.header("x-llm-router-substituted"), "", "any of them is who was asked for");
}

#[tokio::test]
async fn weights_are_shares_and_no_weight_is_no_share() {
    let weights = "weights = { \"a/m\" = 3, \"c/m\" = 0 }\n";
    let stage = Stage::new(answering(), &(route(&THREE, "weighted") + weights)).await;
    stage.answered_by("r", 8).await;
    assert_eq!(stage.counts(THREE), [6, 2, 0]);
}

#[tokio::test]
async fn random_asks_anyone() {
    let stage = three("random").await;
    // That one of three is not among sixty by chance happens to one run in ten thousand millions.
    let by = stage.answered_by("r", 60).await;
    assert_eq!(by.iter().collect::<BTreeSet<_>>().len(), 3, "{by:?}");
    assert_eq!(stage.counts(THREE).iter().sum::<usize>(), 60);
}

#[tokio::test]
async fn least_busy_asks_whoever_has_room() {
    let gates = THREE.map(|name| (name, gate()));
    let scripts = gates.iter().map(|(name, gate)| (*name, vec![Act::Gated(Arc::clone(gate))])).collect();
    let stage = Stage::new(scripts, &route(&THREE, "least_busy")).await;
    let mut open = BTreeMap::new();
    for name in THREE {
        let answer = stage.ask("r").streamed().sent().await;
        // It is under way at one that had nothing to do, each in turn.
        stage.until(name, |asked| asked.running == 1).await;
        open.insert(name, answer);
    }
    assert_eq!(stage.counts(THREE), [1, 1, 1]);
    // Whoever is done is asked next, whose turn it would be or not.
    for (turn, name) in ["b", "a", "c", "c"].into_iter().enumerate() {
        let gate = &gates.iter().find(|(known, _)| *known == name).unwrap().1;
        gate.add_permits(1);
        let answer = open.remove(name).unwrap().rest().await;
        assert!(answer.text().contains("[DONE]"), "{}", answer.text());
        let before = stage.asked(name).requests;
        open.insert(name, stage.ask("r").streamed().sent().await);
        stage.until(name, |asked| asked.requests == before + 1 && asked.running == 1).await;
        assert_eq!(stage.counts(THREE).iter().sum::<usize>(), 4 + turn, "nobody else was asked");
    }
}

#[tokio::test]
async fn latency_asks_the_quicker_one_and_a_failure_is_not_quick() {
    // A failure counts as five seconds, which no answer of the other one takes.
    let scripts = vec![("a", vec![Act::Reset, Act::Answer]), ("b", vec![Act::Answer])];
    let stage = Stage::new(scripts, &route(&["a", "b"], "latency")).await;
    let mut first = stage.answered_by("r", 2).await;
    first.sort();
    assert_eq!(first, ["a", "b"], "who is not known yet is tried");
    assert_eq!(stage.answered_by("r", 10).await, ["b"; 10]);
    assert_eq!(stage.counts(["a", "b"]), [2, 11]);
}

#[tokio::test]
async fn cost_asks_the_cheapest_and_unknown_prices_last() {
    let prices = "[prices.\"b/m\"]\ninput = 3\noutput = 9\n[prices.\"c/m\"]\ninput = 1\noutput = 2\n";
    let scripts = vec![
        ("a", vec![Act::Answer]),
        ("b", vec![Act::Answer]),
        ("c", vec![Act::Answer, Act::Refuse(Refusal::RateLimited, None)]),
    ];
    let stage = Stage::new(scripts, &(route(&THREE, "cost") + prices)).await;
    assert_eq!(stage.answered_by("r", 2).await, ["c", "b"], "the dearer one follows the cheaper one that fails");
    assert_eq!(stage.counts(["a", "b"]), [0, 1]);
}

/// Who answers each of many sessions, twice.
async fn homes(stage: &Stage) -> BTreeMap<String, String> {
    let mut homes = BTreeMap::new();
    for session in 0..24 {
        let session = format!("session-{session}");
        for words in ["one thing", "quite another"] {
            let ask = stage.ask("r").header("x-session-id", &session).saying(&[words]);
            let home = ask.answered().await.header("x-llm-router-provider").to_owned();
            let before = homes.insert(session.clone(), home.clone());
            assert!(before.is_none_or(|before| before == home), "{session} moved to {home}");
        }
    }
    homes
}

#[tokio::test]
async fn sticky_keeps_a_session_where_it_is_and_moves_only_those_whose_home_is_gone() {
    let faults = Arc::new(Faults::serve(answering()).await);
    let stage = Stage::before(Arc::clone(&faults), &THREE, &route(&THREE, "sticky"));
    let homes_of_three = homes(&stage).await;
    let at = |name: &str| homes_of_three.values().filter(|home| *home == name).count();
    assert!(THREE.iter().all(|name| at(name) > 2), "they are spread: {homes_of_three:?}");
    assert_eq!(stage.counts(THREE), THREE.map(|name| 2 * at(name)));
    // Another process finds the same homes, and without one of them only its own sessions move.
    let replica = Stage::before(Arc::clone(&faults), &THREE, &route(&THREE, "sticky"));
    assert_eq!(homes(&replica).await, homes_of_three);
    let smaller = Stage::before(faults, &THREE[..2], &route(&THREE[..2], "sticky"));
    for (session, home) in homes(&smaller).await {
        let before = &homes_of_three[&session];
        assert!(*before == home || before == "c", "{session} moved from {before} to {home}");
    }
}

#[tokio::test]
async fn sticky_goes_by_the_user_and_by_fields_that_name_a_conversation() {
    let stage = three("sticky").await;
    for field in ["user", "prompt_cache_key"] {
        let mut all = BTreeSet::new();
        for who in 0..12 {
            let ask = |words: &str| stage.ask("r").with(field, format!("who-{who}")).saying(&[words]);
            let (first, second) = (ask("one thing").answered().await, ask("quite another").answered().await);
            let [first, second] = [first, second].map(|answer| answer.header("x-llm-router-provider").to_owned());
            assert_eq!(first, second, "{field}");
            all.insert(first);
        }
        assert_eq!(all.len(), 3, "{field}");
    }
}

#[tokio::test]
async fn prefix_keeps_a_beginning_where_it_is_unless_there_is_much_more_to_do() {
    let gates = THREE.map(|name| (name, gate()));
    // The first request of each waits for its gate.
    let scripts = gates.iter().map(|(name, gate)| (*name, vec![Act::Gated(Arc::clone(gate)), Act::Answer])).collect();
    let stage = Stage::new(scripts, &route(&THREE, "prefix")).await;
    let document = "a document that many questions are about";
    let first = stage.ask("r").streamed().saying(&[document]).sent().await;
    let asked = THREE.map(|name| Box::pin(stage.until(name, |asked| asked.running == 1)));
    let (_, at, _) = select_all(asked).await;
    let home = THREE[at];
    for (name, gate) in &gates {
        gate.add_permits(usize::from(*name != home));
    }
    // It is busy, and the others are not.
    let ask = |more: &str| stage.ask("r").streamed().saying(&[document, "and?", more]);
    let elsewhere = ask("what then?").answered().await.header("x-llm-router-provider").to_owned();
    assert_ne!(elsewhere, home);
    gates[at].1.add_permits(1);
    assert!(first.rest().await.text().contains("[DONE]"));
    stage.until(home, |asked| asked.running == 0).await;
    for more in ["why?", "and who?", "where?"] {
        assert_eq!(ask(more).answered().await.header("x-llm-router-provider"), home);
    }
    assert_eq!(stage.asked(home).requests, 4);
}
