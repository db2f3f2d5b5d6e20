//! The lines between router and worker, as types. Unknown fields are ignored on both sides, so that fields can be added without a new version.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::delta::Delta;
use crate::dialect::FieldPath;
use crate::embedding::{EmbedRequest, EmbedResponse};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::RequestId;
use crate::provider::{Call, Context, Deadlines, Target};
use crate::request::Request;

/// The protocol's name, so that a program that is no worker is told apart from an old one.
pub(super) const PROTOCOL: &str = "llm-router-worker";

/// The version that both sides must speak.
pub(super) const VERSION: u32 = 1;

/// Events a call may have under way.
pub(super) const CREDIT: usize = 64;

/// Bytes of one order: a request with its pictures.
pub(super) const LONGEST_ORDER: usize = 64 << 20;

/// The order that asks for a count of tokens, and its name among what a worker does besides answering.
pub(super) const COUNT: &str = "count";

/// The order that asks for vectors, and its name there.
pub(super) const EMBED: &str = "embed";

/// A line to the worker.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Order {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) call: Option<WireCall<Request>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<WireCall<Request>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) embed: Option<WireCall<EmbedRequest>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credit: Option<usize>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) cancel: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) stop: bool,
}

/// A line from the worker.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hello: Option<Hello>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<Vec<Delta>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<u64>,
    /// Some of the vectors; the next ones, in order, are in the next line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) vectors: Option<EmbedResponse>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) dropped: Vec<FieldPath>,
    /// Beside an event: the call waits for a place, until the next one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) waiting: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Error>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) end: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: String,
    pub(super) version: u32,
    /// The orders that it knows besides `call`; a worker that says nothing knows no other.
    #[serde(default)]
    pub(super) does: Vec<String>,
}

impl Hello {
    pub(super) fn ours() -> Self {
        let does = [COUNT, EMBED].map(str::to_owned).into();
        Self { protocol: PROTOCOL.to_owned(), version: VERSION, does }
    }
}

/// A call without what cannot leave the process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireCall<R> {
    request: Arc<R>,
    target: Target,
    attempt: u32,
    pub(super) request_id: RequestId,
    #[serde(default)]
    deadlines_ms: WireDeadlines,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default)]
struct WireDeadlines {
    connect: u64,
    first_event: u64,
    idle: u64,
    whole: u64,
    total: u64,
}

impl Default for WireDeadlines {
    fn default() -> Self {
        Self::from(Deadlines::default())
    }
}

impl From<Deadlines> for WireDeadlines {
    fn from(deadlines: Deadlines) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            connect: millis(deadlines.connect),
            first_event: millis(deadlines.first_event),
            idle: millis(deadlines.idle),
            whole: millis(deadlines.whole),
            total: millis(deadlines.total),
        }
    }
}

impl<R> WireCall<R> {
    /// `request` to where `call` goes and for as long.
    pub(super) fn new(call: &Call, request: Arc<R>) -> Self {
        Self {
            request,
            target: call.target.clone(),
            attempt: call.attempt,
            request_id: call.cx.id.clone(),
            deadlines_ms: call.deadlines.into(),
        }
    }

    /// The call again, with what the worker has of its own, and what it is about; `outline` says that in words that every call has.
    pub(super) fn into_call(self, cx: Context, outline: impl FnOnce(&Arc<R>) -> Arc<Request>) -> (Call, Arc<R>) {
        let WireDeadlines { connect, first_event, idle, whole, total } = self.deadlines_ms;
        let time = Duration::from_millis;
        let mut call = Call::new(outline(&self.request), self.target, cx);
        call.attempt = self.attempt;
        call.deadlines = Deadlines {
            connect: time(connect),
            first_event: time(first_event),
            idle: time(idle),
            whole: time(whole),
            total: time(total),
            ..Deadlines::default()
        };
        (call, self.request)
    }
}

/// One line, its end included.
///
/// # Errors
/// `router_internal` for a value without a JSON form.
pub(super) fn write(line: &impl Serialize) -> Result<Bytes> {
    let mut bytes = serde_json::to_vec(line)
        .map_err(|error| Error::internal(format!("a line for a worker could not be written: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

/// One order, its end included.
///
/// # Errors
/// As [`write`]; `caller_too_large` for one that a worker would not read.
pub(super) fn order(order: &Order) -> Result<Bytes> {
    let line = write(order)?;
    if line.len() > LONGEST_ORDER {
        let message =
            format!("the request is {} bytes long for a worker, and the limit is {LONGEST_ORDER}", line.len());
        return Err(Error::new(ErrorKind::CallerTooLarge, message).with_hint("send less at once"));
    }
    Ok(line)
}

/// Reads a line's JSON.
///
/// # Errors
/// `provider_protocol` with the beginning of a line that is something else.
pub(super) fn read<T: DeserializeOwned>(line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|error| {
        let start: String = String::from_utf8_lossy(line).chars().take(120).collect();
        Error::protocol(format!("a line that is none of the worker protocol: {start:?}: {error}"))
            .with_hint("a worker must print its protocol only; anything else belongs on standard error")
    })
}

/// Lines of a stream, bounded. Cancel safe: what was read of a line is kept.
pub(super) struct Lines<R> {
    input: R,
    buffer: BytesMut,
    scanned: usize,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(input: R, limit: usize) -> Self {
        Self { input, buffer: BytesMut::new(), scanned: 0, limit }
    }

    /// The next line, `None` at the end of the stream.
    ///
    /// # Errors
    /// `provider_connection` when it cannot be read, `provider_protocol` past the limit.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(at) = self.buffer.iter().skip(self.scanned).position(|byte| *byte == b'\n') {
                let mut line = self.buffer.split_to(self.scanned + at + 1);
                self.scanned = 0;
                line.truncate(line.len() - 1);
                return Ok(Some(line.freeze()));
            }
            self.scanned = self.buffer.len();
            if self.scanned > self.limit {
                return Err(Error::protocol(format!("a line of more than {} bytes", self.limit)));
            }
            self.buffer.reserve(16 << 10);
            let read = self.input.read_buf(&mut self.buffer).await;
            if read.map_err(|error| Error::connection(format!("the pipe broke: {error}")))? == 0 {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::request::RawJson;

    #[test]
    fn a_call_survives_the_pipe() {
        let mut request = Request::new("a\nb");
        request.metadata = Some(RawJson::parse("{\"n\": 1.50}").unwrap());
        let call = WireCall {
            request: Arc::new(request),
            target: Target::new(crate::ids::ProviderId::new("p").unwrap(), None),
            attempt: 2,
            request_id: RequestId::from_parts(1, 2),
            deadlines_ms: WireDeadlines::default(),
        };
        let line = write(&Order { id: Some(1), call: Some(call), credit: Some(3), ..Order::default() }).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let back: Order = read(&line).unwrap();
        let call = back.call.unwrap();
        assert_eq!(call.request.plain_prompt(), Some("a\nb"));
        assert_eq!(call.request.metadata.as_ref().unwrap().get(), "{\"n\": 1.50}");
        assert_eq!((back.credit, call.attempt), (Some(3), 2));
    }

    #[tokio::test]
    async fn lines_are_bounded_and_whole() {
        let mut lines = Lines::new(&b"ab\n\ncd"[..], 4);
        assert_eq!(lines.next().await.unwrap().unwrap(), "ab");
        assert_eq!(lines.next().await.unwrap().unwrap(), "");
        assert_eq!(lines.next().await.unwrap(), None, "half a line is no line");
        assert!(Lines::new(&b"abcdefgh"[..], 4).next().await.is_err());
        assert!(read::<Report>(b"Loading model...").unwrap_err().message().contains("Loading model"));
    }
}
