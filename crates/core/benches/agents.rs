//! What driving an agent costs beyond the agent: `cargo bench -p ipfs-llm-router --bench agents`.
//!
//! A program replays what an agent printed when it was recorded, at the times at which it printed it; what the agent took to start is left out. It is run by itself
//! and through its provider, by turns; `-- PROVIDER` chooses one. A server is started for each run and told what the recording says, by both. With
//! `-- real PROVIDER MODEL [RUNS]` the genuine program that `PATH` has is run through its provider, in this process's environment, and what this process itself
//! computed for it is told; `scripts/agents.sh figures` does the same to the whole program. A run with `replay …` is the program that replays.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]
// The program that replays has no runtime.
#![allow(clippy::disallowed_methods)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
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

/// An agent that is replayed.
struct Replayed {
    id: &'static str,
    program: &'static str,
    /// A variable for its key.
    key: &'static str,
    /// What it printed.
    recorded: &'static str,
    /// Whether its messages go in frames of Content-Length.
    framed: bool,
    /// Whether its answer is over when it has ended, and not with its last line.
    ends: bool,
    /// What only the message has with which its answer is over, where others follow.
    over: Option<&'static str>,
}

const CLAUDE: Replayed = Replayed {
    id: "claude_code",
    program: "claude",
    key: "ANTHROPIC_API_KEY",
    recorded: "claude/whole.jsonl",
    framed: false,
    ends: false,
    over: None,
};

const REPLAYED: &[Replayed] = &[
    CLAUDE,
    Replayed {
        id: "gemini_cli",
        program: "gemini",
        key: "GEMINI_API_KEY",
        recorded: "gemini/whole.jsonl",
        ends: true,
        ..CLAUDE
    },
    Replayed {
        id: "copilot_cli",
        program: "copilot",
        key: "GITHUB_TOKEN",
        recorded: "copilot/text.jsonl",
        ends: true,
        ..CLAUDE
    },
    Replayed {
        id: "copilot_sdk",
        program: "copilot",
        key: "GITHUB_TOKEN",
        recorded: "copilot_sdk/text.jsonl",
        framed: true,
        over: Some("\"session.idle\""),
        ..CLAUDE
    },
    Replayed { id: "codex_cli", program: "codex", key: "CODEX_API_KEY", recorded: "codex/whole.jsonl", ..CLAUDE },
];

/// Runs by turns.
const RUNS: usize = 100;

/// Runs between the first and the last look at the memory.
const MANY: usize = 200;

/// Clock ticks of a second in `/proc`.
const TICKS: f64 = 100.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["replay", speed, framing, file, ..] = words.as_slice() {
        return replay(*speed == "timed", *framing == "framed", &lines_of(Path::new(file)));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        match words.as_slice() {
            ["real", id, model, rest @ ..] => {
                real(id, model, rest.first().map_or(10, |runs| runs.parse().unwrap())).await;
            }
            _ => {
                let named = |id: &str| words.first().is_none_or(|word| *word == id);
                for agent in REPLAYED.iter().filter(|agent| named(agent.id)) {
                    let machine = Machine::new(agent);
                    machine.overhead().await;
                    machine.memory().await;
                }
            }
        }
    });
}

/// A recording without its head.
fn lines_of(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is(line: &Value, name: &str) -> bool {
    line.get(name).is_some()
}

/// Prints what was recorded, from the first line on, each time hearing first what it was told there.
fn replay(timed: bool, framed: bool, lines: &[Value]) {
    let (mut told, mut out) = (BufReader::new(std::io::stdin()), std::io::stdout().lock());
    if !lines.iter().any(|line| is(line, "in")) {
        told.read_to_end(&mut Vec::new()).unwrap();
    }
    let ms = |line: &Value| line["ms"].as_u64().unwrap_or_default();
    // What came before the first line was its start.
    let mut since = lines.iter().find(|line| is(line, "out")).map_or(0, ms);
    let mut started = Instant::now();
    for line in lines {
        if is(line, "in") {
            hear(&mut told, framed);
            (since, started) = (since.max(ms(line)), Instant::now());
        }
        if timed {
            let at = Duration::from_millis(ms(line).saturating_sub(since));
            std::thread::sleep(at.saturating_sub(started.elapsed()));
        }
        if let Some(text) = line["out"].as_str() {
            say(&mut out, text, framed);
        } else if let Some(text) = line["err"].as_str() {
            eprintln!("{text}");
        } else if let Some(status) = line["exit"].as_i64() {
            std::process::exit(status as i32);
        }
    }
}

/// Writes a message.
fn say(to: &mut impl Write, text: &str, framed: bool) {
    let whole = if framed { format!("Content-Length: {}\r\n\r\n{text}", text.len()) } else { format!("{text}\n") };
    to.write_all(whole.as_bytes()).unwrap();
    to.flush().unwrap();
}

/// Reads a message; nothing where there is none any more.
fn hear(from: &mut impl BufRead, framed: bool) {
    let mut line = String::new();
    let mut length = 0;
    while from.read_line(&mut line).unwrap() > 0 && framed && !line.trim().is_empty() {
        length = line.split_once(':').map_or(length, |(_, value)| value.trim().parse().unwrap_or(length));
        line.clear();
    }
    from.read_exact(&mut vec![0; length]).unwrap();
}

struct Machine {
    agent: &'static Replayed,
    folder: tempfile::TempDir,
    environment: Environment,
    lines: Vec<Value>,
}

impl Machine {
    fn new(agent: &'static Replayed) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["timed", "swift", "home", "tmp"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        let environment =
            Environment::default().with("HOME", at("home")).with("TMPDIR", at("tmp")).with(agent.key, "key-of-nobody");
        let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/agents").join(agent.recorded);
        let framing = if agent.framed { "framed" } else { "lines" };
        for speed in ["timed", "swift"] {
            let own = std::env::current_exe().unwrap();
            let text = format!(
                "#!/bin/sh\nexec '{}' replay {speed} {framing} '{}' \"$@\"\n",
                own.display(),
                recorded.display()
            );
            let file = folder.path().join(speed).join(agent.program);
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { agent, folder, environment, lines: lines_of(&recorded) }
    }

    fn provider(&self, speed: &str) -> (Arc<dyn DynProvider>, Runner) {
        let path = format!("{}:/usr/bin:/bin", self.folder.path().join(speed).display());
        let runner = Runner::default();
        let environment = self.environment.clone().with("PATH", path);
        let driven = agent(self.agent.id).unwrap();
        (driven.provider(&ProviderSettings::default(), &environment, runner.clone()).unwrap().0, runner)
    }

    async fn overhead(&self) {
        let id = self.agent.id;
        let (provider, runner) = self.provider("timed");
        let (mut alone, mut routed, mut added) = (Vec::new(), Vec::new(), Vec::new());
        let mut own = 0.0;
        for _ in 0..RUNS {
            let began = Instant::now();
            self.direct();
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
            self.agent.recorded,
            median(alone),
            median(routed),
            added[RUNS / 2] * 1e3,
            own / RUNS as f64 * 1e3,
        );
    }

    /// The program by itself: told what it was told when it was recorded, and read to where its answer is over.
    fn direct(&self) {
        let Replayed { program, framed, ends, over, .. } = *self.agent;
        let program = self.folder.path().join("timed").join(program);
        let mut child =
            Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut to = child.stdin.take();
        let mut from = BufReader::new(child.stdout.take().unwrap());
        let talks = self.lines.iter().any(|line| is(line, "in"));
        if !talks {
            to.take().unwrap().write_all(b"hello").unwrap();
        }
        for line in &self.lines {
            if let Some(text) = line["in"].as_str() {
                say(to.as_mut().unwrap(), text, framed);
            } else if let Some(text) = line["out"].as_str() {
                hear(&mut from, framed);
                if over.is_some_and(|over| text.contains(over)) {
                    break;
                }
            }
        }
        if ends {
            child.wait().unwrap();
            return;
        }
        // What it does after its answer is nobody's time: it is ended beside the next run, as the router ends it.
        drop((to, from));
        std::thread::spawn(move || {
            let _ = child.kill();
            child.wait()
        });
    }

    async fn memory(&self) {
        let Replayed { id, program, .. } = *self.agent;
        let (provider, runner) = self.provider("swift");
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
            "{id}: resident {first:.2} MiB after {}, {last:.2} MiB after {MANY} more runs of {program} (bound: no growth)",
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
