//! Two keyrings over one store stand for two processes.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::limits::Role;
use crate::limits::grant::derive;
use crate::store::MemoryStore;
use crate::testing::ManualClock;

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
    let stored = [unhex(&record.hash).unwrap(), unhex(&record.root).unwrap()];
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
    drop((holder, whole));
    for expires in 0..MOST_DERIVED as u64 + 9 {
        let caveats = Caveats { expires: Some(9_999_999_999 + expires), ..Caveats::default() };
        assert!(ring.find(derive(&key, &caveats).unwrap().expose()).unwrap().is_ok(), "the table is bounded");
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_later_version_is_refused_by_name_and_others_stay_known() {
    let world = World::new();
    let ring = world.ring();
    let (record, key) = ring.create(KeySpec::new("alice"), "tests").await.unwrap();
    let text = String::from_utf8(json(&record).unwrap().to_vec()).unwrap();
    let later = text.replace("\"limits\":{", "\"limits\":{\"moon_phase\":\"full\"");
    world.store.put(KEYS, "ffff", later.into(), None).await.unwrap();
    world.store.increment(META, VERSION, 1, None).await.unwrap();
    let error = ring.refresh().await.unwrap_err();
    assert!(error.message().contains("ffff") && error.hint().unwrap().contains("version"), "{error}");
    assert!(ring.find(key.expose()).unwrap().is_ok());
}
