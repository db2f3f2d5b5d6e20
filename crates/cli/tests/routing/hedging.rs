//! One that is late, and the next one asked beside it: who wins, what becomes of the other's connection, who pays, and what is told.

use std::sync::Arc;
use std::time::Duration;

use llm_router::testing::faults::Act;
use llm_router::testing::voice::Refusal;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::stage::{Stage, gate};

/// Answers have sixty tokens, a cent each; two hundred may be asked for.
const MONEY: &str = "[prices.\"late/m\"]\ninput = 0\noutput = 10000\n[prices.\"quick/m\"]\ninput = 0\noutput = 10000\n";
const ANSWER: u64 = 60 * 10_000;
const SET_ASIDE: u64 = 200 * 10_000;

fn config(after: &str) -> String {
    let keys = "[server]\nvirtual_keys = true\n[limits]\nmax_tokens = 200\n";
    let hedge = format!("hedge = true\nhedge_after = \"{after}\"\nhedge_percent = 100\n");
    format!("{keys}{MONEY}[routes.r]\ngroups = [[\"late/m\"], [\"quick/m\"]]\n{hedge}")
}

struct Keyed {
    stage: Stage,
    admin: String,
    alice: String,
}

impl Keyed {
    async fn new(late: Vec<Act>, quick: Vec<Act>, after: &str) -> Self {
        let stage = Stage::new(vec![("late", late), ("quick", quick)], &config(after)).await;
        let made = |words: &[&str]| stage.says(words, "").trim().to_owned();
        let admin = made(&["keys", "create", "ops", "--role", "admin"]);
        let alice = made(&["keys", "create", "alice", "--budget", "1000"]);
        let keyed = Self { stage, admin, alice };
        for key in [&keyed.admin, &keyed.alice] {
            keyed.known(key).await;
        }
        keyed
    }

    /// Waits until the server has read of a key.
    async fn known(&self, key: &str) {
        let known = async {
            while self.stage.get("/v1/models", key).await.status != 200 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), known).await.unwrap();
    }

    /// One row of what was used.
    async fn used(&self, by: &str, name: &str) -> Value {
        let report = self.stage.get(&format!("/api/v0/ai/llm/usage?by={by}"), &self.admin).await.json();
        let rows = report["rows"].as_array().unwrap();
        let is_it = |row: &&Value| row[by].as_str().is_some_and(|of| of.split('#').next() == Some(name));
        rows.iter().find(is_it).unwrap_or_else(|| panic!("{name}: {report}")).clone()
    }
}

#[tokio::test]
async fn the_first_content_wins_the_losers_connection_is_closed_and_both_are_paid_for() {
    // It sends a head at once, and what comes before the first word; that is no content.
    let keyed = Keyed::new(vec![Act::Gated(gate())], vec![Act::Answer], "20ms").await;
    let (stage, key) = (&keyed.stage, keyed.alice.as_str());
    let mut id = String::new();
    for (asked, streamed) in [(1, true), (2, false)] {
        let ask = stage.ask("r").header("x-api-key", key).with("stream", streamed);
        let answer = ask.answered().await;
        assert_eq!(answer.header("x-llm-router-provider"), "quick");
        assert_eq!(answer.header("x-llm-router-substituted"), "late/m");
        let left = stage.until("late", |late| late.left == asked && late.running == 0).await;
        assert_eq!((left.requests, stage.asked("quick").requests), (asked, asked));
        answer.header("x-request-id").clone_into(&mut id);
    }

    // A loser of which nothing was seen may well be billed whole: all that was set aside for it is spent, by the books and by the budget.
    let (late, quick) = (keyed.used("provider", "late").await, keyed.used("provider", "quick").await);
    assert_eq!((&late["cost_micros"], &quick["cost_micros"]), (&json!(2 * SET_ASIDE), &json!(2 * ANSWER)));
    assert_eq!((&late["requests"], &quick["requests"]), (&json!(0), &json!(2)), "a request is counted once");
    let alice = keyed.used("key", "alice").await;
    assert_eq!((&alice["cost_micros"], &alice["requests"]), (&json!(2 * (SET_ASIDE + ANSWER)), &json!(2)));

    // Both are named, to whom it concerns.
    for key in [&keyed.alice, &keyed.admin] {
        let trace = stage.trace(&id, key);
        let hedge = &trace["hedges"][0];
        assert_eq!(
            (&hedge["provider"], &hedge["beside"], &hedge["outcome"]),
            (&json!("quick"), &json!("late/m"), &json!("won"))
        );
        assert_eq!(
            (&trace["served"]["provider"], &trace["cost_micros"]),
            (&json!("quick"), &json!(SET_ASIDE + ANSWER))
        );
        let (_, said, _) = stage.explained(&id, key);
        let line = |word: &str| {
            said.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{word}: {said}")).to_owned()
        };
        let tried = |list: &str| (trace[list][0]["provider"].clone(), trace[list][1].clone());
        assert_eq!(tried("attempts"), (json!("quick"), Value::Null), "{trace}");
        assert_eq!(tried("given_up"), (json!("late"), Value::Null), "{trace}");
        assert!(line("given up").contains("late/m"), "{said}");
        let beside = line("beside");
        assert!(beside.contains("quick/m") && beside.contains("late/m was late: won"), "{said}");
        assert!(line("served").contains("in place of late/m") && line("cost").contains("$2.6"), "{said}");
    }
    let metrics = stage.get("/metrics", &keyed.admin).await.text();
    assert!(metrics.contains("llm_router_hedges_total{provider=\"quick\",model=\"m\",outcome=\"won\"} 2"), "{metrics}");
}

#[tokio::test]
async fn a_budget_pays_for_both() {
    let keyed = Keyed::new(vec![Act::Gated(gate())], vec![Act::Answer], "20ms").await;
    // Enough for both to be asked, and for one more where only the winner had been paid.
    let key = keyed.stage.says(&["keys", "create", "bob", "--budget", "4"], "").trim().to_owned();
    keyed.known(&key).await;
    let ask = || keyed.stage.ask("r").header("x-api-key", &key);
    assert_eq!(ask().answered().await.header("x-llm-router-provider"), "quick");
    let refused = ask().heard().await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert!(refused.text().contains("may spend $4.00"), "{}", refused.text());
    assert_eq!(keyed.stage.counts(["late", "quick"]), [1, 1]);
}

#[tokio::test]
async fn late_is_what_most_answers_were_not() {
    // Nobody is late by the clock; twenty answers teach what is usual, and the next one never comes.
    let mut late = vec![Act::Answer; 20];
    late.push(Act::Gated(gate()));
    let keyed = Keyed::new(late, vec![Act::Answer], "1h").await;
    let ask = || keyed.stage.ask("r").header("x-api-key", &keyed.alice).streamed();
    for _ in 0..20 {
        assert_eq!(ask().answered().await.header("x-llm-router-provider"), "late");
    }
    assert_eq!(keyed.stage.counts(["late", "quick"]), [20, 0]);
    let answer = ask().answered().await;
    assert_eq!(answer.header("x-llm-router-provider"), "quick");
    keyed.stage.until("late", |late| late.left == 1 && late.requests == 21).await;
    let trace = keyed.stage.trace(answer.header("x-request-id"), &keyed.admin);
    let after = trace["hedges"][0]["after"].as_f64().unwrap();
    assert!(after < 60.0, "{after} s is no time that an answer took");
}

/// Asks where both are gated, and lets the late one win once the other was asked, and did what it does.
async fn late_wins(keyed: &Keyed, opened: &Semaphore) -> String {
    let answer = keyed.stage.ask("r").header("x-api-key", &keyed.alice).streamed().sent().await;
    keyed.stage.until("quick", |quick| quick.requests == 1).await;
    opened.add_permits(1);
    let answer = answer.rest().await;
    assert_eq!((answer.status, answer.header("x-llm-router-provider")), (200, "late"), "{}", answer.text());
    assert!(answer.text().contains("[DONE]"));
    answer.header("x-request-id").to_owned()
}

#[tokio::test]
async fn one_that_is_late_may_still_win_and_the_other_ones_connection_is_closed() {
    let late = gate();
    let keyed = Keyed::new(vec![Act::Gated(Arc::clone(&late))], vec![Act::Gated(gate())], "20ms").await;
    let id = late_wins(&keyed, &late).await;
    keyed.stage.until("quick", |quick| quick.left == 1 && quick.running == 0).await;
    let trace = keyed.stage.trace(&id, &keyed.admin);
    assert_eq!((&trace["hedges"][0]["outcome"], &trace["served"]["substituted"]), (&json!("lost"), &Value::Null));
    let (late, quick) = (keyed.used("provider", "late").await, keyed.used("provider", "quick").await);
    assert_eq!((&late["cost_micros"], &quick["cost_micros"]), (&json!(ANSWER), &json!(SET_ASIDE)));
}

#[tokio::test]
async fn a_key_that_was_refused_beside_an_answer_is_remembered() {
    let late = gate();
    let keyed = Keyed::new(vec![Act::Gated(Arc::clone(&late))], vec![Act::Refuse(Refusal::Key, None)], "20ms").await;
    // Its refusal is heard before the other one may answer, and costs nothing.
    let answer = keyed.stage.ask("r").header("x-api-key", &keyed.alice).streamed().sent().await;
    let held = |providers: &Value| {
        let details = providers["details"].as_array().unwrap();
        let quick = details.iter().find(|one| one["id"] == "quick").unwrap();
        quick["breakers"].to_string().contains("provider_auth")
    };
    let heard = async {
        while !held(&keyed.stage.get("/api/v0/ai/llm/providers", &keyed.admin).await.json()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), heard).await.unwrap();
    late.add_permits(1);
    let answer = answer.rest().await;
    assert_eq!((answer.status, answer.header("x-llm-router-provider")), (200, "late"), "{}", answer.text());
    let trace = keyed.stage.trace(answer.header("x-request-id"), &keyed.admin);
    // The breaker hears of a refusal a moment before the race does, and the other one may answer in that moment.
    let attempts = trace["attempts"].as_array().unwrap();
    let (last, before) = attempts.split_last().unwrap();
    assert_eq!((&last["provider"], &last["error"]), (&json!("late"), &Value::Null), "{trace}");
    let outcome = match before {
        [] => "lost",
        [first] if first["provider"] == "quick" && first["error"]["kind"] == "provider_auth" => "failed",
        _ => panic!("{trace}"),
    };
    assert_eq!(trace["hedges"][0]["outcome"], json!(outcome));
    assert_eq!(keyed.used("key", "alice").await["cost_micros"], json!(ANSWER));

    // A plan in which nobody is named passes it over: here, and in any process that shares the state.
    let plan = keyed.stage.post("/api/v0/ai/llm/explain", json!({"prompt": "hi"}), &keyed.admin).await;
    for plan in [plan.json(), serde_json::from_str(&keyed.stage.says(&["explain", "hi", "--json"], "")).unwrap()] {
        let targets = plan["targets"].as_array().unwrap();
        let of = |name: &str| {
            targets.iter().find(|target| target["provider"] == name).unwrap_or_else(|| panic!("{plan}")).clone()
        };
        assert_eq!((&of("late")["planned"], &of("quick")["planned"]), (&json!(true), &json!(false)), "{plan}");
        assert!(of("quick")["reason"].as_str().unwrap().contains("refused"), "{plan}");
    }
}
