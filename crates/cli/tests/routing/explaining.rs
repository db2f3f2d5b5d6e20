//! `explain req_…` asks a running server what happened to a request: after a fallback, a resumed answer and a refused budget, with the key of an administrator, one's own and somebody else's. After a
//! hedge it is in `hedging.rs`.

use std::time::Duration;

use llm_router::testing::faults::Act;
use llm_router::testing::heard::Heard;
use llm_router::testing::voice::Refusal;
use serde_json::json;

use crate::stage::Stage;

const CONFIG: &str = r#"
[server]
virtual_keys = true
[[server.api_keys]]
name = "ops"
key = "the-admin-key"
admin = true
[routes.falls]
groups = [["broken/m"], ["well/m"]]
[routes.resumes]
groups = [["cut/m"], ["well/m"]]
resume = "restart"
[prices."well/m"]
input = 0
output = 10000
"#;

const ADMIN: &str = "the-admin-key";

struct Keyed {
    stage: Stage,
    alice: String,
    bob: String,
}

impl Keyed {
    async fn new() -> Self {
        let scripts = vec![
            ("broken", vec![Act::Refuse(Refusal::RateLimited, None)]),
            ("cut", vec![Act::CutAfter(40)]),
            ("well", vec![Act::Answer]),
        ];
        let stage = Stage::new(scripts, CONFIG).await;
        let made = |words: &[&str]| stage.says(words, "").trim().to_owned();
        let alice = made(&["keys", "create", "alice"]);
        // A cent: one token.
        let bob = made(&["keys", "create", "bob", "--budget", "0.01"]);
        let known = async {
            for key in [&alice, &bob] {
                while stage.get("/v1/models", key).await.status != 200 {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), known).await.unwrap();
        Self { stage, alice, bob }
    }

    /// The id of what the owner of a key asked.
    async fn asked(&self, model: &str, key: &str, status: u16) -> String {
        let ask = self.stage.ask(model).header("x-api-key", key).streamed();
        let heard: Heard = ask.heard().await;
        assert_eq!(heard.status, status, "{}", heard.text());
        heard.header("x-request-id").to_owned()
    }
}

/// The columns of the first row that begins with this word.
fn row(said: &str, word: &str) -> String {
    let found = said.lines().find(|line| line.split_whitespace().next() == Some(word));
    found.unwrap_or_else(|| panic!("{word}: {said}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_request_is_told_to_whoever_asked_it_and_to_administration_alone() {
    let keyed = Keyed::new().await;
    let id = keyed.asked("falls", &keyed.alice, 200).await;
    let narrower = keyed.stage.says(&["keys", "derive", "--ttl", "1h"], &keyed.alice);
    for key in [ADMIN, &keyed.alice] {
        let (success, said, error) = keyed.stage.explained(&id, key);
        assert!(success, "{error}");
        assert!(row(&said, "planned").starts_with("planned broken/m"), "{said}");
        let asked: Vec<_> = said.lines().filter(|line| line.starts_with("asked ")).collect();
        assert_eq!(asked.len(), 3, "{said}");
        assert!(asked[0].contains("broken/m") && asked[0].contains("provider_rate_limited"), "{said}");
        assert!(asked[1].contains("well/m") && asked[1].contains("answered"), "{said}");
        assert!(asked[2].contains("by") && asked[2].contains("alice#"), "{said}");
        assert!(
            row(&said, "served").contains("well/m") && row(&said, "served").ends_with("in place of broken/m"),
            "{said}"
        );
        assert_eq!(row(&said, "cost"), "cost $0.60");
        let trace = keyed.stage.trace(&id, key);
        assert_eq!((&trace["id"], &trace["served"]["provider"]), (&json!(id), &json!("well")));
        assert!(trace["key_name"].as_str().unwrap().starts_with("alice#"), "{trace}");
    }
    for key in [keyed.bob.as_str(), narrower.trim()] {
        let (success, said, error) = keyed.stage.explained(&id, key);
        assert!(!success && said.is_empty(), "{said}");
        assert!(error.contains("nothing is known of a request") && error.contains("admin"), "{error}");
    }
    // Of one that never was no more is said, and a key that is none opens nothing.
    let never = "req_00000000000000000000000000";
    for key in [keyed.bob.as_str(), ADMIN] {
        let (success, _, error) = keyed.stage.explained(never, key);
        assert!(!success && error.contains("nothing is known of a request req_0000"), "{error}");
    }
    let (success, _, error) = keyed.stage.explained(&id, "sk-no-key");
    assert!(!success && error.contains("none of this server's"), "{error}");
    // Without a key the configuration's own administrator asks; with one, a file that has none is said.
    let server = format!("http://{}", keyed.stage.service.address);
    assert!(row(&keyed.stage.says(&["explain", &id, "--server", &server], ""), "served").contains("well/m"));
    let empty = keyed.stage.file("empty", "\n");
    let (success, _, error) = keyed.stage.run(&["explain", &id, "--server", &server, "--key-file", &empty], "");
    assert!(!success && error.contains("no key in"), "{error}");
}

#[tokio::test]
async fn a_resumed_answer_and_a_refused_budget_are_told() {
    let keyed = Keyed::new().await;
    let id = keyed.asked("resumes", &keyed.alice, 200).await;
    let (_, said, _) = keyed.stage.explained(&id, ADMIN);
    assert!(row(&said, "served").starts_with("served cut/m"), "{said}");
    let resumed: Vec<_> = said.lines().filter(|line| line.starts_with("resumed ")).collect();
    assert!(resumed[0].contains("cut/m") && resumed[1].contains("well/m"), "the same one first: {said}");
    assert!(resumed.iter().all(|line| line.contains("from the beginning, after ")), "{said}");
    let trace = keyed.stage.trace(&id, &keyed.alice);
    assert_eq!((&trace["resumed"][1]["provider"], &trace["resumed"][1]["how"]), (&json!("well"), &json!("restart")));

    let before = keyed.stage.asked("well").requests;
    let id = keyed.asked("well/m", &keyed.bob, 429).await;
    assert_eq!(keyed.stage.asked("well").requests, before, "nobody was asked");
    let (_, said, _) = keyed.stage.explained(&id, &keyed.bob);
    assert!(row(&said, "error").contains("budget"), "{said}");
    let trace = keyed.stage.trace(&id, ADMIN);
    assert_eq!(trace["error"]["kind"], "policy_budget_exceeded", "{trace}");
    assert_eq!((&trace["served"], &trace["attempts"]), (&json!(null), &json!([])), "{trace}");
}
