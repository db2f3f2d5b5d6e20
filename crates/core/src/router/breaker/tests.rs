#![allow(clippy::unwrap_used)]
use super::*;
use crate::testing::scripted::Scripted;

const HALF: f64 = 0.5;

struct Target(Breakers, Scripted, ModelName);

impl Target {
    fn new() -> Self {
        Self(Breakers::default(), Scripted::text("lab", "hi"), ModelName::new("m").unwrap())
    }

    fn asked(&self) -> Asked<'_> {
        Asked { provider: &self.1, model: Some(&self.2) }
    }

    fn fail(&self, kind: ErrorKind) {
        let permit = self.0.admit(self.asked(), Instant::now()).ok().unwrap();
        permit.failed(&Error::new(kind, ""), Instant::now(), HALF);
    }

    fn held(&self) -> Option<Held> {
        self.0.held(self.asked(), Instant::now())
    }
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn three_failures_open_it_and_one_probe_closes_it() {
    let target = Target::new();
    for _ in 0..3 {
        assert_eq!(target.held(), None);
        target.fail(ErrorKind::ProviderServerError);
    }
    assert_eq!(target.held().unwrap().until - Instant::now(), Duration::from_secs(1));
    pass(1).await;
    let probe = target.0.admit(target.asked(), Instant::now()).ok().unwrap();
    assert!(target.held().is_some(), "one probe and no second");
    probe.answered(Instant::now());
    assert!(target.0.is_well() && target.held().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_opens_it_for_longer_and_one_that_is_dropped_is_no_probe() {
    let target = Target::new();
    (0..3).for_each(|_| target.fail(ErrorKind::ProviderConnection));
    pass(1).await;
    drop(target.0.admit(target.asked(), Instant::now()).ok().unwrap());
    assert_eq!(target.held(), None);
    target.fail(ErrorKind::ProviderConnection);
    assert_eq!(target.held().unwrap().until - Instant::now(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn what_answers_in_between_begins_the_count_anew() {
    let target = Target::new();
    for _ in 0..10 {
        target.fail(ErrorKind::ProviderServerError);
        target.fail(ErrorKind::ProviderServerError);
        target.0.admit(target.asked(), Instant::now()).ok().unwrap().answered(Instant::now());
    }
    assert!(target.0.is_well());
}

#[tokio::test(start_paused = true)]
async fn an_error_closes_what_it_names_and_nothing_else() {
    let target = Target::new();
    let other = ModelName::new("other").unwrap();
    let held = || target.0.held(Asked { provider: &target.1, model: Some(&other) }, Instant::now());
    (0..3).for_each(|_| target.fail(ErrorKind::ProviderServerError));
    assert!(target.held().is_some() && held().is_none());
    assert_eq!(target.0.clear(), 1);
    (0..3).for_each(|_| target.fail(ErrorKind::ProviderConnection));
    assert!(target.held().is_some() && held().is_some());
    assert_eq!(target.0.clear(), 1);
    target.fail(ErrorKind::ProviderAuth);
    assert!(target.held().is_some() && held().is_some());
    let states = target.0.states(&target.1.describe().id, Instant::now());
    assert_eq!((states.len(), states[0].scope, states[0].half_open), (1, "credential", false));
    pass(600).await;
    assert!(target.held().is_none() && target.0.states(&target.1.describe().id, Instant::now())[0].half_open);
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_let_through_when_the_probe_answers_and_not_past_its_patience() {
    let target = Target::new();
    (0..3).for_each(|_| target.fail(ErrorKind::ProviderServerError));
    let mut none = Duration::ZERO;
    assert!(target.0.enter(target.asked(), &mut none).await.is_err());
    let mut patience = PATIENCE;
    let probe = target.0.enter(target.asked(), &mut patience).await.ok().unwrap();
    assert_eq!(patience, Duration::from_secs(4));
    let mut other = PATIENCE;
    let waiting = target.0.enter(target.asked(), &mut other);
    let answering = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        probe.answered(Instant::now());
    };
    let (entered, ()) = tokio::join!(waiting, answering);
    assert!(entered.is_ok());
    drop(entered);
    assert_eq!(other, Duration::from_secs(3));
    target.fail(ErrorKind::ProviderAuth);
    let began = Instant::now();
    assert!(target.0.enter(target.asked(), &mut patience).await.is_err());
    assert_eq!(Instant::now(), began, "nobody waits for what comes too late");
}

#[tokio::test(start_paused = true)]
async fn clearing_lets_those_through_who_wait_and_breakers_are_bounded() {
    let target = Target::new();
    (0..3).for_each(|_| target.fail(ErrorKind::ProviderServerError));
    let mut patience = PATIENCE;
    let (entered, cleared) = tokio::join!(target.0.enter(target.asked(), &mut patience), async { target.0.clear() });
    assert!(entered.is_ok() && cleared == 1);
    assert_eq!(patience, PATIENCE);
    for at in 0..3 * MOST {
        let model = ModelName::new(format!("m{at}")).unwrap();
        let asked = Asked { provider: &target.1, model: Some(&model) };
        let permit = target.0.admit(asked, Instant::now()).ok().unwrap();
        permit.failed(&Error::new(ErrorKind::ProviderServerError, ""), Instant::now(), HALF);
    }
    assert_eq!(target.0.lock().len(), MOST);
}

#[test]
fn a_kept_instance_keeps_its_breakers() {
    use std::sync::Arc;
    let instances = Instances::default();
    let provider: Arc<dyn DynProvider> = Arc::new(Scripted::text("lab", "hi"));
    let first = instances.of(&provider);
    assert!(Arc::ptr_eq(&first, &instances.of(&Arc::clone(&provider))));
    let other: Arc<dyn DynProvider> = Arc::new(Scripted::text("lab", "hi"));
    assert!(!Arc::ptr_eq(&first, &instances.of(&other)));
}
