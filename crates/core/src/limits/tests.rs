//! Holders above each other, on time that stands still.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::error::ErrorKind;

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

fn bank() -> Counting {
    let clock = Arc::new(crate::testing::ManualClock::default());
    let bank = Arc::new(bank::StoreBank(Arc::new(crate::store::MemoryStore::new(clock))));
    Counting { bank, sharing: None, draws: TaskTracker::new() }
}

fn key(limits: Limits, above: Option<&Arc<Holder>>, began: Instant) -> Arc<Holder> {
    Holder::of("key", "k", limits, above.cloned(), began)
}

#[tokio::test(start_paused = true)]
async fn a_team_counts_its_keys_together_and_a_refusal_takes_nothing() {
    let now = Instant::now();
    let team = Holder::team("lab", limits(|l| l.requests_per_minute = Some(3)), now, &bank());
    let first = key(limits(|l| l.requests_per_minute = Some(2)), Some(&team), now);
    let second = key(Limits::default(), Some(&team), now);
    drop((first.admit(now, 1).unwrap(), first.admit(now, 1).unwrap()));
    let error = first.admit(now, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyRateLimited);
    assert!(error.message().contains("the key k allows 2 requests a minute"), "{error}");
    assert!(error.retry_after().is_some_and(|wait| wait > Duration::from_secs(59)));
    assert!(second.admit(now, 1).is_ok(), "what the key refused, the team did not count");
    let error = second.admit(now, 1).unwrap_err();
    assert!(error.message().contains("the team lab allows 3 requests a minute"), "{error}");
    let later = now + Duration::from_secs(61);
    assert!(first.admit(later, 1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_shortest_answer_that_any_of_them_allows_counts() {
    let now = Instant::now();
    let team = Holder::team("lab", limits(|l| l.max_tokens = Some(100)), now, &bank());
    let most = |own, above| key(limits(|l| l.max_tokens = own), above, now).max_tokens();
    assert_eq!((most(Some(200), Some(&team)), most(None, Some(&team))), (Some(100), Some(100)));
    assert_eq!((most(Some(9), Some(&team)), most(None, None)), (Some(9), None));
    assert!(key(Limits::default(), Some(&team), now).looks_inside(), "what passes unread could be longer");
}

#[tokio::test(start_paused = true)]
async fn what_runs_at_once_is_given_back_at_its_end_and_after_a_refusal_above() {
    let now = Instant::now();
    let team = Holder::team("lab", limits(|l| l.concurrency = Some(1)), now, &bank());
    let first = key(limits(|l| l.concurrency = Some(5)), Some(&team), now);
    let held = first.admit(now, 1).unwrap();
    for _ in 0..20 {
        assert!(first.admit(now, 1).unwrap_err().message().contains("team lab"), "the key's own places stay free");
    }
    drop(held);
    assert!(first.admit(now, 1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn tokens_are_counted_as_thought_and_then_as_they_were() {
    let now = Instant::now();
    let key = key(limits(|l| l.tokens_per_minute = Some(100)), None, now);
    let mut permit = key.admit(now, 80).unwrap();
    assert!(key.admit(now, 30).is_err());
    permit.took(10);
    drop(permit);
    assert_eq!(key.standings(now).tokens.unwrap().remaining, 90);
    let error = key.admit(now, 101).unwrap_err();
    assert!(error.retry_after().is_none() && error.hint().is_some(), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn models_must_be_allowed_by_all_who_hold() {
    let now = Instant::now();
    let team = Holder::team("lab", limits(|l| l.models = vec!["openai/*".into(), "fast".into()]), now, &bank());
    let key = key(limits(|l| l.models = vec!["gpt-4o*".into(), "fast".into()]), Some(&team), now);
    assert!(key.allows("openai", Some("gpt-4o-mini"), None));
    assert!(!key.allows("openai", Some("o3"), None), "not the key's");
    assert!(!key.allows("azure", Some("gpt-4o-mini"), None), "not the team's");
    assert!(key.allows("groq", Some("llama"), Some("fast")), "a route is allowed with all that it leads to");
    assert!(!key.allows("openai", None, None));
}

#[tokio::test(start_paused = true)]
async fn many_at_once_never_pass_more_than_the_limit() {
    let now = Instant::now();
    let key = key(limits(|l| l.requests_per_minute = Some(100)), None, now);
    let passed: usize = std::thread::scope(|scope| {
        let asks = || (0..250).filter(|_| key.admit(now, 1).is_ok()).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(asks)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 100);
}

#[tokio::test(start_paused = true)]
async fn money_is_set_aside_by_all_who_hold_or_by_none() {
    let (now, at) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    let bank = bank();
    let team = Holder::team("lab", limits(|l| l.budget_per_day = Some(1_000)), now, &bank);
    let make = |name: &str, l: Limits| {
        Arc::new(Holder::bare("key", name, l, Some(Arc::clone(&team)), now).counted(&format!("key/{name}"), &bank))
    };
    let first = make("a", limits(|l| l.budget = Some(700)));
    let second = make("b", limits(|l| l.unpriced = true));
    assert!(first.counts_money() && second.counts_money() && !second.allows_unpriced());
    first.reserve(600, at).await.unwrap().settle(500);
    let error = first.reserve(201, at).await.unwrap_err();
    assert!(error.message().contains("the key a may spend $0.0007 in all"), "{error}");
    assert_eq!(error.retry_after(), None, "no wait helps");
    let error = second.reserve(501, at).await.unwrap_err();
    assert!(error.message().contains("the team lab"), "{error}");
    assert!(error.retry_after().is_some());
    // Gone without a word: spent.
    drop(second.reserve(500, at).await.unwrap());
    let error = first.reserve(1, at).await.unwrap_err();
    assert!(error.message().contains("the team lab"), "{error}");
    for holder in [&team, &first, &second] {
        holder.balance(0, at).await.unwrap();
    }
    assert_eq!(
        first.drawn(at).await.unwrap(),
        [(Period::Ever, 500, 700)],
        "what the team refused, the key did not spend"
    );
    assert_eq!(team.drawn(at).await.unwrap(), [(Period::Day, 1_000, 1_000)]);
}

#[tokio::test(start_paused = true)]
async fn a_holder_whose_key_was_changed_pays_for_who_is_under_way_until_they_have_paid() {
    let clock = Arc::new(crate::testing::ManualClock::default());
    let store = Arc::new(crate::store::MemoryStore::new(clock.clone()));
    let ring = || {
        let (store, seal) = (store.clone(), key::Seal::new(|| Ok([5; 32])));
        let teams: [(String, Limits); 0] = [];
        Keyring::new(store, seal, clock.clone(), keyring::Scope::Key, teams)
    };
    let (here, other) = (ring(), ring());
    let mut spec = key::KeySpec::new("alice");
    spec.limits.budget = Some(10_000);
    let (_, shown) = here.create(spec, "tests").await.unwrap();
    let narrower = grant::Caveats { limits: limits(|l| l.budget_per_day = Some(5_000)), ..Default::default() };
    let narrower = grant::derive(&shown, &narrower).unwrap();
    let find = |shown: &crate::secret::Secret| here.find(shown.expose()).unwrap().unwrap();
    let (whole, derived) = (find(&shown), find(&narrower));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
    let (first, second) = (whole.reserve(600, now).await.unwrap(), derived.reserve(700, now).await.unwrap());
    assert_eq!(derived.drawn(now).await.unwrap(), [(Period::Day, 700, 5_000)]);
    // Twice changed while both are under way, once by somebody else.
    for (by, change) in [(&here, r#"{"limits": {"budget": 20000}}"#), (&other, r#"{"limits": {"budget": 30000}}"#)] {
        by.update("alice", &serde_json::from_str(change).unwrap(), "tests").await.unwrap();
        here.refresh().await.unwrap();
    }
    let spent = async || here.drawn(&here.list().await.unwrap()[0]).await.unwrap();
    here.settle_up().await.unwrap();
    assert_eq!(spent().await, [(Period::Ever, 1_300, 30_000)], "what is set aside stays so");
    let third = find(&shown).reserve(28_701, now).await.unwrap_err();
    assert_eq!(third.kind(), ErrorKind::PolicyBudgetExceeded, "for the new holder, too");
    first.settle(100);
    here.settle_up().await.unwrap();
    assert_eq!(spent().await, [(Period::Ever, 800, 30_000)], "who has paid");
    drop(whole);
    second.settle(900);
    here.settle_up().await.unwrap();
    assert_eq!(spent().await, [(Period::Ever, 1_000, 30_000)], "it cost more than was thought");
    assert_eq!(derived.drawn(now).await.unwrap(), [(Period::Day, 900, 5_000)]);
    drop(derived);
    here.settle_up().await.unwrap();
    assert_eq!(spent().await, [(Period::Ever, 1_000, 30_000)], "and nothing is told twice");
}
