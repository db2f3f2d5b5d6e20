//! Embedding models through the provider's door: tiny ones with random weights (`testing/encoder.rs`, and a causal one of `testing/tiny.rs`).
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use llm_router::ErrorKind;
use llm_router::deps::SystemClock;
use llm_router::embedding::{EmbedInput, EmbedRequest, EmbedResponse};
use llm_router::error::{Error, Result};
use llm_router::ids::{ModelName, ProviderId, RequestId};
use llm_router::provider::http::HttpClient;
use llm_router::provider::{Call, Context, Provider, Target};
use llm_router::request::Request;
use llm_router_local::engine::{Embedder, EngineError, EngineOptions};
use llm_router_local::provider::{EmbeddingProvider, LocalProvider, ModelFile};
use llm_router_local::testing::encoder::{self, CLS, MEAN, RANK, WIDTH, WINDOW};
use llm_router_local::testing::tiny::{self, Family};

fn model_file(path: PathBuf) -> ModelFile {
    ModelFile { path, name: ModelName::new("tiny").unwrap() }
}

fn provider(path: PathBuf) -> EmbeddingProvider {
    EmbeddingProvider::new(ProviderId::new("local").unwrap(), model_file(path), EngineOptions::default())
}

/// A causal model that says how it pools, as a file.
fn causal(folder: &Path, pooling: u32) -> PathBuf {
    let path = folder.join(format!("causal-{pooling}.gguf"));
    std::fs::write(&path, tiny::file(Family::Qwen, 3).set("qwen2.pooling_type", pooling).bytes()).unwrap();
    path
}

fn call(request: Request) -> Arc<Call> {
    let target = Target::new(ProviderId::new("local").unwrap(), None);
    let cx = Context::new(HttpClient::default(), Arc::new(SystemClock), RequestId::from_parts(0, 0));
    Arc::new(Call::new(Arc::new(request), target, cx))
}

async fn ask(provider: &EmbeddingProvider, ask: EmbedRequest) -> Result<EmbedResponse> {
    Provider::embed(provider, call(Request::default()), Arc::new(ask)).await
}

async fn vectors(provider: &EmbeddingProvider, texts: &[&str]) -> Vec<Vec<f32>> {
    let made = ask(provider, EmbedRequest::new(texts.iter().map(|&text| text.into()))).await.unwrap();
    made.check(texts.len()).unwrap();
    made.vectors
}

fn length(vector: &[f32]) -> f32 {
    vector.iter().map(|number| number * number).sum::<f32>().sqrt()
}

#[tokio::test]
async fn each_way_of_pooling_gives_vectors_of_length_one_that_do_not_depend_on_company() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    for path in [
        encoder::write(folder.path(), MEAN, 7).unwrap(),
        folder.path().join("cls.gguf"),
        causal(folder.path(), 1),
        causal(folder.path(), 3),
    ] {
        if !path.exists() {
            std::fs::write(&path, encoder::file(CLS, 7).bytes()).unwrap();
        }
        let provider = provider(path);
        let both = vectors(&provider, &["hello world", "the cat", "hello world"]).await;
        assert!(both.iter().all(|vector| (length(vector) - 1.0).abs() < 1e-5), "{both:?}");
        assert_eq!(both[0], both[2]);
        assert_ne!(both[0], both[1]);
        assert_eq!(vectors(&provider, &["the cat"]).await[0], both[1], "alone as in company");
        assert!(!seen.contains(&both[0]), "another model or way gives another vector");
        seen.push(both.into_iter().next().unwrap());
    }
}

#[tokio::test]
async fn tokens_are_counted_exactly_and_may_be_brought_along() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(encoder::write(folder.path(), MEAN, 7).unwrap());
    let texts = EmbedRequest::new(["hello world".into(), "cats".into()]);
    let made = ask(&provider, texts).await.unwrap();
    // [CLS] hello world [SEP], [CLS] cat s [SEP].
    assert_eq!(made.usage.unwrap().input, 8);
    assert_eq!(made.model, "tiny");
    let counted = Provider::count_tokens(&provider, call(Request::new("hello world"))).await.unwrap();
    assert_eq!(counted, 4);
    let embedder = Embedder::load(&folder.path().join("tiny-encoder.gguf"), &EngineOptions::default()).unwrap();
    let tokens = embedder.tokenize(0, "hello world").unwrap();
    assert_eq!(tokens.len(), 4);
    let brought = tokens.iter().map(|&token| u32::try_from(token).unwrap()).collect();
    let again = ask(&provider, EmbedRequest::new([EmbedInput::Tokens(brought)])).await.unwrap();
    assert_eq!(again.vectors[0], made.vectors[0]);
    let unknown = ask(&provider, EmbedRequest::new(["a".into(), EmbedInput::Tokens(vec![2, 99_999])])).await;
    let error = unknown.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerInvalidRequest);
    assert!(error.message().contains("input[1]") && error.message().contains("99999"), "{error}");
}

#[tokio::test]
async fn a_text_as_long_as_the_window_fits_and_a_longer_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(encoder::write(folder.path(), CLS, 7).unwrap());
    let text = |words: usize| "cat ".repeat(words);
    assert_eq!(vectors(&provider, &[&text(WINDOW - 2)]).await[0].len(), WIDTH);
    for words in [WINDOW - 1, 100_000] {
        let long = text(words);
        let error = ask(&provider, EmbedRequest::new(["cat".into(), long.as_str().into()])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CallerContextLength);
        assert!(error.message().contains("input[1]") && error.message().contains("holds 64"), "{error}");
    }
}

#[tokio::test]
async fn vectors_are_cut_where_fewer_numbers_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(encoder::write(folder.path(), MEAN, 7).unwrap());
    let whole = vectors(&provider, &["the dog"]).await.remove(0);
    let mut wanted = EmbedRequest::new(["the dog".into()]);
    wanted.dimensions = Some(8);
    let cut = ask(&provider, wanted.clone()).await.unwrap().vectors.remove(0);
    assert!(cut.len() == 8 && (length(&cut) - 1.0).abs() < 1e-5);
    let scale = length(&whole[..8]);
    assert!(cut.iter().zip(&whole).all(|(short, long)| (short * scale - long).abs() < 1e-5), "the same direction");
    wanted.dimensions = Some(33);
    let error = ask(&provider, wanted).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerInvalidRequest);
    assert!(error.message().contains("32 numbers"), "{error}");
}

#[tokio::test]
async fn files_that_make_no_vectors_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: PathBuf| async move {
        let error: Error = ask(&provider(path), EmbedRequest::new(["a".into()])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ProviderUnavailable);
        error.message().to_owned()
    };
    assert!(refused(encoder::write(folder.path(), RANK, 7).unwrap()).await.contains("it ranks texts"));
    assert!(refused(encoder::write(folder.path(), 0, 7).unwrap()).await.contains("for each token"));
    let chat = tiny::write(folder.path(), Family::Qwen, 7).unwrap();
    assert!(refused(chat).await.contains("it is no embedding model"));
    let embeds = encoder::write(folder.path(), MEAN, 7).unwrap();
    let error = Provider::generate(&provider(embeds.clone()), call(Request::new("hi"))).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CallerUnsupported);
    let chat = LocalProvider::new(ProviderId::new("local").unwrap(), model_file(embeds), EngineOptions::default());
    let error = Provider::generate(&chat, call(Request::new("hi"))).await.map(drop).unwrap_err();
    assert!(error.message().contains("text generation"), "{error}");
}

#[tokio::test]
async fn callers_that_leave_and_callers_in_excess_hold_up_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = encoder::write(folder.path(), MEAN, 7).unwrap();
    let mut options = EngineOptions::default();
    (options.parallel, options.waiting) = (1, 0);
    let embedder = Embedder::load(&path, &options).unwrap();
    let text = embedder.tokenize(0, "hello world").unwrap();
    let many = embedder.embed(vec![text.clone(); 2048]);
    let mut many = Box::pin(many);
    assert!(futures_util::poll!(&mut many).is_pending());
    let excess = embedder.embed(vec![text.clone()]).await.unwrap_err();
    assert!(matches!(excess, EngineError::Overloaded { .. }), "{excess}");
    drop(many);
    assert_eq!(embedder.embed(vec![text]).await.unwrap().len(), 1);
}
