//! How long the codecs take for bodies of about 1 KB: medians in microseconds.
//!
//!     cargo bench -p ipfs-llm-router --bench codec
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use llm_router::delta::Event;
use llm_router::deps::SystemClock;
use llm_router::dialect::openai_chat::OpenaiChat;
use llm_router::dialect::openai_responses::OpenaiResponses;
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
    let target = Target::new(ProviderId::new("p").unwrap(), Some(ModelName::new("vendor/model-b").unwrap()));
    Call::new(Arc::new(request), target, cx)
}

/// The same call with another request: what a call is made of is not the codec's time.
fn with(call: &mut Call, request: Request) -> &Call {
    call.request = Arc::new(request);
    call
}

fn chat_request() -> Vec<u8> {
    let text = "The quick brown fox jumps over the lazy dog, and \\\"again\\\". ".repeat(8);
    let body = format!(
        "{{\"model\":\"model-a\",\"temperature\":0.7,\"max_tokens\":256,\"messages\":[{{\"role\":\"system\",\"content\":\"Be brief.\"}},\
         {{\"role\":\"user\",\"content\":\"{text}\"}},{{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{{\"id\":\"call_1\",\"type\":\"function\",\
         \"function\":{{\"name\":\"weather\",\"arguments\":\"{{\\\"place\\\":\\\"Oslo\\\"}}\"}}}}]}},{{\"role\":\"tool\",\"tool_call_id\":\"call_1\",\"content\":\"cold\"}}],\
         \"tools\":[{{\"type\":\"function\",\"function\":{{\"name\":\"weather\",\"description\":\"The weather\",\"parameters\":{{\"type\":\"object\",\
         \"properties\":{{\"place\":{{\"type\":\"string\"}}}}}}}}}}],\"user\":\"u\",\"seed\":7}}"
    );
    body.into_bytes()
}

fn chat_answer() -> Vec<u8> {
    let text = "It is a matter of taste, of course, and of \\\"time\\\". ".repeat(12);
    let body = format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1741569952,\"model\":\"m\",\"choices\":[{{\"index\":0,\"message\":\
         {{\"role\":\"assistant\",\"content\":\"{text}\",\"refusal\":null,\"annotations\":[]}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\
         \"usage\":{{\"prompt_tokens\":19,\"completion_tokens\":10,\"total_tokens\":29,\"prompt_tokens_details\":{{\"cached_tokens\":0,\"audio_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":0,\"audio_tokens\":0}}}},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_1\"}}"
    );
    body.into_bytes()
}

fn chat_stream() -> BytesMut {
    let mut stream = BytesMut::new();
    let chunk = "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1741569952,\"model\":\"m\",\"system_fingerprint\":\"fp_1\",\
         \"choices\":[{\"index\":0,\"delta\":{\"content\":\" taste\"},\"logprobs\":null,\"finish_reason\":null}]}";
    (0..100).for_each(|_| sse::write(None, chunk.as_bytes(), &mut stream));
    sse::write(None, b"[DONE]", &mut stream);
    stream
}

fn responses_request() -> Vec<u8> {
    let text = "The quick brown fox jumps over the lazy dog, and \\\"again\\\". ".repeat(8);
    let body = format!(
        "{{\"model\":\"model-a\",\"temperature\":0.7,\"max_output_tokens\":256,\"instructions\":\"Be brief.\",\"store\":false,\"input\":[\
         {{\"role\":\"user\",\"content\":[{{\"type\":\"input_text\",\"text\":\"{text}\"}}]}},{{\"type\":\"function_call\",\"call_id\":\"call_1\",\"name\":\"weather\",\
         \"arguments\":\"{{\\\"place\\\":\\\"Oslo\\\"}}\"}},{{\"type\":\"function_call_output\",\"call_id\":\"call_1\",\"output\":\"cold\"}}],\
         \"tools\":[{{\"type\":\"function\",\"name\":\"weather\",\"description\":\"The weather\",\"strict\":true,\"parameters\":{{\"type\":\"object\",\
         \"properties\":{{\"place\":{{\"type\":\"string\"}}}}}}}}],\"user\":\"u\",\"prompt_cache_key\":\"k\"}}"
    );
    body.into_bytes()
}

fn responses_answer() -> Vec<u8> {
    responses_object("completed", &"It is a matter of taste, of course, and of \\\"time\\\". ".repeat(4)).into_bytes()
}

fn responses_object(status: &str, text: &str) -> String {
    format!(
        "{{\"id\":\"resp_1\",\"object\":\"response\",\"created_at\":1741569952,\"status\":\"{status}\",\"background\":false,\"error\":null,\
         \"incomplete_details\":null,\"instructions\":\"Be brief.\",\"max_output_tokens\":256,\"max_tool_calls\":null,\"model\":\"m\",\"output\":[{{\"id\":\"msg_1\",\
         \"type\":\"message\",\"status\":\"completed\",\"content\":[{{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":\"{text}\"}}],\
         \"role\":\"assistant\"}}],\"parallel_tool_calls\":true,\"previous_response_id\":null,\"reasoning\":{{\"effort\":null,\"summary\":null}},\"store\":false,\
         \"temperature\":0.7,\"text\":{{\"format\":{{\"type\":\"text\"}}}},\"tool_choice\":\"auto\",\"tools\":[],\"top_p\":1.0,\"truncation\":\"disabled\",\
         \"usage\":{{\"input_tokens\":19,\"input_tokens_details\":{{\"cached_tokens\":0}},\"output_tokens\":10,\"output_tokens_details\":{{\"reasoning_tokens\":0}},\
         \"total_tokens\":29}},\"user\":null,\"metadata\":{{}}}}"
    )
}

fn responses_stream() -> BytesMut {
    let mut stream = BytesMut::new();
    let chunk = "{\"type\":\"response.output_text.delta\",\"content_index\":0,\"delta\":\" taste\",\"item_id\":\"msg_1\",\"logprobs\":[],\
         \"obfuscation\":\"1MIIXcyJu0T\",\"output_index\":0,\"sequence_number\":6}";
    (0..100).for_each(|_| sse::write(Some("response.output_text.delta"), chunk.as_bytes(), &mut stream));
    let last = format!(
        "{{\"type\":\"response.completed\",\"response\":{}}}",
        responses_object("completed", &" taste".repeat(100))
    );
    sse::write(Some("response.completed"), last.as_bytes(), &mut stream);
    stream
}

fn main() {
    let chat = (chat_request(), chat_answer(), chat_stream());
    bench(&OpenaiChat::default(), "/v1/chat/completions", chat);
    let responses = (responses_request(), responses_answer(), responses_stream());
    bench(&OpenaiResponses, "/v1/responses", responses);
}

fn bench(codec: &dyn Codec, path: &str, (body, answer, stream): (Vec<u8>, Vec<u8>, BytesMut)) {
    let head = RequestHead::post(path);
    println!("{}: request {} bytes, answer {} bytes", codec.dialect(), body.len(), answer.len());
    median("request: decode", || drop(black_box(codec.decode_request(&head, &body).unwrap())));
    let same = call(codec.decode_request(&head, &body).unwrap());
    median("request: encode, same dialect (spliced)", || drop(black_box(codec.encode_request(&same).unwrap())));
    let mut foreign = codec.decode_request(&head, &body).unwrap();
    foreign.origin = None;
    let anew = call(foreign);
    median("request: encode, written anew", || drop(black_box(codec.encode_request(&anew).unwrap())));
    let mut again = call(Request::new("x"));
    median("request: decode + encode, same dialect", || {
        let request = codec.decode_request(&head, &body).unwrap();
        black_box(codec.encode_request(with(&mut again, request)).unwrap());
    });
    median("request: decode + encode, written anew", || {
        let mut request = codec.decode_request(&head, &body).unwrap();
        request.origin = None;
        black_box(codec.encode_request(with(&mut again, request)).unwrap());
    });
    let answer = Bytes::from(answer);
    for (name, through) in [("passed on as received", &same), ("written anew", &anew)] {
        median(&format!("answer: decode + encode, whole, {name}"), || {
            let mut decoder = codec.decoder(through, Framing::Whole);
            let event = decoder.frame(Frame { name: None, data: answer.clone() }).unwrap();
            let mut out = BytesMut::new();
            codec.encoder(&through.request, Framing::Whole).event(&event, &mut out).unwrap();
            black_box(out);
        });
    }
    for (name, through) in [("passed on as received", &same), ("written anew", &anew)] {
        median(&format!("answer: 100 chunks, {} bytes in all, {name}", stream.len()), || {
            let (mut parser, mut frames) = (sse::Parser::default(), Vec::new());
            parser.push(&stream, &mut frames).unwrap();
            let mut decoder = codec.decoder(through, Framing::Stream);
            let mut encoder = codec.encoder(&through.request, Framing::Stream);
            let mut out = BytesMut::new();
            for frame in frames {
                let event: Event = decoder.frame(frame).unwrap();
                encoder.event(&event, &mut out).unwrap();
            }
            black_box(out);
        });
    }
}
