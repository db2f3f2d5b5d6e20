//! Meeting: both sides of a connection say what they serve and by which right they ask, once and then again before it is over.
//!
//! One frame each way (`wire/caps.rs`). The right is a grant that the other one issued; it is bound to whoever showed it first. A stranger hears that it has to be invited, and nothing else. What is said of
//! ourselves is made in `caps/offers.rs`.

pub(crate) mod offers;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use libp2p::futures::{AsyncReadExt, StreamExt};
use libp2p::swarm::Stream;
use libp2p::{PeerId, StreamProtocol};
use llm_router::{Error, ErrorKind, Result};
use tokio::time::{Instant, timeout};

use crate::io::{Lost, Reader, Writer};
use crate::record::{Heard, Record};
use crate::serve::admit::{self, Asker};
use crate::service::shared::{Shared, trust};
use crate::service::strikes::Offence;
use crate::table::{Path, Source};
use crate::wire::caps::PROTOCOL;
use crate::wire::{Caps, CapsFrame, Code, Reject, VERSION};

const CAPS: StreamProtocol = StreamProtocol::new(PROTOCOL);

/// How long all of it may take.
const WHOLE: Duration = Duration::from_secs(5);
/// Streams of one peer at once on which it wants to meet.
const MOST_MEETINGS: u32 = 4;

/// The next step for whom a peer does not answer.
pub(crate) const ASK: &str = "ask for: llm-router peers invite";

/// Says to a connected peer what we are, and hears what it is: the names of its models.
///
/// # Errors
/// `provider_unavailable` where it does not want to be asked by us, `provider_connection` and `provider_protocol` where it does not say.
pub(crate) async fn exchange(shared: &Shared, peer: PeerId) -> Result<Vec<String>> {
    let grant = shared.book.find(&peer).and_then(|known| known.ours);
    let grant = grant.map(|grant| grant.to_bytes()).transpose()?.map(Bytes::from);
    let record = own_record(shared, admit::asker(shared, peer, None).await.ok().as_ref()).await;
    let said = CapsFrame::Caps(Caps { v: VERSION, record, grant, crit: Vec::new() });
    let stream = shared.node.open(peer, CAPS).await?;
    let heard = timeout(WHOLE, talk(stream, &said)).await;
    match heard.map_err(|_| Error::timeout(format!("the peer {peer} did not say what it serves in {WHOLE:?}")))?? {
        CapsFrame::Caps(caps) => hear(shared, peer, caps.record.as_deref()).await,
        CapsFrame::Reject(reject) if reject.code == Code::Denied => {
            let message = format!("the peer {peer} does not know this one, and answers nobody whom it does not know");
            Err(Error::unavailable(message).with_hint(ASK))
        }
        CapsFrame::Reject(reject) => Err(reject.error()),
    }
}

async fn talk(stream: Stream, said: &CapsFrame) -> Result<CapsFrame> {
    let (read, write) = stream.split();
    let (mut reader, mut writer) = (Reader::new(read), Writer::new(write));
    said.encode(writer.out())?;
    let cut = || Error::connection("the peer cut off before it said what it serves");
    writer.send(WHOLE).await.map_err(|_| cut())?;
    match reader.next().await {
        Ok(frame) => Ok(CapsFrame::decode(&frame)?),
        Err(Lost::Breach(breach)) => Err(breach.into()),
        Err(Lost::Gone) => Err(cut()),
    }
}

/// Takes what a peer says of itself into the table.
async fn hear(shared: &Shared, peer: PeerId, record: Option<&[u8]>) -> Result<Vec<String>> {
    let Some(record) = record else { return Ok(Vec::new()) };
    let heard = Record::open(record, SystemTime::now())
        .map_err(|refused| Error::protocol(format!("the peer {peer} says what cannot be believed: {refused}")))?;
    if heard.record().peer != peer {
        return Err(Error::protocol(format!("the peer {peer} shows the record of another one")));
    }
    let linked = shared.node.linked().await?.into_iter().find(|linked| linked.peer == peer);
    let Some(linked) = linked else { return Err(Error::connection(format!("the peer {peer} is gone again"))) };
    let path = if linked.relayed { Path::Relayed } else { Path::Direct };
    let source = linked.addresses.first().map_or_else(Source::hearsay, |address| Source::direct(path, address));
    take(shared, &heard, source);
    Ok(heard.record().models.iter().map(|model| model.id.clone()).collect())
}

fn take(shared: &Shared, heard: &Heard, source: Source) {
    let known = shared.book.find(&heard.record().peer);
    let mut table = shared.table();
    // Who was written into the book this moment is trusted from now on, and not from when that is noticed.
    if let Some(known) = &known {
        table.trust(known.peer, trust(known));
    }
    // One that was heard already says nothing new, and is no fault.
    if let Err(why) = table.hear(heard, source, Instant::now()) {
        tracing::debug!(peer = %heard.record().peer, "a record was not taken: {}", why.label());
    }
    table.connected(&heard.record().peer, source.path);
}

/// Answers those who want to meet us, until the service ends.
///
/// # Errors
/// `router_internal` where somebody else does.
pub(crate) fn accept(shared: &Arc<Shared>) -> Result<()> {
    let mut incoming = shared.node.accept(CAPS)?;
    let serving = Arc::clone(shared);
    shared.spawn(async move {
        while let Some((peer, stream)) = incoming.next().await {
            let Some(place) = serving.meeting.take(peer, MOST_MEETINGS) else {
                serving.strike(peer, Offence::Flood);
                continue;
            };
            let shared = Arc::clone(&serving);
            serving.spawn(async move {
                let _place = place;
                match timeout(WHOLE, answer(&shared, peer, stream)).await {
                    Ok(Err(Lost::Breach(breach))) => {
                        tracing::debug!(%peer, "a peer that wanted to meet broke the protocol: {breach}");
                        shared.strike(peer, Offence::Breach);
                    }
                    Ok(_) => {}
                    Err(_) => shared.strike(peer, Offence::Slow),
                }
            });
        }
    });
    Ok(())
}

async fn answer(shared: &Arc<Shared>, peer: PeerId, stream: Stream) -> Result<(), Lost> {
    let (read, write) = stream.split();
    let (mut reader, mut writer) = (Reader::new(read), Writer::new(write));
    let frame = reader.next().await?;
    let CapsFrame::Caps(said) = CapsFrame::decode(&frame)? else { return Ok(()) };
    let asker = admit::asker(shared, peer, said.grant.as_deref()).await;
    let answer = match &asker {
        Ok(asker) => {
            let record = own_record(shared, Some(asker)).await;
            CapsFrame::Caps(Caps { v: VERSION, record, ..Caps::default() })
        }
        Err(error) => {
            tracing::debug!(%peer, "a peer was refused: {error}");
            CapsFrame::Reject(Reject::of(ErrorKind::PolicyForbidden))
        }
    };
    // What it serves is news only where it may be asked.
    if asker.is_ok() && (shared.asks_strangers() || shared.book.find(&peer).is_some()) {
        let heard = hear(shared, peer, said.record.as_deref()).await;
        if let Err(error) = heard {
            tracing::debug!(%peer, "what a peer says of itself was not taken: {error}");
        }
    }
    answer.encode(writer.out())?;
    // Whoever goes away meanwhile does not want to know.
    let _ = writer.finish(WHOLE).await;
    Ok(())
}

/// What we say of ourselves to whom we answer; nothing where we serve nothing.
async fn own_record(shared: &Shared, asker: Option<&Asker>) -> Option<Bytes> {
    let (served, asker) = (shared.served()?, asker?);
    let addresses = shared.node.listening().await.unwrap_or_default();
    let sealed = offers::record(shared, &served, asker, addresses).await;
    sealed.inspect_err(|error| tracing::warn!("what is served cannot be said to peers: {error}")).ok()
}
