//! Each row against what a person would look up in its manual, and the names against those of the config.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::dialect::openai_chat::{History, MaxTokens, ReasoningField};
use crate::ids::{ModelName, ProviderId};
use crate::provider::http::parse_url;

/// One line a row, of what a person would look up in the provider's manual: base URL, then each dialect's prefix and key header, key variables, model.
const MANUAL: &[(&str, &str)] = &[
    (
        "openrouter",
        "https://openrouter.ai/api/v1 | openai_chat:authorization | OPENROUTER_API_KEY | openai/gpt-4o-mini",
    ),
    (
        "openai",
        "https://api.openai.com/v1 | openai_responses:authorization openai_chat:authorization | OPENAI_API_KEY | gpt-6-luna",
    ),
    ("anthropic", "https://api.anthropic.com/v1 | anthropic:x-api-key | ANTHROPIC_API_KEY | claude-haiku-5-5"),
    (
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta | gemini:x-goog-api-key openai_chat/openai:authorization | GEMINI_API_KEY GOOGLE_API_KEY | gemini-3.5-flash-lite",
    ),
    (
        "hf_inference_api",
        "https://router.huggingface.co/v1 | openai_chat:authorization | HF_TOKEN HUGGINGFACEHUB_API_TOKEN HF_API_TOKEN | openai/gpt-oss-20b",
    ),
    ("groq", "https://api.groq.com/openai/v1 | openai_chat:authorization | GROQ_API_KEY | openai/gpt-oss-20b"),
    ("mistral", "https://api.mistral.ai/v1 | openai_chat:authorization | MISTRAL_API_KEY | mistral-small-latest"),
    ("deepseek", "https://api.deepseek.com/v1 | openai_chat:authorization | DEEPSEEK_API_KEY | deepseek-flash"),
    ("xai", "https://api.x.ai/v1 | openai_chat:authorization | XAI_API_KEY | grok-4.3"),
    ("together", "https://api.together.xyz/v1 | openai_chat:authorization | TOGETHER_API_KEY | zai-org/GLM-5.3-Flash"),
    (
        "fireworks",
        "https://api.fireworks.ai/inference/v1 | openai_chat:authorization | FIREWORKS_API_KEY | accounts/fireworks/models/glm-5p3-flash",
    ),
    ("cerebras", "https://api.cerebras.ai/v1 | openai_chat:authorization | CEREBRAS_API_KEY | gpt-oss-120b"),
    (
        "nvidia",
        "https://integrate.api.nvidia.com/v1 | openai_chat:authorization | NVIDIA_API_KEY | meta/llama-3.1-8b-instruct",
    ),
    (
        "perplexity",
        "https://api.perplexity.ai/v1 | openai_responses:authorization | PERPLEXITY_API_KEY | perplexity/sonar",
    ),
    ("azure_openai", "- | openai_responses/openai/v1:api-key openai_chat/openai/v1:api-key | AZURE_OPENAI_API_KEY | -"),
    ("ollama", "http://127.0.0.1:11434/v1 | openai_chat:authorization |  | -"),
    ("vllm", "- | openai_chat:authorization |  | -"),
    ("llama_cpp", "http://127.0.0.1:8080/v1 | openai_chat:authorization |  | -"),
    ("lmstudio", "http://127.0.0.1:1234/v1 | openai_chat:authorization |  | -"),
    ("sglang", "- | openai_chat:authorization |  | -"),
];

#[test]
fn every_row_says_what_the_manual_says() {
    for (id, _) in MANUAL {
        assert!(find(id).is_some_and(|preset| preset.id == *id), "{id} is in MANUAL and has no row in table.rs");
    }
    for preset in PRESETS {
        let manual = MANUAL.iter().find(|(id, _)| *id == preset.id).map(|(_, manual)| *manual);
        let manual = manual.unwrap_or_else(|| panic!("{} has a row in table.rs and none in MANUAL", preset.id));
        let spoken: Vec<String> = preset
            .speaks
            .iter()
            .map(|one| format!("{}{}:{}", one.dialect, one.prefix, one.auth.header("k").0))
            .collect();
        let row = format!(
            "{} | {} | {} | {}",
            preset.base_url.unwrap_or("-"),
            spoken.join(" "),
            preset.keys.join(" "),
            preset.default_model.unwrap_or("-"),
        );
        assert_eq!(row, manual, "{}", preset.id);
    }
}

/// What is different from the definition, by row; a row not named here takes everything.
#[test]
fn every_quirk_is_a_known_one() {
    use {History as H, MaxTokens as T, ReasoningField as R};
    let quirks = |id: &str| find(id).unwrap().quirks.clone();
    let (effort, old) = (R::Effort, T::Old);
    for (id, tokens, reasoning, history) in [
        ("openrouter", T::AsGiven, R::Object, H::Reasoning),
        ("openai", T::New, effort, H::Omit),
        ("anthropic", T::AsGiven, R::Unsupported, H::Omit),
        ("gemini", T::AsGiven, effort, H::Omit),
        ("hf_inference_api", T::AsGiven, R::AsGiven, H::ReasoningContent),
        ("groq", T::AsGiven, effort, H::Reasoning),
        ("mistral", old, R::Unsupported, H::Omit),
        ("deepseek", old, effort, H::ReasoningContent),
        ("xai", T::AsGiven, effort, H::Omit),
        ("together", old, R::AsGiven, H::ReasoningContent),
        ("fireworks", old, R::AsGiven, H::ReasoningContent),
        ("cerebras", T::New, effort, H::Reasoning),
        ("nvidia", old, R::AsGiven, H::ReasoningContent),
        ("perplexity", T::AsGiven, R::AsGiven, H::ReasoningContent),
        ("azure_openai", T::New, effort, H::Omit),
        ("ollama", old, effort, H::Reasoning),
        ("vllm", T::AsGiven, R::AsGiven, H::ReasoningContent),
        ("llama_cpp", old, R::AsGiven, H::ReasoningContent),
        ("lmstudio", old, R::AsGiven, H::ReasoningContent),
        ("sglang", T::AsGiven, R::AsGiven, H::ReasoningContent),
    ] {
        let quirks = quirks(id);
        assert_eq!((quirks.max_tokens, quirks.reasoning, quirks.history), (tokens, reasoning, history), "{id}");
    }
    let with = |test: fn(&Quirks) -> bool| -> Vec<&str> {
        PRESETS.iter().filter(|preset| test(&preset.quirks)).map(|preset| preset.id).collect()
    };
    assert_eq!(with(|q| q.no_stream_options), ["mistral"]);
    assert_eq!(with(|q| q.strict_alternation), [""; 0]);
    assert_eq!(with(|q| q.no_done), [""; 0]);
    assert_eq!(with(|q| q.text_as_string), ["nvidia"]);
    assert_eq!(with(|q| q.tool_choice_any), ["mistral"]);
    assert_eq!(with(|q| q.no_developer_role), ["mistral", "deepseek", "nvidia", "ollama", "llama_cpp", "lmstudio"]);
}

#[test]
fn rows_are_well_formed_and_their_names_unique() {
    let mut names: Vec<&str> = PRESETS.iter().flat_map(|p| p.aliases.iter().copied().chain([p.id])).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
    for preset in PRESETS {
        assert!(names.contains(&ProviderId::new(preset.id).unwrap().as_str()));
        assert!(preset.default_model.is_none_or(|model| ModelName::new(model).is_ok()));
        assert!(preset.base_url.is_none_or(|url| parse_url(url).is_ok() && !url.ends_with('/')), "{}", preset.id);
        assert!(!preset.speaks.is_empty(), "{}", preset.id);
        // Only an address of this machine may be tried without having been configured.
        assert!(!preset.probe || preset.base_url.unwrap().starts_with("http://127.0.0.1:"));
    }
}

#[test]
fn the_configuration_knows_the_same_names() {
    use crate::config::names::{self, Sort};
    use crate::config::variables;
    for name in names::presets() {
        assert!(
            find(name).is_some_and(|preset| preset.id == name),
            "{name} is in config/names.rs and has no row in table.rs"
        );
    }
    for preset in PRESETS {
        let named = names::builtin(preset.id).filter(|known| matches!(known.sort, Sort::Http | Sort::OwnServer));
        let named = named.unwrap_or_else(|| panic!("{} has a row in table.rs and none in config/names.rs", preset.id));
        assert_eq!(named.aliases, preset.aliases, "{}", preset.id);
        let known = variables::names_for(&format!("providers.{}.api_key", preset.id));
        for key in preset.keys {
            assert!(
                known.iter().any(|name| name == key),
                "{key} does not set the key of {} in config/variables.rs",
                preset.id
            );
        }
    }
}

#[test]
fn a_key_is_sent_as_its_dialect_wants() {
    assert_eq!(Auth::Bearer.header("k"), (http::header::AUTHORIZATION, "Bearer k".into()));
    assert_eq!(Auth::Header("x-api-key").header("k").1, "k");
}
