//! What is particular to `gemini` among the laws that hold for every dialect, and what only it has: lists of chunks, counts of tokens.

use llm_router::dialect::gemini::{Gemini, count};
use llm_router::dialect::{Codec, Dialect, Framing};
use llm_router::error::ErrorKind;
use llm_router::request::Request;
use llm_router::response::Response;
use serde_json::Value;

use crate::customs::{Customs, asking, json};
use crate::fixtures::{answers, requests};
use crate::support::{call, fold, frames, head, read, without_origin, write};

pub(crate) const CUSTOMS: Customs = Customs {
    path: "/v1beta/models/gemini-2.5-flash:generateContent",
    added: &[],
    settle: |_, _| {},
    comes_back: |mut response| {
        // A body without a reason becomes one with the word for "no known reason".
        for choice in response.choices.iter_mut().filter(|choice| choice.raw_reason.is_none()) {
            choice.raw_reason = Some("OTHER".into());
        }
        response
    },
    // What stands beside a candidate comes back joined and in another order: the test below looks for it.
    meaning: |response| {
        format!("{:#?}", (&response.id, &response.model, response.created, &response.choices, &response.usage))
    },
    // A reason may be followed by more, where code runs at the provider.
    end: |frames| frames.iter().position(|frame| json(frame)["candidates"][0]["finishReason"].is_string()).unwrap(),
    // Its streams end with their last frame.
    passed: |frames| frames,
};

/// What nobody knows and stands beside a candidate is all there when the answer was written and read again, in each of three forms.
#[test]
fn what_stands_beside_candidates_comes_back() {
    let sse = without_origin(asking(Dialect::Gemini, Framing::Stream));
    // A client that asks for a stream but not for events gets one list.
    let listing = head("/v1beta/models/gemini-2.5-flash:streamGenerateContent");
    let body =
        br#"{"contents":[{"parts":[{"text":"x"}]}],"generationConfig":{"thinkingConfig":{"includeThoughts":true}}}"#;
    let listing = Gemini.decode_request(&listing, body).unwrap();
    assert_eq!(Gemini.encoder(&listing, Framing::Stream).content_type(), "application/json");
    for answer in answers().iter().filter(|answer| answer.dialect == Dialect::Gemini) {
        let name = &answer.name;
        let events = answer.events();
        let response = (CUSTOMS.comes_back)(fold(&events));
        let list = write(&Gemini, &listing, Framing::Stream, &events);
        assert!(serde_json::from_slice::<Vec<Value>>(&list).is_ok(), "{name}: {}", String::from_utf8_lossy(&list));
        let forms = [
            (Framing::Whole, write(&Gemini, &sse, Framing::Whole, &events)),
            (Framing::Stream, write(&Gemini, &sse, Framing::Stream, &events)),
            (Framing::Whole, list),
        ];
        for (framing, body) in forms {
            let again = fold(&read(&Gemini, &sse, framing, frames(&body, framing)).unwrap());
            assert_eq!((CUSTOMS.meaning)(&again), (CUSTOMS.meaning)(&response), "{name} {framing:?}");
            // Parts of parts have no place to go back to.
            let (told, known) = (words(&again), words(&response));
            assert!(known.iter().all(|word| told.contains(word)), "{name}: {told:?} {known:?}");
        }
    }
}

fn words(response: &Response) -> Vec<String> {
    response.unknown.iter().flat_map(|(_, raw)| leaves(raw)).collect()
}

/// Every plain value with the name it stands under.
fn leaves(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| *name != "index")
            .flat_map(|(name, value)| leaves(value).into_iter().map(move |leaf| format!("{name}:{leaf}")))
            .collect(),
        Value::Array(list) => list.iter().flat_map(leaves).collect(),
        plain => vec![plain.to_string()],
    }
}

#[test]
fn a_request_for_a_count_says_the_same() {
    for fixture in requests().filter(|fixture| fixture.dialect == Dialect::Gemini) {
        let request = without_origin(fixture.request());
        let counted = count::encode_request(&call(request.clone())).unwrap();
        let mut again = Gemini.decode_request(&head(&counted.path), &counted.body).unwrap();
        again.stream = request.stream;
        assert_eq!(without_origin(again), request, "{} counted", fixture.name);
    }
}

#[test]
fn counts_of_tokens_go_both_ways() {
    assert_eq!(count::decode(&count::encode(42)).unwrap(), 42);
    let recorded = b"{\n  \"totalTokens\": 10,\n  \"promptTokensDetails\": [\n    {\n      \"modality\": \"TEXT\",\n      \"tokenCount\": 10\n    }\n  ]\n}\n";
    assert_eq!(count::decode(recorded).unwrap(), 10);
    assert_eq!(count::decode(b"{}").unwrap_err().kind(), ErrorKind::ProviderProtocol);
    let mut request = Request::new("hi");
    request.model = Some("gemini-2.5-flash".into());
    let sent = count::encode_request(&call(request)).unwrap();
    assert_eq!(sent.path, "/models/gemini-2.5-flash:countTokens");
    let body = r#"{"generateContentRequest":{"model":"models/gemini-2.5-flash","contents":[{"role":"user","parts":[{"text":"hi"}]}]}}"#;
    assert_eq!(sent.body, body);
}
