//! A request from elsewhere: read within its limits, looked at before its body is, and made such that it can do here no more than ask.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use libp2p::PeerId;
use libp2p::futures::AsyncRead;
use llm_router::ErrorKind::{self, *};
use llm_router::dialect::native;
use llm_router::ids::Namespace;
use llm_router::request::{Block, BlockBody, Message, Request, Source, Substitute, Timeouts};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::admit::{self, Asker};
use super::{Ended, PEERS, Place, Served};
use crate::caps::offers::Offer;
use crate::io::{Lost, Reader};
use crate::service::shared::Shared;
use crate::wire::{Breach, ClientFrame, Open, Reject, VERSION};

/// How long the first frame is waited for, once the stream is there.
const FIRST: Duration = Duration::from_secs(2);
/// How long the rest of a request is waited for.
const WHOLE: Duration = Duration::from_secs(15);
/// The longest that a request may run, whatever its caller would wait.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// The most peers that a request came through: past them it goes in circles, or as good as that.
const MOST_HOPS: usize = 3;
/// When whoever finds no place may ask again.
const AGAIN: Duration = Duration::from_millis(500);
/// The endpoint that is served.
const GENERATE: &str = "generate";

/// A request that has its place.
pub(super) struct Asked {
    pub(super) open: Open,
    pub(super) asker: Asker,
    pub(super) request: Request,
    /// As it came, for its name.
    pub(super) received: Arc<Request>,
    /// The model by the name under which it is offered.
    pub(super) model: String,
    /// What was left out of it.
    pub(super) dropped: Vec<String>,
    pub(super) _place: Place,
}

/// Reads a request, or says why it is refused. The stream's first frame counts from now on.
pub(super) async fn read<R: AsyncRead + Unpin>(
    shared: &Arc<Shared>,
    served: &Served,
    peer: PeerId,
    reader: &mut Reader<R>,
) -> Result<Result<Asked, Box<Reject>>, Ended> {
    let now = Instant::now();
    let frame = timeout_at(now + FIRST, reader.next()).await.map_err(|_| Ended::Slow)?;
    let ClientFrame::Open(open) = ClientFrame::decode(&frame?)? else { return Err(Breach::Order.into()) };
    let (asker, offer, room) = match look(shared, served, peer, &open).await {
        Ok(looked) => looked,
        Err(reject) => return Ok(Err(reject)),
    };
    let body = timeout_at(Instant::now() + WHOLE, body(reader, open.body_len)).await.map_err(|_| Ended::Slow)??;
    let Some(place) = served.place(&asker) else { return Ok(Err(busy(served))) };
    let read = native::read_request(&body);
    drop((body, room));
    let received = match read {
        Ok(request) if request.model == open.model => request,
        Ok(_) => return Ok(Err(refusal(CallerInvalidRequest))),
        Err(error) => return Ok(Err(refusal(error.kind()))),
    };
    let made = make(received.clone(), &open, &asker, &offer);
    let (request, dropped) = match made {
        Ok(made) => made,
        Err(kind) => return Ok(Err(refusal(kind))),
    };
    let (open, received) = (*open, Arc::new(received));
    Ok(Ok(Asked { open, asker, request, received, model: offer.id, dropped, _place: place }))
}

/// Whether anything would come of the request, before its body is read.
async fn look(
    shared: &Shared,
    served: &Served,
    peer: PeerId,
    open: &Open,
) -> Result<(Asker, Offer, OwnedSemaphorePermit), Box<Reject>> {
    if open.v != VERSION || open.endpoint != GENERATE {
        return Err(refusal(CallerInvalidRequest));
    }
    let asker = admit::asker(shared, peer, open.grant.as_deref()).await;
    let asker = asker.map_err(|_| refusal(PolicyForbidden))?;
    let own = shared.node.id().to_string();
    if open.hops.len() >= MOST_HOPS || open.hops.contains(&own) {
        return Err(refusal(CallerInvalidRequest));
    }
    let offer = offer(shared, served, &asker, open).ok_or_else(|| refusal(CallerModelUnknown))?;
    if served.is_full(Some(&offer)) {
        return Err(busy(served));
    }
    let room = served.room(open.body_len).ok_or_else(|| busy(served))?;
    Ok((asker, offer, room))
}

/// The model that is meant, where this peer may ask it: one of ours, or of a further peer where requests are passed on.
fn offer(shared: &Shared, served: &Served, asker: &Asker, open: &Open) -> Option<Offer> {
    let may = |offer: &Offer| asker.allows(&offer.id) && (!asker.is_stranger() || offer.provider == super::EMBEDDED);
    let mut offers = served.offers().into_iter().filter(may);
    let Some(name) = &open.model else { return offers.next() };
    if let Some(own) = offers.find(|offer| offer.id == *name) {
        return Some(own);
    }
    let passes = served.share.forward && !asker.is_stranger() && asker.allows(name);
    let known = passes && shared.table().served().any(|(model, _)| model == name);
    let model = name.parse().ok().filter(|_| known)?;
    Some(Offer { id: name.clone(), provider: PEERS.to_owned(), model })
}

/// The body, in as many pieces as it comes in.
async fn body<R: AsyncRead + Unpin>(reader: &mut Reader<R>, length: u64) -> Result<Bytes, Lost> {
    let mut body = BytesMut::new();
    loop {
        match ClientFrame::decode(&reader.next().await?)? {
            ClientFrame::Body(piece) if body.len() as u64 + piece.len() as u64 <= length => {
                body.extend_from_slice(&piece);
            }
            ClientFrame::Body(_) => return Err(Breach::Field("body_len").into()),
            ClientFrame::End if body.len() as u64 == length => return Ok(body.freeze()),
            ClientFrame::End => return Err(Breach::Field("body_len").into()),
            ClientFrame::Open(_) => return Err(Breach::Order.into()),
        }
    }
}

/// The request as it is asked here, and what was left out of it: nothing in it names a provider, a key, another's answers or files, or has anything fetched from here.
fn make(mut request: Request, open: &Open, asker: &Asker, offer: &Offer) -> Result<(Request, Vec<String>), ErrorKind> {
    let reaches = |message: &Message| message.content.iter().any(reaches_out);
    if request.messages.iter().any(reaches) || request.tools.iter().any(|tool| tool.name.is_empty()) {
        // Not `NO_MODEL`, which would say that we do not serve what we offer.
        return Err(CallerInvalidRequest);
    }
    let mut dropped = Vec::new();
    // What other dialects have besides may mean something to the account that pays here: stored conversations, files, tools of the vendor's.
    if !request.extra.is_empty() {
        request.extra = Default::default();
        dropped.push("extra".to_owned());
    }
    for tool in request.tools.iter_mut().filter(|tool| !tool.extra.is_empty()) {
        tool.extra = Default::default();
        dropped.push(format!("tools.{}.extra", tool.name));
    }
    if request.riders.strict && !dropped.is_empty() {
        return Err(CallerInvalidRequest);
    }
    request.provider = None;
    request.model = Some(offer.id.clone());
    if offer.provider == PEERS {
        request.provider = Some(PEERS.parse().map_err(|_| RouterInternal)?);
    }
    request.stream = open.stream;
    let most = [request.sampling.max_tokens, open.max_out].into_iter().flatten().min();
    request.sampling.max_tokens = most;
    let wait = [request.timeout, open.deadline_ms.map(Duration::from_millis), Some(LONGEST)];
    request.timeout = wait.into_iter().flatten().min();
    request.timeouts = Timeouts::default();
    let riders = &mut request.riders;
    riders.namespace = Namespace::new(asker.name()).map_err(|_| RouterInternal)?;
    riders.substitute = riders.substitute.min(Substitute::SameModel);
    (riders.hold, riders.resume, riders.key) = (None, None, None);
    riders.hops.clone_from(&open.hops);
    riders.hops.push(asker.peer().to_string());
    request.origin = None;
    Ok((request, dropped))
}

/// Whether a block names what only this machine, or the account that pays here, could fetch.
pub(crate) fn reaches_out(block: &Block) -> bool {
    let source = match &block.body {
        BlockBody::Image { source, .. } | BlockBody::Audio { source } | BlockBody::File { source, .. } => source,
        BlockBody::ToolResult { content, .. } => return content.iter().any(reaches_out),
        _ => return false,
    };
    match source {
        Source::Base64 { .. } => false,
        Source::Url(url) => !url.starts_with("data:"),
        _ => true,
    }
}

fn refusal(kind: ErrorKind) -> Box<Reject> {
    Box::new(Reject::of(kind))
}

fn busy(served: &Served) -> Box<Reject> {
    Box::new(Reject { load: Some(served.load()), ..Reject::of(RouterOverloaded).after(Some(AGAIN)) })
}
