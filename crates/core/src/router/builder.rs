//! Putting a router together: settings, dependencies and providers of one's own.
//!
//! The builder reads no environment and no file, writes nothing and installs nothing global; [`Router::from_env`] is the short way that does read both.
//! The command line adds the embedded model and the stores on top of this, in its own crate.

use std::future::Future;
use std::sync::Arc;

use super::Router;
use crate::config::{Environment, Flags, Settings};
use crate::deps::RouterDeps;
use crate::error::{Error, Result};
use crate::ids::ProviderId;
use crate::provider::custom::{Reply, provider_fn};
use crate::provider::http::{HttpClient, HttpOptions};
use crate::provider::peer::PeerProvider;
use crate::provider::process::Runner;
use crate::provider::registry::{Registry, Surroundings};
use crate::provider::{Call, DynProvider, Provider};

/// A router that is being put together.
#[derive(Debug, Default)]
pub struct RouterBuilder {
    deps: RouterDeps,
    settings: Settings,
    around: Surroundings,
    registry: Arc<Registry>,
    /// The first mistake; told by [`RouterBuilder::build`], so that calls can be chained.
    mistake: Option<Error>,
}

impl RouterBuilder {
    /// With these settings instead of the defaults.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// With these dependencies instead of the defaults.
    #[must_use]
    pub fn deps(mut self, deps: RouterDeps) -> Self {
        self.deps = deps;
        self
    }

    /// With the environment that programs are given their parts of, and what runs them.
    #[must_use]
    pub fn programs(mut self, environment: &Environment, runner: Runner) -> Self {
        self.around = Surroundings { environment: environment.for_programs(), runner };
        self
    }

    /// With the providers of this registry, which keeps those whose settings stay the same from one router to the next: for routers that take each other's place.
    #[must_use]
    pub fn registry(mut self, registry: Arc<Registry>) -> Self {
        self.registry = registry;
        self
    }

    /// With a provider of one's own. One of the same id, built in or added before, is replaced by it and keeps its place.
    #[must_use]
    pub fn provider(self, provider: impl Provider) -> Self {
        self.instance(Arc::new(provider))
    }

    /// With a provider that is used elsewhere too.
    #[must_use]
    pub fn instance(self, provider: Arc<dyn DynProvider>) -> Self {
        self.registry.register(provider, Vec::new(), None);
        self
    }

    /// With a provider that is a closure: see [`provider_fn`].
    #[must_use]
    pub fn provider_fn<F, Answering, R>(mut self, id: &str, answer: F) -> Self
    where
        F: Fn(Arc<Call>) -> Answering + Send + Sync + 'static,
        Answering: Future<Output = Result<R>> + Send + 'static,
        R: Into<Reply> + 'static,
    {
        match provider_fn(id, answer) {
            Ok(provider) => return self.provider(provider),
            Err(error) => drop(self.mistake.get_or_insert(error)),
        }
        self
    }

    /// The router.
    ///
    /// # Errors
    /// `caller_invalid_request` naming the provider or the setting that cannot be used.
    pub fn build(self) -> Result<Router> {
        let Self { deps, settings, around, registry, mistake } = self;
        if let Some(error) = mistake {
            return Err(error);
        }
        if let Some(backend) = &deps.ipfs_backend {
            let peers = PeerProvider::new(ProviderId::new("ipfs_peer")?, Some(Arc::clone(backend)));
            registry.register(Arc::new(peers), Vec::new(), None);
        }
        let entries = registry.entries(&settings, &around)?;
        Ok(Router::new(deps, Arc::new(settings), entries))
    }
}

impl Router {
    /// Begins a router that reads no environment and no file.
    pub fn builder() -> RouterBuilder {
        RouterBuilder::default()
    }

    /// A router of the user's configuration: the environment and the config file. It has no embedded model and stores nothing; the command line's
    /// composition adds those.
    ///
    /// # Errors
    /// `caller_invalid_request` with every problem of the configuration.
    pub fn from_env() -> Result<Self> {
        let environment = Environment::from_process();
        let settings = Settings::load(&environment, &Flags::new())?.settings;
        let mut deps = RouterDeps::default();
        deps.http = HttpClient::with_options(&HttpOptions::from(&settings))?;
        Self::builder().deps(deps).settings(settings).programs(&environment, Runner::default()).build()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::request::Request;
    use crate::testing::scripted::Scripted;

    #[tokio::test]
    async fn a_closure_and_a_type_answer_under_their_names() {
        let router = Router::builder()
            .provider_fn("shout", |call: Arc<Call>| async move {
                Ok(call.request.plain_prompt().unwrap_or_default().to_uppercase())
            })
            .provider(Scripted::text("openai", "in its place"))
            .build()
            .unwrap();
        let asking = |model: &str| Request { model: Some(model.into()), ..Request::new("hi") };
        assert_eq!(router.generate(asking("shout/any")).await.unwrap().text(), "HI");
        assert_eq!(router.generate(asking("openai/any")).await.unwrap().text(), "in its place");
    }

    #[test]
    fn a_mistake_is_told_at_the_end() {
        let error = Router::builder().provider_fn("no/id", |_| async { Ok("") }).build().unwrap_err();
        assert!(error.message().contains("no/id"), "{error}");
    }
}
