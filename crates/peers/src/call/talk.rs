//! One request to one peer: said whole, then listened to, with a limit for each wait.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use libp2p::futures::AsyncReadExt;
use libp2p::futures::io::{ReadHalf, WriteHalf};
use libp2p::swarm::Stream;
use libp2p::{Multiaddr, PeerId};
use llm_router::Error;
use llm_router::delta::{BlockKind, Delta, Laws};
use llm_router::dialect::native::{self, Line};
use tokio::time::{sleep, timeout};

use super::missed::Missed;
use crate::io::{Lost, Reader, Writer};
use crate::serve::INFER;
use crate::service::shared::Shared;
use crate::wire::{Breach, ClientFrame, Done, MAX_CHUNK, MAX_LINE, Open, ServerFrame};

/// Streams of one peer that are being opened at once.
const OPENING: u32 = 2;
/// How long one waits for its turn to open a stream.
const TURN: Duration = Duration::from_secs(3);
/// How long the peer may take to read the request.
const SAYING: Duration = Duration::from_secs(15);
/// How long the peer may take to say whether it takes the request.
const ACCEPT: Duration = Duration::from_secs(2);
/// How long after a reset the same peer is asked again: streams that are opened at once may meet, and one of them is dropped.
const AGAIN: [Duration; 4] = [Duration::ZERO, Duration::ZERO, Duration::from_millis(10), Duration::from_millis(50)];
/// The longest silence, before anything of the answer came and after.
const SILENCE: [Duration; 2] = [Duration::from_secs(6), Duration::from_secs(15)];
/// The longest answer, in bytes.
const MOST_BYTES: usize = 256 << 20;

/// A request that can be said to any peer.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) open: Open,
    pub(super) body: Bytes,
}

/// What a peer says next.
#[derive(Debug)]
pub(super) enum Next {
    /// A part of the answer.
    Deltas(Vec<Delta>),
    /// That it is at work.
    Working,
    /// That this was all.
    Done(Done),
}

/// A request under way at a peer. Letting go of it cancels it.
pub(super) struct Talk {
    reader: Reader<ReadHalf<Stream>>,
    _writer: Writer<WriteHalf<Stream>>,
    peer: PeerId,
    tools: bool,
    seq: u64,
    line: BytesMut,
    bytes: usize,
    laws: Laws,
}

/// Why a request was not taken.
enum Untaken {
    Reset,
    Missed(Missed),
}

impl From<Missed> for Untaken {
    fn from(missed: Missed) -> Self {
        Self::Missed(missed)
    }
}

impl From<Breach> for Untaken {
    fn from(breach: Breach) -> Self {
        Self::Missed(breach.into())
    }
}

/// Says a request to a peer and waits until it is taken.
pub(super) async fn begin(
    shared: &Arc<Shared>,
    peer: PeerId,
    addresses: &[Multiaddr],
    mut said: Said,
) -> Result<Talk, Missed> {
    let known = shared.book.find(&peer);
    let tools = known.as_ref().is_some_and(|known| known.tools);
    let grant = known.and_then(|known| known.ours).map(|grant| grant.to_bytes()).transpose();
    said.open.grant = grant.map_err(Missed::Way)?.map(Bytes::from);
    for (attempt, after) in (1..).zip(AGAIN) {
        said.open.attempt = attempt;
        if !after.is_zero() {
            sleep(after).await;
        }
        shared.node.connect(peer, addresses.to_vec()).await.map_err(Missed::Way)?;
        let turn = timeout(TURN, shared.opening.wait(peer, OPENING)).await;
        let turn = turn.map_err(|_| way(peer, "too many streams are being opened to it"))?;
        let stream = shared.node.open(peer, INFER).await.map_err(Missed::Way)?;
        drop(turn);
        match say(stream, peer, tools, &said).await {
            Ok(talk) => return Ok(talk),
            Err(Untaken::Reset) => {}
            Err(Untaken::Missed(missed)) => return Err(missed),
        }
    }
    Err(way(peer, "it cut off before it took the request"))
}

fn way(peer: PeerId, why: &str) -> Missed {
    Missed::Way(Error::connection(format!("the peer {peer} does not answer: {why}")))
}

async fn say(stream: Stream, peer: PeerId, tools: bool, said: &Said) -> Result<Talk, Untaken> {
    let (read, write) = stream.split();
    let (mut reader, mut writer) = (Reader::new(read), Writer::new(write));
    ClientFrame::Open(Box::new(said.open.clone())).encode(writer.out())?;
    let mut rest = said.body.clone();
    let saying = async {
        while !rest.is_empty() {
            ClientFrame::Body(rest.split_to(rest.len().min(MAX_CHUNK))).encode(writer.out())?;
            if writer.waiting() > MAX_CHUNK {
                writer.send(SAYING).await.map_err(|_| Breach::Truncated)?;
            }
        }
        ClientFrame::End.encode(writer.out())?;
        writer.send(SAYING).await.map_err(|_| Breach::Truncated)
    };
    // One that refuses does not read on: what it said is heard even so.
    let _ = timeout(SAYING, saying).await.map_err(|_| way(peer, "it does not read the request"))?;
    let frame = match timeout(ACCEPT, reader.next()).await {
        Err(_) => return Err(way(peer, &format!("it did not take the request in {ACCEPT:?}")).into()),
        Ok(Err(Lost::Gone)) => return Err(Untaken::Reset),
        Ok(Err(Lost::Breach(breach))) => return Err(breach.into()),
        Ok(Ok(frame)) => frame,
    };
    match ServerFrame::decode(&frame)? {
        ServerFrame::Accepted(_) => {}
        ServerFrame::Reject(reject) => return Err(Missed::Refused(reject).into()),
        _ => return Err(Breach::Order.into()),
    }
    let (line, laws) = (BytesMut::new(), Laws::default());
    Ok(Talk { reader, _writer: writer, peer, tools, seq: 0, line, bytes: 0, laws })
}

impl Talk {
    /// What comes next.
    pub(super) async fn next(&mut self) -> Result<Next, Missed> {
        loop {
            let silence = SILENCE.get(usize::from(self.seq > 0)).copied().unwrap_or(ACCEPT);
            let frame = match timeout(silence, self.reader.next()).await {
                Err(_) => return Err(way(self.peer, &format!("it was silent for {silence:?}"))),
                Ok(Err(Lost::Gone)) => return Err(way(self.peer, "it cut off before its answer's end")),
                Ok(Err(Lost::Breach(breach))) => return Err(breach.into()),
                Ok(Ok(frame)) => frame,
            };
            match ServerFrame::decode(&frame)? {
                ServerFrame::Data(data) => {
                    if data.seq != self.seq {
                        return Err(Breach::Order.into());
                    }
                    self.seq += 1;
                    self.bytes = self.bytes.saturating_add(data.bytes.len());
                    if self.bytes > MOST_BYTES || self.line.len() + data.bytes.len() > MAX_LINE {
                        return Err(Breach::Field("bytes").into());
                    }
                    if self.line.is_empty() && !data.more {
                        return self.deltas(&data.bytes).map(Next::Deltas);
                    }
                    self.line.extend_from_slice(&data.bytes);
                    if !data.more {
                        let line = self.line.split().freeze();
                        return self.deltas(&line).map(Next::Deltas);
                    }
                }
                ServerFrame::Head(_) | ServerFrame::Tick(_) => return Ok(Next::Working),
                ServerFrame::Done(done) if done.frames == self.seq && self.laws.ended() => return Ok(Next::Done(done)),
                ServerFrame::Err(failure) => return Err(Missed::Failed(failure)),
                _ => return Err(Breach::Order.into()),
            }
        }
    }

    fn deltas(&mut self, line: &[u8]) -> Result<Vec<Delta>, Missed> {
        let nonsense =
            |error: Error| Missed::Nonsense(Error::protocol(format!("the peer's answer is none: {}", error.message())));
        let Line::Deltas(mut deltas) = native::read_line(line).map_err(nonsense)? else {
            return Err(Breach::Order.into());
        };
        for delta in &mut deltas {
            self.laws.check(delta).map_err(Missed::Nonsense)?;
            match delta {
                // What a peer pays elsewhere is no cost of ours.
                Delta::Usage(usage) => usage.cost_micros = None,
                Delta::BlockStart { kind: BlockKind::ToolCall { name, .. }, .. } if !self.tools => {
                    let name: String = name.chars().take(64).collect();
                    let message = format!("the peer {} wants {name:?} to be called, which it may not", self.peer);
                    return Err(Missed::Nonsense(Error::protocol(message)));
                }
                _ => {}
            }
        }
        Ok(deltas)
    }
}
