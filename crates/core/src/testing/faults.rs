//! A loopback provider that fails in every way that providers do, in every dialect.
//!
//! One server stands for any number of providers: the first two parts of a request's path name a script and the dialect it is played in
//! (`/cut/anthropic/v1/messages`). What each dialect says is `voice.rs`; a server for one exact exchange of bytes is `upstream.rs`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::upstream::{Received, read_request};
use super::voice::{Refusal, Voice, data};
use crate::dialect::Dialect;

/// How many words the scripted answer has.
pub const WORDS: usize = 60;

/// The scripted answer, a word at a time.
pub fn words() -> Vec<String> {
    (0..WORDS).map(|at| format!("w{at} ")).collect()
}

/// What a provider does with one request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Act {
    /// Answers.
    Answer,
    /// Answers with an error, and this `Retry-After`.
    Refuse(Refusal, Option<u64>),
    /// Refuses a request that ends with an answer to be continued; answers any other.
    RefusePrefill,
    /// Resets the connection before a byte of an answer.
    Reset,
    /// Takes the request and says nothing.
    Silence,
    /// Sends the head at once, and the rest after this time.
    Late(Duration),
    /// Closes the connection after so many words.
    CutAfter(usize),
    /// Says nothing for this time after so many words, then goes on.
    StallAfter(usize, Duration),
    /// Sends an event that is no JSON in the middle.
    Malformed,
    /// Leaves the last event of a stream out, and ends the body as if it were whole.
    NoTerminal,
    /// An error object with status 200.
    ErrorInside,
    /// A page of HTML with status 200.
    Html,
    /// Bytes that are no gzip, said to be.
    GzipGarbage,
    /// One event of so many bytes.
    Huge(usize),
    /// Sends the client to another address.
    Redirect(String),
    /// Sends the head at once, in a stream whatever comes before the first word too, and the rest once the gate lets it pass.
    Gated(Arc<Semaphore>),
    /// Answers slowly: this long between two words.
    Drip(Duration),
    /// Does what stands beside the key that a request shows; answers whoever shows another.
    ByKey(Vec<(String, Act)>),
    /// Answers as another act does until so long after the script's first request, and in full from then on.
    Until(Duration, Box<Act>),
    /// Answers as each of these does in turn, over and over.
    InTurn(Vec<Act>),
}

/// What was asked of one script.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// How many requests came.
    pub requests: usize,
    /// When the first one came.
    pub first: Option<Instant>,
    /// When the last one came.
    pub last: Option<Instant>,
    /// How many clients went away before the end of an answer.
    pub left: usize,
    /// How many answers are under way.
    pub running: usize,
    /// How often each key was shown.
    pub keys: BTreeMap<String, usize>,
}

impl Asked {
    /// How often this key was shown.
    pub fn with_key(&self, key: &str) -> usize {
        self.keys.get(key).copied().unwrap_or_default()
    }
}

/// The server. Dropping it ends it and every connection.
#[derive(Debug)]
pub struct Faults {
    address: SocketAddr,
    stage: Arc<Stage>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Stage {
    /// By the name of the script: one act a request, the last one again and again.
    scripts: HashMap<String, Vec<Act>>,
    /// By the first two parts of the path.
    asked: Mutex<BTreeMap<String, Asked>>,
    changed: Notify,
}

impl Faults {
    /// Serves these scripts by their names, each in every dialect.
    ///
    /// # Panics
    /// When no loopback port can be had.
    #[allow(clippy::expect_used)]
    pub async fn serve<N: Into<String>>(scripts: impl IntoIterator<Item = (N, Vec<Act>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let scripts = scripts.into_iter().map(|(name, acts)| (name.into(), acts)).collect();
        let stage = Arc::new(Stage { scripts, asked: Mutex::default(), changed: Notify::new() });
        let playing = Arc::clone(&stage);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let stage = Arc::clone(&playing);
                connections.spawn(async move { converse(socket, &stage).await });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, stage, _task: AbortOnDropHandle::new(task) }
    }

    /// The base URL of the provider that plays a script in a dialect, without the dialect's own prefix.
    pub fn url(&self, script: &str, voice: Voice) -> String {
        format!("http://{}/{script}/{}", self.address, voice.name())
    }

    /// What was asked of a script in a dialect.
    pub fn asked(&self, script: &str, voice: Voice) -> Asked {
        self.stage.lock().get(&format!("{script}/{}", voice.name())).cloned().unwrap_or_default()
    }

    /// Waits until what was asked of a script in a dialect is as expected.
    pub async fn until(&self, script: &str, voice: Voice, expected: impl Fn(&Asked) -> bool) -> Asked {
        loop {
            let changed = self.stage.changed.notified();
            tokio::pin!(changed);
            // Listened for before looking, so that no change falls in between.
            changed.as_mut().enable();
            let asked = self.asked(script, voice);
            if expected(&asked) {
                return asked;
            }
            changed.await;
        }
    }

    /// How many answers are under way, of all scripts.
    pub fn running(&self) -> usize {
        self.stage.lock().values().map(|asked| asked.running).sum()
    }
}

impl Stage {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, place: &str, change: impl FnOnce(&mut Asked)) {
        change(self.lock().entry(place.to_owned()).or_default());
        self.changed.notify_waiters();
    }

    /// Counts a request, and says what is done with it.
    fn take(&self, place: &str, key: &str) -> Option<Act> {
        let acts = self.scripts.get(place.split('/').next()?)?;
        let (mut at, mut since) = (0, Duration::ZERO);
        self.note(place, |asked| {
            *asked.keys.entry(key.to_owned()).or_default() += 1;
            let now = Instant::now();
            since = now.duration_since(*asked.first.get_or_insert(now));
            asked.last = Some(now);
            at = asked.requests;
            asked.requests += 1;
            asked.running += 1;
        });
        match acts.get(at).or(acts.last())?.clone() {
            Act::Until(over, act) => Some(if since < over { *act } else { Act::Answer }),
            Act::InTurn(acts) => acts.get(at % acts.len().max(1)).cloned(),
            Act::ByKey(acts) => {
                Some(acts.into_iter().find(|(known, _)| known == key).map_or(Act::Answer, |(_, act)| act))
            }
            act => Some(act),
        }
    }
}

async fn converse(mut socket: TcpStream, stage: &Stage) {
    let mut buffer = BytesMut::new();
    while let Some(request) = read_request(&mut socket, &mut buffer).await {
        let mut parts = request.target.trim_start_matches('/').splitn(3, '/');
        let (Some(script), Some(dialect)) = (parts.next(), parts.next()) else { return };
        let Some(dialect) = Dialect::ALL.iter().find(|known| known.as_str() == dialect) else { return };
        let place = format!("{script}/{}", dialect.as_str());
        let Some(act) = stage.take(&place, key_of(&request)) else { return };
        let played = {
            let _running = Running(stage, &place);
            play(&mut socket, Voice(*dialect), &request, act).await
        };
        match played {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) => return stage.note(&place, |asked| asked.left += 1),
        }
    }
}

/// The key that a request shows, wherever its dialect has it.
fn key_of(request: &Received) -> &str {
    let shown = ["authorization", "x-api-key", "x-goog-api-key", "api-key"].map(|name| request.header(name));
    shown.into_iter().find(|key| !key.is_empty()).map_or("", |key| key.strip_prefix("Bearer ").unwrap_or(key))
}

/// An answer under way. Over when this is dropped, with its connection too.
struct Running<'a>(&'a Stage, &'a str);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.note(self.1, |asked| asked.running = asked.running.saturating_sub(1));
    }
}

/// Plays one act, and says whether the connection goes on.
async fn play(socket: &mut TcpStream, voice: Voice, request: &Received, act: Act) -> std::io::Result<bool> {
    let body = request.json();
    let refusal = match &act {
        Act::Refuse(refusal, after) => Some((*refusal, *after)),
        Act::RefusePrefill if voice.prefill(&body).is_some() => Some((Refusal::Prefill, None)),
        _ => None,
    };
    if let Some((refusal, after)) = refusal {
        let (status, error) = voice.error(refusal);
        if status == 200 && voice.streamed(&request.target, &body) {
            return whole(socket, 200, "content-type: text/event-stream\r\n", &data(&error)).await;
        }
        let after = after.map(|after| format!("retry-after: {after}\r\n")).unwrap_or_default();
        return whole(socket, status, &format!("content-type: application/json\r\n{after}"), &error.to_string()).await;
    }
    match &act {
        Act::Reset => {
            // Closed with unsent data thrown away, a connection is reset.
            socket.set_zero_linger()?;
            return Ok(false);
        }
        Act::Silence => return until_left(socket).await,
        Act::Html => {
            let page = "<!doctype html><title>Sign in</title><p>Your network wants you to sign in.";
            return whole(socket, 200, "content-type: text/html\r\n", page).await;
        }
        Act::GzipGarbage => {
            let head = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
            return whole(socket, 200, head, "this was never compressed").await;
        }
        Act::Redirect(to) => return whole(socket, 307, &format!("location: {to}\r\n"), "").await,
        Act::ErrorInside if !voice.streamed(&request.target, &body) => {
            let (_, error) = voice.error(Refusal::ServerError);
            return whole(socket, 200, "content-type: application/json\r\n", &error.to_string()).await;
        }
        _ => {}
    }
    // A prefill is continued, not said again.
    let said = voice.prefill(&body).map_or(0, |text| text.split_whitespace().count());
    let words = words();
    let rest = words.get(said..).unwrap_or_default();
    if voice.streamed(&request.target, &body) {
        stream(socket, voice, rest, &act).await
    } else {
        at_once(socket, voice, rest, &act).await
    }
}

async fn stream(socket: &mut TcpStream, voice: Voice, words: &[String], act: &Act) -> std::io::Result<bool> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    socket.write_all(head.as_bytes()).await?;
    if let Act::Late(after) = act {
        waited(socket, *after).await?;
    }
    if let Act::ErrorInside = act {
        let (_, error) = voice.error(Refusal::ServerError);
        let named = if voice.0 == Dialect::Anthropic { "event: error\n" } else { "" };
        send(socket, &format!("{named}{}", data(&error))).await?;
        return ended(socket).await;
    }
    for event in voice.opening() {
        send(socket, &event).await?;
    }
    if let Act::Gated(gate) = act {
        passed(socket, gate).await?;
    }
    if let Act::Huge(bytes) = act {
        send(socket, &voice.word(&"x".repeat(*bytes))).await?;
    }
    for (at, word) in words.iter().enumerate() {
        match act {
            Act::CutAfter(after) if at == *after => return Ok(false),
            Act::StallAfter(after, pause) if at == *after => waited(socket, *pause).await?,
            Act::Malformed if at == words.len() / 2 => send(socket, "data: {\"choices\": [{\"delta\": {\n\n").await?,
            Act::Drip(pause) => waited(socket, *pause).await?,
            _ => {}
        }
        send(socket, &voice.word(word)).await?;
    }
    let mut closing = voice.closing(words);
    if let Act::NoTerminal = act {
        closing.pop();
    }
    for event in closing {
        send(socket, &event).await?;
    }
    ended(socket).await
}

async fn at_once(socket: &mut TcpStream, voice: Voice, words: &[String], act: &Act) -> std::io::Result<bool> {
    let body = match act {
        Act::Malformed => voice.whole(words).replace("\"role\"", "\"role"),
        Act::Huge(bytes) => voice.whole(&["x".repeat(*bytes)]),
        _ => voice.whole(words),
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    socket.write_all(head.as_bytes()).await?;
    let (first, rest) = match act {
        Act::Late(after) => {
            waited(socket, *after).await?;
            (body.as_bytes(), None)
        }
        Act::Gated(gate) => {
            passed(socket, gate).await?;
            (body.as_bytes(), None)
        }
        // As far into the body as so many words are into the stream.
        Act::CutAfter(after) => (part(&body, *after), None),
        Act::StallAfter(after, pause) => (part(&body, *after), Some(*pause)),
        _ => (body.as_bytes(), None),
    };
    socket.write_all(first).await?;
    if let Some(pause) = rest {
        waited(socket, pause).await?;
        socket.write_all(body.as_bytes().get(first.len()..).unwrap_or_default()).await?;
        return Ok(true);
    }
    Ok(first.len() == body.len())
}

fn part(body: &str, words: usize) -> &[u8] {
    body.as_bytes().get(..body.len() * words / WORDS).unwrap_or_default()
}

async fn whole(socket: &mut TcpStream, status: u16, headers: &str, body: &str) -> std::io::Result<bool> {
    let head = format!("HTTP/1.1 {status} Scripted\r\n{headers}content-length: {}\r\n\r\n", body.len());
    socket.write_all(format!("{head}{body}").as_bytes()).await?;
    Ok(true)
}

/// One chunk, which is one event.
async fn send(socket: &mut TcpStream, event: &str) -> std::io::Result<()> {
    let chunk = format!("{:x}\r\n{event}\r\n", event.len());
    socket.write_all(chunk.as_bytes()).await
}

async fn ended(socket: &mut TcpStream) -> std::io::Result<bool> {
    socket.write_all(b"0\r\n\r\n").await?;
    Ok(true)
}

/// Waits, unless the client goes away meanwhile.
async fn waited(socket: &mut TcpStream, pause: Duration) -> std::io::Result<()> {
    tokio::select! {
        () = sleep(pause) => Ok(()),
        left = until_left(socket) => left.map(|_| ()),
    }
}

/// Waits for a permit of the gate, unless the client goes away meanwhile.
async fn passed(socket: &mut TcpStream, gate: &Semaphore) -> std::io::Result<()> {
    tokio::select! {
        permit = gate.acquire() => {
            // A closed gate keeps nobody.
            permit.into_iter().for_each(|permit| permit.forget());
            Ok(())
        }
        left = until_left(socket) => left.map(|_| ()),
    }
}

/// Waits until the client goes away, which is an error.
async fn until_left(socket: &mut TcpStream) -> std::io::Result<bool> {
    let mut rest = [0; 64];
    while socket.read(&mut rest).await? > 0 {}
    Err(std::io::ErrorKind::ConnectionAborted.into())
}
