//! The way of an answer to the peer that asked: each event a line, as fast as it is read there, and a signed end.

use std::time::SystemTime;

use bytes::Bytes;
use libp2p::futures::{AsyncRead, AsyncWrite, FutureExt, StreamExt};
use llm_router::cache::cid::{Base, Codec};
use llm_router::cache::key::Key;
use llm_router::cache::response::content_cid;
use llm_router::delta::{Delta, Event};
use llm_router::dialect::native;
use llm_router::ids::{ModelName, ProviderId};
use llm_router::request::Request;
use llm_router::response::Folder;
use llm_router::router::resolve::Door;
use llm_router::router::{Answer, Op};
use llm_router::trace::{CacheStatus, TraceContext};
use llm_router::usage::Usage;
use llm_router::{Error, ErrorKind, Result};

use super::caller::Caller;
use super::request::Asked;
use super::{Ended, PATIENCE, PEERS, Served};
use crate::io::{Reader, Writer};
use crate::receipt::Receipt;
use crate::service::shared::Shared;
use crate::wire::{Accepted, Data, Done, Failure, Head, MAX_LINE, MAX_PIECE, Reject, ServerFrame};

/// As much is put together before it is sent, where it is there at once.
const TOGETHER: usize = 16 << 10;
/// The longest answer that is signed: it is kept until its end.
const MOST_SIGNED: usize = 8 << 20;

/// Refuses a request.
pub(super) async fn refuse<W: AsyncWrite + Unpin>(reject: Reject, writer: &mut Writer<W>) -> Result<(), Ended> {
    ServerFrame::Reject(reject).encode(writer.out())?;
    writer.finish(PATIENCE).await.map_err(|_| Ended::Gone)
}

/// Answers a request. Letting go of this ends all work for it.
pub(super) async fn give<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    shared: &Shared,
    served: &Served,
    asked: Asked,
    reader: &mut Reader<R>,
    writer: &mut Writer<W>,
) -> Result<(), Ended> {
    let Asked { open, asker, request, received, model, dropped, _place } = asked;
    let mut caller = Caller::new(reader, writer);
    caller.say(&ServerFrame::Accepted(Accepted::default())).await?;
    let context = open.trace.as_deref().and_then(|parent| TraceContext::read(parent, None));
    let op = Op::new(request, Door::CompatibleApi)
        .for_client(Some(asker.name().into()))
        .within(Some(served.holder(&asker)))
        .under(context);
    let mut answering = Box::pin(served.router().call(Box::new(op)));
    let begun = tokio::select! {
        biased;
        begun = &mut answering => begun,
        ended = caller.watch() => return Err(ended.map_or_else(|ended| ended, |never| match never {})),
    };
    drop(answering);
    let mut giving = Giving::new(shared.share.receipts);
    let ended = match begun {
        Ok(mut answer) => {
            let head = head(&answer, &model, dropped);
            ServerFrame::Head(head).encode(caller.writer.out())?;
            giving.stream(&mut answer, &mut caller).await?
        }
        Err(error) => Err(error),
    };
    let last = match ended {
        Ok(()) => {
            let (resp_cid, receipt) = giving.sign(shared, &received, &model, &open.rid).unzip();
            let done = Done { frames: giving.frames, resp_cid, receipt: receipt.flatten(), crit: Vec::new() };
            ServerFrame::Done(done)
        }
        Err(error) => {
            tracing::debug!(peer = %asker.peer(), "a peer's request failed: {error}");
            ServerFrame::Err(Failure::of(&error, giving.committed))
        }
    };
    last.encode(caller.writer.out())?;
    caller.writer.finish(PATIENCE).await.map_err(|_| Ended::Gone)
}

fn head(answer: &Answer, model: &str, mut dropped: Vec<String>) -> Head {
    let cached = answer.look(|trace| {
        dropped.extend(trace.dropped.iter().map(|field| field.0.clone()));
        trace.cache == CacheStatus::Hit
    });
    // Names of fields are the caller's own, and there is room for few.
    let mut room: usize = 1024;
    dropped.retain(|name| {
        let fits = name.len() <= room;
        room = room.saturating_sub(name.len());
        fits
    });
    Head { model: Some(model.to_owned()), cached, dropped, crit: Vec::new() }
}

/// What was given of an answer.
struct Giving {
    frames: u64,
    committed: bool,
    folder: Option<Folder>,
    bytes: usize,
    usage: Usage,
}

impl Giving {
    fn new(signed: bool) -> Self {
        let folder = signed.then(Folder::default);
        Self { frames: 0, committed: false, folder, bytes: 0, usage: Usage::default() }
    }

    /// Sends all events of an answer; the inner error is the answer's own.
    async fn stream<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        answer: &mut Answer,
        caller: &mut Caller<'_, R, W>,
    ) -> Result<Result<()>, Ended> {
        loop {
            let event = tokio::select! {
                biased;
                event = answer.next() => event,
                ended = caller.watch() => return Err(ended.map_or_else(|ended| ended, |never| match never {})),
            };
            let mut next = Some(event);
            while let Some(event) = next {
                let put = match event {
                    Some(Ok(event)) => self.put(event, caller)?,
                    Some(Err(error)) => Err(error),
                    None => {
                        return Ok(Ok(()));
                    }
                };
                if let Err(error) = put {
                    return Ok(Err(error));
                }
                // What is there already goes along; who waits for more keeps what is there from its reader.
                next = if caller.writer.waiting() < TOGETHER { answer.next().now_or_never() } else { None };
            }
            caller.send().await?;
        }
    }

    /// Puts an event's line behind what goes out next.
    fn put<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &mut self,
        mut event: Event,
        caller: &mut Caller<'_, R, W>,
    ) -> Result<Result<()>, Ended> {
        if event.deltas.is_empty() {
            return Ok(Ok(()));
        }
        for delta in &mut event.deltas {
            if let Delta::Usage(usage) = delta {
                // What it cost here is its owner's business.
                usage.cost_micros = None;
                self.usage = *usage;
            }
        }
        self.committed |= event.is_content();
        let line = match native::write_line(&event.deltas) {
            Ok(line) if line.len() <= MAX_LINE => line,
            Ok(_) => return Ok(Err(Error::protocol("the answer has a part that is larger than a peer takes"))),
            Err(error) => return Ok(Err(error)),
        };
        self.bytes = self.bytes.saturating_add(line.len());
        if self.bytes > MOST_SIGNED {
            self.folder = None;
        }
        if let Some(folder) = &mut self.folder {
            event.deltas.iter().for_each(|delta| folder.push(delta));
        }
        let mut rest = line;
        while !rest.is_empty() {
            let bytes = rest.split_to(rest.len().min(MAX_PIECE));
            let data = Data { seq: self.frames, bytes, more: !rest.is_empty(), crit: Vec::new() };
            ServerFrame::Data(data).encode(caller.writer.out())?;
            self.frames += 1;
        }
        Ok(Ok(()))
    }

    /// The response's name, and the signature under it.
    fn sign(&mut self, shared: &Shared, request: &Request, model: &str, rid: &[u8]) -> Option<(String, Option<Bytes>)> {
        let response = self.folder.take()?.finish().ok()?;
        let cid = content_cid(&response)?;
        let receipt = || {
            let (asked, named) = (request_cid(request, model).ok()?, ModelName::new(model).ok()?);
            let receipt = Receipt::new(&shared.key, asked, cid.parse().ok()?, &named, &self.usage, SystemTime::now());
            receipt.of_request(rid.try_into().ok()?).seal(&shared.key).ok().map(Bytes::from)
        };
        let receipt = receipt();
        Some((cid, receipt))
    }
}

/// The request's name, which whoever sent it can compute: its key at the provider `ipfs_peer` and the model as it was asked.
///
/// # Errors
/// `caller_invalid_request` where it has none.
pub(crate) fn request_cid(request: &Request, model: &str) -> Result<cid::Cid> {
    let digest = Key::of(request, &ProviderId::new(PEERS)?, model)?.digest();
    let text = digest.cid(Codec::Raw, Base::default());
    text.parse().map_err(|_| Error::new(ErrorKind::RouterInternal, "a request's CID cannot be read"))
}
