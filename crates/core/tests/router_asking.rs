//! Embeddings, pictures and token counts from the router's public door: they take the path that text takes.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use llm_router::config::{RouteSettings, Settings};
use llm_router::deps::{Hook, RouterDeps};
use llm_router::embedding::{EmbedInput, EmbedRequest};
use llm_router::error::{Error, ErrorKind, Result};
use llm_router::ids::{ModelName, ProviderId, RequestId};
use llm_router::image::{ImageRequest, Picture, PictureBody};
use llm_router::provider::Describe;
use llm_router::request::{Message, Privacy, Request};
use llm_router::router::resolve::Door;
use llm_router::router::{Op, Router};
use llm_router::testing::scripted::{Scripted, Turn};

fn route(targets: &[&str]) -> Settings {
    let (mut settings, mut route) = (Settings::default(), RouteSettings::default());
    route.groups = vec![targets.iter().map(|target| (*target).to_owned()).collect()];
    settings.routes.insert("both".to_owned(), route);
    settings
}

fn over(providers: Vec<Arc<Scripted>>, settings: Settings) -> Router {
    let builder = providers.into_iter().fold(Router::builder(), |builder, one| builder.instance(one));
    builder.settings(settings).build().unwrap()
}

fn ask(text: &str, model: &str) -> EmbedRequest {
    let mut ask = EmbedRequest::new([text.into()]);
    ask.model = Some(model.to_owned());
    ask
}

#[tokio::test]
async fn a_target_that_makes_no_vectors_gives_way_to_one_that_does() {
    let (talks, embeds) =
        (Arc::new(Scripted::text("talks", "hi")), Arc::new(Scripted::text("embeds", "").embedding(3)));
    let router = over(vec![talks.clone(), embeds], route(&["talks/m", "embeds/m"]));
    let id = RequestId::from_parts(1, 2);
    let made = router.embed(Op::new(ask("four", "both"), Door::Library).with_id(id.clone())).await.unwrap();
    assert_eq!(made.vectors, [[4.0, 0.0, 0.0]]);
    let trace = made.trace().unwrap();
    assert_eq!((&trace.id, trace.served.as_ref().unwrap().provider.as_str()), (&id, "embeds"));
    assert_eq!(trace.attempts.len(), 2);
    assert_eq!(trace.attempts[0].error.as_ref().unwrap().kind(), ErrorKind::CallerUnsupported);
    assert_eq!(router.trace(&id).unwrap().usage, made.usage);
    // Alone it says so itself.
    let error = router.embed(ask("four", "talks/m")).await.unwrap_err();
    assert_eq!((error.kind(), error.provider().unwrap().as_str()), (ErrorKind::CallerUnsupported, "talks"));
    assert!(talks.calls().iter().all(|call| call.request.plain_prompt() == Some("four")));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_tried_again_and_a_refused_key_passed_over() {
    let shaky = Scripted::new(
        "shaky",
        [Turn::Fail(Error::new(ErrorKind::ProviderServerError, "down")), Turn::Text(String::new())],
    )
    .embedding(2);
    let router = over(vec![Arc::new(shaky)], Settings::default());
    let made = router.embed(ask("a", "shaky/m")).await.unwrap();
    assert_eq!(made.trace().unwrap().attempts.len(), 2);
    let mut late = ask("a", "slow/m");
    late.timeout = Some(Duration::from_secs(5));
    let failing = Scripted::new(
        "slow",
        [Turn::Fail(Error::new(ErrorKind::ProviderServerError, "down").with_retry_after(Duration::from_secs(9)))],
    );
    let error = over(vec![Arc::new(failing.embedding(2))], Settings::default()).embed(late).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ProviderTimeout);
}

#[tokio::test]
async fn privacy_and_limits_hold_before_anybody_is_asked() {
    let embeds = Arc::new(Scripted::text("embeds", "").embedding(2));
    let router = over(vec![embeds.clone()], Settings::default());
    let mut private = ask("a", "embeds/m");
    private.riders.privacy = Privacy::Local;
    assert_eq!(router.embed(private).await.unwrap_err().kind(), ErrorKind::PolicyForbidden);
    assert_eq!(router.embed(ask("", "embeds/m")).await.unwrap_err().kind(), ErrorKind::CallerInvalidRequest);
    let mut stored = ask("a", "embeds/m");
    stored.cache.only_if_cached = true;
    assert_eq!(router.embed(stored).await.unwrap_err().kind(), ErrorKind::ProviderUnavailable);
    assert_eq!(router.image(ImageRequest::new("")).await.unwrap_err().kind(), ErrorKind::CallerInvalidRequest);
    assert!(embeds.calls().is_empty());
}

#[derive(Debug)]
struct Redacts;

impl Hook for Redacts {
    fn on_request(&self, request: &mut Request) -> Result<()> {
        for message in &mut request.messages {
            *message = Message::user("***");
        }
        Ok(())
    }
}

#[tokio::test]
async fn hooks_stand_before_texts_and_prompts_too() {
    let mut deps = RouterDeps::default();
    deps.hooks.push(Arc::new(Redacts));
    let picture = Picture::new(PictureBody::Base64 { data: Bytes::from_static(b"AAAA"), mime: None });
    let artist = Arc::new(Scripted::text("artist", "").embedding(2).drawing([picture]));
    let router = Router::builder().instance(artist.clone()).deps(deps).build().unwrap();
    let mut ask = EmbedRequest::new(["a secret".into(), EmbedInput::Tokens(vec![1, 2])]);
    ask.model = Some("artist/m".to_owned());
    let made = router.embed(ask).await.unwrap();
    assert_eq!(made.vectors, [[3.0, 0.0], [2.0, 1.0]], "three stars, and tokens as they were");
    let drawn = router.image(ImageRequest::new("a secret")).await.unwrap();
    assert_eq!((drawn.pictures.len(), drawn.trace().unwrap().attempts.len()), (1, 1));
    assert_eq!(artist.calls().last().unwrap().request.plain_prompt(), Some("***"));
}

#[tokio::test]
async fn vectors_come_from_the_model_that_is_there_for_them_where_none_is_named() {
    let named = |name: &str| ModelName::new(name).unwrap();
    let describe =
        |describe: Describe| describe.with_default_model(named("chat")).with_embedding_model(named("vectors"));
    let maker = Arc::new(Scripted::text("maker", "x").embedding(2).counting(3).describing(describe));
    let router = Router::builder().instance(maker.clone()).build().unwrap();
    let mut ask = EmbedRequest::new(["a".into()]);
    ask.provider = Some(ProviderId::new("maker").unwrap());
    router.embed(ask.clone()).await.unwrap();
    ask.model = Some("chat".to_owned());
    router.embed(ask).await.unwrap();
    let mut text = Request::new("a");
    text.provider = Some(ProviderId::new("maker").unwrap());
    router.generate(text).await.unwrap();
    let asked: Vec<_> = maker.calls().iter().map(|call| call.model().unwrap().to_owned()).collect();
    assert_eq!(asked, ["vectors", "chat", "chat"]);
}

#[tokio::test]
async fn who_cannot_count_is_estimated_for_and_not_replaced() {
    let (mute, counts) = (Arc::new(Scripted::text("mute", "")), Arc::new(Scripted::text("counts", "").counting(7)));
    let router = over(vec![mute, counts], route(&["mute/m", "counts/m"]));
    let asked = |model: &str| {
        let mut request = Request::new("Hello there, world!");
        request.model = Some(model.to_owned());
        request
    };
    let counted = router.count_tokens(asked("counts/m")).await.unwrap();
    assert_eq!((counted.tokens, counted.estimated), (7, false));
    let counted = router.count_tokens(asked("both")).await.unwrap();
    assert!(counted.estimated && counted.tokens > 4, "{counted:?}");
    assert_eq!(counted.target.provider.as_str(), "mute");
}
