//! How long the `gemini` codec takes for bodies of about 1 KB: medians in microseconds. What is measured and how is `codec.rs`'s.
//!
//!     cargo bench -p ipfs-llm-router --bench codec_gemini
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use llm_router::deps::SystemClock;
use llm_router::dialect::gemini::Gemini;
use llm_router::dialect::{Codec, Frame, Framing, RequestHead, sse};
use llm_router::ids::{ModelName, ProviderId, RequestId};
use llm_router::provider::{Call, Context, Target, http::HttpClient};
use llm_router::request::Request;

const ROUNDS: usize = 2000;

fn median(name: &str, mut work: impl FnMut()) {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<58} {:>8.2} µs  (90 %: {:.2})", times[ROUNDS / 2], times[ROUNDS * 9 / 10]);
}

fn call(request: Request) -> Call {
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(0, 0));
    let target = Target::new(ProviderId::new("p").unwrap(), Some(ModelName::new("gemini-2.5-flash").unwrap()));
    Call::new(Arc::new(request), target, cx)
}

fn request_body() -> Vec<u8> {
    let text = "The quick brown fox jumps over the lazy dog, and \\\"again\\\". ".repeat(8);
    let body = format!(
        "{{\"contents\":[{{\"role\":\"user\",\"parts\":[{{\"text\":\"{text}\"}}]}},{{\"role\":\"model\",\"parts\":[{{\"functionCall\":{{\"name\":\"weather\",\
         \"args\":{{\"place\":\"Oslo\"}}}},\"thoughtSignature\":\"c2VhbA==\"}}]}},{{\"role\":\"user\",\"parts\":[{{\"functionResponse\":{{\"name\":\"weather\",\
         \"response\":{{\"output\":\"cold\"}}}}}}]}}],\"systemInstruction\":{{\"parts\":[{{\"text\":\"Be brief.\"}}]}},\"tools\":[{{\"functionDeclarations\":[{{\
         \"name\":\"weather\",\"description\":\"The weather\",\"parametersJsonSchema\":{{\"type\":\"object\",\"properties\":{{\"place\":{{\"type\":\"string\"}}}}}}}}]}}],\
         \"generationConfig\":{{\"temperature\":0.7,\"maxOutputTokens\":256,\"seed\":7}}}}"
    );
    body.into_bytes()
}

fn answer_body() -> Vec<u8> {
    let text = "It is a matter of taste, of course, and of \\\"time\\\". ".repeat(12);
    let body = format!(
        "{{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}],\"role\":\"model\"}},\"finishReason\":\"STOP\",\"index\":0}}],\"usageMetadata\":{{\
         \"promptTokenCount\":19,\"candidatesTokenCount\":10,\"totalTokenCount\":29,\"promptTokensDetails\":[{{\"modality\":\"TEXT\",\"tokenCount\":19}}]}},\
         \"modelVersion\":\"gemini-2.5-flash\",\"responseId\":\"ezh8aaKTCYSnqtsP\"}}"
    );
    body.into_bytes()
}

fn main() {
    let mut head = RequestHead::post("/v1beta/models/gemini-2.5-flash:streamGenerateContent");
    head.query = Some("alt=sse".into());
    let body = request_body();
    println!("request {} bytes, answer {} bytes", body.len(), answer_body().len());
    median("request: decode", || drop(black_box(Gemini.decode_request(&head, &body).unwrap())));
    let same = call(Gemini.decode_request(&head, &body).unwrap());
    median("request: encode, same dialect", || drop(black_box(Gemini.encode_request(&same).unwrap())));
    let mut foreign = Gemini.decode_request(&head, &body).unwrap();
    foreign.origin = None;
    let anew = call(foreign);
    median("request: encode, written anew", || drop(black_box(Gemini.encode_request(&anew).unwrap())));
    let answer = Bytes::from(answer_body());
    for (name, through) in [("passed on as received", &same), ("written anew", &anew)] {
        median(&format!("answer: decode + encode, whole, {name}"), || {
            let mut decoder = Gemini.decoder(through, Framing::Whole);
            let event = decoder.frame(Frame { name: None, data: answer.clone() }).unwrap();
            let mut out = BytesMut::new();
            Gemini.encoder(&through.request, Framing::Whole).event(&event, &mut out).unwrap();
            black_box(out);
        });
    }
    let chunk = "{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\" taste\"}],\"role\":\"model\"},\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":19,\
         \"candidatesTokenCount\":10,\"totalTokenCount\":29},\"modelVersion\":\"gemini-2.5-flash\",\"responseId\":\"ezh8aaKTCYSnqtsP\"}";
    let mut stream = BytesMut::new();
    (0..100).for_each(|_| sse::write(None, chunk.as_bytes(), &mut stream));
    for (name, through) in [("passed on as received", &same), ("written anew", &anew)] {
        median(&format!("answer: 100 chunks of {} bytes, {name}", chunk.len()), || {
            let (mut parser, mut frames) = (sse::Parser::default(), Vec::new());
            parser.push(&stream, &mut frames).unwrap();
            let mut decoder = Gemini.decoder(through, Framing::Stream);
            let mut encoder = Gemini.encoder(&through.request, Framing::Stream);
            let mut out = BytesMut::new();
            for frame in frames {
                encoder.event(&decoder.frame(frame).unwrap(), &mut out).unwrap();
            }
            black_box(out);
        });
    }
}
