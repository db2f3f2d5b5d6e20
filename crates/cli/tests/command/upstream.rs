//! Answers of an HTTP upstream that are not what they should be, and one that is.

use llm_router::testing::upstream::Answer;

use crate::support::Server;

fn word(text: &str) -> String {
    format!(
        r#"{{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{{"role":"assistant","content":"{text}"}},"finish_reason":null}}]}}"#
    )
}

const STOP: &str = r#"{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

#[test]
fn a_streamed_answer() {
    let server =
        Server::answering([Answer::sse().event(&word("Hel")).event(&word("lo")).event(STOP).event("[DONE]").end()]);
    server.generate([]).answers("Hello\n");
    let body = server.seen().requests[0].json();
    assert_eq!((body["model"].as_str(), body["stream"].as_bool()), (Some("m"), Some(true)));
    assert!(body.get("temperature").is_none() && body.get("max_tokens").is_none(), "{body}");
}

#[test]
fn a_whole_answer_is_asked_for_whole() {
    let body = r#"{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;
    let server = Server::answering([Answer::json(200, body)]);
    server.generate(["--no-stream"]).answers("Hello\n");
    let answer = server.generate(["--json"]).succeeds().json();
    assert_eq!((answer["text"].as_str(), answer["finish"].as_str()), (Some("Hello"), Some("length")));
    assert!(server.seen().requests.iter().all(|request| request.json()["stream"] != true));
}

#[test]
fn a_picture_goes_along() {
    let server = Server::answering([Answer::sse().event(&word("a cat")).event(STOP).event("[DONE]").end()]);
    server.home.file("work/cat.png", b"\x89PNG\r\n\x1a\n");
    server.generate(["--image", "cat.png"]).answers("a cat\n");
    let content = server.seen().requests[0].json()["messages"][0]["content"].to_string();
    assert!(content.contains("data:image/png;base64,iVBORw0KGgo="), "{content}");
}

#[test]
fn a_cut_stream_keeps_what_came() {
    let server = Server::answering([Answer::sse().event(&word("Hel")).close()]);
    let ended = server.generate([]).ends();
    assert_eq!((ended.status, ended.stdout.as_str()), (1, "Hel"));
    insta::assert_snapshot!(ended.stderr);
    let ended = server.generate(["--json"]).ends();
    assert_eq!(ended.status, 1);
    assert!(ended.json()["error"]["kind"].is_string());
    server.generate(["-o", "answer.txt"]).fails(1);
    assert_eq!(server.home.work(), Vec::<String>::new());
}

#[test]
fn a_stream_without_its_end_is_no_success() {
    let server = Server::answering([Answer::sse().event(&word("Hel")).end()]);
    let ended = server.generate([]).ends();
    assert_eq!((ended.status, ended.stdout.as_str()), (1, "Hel"));
}

#[test]
fn a_web_page_with_status_200() {
    let server = Server::answering([Answer::new(200, "text/html", "<html><title>Sign in</title></html>")]);
    insta::assert_snapshot!(server.generate([]).fails(1));
}

#[test]
fn a_malformed_answer() {
    let server = Server::answering([Answer::json(200, r#"{"choices": 7"#)]);
    insta::assert_snapshot!(server.generate(["--no-stream"]).fails(1));
}

#[test]
fn an_answer_over_the_limit() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999999999999\r\n\r\n{";
    let server = Server::answering([Answer::raw(head).stall()]);
    insta::assert_snapshot!(server.generate(["--no-stream"]).fails(1));
}

#[test]
fn a_refused_key_is_not_repeated() {
    let error = r#"{"error":{"message":"Incorrect API key provided: sk-canary-1234567890abcdef","type":"invalid_request_error","code":"invalid_api_key"}}"#;
    let server = Server::answering([Answer::json(401, error)]);
    let said = server.generate(["--debug"]).fails(1);
    assert!(said.contains("\nerror: lab: ") && !said.contains("canary"), "{said}");
}

/// A status and nothing else: who was asked for what, what came, and what to do.
#[test]
fn a_bare_status_says_who_what_and_the_next_step() {
    let mut said = String::new();
    for status in [400, 401, 402, 403, 404, 408, 413, 418, 429, 500, 502, 503, 504, 529] {
        let server = Server::answering([Answer::new(status, "text/plain", "")]);
        said.push_str(&server.generate([]).fails(1));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn words_that_are_no_json_are_repeated_and_a_wait_is_told() {
    let server = Server::answering([Answer::new(502, "text/plain", "upstream connect error\r\n")]);
    let later = Answer::with_headers(429, &[("retry-after", "7200")], "slow down");
    let limited = Server::answering([later]);
    insta::assert_snapshot!(format!("{}{}", server.generate([]).fails(1), limited.generate([]).fails(1)), @r"
    error: lab: HTTP 502 Bad Gateway for the model m: upstream connect error
    hint: ask again; where it stays so, see the provider's status page
    error: lab: HTTP 429 Too Many Requests for the model m: slow down
    hint: ask again in 7200 s, or name another provider
    ");
}

/// A whole answer of many megabytes is parsed beside the runtime, and arrives whole.
#[test]
fn a_large_answer_arrives_whole() {
    let text = "0123456789abcdef".repeat(512 << 10);
    let body = format!(
        r#"{{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}]}}"#
    );
    let server = Server::answering([Answer::json(200, body)]);
    let ended = server.generate(["--no-stream"]).succeeds();
    assert!(ended.stdout.trim_end() == text, "{} bytes came", ended.stdout.len());
}
