//! What the targets share.
// Each target takes what it needs.
#![allow(dead_code)]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use llm_router::Result;
use llm_router::delta::{Delta, Event, Laws};
use llm_router::deps::SystemClock;
use llm_router::dialect::{Codec, Encoder, Frame, Framing, sse};
use llm_router::ids::{ModelName, ProviderId, RequestId};
use llm_router::provider::{Call, Context, Target, http::HttpClient};
use llm_router::request::Request;

pub fn call(request: Request) -> Call {
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(0, 0));
    let provider = ProviderId::new("upstream").expect("a good id");
    let model = ModelName::new("other/model").expect("a good name");
    Call::new(Arc::new(request), Target::new(provider, Some(model)), cx)
}

/// The frames of an answer's bytes; none where a stream's lines are too long.
pub fn frames(bytes: &[u8], framing: Framing) -> Vec<Frame> {
    let mut frames = Vec::new();
    match framing {
        Framing::Whole => frames.push(Frame { name: None, data: Bytes::copy_from_slice(bytes) }),
        Framing::Stream => {
            let mut parser = sse::Parser::new(1 << 16);
            if parser.push(bytes, &mut frames).is_ok() {
                parser.end(&mut frames);
            }
        }
    }
    frames
}

/// What an answer says, its end included.
///
/// # Errors
/// The decoder's.
pub fn read(codec: &dyn Codec, asking: &Call, framing: Framing, bytes: &[u8]) -> Result<Vec<Event>> {
    let mut decoder = codec.decoder(asking, framing);
    let mut events =
        frames(bytes, framing).into_iter().map(|frame| decoder.frame(frame)).collect::<Result<Vec<_>>>()?;
    events.push(decoder.end()?);
    Ok(events)
}

/// Any stream and any body is refused or keeps the laws, and can be written in both framings and by one more encoder.
pub fn refused_or_lawful(codec: &dyn Codec, bytes: &[u8], more: impl Fn() -> Option<Box<dyn Encoder>>) {
    let asking = call(Request::new("x"));
    for framing in [Framing::Whole, Framing::Stream] {
        let mut decoder = codec.decoder(&asking, framing);
        let mut encoders: Vec<_> =
            [Framing::Whole, Framing::Stream].map(|framing| codec.encoder(&asking.request, framing)).into();
        encoders.extend(more());
        let (mut laws, mut out, mut ended) = (Laws::default(), BytesMut::new(), false);
        let mut lawful = |event: Event| {
            event.deltas.iter().for_each(|delta| laws.check(delta).expect("a lawful delta"));
            encoders
                .iter_mut()
                .for_each(|encoder| encoder.event(&event, &mut out).expect("a delta that can be written"));
            ended |= event.deltas.iter().any(|delta| matches!(delta, Delta::End));
        };
        // What was said before an error kept the laws too.
        let said = frames(bytes, framing).into_iter().try_for_each(|frame| decoder.frame(frame).map(&mut lawful));
        if said.and_then(|()| decoder.end().map(&mut lawful)).is_ok() {
            assert!(ended, "a success without an end");
        }
    }
}
