//! The real program in front of providers that fail: every fault, streamed and whole, for clients of every dialect.
//!
//! What is expected of each stands in `cases.rs`. Waits are scaled by `LLM_ROUTER_FAULT_SCALE`: a twentieth where it is not set, 1 in `make faults`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, missing_docs)]

mod blind;
mod cases;
mod client;
mod leaving;
mod outage;
#[path = "../serve/service.rs"]
#[allow(dead_code)]
mod service;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use llm_router::testing::faults::{Faults, words};
use llm_router::testing::voice::Voice;

use crate::cases::{CASES, CONTINUED, Case, HUGE, Outcome};
use crate::client::{Heard, ask};
use crate::service::Service;

/// How many cases are under way at once: little enough for a small machine to keep their time.
const AT_ONCE: usize = 6;

/// How long things take here that take this many seconds in full.
fn scaled(seconds: f64) -> Duration {
    let scale = std::env::var("LLM_ROUTER_FAULT_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(0.05);
    Duration::from_secs_f64(seconds * scale)
}

/// A router before scripted providers.
struct Scene {
    faults: Faults,
    address: SocketAddr,
    /// The real program, or one of this process that lacks something.
    _served: Box<dyn Send + Sync>,
    _folder: tempfile::TempDir,
}

/// Scripted providers, and the configuration that puts them behind a router.
struct Stage {
    faults: Faults,
    config: String,
}

impl Stage {
    /// Each case with its own providers, in the dialects of these upstreams.
    async fn of(cases: &[&Case], upstreams: &[Voice], settings: &str) -> Self {
        let mut scripts = Vec::new();
        for case in cases {
            scripts.push((case.name.to_owned(), (case.primary)()));
            scripts.push((format!("{}-next", case.name), (case.next)()));
        }
        let faults = Faults::serve(scripts).await;
        // Longer than a silence may last at any scale: what fails before its first word fails with a status.
        let mut config = format!("[router]\nhead_after = \"20s\"\n{settings}\n");
        for case in cases {
            for upstream in upstreams {
                let id = id(case, *upstream);
                let ids = [id.clone(), format!("{id}-next")];
                let ids = if case.alone { &ids[..1] } else { &ids[..] };
                for (id, script) in ids.iter().zip([case.name.to_owned(), format!("{}-next", case.name)]) {
                    provider(&mut config, id, &faults.url(&script, *upstream), *upstream);
                    if case.route == CONTINUED && id.ends_with("-next") {
                        config.push_str("prefill = true\n");
                    }
                }
                let groups: Vec<String> = ids.iter().map(|id| format!("[\"{id}/m\"]")).collect();
                let timeouts = if case.slow { timeouts() } else { String::new() };
                let _ =
                    write!(config, "[routes.route-{id}]\ngroups = [{}]\n{timeouts}{}\n", groups.join(", "), case.route);
            }
        }
        Self { faults, config }
    }

    /// Behind the real program.
    fn real(self) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::start(folder.path(), &self.config);
        Scene { faults: self.faults, address: service.address, _served: Box::new(service), _folder: folder }
    }
}

fn id(case: &Case, upstream: Voice) -> String {
    format!("{}-{}", case.name, upstream.name().replace('_', "-"))
}

fn provider(config: &mut String, id: &str, url: &str, upstream: Voice) {
    let dialect = upstream.name();
    let _ = write!(
        config,
        "[providers.{id}]\nbase_url = \"{url}\"\ndialect = \"{dialect}\"\napi_key = \"k\"\nmodels = [\"m\"]\n"
    );
}

/// Too little time for those who are slow.
fn timeouts() -> String {
    let ms = |seconds| scaled(seconds).as_millis();
    let (first_event, idle) = (ms(15.0), ms(20.0));
    format!("timeouts = {{ first_event = \"{first_event}ms\", idle = \"{idle}ms\", whole = \"{idle}ms\" }}\n")
}

/// What is wrong with what was heard, and with who was asked how often.
fn judge(case: &Case, streamed: bool, heard: &Heard, asked: [usize; 2]) -> Result<(), String> {
    let expected = if streamed { case.streamed } else { case.at_once };
    let fail = |what: &str| {
        let text = heard.text.get(..heard.text.len().min(300)).unwrap_or_default();
        let shown = (heard.status, text, heard.whole, &heard.error);
        Err(format!("{what}: expected {expected:?}, heard {shown:?}, asked {asked:?}, …{}", heard.tail()))
    };
    let script = match (case.long, streamed) {
        (0, _) => words().concat(),
        (long, true) => "x".repeat(long) + &words().concat(),
        (long, false) => "x".repeat(long),
    };
    match expected {
        Outcome::Answer => {
            if heard.status != 200 || heard.error.is_some() || !heard.whole {
                return fail("no whole answer");
            }
            if heard.text != script {
                return fail("not the script");
            }
        }
        Outcome::Broken(kind, least) => {
            if heard.status != 200 || heard.whole {
                return fail("not broken");
            }
            let Some(error) = &heard.error else { return fail("no error in the stream") };
            if !error.to_string().contains(kind) {
                return fail("another error");
            }
            if !script.starts_with(&heard.text) || heard.text.len() < words()[..least].concat().len() {
                return fail("not the beginning of the script");
            }
        }
        Outcome::Error(status, kind) => {
            if heard.status != status || !heard.error.as_ref().is_some_and(|error| error.to_string().contains(kind)) {
                return fail("another error");
            }
            if !heard.text.is_empty() {
                return fail("text beside an error");
            }
            if [429, 503].contains(&status) && heard.header("retry-after").is_empty() {
                return fail("no Retry-After");
            }
        }
    }
    let times = if streamed { case.asked_streamed } else { case.asked_at_once };
    if asked != times { fail("asked otherwise") } else { Ok(()) }
}

/// Every case for clients of one dialect, one way.
async fn play(client: Voice, streamed: bool, settings: &str, cases: &[&Case]) -> Vec<(String, Result<(), String>)> {
    let upstreams = upstreams(client, streamed);
    let scene = Stage::of(cases, &upstreams, settings).await.real();
    before(&scene, client, streamed, cases).await
}

/// What the client speaks, where bytes pass as they are, and another, where all is translated.
fn upstreams(client: Voice, streamed: bool) -> [Voice; 2] {
    let at = Voice::ALL.iter().position(|voice| *voice == client).unwrap();
    [client, Voice::ALL[(at + 1 + usize::from(streamed)) % Voice::ALL.len()]]
}

async fn before(scene: &Scene, client: Voice, streamed: bool, cases: &[&Case]) -> Vec<(String, Result<(), String>)> {
    let upstreams = upstreams(client, streamed);
    let all = cases.iter().flat_map(|case| upstreams.map(|upstream| (*case, upstream)));
    let played = stream::iter(all).map(|(case, upstream)| async move {
        let heard = ask(scene.address, client, streamed, &format!("route-{}", id(case, upstream))).await;
        let next = format!("{}-next", case.name);
        let asked = [case.name, &next].map(|script| scene.faults.asked(script, upstream).requests);
        (id(case, upstream), judge(case, streamed, &heard, asked))
    });
    played.buffer_unordered(AT_ONCE).collect().await
}

#[track_caller]
fn all_pass(played: Vec<(String, Result<(), String>)>) {
    let wrong: Vec<_> =
        played.into_iter().filter_map(|(name, judged)| Some(format!("{name}: {}", judged.err()?))).collect();
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n\n"));
}

macro_rules! every_case {
    ($($name:ident: $voice:expr, $streamed:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            all_pass(play(Voice::ALL[$voice], $streamed, "", &CASES.iter().collect::<Vec<_>>()).await);
        }
    )*};
}

/// The names of the cases that did not come out as expected.
fn failing(played: Vec<(String, Result<(), String>)>) -> Vec<String> {
    let mut failing: Vec<_> = played.into_iter().filter(|(_, judged)| judged.is_err()).map(|(name, _)| name).collect();
    failing.sort();
    failing
}

fn named(names: &[&str]) -> Vec<&'static Case> {
    CASES.iter().filter(|case| names.contains(&case.name)).collect()
}

every_case! {
    chat_clients_survive_every_fault_in_a_stream: 0, true;
    chat_clients_survive_every_fault_of_a_whole_answer: 0, false;
    responses_clients_survive_every_fault_in_a_stream: 1, true;
    responses_clients_survive_every_fault_of_a_whole_answer: 1, false;
    anthropic_clients_survive_every_fault_in_a_stream: 2, true;
    anthropic_clients_survive_every_fault_of_a_whole_answer: 2, false;
    gemini_clients_survive_every_fault_in_a_stream: 3, true;
    gemini_clients_survive_every_fault_of_a_whole_answer: 3, false;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_ten_megabytes_passes_in_every_dialect() {
    for client in Voice::ALL {
        for streamed in [true, false] {
            all_pass(play(client, streamed, "", &[&HUGE]).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_retries_what_fails_once_is_seen_to_fail() {
    let settings = "retry_percent = 0\nretry_floor = 0\n";
    let cases = named(&["well", "fails-once", "reset-once"]);
    let client = Voice::ALL[0];
    let failing = failing(play(client, true, settings, &cases).await);
    let names = ["fails-once-anthropic", "fails-once-openai-chat", "reset-once-anthropic", "reset-once-openai-chat"];
    assert_eq!(failing, names);
}
