//! The client against a loopback server that misbehaves.
#![allow(clippy::unwrap_used)]

mod tls;

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use tokio::sync::Semaphore;

use super::*;
use crate::error::ErrorKind;
use crate::testing::upstream::{Answer, Upstream};

fn get(url: &str) -> HttpRequest {
    HttpRequest::get(url).unwrap()
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

async fn text(client: &HttpClient, request: HttpRequest) -> Result<String> {
    let body = client.send(request).await?.body.bytes().await?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let upstream = Upstream::serve([Answer::json(200, "{}")]).await;
    let client = HttpClient::new();
    for _ in 0..5 {
        assert_eq!(text(&client, get(&upstream.url("/a?b=c"))).await.unwrap(), "{}");
    }
    let seen = upstream.seen();
    assert_eq!((seen.connections, seen.requests.len()), (1, 5));
    let last = upstream.last();
    assert_eq!((last.method.as_str(), last.target.as_str()), ("GET", "/a?b=c"));
    assert_eq!(last.header("host"), upstream.address().to_string());
    assert!(last.header("user-agent").starts_with("ipfs-llm-router/"));
    assert_eq!(last.header("accept-encoding"), "");
}

#[tokio::test]
async fn a_body_is_posted_with_its_length() {
    let upstream = Upstream::serve([Answer::json(200, "{}")]).await;
    let request = HttpRequest::post_json(&upstream.url("/v1"), "{\"a\":1}").unwrap();
    text(&HttpClient::new(), request).await.unwrap();
    let last = upstream.last();
    assert_eq!((last.header("content-type"), last.header("content-length")), ("application/json", "7"));
    assert_eq!(&last.body[..], b"{\"a\":1}");
}

#[tokio::test]
async fn redirects_are_handed_to_the_caller() {
    let upstream = Upstream::serve([Answer::with_headers(302, &[("location", "http://elsewhere/")], "")]).await;
    let answer = HttpClient::new().send(get(&upstream.url("/"))).await.unwrap();
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(answer.headers["location"], "http://elsewhere/");
    assert_eq!(upstream.seen().requests.len(), 1);
}

#[tokio::test]
async fn a_refused_connection_says_so() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = HttpClient::new().send(get(&format!("http://{free}/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderConnection);
    assert_eq!(error.message(), format!("connection to {free} refused: is the server running?"));
}

#[tokio::test]
async fn an_unknown_host_says_so() {
    let error = HttpClient::new().send(get("http://no-such-host.invalid/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderConnection);
    assert!(error.message().contains("\"no-such-host.invalid\" was not found"), "{error}");
}

#[tokio::test]
async fn what_is_not_http_says_so() {
    let upstream = Upstream::serve([Answer::raw("SSH-2.0-OpenSSH_9.6\r\n\r\n").stall()]).await;
    let error = HttpClient::new().send(get(&upstream.url("/"))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderProtocol, "{error:?}");
}

#[tokio::test]
async fn a_head_that_never_comes_is_a_timeout() {
    let upstream = Upstream::serve([Answer::raw("HTTP/1.1 200 OK\r\n").stall()]).await;
    let request = get(&upstream.url("/")).with_limits(limits(|l| l.head = Some(Duration::from_millis(50))));
    let error = HttpClient::new().send(request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderTimeout);
    assert!(error.message().ends_with("gave no answer in 0.05 s"), "{error}");
    upstream.until(|seen| seen.hung_up == 1).await;
}

#[tokio::test]
async fn silence_in_the_body_is_a_timeout() {
    let upstream = Upstream::serve([Answer::sse().event("1").stall()]).await;
    let request = get(&upstream.url("/")).with_limits(limits(|l| l.idle = Some(Duration::from_millis(50))));
    let mut body = HttpClient::new().send(request).await.unwrap().body;
    assert_eq!(body.next().await.unwrap().unwrap(), "data: 1\n\n");
    assert_eq!(body.next().await.unwrap().unwrap_err().kind(), ErrorKind::ProviderTimeout);
    assert!(body.next().await.is_none());
    upstream.until(|seen| seen.hung_up == 1).await;
}

#[tokio::test]
async fn a_slow_reader_is_not_silence() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Upstream::serve([Answer::sse().event("1").gate(&gate).event("2").end()]).await;
    let request = get(&upstream.url("/")).with_limits(limits(|l| l.idle = Some(Duration::from_millis(200))));
    let mut body = HttpClient::new().send(request).await.unwrap().body;
    body.next().await.unwrap().unwrap();
    gate.add_permits(1);
    upstream.until(|seen| seen.written > 60).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3600)).await;
    tokio::time::resume();
    assert_eq!(body.next().await.unwrap().unwrap(), "data: 2\n\n");
}

#[tokio::test]
async fn a_reader_that_stops_holds_the_upstream_back() {
    let size = 64 << 20;
    let upstream = Upstream::serve([Answer::json(200, vec![b'x'; size])]).await;
    let mut body = HttpClient::new().send(get(&upstream.url("/"))).await.unwrap().body;
    let mut got = body.next().await.unwrap().unwrap().len();
    // Nobody reads now: the sockets' buffers fill and the server is held.
    let mut written = 0;
    loop {
        let more =
            tokio::time::timeout(Duration::from_millis(300), upstream.until(|seen| seen.written > written)).await;
        match more {
            Ok(seen) => written = seen.written,
            Err(_) => break,
        }
    }
    assert!(written < size / 2, "{written} bytes went out to a reader that took {got}");
    while let Some(piece) = body.next().await {
        got += piece.unwrap().len();
    }
    assert_eq!(got, size);
}

#[tokio::test]
async fn a_body_over_the_limit_names_the_limit() {
    let upstream = Upstream::serve([Answer::json(200, vec![b'x'; 5000])]).await;
    let request = get(&upstream.url("/")).with_limits(limits(|l| l.body = 4096));
    let error = text(&HttpClient::new(), request).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderProtocol);
    assert!(error.message().contains("4096"), "{error}");
}

#[tokio::test]
async fn a_cut_body_is_a_broken_connection() {
    for answer in [Answer::json(200, "0123456789"), Answer::sse().event("0123456789").end()] {
        let cut = answer.head_len() + 4;
        let upstream = Upstream::serve([answer.cut_after(cut)]).await;
        let error = text(&HttpClient::new(), get(&upstream.url("/"))).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderConnection, "{error:?}");
    }
}

#[tokio::test]
async fn dropping_an_answer_closes_its_connection_at_once() {
    let upstream = Upstream::serve([Answer::sse().event("1").stall()]).await;
    let client = HttpClient::new();
    let mut body = client.send(get(&upstream.url("/"))).await.unwrap().body;
    body.next().await.unwrap().unwrap();
    drop(body);
    upstream.until(|seen| seen.hung_up == 1).await;
}

#[tokio::test]
async fn dropping_a_request_closes_its_connection_at_once() {
    let upstream = Upstream::serve([Answer::raw("").stall()]).await;
    let client = HttpClient::new();
    let request = tokio::spawn({
        let (client, request) = (client.clone(), get(&upstream.url("/")));
        async move { client.send(request).await.map(drop) }
    });
    upstream.until(|seen| seen.requests.len() == 1).await;
    request.abort();
    upstream.until(|seen| seen.hung_up == 1).await;
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_is_replaced() {
    let upstream = Upstream::serve([Answer::json(200, "{}").close()]).await;
    let client = HttpClient::new();
    for at in 1..4 {
        assert_eq!(text(&client, get(&upstream.url("/"))).await.unwrap(), "{}");
        upstream.until(|seen| seen.connections == at).await;
    }
}

#[tokio::test]
async fn an_unused_connection_is_closed_when_its_server_closes_it() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let client = HttpClient::new();
    let server = async {
        let mut socket = listener.accept().await.unwrap().0;
        let mut head = [0; 4096];
        assert!(socket.read(&mut head).await.unwrap() > 0);
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
        socket
    };
    let (answer, mut socket) = tokio::join!(text(&client, get(&url)), server);
    assert_eq!(answer.unwrap(), "{}");
    socket.shutdown().await.unwrap();
    assert_eq!(socket.read(&mut [0; 1]).await.unwrap(), 0, "the client closes its side too");
}

#[tokio::test]
async fn an_unused_connection_is_closed() {
    let upstream = Upstream::serve([Answer::json(200, "{}"), Answer::json(200, "{}")]).await;
    let options = HttpOptions { idle: Duration::from_millis(30), ..HttpOptions::default() };
    let client = HttpClient::with_options(&options).unwrap();
    text(&client, get(&upstream.url("/"))).await.unwrap();
    upstream.until(|seen| seen.closed == 1).await;
    text(&client, get(&upstream.url("/"))).await.unwrap();
    assert_eq!(upstream.seen().connections, 2);
}

#[test]
fn a_connection_outlives_neither_its_runtime_nor_the_next() {
    let here = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = here();
    let upstream = server.block_on(Upstream::serve([Answer::json(200, "{}")]));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = std::thread::spawn(move || server.block_on(stopped));
    let client = HttpClient::new();
    for _ in 0..3 {
        // Its connections are dead with it, whoever looked after them too.
        assert_eq!(here().block_on(text(&client, get(&upstream.url("/")))).unwrap(), "{}");
    }
    assert_eq!(upstream.seen().connections, 3);
    drop(stop);
    assert!(running.join().unwrap().is_err());
}

#[tokio::test]
async fn requests_at_once_have_connections_of_their_own() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Upstream::serve([Answer::sse().gate(&gate).event("1").end()]).await;
    let client = HttpClient::new();
    let all = futures_util::future::join_all((0..8).map(|_| text(&client, get(&upstream.url("/")))));
    let opened = async {
        upstream.until(|seen| seen.requests.len() == 8).await;
        gate.add_permits(8);
    };
    let (texts, ()) = tokio::join!(all, opened);
    assert!(texts.into_iter().all(|text| text.unwrap() == "data: 1\n\n"));
    assert_eq!(upstream.seen().connections, 8);
}

#[tokio::test]
async fn a_proxy_passes_plain_http_on() {
    let proxy = Upstream::serve([Answer::json(200, "{}")]).await;
    let options = HttpOptions {
        http_proxy: Some(format!("http://user:pass@{}", proxy.address())),
        no_proxy: Some("direct.invalid".into()),
        ..HttpOptions::default()
    };
    let client = HttpClient::with_options(&options).unwrap();
    text(&client, get("http://upstream.invalid/v1?x=y")).await.unwrap();
    let last = proxy.last();
    assert_eq!(last.target, "http://upstream.invalid/v1?x=y");
    assert_eq!(last.header("host"), "upstream.invalid");
    assert_eq!(last.header("proxy-authorization"), "Basic dXNlcjpwYXNz");
    assert!(client.send(get("http://direct.invalid/")).await.unwrap_err().message().contains("not found"));
}

#[tokio::test]
async fn a_proxy_that_refuses_a_tunnel_says_so() {
    let proxy = Upstream::serve([Answer::with_headers(407, &[], ""), Answer::with_headers(503, &[], "")]).await;
    let options = HttpOptions { https_proxy: Some(proxy.url("")), ..HttpOptions::default() };
    let client = HttpClient::with_options(&options).unwrap();
    let error = client.send(get("https://upstream.invalid/")).await.unwrap_err();
    assert!(error.message().contains("wants a user name and password"), "{error}");
    assert_eq!((proxy.last().method.as_str(), proxy.last().target.as_str()), ("CONNECT", "upstream.invalid:443"));
    let error = client.send(get("https://upstream.invalid/")).await.unwrap_err();
    assert!(error.message().contains("503"), "{error}");
}
