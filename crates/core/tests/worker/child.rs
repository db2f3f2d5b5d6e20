//! What runs in a started copy of this test program: a worker that does what the prompt says, and a router that is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{Stream, StreamExt, stream};
use llm_router::delta::{BlockKind, Delta, DeltaStream, Event, FinishReason, Part};
use llm_router::embedding::{EmbedRequest, EmbedResponse};
use llm_router::error::ErrorKind;
use llm_router::provider::worker::{serve, stdio};
use llm_router::provider::{Availability, Call, Describe, Provider};
use llm_router::usage::Usage;
use llm_router::{Error, Result};

use crate::support::{AS_WORKER, context, first_text, open, with_script, worker};

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

/// Does what the prompt says.
pub(crate) struct Scripted;

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
