//! Measures redb and SQLite for the router's two databases: `cargo run --release`.
//!
//! It prints one table row per figure. The choice made from it is in `docs/decisions/database.md`.
//! The program starts itself again as the writer to be killed (`write KIND FOLDER NAME`) and as the cold reader
//! (`cold KIND FOLDER KEY`).

mod engines;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use engines::{Engine, Result};

const KINDS: [&str; 3] = ["sqlite", "redb", "redb-quick"];
const VALUE: usize = 2048;
const BATCH: usize = 50;
const KILL_ROUNDS: u64 = 40;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["write", kind, folder, name] => write_until_killed(kind, Path::new(folder), name),
        ["cold", kind, folder, key] => cold_read(kind, Path::new(folder), key),
        _ => KINDS.iter().try_for_each(|kind| measure(kind)),
    }
}

fn key(name: &str, number: u64) -> Vec<u8> {
    format!("{name}/{number:012}").into_bytes()
}

/// A value that neither database can shrink: a multiplicative scramble of its number.
fn value(number: u64) -> Vec<u8> {
    let mut state = number | 1;
    (0..VALUE)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

fn batch(name: &str, from: u64, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    (from..from + count as u64).map(|number| (key(name, number), value(number))).collect()
}

/// Writes batches for ever, saying after each commit how many entries are safe.
fn write_until_killed(kind: &str, folder: &Path, name: &str) -> Result<()> {
    let engine = Engine::open(kind, folder)?;
    let mut next = engine.count(name.as_bytes())?;
    loop {
        engine.write(&batch(name, next, BATCH))?;
        next += BATCH as u64;
        println!("{next}");
        std::io::stdout().flush()?;
    }
}

fn cold_read(kind: &str, folder: &Path, key: &str) -> Result<()> {
    let started = Instant::now();
    let engine = Engine::open(kind, folder)?;
    let found = engine.read(key.as_bytes())?;
    println!("{} {}", started.elapsed().as_micros(), found.map_or(0, |value| value.len()));
    Ok(())
}

fn again(arguments: &[&str]) -> Result<Child> {
    Ok(Command::new(env::current_exe()?).args(arguments).stdout(Stdio::piped()).spawn()?)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

/// The last number the child said before its output ended.
fn last_word(child: &mut Child) -> Result<u64> {
    let output = child.stdout.take().ok_or("the child has no output")?;
    let mut last = 0;
    for line in BufReader::new(output).lines() {
        last = line?.parse().unwrap_or(last);
    }
    Ok(last)
}

fn size(folder: &Path) -> Result<f64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes as f64 / 1e6)
}

fn median(mut samples: Vec<Duration>) -> f64 {
    samples.sort();
    samples.get(samples.len() / 2).map_or(0.0, |middle| middle.as_secs_f64() * 1e6)
}

fn measure(kind: &str) -> Result<()> {
    println!("## {kind}");
    let scratch =
        tempfile::tempdir_in(env::var_os("BENCH_FOLDER").unwrap_or_else(|| env::temp_dir().into_os_string()))?;
    size_does_not_matter(kind, scratch.path())?;
    cold(kind, &scratch.path().join("large"), "cold process, 100,000 entries, closed well")?;
    kill_one(kind, &scratch.path().join("large"))?;
    cold(kind, &scratch.path().join("large"), "cold process, 100,000 entries, writer killed")?;
    eviction(kind, &scratch.path().join("large"))?;
    two_writers(kind, scratch.path())?;
    kill_loop(kind, scratch.path())
}

fn size_does_not_matter(kind: &str, scratch: &Path) -> Result<()> {
    for (label, count) in [("small", 100_u64), ("large", 100_000)] {
        let folder = scratch.join(label);
        std::fs::create_dir(&folder)?;
        let engine = Engine::open(kind, &folder)?;
        let filling = Instant::now();
        let step = BATCH * 10;
        let mut from = 0;
        while from < count {
            let size = step.min((count - from) as usize);
            engine.write(&batch("fill", from, size))?;
            from += size as u64;
        }
        println!("fill {count} | {:.2} s", filling.elapsed().as_secs_f64());
        let mut reads = Vec::new();
        let mut writes = Vec::new();
        for round in 0..4_000_u64 {
            let wanted = round.wrapping_mul(2_654_435_761) % count;
            let started = Instant::now();
            engine.read(&key("fill", wanted))?.ok_or("an entry is missing")?;
            reads.push(started.elapsed());
            if round % 20 == 0 {
                let started = Instant::now();
                engine.write(&batch("fill", wanted, 1))?;
                writes.push(started.elapsed());
            }
        }
        println!("read, {count} entries | {:.1} µs", median(reads));
        println!("write one and commit, {count} entries | {:.0} µs", median(writes));
    }
    println!("folder of 100,000 entries of {VALUE} bytes | {:.0} MB", size(&scratch.join("large"))?);
    Ok(())
}

fn cold(kind: &str, folder: &Path, label: &str) -> Result<()> {
    let wanted = String::from_utf8(key("fill", 77))?;
    let mut shown = Vec::new();
    for _ in 0..3 {
        let whole = Instant::now();
        let output = again(&["cold", kind, text(folder), &wanted])?.wait_with_output()?;
        let inside = String::from_utf8(output.stdout)?;
        let micros: f64 = inside.split(' ').next().unwrap_or_default().parse()?;
        shown.push(format!("{:.1} ({:.1})", micros / 1e3, whole.elapsed().as_secs_f64() * 1e3));
    }
    println!("{label}: open and read (whole process) | {} ms", shown.join(", "));
    Ok(())
}

fn kill_one(kind: &str, folder: &Path) -> Result<()> {
    let mut child = again(&["write", kind, text(folder), "killed"])?;
    let output = child.stdout.take().ok_or("the child has no output")?;
    for line in BufReader::new(output).lines().take(3) {
        line?;
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn eviction(kind: &str, folder: &Path) -> Result<()> {
    let engine = Engine::open(kind, folder)?;
    let before = size(folder)?;
    let started = Instant::now();
    for _ in 0..20 {
        engine.evict(1_000)?;
    }
    let evicting = started.elapsed();
    let after = size(folder)?;
    for step in 0..40 {
        engine.write(&batch("refill", step * 500, 500))?;
    }
    println!("evict 20,000 in steps of 1,000 | {:.0} ms", evicting.as_secs_f64() * 1e3);
    println!("folder before, after, refilled | {before:.0}, {after:.0}, {:.0} MB", size(folder)?);
    Ok(())
}

fn two_writers(kind: &str, scratch: &Path) -> Result<()> {
    let folder = scratch.join("two");
    std::fs::create_dir(&folder)?;
    let mut children = [again(&["write", kind, text(&folder), "a"])?, again(&["write", kind, text(&folder), "b"])?];
    std::thread::sleep(Duration::from_secs(3));
    let mut counts = Vec::new();
    for child in &mut children {
        child.kill()?;
        counts.push(last_word(child)?);
        child.wait()?;
    }
    println!("two writers for 3 s, entries each | {}, {}", counts[0], counts[1]);
    Ok(())
}

fn kill_loop(kind: &str, scratch: &Path) -> Result<()> {
    let folder = scratch.join("kill");
    std::fs::create_dir(&folder)?;
    let (mut lost, mut broken, mut refused, mut slowest) = (0, 0, 0, Duration::ZERO);
    for round in 0..KILL_ROUNDS {
        let mut children = [again(&["write", kind, text(&folder), "a"])?, again(&["write", kind, text(&folder), "b"])?];
        std::thread::sleep(Duration::from_millis(20 + (round * 7_919) % 180));
        let mut said = Vec::new();
        for child in &mut children {
            child.kill()?;
            said.push(last_word(child)?);
            child.wait()?;
        }
        let opening = Instant::now();
        let Ok(mut engine) = Engine::open(kind, &folder) else {
            refused += 1;
            continue;
        };
        slowest = slowest.max(opening.elapsed());
        for (name, safe) in ["a", "b"].iter().zip(said) {
            lost += safe.saturating_sub(engine.count(name.as_bytes())?);
        }
        broken += u64::from(!engine.intact()?);
    }
    println!(
        "kill -9 of two writers, {KILL_ROUNDS} rounds: acknowledged entries lost, files broken, opens refused | {lost}, {broken}, {refused}"
    );
    println!("slowest open after a kill ({:.0} MB) | {:.1} ms", size(&folder)?, slowest.as_secs_f64() * 1e3);
    Ok(())
}
