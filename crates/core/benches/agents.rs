//! What driving an agent costs beyond the agent: `cargo bench -p ipfs-llm-router --bench agents`.
//!
//! A program replays what an agent printed when it was recorded, at the times at which it printed it; what the agent took to start is left out. It is run by itself
//! and through its provider, by turns; `-- PROVIDER` chooses one. With `-- real PROVIDER MODEL [RUNS]` the genuine program that `PATH` has is run through its provider, in this process's
//! environment, and what this process itself computed for it is told. A run with `replay FILE` is the program that replays.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]
// The program that replays has no runtime.
#![allow(clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use llm_router::config::ProviderSettings;
use llm_router::deps::SystemClock;
use llm_router::ids::{ModelName, ProviderId, RequestId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::process::agents::agent;
use llm_router::provider::process::{Environment, Runner};
use llm_router::provider::{Call, Context, DynProvider, Target};
use llm_router::request::Request;
use llm_router::response::collect;
use serde_json::Value;

/// Provider, program, a variable for its key, what it printed.
const REPLAYED: &[(&str, &str, &str, &str)] = &[("gemini_cli", "gemini", "GEMINI_API_KEY", "gemini/whole.jsonl")];

/// Runs by turns.
const RUNS: usize = 100;

/// Runs between the first and the last look at the memory.
const MANY: usize = 200;

/// Clock ticks of a second in `/proc`.
const TICKS: f64 = 100.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["replay", speed, file, ..] = words.as_slice() {
        return replay(*speed == "timed", Path::new(file));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        match words.as_slice() {
            ["real", id, model, rest @ ..] => {
                real(id, model, rest.first().map_or(10, |runs| runs.parse().unwrap())).await;
            }
            _ => {
                let named = |id: &str| words.first().is_none_or(|word| *word == id);
                for (id, program, key, recorded) in REPLAYED.iter().filter(|row| named(row.0)) {
                    let machine = Machine::new(program, key, recorded);
                    machine.overhead(id, program).await;
                    machine.memory(id, program).await;
                }
            }
        }
    });
}

/// Prints what was recorded, from the first line on.
fn replay(timed: bool, file: &Path) {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<Value> = text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let ms = |line: &Value| line["ms"].as_u64().unwrap_or_default();
    let first = lines.iter().find(|line| line.get("out").is_some()).map_or(0, ms);
    let started = Instant::now();
    let mut out = std::io::stdout().lock();
    for line in &lines {
        if timed {
            let at = Duration::from_millis(ms(line).saturating_sub(first));
            std::thread::sleep(at.saturating_sub(started.elapsed()));
        }
        if let Some(text) = line["out"].as_str() {
            out.write_all(format!("{text}\n").as_bytes()).unwrap();
            out.flush().unwrap();
        } else if let Some(text) = line["err"].as_str() {
            eprintln!("{text}");
        } else if let Some(status) = line["exit"].as_i64() {
            std::process::exit(status as i32);
        }
    }
}

struct Machine {
    folder: tempfile::TempDir,
    environment: Environment,
    recorded: PathBuf,
}

impl Machine {
    fn new(program: &str, key: &str, recorded: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["timed", "swift", "home", "tmp"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        let environment =
            Environment::default().with("HOME", at("home")).with("TMPDIR", at("tmp")).with(key, "key-of-nobody");
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/agents").join(recorded);
        for speed in ["timed", "swift"] {
            let own = std::env::current_exe().unwrap();
            let text = format!("#!/bin/sh\nexec '{}' replay {speed} '{}' \"$@\"\n", own.display(), recorded.display());
            let file = folder.path().join(speed).join(program);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder, environment, recorded }
    }

    fn provider(&self, id: &str, speed: &str) -> (Arc<dyn DynProvider>, Runner) {
        let path = format!("{}:/usr/bin:/bin", self.folder.path().join(speed).display());
        let runner = Runner::default();
        let environment = self.environment.clone().with("PATH", path);
        (agent(id).unwrap().provider(&ProviderSettings::default(), &environment, runner.clone()).unwrap().0, runner)
    }

    async fn overhead(&self, id: &str, program: &str) {
        let (provider, runner) = self.provider(id, "timed");
        let program = self.folder.path().join("timed").join(program);
        let (mut alone, mut routed, mut added) = (Vec::new(), Vec::new(), Vec::new());
        let mut own = 0.0;
        for _ in 0..RUNS {
            let began = Instant::now();
            direct(&program);
            let direct = began.elapsed();
            let before = computed();
            let began = Instant::now();
            ask(&provider, id, None).await;
            let router = began.elapsed();
            runner.shutdown().await;
            own += computed() - before;
            alone.push(direct);
            routed.push(router);
            added.push(router.as_secs_f64() - direct.as_secs_f64());
        }
        added.sort_by(f64::total_cmp);
        println!(
            "{id}, {}: alone {:.1?}, through the router {:.1?}, added p50 {:.1} ms of {RUNS} (bound 30 ms); own CPU {:.2} ms a run (bound 30 ms)",
            self.recorded.file_name().unwrap().to_string_lossy(),
            median(alone),
            median(routed),
            added[RUNS / 2] * 1e3,
            own / RUNS as f64 * 1e3,
        );
    }

    async fn memory(&self, id: &str, program: &str) {
        let (provider, runner) = self.provider(id, "swift");
        let run = |runs: usize| {
            let (provider, runner) = (provider.clone(), runner.clone());
            async move {
                for _ in 0..runs {
                    ask(&provider, id, None).await;
                    runner.shutdown().await;
                }
                resident()
            }
        };
        let first = run(MANY / 10).await;
        let last = run(MANY).await;
        println!(
            "{id}: resident {first:.2} MiB after {}, {last:.2} MiB after {MANY} more runs of {program}",
            MANY / 10
        );
    }
}

/// The genuine program.
async fn real(id: &str, model: &str, runs: usize) {
    #[expect(clippy::disallowed_methods, reason = "a bench's own environment is the user's")]
    let environment = Environment::from_vars(std::env::vars());
    let runner = Runner::default();
    let made = agent(id).unwrap().provider(&ProviderSettings::default(), &environment, runner.clone()).unwrap();
    let (mut times, before) = (Vec::new(), computed());
    for _ in 0..runs {
        let began = Instant::now();
        ask(&made.0, id, Some(model)).await;
        times.push(began.elapsed());
    }
    let own = (computed() - before) / runs as f64 * 1e3;
    runner.shutdown().await;
    println!("{id}, the genuine program: {:.0?} p50 of {runs}; own CPU {own:.1} ms a run (bound 30 ms)", median(times));
}

fn direct(program: &Path) {
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello").unwrap();
    let mut said = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    // Some were recorded to the signal that ended them.
    child.wait().unwrap();
    assert!(!said.is_empty());
}

async fn ask(provider: &Arc<dyn DynProvider>, id: &str, model: Option<&str>) {
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(1, 2));
    let target = Target::new(ProviderId::new(id).unwrap(), model.map(|name| ModelName::new(name).unwrap()));
    let mut request = Request::new("hello");
    request.stream = true;
    let call = Arc::new(Call::new(Arc::new(request), target, cx));
    let answer = collect(provider.generate(call).await.unwrap()).await.unwrap();
    assert!(!answer.text().is_empty());
}

/// Seconds of processor time that this process itself has had, without its children.
fn computed() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / TICKS
}

/// MiB of memory.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<f64>().unwrap() * 4096.0 / f64::from(1 << 20)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
