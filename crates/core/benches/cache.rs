//! Times what a cached request costs: `cargo bench -p ipfs-llm-router --bench cache`.
//!
//! One line a figure, with the bound it has to keep. Rounds of small and large are interleaved, so that both see the
//! same machine. A run with `cold FOLDER` is the cold process that the program starts to be timed.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    hint::black_box,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use llm_router::{
    cache::{DiskTier, MemoryTier, Sha256Digest, StorageKey, Tier, canonical::canonical, key::Key},
    deps::SystemClock,
    ids::{Namespace, ProviderId},
    request::Request,
    store::{EmbeddedStore, Store},
};

const SMALL: u64 = 100;
const LARGE: u64 = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, folder] = arguments.as_slice()
        && word == "cold"
    {
        return cold(Path::new(folder));
    }
    keys();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(memory());
    runtime.block_on(disk());
    runtime.block_on(state());
}

fn keys() {
    let request = Request::new("0123456789abcdef".repeat(640));
    let provider = ProviderId::new("openrouter").unwrap();
    let key = median(2_000, || drop(black_box(Key::of(&request, &provider, "openai/gpt-4o-mini").unwrap())));
    println!("key of a 10 KB prompt: {key:.1?} (bound 40 µs)");
    let body = serde_json::json!({"messages": [{"role": "user", "content": "x".repeat(10_000)}], "temperature": 0.7});
    let body = serde_json::to_vec(&body).unwrap();
    let time = median(2_000, || drop(black_box(canonical(&body).unwrap())));
    println!("canonical form of 10 KB of JSON: {time:.1?}");
}

async fn memory() {
    let tier = MemoryTier::new(256 << 20, Arc::new(SystemClock));
    for number in 0..LARGE / 2 {
        tier.put(&place(number), answer(number), None).await.unwrap();
    }
    let mut times = Vec::new();
    for round in 0..20_000 {
        let place = place(scattered(round) % (LARGE / 2));
        let started = Instant::now();
        black_box(tier.get(&place).await.unwrap());
        times.push(started.elapsed());
    }
    println!("memory hit among {}: {:.2?} (bound 5 µs)", LARGE / 2, middle(times));
}

async fn disk() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str| DiskTier::open(&folder.path().join(name), 1 << 30, Arc::new(SystemClock)).unwrap();
    let tiers = [(SMALL, open("small")), (LARGE, open("large"))];
    for (count, tier) in &tiers {
        let started = Instant::now();
        for from in (0..*count).step_by(256) {
            let batch: Vec<_> =
                (from..(*count).min(from + 256)).map(|number| (place(number), answer(number))).collect();
            let puts = batch.iter().map(|(place, answer)| tier.put(place, answer.clone(), None));
            futures_util::future::try_join_all(puts).await.unwrap();
        }
        let size = std::fs::metadata(tier.path()).unwrap().len();
        println!("disk, filling {count}: {:.1?}, file {} MB", started.elapsed(), size / 1_000_000);
    }
    let (mut hits, mut puts) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..6_000 {
        for (index, (count, tier)) in tiers.iter().enumerate() {
            let place = place(scattered(round) % count);
            let started = Instant::now();
            black_box(tier.get(&place).await.unwrap().unwrap());
            hits[index].push(started.elapsed());
            if round % 10 == 0 {
                let started = Instant::now();
                tier.put(&place, answer(round), None).await.unwrap();
                puts[index].push(started.elapsed());
            }
        }
    }
    for (what, times) in [("hit", hits), ("put", puts)] {
        let [small, large] = times.map(middle);
        let ratio = large.as_secs_f64() / small.as_secs_f64();
        println!("disk {what} among {SMALL}: {small:.1?}, among {LARGE}: {large:.1?}, ratio {ratio:.2} (bound 2)");
    }
    let stored = tiers[1].1.stat().await.unwrap();
    drop(tiers);
    for _ in 0..3 {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["cold".as_ref(), folder.path().join("large").as_os_str()])
            .output()
            .unwrap();
        println!("disk hit in a cold process: {} (bound 20 ms)", String::from_utf8_lossy(&output.stdout).trim());
    }
    eviction(&folder.path().join("large"), stored.bytes + stored.entries * 256).await;
}

async fn eviction(folder: &Path, held: u64) {
    let tier = DiskTier::open(folder, held, Arc::new(SystemClock)).unwrap();
    let before = std::fs::metadata(tier.path()).unwrap().len();
    let mut times = Vec::new();
    for number in 0..2_000 {
        let started = Instant::now();
        tier.put(&place(LARGE + number), answer(number), None).await.unwrap();
        times.push(started.elapsed());
    }
    let after = std::fs::metadata(tier.path()).unwrap().len();
    println!(
        "disk put that evicts: {:.1?}; file {} MB, then {} MB",
        middle(times),
        before / 1_000_000,
        after / 1_000_000
    );
    let started = Instant::now();
    let cleared = tier.clear(None).await.unwrap();
    let size = std::fs::metadata(tier.path()).unwrap().len();
    println!("disk, clearing {cleared}: {:.1?}, file {} KB", started.elapsed(), size / 1000);
}

async fn state() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), Arc::new(SystemClock)).unwrap();
    let mut times = Vec::new();
    for _ in 0..2_000 {
        let started = Instant::now();
        store.increment("bench", "n", 1, None).await.unwrap();
        times.push(started.elapsed());
    }
    println!("state, one increment: {:.1?}", middle(times));
}

/// What a new process does for one answer from the disk, timed from its first line.
fn cold(folder: &Path) {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let found = runtime.block_on(async {
        let tier = DiskTier::open(folder, 1 << 30, Arc::new(SystemClock)).unwrap();
        tier.get(&place(77)).await.unwrap().unwrap()
    });
    println!("{:.2?}, {} bytes", started.elapsed(), found.len());
}

fn place(number: u64) -> StorageKey {
    StorageKey { namespace: Namespace::default(), digest: Sha256Digest::of(&number.to_be_bytes()) }
}

/// About the size of answers: 1 to 3 KB that do not repeat.
fn answer(number: u64) -> Bytes {
    let length = 1024 + scattered(number) % 2048;
    (0..length).map(|at| scattered(number ^ (at << 32)) as u8).collect::<Vec<_>>().into()
}

fn scattered(number: u64) -> u64 {
    let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
}

fn median(rounds: usize, mut work: impl FnMut()) -> Duration {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let started = Instant::now();
        work();
        times.push(started.elapsed());
    }
    middle(times)
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
