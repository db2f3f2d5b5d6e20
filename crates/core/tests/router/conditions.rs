//! What an error or a request says about who may be asked: larger windows, the content filter's chain, who may see it, what it may cost.

use std::sync::Arc;

use llm_router::ErrorKind;
use llm_router::config::{ModelSettings, RouteSettings, Settings};
use llm_router::pricing::{Price, Prices};
use llm_router::request::{Privacy, Request};
use llm_router::router::resolve::Door;

use crate::support::{Script, Setup, asking};

fn route(change: impl FnOnce(&mut RouteSettings)) -> impl FnOnce(&mut Settings) {
    let mut route = RouteSettings::default();
    route.groups = vec![vec!["a/m".into()], vec!["b/m".into()]];
    change(&mut route);
    |settings| drop(settings.routes.insert("r".into(), route))
}

fn window(id: &'static str, tokens: u64) -> impl FnOnce(&mut Settings) {
    move |settings| {
        let mut own = ModelSettings::default();
        own.window = Some(tokens);
        settings.models.insert(format!("{id}/m"), own);
    }
}

fn long(words: usize) -> Request {
    let mut request = Request::new("word ".repeat(words));
    request.model = Some("r".into());
    request
}

const TOO_LONG: &[Script] = &[Script::Fail(ErrorKind::CallerContextLength)];
const FILTERED: &[Script] = &[Script::Fail(ErrorKind::CallerContentFilter)];

#[tokio::test]
async fn a_prompt_that_is_too_long_goes_to_the_routes_larger_models_only() {
    let (router, calls) = Setup::default()
        .provider("a", TOO_LONG)
        .provider("b", &[Script::Answer("not asked")])
        .provider("large", &[Script::Answer("all of it")])
        .settings(route(|route| route.context = vec!["large/m".into()]))
        .build();
    let response = router.generate(asking(Some("r"), None)).await.unwrap();
    assert_eq!(response.text(), "all of it");
    let trace = response.trace().unwrap();
    assert_eq!(trace.served.as_ref().unwrap().substituted.as_deref(), Some("a/m"));
    assert_eq!((calls("a"), calls("b"), calls("large")), (1, 0, 1), "of b's window nothing is known");
}

#[tokio::test]
async fn a_target_of_the_plan_with_a_window_that_is_known_to_be_larger_takes_over() {
    let (router, calls) = Setup::default()
        .provider("a", TOO_LONG)
        .provider("b", &[Script::Answer("larger")])
        .settings(route(|_| {}))
        .settings(window("a", 8_000))
        .settings(window("b", 100_000))
        .build();
    assert_eq!(router.generate(asking(Some("r"), None)).await.unwrap().text(), "larger");
    assert_eq!(calls("a"), 1);
}

#[tokio::test]
async fn without_a_larger_one_the_error_is_the_callers() {
    let (router, calls) = Setup::default()
        .provider("a", TOO_LONG)
        .provider("b", &[Script::Answer("not asked")])
        .settings(route(|route| route.context = vec!["a/m".into()]))
        .build();
    let error = router.generate(asking(Some("r"), None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerContextLength);
    assert_eq!((calls("a"), calls("b")), (1, 0));
}

#[tokio::test]
async fn a_window_that_is_known_to_be_too_small_is_not_tried_while_another_remains() {
    let setup = || {
        Setup::default()
            .provider("a", &[Script::Answer("small")])
            .provider("b", &[Script::Answer("large")])
            .settings(route(|_| {}))
            .settings(window("a", 4_000))
    };
    let (router, calls) = setup().build();
    assert_eq!(router.generate(long(100)).await.unwrap().text(), "small");
    assert_eq!(router.generate(long(5_000)).await.unwrap().text(), "large");
    let mut wordy = long(1_000);
    wordy.sampling.max_tokens = Some(3_500);
    assert_eq!(router.generate(wordy).await.unwrap().text(), "large", "the answer takes room too");
    assert_eq!(calls("a"), 1);
    let (plan, _) = router.explain(&long(5_000), Door::Library).await.unwrap();
    assert!(!plan.candidates[0].planned && plan.candidates[0].reason.contains("4000 tokens is too small"));
    // An estimate leaves nobody without an answer.
    let (router, _) = setup().settings(window("b", 4_000)).build();
    assert_eq!(router.generate(long(5_000)).await.unwrap().text(), "small");
}

#[tokio::test]
async fn a_refusal_by_a_filter_goes_to_its_chain_and_nowhere_else() {
    let setup = |chain: &[&str]| {
        let chain = chain.iter().map(|target| (*target).to_owned()).collect();
        Setup::default()
            .provider("a", FILTERED)
            .provider("b", &[Script::Answer("not asked")])
            .provider("c", FILTERED)
            .provider("d", &[Script::Answer("fine")])
            .settings(route(|route| route.content_filter = chain))
    };
    let (router, calls) = setup(&["c/m", "d/m"]).build();
    assert_eq!(router.generate(asking(Some("r"), None)).await.unwrap().text(), "fine");
    assert_eq!((calls("a"), calls("b"), calls("c"), calls("d")), (1, 0, 1, 1));
    let (router, calls) = setup(&[]).build();
    let error = router.generate(asking(Some("r"), None)).await.unwrap_err();
    assert_eq!((error.kind(), calls("b")), (ErrorKind::CallerContentFilter, 0));
}

#[tokio::test]
async fn a_chain_is_held_to_the_requests_riders() {
    let (router, calls) = Setup::default()
        .with("a", FILTERED, |p| p.describe = p.describe.clone().with_privacy(Privacy::Local))
        .provider("d", &[Script::Answer("a stranger")])
        .settings(route(|route| {
            route.groups = vec![vec!["a/m".into()]];
            route.content_filter = vec!["d/m".into()];
            route.privacy = Some(Privacy::Local);
        }))
        .build();
    let error = router.generate(asking(Some("r"), None)).await.unwrap_err();
    assert_eq!((error.kind(), calls("d")), (ErrorKind::CallerContentFilter, 0));
}

#[tokio::test]
async fn a_routes_privacy_holds_for_its_requests_alone() {
    let (router, calls) = Setup::default()
        .provider("a", &[Script::Answer("anyone")])
        .with("b", &[Script::Answer("here")], |p| p.describe = p.describe.clone().with_privacy(Privacy::Local))
        .settings(route(|route| route.privacy = Some(Privacy::Local)))
        .build();
    assert_eq!(router.generate(asking(Some("r"), None)).await.unwrap().text(), "here");
    assert_eq!(calls("a"), 0);
    assert_eq!(router.generate(asking(Some("a/m"), None)).await.unwrap().text(), "anyone");
}

#[tokio::test]
async fn the_lower_of_the_routes_price_and_the_requests_holds_and_the_unknown_is_too_dear() {
    let mut setup = Setup::default()
        .provider("a", &[Script::Answer("dear")])
        .provider("b", &[Script::Answer("cheap")])
        .provider("c", &[Script::Answer("unknown")])
        .settings(route(|route| {
            route.groups = vec![vec!["c/m".into()], vec!["a/m".into()], vec!["b/m".into()]];
            route.max_price = Some(20_000_000);
        }));
    let price = |output: u64| {
        let mut price = Price::default();
        (price.input, price.output) = (1, output);
        price
    };
    setup.deps.prices = Arc::new(Prices::default().with([("a/*", price(15_000_000)), ("b/*", price(600_000))]));
    let (router, calls) = setup.build();
    assert_eq!(router.generate(asking(Some("r"), None)).await.unwrap().text(), "dear");
    let cheap = |most: u64| {
        let mut request = asking(Some("r"), None);
        request.riders.max_price = Some(most);
        request
    };
    assert_eq!(router.generate(cheap(600_000)).await.unwrap().text(), "cheap");
    let error = router.generate(cheap(1)).await.unwrap_err();
    assert!(error.message().contains("cost $15.00, and the request allows $0.000001"), "{error}");
    assert_eq!(calls("c"), 0);
}
