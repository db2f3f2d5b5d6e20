//! Broken, shuffled and hostile traffic through the codec: it may be refused, but nothing panics, no law is broken, and what is written can be read.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use bytes::Bytes;
use llm_router::dialect::openai_chat::OpenaiChat;
use llm_router::dialect::openai_responses::{OpenaiResponses, input_items, resume, state};
use llm_router::dialect::{Codec, Frame, Framing, RequestHead};
use llm_router::ids::ModelName;
use proptest::prelude::*;
use proptest::{collection::vec, sample::Index};

use hostile::{change, changed, fixtures, frames, lawful, words};
use support::call;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_refused_or_pass_through(
        which in any::<Index>(), changes in vec(change(), 0..3), anew in any::<bool>(), stream in any::<bool>(),
    ) {
        let bodies = fixtures("openai_responses", "request.json");
        let body = changed(bodies[which.index(bodies.len())].clone(), &changes);
        let Ok(mut request) = OpenaiResponses.decode_request(&RequestHead::post("/"), &body) else { return Ok(()) };
        let before = words(&request);
        let _ = state(&request);
        let items = input_items(&request).unwrap();
        // With nothing before it, a request without items of its own says nothing.
        if !items.is_empty() {
            let resumed = resume(&request, &items).unwrap();
            prop_assert!(words(&resumed).len() >= before.len());
        }
        request.stream = stream;
        if anew {
            request.origin = None;
        }
        let mut call = call(request);
        call.target.model = Some(ModelName::new("other/model").unwrap());
        // To another dialect it is said or refused.
        let _ = OpenaiChat::default().encode_request(&call);
        let Ok(sent) = OpenaiResponses.encode_request(&call) else { return Ok(()) };
        // Not a `Value`: a number may be larger than any float.
        let _: Box<serde_json::value::RawValue> = serde_json::from_slice(&sent.body).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&sent.body))
        });
        let again = OpenaiResponses.decode_request(&RequestHead::post("/"), &sent.body).unwrap();
        prop_assert_eq!(again.model.as_deref(), Some("other/model"));
        prop_assert_eq!(again.stream, stream);
        prop_assert_eq!(words(&again), before);
    }

    #[test]
    fn streams_are_refused_or_lawful(which in any::<Index>(), changes in vec(change(), 0..3), swap in any::<(Index, Index)>()) {
        let bodies = fixtures("openai_responses", "answer.sse");
        let mut frames = frames(&changed(bodies[which.index(bodies.len())].clone(), &changes));
        if !frames.is_empty() && swap.0.index(2) == 0 {
            let (a, b) = (swap.0.index(frames.len()), swap.1.index(frames.len()));
            frames.swap(a, b);
        }
        lawful(&OpenaiResponses, frames, Framing::Stream);
    }

    #[test]
    fn streams_in_any_order_are_refused_or_lawful(which in any::<Index>(), order in vec(any::<Index>(), 1..24)) {
        let bodies = fixtures("openai_responses", "answer.sse");
        let all = frames(&bodies[which.index(bodies.len())]);
        lawful(&OpenaiResponses, order.iter().map(|at| all[at.index(all.len())].clone()).collect(), Framing::Stream);
    }

    #[test]
    fn bodies_are_refused_or_lawful(which in any::<Index>(), changes in vec(change(), 0..3)) {
        let bodies = fixtures("openai_responses", "answer.json");
        let data = Bytes::from(changed(bodies[which.index(bodies.len())].clone(), &changes));
        lawful(&OpenaiResponses, vec![Frame { name: None, data }], Framing::Whole);
    }
}
