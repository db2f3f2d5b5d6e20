//! A router over scripted providers, for tests that have a binary of their own.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::sync::Arc;

use llm_router::config::{RouteSettings, Settings};
use llm_router::deps::RouterDeps;
use llm_router::provider::Provider;
use llm_router::router::Router;
use llm_router::router::resolve::Entry;
use llm_router::testing::scripted::Scripted;

/// A router whose route `all` is these providers in their order, each a group of its own, with its model `m`.
pub fn router_with(providers: &[&Arc<Scripted>], deps: RouterDeps, change: impl FnOnce(&mut Settings)) -> Router {
    let mut settings = Settings::default();
    let mut route = RouteSettings::default();
    route.groups = providers.iter().map(|provider| vec![format!("{}/m", provider.describe().id)]).collect();
    settings.routes.insert("all".into(), route);
    change(&mut settings);
    let entry = |provider: &&Arc<Scripted>| Entry::new(provider.describe().id.clone(), Arc::clone(*provider) as _);
    Router::new(deps, Arc::new(settings), providers.iter().map(entry).collect())
}

pub fn router(providers: &[&Arc<Scripted>]) -> Router {
    router_with(providers, RouterDeps::default(), |_| ())
}
