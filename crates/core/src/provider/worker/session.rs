//! One running worker, seen from the router: its calls, the task that reads its lines and the task that writes ours.
//!
//! Both tasks belong to the session and end with it; the session belongs to the [`Worker`](super::Worker) and to the answers under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::wire::{self, COUNT, CREDIT, EMBED, Hello, Order, PROTOCOL, Report, VERSION, WireCall};
use super::{LINGER, WorkerSettings, lost};
use crate::delta::Event;
use crate::dialect::FieldPath;
use crate::embedding::{EmbedRequest, EmbedResponse};
use crate::error::{Error, Result};
use crate::provider::Call;
use crate::provider::process::Process;
use crate::secret::mask;

/// What a worker is asked for.
#[derive(Clone, Debug)]
pub(super) enum Task {
    Generate,
    Count,
    Embed(Arc<EmbedRequest>),
}

impl Task {
    /// The order's name, and what it is about, where a worker may not know it.
    fn ability(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Generate => None,
            Self::Count => Some((COUNT, "token counts")),
            Self::Embed(_) => Some((EMBED, "embeddings")),
        }
    }

    fn order(&self, id: u64, call: &Call) -> Order {
        let mut order = Order { id: Some(id), credit: Some(CREDIT), ..Order::default() };
        let about = || Some(WireCall::new(call, Arc::clone(&call.request)));
        match self {
            Self::Generate => order.call = about(),
            Self::Count => order.count = about(),
            Self::Embed(ask) => order.embed = Some(WireCall::new(call, Arc::clone(ask))),
        }
        order
    }
}

/// A piece of what a worker gives.
#[derive(Debug)]
pub(super) enum Part {
    /// An event, and whether the call waits for a place after it.
    Event(Event, bool),
    Tokens(u64),
    Vectors(EmbedResponse),
}

/// What the reading task gives to an answer.
#[derive(Debug)]
pub(super) enum Item {
    Part(Part, Vec<FieldPath>),
    End(Vec<FieldPath>),
    Failed(Error),
}

/// A running worker.
#[derive(Debug)]
pub(super) struct Session {
    calls: Arc<Calls>,
    process_id: u32,
    /// The orders that it knows besides answering a call.
    does: Vec<String>,
    /// Bounded by the calls in flight: each has at most its call, its cancel and two grants of credit under way.
    orders: mpsc::UnboundedSender<Bytes>,
    gone: CancellationToken,
    _writer: AbortOnDropHandle<()>,
    reader: AbortOnDropHandle<()>,
}

/// The calls of a session, shared with its reading task.
#[derive(Debug)]
struct Calls {
    table: Mutex<Table>,
    changed: Notify,
    release: Duration,
    idle: Duration,
}

#[derive(Debug)]
struct Table {
    open: bool,
    useful: bool,
    next: u64,
    calls: HashMap<u64, Entry>,
    idle_since: Instant,
}

#[derive(Debug)]
struct Entry {
    /// `None` once the call was cancelled and the worker has not yet let go of it.
    events: Option<mpsc::Sender<Item>>,
    cancelled: Option<Instant>,
    /// Given back when the worker has let go of the call.
    _place: Option<OwnedSemaphorePermit>,
}

impl Session {
    /// Waits for the worker's hello and sets up its tasks.
    ///
    /// # Errors
    /// `provider_timeout`, `provider_protocol` for another program or version, `provider_connection` when it ended.
    pub(super) async fn open(mut process: Process, settings: &WorkerSettings) -> Result<Arc<Self>> {
        let name = process.name().to_owned();
        let line = tokio::time::timeout(settings.start, process.line()).await.map_err(|_| {
            Error::timeout(format!("the worker {name} did not say hello in {} s", settings.start.as_secs_f64()))
        })?;
        let Some(line) = line? else { return Err(died(&mut process).await) };
        let does = match wire::read::<Report>(&line)?.hello {
            Some(Hello { protocol, version, does }) if protocol == PROTOCOL && version == VERSION => does,
            Some(Hello { protocol, version, .. }) if protocol == PROTOCOL => {
                return Err(Error::protocol(format!(
                    "the worker {name} speaks version {version}, this router {VERSION}"
                ))
                .with_hint("install matching versions"));
            }
            _ => return Err(Error::protocol(format!("{name} did not say hello as a worker does"))),
        };
        process.forget_printed();
        let Some(stdin) = process.take_stdin() else {
            return Err(Error::internal(format!("the worker {name} has no standard input")));
        };
        let calls = Arc::new(Calls {
            table: Mutex::new(Table {
                open: true,
                useful: false,
                next: 0,
                calls: HashMap::new(),
                idle_since: Instant::now(),
            }),
            changed: Notify::new(),
            release: settings.release,
            idle: settings.idle,
        });
        let (orders, queue) = mpsc::unbounded_channel();
        let gone = CancellationToken::new();
        Ok(Arc::new(Self {
            process_id: process.id(),
            does,
            orders,
            _writer: AbortOnDropHandle::new(tokio::spawn(write(stdin, queue))),
            reader: AbortOnDropHandle::new(tokio::spawn(read(process, calls.clone(), gone.clone()))),
            gone,
            calls,
        }))
    }

    pub(super) fn is_open(&self) -> bool {
        self.calls.table().open
    }

    /// Whether it answered anything.
    pub(super) fn was_useful(&self) -> bool {
        self.calls.table().useful
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process_id
    }

    /// Sends a call; `None` when the session has just ended, and then the place is still the caller's.
    ///
    /// # Errors
    /// `caller_unsupported` for a task that this worker did not say it knows: an older one would never answer; `caller_too_large`.
    pub(super) fn call(
        &self,
        call: &Call,
        task: &Task,
        place: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<Option<(u64, mpsc::Receiver<Item>)>> {
        if let Some((name, what)) = task.ability()
            && !self.does.iter().any(|known| known == name)
        {
            let message = format!("its worker makes no {what}: it does not know the order {name:?}");
            return Err(Error::unsupported(message).with_hint("install a newer worker, or name another provider"));
        }
        // One more than the credit, for the end.
        let (sender, receiver) = mpsc::channel(CREDIT + 1);
        let mut table = self.calls.table();
        if !table.open {
            return Ok(None);
        }
        let id = table.next;
        let line = wire::order(&task.order(id, call))?;
        table.next += 1;
        table.calls.insert(id, Entry { events: Some(sender), cancelled: None, _place: place.take() });
        // The writer ends only with the worker, and then the reader tells every call.
        let _ = self.orders.send(line);
        drop(table);
        self.calls.changed.notify_one();
        Ok(Some((id, receiver)))
    }

    pub(super) fn order(&self, order: &Order) {
        if let Ok(line) = wire::write(order) {
            let _ = self.orders.send(line);
        }
    }

    /// Nobody reads this call any more.
    pub(super) fn cancel(&self, id: u64) {
        let mut table = self.calls.table();
        if let Some(entry) = table.calls.get_mut(&id) {
            entry.events = None;
            entry.cancelled = Some(Instant::now());
            self.order(&Order { id: Some(id), cancel: true, ..Order::default() });
            drop(table);
            self.calls.changed.notify_one();
        }
    }

    /// Takes no more calls, lets running ones finish for a while, then ends.
    pub(super) async fn stop(&self, patience: Duration) {
        self.calls.table().open = false;
        self.order(&Order { stop: true, ..Order::default() });
        let _ = tokio::time::timeout(patience, self.gone.cancelled()).await;
        self.reader.abort();
        self.calls.fail(&lost("was stopped", "the router shuts it down"));
    }
}

impl Calls {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a line to the call it belongs to.
    fn dispatch(&self, line: &[u8]) -> Result<()> {
        let Report { id, event, tokens, vectors, dropped, waiting, error, end, .. } = wire::read(line)?;
        let Some(id) = id else { return Ok(()) };
        let mut table = self.table();
        let Some(entry) = table.calls.get(&id) else { return Ok(()) };
        let mut items = Vec::new();
        let over = end || error.is_some();
        let part = event.map(|deltas| Part::Event(deltas.into(), waiting));
        let part = part.or(tokens.map(Part::Tokens)).or(vectors.map(Part::Vectors));
        match (part, error) {
            (part, Some(error)) => {
                items.extend(part.map(|part| Item::Part(part, dropped)));
                items.push(Item::Failed(retold(&error)));
            }
            (Some(part), None) => {
                items.push(Item::Part(part, dropped));
                items.extend(end.then(|| Item::End(Vec::new())));
            }
            (None, None) => items.extend(end.then_some(Item::End(dropped))),
        }
        for item in items {
            if let Some(events) = &entry.events
                && let Err(mpsc::error::TrySendError::Full(_)) = events.try_send(item)
            {
                return Err(Error::protocol(format!("the worker sent more events than its credit of {CREDIT}")));
            }
        }
        if over {
            table.calls.remove(&id);
            table.useful = true;
            table.idle_since = Instant::now();
            drop(table);
            self.changed.notify_one();
        }
        Ok(())
    }

    /// When something has to be looked at again: the worker has been idle too long, or holds a cancelled call too long.
    fn due(&self) -> Option<Instant> {
        let table = self.table();
        if table.calls.is_empty() {
            return Some(table.idle_since + self.idle);
        }
        table.calls.values().filter_map(|entry| entry.cancelled).min().map(|since| since + self.release)
    }

    /// Ends the session for every call.
    fn fail(&self, error: &Error) {
        let mut table = self.table();
        table.open = false;
        for (_, entry) in table.calls.drain() {
            if let Some(events) = entry.events {
                // The place for the end is still free: an entry is removed when its end is given.
                let _ = events.try_send(Item::Failed(error.clone()));
            }
        }
    }
}

/// A worker's error as one of ours: masked and bounded, whoever wrote it.
fn retold(told: &Error) -> Error {
    let mut error = Error::new(told.kind(), told.message());
    if let Some(hint) = told.hint() {
        error = error.with_hint(mask(hint));
    }
    if let Some(status) = told.status() {
        error = error.with_status(status);
    }
    if let Some(after) = told.retry_after() {
        error = error.with_retry_after(after);
    }
    error
}

/// Writes orders until the worker stops reading.
async fn write(mut stdin: ChildStdin, mut orders: mpsc::UnboundedReceiver<Bytes>) {
    while let Some(line) = orders.recv().await {
        if stdin.write_all(&line).await.is_err() {
            break;
        }
    }
}

/// Reads lines until the worker ends, is idle too long or is stuck; then tells every call.
async fn read(mut process: Process, calls: Arc<Calls>, gone: CancellationToken) {
    // Also when this task is aborted: whoever waits for the end of the session must not wait for ever.
    let _gone = gone.drop_guard();
    let error = loop {
        let due = calls.due();
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            line = process.line() => match line {
                Ok(Some(line)) => {
                    process.forget_printed();
                    if let Err(error) = calls.dispatch(&line) {
                        break error;
                    }
                }
                Ok(None) => {
                    // At once, so that the next call need not wait for the autopsy.
                    calls.table().open = false;
                    break died(&mut process).await;
                }
                Err(error) => break error,
            },
            () = calls.changed.notified() => {}
            () = wait => {
                let mut table = calls.table();
                let idle = table.calls.is_empty() && table.idle_since.elapsed() >= calls.idle;
                let overdue = |entry: &Entry| entry.cancelled.is_some_and(|since| since.elapsed() >= calls.release);
                let stuck = table.calls.values().any(overdue);
                if idle || stuck {
                    // Under the lock, so that no call slips in between.
                    table.open = false;
                    let how = if stuck { "it did not let go of a cancelled call" } else { "it was idle" };
                    break lost(process.name(), how);
                }
            }
        }
    };
    calls.fail(&error);
}

/// The error of a worker that closed its output, with how it ended.
async fn died(process: &mut Process) -> Error {
    let name = process.name().to_owned();
    match tokio::time::timeout(LINGER, process.exit()).await {
        Ok(Ok(())) => lost(&name, "it exited on its own"),
        Ok(Err(error)) => lost(&name, error.message()),
        Err(_) => lost(&name, "it closed its output"),
    }
}
