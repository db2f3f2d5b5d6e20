//! What clients may reach.

use llm_router::config::{Credential, ProviderSettings};
use llm_router::ids::ProviderId;
use llm_router::provider::Describe;
use llm_router::secret::Secret;
use llm_router::testing::scripted::Scripted;
use llm_router::testing::upstream::Upstream;

use crate::support::{Ask, Setting, answer};

#[tokio::test]
async fn a_provider_that_uses_this_machine_is_never_reached() {
    let agent = Scripted::text("agent", "rm -rf").describing(|describe: Describe| {
        let mut describe = describe;
        describe.agent = true;
        describe
    });
    let serving = Setting::new()
        .provider(agent)
        .provider(Scripted::text("s", "hello"))
        .set(|settings| {
            let route = settings.routes.entry("both".into()).or_default();
            route.groups = vec![vec!["agent/x".into()], vec!["s/x".into()]];
        })
        .start();
    let reply = serving.send(Ask::chat("agent/x")).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    let reply = serving.send(Ask::chat("both")).await;
    assert_eq!((reply.status, reply.header("x-llm-router-provider")), (200, "s"));
}

/// A provider as a key in the environment makes it: nobody wrote it down.
fn automatic(setting: Setting, url: String) -> Setting {
    let mut openai = ProviderSettings::default();
    openai.base_url = Some(url);
    openai.credentials = vec![Credential::Value(Secret::new("a-key-of-the-owner"))];
    openai.dialects = vec![llm_router::dialect::Dialect::OpenaiChat];
    setting.set(|settings| drop(settings.providers.insert(ProviderId::new("openai").unwrap(), openai)))
}

#[tokio::test]
async fn the_owners_own_keys_are_for_the_owner() {
    let upstream = Upstream::serve([answer("paid for")]).await;
    let url = || upstream.url("/v1");
    // On loopback without keys everything is.
    let open = automatic(Setting::new(), url()).start();
    assert_eq!(open.send(Ask::chat("openai/gpt-4o")).await.status, 200);
    // With client keys, what nobody wrote down is not there.
    let keyed = automatic(Setting::new().http("lab", url()), url()).key("team", "t").start();
    let ask = |model: &str| Ask::chat(model).header("x-api-key", "t");
    assert_eq!(keyed.send(ask("lab/m")).await.status, 200);
    let reply = keyed.send(ask("openai/gpt-4o")).await;
    assert_eq!(reply.status, 404, "{}", reply.text());
    // A route that names it is a decision.
    let routed = automatic(Setting::new(), url()).key("team", "t").set(|settings| {
        let route = settings.routes.entry("fast".into()).or_default();
        route.groups = vec![vec!["openai/gpt-4o".into()]];
    });
    assert_eq!(routed.start().send(ask("fast")).await.status, 200);
    // An address that others reach is the same as keys.
    let public =
        automatic(Setting::new().http("lab", url()), url()).set(|settings| settings.server.public = true).server();
    let bound = public.bind("0.0.0.0:0".parse().unwrap()).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], bound.address().unwrap().port()));
    let task = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(bound.serve(std::future::pending())));
    assert_eq!(Ask::chat("lab/m").send(address).await.status, 200);
    assert_eq!(Ask::chat("openai/gpt-4o").send(address).await.status, 404);
    drop(task);
}
