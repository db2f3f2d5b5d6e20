//! Workers, with a real child process: this test program itself, started again to serve (see [`child`]).
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt, stream};
use llm_router::delta::{BlockKind, Delta, DeltaStream, Event, FinishReason, Part};
use llm_router::deps::SystemClock;
use llm_router::embedding::{EmbedRequest, EmbedResponse};
use llm_router::error::ErrorKind;
use llm_router::ids::{ProviderId, RequestId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::process::Runner;
use llm_router::provider::worker::{Worker, WorkerSettings, serve, stdio};
use llm_router::provider::{Availability, Call, Context, Describe, Provider, Target};
use llm_router::request::Request;
use llm_router::response::collect;
use llm_router::usage::Usage;
use llm_router::{Error, Result};

// ---- the child's side ----

/// Not a test of its own: what a worker runs. Without its mark among the arguments it does nothing.
///
/// The test harness prints to standard output, so the protocol has moved to descriptor 3 before this program starts.
#[test]
fn child() {
    if !std::env::args().any(|argument| argument == "serve-as-worker") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let served = runtime.block_on(async {
        let (input, _) = stdio().unwrap();
        let output = tokio::net::unix::pipe::OpenOptions::new().open_sender("/dev/fd/3").unwrap();
        serve(Arc::new(Scripted), context, input, output).await
    });
    std::process::exit(i32::from(served.is_err()));
}

/// Not a test of its own either: a router that has a worker and is then killed. The worker holds the named pipe given among the arguments.
#[test]
fn doomed_router() {
    let Some(fifo) = std::env::args().find_map(|argument| Some(argument.strip_prefix("witness=")?.to_owned())) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let worker = worker(with_script(&format!("exec 4>{fifo}; {AS_WORKER}")));
        let mut flood = open(&worker, "flood").await;
        loop {
            first_text(&mut flood).await;
        }
    });
}

fn context(id: RequestId) -> Context {
    Context::new(HttpClient::default(), Arc::new(SystemClock), id)
}

/// Does what the prompt says.
struct Scripted;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MADE: AtomicUsize = AtomicUsize::new(0);

/// Counts the streams that were not dropped yet.
struct Alive;

impl Drop for Alive {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A stream that cannot be dropped.
struct Stuck;

impl Drop for Stuck {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

impl Provider for Scripted {
    fn describe(&self) -> &Describe {
        unreachable!("a worker is described by its parent")
    }

    fn availability(&self) -> Availability {
        Availability::Ready
    }

    async fn generate(&self, call: Arc<Call>) -> Result<DeltaStream> {
        let prompt = call.request.plain_prompt().unwrap_or_default().to_owned();
        let (word, count) = prompt.split_once(' ').unwrap_or((&prompt, ""));
        Ok(match word {
            "count" => texts((0..count.parse().unwrap()).map(|n| format!("{n} "))),
            "flood" => {
                LIVE.fetch_add(1, Ordering::SeqCst);
                let alive = Alive;
                texts((0..).map(move |n| {
                    let _ = &alive;
                    MADE.fetch_add(1, Ordering::SeqCst);
                    format!("{n} ")
                }))
            }
            "live" => texts([LIVE.load(Ordering::SeqCst).to_string()]),
            "made" => texts([MADE.load(Ordering::SeqCst).to_string()]),
            "pid" => texts([std::process::id().to_string()]),
            "drop" => {
                call.note_dropped(["sampling.top_k".into()])?;
                texts(["x".to_owned()])
            }
            // Past the credit it starts with: by then the reader has had some of it.
            "crash" => texts((0..).map(|n| if n < 70 { format!("{n} ") } else { std::process::abort() })),
            "panic" => panic!("as asked"),
            "stuck" => {
                let stuck = Stuck;
                texts((0..).map(move |n| {
                    let _ = &stuck;
                    format!("{n} ")
                }))
            }
            "fail" => {
                let key = "sk-proj-0123456789abcdefABCDEF";
                return Err(Error::new(ErrorKind::CallerContextLength, format!("too long {key}")).with_hint("cut it"));
            }
            other => return Err(Error::invalid(format!("no such part: {other}"))),
        })
    }

    async fn count_tokens(&self, call: Arc<Call>) -> Result<u64> {
        match call.request.plain_prompt() {
            Some("fail") => Err(Error::unsupported("these cannot be counted")),
            prompt => Ok(prompt.unwrap_or_default().len() as u64),
        }
    }

    /// Vectors as long as asked for, whose numbers are the input's length.
    async fn embed(&self, call: Arc<Call>, ask: Arc<EmbedRequest>) -> Result<EmbedResponse> {
        assert_eq!(call.request.messages.len(), ask.inputs.len(), "texts are there as messages too");
        let numbers = ask.dimensions.unwrap_or(2) as usize;
        let vectors = call.request.messages.iter().map(|message| {
            let text = message.content[0].as_text().unwrap();
            vec![text.len() as f32; numbers]
        });
        Ok(EmbedResponse::new("m", vectors.collect()).with_usage(Usage::new(ask.inputs.len() as u64, 0)))
    }
}

fn head() -> Vec<Event> {
    vec![
        Delta::Start { id: "1".into(), model: "m".into(), created: None }.into(),
        Delta::BlockStart { choice: 0, block: 0, kind: BlockKind::Text }.into(),
    ]
}

fn text(text: String) -> Event {
    Delta::BlockDelta { choice: 0, block: 0, part: Part::Text(text) }.into()
}

fn texts(parts: impl IntoIterator<Item = String, IntoIter: Send + 'static>) -> DeltaStream {
    let end = vec![
        Delta::BlockEnd { choice: 0, block: 0 },
        Delta::Finish { choice: 0, reason: FinishReason::Stop, raw_reason: None },
        Delta::End,
    ];
    let events = head().into_iter().chain(parts.into_iter().map(text)).chain([end.into()]);
    DeltaStream::new(yielding(stream::iter(events.map(Ok))))
}

/// Lets other tasks run between events, as a real provider would.
fn yielding<S: Stream<Item = Result<Event>> + Send + 'static>(events: S) -> impl Stream<Item = Result<Event>> + Send {
    events.then(|event| async {
        tokio::task::yield_now().await;
        event
    })
}

// ---- the parent's side ----

/// Starts this test program again, as [`child`].
const AS_WORKER: &str = "exec \"$0\" --exact child --nocapture serve-as-worker 3>&1 1>&2";

fn settings() -> WorkerSettings {
    with_script(AS_WORKER)
}

fn with_script(script: &str) -> WorkerSettings {
    let program = std::env::current_exe().unwrap().display().to_string();
    with_program("/bin/sh", &["-c", script, &program])
}

fn with_program(program: &str, args: &[&str]) -> WorkerSettings {
    let describe = Describe::new(ProviderId::new("lab").unwrap());
    WorkerSettings::new(describe, program, args.iter().map(|&arg| arg.to_owned()).collect())
}

fn worker(settings: WorkerSettings) -> Worker {
    Worker::new(settings, Runner::default())
}

fn call(prompt: &str) -> Arc<Call> {
    let mut request = Request::new(prompt);
    request.stream = true;
    let target = Target::new(ProviderId::new("lab").unwrap(), None);
    Arc::new(Call::new(Arc::new(request), target, context(RequestId::from_parts(1, 2))))
}

async fn open(worker: &Worker, prompt: &str) -> DeltaStream {
    Provider::generate(worker, call(prompt)).await.unwrap()
}

async fn ask(worker: &Worker, prompt: &str) -> Result<String> {
    Ok(collect(Provider::generate(worker, call(prompt)).await?).await?.text())
}

/// Reads until the first text is there.
async fn first_text(stream: &mut DeltaStream) {
    while !stream.next().await.unwrap().unwrap().is_content() {}
}

/// Asks again until the answer is this one; a worker that never gives it fails the test by its deadline.
async fn until(worker: &Worker, prompt: &str, wanted: &str) {
    let answered = async { while ask(worker, prompt).await.unwrap() != wanted {} };
    tokio::time::timeout(Duration::from_secs(20), answered).await.unwrap();
}

#[tokio::test]
async fn one_program_answers_many_calls_at_once() {
    let worker = worker(settings());
    assert_eq!(worker.process_id(), None, "nothing starts before the first call");
    let mut long = open(&worker, "flood").await;
    first_text(&mut long).await;
    let numbers: String = (0..500).map(|n| format!("{n} ")).collect();
    let (a, b) = tokio::join!(ask(&worker, "count 500"), ask(&worker, "count 500"));
    assert_eq!((a.unwrap(), b.unwrap()), (numbers.clone(), numbers));
    first_text(&mut long).await;
    assert_eq!(ask(&worker, "pid").await.unwrap(), worker.process_id().unwrap().to_string());
}

#[tokio::test]
async fn a_crash_ends_its_calls_clearly_and_the_next_one_finds_a_new_program() {
    let worker = worker(settings());
    let old = ask(&worker, "pid").await.unwrap();
    let mut beside = open(&worker, "flood").await;
    first_text(&mut beside).await;
    let mut crash = open(&worker, "crash").await;
    first_text(&mut crash).await;
    let rest: Vec<_> = crash.collect().await;
    let error = rest.last().unwrap().as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderConnection);
    assert!(error.message().contains("signal 6") && error.hint().is_some(), "{error}");
    let began = Instant::now();
    let new = ask(&worker, "pid").await.unwrap();
    assert!(new != old && began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let rest: Vec<_> = beside.collect().await;
    assert_eq!(rest.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::ProviderConnection);
}

#[tokio::test]
async fn a_worker_that_keeps_crashing_is_started_again_and_again() {
    let worker = worker(settings());
    for _ in 0..3 {
        assert_eq!(ask(&worker, "crash").await.unwrap_err().kind(), ErrorKind::ProviderConnection);
    }
    assert!(ask(&worker, "pid").await.is_ok());
}

#[tokio::test]
async fn dropping_the_answer_cancels_it_in_the_program() {
    let worker = worker(settings());
    let mut flood = open(&worker, "flood").await;
    first_text(&mut flood).await;
    assert_eq!(ask(&worker, "live").await.unwrap(), "1");
    drop(flood);
    until(&worker, "live", "0").await;
}

#[tokio::test]
async fn a_slow_reader_holds_back_its_own_answer_only() {
    let worker = worker(settings());
    let mut slow = open(&worker, "flood").await;
    first_text(&mut slow).await;
    assert!(ask(&worker, "count 2000").await.unwrap().ends_with("1999 "));
    let made: usize = ask(&worker, "made").await.unwrap().parse().unwrap();
    assert!(made <= 64, "{made} events were made for a reader who took one");
    for _ in 0..300 {
        first_text(&mut slow).await;
    }
}

#[tokio::test]
async fn errors_and_dropped_fields_cross_the_pipe() {
    let worker = worker(settings());
    let error = ask(&worker, "fail").await.unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::CallerContextLength, Some("cut it")));
    assert_eq!(error.provider().unwrap().as_str(), "lab");
    assert!(!error.message().contains("0123456789"), "{error}");
    assert_eq!(ask(&worker, "panic").await.unwrap_err().kind(), ErrorKind::RouterInternal);
    let call = call("drop");
    collect(Provider::generate(&worker, call.clone()).await.unwrap()).await.unwrap();
    assert_eq!(call.cx.dropped(), ["sampling.top_k".into()]);
}

#[tokio::test]
async fn an_idle_program_is_ended_and_comes_back() {
    let mut idle = settings();
    idle.idle = Duration::from_millis(1);
    let runner = Runner::default();
    let worker = Worker::new(idle, runner.clone());
    let old = ask(&worker, "pid").await.unwrap();
    let ended = async {
        while runner.running() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    assert_ne!(ask(&worker, "pid").await.unwrap(), old);
}

#[tokio::test]
async fn a_program_that_does_not_let_go_of_a_cancelled_call_is_ended() {
    let mut strict = settings();
    strict.release = Duration::from_millis(50);
    let worker = worker(strict);
    let old = ask(&worker, "pid").await.unwrap();
    let mut stuck = open(&worker, "stuck").await;
    first_text(&mut stuck).await;
    drop(stuck);
    let replaced = async { while ask(&worker, "pid").await.is_ok_and(|pid| pid == old) {} };
    tokio::time::timeout(Duration::from_secs(20), replaced).await.unwrap();
}

#[tokio::test]
async fn stopping_lets_answers_finish() {
    let runner = Runner::default();
    let worker = Worker::new(settings(), runner.clone());
    let stream = open(&worker, "count 500").await;
    let (answer, ()) = tokio::join!(collect(stream), worker.stop(Duration::from_secs(20)));
    assert!(answer.unwrap().text().ends_with("499 "));
    runner.shutdown().await;
    assert_eq!(runner.running(), 0);
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let runner = Runner::default();
    let worker = Worker::new(settings(), runner.clone());
    let mut flood = open(&worker, "flood").await;
    first_text(&mut flood).await;
    worker.stop(Duration::from_millis(20)).await;
    let rest: Vec<_> = flood.collect().await;
    assert_eq!(rest.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::ProviderConnection);
    runner.shutdown().await;
    assert_eq!(runner.running(), 0);
}

#[test]
fn a_worker_ends_when_its_router_is_killed() {
    use std::io::Read;
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut router = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "doomed_router", "--nocapture", &format!("witness={}", fifo.display())])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Opens when the worker is there, ends when it is gone.
    let mut witness = std::fs::File::open(&fifo).unwrap();
    router.kill().unwrap();
    router.wait().unwrap();
    witness.read_to_end(&mut Vec::new()).unwrap();
}

#[tokio::test]
async fn programs_that_are_no_workers_are_told_apart() {
    for (script, said, kind) in [
        ("echo hello", "none of the worker protocol", ErrorKind::ProviderProtocol),
        ("echo \"{}\"", "did not say hello", ErrorKind::ProviderProtocol),
        (
            "echo {\\\"hello\\\":{\\\"protocol\\\":\\\"llm-router-worker\\\",\\\"version\\\":9}}",
            "speaks version 9",
            ErrorKind::ProviderProtocol,
        ),
        ("echo no module >&2; exit 4", "exit status 4: no module", ErrorKind::ProviderConnection),
        ("sleep 1000", "did not say hello in 0.05 s", ErrorKind::ProviderTimeout),
    ] {
        let mut settings = with_program("/bin/sh", &["-c", script]);
        settings.environment = settings.environment.with("PATH", "/usr/bin:/bin");
        if kind == ErrorKind::ProviderTimeout {
            settings.start = Duration::from_millis(50);
        }
        let error = ask(&worker(settings), "pid").await.unwrap_err();
        assert!(error.kind() == kind && error.message().contains(said), "{script}: {error}");
    }
    let absent = ask(&worker(with_program("/no/such/program", &[])), "pid").await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::ProviderUnavailable);
}

#[tokio::test]
async fn a_call_that_gives_up_does_not_end_the_start_that_others_need() {
    let worker = worker(settings());
    let mut hasty =
        Call::new(call("pid").request.clone(), call("pid").target.clone(), context(RequestId::from_parts(1, 2)));
    hasty.deadlines.total = Duration::ZERO;
    let error = Provider::generate(&worker, Arc::new(hasty)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderTimeout);
    assert!(ask(&worker, "pid").await.is_ok());
}

async fn embed(worker: &Worker, inputs: usize, dimensions: u32) -> Result<EmbedResponse> {
    let mut ask = EmbedRequest::new((0..inputs).map(|n| "x".repeat(n % 7 + 1).as_str().into()));
    ask.dimensions = Some(dimensions);
    Provider::embed(worker, call("unread"), Arc::new(ask)).await
}

#[tokio::test]
async fn tokens_and_vectors_cross_the_pipe() {
    let worker = worker(settings());
    assert_eq!(Provider::count_tokens(&worker, call("twelve chars")).await.unwrap(), 12);
    let error = Provider::count_tokens(&worker, call("fail")).await.unwrap_err();
    assert_eq!((error.kind(), error.provider().unwrap().as_str()), (ErrorKind::CallerUnsupported, "lab"));
    let small = embed(&worker, 3, 2).await.unwrap();
    assert_eq!((small.model.as_str(), small.usage.unwrap().input), ("m", 3));
    assert_eq!(small.vectors, [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]);
    // More than fits in the lines that may be under way at once.
    let large = embed(&worker, 2048, 3000).await.unwrap();
    assert_eq!(large.vectors.len(), 2048);
    assert!(
        large.vectors.iter().enumerate().all(|(n, vector)| vector.len() == 3000 && vector[0] == (n % 7 + 1) as f32)
    );
    assert_eq!(large.usage.unwrap().input, 2048);
}

#[tokio::test]
async fn an_older_worker_is_not_asked_what_it_does_not_know() {
    let hello =
        "echo {\\\"hello\\\":{\\\"protocol\\\":\\\"llm-router-worker\\\",\\\"version\\\":1}}; exec cat >/dev/null";
    let mut old = with_program("/bin/sh", &["-c", hello]);
    old.environment = old.environment.with("PATH", "/usr/bin:/bin");
    let worker = worker(old);
    let error = Provider::count_tokens(&worker, call("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerUnsupported, "{error}");
    assert!(error.message().contains("\"count\"") && error.hint().is_some(), "{error}");
    assert_eq!(embed(&worker, 1, 1).await.unwrap_err().kind(), ErrorKind::CallerUnsupported);
}

#[tokio::test]
async fn the_other_orders_are_answered_line_by_line() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut router, pipe) = tokio::io::duplex(1 << 16);
    let (input, output) = tokio::io::split(pipe);
    let serving = tokio::spawn(serve(Arc::new(Scripted), context, input, output));
    let to = r#""target":{"provider":"p"},"attempt":1,"request_id":"r""#;
    let text = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"abc"}]}]}"#;
    for order in [
        format!(r#"{{"id":1,"count":{{"request":{text},{to}}},"credit":9}}"#),
        format!(r#"{{"id":2,"embed":{{"request":{{"inputs":["a"],"dimensions":1}},{to}}},"credit":9}}"#),
        r#"{"id":3,"paint":{"request":{}},"x":1}"#.to_owned(),
        r#"{"stop":true}"#.to_owned(),
    ] {
        router.write_all(format!("{order}\n").as_bytes()).await.unwrap();
    }
    let mut said = String::new();
    router.read_to_string(&mut said).await.unwrap();
    serving.await.unwrap().unwrap();
    let mut lines: Vec<&str> = said.lines().skip(1).collect();
    // Calls run side by side: the order is theirs.
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"id":1,"end":true}
    {"id":1,"tokens":3}
    {"id":2,"end":true}
    {"id":2,"vectors":{"model":"m","vectors":["AACAPw=="],"usage":{"input":1,"output":0}}}
    {"id":3,"error":{"kind":"caller_unsupported","message":"this worker does not know that order; it is older than the router"}}
    "#);
}

#[tokio::test]
async fn the_lines_are_what_the_protocol_says() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut router, pipe) = tokio::io::duplex(1 << 16);
    let (input, output) = tokio::io::split(pipe);
    let serving = tokio::spawn(serve(Arc::new(Scripted), context, input, output));
    let orders = concat!(
        r#"{"id":7,"call":{"request":{"messages":[{"role":"user","content":[{"type":"text","text":"drop"}]}]},"target":{"provider":"p"},"attempt":1,"request_id":"r"},"credit":1}"#,
        "\n",
        r#"{"id":7,"credit":9}"#,
        "\n",
        r#"{"stop":true}"#,
        "\n",
    );
    router.write_all(orders.as_bytes()).await.unwrap();
    let mut said = String::new();
    router.read_to_string(&mut said).await.unwrap();
    serving.await.unwrap().unwrap();
    insta::assert_snapshot!(said, @r#"
    {"hello":{"protocol":"llm-router-worker","version":1,"does":["count","embed"]}}
    {"id":7,"event":[{"type":"start","id":"1","model":"m"}],"dropped":["sampling.top_k"]}
    {"id":7,"event":[{"type":"block_start","choice":0,"block":0,"kind":"text"}]}
    {"id":7,"event":[{"type":"block_delta","choice":0,"block":0,"part":{"text":"x"}}]}
    {"id":7,"event":[{"type":"block_end","choice":0,"block":0},{"type":"finish","choice":0,"reason":"stop"},{"type":"end"}]}
    {"id":7,"end":true}
    "#);
}
