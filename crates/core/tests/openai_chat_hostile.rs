//! Broken, shuffled and hostile traffic through the codec: it may be refused, but nothing panics, no law is broken, and what is written can be read.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use bytes::Bytes;
use llm_router::dialect::openai_chat::{History, MaxTokens, OpenaiChat, Quirks, ReasoningField};
use llm_router::dialect::{Codec, Frame, Framing, RequestHead};
use llm_router::ids::ModelName;
use proptest::prelude::*;
use proptest::{collection::vec, sample::Index, sample::select};

use hostile::{change, changed, fixtures, frames, lawful, words};
use support::call;

fn quirks() -> impl Strategy<Value = Quirks> {
    (
        select(&[MaxTokens::AsGiven, MaxTokens::Old, MaxTokens::New][..]),
        select(
            &[ReasoningField::AsGiven, ReasoningField::Effort, ReasoningField::Object, ReasoningField::Unsupported][..],
        ),
        select(&[History::ReasoningContent, History::Reasoning, History::Omit][..]),
        any::<[bool; 6]>(),
    )
        .prop_map(|(max_tokens, reasoning, history, [a, b, c, d, e, f])| Quirks {
            max_tokens,
            reasoning,
            history,
            no_developer_role: a,
            no_stream_options: b,
            strict_alternation: c,
            text_as_string: d,
            tool_choice_any: e,
            unsupported: if f { &["seed", "user", "logprobs", "top_logprobs", "metadata", "store", "x"] } else { &[] },
            ..Quirks::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_refused_or_pass_through_any_quirk(
        which in any::<Index>(), changes in vec(change(), 0..3), quirks in quirks(), anew in any::<bool>(), stream in any::<bool>(),
    ) {
        let bodies = fixtures("openai_chat", "request.json");
        let body = changed(bodies[which.index(bodies.len())].clone(), &changes);
        let codec = OpenaiChat::new(quirks);
        let Ok(mut request) = codec.decode_request(&RequestHead::post("/"), &body) else { return Ok(()) };
        let before = words(&request);
        request.stream = stream;
        if anew {
            request.origin = None;
        }
        let mut call = call(request);
        call.target.model = Some(ModelName::new("other/model").unwrap());
        let Ok(sent) = codec.encode_request(&call) else { return Ok(()) };
        // Not a `Value`: a number may be larger than any float.
        let _: Box<serde_json::value::RawValue> = serde_json::from_slice(&sent.body).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&sent.body))
        });
        let again = codec.decode_request(&RequestHead::post("/"), &sent.body).unwrap();
        prop_assert_eq!(again.model.as_deref(), Some("other/model"));
        prop_assert_eq!(again.stream, stream);
        prop_assert_eq!(words(&again), before);
    }

    #[test]
    fn streams_are_refused_or_lawful(
        which in any::<Index>(), changes in vec(change(), 0..3), swap in any::<(Index, Index)>(), no_done in any::<bool>(),
    ) {
        let bodies = fixtures("openai_chat", "answer.sse");
        let mut frames = frames(&changed(bodies[which.index(bodies.len())].clone(), &changes));
        if !frames.is_empty() && swap.0.index(2) == 0 {
            let (a, b) = (swap.0.index(frames.len()), swap.1.index(frames.len()));
            frames.swap(a, b);
        }
        lawful(&OpenaiChat::new(Quirks { no_done, ..Quirks::default() }), frames, Framing::Stream);
    }

    #[test]
    fn bodies_are_refused_or_lawful(which in any::<Index>(), changes in vec(change(), 0..3)) {
        let bodies = fixtures("openai_chat", "answer.json");
        let data = Bytes::from(changed(bodies[which.index(bodies.len())].clone(), &changes));
        lawful(&OpenaiChat::default(), vec![Frame { name: None, data }], Framing::Whole);
    }

    #[test]
    fn error_bodies_never_panic(status in 100u16..1000, body in vec(any::<u8>(), 0..80), which in any::<Index>(), changes in vec(change(), 0..3)) {
        let errors = include_bytes!("fixtures/openai_chat/errors.json");
        let rows: Vec<serde_json::Value> = serde_json::from_slice(errors).unwrap();
        let known = rows[which.index(rows.len())]["body"].as_str().unwrap().as_bytes().to_vec();
        for body in [body, changed(known, &changes)] {
            let error = OpenaiChat::default().decode_error(http::StatusCode::from_u16(status).unwrap(), &http::HeaderMap::new(), &body);
            prop_assert!(error.message().len() < 2100);
        }
    }
}
