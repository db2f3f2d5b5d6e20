//! Who answers: the order of plans, names that are contracts, what may stand in, who may see a request.

use llm_router::ErrorKind;
use llm_router::ids::ProviderId;
use llm_router::request::{Privacy, Request};
use llm_router::router::Op;
use llm_router::router::resolve::Door;

use crate::support::{Script, Setup, asking, model};

#[tokio::test]
async fn the_first_available_provider_answers_and_the_trace_says_so() {
    let (router, calls) = Setup::default()
        .with("openrouter", &[Script::Answer("no")], |provider| provider.missing = Some("no key"))
        .provider("openai", &[Script::Answer("yes")])
        .provider("local", &[Script::Answer("floor")])
        .build();
    let response = router.generate(Request::new("hello")).await.unwrap();
    assert_eq!(response.text(), "yes");
    let trace = response.trace().unwrap();
    assert_eq!(trace.served.as_ref().unwrap().provider, "openai");
    let considered: Vec<_> = trace.candidates.iter().map(|c| (c.provider.as_str(), c.planned)).collect();
    assert_eq!(considered, [("openrouter", false), ("openai", true), ("local", true)]);
    assert_eq!((calls("openrouter"), calls("openai"), calls("local")), (0, 1, 0));
}

#[tokio::test]
async fn a_named_model_is_a_contract() {
    let (router, _) = Setup::default()
        .with("openai", &[Script::Fail(ErrorKind::ProviderUnavailable)], |p| p.models = vec![model("gpt-4o-mini")])
        .with("lab", &[Script::Answer("lab")], |p| p.models = vec![model("gpt-4o-mini")])
        .provider("local", &[Script::Answer("floor")])
        .build();
    assert_eq!(router.generate(asking(Some("gpt-4o-mini"), None)).await.unwrap().text(), "lab");
    assert_eq!(router.generate(asking(Some("lab/any/name"), None)).await.unwrap().text(), "lab");
    let error = router.generate(asking(Some("gpt-4o-mni"), None)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerModelUnknown);
    assert!(error.hint().unwrap().contains("openai/gpt-4o-mini"), "{:?}", error.hint());
    let error = router.generate(asking(None, Some("opnai"))).await.unwrap_err();
    assert!(error.hint().unwrap().contains("openai"), "{:?}", error.hint());
}

#[tokio::test]
async fn a_provider_that_does_not_know_the_model_answers_with_its_own_only_where_that_was_allowed_and_says_so() {
    let setup = || {
        let script = [Script::Fail(ErrorKind::CallerModelUnknown), Script::Answer("own")];
        Setup::default().with("openai", &script, |p| {
            p.describe = p.describe.clone().with_default_model(model("gpt-4o-mini"));
        })
    };
    let (router, _) = setup().build();
    let error = router.generate(asking(Some("gpt-9"), Some("openai"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerModelUnknown);
    let setup = || setup().settings(|settings| settings.router.model_fallback = true);
    let (router, _) = setup().build();
    let response = router.generate(asking(Some("gpt-9"), Some("openai"))).await.unwrap();
    assert_eq!(response.text(), "own");
    assert_eq!(response.trace().unwrap().served.as_ref().unwrap().substituted.as_deref(), Some("openai/gpt-9"));
    let (router, _) = setup().build();
    let op = Op::new(asking(Some("gpt-9"), Some("openai")), Door::CompatibleApi);
    assert_eq!(router.call(op).await.unwrap_err().kind(), ErrorKind::CallerModelUnknown);
}

#[tokio::test]
async fn the_configured_provider_heads_the_plan_and_only_the_floor_follows() {
    let (router, calls) = Setup::default()
        .provider("openrouter", &[Script::Answer("no")])
        .provider("openai", &[Script::Fail(ErrorKind::ProviderUnavailable)])
        .provider("local", &[Script::Answer("floor")])
        .settings(|settings| settings.router.provider = Some(ProviderId::new("openai").unwrap()))
        .build();
    assert_eq!(router.generate(Request::new("hello")).await.unwrap().text(), "floor");
    assert_eq!(calls("openrouter"), 0);
}

#[tokio::test]
async fn privacy_leaves_out_who_may_not_see_the_request() {
    let (router, calls) = Setup::default()
        .provider("openai", &[Script::Answer("no")])
        .with("local", &[Script::Answer("here")], |p| p.describe = p.describe.clone().with_privacy(Privacy::Local))
        .build();
    let mut request = Request::new("hello");
    request.riders.privacy = Privacy::Local;
    assert_eq!(router.generate(request).await.unwrap().text(), "here");
    assert_eq!(calls("openai"), 0);
    let mut request = asking(None, Some("openai"));
    request.riders.privacy = Privacy::Local;
    assert_eq!(router.generate(request).await.unwrap_err().kind(), ErrorKind::PolicyForbidden);
}

#[tokio::test]
async fn the_operators_privacy_holds_for_what_explain_says_too() {
    let (router, _) = Setup::default()
        .provider("openai", &[Script::Answer("no")])
        .with("local", &[Script::Answer("here")], |p| p.describe = p.describe.clone().with_privacy(Privacy::Local))
        .settings(|settings| settings.router.privacy = Privacy::Local)
        .build();
    let (plan, _) = router.explain(&Request::new("hello"), Door::Command).await.unwrap();
    let planned: Vec<_> = plan.targets.iter().map(|planned| planned.target.provider.as_str()).collect();
    assert_eq!(planned, ["local"]);
}
