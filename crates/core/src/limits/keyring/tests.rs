//! Two keyrings over one store stand for two processes.
#![allow(clippy::unwrap_used)]

use super::change::json;
use super::*;
use crate::limits::Role;
use crate::limits::grant::{Caveats, derive, whole};
use crate::limits::key::{KeyChange, seconds};
use crate::secret::Secret;
use crate::store::{MemoryStore, Scan};
use crate::testing::ManualClock;

mod bounds;
mod slow;

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        Self { store: Arc::new(MemoryStore::new(clock.clone())), clock }
    }

    fn ring(&self) -> Keyring {
        let team = Limits { requests_per_minute: Some(2), ..Limits::default() };
        let teams = [("lab".to_owned(), team)];
        Keyring::new(self.store.clone(), Seal::new(|| Ok([5; 32])), self.clock.clone(), Scope::Key, teams)
    }
}

fn refused(ring: &Keyring, key: &Secret) -> String {
    let error = ring.find(key.expose()).unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PolicyUnauthenticated);
    error.message().to_owned()
}

fn role(name: &str) -> KeyChange {
    serde_json::from_str(&format!(r#"{{"role": "{name}"}}"#)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_key_is_known_everywhere_until_it_is_revoked() {
    let world = World::new();
    let (here, there) = (world.ring(), world.ring());
    there.refresh().await.unwrap();
    let (record, key) = here.create(KeySpec::new("alice"), "tests").await.unwrap();
    assert!(refused(&there, &key).contains("none of this server's"));
    let watching = tokio::spawn({
        let there = there.clone();
        async move { there.watch().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let holder = there.find(key.expose()).unwrap().unwrap();
    assert_eq!(**holder.name(), format!("alice#{}", record.id));
    let narrower = derive(&key, &Caveats { expires: Some(9_999_999_999), ..Caveats::default() }).unwrap();
    assert!(there.find(narrower.expose()).unwrap().is_ok());

    here.revoke("alice", "tests").await.unwrap();
    assert!(refused(&here, &key).contains("revoked"), "at once where it was done");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(refused(&there, &key).contains("revoked"));
    assert!(refused(&there, &narrower).contains("revoked"), "and all that came from it");
    watching.abort();
    let deeds: Vec<_> = here.deeds(None, 9).await.unwrap().into_iter().map(|(_, deed)| (deed.did, deed.by)).collect();
    assert_eq!(deeds, [("create".into(), "tests".into()), ("revoke".into(), "tests".into())]);
    assert!(here.revoke("alice", "tests").await.is_err());
    assert!(here.create(KeySpec::new("alice"), "tests").await.is_ok(), "the name is free again");
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_is_no_key_and_makes_none() {
    let world = World::new();
    let ring = world.ring();
    let (record, key) = ring.create(KeySpec::new("alice"), "tests").await.unwrap();
    let secret = key.expose().rsplit('-').next().unwrap().to_owned();
    for space in [KEYS, NAMES, DEEDS] {
        for (_, value) in world.store.scan(space, Scan { prefix: "", after: None, limit: 99 }).await.unwrap() {
            assert!(!String::from_utf8_lossy(&value).contains(&secret));
        }
    }
    let Some(Shown::Whole { secret, .. }) = Shown::read(key.expose()) else { panic!("a whole key") };
    let stored = [record.hash, record.root];
    for other in stored {
        assert_ne!(other, secret);
        let forged = whole(&record.id, &other);
        assert!(refused(&ring, &forged).contains("none of"));
        let narrower = derive(&forged, &Caveats { expires: Some(9_999_999_999), ..Caveats::default() }).unwrap();
        assert!(refused(&ring, &narrower).contains("none of"));
    }
}

#[tokio::test(start_paused = true)]
async fn time_names_teams_and_forms_are_checked() {
    let world = World::new();
    let ring = world.ring();
    let now = seconds(world.clock.now());
    let spec = KeySpec { expires: Some(now + 60), team: Some("lab".into()), ..KeySpec::new("bob") };
    let (_, key) = ring.create(spec.clone(), "tests").await.unwrap();
    assert!(ring.create(spec.clone(), "tests").await.unwrap_err().message().contains("already"));
    let error = ring.create(KeySpec { team: Some("none".into()), ..KeySpec::new("x") }, "tests").await.unwrap_err();
    assert!(error.hint().unwrap().contains("[teams.none]"));
    let holder = ring.find(key.expose()).unwrap().unwrap();
    drop((holder.admit(Instant::now(), 1).unwrap(), holder.admit(Instant::now(), 1).unwrap()));
    assert!(holder.admit(Instant::now(), 1).unwrap_err().message().contains("team lab"));
    world.clock.advance(Duration::from_secs(60));
    assert!(refused(&ring, &key).contains("expired"));
    assert!(ring.find("sk-proj-123").is_none(), "a key of another kind");
}

#[tokio::test(start_paused = true)]
async fn derived_keys_count_for_themselves_and_for_those_above() {
    let world = World::new();
    let ring = world.ring();
    let mut spec = KeySpec::new("alice");
    spec.role = Role::Admin;
    spec.limits.requests_per_minute = Some(3);
    let (_, key) = ring.create(spec, "tests").await.unwrap();
    let most = |count| Caveats {
        limits: Limits { requests_per_minute: Some(count), ..Limits::default() },
        ..Caveats::default()
    };
    let narrower = derive(&key, &most(2)).unwrap();
    let looser = derive(&narrower, &most(100)).unwrap();
    let now = Instant::now();
    let ask = |key: &Secret| ring.find(key.expose()).unwrap().unwrap().admit(now, 1);
    assert!(ask(&looser).is_ok() && ask(&looser).is_ok());
    assert!(ask(&looser).is_err(), "a later block cannot give back what an earlier one took");
    assert!(ask(&narrower).is_err(), "and its siblings share what they came from");
    assert!(ask(&key).is_ok());
    assert!(ask(&key).is_err(), "all of it counted for the key");
    let holder = ring.find(narrower.expose()).unwrap().unwrap();
    assert_eq!(holder.role(), Role::User, "what is derived administers nothing");
    let whole = ring.find(key.expose()).unwrap().unwrap();
    assert_ne!(holder.namespace(), whole.namespace());
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_later_version_is_no_key_here_and_hides_no_revocation() {
    let world = World::new();
    let (ring, other) = (world.ring(), world.ring());
    let (record, key) = ring.create(KeySpec::new("alice"), "tests").await.unwrap();
    let text = String::from_utf8(json(&record).unwrap().to_vec()).unwrap();
    let later = text.replace("\"limits\":{", "\"limits\":{\"moon_phase\":\"full\"");
    world.store.put(KEYS, "ffff", later.into(), None).await.unwrap();
    world.store.increment(META, VERSION, 1, None).await.unwrap();
    ring.refresh().await.unwrap();
    assert!(ring.find(key.expose()).unwrap().is_ok());
    other.refresh().await.unwrap();
    other.revoke("alice", "tests").await.unwrap();
    ring.refresh().await.unwrap();
    assert!(refused(&ring, &key).contains("revoked"));
}

#[tokio::test(start_paused = true)]
async fn a_key_of_a_team_that_is_not_known_here_is_let_in_nowhere() {
    let world = World::new();
    let (here, there) = (world.ring(), world.ring());
    let mut spec = KeySpec::new("alice");
    spec.team = Some("lab".to_owned());
    let (_, key) = here.create(spec, "tests").await.unwrap();
    there.refresh().await.unwrap();
    assert!(there.find(key.expose()).unwrap().is_ok());
    let none: [(String, Limits); 0] = [];
    let seal = Seal::new(|| Ok([5; 32]));
    let without = Keyring::new(world.store.clone(), seal, world.clock.clone(), Scope::Key, none);
    without.refresh().await.unwrap();
    let error = without.find(key.expose()).unwrap().unwrap_err();
    assert!(error.kind() == ErrorKind::PolicyForbidden && error.message().contains("lab"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_change_holds_everywhere_and_what_passed_and_was_spent_stays() {
    let world = World::new();
    let (here, there) = (world.ring(), world.ring());
    let mut spec = KeySpec::new("alice");
    spec.limits.requests_per_minute = Some(2);
    spec.limits.budget = Some(1_000);
    let (record, key) = here.create(spec, "tests").await.unwrap();
    there.refresh().await.unwrap();
    let find = |ring: &Keyring| ring.find(key.expose()).unwrap().unwrap();
    let now = Instant::now();
    drop((find(&there).admit(now, 1).unwrap(), find(&there).admit(now, 1).unwrap()));
    let old = find(&there);
    let spending = old.reserve(600, world.clock.now()).await.unwrap();
    let change = serde_json::from_str::<KeyChange>(
        r#"{"team": "lab", "limits": {"requests_per_minute": 3, "models": ["s/*"], "budget": 2000}}"#,
    );
    let changed = here.update("alice", &change.unwrap(), "tests").await.unwrap();
    assert_eq!(changed.spec.spec.limits.requests_per_minute, Some(3));
    there.refresh().await.unwrap();
    let holder = find(&there);
    assert!(!holder.allows("other", Some("m"), None) && holder.allows("s", Some("m"), None));
    assert!(holder.admit(now, 1).is_ok() && holder.admit(now, 1).is_err(), "two passed before");
    spending.settle(100);
    drop(old);
    there.settle_up().await.unwrap();
    assert_eq!(there.drawn(&changed).await.unwrap(), [(crate::limits::Period::Ever, 100, 2_000)]);
    // What is named `null` is none.
    let lifted = serde_json::from_str::<KeyChange>(r#"{"team": null, "limits": {"requests_per_minute": null}}"#);
    let lifted = here.update(&record.id, &lifted.unwrap(), "tests").await.unwrap().spec.spec;
    assert_eq!((lifted.team, lifted.limits.requests_per_minute, lifted.limits.budget), (None, None, Some(2_000)));
    let wrong = serde_json::from_str::<KeyChange>(r#"{"team": "nobody's"}"#).unwrap();
    assert!(here.update("alice", &wrong, "tests").await.is_err());
    assert!(serde_json::from_str::<KeyChange>(r#"{"name": "bob"}"#).is_err(), "a name is not changed");
}
