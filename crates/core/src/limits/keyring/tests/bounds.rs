//! Keys that end, keys that are too many, and windows that stay. Money that somebody left behind is `slow.rs`.

use std::sync::atomic::AtomicUsize;

use super::*;
use bytes::Bytes;

fn most(count: u64) -> Caveats {
    Caveats { limits: Limits { requests_per_minute: Some(count), ..Limits::default() }, ..Caveats::default() }
}

/// A keyring that makes so many keys and no more.
fn bounded(world: &World, most: usize) -> Keyring {
    let mut ring = world.ring();
    Arc::get_mut(&mut ring.0).unwrap().most_keys = most;
    ring
}

async fn stored(world: &World, space: &str) -> usize {
    world.store.scan(space, Scan { prefix: "", after: None, limit: 99 }).await.unwrap().len()
}

fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

#[tokio::test(start_paused = true)]
async fn a_key_that_holds_no_more_is_forgotten_a_month_later_and_stays_refused() {
    let world = World::new();
    let ring = world.ring();
    let now = seconds(world.clock.now());
    let (_, revoked) = ring.create(KeySpec::new("revoked"), "tests").await.unwrap();
    let expires = Some(now + 86_400);
    let (_, ended) = ring.create(KeySpec { expires, ..KeySpec::new("ended") }, "tests").await.unwrap();
    let (_, stays) = ring.create(KeySpec::new("stays"), "tests").await.unwrap();
    let (_, longer) = ring.create(KeySpec { expires, ..KeySpec::new("longer") }, "tests").await.unwrap();
    let change = serde_json::from_str::<KeyChange>(&format!(r#"{{"expires": {}}}"#, now + 90 * 86_400)).unwrap();
    ring.update("longer", &change, "tests").await.unwrap();
    let narrower = derive(&revoked, &Caveats { expires: Some(9_999_999_999), ..Caveats::default() }).unwrap();
    ring.revoke("revoked", "tests").await.unwrap();
    world.clock.advance(days(29));
    ring.refresh().await.unwrap();
    assert!(refused(&ring, &revoked).contains("revoked") && refused(&ring, &ended).contains("expired"));
    world.clock.advance(days(3));
    // Nothing announces it; all is read again now and then.
    tokio::time::advance(AGAIN).await;
    ring.refresh().await.unwrap();
    for key in [&revoked, &ended, &narrower] {
        assert!(refused(&ring, key).contains("none of this server's"));
    }
    assert!(ring.find(stays.expose()).unwrap().is_ok() && ring.find(longer.expose()).unwrap().is_ok());
    assert_eq!((stored(&world, KEYS).await, stored(&world, NAMES).await), (2, 2), "their names are free, too");
    assert_eq!(ring.deeds(None, 99).await.unwrap().len(), 6, "what was done stays in the log");
}

#[tokio::test(start_paused = true)]
async fn a_key_beyond_those_that_there_may_be_is_refused_by_name_and_none_is_overlooked() {
    let world = World::new();
    let ring = bounded(&world, 3);
    let mut keys = Vec::new();
    for name in ["a", "b", "c"] {
        keys.push(ring.create(KeySpec::new(name), "tests").await.unwrap().1);
    }
    let error = ring.create(KeySpec::new("d"), "tests").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RouterOverloaded);
    assert!(error.message().contains("there are 3 keys") && error.hint().unwrap().contains("keys prune"), "{error}");
    // Others may have made more at the same moment: those are known all the same, and so is what was revoked of them.
    let other = world.ring();
    for name in ["d", "e", "f"] {
        keys.push(other.create(KeySpec::new(name), "tests").await.unwrap().1);
    }
    other.revoke("f", "tests").await.unwrap();
    ring.refresh().await.unwrap();
    assert!(keys.iter().take(5).all(|key| ring.find(key.expose()).unwrap().is_ok()));
    assert!(refused(&ring, &keys[5]).contains("revoked"));
    // Room is made by forgetting those that hold no more.
    for name in ["b", "c", "d"] {
        ring.revoke(name, "tests").await.unwrap();
    }
    let gone = ring.prune("tests").await.unwrap();
    let mut names: Vec<_> = gone.iter().map(|record| record.spec.spec.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["b", "c", "d", "f"]);
    assert!(refused(&ring, &keys[1]).contains("none of this server's"));
    assert!(ring.create(KeySpec::new("d"), "tests").await.is_ok(), "its name is free again");
    assert!(ring.find(keys[0].expose()).unwrap().is_ok() && ring.find(keys[4].expose()).unwrap().is_ok());
    let deeds = ring.deeds(None, 99).await.unwrap();
    assert_eq!(deeds.iter().filter(|(_, deed)| deed.did == "forget").count(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_counts_is_never_forgotten_for_its_siblings() {
    let world = World::new();
    let ring = world.ring();
    let (_, key) = ring.create(KeySpec::new("alice"), "tests").await.unwrap();
    let find = |key: &Secret| ring.find(key.expose()).unwrap();
    let kept = derive(&key, &most(1)).unwrap();
    assert!(find(&kept).unwrap().admit(Instant::now(), 1).is_ok());
    // Those of which nothing counts make room for each other.
    for count in 0..derived::MOST as u64 + 9 {
        find(&derive(&key, &most(1_000 + count)).unwrap()).unwrap();
    }
    assert!(find(&kept).unwrap().admit(Instant::now(), 1).is_err(), "still one in a minute");
    // Those of which something counts do not, and who comes then is refused, not let in anew.
    let mut refused = None;
    for count in 0..derived::MOST as u64 {
        match find(&derive(&key, &most(100_000 + count)).unwrap()) {
            Ok(holder) => drop(holder.admit(Instant::now(), 1).unwrap()),
            Err(error) => refused = Some(error),
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.kind(), ErrorKind::RouterOverloaded);
    assert!(refused.retry_after().is_some_and(|wait| wait <= Duration::from_secs(1)), "{refused:?}");
    assert!(find(&kept).unwrap().admit(Instant::now(), 1).is_err());
    assert!(find(&key).unwrap().admit(Instant::now(), 1).is_ok(), "the key itself goes on");
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(find(&derive(&key, &most(7)).unwrap()).is_ok());
    assert!(find(&kept).unwrap().admit(Instant::now(), 1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_change_of_a_key_gives_what_was_derived_from_it_no_other_minute() {
    let world = World::new();
    let ring = world.ring();
    let (_, key) = ring.create(KeySpec::new("alice"), "tests").await.unwrap();
    let once = derive(&key, &most(1)).unwrap();
    let find = || ring.find(once.expose()).unwrap().unwrap();
    assert!(find().admit(Instant::now(), 1).is_ok());
    for role in ["admin", "user", "admin"] {
        let change = serde_json::from_str::<KeyChange>(&format!(r#"{{"role": "{role}"}}"#)).unwrap();
        ring.update("alice", &change, "tests").await.unwrap();
    }
    assert!(find().admit(Instant::now(), 1).is_err());
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(find().admit(Instant::now(), 1).is_ok());
}

/// Whoever hears the log: how often it said that something cannot be read.
struct Heard(Arc<AtomicUsize>);

impl tracing::Subscriber for Heard {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut |_: &tracing::field::Field, value: &dyn fmt::Debug| {
            let says = format!("{value:?}").contains("cannot be read by this version");
            self.0.fetch_add(usize::from(says), Ordering::Relaxed);
        });
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_told_of_once_and_again_when_it_has_changed() {
    let told = Arc::new(AtomicUsize::new(0));
    let _heard = tracing::subscriber::set_default(Heard(told.clone()));
    let world = World::new();
    let ring = world.ring();
    let (record, _) = ring.create(KeySpec::new("alice"), "tests").await.unwrap();
    let text = String::from_utf8(json(&record).unwrap().to_vec()).unwrap();
    let later = |word: &str| Bytes::from(text.replace("\"limits\":{", &format!("\"limits\":{{\"{word}\":1")));
    world.store.put(KEYS, "ffff", later("moon"), None).await.unwrap();
    for _ in 0..3 {
        tokio::time::advance(AGAIN).await;
        ring.refresh().await.unwrap();
    }
    assert_eq!(told.load(Ordering::Relaxed), 1);
    world.store.put(KEYS, "ffff", later("sun"), None).await.unwrap();
    // A record that is damaged keeps no other from being read.
    world.store.put(KEYS, "eeee", text.replace("\"hash\":\"", "\"hash\":\"x").into(), None).await.unwrap();
    for _ in 0..3 {
        tokio::time::advance(AGAIN).await;
        ring.refresh().await.unwrap();
    }
    assert_eq!(told.load(Ordering::Relaxed), 3);
    assert_eq!(ring.list().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_comes_back_only_where_nobody_has_its_name() {
    let world = World::new();
    let ring = world.ring();
    let now = seconds(world.clock.now());
    let expires = Some(now + 60);
    let (first, key) = ring.create(KeySpec { expires, ..KeySpec::new("alice") }, "tests").await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    assert!(refused(&ring, &key).contains("expired"), "at that very second");
    let (second, _) = ring.create(KeySpec::new("alice"), "tests").await.unwrap();
    let again = serde_json::from_str::<KeyChange>(r#"{"expires": null}"#).unwrap();
    let error = ring.update(&first.id, &again, "tests").await.unwrap_err();
    assert!(error.message().contains("already"), "{error}");
    assert!(refused(&ring, &key).contains("expired"));
    assert_eq!(ring.revoke("alice", "tests").await.unwrap().id, second.id);
    ring.update(&first.id, &again, "tests").await.unwrap();
    assert!(ring.find(key.expose()).unwrap().is_ok());
    assert_eq!(ring.revoke("alice", "tests").await.unwrap().id, first.id);
}

#[tokio::test(start_paused = true)]
async fn derived_keys_that_are_known_are_let_in_after_a_change_however_many() {
    let world = World::new();
    let ring = world.ring();
    let (_, key) = ring.create(KeySpec::new("alice"), "tests").await.unwrap();
    let find = |key: &Secret| ring.find(key.expose()).unwrap();
    let all: Vec<_> = (0..derived::MOST as u64).map(|count| derive(&key, &most(2 + count)).unwrap()).collect();
    for key in &all {
        drop(find(key).unwrap().admit(Instant::now(), 1).unwrap());
    }
    ring.update("alice", &role("admin"), "tests").await.unwrap();
    assert!(find(&derive(&key, &most(1)).unwrap()).is_err(), "there is no room for another one");
    for key in &all {
        drop(find(key).unwrap().admit(Instant::now(), 1).unwrap());
    }
    assert!(find(&all[0]).unwrap().admit(Instant::now(), 1).is_err(), "and what passed before counts");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_called_like_an_id_since_earlier_can_be_changed() {
    let world = World::new();
    let ring = world.ring();
    let (mut record, _) = ring.create(KeySpec::new("alice"), "tests").await.unwrap();
    let name = "0011223344556677";
    assert!(ring.create(KeySpec::new(name), "tests").await.is_err());
    record.spec.spec.name = name.to_owned();
    world.store.put(KEYS, &record.id, json(&record).unwrap(), None).await.unwrap();
    world.store.put(NAMES, name, record.id.clone().into(), None).await.unwrap();
    assert_eq!(ring.update(name, &role("admin"), "tests").await.unwrap().spec.spec.role, Role::Admin);
}
