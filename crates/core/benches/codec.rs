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
use llm_router::dialect::anthropic::Anthropic;
use llm_router::dialect::gemini::Gemini;
use llm_router::dialect::openai_chat::OpenaiChat;
use llm_router::dialect::openai_responses::OpenaiResponses;
use llm_router::dialect::{Codec, Frame, Framing, RequestHead, sse};
use llm_router::ids::{ModelName, ProviderId, RequestId};
use llm_router::provider::{Call, Context, Target, http::HttpClient};
use llm_router::request::Request;

const ROUNDS: usize = 2000;

fn median(name: &str, work: impl FnMut()) {
    few(name, ROUNDS, work);
}

fn few(name: &str, rounds: usize, mut work: impl FnMut()) {
    let mut times: Vec<f64> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<58} {:>8.2} µs  (90 %: {:.2})", times[rounds / 2], times[rounds * 9 / 10]);
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

fn gemini_request() -> Vec<u8> {
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

fn gemini_answer() -> Vec<u8> {
    let text = "It is a matter of taste, of course, and of \\\"time\\\". ".repeat(12);
    let body = format!(
        "{{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}],\"role\":\"model\"}},\"finishReason\":\"STOP\",\"index\":0}}],\"usageMetadata\":{{\
         \"promptTokenCount\":19,\"candidatesTokenCount\":10,\"totalTokenCount\":29,\"promptTokensDetails\":[{{\"modality\":\"TEXT\",\"tokenCount\":19}}]}},\
         \"modelVersion\":\"gemini-2.5-flash\",\"responseId\":\"ezh8aaKTCYSnqtsP\"}}"
    );
    body.into_bytes()
}

/// A whole answer of about so many bytes: one long text, or many calls of a tool, which take longer to read.
fn large_answer(bytes: usize, calls: bool) -> Bytes {
    let text = "It is a matter of taste, of course, and of \\\"time\\\". ";
    let call = r#"{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\"place\":\"Oslo\"}"}},"#;
    let (content, tools) = match calls {
        false => (format!("\"{}\"", text.repeat(bytes / text.len())), String::new()),
        true => ("null".to_owned(), call.repeat(bytes / call.len())),
    };
    let tools = tools.trim_end_matches(',');
    format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1741569952,\"model\":\"m\",\"choices\":[{{\"index\":0,\"message\":\
         {{\"role\":\"assistant\",\"content\":{content},\"tool_calls\":[{tools}]}},\"finish_reason\":\"stop\"}}]}}"
    )
    .into()
}

/// From which size on is an answer worth another thread (`provider/upstream/answer.rs`)? What reading it costs, and what the way there and back does.
fn large_answers(codec: &OpenaiChat, through: &Call) {
    for (size, calls) in
        [(64, false), (256, false), (1024, false), (8192, false), (64, true), (256, true), (1024, true)]
    {
        let answer = large_answer(size << 10, calls);
        let kind = if calls { "tool calls" } else { "text" };
        few(&format!("answer: decode, whole, {size} KiB of {kind}"), 40, || {
            let frame = Frame { name: None, data: answer.clone() };
            drop(black_box(codec.decoder(through, Framing::Whole).frame(frame)));
        });
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    median("another thread, there and back", || {
        runtime.block_on(async { tokio::task::spawn_blocking(|| ()).await.unwrap() });
    });
}

fn gemini_stream() -> BytesMut {
    let mut stream = BytesMut::new();
    let chunk = |rest: &str| {
        format!(
            "{{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\" taste\"}}],\"role\":\"model\"}}{rest},\"index\":0}}],\"usageMetadata\":{{\"promptTokenCount\":19,\
             \"candidatesTokenCount\":10,\"totalTokenCount\":29}},\"modelVersion\":\"m\",\"responseId\":\"r\"}}"
        )
    };
    (0..99).for_each(|_| sse::write(None, chunk("").as_bytes(), &mut stream));
    sse::write(None, chunk(",\"finishReason\":\"STOP\"").as_bytes(), &mut stream);
    stream
}

fn anthropic_request() -> Vec<u8> {
    let text = "The quick brown fox jumps over the lazy dog, and \\\"again\\\". ".repeat(12);
    let body = format!(
        "{{\"model\":\"claude-haiku-4-5\",\"max_tokens\":256,\"system\":\"Be brief.\",\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}},\
         {{\"role\":\"assistant\",\"content\":[{{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"weather\",\"input\":{{\"place\":\"Oslo\"}}}}]}},\
         {{\"role\":\"user\",\"content\":[{{\"type\":\"tool_result\",\"tool_use_id\":\"toolu_1\",\"content\":\"cold\"}}]}}]}}"
    );
    body.into_bytes()
}

fn anthropic_answer() -> Vec<u8> {
    let text = "It is a matter of taste, of course, and of \\\"time\\\". ".repeat(12);
    let body = format!(
        "{{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[{{\"type\":\"text\",\"text\":\"{text}\"}}],\
         \"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":{{\"input_tokens\":19,\"output_tokens\":10,\"service_tier\":\"standard\"}}}}"
    );
    body.into_bytes()
}

fn anthropic_stream() -> BytesMut {
    let start = "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"content\":[],\"usage\":{\"input_tokens\":9}}}";
    let block = "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}";
    let piece =
        "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" taste\"}}";
    let mut stream = BytesMut::new();
    [start, block].into_iter().chain([piece; 100]).for_each(|data| sse::write(Some("x"), data.as_bytes(), &mut stream));
    stream
}

fn main() {
    let chat = OpenaiChat::default();
    bench(&chat, "/v1/chat/completions", (chat_request(), chat_answer(), chat_stream()));
    bench(&OpenaiResponses, "/v1/responses", (responses_request(), responses_answer(), responses_stream()));
    bench(&Anthropic, "/v1/messages", (anthropic_request(), anthropic_answer(), anthropic_stream()));
    bench(&Gemini, "/v1beta/models/m:generateContent", (gemini_request(), gemini_answer(), gemini_stream()));
    large_answers(&chat, &call(Request::new("x")));
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
