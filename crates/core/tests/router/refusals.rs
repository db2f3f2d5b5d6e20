//! Keys that were refused are passed over for a while, in every process.

use std::sync::Arc;
use std::time::Duration;

use llm_router::ErrorKind;
use llm_router::deps::SystemClock;
use llm_router::ids::ProviderId;
use llm_router::request::Request;
use llm_router::store::{MemoryStore, Store};

use crate::support::{Script, Setup, asking};

#[tokio::test]
async fn a_refused_key_is_passed_over_by_automatic_plans_only_and_in_the_next_process_too() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(SystemClock)));
    let with = |script: &[Script]| {
        let mut setup = Setup::default().provider("openai", script).provider("local", &[Script::Answer("floor")]);
        setup.deps.store = Some(Arc::clone(&store));
        setup.build()
    };
    let (first, calls) = with(&[Script::Fail(ErrorKind::ProviderAuth)]);
    first.generate(Request::new("hello")).await.unwrap();
    first.generate(Request::new("hello")).await.unwrap();
    assert_eq!(calls("openai"), 1);
    let (second, calls) = with(&[Script::Answer("mended")]);
    assert_eq!(second.generate(Request::new("hello")).await.unwrap().text(), "floor");
    assert_eq!(second.refused().await, [ProviderId::new("openai").unwrap()]);
    assert_eq!(second.generate(asking(None, Some("openai"))).await.unwrap().text(), "mended");
    second.forget_refusals().await.unwrap();
    assert_eq!(second.generate(Request::new("hello")).await.unwrap().text(), "mended");
    assert_eq!(calls("openai"), 2);
}

#[tokio::test]
async fn a_refusal_read_from_another_process_ends_at_its_own_time() {
    let clock = Arc::new(llm_router::testing::ManualClock::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
    let with = |script: &[Script]| {
        let mut setup = Setup::default().provider("openai", script).provider("local", &[Script::Answer("floor")]);
        setup.deps.store = Some(Arc::clone(&store));
        setup.deps.clock = Arc::clone(&clock) as _;
        setup.build().0
    };
    with(&[Script::Fail(ErrorKind::ProviderAuth)]).generate(Request::new("hello")).await.unwrap();
    clock.advance(Duration::from_secs(8 * 60));
    let second = with(&[Script::Answer("mended")]);
    assert_eq!(second.generate(Request::new("hello")).await.unwrap().text(), "floor");
    clock.advance(Duration::from_secs(2 * 60 + 1));
    assert_eq!(second.generate(Request::new("hello")).await.unwrap().text(), "mended");
}

#[tokio::test]
async fn a_record_of_a_refusal_that_cannot_be_so_is_not_believed() {
    let clock = Arc::new(llm_router::testing::ManualClock::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
    let far = [0x7f; 8].to_vec();
    for (provider, record) in [("openai", far), ("lab", Vec::new())] {
        store.put("refused", &format!("{provider}:key-1"), record.into(), None).await.unwrap();
    }
    let mut setup =
        Setup::default().provider("openai", &[Script::Answer("no")]).provider("lab", &[Script::Answer("yes")]);
    setup.deps.store = Some(store);
    setup.deps.clock = Arc::clone(&clock) as _;
    let (router, _) = setup.build();
    assert_eq!(router.refused().await, [ProviderId::new("openai").unwrap()]);
    clock.advance(Duration::from_secs(601));
    assert!(router.refused().await.is_empty());
}
