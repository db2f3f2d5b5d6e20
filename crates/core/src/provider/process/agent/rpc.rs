//! JSON-RPC 2.0 with a program of this machine, over its pipes: requests and notifications to it, answers, notifications and requests from it.
//!
//! Two framings are known: a message a line, and the one of language servers (a `Content-Length` head before each). Nothing here knows what is talked
//! about (`talk.rs`), who keeps the program (`warm.rs`) or how long anybody waits. Every message, head and queue is bounded; whoever gives up waiting loses
//! no part of a message.

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::super::Process;
use crate::error::{Error, ErrorKind, Result};

/// Messages that wait for a program to read them.
const OUTBOX: usize = 64;

/// Bytes of a message to a program: a request with its pictures.
const LONGEST_SAID: usize = 64 << 20;

/// Bytes of the head of a framed message.
const LONGEST_HEAD: usize = 4 << 10;

/// The code of JSON-RPC for a method that is not known.
const NO_SUCH_METHOD: i64 = -32601;

/// How messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Framing {
    /// One a line.
    Lines,
    /// A head with `Content-Length` before each.
    Heads,
}

/// What a program says.
#[derive(Debug)]
pub(in super::super) enum Heard {
    /// The answer to the request of this number.
    Answer(u64, std::result::Result<Said, Refused>),
    /// A notification: its method and what it says.
    Told(String, Said),
    /// A request of its own: its id, method, and what it says.
    Asked(Box<RawValue>, String, Said),
}

/// The parameters or the result of a message, as they were written.
#[derive(Debug, Default)]
pub(in super::super) struct Said(Option<Box<RawValue>>);

impl Said {
    /// What it says, as what it is known to be. Whoever reads it ignores what is new in it.
    ///
    /// # Errors
    /// `provider_protocol` quoting the beginning of something else.
    pub(in super::super) fn read<T: DeserializeOwned>(&self, method: &str) -> Result<T> {
        let text = self.0.as_ref().map_or("null", |raw| raw.get());
        serde_json::from_str(text).map_err(|error| {
            let shown: String = text.chars().take(80).collect();
            Error::protocol(format!("{method} is not understood ({error}): {shown}"))
                .with_hint("the agent's version may be too old or too new: see `llm-router doctor`")
        })
    }
}

/// A request that a program refused.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in super::super) struct Refused {
    /// JSON-RPC's code of it.
    pub(in super::super) code: i64,
    /// What it says.
    pub(in super::super) message: String,
    /// What it says besides.
    pub(in super::super) data: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    id: Option<Box<RawValue>>,
    method: Option<String>,
    params: Option<Box<RawValue>>,
    result: Option<Box<RawValue>>,
    error: Option<Refused>,
}

/// One message; nothing where it is the answer to nothing that was asked.
fn read(name: &str, message: &[u8]) -> Result<Option<Heard>> {
    let Message { id, method, params, result, error } = serde_json::from_slice(message).map_err(|error| {
        let shown: String = String::from_utf8_lossy(message).chars().take(80).collect();
        Error::protocol(format!("{name} printed something that is no message ({error}): {shown}"))
            .with_hint("its version may be too old or too new: see `llm-router doctor`")
    })?;
    Ok(match (method, id) {
        (Some(method), Some(id)) => Some(Heard::Asked(id, method, Said(params))),
        (Some(method), None) => Some(Heard::Told(method, Said(params))),
        (None, id) => id
            .and_then(|id| id.get().parse().ok())
            .map(|id| Heard::Answer(id, error.map_or_else(|| Ok(Said(result)), Err))),
    })
}

/// What is to be said to a program, in order. Numbers of requests go on as long as the program runs, so no late answer is taken for another's.
#[derive(Debug)]
pub(in super::super) struct Says {
    framing: Framing,
    next: u64,
    waiting: Vec<Bytes>,
}

impl Says {
    pub(in super::super) fn new(framing: Framing) -> Self {
        Self { framing, next: 1, waiting: Vec::new() }
    }

    /// Asks; the answer has the number that this gives.
    ///
    /// # Errors
    /// `caller_too_large` for what no program would read.
    pub(in super::super) fn ask(&mut self, method: &str, params: impl Serialize) -> Result<u64> {
        let id = self.next;
        self.next += 1;
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": of(params)?}))?;
        Ok(id)
    }

    /// Tells something that has no answer.
    ///
    /// # Errors
    /// As [`Says::ask`].
    pub(in super::super) fn tell(&mut self, method: &str, params: impl Serialize) -> Result<()> {
        self.say(&json!({"jsonrpc": "2.0", "method": method, "params": of(params)?}))
    }

    /// Answers a request of the program's; refuses it where there is no answer.
    ///
    /// # Errors
    /// As [`Says::ask`].
    pub(in super::super) fn answer(&mut self, id: &RawValue, method: &str, answer: Option<Value>) -> Result<()> {
        let refused = || json!({"code": NO_SUCH_METHOD, "message": format!("{method} is not for this client")});
        match answer {
            Some(result) => self.say(&json!({"jsonrpc": "2.0", "id": id, "result": result})),
            None => self.say(&json!({"jsonrpc": "2.0", "id": id, "error": refused()})),
        }
    }

    /// What was to be said since the last time.
    pub(in super::super) fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.waiting)
    }

    fn say(&mut self, message: &Value) -> Result<()> {
        let body = message.to_string();
        if body.len() > LONGEST_SAID {
            let message =
                format!("the request is {} bytes long for an agent, and the limit is {LONGEST_SAID}", body.len());
            return Err(Error::new(ErrorKind::CallerTooLarge, message).with_hint("send less at once"));
        }
        self.waiting.push(match self.framing {
            Framing::Lines => format!("{body}\n").into(),
            Framing::Heads => format!("Content-Length: {}\r\n\r\n{body}", body.len()).into(),
        });
        Ok(())
    }
}

fn of(params: impl Serialize) -> Result<Value> {
    serde_json::to_value(params)
        .map_err(|error| Error::internal(format!("a message to an agent could not be written: {error}")))
}

/// A program that is talked to. Dropping it ends the program's group.
#[derive(Debug)]
pub(in super::super) struct Rpc {
    process: Process,
    says: Says,
    frames: Frames,
    outbox: mpsc::Sender<Bytes>,
    _writer: AbortOnDropHandle<()>,
}

impl Rpc {
    /// Talks to a program that was just started.
    ///
    /// # Errors
    /// `router_internal` for one that is fed otherwise.
    pub(in super::super) fn new(mut process: Process, framing: Framing) -> Result<Self> {
        let Some(stdin) = process.take_stdin() else {
            return Err(Error::internal(format!("{} has no standard input", process.name())));
        };
        let (outbox, queue) = mpsc::channel(OUTBOX);
        let writer = AbortOnDropHandle::new(tokio::spawn(write(stdin, queue)));
        Ok(Self { process, says: Says::new(framing), frames: Frames::default(), outbox, _writer: writer })
    }

    /// The program.
    pub(in super::super) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What is to be said to it with the next [`Rpc::send`].
    pub(in super::super) fn says(&mut self) -> &mut Says {
        &mut self.says
    }

    /// Sends what is to be said. To a program that has ended nothing is said: its end is heard.
    ///
    /// # Errors
    /// `provider_protocol` for a program that does not read.
    pub(in super::super) fn send(&mut self) -> Result<()> {
        for message in self.says.take() {
            if let Err(mpsc::error::TrySendError::Full(_)) = self.outbox.try_send(message) {
                return Err(Error::protocol(format!("{} does not read what it is told", self.process.name())));
            }
        }
        Ok(())
    }

    /// The next message, `None` at the end of its output. Cancel safe.
    ///
    /// # Errors
    /// `provider_protocol` for what is no message, and for more than its bounds allow.
    pub(in super::super) async fn hear(&mut self) -> Result<Option<Heard>> {
        loop {
            let Some(message) = self.message().await? else { return Ok(None) };
            if message.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if let Some(heard) = read(self.process.name(), &message)? {
                return Ok(Some(heard));
            }
        }
    }

    async fn message(&mut self) -> Result<Option<Bytes>> {
        if self.says.framing == Framing::Lines {
            return self.process.line().await;
        }
        loop {
            if let Some(message) = self.frames.next(self.process.name(), self.process.longest_line())? {
                return Ok(Some(message));
            }
            let Some(bytes) = self.process.chunk().await? else { return Ok(None) };
            self.frames.push(&bytes);
        }
    }
}

/// Writes messages until the program reads no more.
async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Bytes>) {
    while let Some(message) = queue.recv().await {
        if stdin.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// Messages behind heads, out of bytes as they come.
#[derive(Debug, Default)]
struct Frames {
    buffer: BytesMut,
    /// The length of the message whose head was read.
    body: Option<usize>,
    /// How much of the buffer was searched for the end of a head.
    scanned: usize,
}

impl Frames {
    fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, of so many bytes at most.
    fn next(&mut self, name: &str, longest: usize) -> Result<Option<Bytes>> {
        let wrong = |what: String| Err(Error::protocol(format!("{name} printed {what}")));
        let length = match self.body {
            Some(length) => length,
            None => {
                let from = self.scanned.saturating_sub(3);
                let found = self.buffer.get(from..).unwrap_or_default().windows(4).position(|four| four == b"\r\n\r\n");
                let Some(end) = found.map(|at| from + at) else {
                    self.scanned = self.buffer.len();
                    if self.scanned > LONGEST_HEAD {
                        let shown: String = String::from_utf8_lossy(&self.buffer).chars().take(80).collect();
                        return wrong(format!("no head of a message: {shown}"));
                    }
                    return Ok(None);
                };
                let head = self.buffer.split_to(end + 4);
                self.scanned = 0;
                let Some(length) = length(&head) else {
                    let shown: String = String::from_utf8_lossy(&head).chars().take(80).collect();
                    return wrong(format!("a head without a length: {}", shown.trim()));
                };
                if length > longest {
                    return wrong(format!("a message of {length} bytes, and the limit is {longest}"));
                }
                *self.body.insert(length)
            }
        };
        if self.buffer.len() < length {
            return Ok(None);
        }
        self.body = None;
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// The length that a head names.
fn length(head: &[u8]) -> Option<usize> {
    std::str::from_utf8(head).ok()?.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn framed_messages_come_whole_however_they_were_cut() {
        let mut says = Says::new(Framing::Heads);
        assert_eq!(says.ask("a", json!({"x": "é"})).unwrap(), 1);
        says.tell("b", json!({})).unwrap();
        let bytes = says.take().concat();
        assert!(bytes.starts_with(b"Content-Length: 57\r\n\r\n{"), "{}", String::from_utf8_lossy(&bytes));
        for size in [1, 2, 7, 1000] {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                frames.push(piece);
                while let Some(message) = frames.next("agent", 1000).unwrap() {
                    found.push(read("agent", &message).unwrap().unwrap());
                }
            }
            assert!(
                matches!(&found[..], [Heard::Asked(id, a, _), Heard::Told(b, _)] if id.get() == "1" && a == "a" && b == "b")
            );
        }
    }

    #[test]
    fn what_is_no_frame_is_refused_and_none_is_waited_for_that_is_too_long() {
        let refused = |bytes: &[u8]| {
            let mut frames = Frames::default();
            frames.push(bytes);
            frames.next("agent", 1000).map(|message| message.is_some()).map_err(|error| error.message().to_owned())
        };
        assert!(refused(b"Content-Length: 52428800\r\n\r\n{").unwrap_err().contains("52428800"));
        assert!(refused(b"Content-Type: x\r\n\r\n{}").unwrap_err().contains("without a length"));
        assert!(refused(b"Content-Length: -1\r\n\r\n{}").unwrap_err().contains("without a length"));
        assert!(refused(&[b'x'; LONGEST_HEAD + 1]).unwrap_err().contains("no head"));
        assert_eq!(refused(b"Content-Length: 5\r\n\r\n{}"), Ok(false));
        assert_eq!(refused(b"content-length:2\r\nContent-Type: x\r\n\r\n{}"), Ok(true));
    }

    #[test]
    fn messages_are_told_apart() {
        let heard = |text: &str| read("agent", text.as_bytes());
        assert!(matches!(heard(r#"{"id":7,"result":null}"#), Ok(Some(Heard::Answer(7, Ok(_))))));
        let refused = heard(r#"{"id":7,"error":{"code":-1,"message":"no","data":[1]}}"#);
        assert!(matches!(refused, Ok(Some(Heard::Answer(7, Err(Refused { code: -1, .. }))))));
        assert!(matches!(heard(r#"{"id":"x","method":"m","params":[]}"#), Ok(Some(Heard::Asked(..)))));
        // The answer to nothing that was asked.
        assert!(matches!(heard(r#"{"id":"x","result":1}"#), Ok(None)));
        assert!(matches!(heard("{}"), Ok(None)));
        for garbage in ["hello", "[1]", "{\"id\":", "7"] {
            assert_eq!(heard(garbage).unwrap_err().kind(), ErrorKind::ProviderProtocol, "{garbage}");
        }
        let Ok(Some(Heard::Told(_, said))) = heard(r#"{"method":"m","params":{"a":1}}"#) else { panic!() };
        assert!(said.read::<Vec<u8>>("m").unwrap_err().message().contains("{\"a\":1}"));
    }

    #[test]
    fn requests_of_the_program_are_refused_where_nobody_answers() {
        let mut says = Says::new(Framing::Lines);
        let id: Box<RawValue> = serde_json::from_str("\"q\"").unwrap();
        says.answer(&id, "approve", None).unwrap();
        says.answer(&id, "approve", Some(json!({"decision": "denied"}))).unwrap();
        let said = says.take();
        let first: Value = serde_json::from_slice(&said[0]).unwrap();
        assert_eq!((&first["id"], &first["error"]["code"]), (&json!("q"), &json!(NO_SUCH_METHOD)));
        assert!(said[1].ends_with(b"\n") && !said[1][..said[1].len() - 1].contains(&b'\n'));
    }
}
