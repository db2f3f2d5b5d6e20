//! The child's side of a worker: any provider of ours, answered over a pair of pipes.
//!
//! Each call runs in a task of its own, so a slow or panicking one is nobody else's trouble. When the input ends (the router is gone, however it went) everything
//! is dropped at once, which cancels it.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::wire::{self, Hello, LONGEST_ORDER, Lines, Order, Report};
use crate::embedding::{EmbedRequest, EmbedResponse};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::RequestId;
use crate::provider::{Call, Context, DynProvider};

/// Lines that wait for the pipe.
const OUTBOX: usize = 64;

/// The most numbers of vectors in one line: 350 KB of it, so that it holds back no other call's lines.
const NUMBERS: usize = 64 << 10;

/// A call that runs.
struct Running {
    credit: Arc<Semaphore>,
    cancel: CancellationToken,
}

/// What is asked for.
enum Work {
    Generate,
    Count,
    Embed(Arc<EmbedRequest>),
}

/// Answers calls from `input` with `provider` until the input ends or a stop is ordered and every call is finished. `contexts` makes what a call may use.
///
/// Nothing else may write to `output`.
///
/// # Errors
/// `provider_protocol` for a line that is no order; `provider_connection` when a pipe breaks.
pub async fn serve<I, O>(
    provider: Arc<dyn DynProvider>,
    contexts: impl Fn(RequestId) -> Context,
    input: I,
    output: O,
) -> Result<()>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin + Send + 'static,
{
    let (outbox, queue) = mpsc::channel(OUTBOX);
    let mut writer = AbortOnDropHandle::new(tokio::spawn(write(output, queue)));
    report(&outbox, &Report { hello: Some(Hello::ours()), ..Report::default() }).await?;

    let mut lines = Lines::new(input, LONGEST_ORDER);
    let mut running: HashMap<u64, Running> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut ids: HashMap<Id, u64> = HashMap::new();
    let mut stopping = false;
    while !(stopping && tasks.is_empty()) {
        tokio::select! {
            line = lines.next() => {
                let Some(line) = line? else { return Ok(()) };
                let mut order: Order = wire::read(&line)?;
                let (credit, cancel) = (order.credit, order.cancel);
                stopping |= order.stop;
                let Some(id) = order.id else { continue };
                if let Some((work, call)) = work_of(&mut order, &contexts) {
                    let started = Running {
                        credit: Arc::new(Semaphore::new(credit.unwrap_or(0).min(Semaphore::MAX_PERMITS))),
                        cancel: call.cx.cancel.clone(),
                    };
                    let work = answer(provider.clone(), id, work, call, started.credit.clone(), outbox.clone());
                    ids.insert(tasks.spawn(work).id(), id);
                    running.insert(id, started);
                } else if let Some(call) = running.get(&id) {
                    // More than the semaphore can hold is more than anyone reads.
                    let room = Semaphore::MAX_PERMITS - call.credit.available_permits();
                    call.credit.add_permits(credit.unwrap_or(0).min(room));
                    if cancel {
                        call.cancel.cancel();
                    }
                } else if credit.is_none() && !cancel {
                    // A newer router's order, whatever it is: who sent it must not wait for ever.
                    let error = Error::unsupported("this worker does not know that order; it is older than the router");
                    report(&outbox, &Report { id: Some(id), error: Some(error), ..Report::default() }).await?;
                }
            }
            Some(done) = tasks.join_next_with_id() => {
                let (task, panicked) = match done {
                    Ok((task, ())) => (task, false),
                    Err(error) => (error.id(), true),
                };
                if let Some(id) = ids.remove(&task) {
                    running.remove(&id);
                    if panicked {
                        let error = Error::internal("the worker's provider panicked; its standard error says where");
                        report(&outbox, &Report { id: Some(id), error: Some(error), ..Report::default() }).await?;
                    }
                }
            }
        }
    }
    drop(outbox);
    // What was answered still has to pass the pipe.
    let _ = (&mut writer).await;
    Ok(())
}

/// The work that an order begins, where it begins one.
fn work_of(order: &mut Order, contexts: impl Fn(RequestId) -> Context) -> Option<(Work, Call)> {
    if let Some(call) = order.call.take() {
        let cx = contexts(call.request_id.clone());
        return Some((Work::Generate, call.into_call(cx, Arc::clone).0));
    }
    if let Some(call) = order.count.take() {
        let cx = contexts(call.request_id.clone());
        return Some((Work::Count, call.into_call(cx, Arc::clone).0));
    }
    let embed = order.embed.take()?;
    let cx = contexts(embed.request_id.clone());
    let (call, ask) = embed.into_call(cx, |ask| Arc::new(ask.outline()));
    Some((Work::Embed(ask), call))
}

/// Does one piece of work and reports its end.
async fn answer(
    provider: Arc<dyn DynProvider>,
    id: u64,
    work: Work,
    call: Call,
    credit: Arc<Semaphore>,
    outbox: mpsc::Sender<Bytes>,
) {
    let cancel = call.cx.cancel.clone();
    let call = Arc::new(call);
    let ended = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Error::new(ErrorKind::CallerCancelled, "the caller left")),
        ended = async {
            match work {
                Work::Generate => pass_on(provider, id, call.clone(), &credit, &outbox).await,
                Work::Count => {
                    let tokens = Some(provider.count_tokens(call.clone()).await?);
                    report(&outbox, &Report { id: Some(id), tokens, ..Report::default() }).await.map(|()| 0)
                }
                Work::Embed(ask) => {
                    let made = provider.embed(call.clone(), ask).await?;
                    pass_vectors(made, id, &credit, &outbox).await.map(|()| 0)
                }
            }
        } => ended,
    };
    let last = match ended {
        Ok(dropped) => {
            Report { id: Some(id), end: true, dropped: call.cx.dropped().split_off(dropped), ..Report::default() }
        }
        Err(error) => Report { id: Some(id), error: Some(error), ..Report::default() },
    };
    // Where the pipe is broken, so is everything else.
    let _ = report(&outbox, &last).await;
}

/// Passes events on, one for each credit; returns how many dropped fields were named on the way.
async fn pass_on(
    provider: Arc<dyn DynProvider>,
    id: u64,
    call: Arc<Call>,
    credit: &Semaphore,
    outbox: &mpsc::Sender<Bytes>,
) -> Result<usize> {
    let mut stream = provider.generate(call.clone()).await?;
    let mut named = 0;
    loop {
        // Before the next event is made, so that a slow reader pauses the provider too.
        let Ok(permit) = credit.acquire().await else { return Ok(named) };
        let Some(event) = stream.next().await else { return Ok(named) };
        let event = event?;
        // An event of nothing goes on too: it says that the provider is at work.
        let dropped = call.cx.dropped().split_off(named);
        permit.forget();
        named += dropped.len();
        let (event, waiting) = (Some(event.deltas), call.cx.waits_for_place());
        report(outbox, &Report { id: Some(id), event, dropped, waiting, ..Report::default() }).await?;
    }
}

/// Passes vectors on, some in each line, one line for each credit.
async fn pass_vectors(made: EmbedResponse, id: u64, credit: &Semaphore, outbox: &mpsc::Sender<Bytes>) -> Result<()> {
    let EmbedResponse { model, vectors, usage, .. } = made;
    let each = NUMBERS / vectors.first().map_or(1, |vector| vector.len().max(1));
    let mut vectors = vectors.into_iter().peekable();
    let mut usage = usage;
    loop {
        let some: Vec<_> = vectors.by_ref().take(each.max(1)).collect();
        let mut part = EmbedResponse::new(model.as_str(), some);
        if vectors.peek().is_none() {
            part.usage = usage.take();
        }
        let Ok(permit) = credit.acquire().await else { return Ok(()) };
        permit.forget();
        report(outbox, &Report { id: Some(id), vectors: Some(part), ..Report::default() }).await?;
        if vectors.peek().is_none() {
            return Ok(());
        }
    }
}

async fn report(outbox: &mpsc::Sender<Bytes>, report: &Report) -> Result<()> {
    let line = wire::write(report)?;
    outbox.send(line).await.map_err(|_| Error::connection("the router reads no more"))
}

/// Writes lines, as many at once as wait.
async fn write(mut output: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Bytes>) {
    let (mut lines, mut buffer) = (Vec::with_capacity(OUTBOX), Vec::new());
    while queue.recv_many(&mut lines, OUTBOX).await > 0 {
        buffer.clear();
        lines.drain(..).for_each(|line: Bytes| buffer.extend_from_slice(&line));
        if output.write_all(&buffer).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}

/// The pipes that a worker was started with. From then on nothing may print to standard output by other means.
///
/// # Errors
/// Where standard input or output is no pipe: the program was not started as a worker.
pub fn stdio() -> io::Result<(pipe::Receiver, pipe::Sender)> {
    let input = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let output = pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?;
    Ok((input, output))
}
