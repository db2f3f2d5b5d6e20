//! The native dialect loses nothing: any request, answer, line of deltas and error comes back as it was.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use indexmap::IndexMap;
use llm_router::Error;
use llm_router::delta::{BlockKind, Delta, Event, FinishReason, Part};
use llm_router::dialect::native::{self, Line, Native};
use llm_router::dialect::{Codec, Dialect, Framing, RequestHead};
use llm_router::error::ErrorKind;
use llm_router::ids::{Namespace, ProviderId};
use llm_router::request::{
    Block, BlockBody, Extra, JsonSchema, Message, Privacy, RawJson, Request, ResponseFormat, Role, Source, Substitute,
    TokenLogprob, Tool, ToolChoice,
};
use llm_router::response::{Choice, Response};
use llm_router::usage::Usage;
use proptest::prelude::*;
use proptest::{collection::vec, option, sample::select};
use serde_json::{Value, json};

use crate::support::{call, fold, frame, read, write};

fn text() -> impl Strategy<Value = String> {
    "[a-z\"\\\\\n✓é\u{0}]{0,12}"
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![-1e3..1e3f64, Just(0.1), Just(1e-300), any::<f64>().prop_filter("finite", |n| n.is_finite())]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        text().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (text(), number()).prop_map(|(text, number)| json!({"z": [text], "a": number})),
    ]
}

fn raw() -> impl Strategy<Value = RawJson> {
    prop_oneof![
        value().prop_map(|value| RawJson::of(&value).unwrap()),
        Just(RawJson::parse("{\"b\": 1.50, \"a\":12345678901234567890123}").unwrap()),
    ]
}

/// Where null would mean that the field is absent.
fn given() -> impl Strategy<Value = RawJson> {
    raw().prop_filter("null is absent", |raw| raw.get() != "null")
}

fn dialect() -> impl Strategy<Value = Dialect> {
    select(Dialect::ALL)
}

fn extra() -> impl Strategy<Value = Extra> {
    let fields = vec((text(), raw()), 0..3).prop_map(|fields| fields.into_iter().collect::<IndexMap<_, _>>());
    vec((dialect(), fields), 0..2).prop_map(|list| list.into_iter().collect())
}

fn logprob() -> impl Strategy<Value = TokenLogprob> {
    (text(), number(), option::of(vec(any::<u8>(), 0..3))).prop_map(|(token, logprob, bytes)| TokenLogprob {
        top: vec![TokenLogprob { token: token.clone(), logprob, bytes: None, top: Vec::new() }],
        token,
        logprob,
        bytes,
    })
}

fn source() -> impl Strategy<Value = Source> {
    prop_oneof![
        (text(), text()).prop_map(|(mime, data)| Source::Base64 { mime, data }),
        text().prop_map(Source::Url),
        text().prop_map(Source::FileId),
    ]
}

/// What may stand in an answer.
fn said() -> impl Strategy<Value = BlockBody> {
    prop_oneof![
        (text(), vec(value().prop_filter("a note", |v| !v.is_null()), 0..2), vec(logprob(), 0..2))
            .prop_map(|(text, annotations, logprobs)| BlockBody::Text { text, annotations, logprobs }),
        text().prop_map(|text| BlockBody::Refusal { text }),
        (text(), option::of("[a-z]{1,4}"), any::<bool>())
            .prop_map(|(text, signature, redacted)| BlockBody::Reasoning { text, signature, redacted }),
        (text(), text(), text()).prop_map(|(id, name, arguments)| BlockBody::ToolCall { id, name, arguments }),
        (text(), text()).prop_map(|(mime, data)| BlockBody::Media { mime, data }),
        (dialect(), text(), value()).prop_map(|(dialect, kind, raw)| BlockBody::Provider { dialect, kind, raw }),
    ]
}

fn block() -> impl Strategy<Value = Block> {
    let asked = prop_oneof![
        (source(), option::of(text())).prop_map(|(source, detail)| BlockBody::Image { source, detail }),
        source().prop_map(|source| BlockBody::Audio { source }),
        (source(), option::of(text())).prop_map(|(source, name)| BlockBody::File { source, name }),
        (text(), vec(said().prop_map(Block::from), 0..2), any::<bool>())
            .prop_map(|(call_id, content, is_error)| BlockBody::ToolResult { call_id, content, is_error }),
    ];
    let fields = vec((text(), value()), 0..2).prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>());
    let extra = vec((dialect(), fields), 0..2).prop_map(|list| list.into_iter().collect::<BTreeMap<_, _>>());
    (prop_oneof![said(), asked], extra).prop_map(|(body, extra)| Block { body, extra })
}

fn message() -> impl Strategy<Value = Message> {
    let role = select(&[Role::System, Role::Developer, Role::User, Role::Assistant, Role::Tool]);
    (role, vec(block(), 0..3), option::of(text()), extra()).prop_map(|(role, content, name, extra)| Message {
        role,
        content,
        name,
        extra,
    })
}

fn tool() -> impl Strategy<Value = Tool> {
    (text(), option::of(text()), option::of(given()), option::of(any::<bool>()), extra()).prop_map(
        |(name, description, parameters, strict, extra)| Tool { name, description, parameters, strict, extra },
    )
}

fn format() -> impl Strategy<Value = ResponseFormat> {
    let schema = (text(), option::of(text()), raw(), option::of(any::<bool>())).prop_map(
        |(name, description, schema, strict)| {
            ResponseFormat::JsonSchema(JsonSchema { name, description, schema, strict })
        },
    );
    prop_oneof![Just(ResponseFormat::Text), Just(ResponseFormat::JsonObject), schema]
}

fn choice() -> impl Strategy<Value = ToolChoice> {
    prop_oneof![
        Just(ToolChoice::Auto),
        Just(ToolChoice::None),
        Just(ToolChoice::Required),
        text().prop_map(ToolChoice::Tool),
    ]
}

prop_compose! {
    fn request()(
        messages in vec(message(), 1..3), tools in vec(tool(), 0..2), tool_choice in option::of(choice()),
        format in option::of(format()), extra in extra(), model in option::of(text()),
        (temperature, min_p) in (option::of(number()), option::of(number())), seed in option::of(any::<i64>()),
        bias in vec((text(), number()), 0..2), stop in vec(text(), 0..2), effort in option::of(text()),
        (metadata, stream, n) in (option::of(given()), any::<bool>(), option::of(any::<u32>())),
        (substitute, privacy) in (select(&[Substitute::Never, Substitute::SameModel, Substitute::Any]), select(&[Privacy::Local, Privacy::Trusted, Privacy::Any])),
        millis in option::of(0..100_000u64),
    ) -> Request {
        let mut request = Request::default();
        request.model = model;
        request.provider = Some(ProviderId::new("local").unwrap());
        request.messages = messages;
        request.tools = tools;
        request.tool_choice = tool_choice;
        request.parallel_tool_calls = n.map(|n| n > 5);
        request.response_format = format;
        request.sampling.temperature = temperature;
        request.sampling.min_p = min_p;
        request.sampling.seed = seed;
        request.sampling.logit_bias = bias.into_iter().collect();
        request.sampling.stop = stop;
        request.sampling.n = n;
        if let Some(effort) = effort {
            let reasoning = request.reasoning.get_or_insert_default();
            reasoning.budget_tokens = n;
            reasoning.effort = Some(effort);
        }
        request.stream = stream;
        request.user = Some("u".into());
        request.modalities = vec!["text".into()];
        request.metadata = metadata;
        request.extra = extra;
        request.riders.substitute = substitute;
        request.riders.privacy = privacy;
        request.riders.namespace = Namespace::new("team").unwrap();
        request.cache.no_store = stream;
        request.timeout = millis.map(Duration::from_millis);
        request.cache.max_age = millis.map(Duration::from_millis);
        request
    }
}

prop_compose! {
    fn response()(
        (id, model, created) in (text(), text(), option::of(any::<u64>())),
        contents in vec((vec(said(), 0..4), select(&[FinishReason::Stop, FinishReason::Length, FinishReason::Other]), option::of(text())), 1..3),
        unknown in vec((dialect(), value()), 0..2),
        counts in option::of((any::<u32>(), any::<u32>())),
    ) -> Response {
        let mut response = Response::default();
        (response.id, response.model, response.created) = (id, model, created);
        response.choices = (0..).zip(contents).map(|(index, (content, finish, raw_reason))| Choice {
            index, content: content.into_iter().map(Block::from).collect(), finish, raw_reason,
        }).collect();
        response.unknown = unknown;
        response.usage = counts.map(|(input, output)| Usage::new(input.into(), output.into()));
        response
    }
}

fn kind() -> impl Strategy<Value = BlockKind> {
    prop_oneof![
        Just(BlockKind::Text),
        any::<bool>().prop_map(|redacted| BlockKind::Reasoning { redacted }),
        (text(), text()).prop_map(|(id, name)| BlockKind::ToolCall { id, name }),
        (dialect(), text()).prop_map(|(dialect, kind)| BlockKind::Provider { dialect, kind }),
    ]
}

fn delta() -> impl Strategy<Value = Delta> {
    let part = prop_oneof![
        text().prop_map(Part::Text),
        text().prop_map(Part::ToolArguments),
        text().prop_map(Part::Signature),
        value().prop_map(Part::Annotation),
        value().prop_map(Part::Raw),
        vec(logprob(), 0..2).prop_map(Part::Logprobs),
    ];
    prop_oneof![
        (text(), text(), option::of(any::<u64>())).prop_map(|(id, model, created)| Delta::Start { id, model, created }),
        (any::<u32>(), any::<u32>(), kind()).prop_map(|(choice, block, kind)| Delta::BlockStart {
            choice,
            block,
            kind
        }),
        (any::<u32>(), any::<u32>(), part).prop_map(|(choice, block, part)| Delta::BlockDelta { choice, block, part }),
        (dialect(), value()).prop_map(|(dialect, raw)| Delta::Unknown { dialect, raw }),
        (any::<u64>(), any::<u64>()).prop_map(|(input, output)| Delta::Usage(Usage::new(input, output))),
        Just(Delta::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_lose_nothing(request in request()) {
        let body = native::write_request(&request).unwrap();
        let versioned = body.starts_with(b"{\"v\":1,");
        prop_assert!(versioned);
        prop_assert_eq!(&native::read_request(&body).unwrap(), &request);
        let sent = Native.encode_request(&call(request.clone())).unwrap();
        let arrived = Native.decode_request(&RequestHead::post("/"), &sent.body).unwrap();
        let mut expected = request;
        expected.provider = None;
        prop_assert_eq!(arrived, expected);
    }

    #[test]
    fn lines_lose_nothing(deltas in vec(delta(), 0..6)) {
        let line = native::write_line(&deltas).unwrap();
        prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        prop_assert_eq!(native::read_line(&line).unwrap(), Line::Deltas(deltas));
    }

    #[test]
    fn answers_lose_nothing_whole_or_streamed(response in response()) {
        prop_assert_eq!(&native::read_response(&native::write_response(&response).unwrap()).unwrap(), &response);
        let mut events: Vec<Event> = response.to_deltas().into_iter().map(Event::from).collect();
        let request = Request::new("x");
        let whole = write(&Native, &request, Framing::Whole, &events);
        prop_assert_eq!(&fold(&read(&Native, &request, Framing::Whole, vec![frame(whole)]).unwrap()), &response);

        let (mut decoder, mut encoder) = (Native.decoder(&call(request.clone()), Framing::Stream), Native.encoder(&request, Framing::Stream));
        for event in &mut events {
            let mut line = BytesMut::new();
            encoder.event(event, &mut line).unwrap();
            *event = decoder.frame(frame(line)).unwrap();
        }
        decoder.end().unwrap();
        prop_assert_eq!(&fold(&events), &response);
    }

    #[test]
    fn errors_lose_nothing(at in 0..ErrorKind::ALL.len(), message in "[ -~é]{0,40}", millis in option::of(0..1_000_000u64)) {
        let mut error = Error::new(ErrorKind::ALL[at], message).with_hint("h").at(&ProviderId::new("p").unwrap(), None);
        if let Some(millis) = millis {
            error = error.with_retry_after(Duration::from_millis(millis));
        }
        prop_assert_eq!(&native::read_error(&native::write_error(&error)).unwrap(), &error);
        let mut out = BytesMut::new();
        Native.encoder(&Request::new("x"), Framing::Stream).error(&error, &mut out);
        let mut decoder = Native.decoder(&call(Request::new("x")), Framing::Stream);
        prop_assert_eq!(decoder.frame(frame(out)).unwrap_err(), error);
    }

    #[test]
    fn nothing_that_arrives_is_trusted(bytes in vec(any::<u8>(), 0..200), json in "[\\[\\]{}\":,a-z0-9v]{0,60}") {
        for body in [bytes.as_slice(), json.as_bytes()] {
            let _ = native::read_request(body);
            let mut decoder = Native.decoder(&call(Request::new("x")), Framing::Stream);
            let _ = decoder.frame(frame(body.to_vec()));
            prop_assert!(decoder.end().is_err());
        }
    }
}
