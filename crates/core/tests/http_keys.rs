//! Several keys of one provider, over real sockets: each is a target of its own, so that a refused or limited one is followed by the next before anybody else is asked.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;

use llm_router::ErrorKind;
use llm_router::config::{Balance, Credential, ProviderSettings, RouteSettings, Settings};
use llm_router::deps::RouterDeps;
use llm_router::ids::ProviderId;
use llm_router::provider::registry::{Registry, Surroundings};
use llm_router::request::Request;
use llm_router::response::Response;
use llm_router::router::Router;
use llm_router::router::resolve::Door;
use llm_router::secret::Secret;
use llm_router::testing::scripted::Scripted;
use llm_router::testing::upstream::{Answer, Upstream};

const ANSWER: &str = r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"from upstream"},"finish_reason":"stop"}]}"#;
const REFUSED: &str = r#"{"error":{"message":"no: canary-one"}}"#;
const FAILED: &str = r#"{"error":{"message":"no"}}"#;
const KEYS: [&str; 3] = ["canary-one", "canary-two", "canary-three"];

fn limited() -> Answer {
    Answer::with_headers(429, &[("content-type", "application/json"), ("retry-after", "30")], FAILED)
}

fn answered() -> Answer {
    Answer::json(200, ANSWER)
}

/// A provider `lab` of three keys, and one after it in the route `r`.
fn router(upstream: &Upstream, change: impl FnOnce(&mut ProviderSettings)) -> Router {
    let mut lab = ProviderSettings::default();
    lab.base_url = Some(upstream.url("/v1"));
    lab.credentials = KEYS.iter().map(|key| Credential::Value(Secret::new(*key))).collect();
    change(&mut lab);
    let mut route = RouteSettings::default();
    route.groups = vec![vec!["lab/m".into()], vec!["other/m".into()]];
    let mut settings = Settings::default();
    settings.providers.insert(ProviderId::new("lab").unwrap(), lab);
    settings.routes.insert("r".into(), route);
    let registry = Registry::default();
    registry.register(Arc::new(Scripted::text("other", "from another")), Vec::new(), None);
    let entries = registry.entries(&settings, &Surroundings::default()).unwrap();
    Router::new(RouterDeps::default(), Arc::new(settings), entries)
}

async fn ask(router: &Router) -> Response {
    let mut request = Request::new("hi");
    request.model = Some("r".into());
    router.generate(request).await.unwrap()
}

/// The keys with which the upstream was asked, in order.
fn sent(upstream: &Upstream) -> Vec<String> {
    let key = |request: &llm_router::testing::upstream::Received| {
        request.header("authorization").trim_start_matches("Bearer canary-").to_owned()
    };
    upstream.seen().requests.iter().map(key).collect()
}

#[tokio::test]
async fn a_refused_key_and_a_limited_one_are_followed_by_the_next_and_told_apart() {
    let upstream = Upstream::serve([Answer::json(401, REFUSED), limited(), answered()]).await;
    let router = router(&upstream, |_| {});
    let response = ask(&router).await;
    assert_eq!(response.text(), "from upstream");
    let trace = response.trace().unwrap();
    let tried: Vec<_> = trace.attempts.iter().map(|a| (a.key, a.error.as_ref().map(|e| e.kind()))).collect();
    let (refused, limited) = (ErrorKind::ProviderAuth, ErrorKind::ProviderRateLimited);
    assert_eq!(tried, [(Some(1), Some(refused)), (Some(2), Some(limited)), (Some(3), None)]);
    assert_eq!(trace.served.as_ref().unwrap().substituted, None, "another key is not another target for the caller");

    let open: Vec<_> = router.breakers().iter().map(|state| (state.scope, state.key, state.kind)).collect();
    assert_eq!(open, [("credential", Some(1), refused), ("model", Some(2), limited)]);
    let said = format!("{trace:?} {:?}", router.breakers());
    assert!(!said.contains("canary"), "{said}");

    // The two are left alone for a while, each for its own reason.
    ask(&router).await;
    assert_eq!(sent(&upstream), ["one", "two", "three", "three"]);
    // Limits of another model are its own, a dead key is dead for all.
    let mut request = Request::new("hi");
    request.model = Some("lab/another".into());
    router.generate(request).await.unwrap();
    assert_eq!(sent(&upstream).last().unwrap(), "two");
}

#[tokio::test]
async fn a_failure_that_is_not_the_keys_goes_past_the_others() {
    let upstream = Upstream::serve([Answer::json(404, FAILED)]).await;
    let router = router(&upstream, |_| {});
    assert_eq!(ask(&router).await.text(), "from another");
    assert_eq!(sent(&upstream), ["one"]);
}

#[tokio::test]
async fn when_every_key_is_refused_the_next_target_answers() {
    let upstream = Upstream::serve([Answer::json(403, FAILED), Answer::json(401, FAILED)]).await;
    let router = router(&upstream, |_| {});
    assert_eq!(ask(&router).await.text(), "from another");
    assert_eq!(sent(&upstream), ["one", "two", "three"]);
    assert_eq!(ask(&router).await.text(), "from another");
    assert_eq!(sent(&upstream).len(), 3, "none of them is asked again for now");
    router.forget_refusals().await.unwrap();
    ask(&router).await;
    assert_eq!(sent(&upstream).len(), 6, "all of them are after that");
}

#[tokio::test]
async fn keys_take_turns_where_that_is_said() {
    let upstream = Upstream::serve([answered()]).await;
    let router = router(&upstream, |lab| lab.balance = Some(Balance::RoundRobin));
    for _ in 0..4 {
        ask(&router).await;
    }
    assert_eq!(sent(&upstream), ["one", "two", "three", "one"]);
}

#[tokio::test]
async fn a_key_that_is_not_set_is_left_out_by_name_and_all_share_one_limit() {
    let upstream = Upstream::serve([answered()]).await;
    let unset = || Credential::Env { name: "LAB_KEY_1".into(), value: Secret::new("") };
    let router = router(&upstream, |lab| {
        lab.credentials[0] = unset();
        lab.max_in_flight = Some(1);
    });
    assert_eq!(ask(&router).await.text(), "from upstream");
    assert_eq!(sent(&upstream), ["two"]);
    let mut request = Request::new("hi");
    request.model = Some("r".into());
    let (plan, _) = router.explain(&request, Door::Library).await.unwrap();
    let left = plan.candidates.iter().find(|candidate| !candidate.planned).unwrap();
    assert_eq!((left.key, left.reason.as_str()), (Some(1), "LAB_KEY_1 is not set"));
    let open = router.call(request.clone()).await.unwrap();
    assert_eq!(router.generate(request).await.unwrap().text(), "from another");
    drop(open);
}
