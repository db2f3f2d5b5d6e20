//! What a file sets of the whole: deadlines, the cache, and the key that administers.

use super::Notes;
use super::deployment::{Deployments, key_line};
use super::toml::{self, Toml};
use super::yaml::Node;

/// The server: who may ask.
pub(super) fn general(general: &Node, toml: &mut Toml, notes: &mut Notes) {
    notes.others(general, "general_settings.", &["master_key"]);
    if let Some(key) = general.at("master_key").text() {
        let key = key_line(key).replacen("api_key", "key", 1);
        toml.item("server.api_keys", vec!["name = \"master\"".to_owned(), key, "admin = true".to_owned()]);
    }
}

/// Deadlines, retries and the cache.
pub(super) fn library(library: &Node, router: &Node, deployments: &Deployments, toml: &mut Toml, notes: &mut Notes) {
    const FALLBACKS: [&str; 4] =
        ["fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks"];
    let known = ["request_timeout", "cache", "cache_params", "drop_params", "telemetry", "num_retries"];
    notes.others(library, "litellm_settings.", &[&known[..], &FALLBACKS].concat());
    let known =
        ["routing_strategy", "model_group_alias", "timeout", "stream_timeout", "enable_pre_call_checks", "num_retries"];
    notes.others(router, "router_settings.", &[&known[..], &FALLBACKS].concat());
    if let Some(provider) = &deployments.catch_all {
        toml.set("router", "provider", toml::text(provider));
    }
    let either = |a: &Node, b: &Node| a.number().or(b.number());
    if let Some(whole) = either(router.at("timeout"), library.at("request_timeout")).and_then(toml::duration) {
        toml.set("router", "timeouts.whole", whole);
    }
    if let Some(first) = router.at("stream_timeout").number().and_then(toml::duration) {
        toml.set("router", "timeouts.first_event", first);
    }
    for (node, key) in [(router, "router_settings.num_retries"), (library, "litellm_settings.num_retries")] {
        let retries = node.at("num_retries");
        match retries.number() {
            Some(0.0) => {
                toml.set("router", "retry_percent", "0");
                toml.set("router", "retry_floor", "0");
                return cache(library, toml, notes);
            }
            Some(_) => notes.add(retries, key, super::reason("num_retries").unwrap_or_default()),
            None => {}
        }
    }
    cache(library, toml, notes);
}

fn cache(library: &Node, toml: &mut Toml, notes: &mut Notes) {
    let params = library.at("cache_params");
    if !library.at("cache").is_on() {
        return;
    }
    toml.set("cache", "responses", "true");
    if let Some(ttl) = params.at("ttl").number().and_then(toml::duration) {
        toml.set("cache", "ttl", ttl);
    }
    if let Some(kind) = params.at("type").text().filter(|kind| !matches!(*kind, "local" | "disk")) {
        notes.add(
            params.at("type"),
            "litellm_settings.cache_params.type",
            format!("{kind}: answers are kept in memory and on this machine's disk"),
        );
    }
    notes.others(params, "litellm_settings.cache_params.", &["type", "ttl"]);
}
