//! The steps that every test of a codec takes: a call, frames out of bytes, events out of frames, an answer out of events, and bytes again.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use llm_router::Result;
use llm_router::delta::{Delta, Event, Laws};
use llm_router::deps::SystemClock;
use llm_router::dialect::{Codec, Frame, Framing, RequestHead, sse};
use llm_router::ids::{ProviderId, RequestId};
use llm_router::provider::{Call, Context, Target, http::HttpClient};
use llm_router::request::Request;
use llm_router::response::{Folder, Response};

/// A call to a provider that takes the model as the request names it.
pub(crate) fn call(request: Request) -> Call {
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(0, 0));
    Call::new(Arc::new(request), Target::new(ProviderId::new("upstream").unwrap(), None), cx)
}

/// The head of a POST to a path with its query.
pub(crate) fn head(target: &str) -> RequestHead {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
    RequestHead { query, ..RequestHead::post(path) }
}

/// A request as a router makes it that has no client's bytes to pass on.
pub(crate) fn without_origin(mut request: Request) -> Request {
    request.origin = None;
    request
}

/// A frame of a stream that gives its events no names, or a whole body.
pub(crate) fn frame(data: impl Into<Bytes>) -> Frame {
    Frame { name: None, data: data.into() }
}

/// The frames of an answer's bytes.
pub(crate) fn frames(body: &[u8], framing: Framing) -> Vec<Frame> {
    match framing {
        Framing::Whole => vec![frame(body.to_vec())],
        Framing::Stream => frames_of([body]),
    }
}

/// The frames of a stream that arrives in these pieces.
pub(crate) fn frames_of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Frame> {
    let (mut parser, mut frames) = (sse::Parser::default(), Vec::new());
    pieces.into_iter().for_each(|piece| parser.push(piece, &mut frames).unwrap());
    parser.end(&mut frames);
    frames
}

/// What an answer's frames say, its end included.
pub(crate) fn read(codec: &dyn Codec, request: &Request, framing: Framing, frames: Vec<Frame>) -> Result<Vec<Event>> {
    let mut decoder = codec.decoder(&call(request.clone()), framing);
    let mut events = frames.into_iter().map(|frame| decoder.frame(frame)).collect::<Result<Vec<_>>>()?;
    events.push(decoder.end()?);
    Ok(events)
}

/// The bytes of an answer for a client that asked so.
pub(crate) fn write(codec: &dyn Codec, request: &Request, framing: Framing, events: &[Event]) -> Vec<u8> {
    let (mut encoder, mut out) = (codec.encoder(request, framing), BytesMut::new());
    events.iter().for_each(|event| encoder.event(event, &mut out).unwrap());
    out.to_vec()
}

/// The steps of an answer.
pub(crate) fn deltas(events: &[Event]) -> impl Iterator<Item = &Delta> {
    events.iter().flat_map(|event| &event.deltas)
}

/// The sum of an answer, whose steps have to keep the laws.
pub(crate) fn fold(events: &[Event]) -> Response {
    let (mut laws, mut folder) = (Laws::default(), Folder::default());
    for delta in deltas(events) {
        laws.check(delta).unwrap();
        folder.push(delta);
    }
    folder.finish().unwrap()
}
