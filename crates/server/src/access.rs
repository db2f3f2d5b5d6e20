//! The access log: a line of JSON about each request, without prompts, keys or answers.
//!
//! A request only puts its line into a bounded queue; a thread of its own writes. When the queue is full the line is lost and counted: a slow disk must not slow an answer.
//! A file that was moved away is opened anew, so that usual log rotation works.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use http::{Method, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::RequestId;
use llm_router::trace::Trace;
use serde_json::{Map, Value};

use crate::app::Server;
use crate::door::Caller;
use crate::handle::millis;

/// The most lines that wait for the writer.
const WAITING: usize = 8192;
/// The most bytes of a path that are written.
const PATH: usize = 256;
/// How often a file is looked for under its name.
const LOOK: Duration = Duration::from_secs(1);

/// The log. Dropping it writes what waits.
#[derive(Debug)]
pub(crate) struct AccessLog {
    queue: Option<SyncSender<Entry>>,
    lost: AtomicU64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl AccessLog {
    /// Opens the log: `stdout`, `stderr` or an absolute path.
    ///
    /// # Errors
    /// `caller_invalid_request` for another text, `router_unavailable` for a file that cannot be written.
    pub(crate) fn open(place: &str) -> Result<Self> {
        let out = match place {
            "stdout" => Out::Stream(Box::new(std::io::stdout())),
            "stderr" => Out::Stream(Box::new(std::io::stderr())),
            path if Path::new(path).is_absolute() => {
                let path = PathBuf::from(path);
                let file = open(&path).map_err(|error| {
                    Error::new(ErrorKind::RouterUnavailable, format!("server.access_log: {}: {error}", path.display()))
                        .with_hint("give a file in a folder that this user may write to")
                })?;
                Out::File { file: BufWriter::new(file), path, looked: Instant::now() }
            }
            other => {
                return Err(Error::invalid(format!(
                    "server.access_log: {other:?} is not `stdout`, `stderr` or an absolute path"
                )));
            }
        };
        let (queue, lines) = sync_channel(WAITING);
        let writer = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || write(&lines, out))
            .map_err(|error| Error::internal(format!("no thread for the access log: {error}")))?;
        Ok(Self { queue: Some(queue), lost: AtomicU64::new(0), writer: Mutex::new(Some(writer)) })
    }

    /// Lines that found the queue full.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn put(&self, entry: Entry) {
        if self.queue.as_ref().is_none_or(|queue| queue.try_send(entry).is_err()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.queue = None;
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

/// A request's line while the request is under way. Dropped before there is an answer, it says that the client left.
pub(crate) struct Line {
    server: Server,
    began: Instant,
    /// `None` once it went on with the answer.
    entry: Option<Entry>,
    caller: OnceLock<Option<Arc<str>>>,
    id: RequestId,
}

#[derive(Debug)]
struct Entry {
    at: SystemTime,
    id: RequestId,
    key: Option<Arc<str>>,
    method: Method,
    path: String,
    status: StatusCode,
    trace: Option<Arc<Trace>>,
    replayed: bool,
    cut: bool,
    ms: u64,
}

impl Line {
    pub(crate) fn begin(server: &Server, head: &Parts) -> Self {
        let id = server.0.router.new_id();
        let path = head.uri.path();
        let path = path.char_indices().nth(PATH).and_then(|(at, _)| path.get(..at)).unwrap_or(path);
        let entry = Entry {
            at: server.0.router.deps().clock.now(),
            id: id.clone(),
            key: None,
            method: head.method.clone(),
            path: path.to_owned(),
            status: left(),
            trace: None,
            replayed: false,
            cut: false,
            ms: 0,
        };
        Self { server: server.clone(), began: Instant::now(), entry: Some(entry), caller: OnceLock::new(), id }
    }

    /// The id that the request has from here on.
    pub(crate) fn id(&self) -> &RequestId {
        &self.id
    }

    /// Notes whose key was shown.
    pub(crate) fn called_by(&self, caller: &Caller) {
        let _ = self.caller.set(caller.name.clone());
    }

    /// Follows the answer to its end.
    pub(crate) fn follow(mut self, response: Response) -> Response {
        if let Some(entry) = &mut self.entry {
            entry.status = response.status();
            let said = response.headers().get("x-request-id").and_then(|id| RequestId::parse(id.to_str().ok()?).ok());
            entry.id = said.unwrap_or_else(|| self.id.clone());
            entry.replayed = response.headers().contains_key(crate::replay::REPLAYED);
        }
        response.map(|body| Body::new(Followed { body: Some(body), line: self }))
    }

    fn write(&mut self, cut: bool) {
        let Some(mut entry) = self.entry.take() else { return };
        let inner = &self.server.0;
        entry.key = self.caller.take().flatten();
        entry.trace = inner.router.trace(&entry.id);
        entry.cut = cut;
        entry.ms = millis(self.began);
        if let Some(log) = &inner.log {
            log.put(entry);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.write(true);
    }
}

/// What proxies log for a client that left before its answer.
fn left() -> StatusCode {
    ErrorKind::CallerCancelled.http_status()
}

/// An answer's body with its line.
struct Followed {
    body: Option<Body>,
    line: Line,
}

impl Followed {
    /// The answer is over: its trace is closed with it, then the line is written.
    fn end(&mut self) {
        if let Some(body) = self.body.take() {
            let cut = !body.is_end_stream();
            drop(body);
            self.line.write(cut);
        }
    }
}

impl http_body::Body for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) {
            self.body = None;
            self.line.write(false);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.end();
    }
}

enum Out {
    Stream(Box<dyn Write + Send>),
    File { file: BufWriter<File>, path: PathBuf, looked: Instant },
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}

/// Writes lines until nobody can send any more; what was sent together is flushed together.
fn write(lines: &Receiver<Entry>, mut out: Out) {
    let mut trouble = false;
    while let Ok(first) = lines.recv() {
        out.reopen();
        let mut next = Some(first);
        let mut written = Ok(());
        while let Some(entry) = next {
            let mut line = describe(&entry).to_string();
            line.push('\n');
            written = written.and_then(|()| out.to().write_all(line.as_bytes()));
            next = lines.try_recv().ok();
        }
        let written = written.and_then(|()| out.to().flush());
        // Said once, not once a line.
        if let Err(error) = &written
            && !trouble
        {
            tracing::warn!("the access log cannot be written: {error}");
        }
        trouble = written.is_err();
    }
}

impl Out {
    fn to(&mut self) -> &mut dyn Write {
        match self {
            Self::Stream(stream) => stream,
            Self::File { file, .. } => file,
        }
    }

    /// Opens the file anew where its name stands for another one, or for none.
    fn reopen(&mut self) {
        let Self::File { file, path, looked } = self else { return };
        if looked.elapsed() < LOOK {
            return;
        }
        *looked = Instant::now();
        let identity = |data: std::fs::Metadata| (data.dev(), data.ino());
        let (now, own) = (std::fs::metadata(&*path).map(identity), file.get_ref().metadata().map(identity));
        if now.ok() != own.ok()
            && let Ok(new) = open(path)
        {
            let _ = file.flush();
            *file = BufWriter::new(new);
        }
    }
}

/// A line. What is not known is not there.
fn describe(entry: &Entry) -> Value {
    let mut line = Map::new();
    let at = entry.at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    line.insert("at".into(), ((at * 1000.0).round() / 1000.0).into());
    line.insert("id".into(), entry.id.as_str().into());
    if let Some(key) = &entry.key {
        line.insert("key".into(), key.as_ref().into());
    }
    line.insert("method".into(), entry.method.as_str().into());
    line.insert("path".into(), entry.path.as_str().into());
    line.insert("status".into(), entry.status.as_u16().into());
    if let Some(trace) = &entry.trace {
        if let Some(served) = &trace.served {
            line.insert("provider".into(), served.provider.as_str().into());
            if let Some(model) = &served.model {
                line.insert("model".into(), model.as_str().into());
            }
        }
        line.insert("attempts".into(), trace.attempts.len().into());
        line.insert("cache".into(), trace.cache.as_str().into());
        if let Some(error) = &trace.error {
            line.insert("error".into(), error.kind().name().into());
        }
        if let Some(usage) = &trace.usage {
            line.insert("input_tokens".into(), usage.input.into());
            line.insert("output_tokens".into(), usage.output.into());
        }
        if let Some(micros) = trace.cost() {
            line.insert("cost_micros".into(), micros.into());
        }
        if let Some(first) = trace.first_content {
            line.insert("first_ms".into(), u64::try_from(first.as_millis()).unwrap_or(u64::MAX).into());
        }
    }
    line.insert("ms".into(), entry.ms.into());
    for (name, holds) in [("replayed", entry.replayed), ("cut", entry.cut)] {
        if holds {
            line.insert(name.into(), true.into());
        }
    }
    Value::Object(line)
}
