//! A loopback HTTP/1.1 server that answers as scripted: errors, cuts, stalls, drips under manual control. It records what it was sent.
//!
//! It speaks raw bytes over TCP on purpose: a real server library would refuse to misbehave.

use std::{net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// One step of an answer.
#[derive(Clone, Debug)]
enum Step {
    Bytes(Bytes),
    /// Waits for a permit of the gate.
    Gate(Arc<Semaphore>),
    /// Says nothing until the client hangs up.
    Stall,
    /// Closes the connection.
    Close,
}

/// One scripted answer.
#[derive(Clone, Debug)]
pub struct Answer(Vec<Step>);

impl Answer {
    /// A whole answer with a content type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::with_headers(status, &[("content-type", content_type)], body)
    }

    /// A whole answer with its own headers.
    pub fn with_headers(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let mut head = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        Self(vec![Step::Bytes(head.into()), Step::Bytes(body)])
    }

    /// A JSON answer.
    pub fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::new(status, "application/json", body)
    }

    /// The head of a chunked stream of server-sent events; add to it with [`Answer::event`] and [`Answer::gate`], close it with [`Answer::end`].
    pub fn sse() -> Self {
        Self::raw("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
    }

    /// Exactly these bytes.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self(vec![Step::Bytes(bytes.into())])
    }

    /// One server-sent event with this data, as a chunk of its own.
    #[must_use]
    pub fn event(self, data: &str) -> Self {
        self.chunk(&format!("data: {data}\n\n"))
    }

    /// One chunk.
    #[must_use]
    pub fn chunk(mut self, text: &str) -> Self {
        self.0.push(Step::Bytes(format!("{:x}\r\n{text}\r\n", text.len()).into()));
        self
    }

    /// The end of a chunked body.
    #[must_use]
    pub fn end(mut self) -> Self {
        self.0.push(Step::Bytes(Bytes::from_static(b"0\r\n\r\n")));
        self
    }

    /// Goes on once the gate has a permit.
    #[must_use]
    pub fn gate(mut self, gate: &Arc<Semaphore>) -> Self {
        self.0.push(Step::Gate(gate.clone()));
        self
    }

    /// Then exactly these bytes.
    #[must_use]
    pub fn then(mut self, bytes: impl Into<Bytes>) -> Self {
        self.0.push(Step::Bytes(bytes.into()));
        self
    }

    /// Then says nothing until the client hangs up.
    #[must_use]
    pub fn stall(mut self) -> Self {
        self.0.push(Step::Stall);
        self
    }

    /// Then closes the connection.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.0.push(Step::Close);
        self
    }

    /// The first so many bytes of it, then a closed connection.
    #[must_use]
    pub fn cut_after(self, bytes: usize) -> Self {
        let mut left = bytes;
        let mut steps = Vec::new();
        for step in self.0 {
            match step {
                Step::Bytes(piece) => {
                    let piece = piece.slice(..left.min(piece.len()));
                    left -= piece.len();
                    steps.push(Step::Bytes(piece));
                }
                step => steps.push(step),
            }
            if left == 0 {
                break;
            }
        }
        steps.push(Step::Close);
        Self(steps)
    }

    /// Its first bytes: the head of a whole answer.
    pub fn head_len(&self) -> usize {
        self.0.iter().find_map(|step| if let Step::Bytes(bytes) = step { Some(bytes.len()) } else { None }).unwrap_or(0)
    }
}

/// What a client sent.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The method.
    pub method: String,
    /// The target of the request line.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Received {
    /// A header as text; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Connections accepted.
    pub connections: usize,
    /// Connections that are over.
    pub closed: usize,
    /// Requests, in order of arrival.
    pub requests: Vec<Received>,
    /// Clients that hung up during an answer.
    pub hung_up: usize,
    /// Bytes of answers that the sockets took.
    pub written: usize,
}

/// The server. Dropping it ends it and every connection.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    seen: watch::Receiver<Seen>,
    _task: AbortOnDropHandle<()>,
}

impl Upstream {
    /// Serves the answers in the order of requests; the last one again and again.
    ///
    /// # Panics
    /// When no loopback port can be had.
    pub async fn serve(answers: impl IntoIterator<Item = Answer>) -> Self {
        #[allow(clippy::expect_used)]
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        #[allow(clippy::expect_used)]
        let address = listener.local_addr().expect("a bound socket has an address");
        let (report, seen) = watch::channel(Seen::default());
        let script = Script { answers: answers.into_iter().collect(), report: Arc::new(report) };
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                script.report.send_modify(|seen| seen.connections += 1);
                let script = script.clone();
                connections.spawn(async move {
                    converse(socket, &script).await;
                    script.report.send_modify(|seen| seen.closed += 1);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, seen, _task: AbortOnDropHandle::new(task) }
    }

    /// Its URL followed by a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happened so far.
    pub fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// The last request.
    pub fn last(&self) -> Received {
        self.seen.borrow().requests.last().cloned().unwrap_or_default()
    }

    /// Waits until what happened is as expected.
    pub async fn until(&self, expected: impl FnMut(&Seen) -> bool) -> Seen {
        self.seen.clone().wait_for(expected).await.map(|seen| seen.clone()).unwrap_or_default()
    }
}

#[derive(Clone)]
struct Script {
    answers: Vec<Answer>,
    report: Arc<watch::Sender<Seen>>,
}

impl Script {
    fn take(&self, request: Received) -> Option<Answer> {
        let mut at = 0;
        self.report.send_modify(|seen| {
            at = seen.requests.len();
            seen.requests.push(request);
        });
        self.answers.get(at).or(self.answers.last()).cloned()
    }
}

async fn converse(mut socket: TcpStream, script: &Script) {
    let mut buffer = BytesMut::new();
    while let Some(request) = read_request(&mut socket, &mut buffer).await {
        let Some(Answer(steps)) = script.take(request) else { return };
        for step in steps {
            let goes_on = match step {
                Step::Bytes(bytes) => write(&mut socket, &bytes, script).await,
                Step::Close => return,
                Step::Stall => hang_up(&mut socket, script).await,
                Step::Gate(gate) => tokio::select! {
                    permit = gate.acquire() => { permit.map(|permit| permit.forget()).is_ok() }
                    goes_on = hang_up(&mut socket, script) => goes_on,
                },
            };
            if !goes_on {
                return;
            }
        }
    }
}

/// Waits until the client hangs up; the conversation is over then.
async fn hang_up(socket: &mut TcpStream, script: &Script) -> bool {
    let mut rest = [0; 64];
    while socket.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    script.report.send_modify(|seen| seen.hung_up += 1);
    false
}

async fn write(socket: &mut TcpStream, bytes: &[u8], script: &Script) -> bool {
    for piece in bytes.chunks(16 << 10) {
        if socket.write_all(piece).await.is_err() {
            script.report.send_modify(|seen| seen.hung_up += 1);
            return false;
        }
        script.report.send_modify(|seen| seen.written += piece.len());
    }
    true
}

/// One request; none when the connection is over.
pub(super) async fn read_request(socket: &mut TcpStream, buffer: &mut BytesMut) -> Option<Received> {
    let head_end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = buffer.split_to(head_end);
    let text = std::str::from_utf8(&head).ok()?;
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?);
    }
    let length = headers.get("content-length").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    while buffer.len() < length {
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(Received { method, target, headers, body: buffer.split_to(length).freeze() })
}
