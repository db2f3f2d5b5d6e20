//! What becomes of its answers: whole or streamed, broken, refused, and of one that does not come in time or is wanted no more.

use super::*;
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_streamed_answer_leaves_its_connection_for_the_next() {
    let upstream = Upstream::serve([streamed(&["he", "llo"])]).await;
    let lab = lab(&upstream, |_| ());
    let first = call(true);
    let cx = first.cx.clone();
    assert_eq!(answers(&lab, first).await.unwrap().text(), "hello");
    let mut second = call(true);
    second.cx = cx;
    assert_eq!(answers(&lab, second).await.unwrap().text(), "hello");
    assert_eq!(upstream.last().json()["stream"], true);
    assert_eq!(upstream.seen().connections, 1);
}

#[tokio::test]
async fn the_caller_framing_and_the_upstream_framing_may_differ() {
    let upstream = Upstream::serve([streamed(&["he", "llo"]), whole("hello"), whole("all")]).await;
    let provider = lab(&upstream, |s| s.upstream = Some(Framing::Stream));
    assert_eq!(answers(&provider, call(false)).await.unwrap().text(), "hello");
    assert_eq!(upstream.last().json()["stream"], true);
    let provider = lab(&upstream, |s| s.upstream = Some(Framing::Whole));
    assert_eq!(answers(&provider, call(true)).await.unwrap().text(), "hello");
    assert_ne!(upstream.last().json()["stream"], true);
    // Asked for a stream, this one answers whole all the same.
    let provider = lab(&upstream, |_| ());
    assert_eq!(answers(&provider, call(true)).await.unwrap().text(), "all");
}

#[tokio::test]
async fn an_upstream_that_breaks_its_protocol_is_told_by_kind() {
    let head = whole("hello").head_len();
    let page = "<!doctype html><title>Sign in</title>";
    let done = || Answer::sse().event(&chunk("he"));
    for (stream, answer, kind, words) in [
        (false, Answer::new(200, "text/html; charset=utf-8", page), ErrorKind::ProviderProtocol, "HTML"),
        (false, Answer::new(200, "text/plain", page), ErrorKind::ProviderProtocol, "HTML"),
        (true, Answer::new(200, "text/html", page), ErrorKind::ProviderProtocol, "HTML"),
        (false, Answer::json(200, "{\"id\":"), ErrorKind::ProviderProtocol, ""),
        (false, Answer::json(200, "[]"), ErrorKind::ProviderProtocol, ""),
        (false, whole("hello").cut_after(head + 20), ErrorKind::ProviderConnection, "broke"),
        (true, done().close(), ErrorKind::ProviderConnection, "broke"),
        (true, done().end(), ErrorKind::ProviderProtocol, ""),
        (true, done().event("{nonsense").end(), ErrorKind::ProviderProtocol, ""),
        (true, Answer::sse().end(), ErrorKind::ProviderProtocol, ""),
        (
            false,
            Answer::with_headers(200, &[("content-type", "application/json"), ("content-encoding", "gzip")], "x"),
            ErrorKind::ProviderProtocol,
            "compressed",
        ),
    ] {
        let upstream = Upstream::serve([answer]).await;
        let error = fails(&lab(&upstream, |_| ()), call(stream), kind).await;
        assert!(error.message().contains(words), "{error}");
        assert_eq!(error.model().unwrap().as_str(), "m-default");
    }
}

#[tokio::test]
async fn what_was_said_before_an_error_is_given_first() {
    let frames = format!("data: {}\n\ndata: {{nonsense\n\n", chunk("he"));
    let upstream = Upstream::serve([Answer::sse().chunk(&frames).end()]).await;
    let mut stream = Provider::generate(&lab(&upstream, |_| ()), Arc::new(call(true))).await.unwrap();
    until_text(&mut stream, "he").await;
    assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::ProviderProtocol);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn error_answers_become_errors_of_the_table() {
    let error = |text: &str| json!({"error": {"message": text}}).to_string();
    for (answer, kind, words) in [
        (Answer::json(400, error("bad field")), ErrorKind::ProviderRejected, "bad field"),
        (Answer::json(402, error("pay")), ErrorKind::ProviderBilling, "pay"),
        (Answer::json(500, error("oops")), ErrorKind::ProviderServerError, "oops"),
        (Answer::json(503, error("busy")), ErrorKind::ProviderOverloaded, "busy"),
        (Answer::new(502, "text/html", "<html><b>Bad gateway"), ErrorKind::ProviderServerError, "web page"),
        (Answer::json(500, vec![b'x'; 1 << 20]), ErrorKind::ProviderServerError, ""),
    ] {
        let upstream = Upstream::serve([answer]).await;
        let error = fails(&lab(&upstream, |_| ()), call(false), kind).await;
        assert!(error.message().contains(words) && !error.message().contains("<b>"), "{error}");
        assert!(error.status().is_some());
    }
    let limited = [("retry-after", "7"), ("content-type", "application/json")];
    let upstream = Upstream::serve([Answer::with_headers(429, &limited, error("slow"))]).await;
    let error = fails(&lab(&upstream, |_| ()), call(false), ErrorKind::ProviderRateLimited).await;
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_400_on_the_callers_own_bytes_is_the_callers() {
    let upstream = Upstream::serve([Answer::json(400, "{\"error\":{\"message\":\"bad field\"}}")]).await;
    let body = r#"{"model":"m-default","messages":[{"role":"user","content":"hi"}]}"#;
    let head = RequestHead::post("/v1/chat/completions");
    let mut request = OpenaiChat::default().decode_request(&head, body.as_bytes()).unwrap();
    let origin = Origin::new(Dialect::OpenaiChat, head, body.into());
    request.origin = Some(Arc::new(origin));
    let call = Call { request: Arc::new(request), ..call(false) };
    fails(&lab(&upstream, |_| ()), call, ErrorKind::CallerInvalidRequest).await;
    assert_eq!(upstream.last().body, body);
}

#[tokio::test]
async fn each_deadline_is_kept() {
    const SHORT: Duration = Duration::from_millis(60);
    let begun = || Answer::sse().event(&chunk("he"));
    for (stream, answer, change, name) in [
        (false, Answer::raw("").stall(), (|d| d.whole = SHORT) as fn(&mut Deadlines), "whole"),
        (true, Answer::raw("").stall(), |d| d.first_event = SHORT, "first_event"),
        (true, Answer::sse().chunk(": working\n\n").stall(), |d| d.first_event = SHORT, "first_event"),
        (true, Answer::sse().event(&chunk("")).event(&chunk("")).stall(), |d| d.first_event = SHORT, "first_event"),
        (true, begun().stall(), |d| d.idle = SHORT, "idle"),
        (true, begun().stall(), |d| d.total = SHORT, "total"),
    ] {
        let upstream = Upstream::serve([answer]).await;
        let error = fails(&lab(&upstream, |_| ()), call_with(stream, change), ErrorKind::ProviderTimeout).await;
        assert!(error.hint().unwrap().contains(name), "{error:?}");
        upstream.until(|seen| seen.hung_up == 1).await;
    }
}

#[tokio::test]
async fn a_slow_reader_meets_no_deadline() {
    let gate = Arc::new(Semaphore::new(0));
    let answer = Answer::sse().event(&chunk("one")).gate(&gate).event(&chunk("two")).event(&last_chunk());
    let upstream = Upstream::serve([answer.event("[DONE]").end()]).await;
    let short = |d: &mut Deadlines| (d.idle, d.total) = (Duration::from_secs(1), Duration::from_secs(2));
    let mut stream = Provider::generate(&lab(&upstream, |_| ()), Arc::new(call_with(true, short))).await.unwrap();
    until_text(&mut stream, "one").await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3600)).await;
    tokio::time::resume();
    gate.add_permits(1);
    until_text(&mut stream, "two").await;
}

#[tokio::test]
async fn dropping_or_cancelling_closes_the_connection_and_frees_the_place() {
    let hanging = || Answer::sse().event(&chunk("he")).stall();
    let upstream = Upstream::serve([hanging(), hanging(), Answer::raw("").stall(), whole("hello")]).await;
    let provider = lab(&upstream, |s| s.max_in_flight = Some(1));
    let mut stream = Provider::generate(&provider, Arc::new(call(true))).await.unwrap();
    until_text(&mut stream, "he").await;
    let error = fails(&provider, call(true), ErrorKind::ProviderOverloaded).await;
    assert!(error.message().contains("max_in_flight"), "{error}");
    drop(stream);
    upstream.until(|seen| seen.hung_up == 1).await;

    let cancelled = call(true);
    let token = cancelled.cx.cancel.clone();
    let mut stream = Provider::generate(&provider, Arc::new(cancelled)).await.unwrap();
    until_text(&mut stream, "he").await;
    token.cancel();
    assert_eq!(stream.next().await.unwrap().unwrap_err().kind(), ErrorKind::CallerCancelled);
    upstream.until(|seen| seen.hung_up == 2).await;

    {
        let waiting = Provider::generate(&provider, Arc::new(call(true)));
        let arrived = upstream.until(|seen| seen.requests.len() == 3);
        tokio::select! {
            _ = waiting => panic!("nobody answered"),
            _ = arrived => {}
        }
    }
    upstream.until(|seen| seen.hung_up == 3).await;
    assert_eq!(answers(&provider, call(false)).await.unwrap().text(), "hello");
}

#[tokio::test]
async fn it_survives_being_dropped() {
    let upstream = Upstream::serve([streamed(&["a", "b"])]).await;
    let provider = lab(&upstream, |s| s.max_in_flight = Some(1));
    survives_drops(&provider, || call(true)).await;
}

#[tokio::test]
async fn a_whole_answer_that_drips_is_given_up_and_one_that_is_still_computed_is_not() {
    let slow = |deadlines: &mut Deadlines| {
        (deadlines.idle, deadlines.min_bytes_per_s) = (Duration::from_millis(50), 1000);
        deadlines.whole = Duration::from_secs(60);
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 4000\r\n\r\n";
    let upstream = Upstream::serve([Answer::raw(format!("{head}  \n{{\"id\"")).stall()]).await;
    let lab = lab(&upstream, |_| ());
    let error = answers(&lab, call_with(false, slow)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderTimeout);
    assert!(error.message().contains("where 50 are the least"), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("min_bytes_per_s")));
    // Blanks say that it is still at work: then the deadline of whole answers decides.
    let upstream = Upstream::serve([Answer::raw(format!("{head}  \n")).stall()]).await;
    let lab = super::lab(&upstream, |_| ());
    let call = call_with(false, |deadlines| {
        slow(deadlines);
        deadlines.whole = Duration::from_millis(200);
    });
    let error = answers(&lab, call).await.unwrap_err();
    assert!(error.message().contains("not complete after 0.2 s"), "{error}");
}
