//! Who of a group is asked first, and that the rest of the group follows.

use std::sync::Arc;

use llm_router::ErrorKind;
use llm_router::config::{Balance, RouteSettings, Settings};
use llm_router::ids::ModelName;
use llm_router::pricing::{Price, Prices};
use llm_router::provider::Capabilities;
use llm_router::request::{Message, Request, Substitute, Tool};
use llm_router::router::Router;
use llm_router::router::resolve::Door;

use crate::support::{Script, Setup, asking};

fn route(balance: Balance, groups: &[&[&str]]) -> impl FnOnce(&mut Settings) {
    let mut route = RouteSettings::default();
    route.groups = groups.iter().map(|group| group.iter().map(|target| (*target).to_owned()).collect()).collect();
    route.balance = Some(balance);
    |settings| drop(settings.routes.insert("r".into(), route))
}

fn three(balance: Balance) -> Setup {
    ["a", "b", "c"]
        .into_iter()
        .fold(Setup::default(), |setup, id| setup.provider(id, &[Script::Answer("yes")]))
        .settings(route(balance, &[&["a/m", "b/m", "c/m"]]))
}

async fn served(router: &Router, request: Request) -> String {
    let response = router.generate(request).await.unwrap();
    response.trace().unwrap().served.as_ref().unwrap().provider.to_string()
}

async fn served_many(router: &Router, times: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..times {
        all.push(served(router, asking(Some("r"), None)).await);
    }
    all
}

#[tokio::test]
async fn each_in_turn_and_nobody_is_called_a_substitute() {
    let (router, _) = three(Balance::RoundRobin).build();
    assert_eq!(served_many(&router, 6).await, ["a", "b", "c", "a", "b", "c"]);
    let response = router.generate(asking(Some("r"), None)).await.unwrap();
    assert_eq!(response.trace().unwrap().served.as_ref().unwrap().substituted, None);
}

#[tokio::test]
async fn a_group_without_a_balance_stays_as_it_is_written() {
    let (router, _) = three(Balance::Order).build();
    assert_eq!(served_many(&router, 3).await, ["a", "a", "a"]);
}

#[tokio::test]
async fn weights_are_shares() {
    let weigh = |settings: &mut Settings| {
        let route = settings.routes.get_mut("r").unwrap();
        route.balance = None;
        route.weights.extend([("b/m".to_owned(), 3), ("c/m".to_owned(), 0)]);
    };
    let (router, calls) = three(Balance::Order).settings(weigh).build();
    served_many(&router, 40).await;
    assert_eq!((calls("a"), calls("b"), calls("c")), (10, 30, 0));
}

#[tokio::test(start_paused = true)]
async fn who_fails_is_followed_by_the_next_of_the_group_and_then_left_alone() {
    let (router, calls) = Setup::default()
        .provider("a", &[Script::Fail(ErrorKind::ProviderServerError)])
        .provider("b", &[Script::Answer("yes")])
        .provider("c", &[Script::Answer("yes")])
        .settings(route(Balance::RoundRobin, &[&["a/m", "b/m"], &["c/m"]]))
        .build();
    assert_eq!(served_many(&router, 5).await, ["b"; 5]);
    assert_eq!((calls("a"), calls("c")), (3, 0), "its breaker is open, and it has no turn");
    let (plan, _) = router.explain(&asking(Some("r"), None), Door::Library).await.unwrap();
    let order: Vec<_> = plan.candidates.iter().map(|candidate| candidate.provider.as_str()).collect();
    assert_eq!(order, ["b", "a", "c"]);
}

#[tokio::test]
async fn a_look_takes_no_turn_and_says_what_is_compared() {
    let (router, _) = three(Balance::RoundRobin).build();
    for _ in 0..2 {
        let (plan, _) = router.explain(&asking(Some("r"), None), Door::Library).await.unwrap();
        assert_eq!(plan.candidates[0].provider, "a");
        assert_eq!(plan.candidates[0].score.as_deref(), Some("round_robin"));
    }
    let (router, _) = three(Balance::Latency).build();
    served_many(&router, 1).await;
    let (plan, _) = router.explain(&asking(Some("r"), None), Door::Library).await.unwrap();
    let scores: Vec<_> = plan.candidates.iter().map(|candidate| candidate.score.clone().unwrap()).collect();
    assert_eq!(scores.iter().filter(|score| score.contains("not measured yet, 0 under way")).count(), 2, "{scores:?}");
    assert_eq!(scores.iter().filter(|score| score.contains("ms to the first content")).count(), 1, "{scores:?}");
}

#[tokio::test]
async fn calls_count_until_their_answers_end() {
    let (router, _) = three(Balance::LeastBusy).build();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(router.call(asking(Some("r"), None)).await.unwrap());
    }
    let mut first: Vec<_> = open.iter().map(|answer| answer.trace().served.unwrap().provider.to_string()).collect();
    let last = first[2].clone();
    first.sort();
    assert_eq!(first, ["a", "b", "c"]);
    // Whoever is done has room.
    drop(open.pop());
    assert_eq!(served(&router, asking(Some("r"), None)).await, last);
}

#[tokio::test]
async fn the_cheapest_is_asked_and_the_unknown_last() {
    let mut setup = three(Balance::Cost);
    let price = |output: u64| {
        let mut price = Price::default();
        (price.input, price.output) = (output / 2, output);
        price
    };
    setup.deps.prices = Arc::new(Prices::default().with([("b/*", price(9_000_000)), ("c/*", price(2_000_000))]));
    let (router, _) = setup.build();
    let (plan, _) = router.explain(&asking(Some("r"), None), Door::Library).await.unwrap();
    let order: Vec<_> = plan.targets.iter().map(|planned| planned.target.provider.as_str()).collect();
    assert_eq!(order, ["c", "b", "a"]);
    assert!(plan.candidates[2].score.as_deref().unwrap().contains("unknown price"));
}

#[tokio::test]
async fn a_user_stays_where_it_is_and_a_conversation_too() {
    for balance in [Balance::Sticky, Balance::Prefix] {
        let (router, _) = three(balance).build();
        let mut homes = std::collections::BTreeSet::new();
        for topic in 0..12 {
            let mut request = asking(Some("r"), None);
            request.messages = vec![Message::user(format!("topic {topic}"))];
            let home = served(&router, request.clone()).await;
            request.messages.push(Message::assistant(Vec::new()));
            request.messages.push(Message::user("and more"));
            assert_eq!(served(&router, request).await, home);
            homes.insert(home);
        }
        assert_eq!(homes.len(), 3, "they are spread");
    }
}

#[tokio::test]
async fn only_those_share_the_load_that_can_answer() {
    let (router, calls) = Setup::default()
        .provider("a", &[Script::Answer("yes")])
        .with("b", &[Script::Answer("yes")], |p| {
            p.describe = p.describe.clone().with_capabilities(Capabilities::ALL);
        })
        .with("c", &[Script::Answer("yes")], |p| p.missing = Some("no key"))
        .settings(route(Balance::RoundRobin, &[&["a/m", "b/m", "c/m"]]))
        .build();
    for _ in 0..4 {
        let mut request = asking(Some("r"), None);
        request.tools = vec![serde_json::from_value::<Tool>(serde_json::json!({ "name": "f" })).unwrap()];
        router.generate(request).await.unwrap();
    }
    assert_eq!((calls("a"), calls("b"), calls("c")), (0, 4, 0));
}

#[tokio::test]
async fn who_wants_no_substitute_gets_the_one_whose_turn_it_is() {
    let (router, _) = three(Balance::RoundRobin).build();
    for turn in ["a", "b", "c"] {
        let mut request = asking(Some("r"), None);
        request.riders.substitute = Substitute::Never;
        let response = router.generate(request).await.unwrap();
        let trace = response.trace().unwrap();
        assert_eq!(trace.candidates.len(), 1);
        assert_eq!(trace.served.as_ref().unwrap().provider, turn);
    }
}

#[tokio::test]
async fn a_route_in_a_group_is_one_member_with_an_order_of_its_own() {
    let inner = |settings: &mut Settings| {
        let mut inner = RouteSettings::default();
        inner.groups = vec![vec!["b/m".into(), "c/m".into()]];
        inner.balance = Some(Balance::RoundRobin);
        settings.routes.insert("inner".into(), inner);
    };
    let (router, _) =
        three(Balance::Order).settings(route(Balance::RoundRobin, &[&["a/m", "inner"]])).settings(inner).build();
    assert_eq!(served_many(&router, 4).await, ["a", "c", "a", "c"], "the inner turn is taken with every plan");
    let (plan, _) = router.explain(&asking(Some("r"), None), Door::Library).await.unwrap();
    let planned: Vec<Option<&ModelName>> = plan.targets.iter().map(|planned| planned.target.model.as_ref()).collect();
    assert_eq!(planned.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_a_whole_group_has_in_store_is_looked_for_in_each_group_of_a_plan() {
    let fails = &[Script::Fail(ErrorKind::ProviderRateLimited)];
    let setup = ["a", "b"].into_iter().fold(Setup::default(), |setup, id| setup.provider(id, fails));
    let (router, calls) = setup
        .provider("c", &[Script::Answer("of c")])
        .provider("d", &[Script::Answer("of d")])
        .settings(route(Balance::RoundRobin, &[&["a/m", "b/m"], &["c/m", "d/m"]]))
        .settings(|settings| settings.cache.group = true)
        .cached()
        .build();
    assert_eq!(served_many(&router, 4).await, ["c"; 4], "the second group's turn goes on, and the answer is there");
    assert_eq!((calls("c"), calls("d")), (1, 0));
    let response = router.generate(asking(Some("r"), None)).await.unwrap();
    let trace = response.trace().unwrap();
    // The group that was to answer did not.
    assert!(trace.served.as_ref().unwrap().substituted.is_some());
    // What may not be a part of an answer is made anew.
    let mut strict = asking(Some("r"), None);
    strict.riders.strict = true;
    router.generate(strict).await.unwrap();
    assert_eq!(calls("c") + calls("d"), 2);
}
