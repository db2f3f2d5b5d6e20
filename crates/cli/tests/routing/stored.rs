//! What a balanced group has in store: an answer that one member gave, and another one whose turn it is.

use llm_router::testing::faults::Act;
use serde_json::json;

use crate::stage::{Stage, route};

const PAIR: [&str; 2] = ["a", "b"];

async fn pair(cache: &str) -> Stage {
    let config = route(&PAIR, "round_robin") + "[cache]\nresponses = true\n" + cache;
    Stage::new(PAIR.map(|name| (name, vec![Act::Answer])).to_vec(), &config).await
}

#[tokio::test]
async fn each_member_has_its_own_unless_the_group_is_one() {
    let stage = pair("").await;
    let cache = |stage: &Stage| {
        let ask = stage.ask("r");
        async { ask.answered().await.header("x-llm-router-cache").to_owned() }
    };
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(cache(&stage).await);
    }
    assert_eq!(said, ["miss", "miss", "hit", "hit"], "whoever's turn it is looks for its own");
    assert_eq!(stage.counts(PAIR), [1, 1]);

    let stage = pair("group = true\n").await;
    assert_eq!(cache(&stage).await, "miss");
    for _ in 0..3 {
        let answer = stage.ask("r").answered().await;
        assert_eq!((answer.header("x-llm-router-cache"), answer.header("x-llm-router-provider")), ("hit", "a"));
        assert_eq!(answer.header("x-llm-router-substituted"), "", "any member of the group is who was asked for");
    }
    assert_eq!(stage.counts(PAIR), [1, 0]);
    // Who is named is asked, and who wants nothing stored is answered anew, in turn.
    assert_eq!(stage.ask("b/m").answered().await.header("x-llm-router-cache"), "miss");
    let anew = stage.ask("r").header("cache-control", "no-cache").answered().await;
    assert_eq!(anew.header("x-llm-router-cache"), "miss");
    assert_eq!(stage.counts(PAIR).iter().sum::<usize>(), 3);
    // Another question is nobody's yet.
    let other = stage.ask("r").with("temperature", json!(0.5)).answered().await;
    assert_eq!(other.header("x-llm-router-cache"), "miss");
}
