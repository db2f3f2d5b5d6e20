//! Broken, shuffled and hostile traffic through every codec: it may be refused, but nothing panics, no law is broken, and what is written can be read.

use std::sync::Arc;

use bytes::BytesMut;
use llm_router::delta::{Delta, Laws};
use llm_router::dialect::openai_chat::{History, MaxTokens, OpenaiChat, Quirks, ReasoningField};
use llm_router::dialect::{Codec, Dialect, Encoder, Frame, Framing, RequestHead, anthropic, codec, gemini};
use llm_router::dialect::{openai_responses as responses, openai_responses::input_items};
use llm_router::ids::ModelName;
use llm_router::request::Request;
use proptest::prelude::*;
use proptest::{collection::vec, sample::Index, sample::select};
use serde_json::value::RawValue;

use crate::changes::{change, changed};
use crate::customs::head_of;
use crate::errors::rows;
use crate::fixtures::{DIALECTS, answer_bodies, request_bodies};
use crate::support::{call, frame, frames, head, without_origin};

/// Models that a dialect treats differently, and one that nobody knows.
fn models(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Anthropic => {
            &["claude-haiku-4-5", "claude-opus-4-6", "claude-sonnet-5", "claude-opus-4-5", "other/model"]
        }
        Dialect::Gemini => &["gemini-3-pro", "gemini-2.5-flash", "gemini-2.0-flash", "a/b c:d"],
        _ => &["other/model"],
    }
}

fn pick<'a, T: ?Sized>(list: &[&'a T], at: Index) -> &'a T {
    list[at.index(list.len())]
}

/// Not a `Value`: a number may be larger than any float.
fn is_json(body: &[u8]) {
    let read: Result<&RawValue, _> = serde_json::from_slice(body);
    read.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)));
}

/// What a conversation says in words. Where a system text goes to the front, their order may change.
fn words(dialect: Dialect, request: &Request) -> Vec<String> {
    let texts = request.messages.iter().flat_map(|message| &message.content).filter_map(|block| block.as_text());
    let mut words: Vec<String> = texts.flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
    if matches!(dialect, Dialect::Anthropic | Dialect::Gemini) {
        words.sort();
    }
    words
}

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

fn codec_with(dialect: Dialect, quirks: Quirks) -> Arc<dyn Codec> {
    match dialect {
        Dialect::OpenaiChat => Arc::new(OpenaiChat::new(quirks)),
        other => codec(other),
    }
}

/// What a server of the Responses API does with a request before it goes on.
fn kept_conversations(request: &Request) {
    let _ = responses::state(request);
    let items = input_items(request).unwrap();
    // With nothing before it, a request without items of its own says nothing.
    if !items.is_empty() {
        let resumed = responses::resume(request, &items).unwrap();
        let count = |request| words(Dialect::OpenaiResponses, request).len();
        assert!(count(&resumed) >= count(request));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_are_refused_or_pass(
        dialect in select(&DIALECTS[..]), which in any::<Index>(), changes in vec(change(), 0..3), model in any::<Index>(),
        quirks in quirks(), anew in any::<bool>(), stream in any::<bool>(),
    ) {
        let codec = codec_with(dialect, quirks);
        let body = changed(pick(&request_bodies(dialect), which).to_vec(), &changes);
        let Ok(mut request) = codec.decode_request(&head_of(dialect, Framing::of(stream)), &body) else { return Ok(()) };
        if dialect == Dialect::OpenaiResponses {
            kept_conversations(&request);
        }
        let before = words(dialect, &request);
        request.stream = stream;
        if anew {
            request = without_origin(request);
        }
        let model = pick(models(dialect), model);
        let mut call = call(request);
        call.target.model = Some(ModelName::new(model).unwrap());
        if dialect == Dialect::Anthropic {
            let _ = anthropic::count::encode_request(&call);
        }
        let Ok(sent) = codec.encode_request(&call) else { return Ok(()) };
        is_json(&sent.body);
        let again = codec.decode_request(&head(&format!("/v1beta{}", sent.path)), &sent.body).unwrap();
        prop_assert_eq!(again.model.as_deref(), Some(model));
        prop_assert_eq!(again.stream, stream);
        prop_assert!(dialect != Dialect::Anthropic || again.sampling.max_tokens.is_some());
        // Gemini has no place for some texts of another's making; they are dropped by name.
        if dialect != Dialect::Gemini || !anew {
            prop_assert_eq!(words(dialect, &again), before);
        }
        if dialect == Dialect::Gemini {
            let counted = gemini::count::encode_request(&call).unwrap();
            let head = head(&format!("/v1beta{}", counted.path));
            prop_assert!(codec.decode_request(&head, &counted.body).is_ok());
        }
    }

    /// Whatever a client of the one dialect says can be said in the other, and back, or is refused.
    #[test]
    fn requests_cross_or_are_refused(
        from in select(&DIALECTS[..]), to in select(&DIALECTS[..]), which in any::<Index>(), changes in vec(change(), 0..2), model in any::<Index>(),
    ) {
        let body = changed(pick(&request_bodies(from), which).to_vec(), &changes);
        let (ours, theirs) = (codec(from), codec(to));
        let Ok(request) = ours.decode_request(&head_of(from, Framing::Whole), &body) else { return Ok(()) };
        let mut there = call(request);
        there.target.model = Some(ModelName::new(pick(models(to), model)).unwrap());
        let Ok(sent) = theirs.encode_request(&there) else { return Ok(()) };
        let again = theirs.decode_request(&head(&format!("/v1beta{}", sent.path)), &sent.body);
        prop_assert!(again.is_ok(), "{:?} {} out of {}", again, String::from_utf8_lossy(&sent.body), String::from_utf8_lossy(&body));
        let mut back = call(again.unwrap());
        back.target.model = Some(ModelName::new(pick(models(from), model)).unwrap());
        if let Ok(sent) = ours.encode_request(&back) {
            is_json(&sent.body);
        }
    }

    #[test]
    fn streams_are_refused_or_lawful(
        dialect in select(&DIALECTS[..]), to in select(&DIALECTS[..]), which in any::<Index>(), changes in vec(change(), 0..3),
        swap in any::<(Index, Index)>(), no_done in any::<bool>(),
    ) {
        let body = changed(pick(&answer_bodies(dialect, Framing::Stream), which).to_vec(), &changes);
        let mut frames = frames(&body, Framing::Stream);
        if !frames.is_empty() && swap.0.index(2) == 0 {
            let (a, b) = (swap.0.index(frames.len()), swap.1.index(frames.len()));
            frames.swap(a, b);
        }
        lawful(&*codec_with(dialect, Quirks { no_done, ..Quirks::default() }), to, frames, Framing::Stream);
    }

    #[test]
    fn streams_in_any_order_are_refused_or_lawful(
        dialect in select(&DIALECTS[..]), to in select(&DIALECTS[..]), which in any::<Index>(), order in vec(any::<Index>(), 1..24),
    ) {
        let all = frames(pick(&answer_bodies(dialect, Framing::Stream), which), Framing::Stream);
        let frames = order.iter().map(|at| all[at.index(all.len())].clone()).collect();
        lawful(&*codec(dialect), to, frames, Framing::Stream);
    }

    #[test]
    fn bodies_are_refused_or_lawful(
        dialect in select(&DIALECTS[..]), to in select(&DIALECTS[..]), which in any::<Index>(), changes in vec(change(), 0..3),
    ) {
        let body = changed(pick(&answer_bodies(dialect, Framing::Whole), which).to_vec(), &changes);
        lawful(&*codec(dialect), to, vec![frame(body)], Framing::Whole);
    }

    #[test]
    fn error_bodies_never_panic(
        dialect in select(&DIALECTS[..]), status in 100u16..1000, body in vec(any::<u8>(), 0..80), which in any::<Index>(), changes in vec(change(), 0..3),
    ) {
        let codec = codec(dialect);
        let rows = rows(&*codec);
        let known = rows[which.index(rows.len())].body.as_bytes().to_vec();
        for body in [body, changed(known, &changes)] {
            let error = codec.decode_error(http::StatusCode::from_u16(status).unwrap(), &http::HeaderMap::new(), &body);
            prop_assert!(error.message().len() < 2100);
        }
        let _ = gemini::count::decode(&changes.iter().map(|_| b'{').collect::<Vec<_>>());
    }

    /// A model of Gemini's API stands in the path.
    #[test]
    fn paths_never_panic(path in "(/v1beta|/|)(/models/|/tunedModels/|models)?[a-z%:/.é?]{0,20}") {
        let body = br#"{"contents":[{"parts":[{"text":"x"}]}]}"#;
        let _ = gemini::Gemini.decode_request(&RequestHead::post(path), body);
    }
}

/// Reads an answer and writes it, whole and streamed, in its own dialect and in another; panics where a law is broken or nobody could read what is written.
fn lawful(codec: &dyn Codec, to: Dialect, frames: Vec<Frame>, framing: Framing) {
    let call = call(Request::new("x"));
    let mut decoder = codec.decoder(&call, framing);
    let mut laws = Laws::default();
    let list = head("/v1beta/models/m:streamGenerateContent");
    let list = gemini::Gemini.decode_request(&list, br#"{"contents":[{"parts":[{"text":"x"}]}]}"#).unwrap();
    let other = llm_router::dialect::codec(to);
    let mut written: Vec<(Framing, Box<dyn Encoder>, BytesMut)> = [Framing::Whole, Framing::Stream]
        .into_iter()
        .flat_map(|framing| {
            [codec, &*other].map(|codec| (framing, codec.encoder(&call.request, framing), BytesMut::new()))
        })
        .collect();
    // One list is a whole body, whatever it was asked as.
    written.push((Framing::Whole, gemini::Gemini.encoder(&list, Framing::Stream), BytesMut::new()));
    let mut ended = false;
    let mut events: Vec<_> = frames.into_iter().map(|frame| decoder.frame(frame)).collect();
    events.push(decoder.end());
    for event in events {
        let Ok(event) = event else { return };
        event.deltas.iter().for_each(|delta| laws.check(delta).unwrap());
        ended |= event.deltas.iter().any(|delta| matches!(delta, Delta::End));
        written.iter_mut().for_each(|(_, encoder, out)| encoder.event(&event, out).unwrap());
    }
    assert!(ended, "a success without an end");
    for (framing, _, out) in &written {
        let frames = self::frames(out, *framing);
        frames.iter().filter(|frame| &frame.data[..] != b"[DONE]").for_each(|frame| is_json(&frame.data));
    }
}
