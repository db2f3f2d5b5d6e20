//! Who is there, in which order, and what a reload keeps.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::config::Credential;
use crate::provider::Availability;
use crate::secret::Secret;
use crate::testing::scripted::Scripted;

fn id(text: &str) -> ProviderId {
    ProviderId::new(text).unwrap()
}

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
}

fn lab(key: &str) -> ProviderSettings {
    ProviderSettings {
        base_url: Some("http://127.0.0.1:9100/v1".into()),
        credentials: vec![Credential::Value(Secret::new(key))],
        ..ProviderSettings::default()
    }
}

fn entries(registry: &Registry, settings: &Settings) -> Vec<Entry> {
    registry.entries(settings, &Surroundings::default()).unwrap()
}

fn find<'a>(entries: &'a [Entry], name: &str) -> &'a Entry {
    entries.iter().find(|entry| entry.is(name)).unwrap()
}

#[test]
fn the_order_is_the_resolution_order() {
    let registry = Registry::default();
    let settings = settings(|s| {
        s.providers.insert(id("lab"), lab("k"));
        s.providers.insert(id("lmstudio"), lab("k"));
    });
    registry.register(Arc::new(Scripted::text("mine", "hi")), vec![id("me")], None);
    // Of the presets without a place of their own some stand for all.
    let expected = "ipfs_peer accelerate mine openrouter openai anthropic gemini hf_inference_api codex_cli copilot_cli gemini_cli claude_code \
         copilot_sdk groq mistral azure_openai vllm lmstudio lab ollama llama_cpp local_hf local gemini_py claude_py";
    let shown: Vec<&str> = expected.split_whitespace().collect();
    let entries = entries(&registry, &settings);
    let ids = entries.iter().map(|entry| entry.id.as_str()).filter(|id| shown.contains(id));
    assert_eq!(ids.collect::<Vec<_>>(), shown);
}

#[test]
fn aliases_resolve_and_every_absence_says_why() {
    let entries = entries(&Registry::default(), &Settings::default());
    for (alias, to) in [
        ("hf_inference", "hf_inference_api"),
        ("codex", "codex_cli"),
        ("claude", "claude_py"),
        ("hf", "local_hf"),
        ("ipfs_peers", "ipfs_peer"),
    ] {
        assert_eq!(find(&entries, alias).id, id(to));
    }
    for entry in &entries {
        if let Availability::Missing { what, hint } = entry.provider.availability() {
            assert!(!what.is_empty() && !hint.is_empty(), "{}", entry.id);
        }
    }
    let Availability::Missing { what, .. } = find(&entries, "groq").provider.availability() else { panic!() };
    assert_eq!(what, "GROQ_API_KEY is not set");
}

#[test]
fn a_reload_keeps_what_did_not_change() {
    let registry = Registry::default();
    let with = |key: &str| settings(|s| drop(s.providers.insert(id("lab"), lab(key))));
    let first = entries(&registry, &with("a"));
    let same = entries(&registry, &with("a"));
    let other = entries(&registry, &with("b"));
    let pointer = |entries: &[Entry], name| Arc::as_ptr(&find(entries, name).provider).cast::<()>();
    assert_eq!(pointer(&first, "lab"), pointer(&same, "lab"));
    assert_ne!(pointer(&first, "lab"), pointer(&other, "lab"));
    assert_eq!(pointer(&first, "openai"), pointer(&other, "openai"));
    assert_eq!(registry.clear(), first.len());
    assert_eq!(registry.clear(), 0);
    assert_ne!(pointer(&first, "openai"), pointer(&entries(&registry, &with("b")), "openai"));
}

#[test]
fn a_provider_registered_by_hand_replaces_one_by_name() {
    let registry = Registry::default();
    registry.register(Arc::new(Scripted::text("openai", "hi")), Vec::new(), None);
    registry.register(Arc::new(Scripted::text("local", "hi")), Vec::new(), None);
    registry.register(Arc::new(Scripted::text("groq", "hi")), Vec::new(), Some(Automatic::No));
    let entries = entries(&registry, &Settings::default());
    assert!(find(&entries, "openai").provider.availability().is_ready());
    assert_eq!(find(&entries, "local").automatic, Automatic::Floor);
    assert_eq!(find(&entries, "groq").automatic, Automatic::No);
    assert_eq!(entries.iter().filter(|entry| entry.id == "openai").count(), 1);
}

#[test]
fn commands_and_switched_off_providers() {
    let settings = settings(|s| {
        let command = ProviderSettings { command: Some("cat {prompt}".into()), ..ProviderSettings::default() };
        s.providers.insert(id("my_agent"), command);
        let off = ProviderSettings { enabled: Some(false), ..lab("k") };
        s.providers.insert(id("openai"), off);
    });
    let entries = entries(&Registry::default(), &settings);
    assert!(!find(&entries, "my_agent").provider.describe().dialects.is_empty());
    let Availability::Missing { what, .. } = find(&entries, "openai").provider.availability() else { panic!() };
    assert!(what.contains("turned off"), "{what}");
    let broken = self::settings(|s| {
        s.providers.insert(id("lab"), ProviderSettings { base_url: Some("nonsense".into()), ..lab("k") });
    });
    let error = Registry::default().entries(&broken, &Surroundings::default()).unwrap_err();
    assert_eq!(error.provider(), Some(&id("lab")));
}
