//! The pages and the example are those of the tables.

use std::time::Duration;

use llm_router::config::keys::KEYS;
use llm_router::config::{Origin, configuration_md, environment_md};

use crate::support::{case, repository};

#[test]
fn the_example_sets_every_key() {
    let text = std::fs::read_to_string(repository("docs/config.example.toml")).unwrap();
    let case = case()
        .file(text)
        .var("LAB_KEY", "k1")
        .var("LAB_KEY_2", "k2")
        .var("ROUTER_KEY", "k3")
        .var("ROUTER_STORE", "redis://127.0.0.1/");
    let loaded = case.loaded();
    for key in KEYS {
        let pattern: Vec<_> = key.path.split('.').filter(|part| *part != "[]").collect();
        let set = loaded.entries.iter().filter(|entry| entry.origin != Origin::Default).any(|entry| {
            let parts: Vec<_> = entry.key.split('.').map(|part| part.split('[').next().unwrap()).collect();
            let listed = entry.key.contains('[') == key.path.contains('[');
            listed
                && parts.len() == pattern.len()
                && parts.iter().zip(&pattern).all(|(part, name)| *name == "*" || part == name)
        });
        // Other forms of what `store.url_env` gives.
        let set = set || ["store.url", "store.url_file"].contains(&key.path);
        assert!(set, "docs/config.example.toml does not set {}", key.path);
    }
    let lab = &loaded.settings.providers["lab"];
    assert_eq!(lab.credentials.len(), 5);
    assert_eq!(lab.timeouts.whole, Some(Duration::from_secs(300)));
    assert_eq!(lab.max_in_flight, Some(64));
    let has = |name: &str| loaded.settings.providers.contains_key(name);
    assert!(lab.configured && has("codex_cli") && !has("codex"));
    assert_eq!(loaded.settings.server.api_keys.len(), 3);
    assert_eq!(loaded.settings.routes["fast"].groups.len(), 2);
    assert_eq!(loaded.settings.cache.ttl, Some(Duration::from_secs(86_400)));
    insta::assert_snapshot!("show", case.tidy(&loaded.show(true)));
    let warnings: Vec<_> =
        loaded.warnings.iter().filter(|w| !w.message.contains("chmod")).map(ToString::to_string).collect();
    insta::assert_snapshot!("warnings", case.tidy(&warnings.join("\n")));
}

#[test]
fn the_documents_are_those_of_the_tables() {
    for (path, text) in [("docs/environment.md", environment_md()), ("docs/configuration.md", configuration_md())] {
        let kept = std::fs::read_to_string(repository(path)).unwrap_or_default();
        assert!(kept == text, "{path} is stale: its first lines say how to write it anew");
    }
}
