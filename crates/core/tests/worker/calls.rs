//! Calls over the pipe: many at once, each at its own pace, with errors, counts and vectors.

use llm_router::error::ErrorKind;
use llm_router::provider::Provider;
use llm_router::response::collect;

use crate::support::{ask, call, embed, first_text, open, settings, until, worker};

#[tokio::test]
async fn one_program_answers_many_calls_at_once() {
    let worker = worker(settings());
    assert_eq!(worker.process_id(), None, "nothing starts before the first call");
    let mut long = open(&worker, "flood").await;
    first_text(&mut long).await;
    let numbers: String = (0..500).map(|n| format!("{n} ")).collect();
    let (a, b) = tokio::join!(ask(&worker, "count 500"), ask(&worker, "count 500"));
    assert_eq!((a.unwrap(), b.unwrap()), (numbers.clone(), numbers));
    first_text(&mut long).await;
    assert_eq!(ask(&worker, "pid").await.unwrap(), worker.process_id().unwrap().to_string());
}

#[tokio::test]
async fn dropping_the_answer_cancels_it_in_the_program() {
    let worker = worker(settings());
    let mut flood = open(&worker, "flood").await;
    first_text(&mut flood).await;
    assert_eq!(ask(&worker, "live").await.unwrap(), "1");
    drop(flood);
    until(&worker, "live", "0").await;
}

#[tokio::test]
async fn a_slow_reader_holds_back_its_own_answer_only() {
    let worker = worker(settings());
    let mut slow = open(&worker, "flood").await;
    first_text(&mut slow).await;
    assert!(ask(&worker, "count 2000").await.unwrap().ends_with("1999 "));
    let made: usize = ask(&worker, "made").await.unwrap().parse().unwrap();
    assert!(made <= 64, "{made} events were made for a reader who took one");
    for _ in 0..300 {
        first_text(&mut slow).await;
    }
}

#[tokio::test]
async fn errors_and_dropped_fields_cross_the_pipe() {
    let worker = worker(settings());
    let error = ask(&worker, "fail").await.unwrap_err();
    assert_eq!((error.kind(), error.hint()), (ErrorKind::CallerContextLength, Some("cut it")));
    assert_eq!(error.provider().unwrap().as_str(), "lab");
    assert!(!error.message().contains("0123456789"), "{error}");
    assert_eq!(ask(&worker, "panic").await.unwrap_err().kind(), ErrorKind::RouterInternal);
    let call = call("drop");
    collect(Provider::generate(&worker, call.clone()).await.unwrap()).await.unwrap();
    assert_eq!(call.cx.dropped(), ["sampling.top_k".into()]);
}

#[tokio::test]
async fn tokens_and_vectors_cross_the_pipe() {
    let worker = worker(settings());
    assert_eq!(Provider::count_tokens(&worker, call("twelve chars")).await.unwrap(), 12);
    let error = Provider::count_tokens(&worker, call("fail")).await.unwrap_err();
    assert_eq!((error.kind(), error.provider().unwrap().as_str()), (ErrorKind::CallerUnsupported, "lab"));
    let small = embed(&worker, 3, 2).await.unwrap();
    assert_eq!((small.model.as_str(), small.usage.unwrap().input), ("m", 3));
    assert_eq!(small.vectors, [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]);
    // More than fits in the lines that may be under way at once.
    let large = embed(&worker, 2048, 3000).await.unwrap();
    assert_eq!(large.vectors.len(), 2048);
    assert!(
        large.vectors.iter().enumerate().all(|(n, vector)| vector.len() == 3000 && vector[0] == (n % 7 + 1) as f32)
    );
    assert_eq!(large.usage.unwrap().input, 2048);
}
