//! The lines themselves: programs that do not speak them, older ones, orders of any kind.

use std::sync::Arc;
use std::time::Duration;

use llm_router::error::ErrorKind;
use llm_router::provider::Provider;
use llm_router::provider::worker::serve;

use crate::child::Scripted;
use crate::support::{ask, call, context, embed, with_program, worker};

#[tokio::test]
async fn programs_that_are_no_workers_are_told_apart() {
    for (script, said, kind) in [
        ("echo hello", "none of the worker protocol", ErrorKind::ProviderProtocol),
        ("echo \"{}\"", "did not say hello", ErrorKind::ProviderProtocol),
        (
            "echo {\\\"hello\\\":{\\\"protocol\\\":\\\"llm-router-worker\\\",\\\"version\\\":9}}",
            "speaks version 9",
            ErrorKind::ProviderProtocol,
        ),
        ("echo no module >&2; exit 4", "exit status 4: no module", ErrorKind::ProviderConnection),
        ("sleep 1000", "did not say hello in 0.05 s", ErrorKind::ProviderTimeout),
    ] {
        let mut settings = with_program("/bin/sh", &["-c", script]);
        settings.environment = settings.environment.with("PATH", "/usr/bin:/bin");
        if kind == ErrorKind::ProviderTimeout {
            settings.start = Duration::from_millis(50);
        }
        let error = ask(&worker(settings), "pid").await.unwrap_err();
        assert!(error.kind() == kind && error.message().contains(said), "{script}: {error}");
    }
    let absent = ask(&worker(with_program("/no/such/program", &[])), "pid").await.unwrap_err();
    assert_eq!(absent.kind(), ErrorKind::ProviderUnavailable);
}

#[tokio::test]
async fn an_older_worker_is_not_asked_what_it_does_not_know() {
    let hello =
        "echo {\\\"hello\\\":{\\\"protocol\\\":\\\"llm-router-worker\\\",\\\"version\\\":1}}; exec cat >/dev/null";
    let mut old = with_program("/bin/sh", &["-c", hello]);
    old.environment = old.environment.with("PATH", "/usr/bin:/bin");
    let worker = worker(old);
    let error = Provider::count_tokens(&worker, call("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerUnsupported, "{error}");
    assert!(error.message().contains("\"count\"") && error.hint().is_some(), "{error}");
    assert_eq!(embed(&worker, 1, 1).await.unwrap_err().kind(), ErrorKind::CallerUnsupported);
}

#[tokio::test]
async fn the_other_orders_are_answered_line_by_line() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut router, pipe) = tokio::io::duplex(1 << 16);
    let (input, output) = tokio::io::split(pipe);
    let serving = tokio::spawn(serve(Arc::new(Scripted), context, input, output));
    let to = r#""target":{"provider":"p"},"attempt":1,"request_id":"r""#;
    let text = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"abc"}]}]}"#;
    for order in [
        format!(r#"{{"id":1,"count":{{"request":{text},{to}}},"credit":9}}"#),
        format!(r#"{{"id":2,"embed":{{"request":{{"inputs":["a"],"dimensions":1}},{to}}},"credit":9}}"#),
        r#"{"id":3,"paint":{"request":{}},"x":1}"#.to_owned(),
        r#"{"stop":true}"#.to_owned(),
    ] {
        router.write_all(format!("{order}\n").as_bytes()).await.unwrap();
    }
    let mut said = String::new();
    router.read_to_string(&mut said).await.unwrap();
    serving.await.unwrap().unwrap();
    let mut lines: Vec<&str> = said.lines().skip(1).collect();
    // Calls run side by side: the order is theirs.
    lines.sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    {"id":1,"end":true}
    {"id":1,"tokens":3}
    {"id":2,"end":true}
    {"id":2,"vectors":{"model":"m","vectors":["AACAPw=="],"usage":{"input":1,"output":0}}}
    {"id":3,"error":{"kind":"caller_unsupported","message":"this worker does not know that order; it is older than the router"}}
    "#);
}

#[tokio::test]
async fn the_lines_are_what_the_protocol_says() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut router, pipe) = tokio::io::duplex(1 << 16);
    let (input, output) = tokio::io::split(pipe);
    let serving = tokio::spawn(serve(Arc::new(Scripted), context, input, output));
    let orders = concat!(
        r#"{"id":7,"call":{"request":{"messages":[{"role":"user","content":[{"type":"text","text":"drop"}]}]},"target":{"provider":"p"},"attempt":1,"request_id":"r"},"credit":1}"#,
        "\n",
        r#"{"id":7,"credit":9}"#,
        "\n",
        r#"{"stop":true}"#,
        "\n",
    );
    router.write_all(orders.as_bytes()).await.unwrap();
    let mut said = String::new();
    router.read_to_string(&mut said).await.unwrap();
    serving.await.unwrap().unwrap();
    insta::assert_snapshot!(said, @r#"
    {"hello":{"protocol":"llm-router-worker","version":1,"does":["count","embed"]}}
    {"id":7,"event":[{"type":"start","id":"1","model":"m"}],"dropped":["sampling.top_k"]}
    {"id":7,"event":[{"type":"block_start","choice":0,"block":0,"kind":"text"}]}
    {"id":7,"event":[{"type":"block_delta","choice":0,"block":0,"part":{"text":"x"}}]}
    {"id":7,"event":[{"type":"block_end","choice":0,"block":0},{"type":"finish","choice":0,"reason":"stop"},{"type":"end"}]}
    {"id":7,"end":true}
    "#);
}
