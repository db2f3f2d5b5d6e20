//! The known HTTP providers, a row each: where they are, how a key is sent, what they speak and what they do differently.
//!
//! To add an OpenAI-compatible provider: a row in [`PRESETS`], a row in the table test below, its name in `config/names.rs` and the variable of its key in
//! `config/variables.rs`; nothing else knows a provider by name. A difference in the wire format is a named field of [`Quirks`], never a condition in the
//! code. What turns a row and a config section into a provider is `upstream.rs`.

use http::HeaderName;

use super::Capabilities;
use crate::dialect::Dialect;
use crate::dialect::openai_chat::{History, MaxTokens, Quirks, ReasoningField};

/// A row of the table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Preset {
    /// The provider's id.
    pub id: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// Where it is; `None` where only its user knows.
    pub base_url: Option<&'static str>,
    /// The bare names of the variables that hold its key, the first one that is set winning. Empty: it needs no key.
    pub keys: &'static [&'static str],
    /// The model used when none is named; `None` takes the first that the server lists.
    pub default_model: Option<&'static str>,
    /// What it speaks, the preferred dialect first.
    pub speaks: &'static [Speaks],
    /// What it can do. Aggregators and servers of one's own judge for themselves.
    pub capabilities: Capabilities,
    /// How its `openai_chat` differs.
    pub quirks: Quirks,
    /// Whether the default address is tried by connecting, without having been configured.
    pub probe: bool,
}

/// A dialect and where and how it is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speaks {
    /// The dialect.
    pub dialect: Dialect,
    /// What stands between base URL and the dialect's own path.
    pub prefix: &'static str,
    /// How the key is sent.
    pub auth: Auth,
}

/// How a key is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer …`
    Bearer,
    /// The key alone in this header.
    Header(&'static str),
}

impl Auth {
    /// The header and its value.
    pub fn header(self, key: &str) -> (HeaderName, String) {
        match self {
            Self::Bearer => (http::header::AUTHORIZATION, format!("Bearer {key}")),
            Self::Header(name) => (HeaderName::from_static(name), key.to_owned()),
        }
    }
}

const fn speaks(dialect: Dialect, prefix: &'static str, auth: Auth) -> Speaks {
    Speaks { dialect, prefix, auth }
}

/// `openai_chat` right below the base URL, with a bearer key: what most rows speak. Also what a provider without a preset speaks.
pub const CHAT: &[Speaks] = &[speaks(Dialect::OpenaiChat, "", Auth::Bearer)];

/// What most servers do: nothing differently.
const PLAIN: Quirks = Quirks {
    max_tokens: MaxTokens::AsGiven,
    no_developer_role: false,
    no_stream_options: false,
    strict_alternation: false,
    text_as_string: false,
    no_done: false,
    tool_choice_any: false,
    reasoning: ReasoningField::AsGiven,
    history: History::ReasoningContent,
    unsupported: &[],
};

const TEXT_AND_TOOLS: Capabilities =
    Capabilities { tools: true, images: false, audio: false, files: false, json_schema: true, multiple_choices: false };

/// What every row not said otherwise is.
const ROW: Preset = Preset {
    id: "",
    aliases: &[],
    base_url: None,
    keys: &[],
    default_model: None,
    speaks: CHAT,
    capabilities: Capabilities::ALL,
    quirks: PLAIN,
    probe: false,
};

/// Every preset, in the order in which automatic plans consider them.
pub const PRESETS: &[Preset] = &[
    Preset {
        id: "openrouter",
        base_url: Some("https://openrouter.ai/api/v1"),
        keys: &["OPENROUTER_API_KEY"],
        default_model: Some("openai/gpt-4o-mini"),
        quirks: Quirks { reasoning: ReasoningField::Object, history: History::Reasoning, ..PLAIN },
        ..ROW
    },
    Preset {
        id: "openai",
        base_url: Some("https://api.openai.com/v1"),
        keys: &["OPENAI_API_KEY"],
        default_model: Some("gpt-4.1-mini"),
        speaks: &[speaks(Dialect::OpenaiResponses, "", Auth::Bearer), speaks(Dialect::OpenaiChat, "", Auth::Bearer)],
        quirks: Quirks {
            max_tokens: MaxTokens::New,
            reasoning: ReasoningField::Effort,
            history: History::Omit,
            ..PLAIN
        },
        ..ROW
    },
    Preset {
        id: "anthropic",
        base_url: Some("https://api.anthropic.com/v1"),
        keys: &["ANTHROPIC_API_KEY"],
        default_model: Some("claude-haiku-4-5"),
        // Its imitation of `openai_chat` is not offered: it ignores half of it, and requests of that dialect are translated better here.
        speaks: &[speaks(Dialect::Anthropic, "", Auth::Header("x-api-key"))],
        capabilities: Capabilities { multiple_choices: false, audio: false, ..Capabilities::ALL },
        quirks: Quirks {
            reasoning: ReasoningField::Unsupported,
            history: History::Omit,
            // Its compatible endpoint ignores these in silence; said aloud they are dropped by name or refused.
            unsupported: &[
                "response_format",
                "n",
                "logprobs",
                "top_logprobs",
                "logit_bias",
                "seed",
                "presence_penalty",
                "frequency_penalty",
            ],
            ..PLAIN
        },
        ..ROW
    },
    Preset {
        id: "gemini",
        base_url: Some("https://generativelanguage.googleapis.com/v1beta"),
        keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        default_model: Some("gemini-2.5-flash"),
        speaks: &[
            speaks(Dialect::Gemini, "", Auth::Header("x-goog-api-key")),
            speaks(Dialect::OpenaiChat, "/openai", Auth::Bearer),
        ],
        quirks: Quirks {
            reasoning: ReasoningField::Effort,
            history: History::Omit,
            unsupported: &["logit_bias", "logprobs", "top_logprobs"],
            ..PLAIN
        },
        ..ROW
    },
    Preset {
        id: "hf_inference_api",
        aliases: &["hf_inference"],
        base_url: Some("https://router.huggingface.co/v1"),
        keys: &["HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "HF_API_TOKEN"],
        default_model: Some("openai/gpt-oss-20b"),
        ..ROW
    },
    Preset {
        id: "groq",
        base_url: Some("https://api.groq.com/openai/v1"),
        keys: &["GROQ_API_KEY"],
        default_model: Some("openai/gpt-oss-20b"),
        capabilities: Capabilities { multiple_choices: false, audio: false, files: false, ..Capabilities::ALL },
        quirks: Quirks {
            reasoning: ReasoningField::Effort,
            history: History::Reasoning,
            unsupported: &["logprobs", "top_logprobs", "logit_bias", "n"],
            ..PLAIN
        },
        ..ROW
    },
    Preset {
        id: "mistral",
        base_url: Some("https://api.mistral.ai/v1"),
        keys: &["MISTRAL_API_KEY"],
        default_model: Some("mistral-small-latest"),
        quirks: Quirks {
            max_tokens: MaxTokens::Old,
            no_developer_role: true,
            no_stream_options: true,
            tool_choice_any: true,
            reasoning: ReasoningField::Unsupported,
            history: History::Omit,
            unsupported: &["logprobs", "top_logprobs", "logit_bias", "seed", "user"],
            ..PLAIN
        },
        ..ROW
    },
    Preset {
        id: "deepseek",
        base_url: Some("https://api.deepseek.com/v1"),
        keys: &["DEEPSEEK_API_KEY"],
        default_model: Some("deepseek-chat"),
        capabilities: Capabilities { json_schema: false, ..TEXT_AND_TOOLS },
        quirks: Quirks {
            max_tokens: MaxTokens::Old,
            no_developer_role: true,
            reasoning: ReasoningField::Unsupported,
            unsupported: &["n", "logit_bias", "seed"],
            ..PLAIN
        },
        ..ROW
    },
    Preset {
        id: "xai",
        base_url: Some("https://api.x.ai/v1"),
        keys: &["XAI_API_KEY"],
        default_model: Some("grok-4-fast-non-reasoning"),
        quirks: Quirks {
            reasoning: ReasoningField::Effort,
            history: History::Omit,
            unsupported: &["logit_bias"],
            ..PLAIN
        },
        ..ROW
    },
    Preset {
        id: "together",
        base_url: Some("https://api.together.xyz/v1"),
        keys: &["TOGETHER_API_KEY"],
        default_model: Some("meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        quirks: Quirks { max_tokens: MaxTokens::Old, ..PLAIN },
        ..ROW
    },
    Preset {
        id: "fireworks",
        base_url: Some("https://api.fireworks.ai/inference/v1"),
        keys: &["FIREWORKS_API_KEY"],
        default_model: Some("accounts/fireworks/models/gpt-oss-20b"),
        quirks: Quirks { max_tokens: MaxTokens::Old, ..PLAIN },
        ..ROW
    },
    Preset {
        id: "cerebras",
        base_url: Some("https://api.cerebras.ai/v1"),
        keys: &["CEREBRAS_API_KEY"],
        default_model: Some("gpt-oss-120b"),
        capabilities: TEXT_AND_TOOLS,
        quirks: Quirks {
            max_tokens: MaxTokens::New,
            reasoning: ReasoningField::Effort,
            history: History::Reasoning,
            unsupported: &["frequency_penalty", "presence_penalty", "logit_bias"],
            ..PLAIN
        },
        ..ROW
    },
    Preset {
        id: "nvidia",
        base_url: Some("https://integrate.api.nvidia.com/v1"),
        keys: &["NVIDIA_API_KEY"],
        default_model: Some("meta/llama-3.1-8b-instruct"),
        quirks: Quirks { max_tokens: MaxTokens::Old, no_developer_role: true, text_as_string: true, ..PLAIN },
        ..ROW
    },
    Preset {
        id: "perplexity",
        base_url: Some("https://api.perplexity.ai"),
        keys: &["PERPLEXITY_API_KEY"],
        default_model: Some("sonar"),
        capabilities: Capabilities { tools: false, images: true, ..TEXT_AND_TOOLS },
        quirks: Quirks {
            max_tokens: MaxTokens::Old,
            no_developer_role: true,
            no_stream_options: true,
            strict_alternation: true,
            no_done: true,
            history: History::Omit,
            unsupported: &[
                "tools",
                "tool_choice",
                "parallel_tool_calls",
                "n",
                "logprobs",
                "top_logprobs",
                "logit_bias",
                "seed",
            ],
            ..PLAIN
        },
        ..ROW
    },
    Preset {
        id: "azure_openai",
        keys: &["AZURE_OPENAI_API_KEY"],
        speaks: &[
            speaks(Dialect::OpenaiResponses, "/openai/v1", Auth::Header("api-key")),
            speaks(Dialect::OpenaiChat, "/openai/v1", Auth::Header("api-key")),
        ],
        quirks: Quirks {
            max_tokens: MaxTokens::New,
            reasoning: ReasoningField::Effort,
            history: History::Omit,
            ..PLAIN
        },
        ..ROW
    },
    Preset {
        id: "ollama",
        base_url: Some("http://127.0.0.1:11434/v1"),
        capabilities: Capabilities { images: true, ..TEXT_AND_TOOLS },
        quirks: Quirks {
            max_tokens: MaxTokens::Old,
            no_developer_role: true,
            reasoning: ReasoningField::Effort,
            history: History::Reasoning,
            unsupported: &["n", "logit_bias", "tool_choice"],
            ..PLAIN
        },
        probe: true,
        ..ROW
    },
    Preset { id: "vllm", ..ROW },
    Preset {
        id: "llama_cpp",
        base_url: Some("http://127.0.0.1:8080/v1"),
        capabilities: Capabilities { multiple_choices: false, ..Capabilities::ALL },
        quirks: Quirks { max_tokens: MaxTokens::Old, no_developer_role: true, ..PLAIN },
        probe: true,
        ..ROW
    },
    Preset {
        id: "lmstudio",
        base_url: Some("http://127.0.0.1:1234/v1"),
        capabilities: Capabilities { images: true, ..TEXT_AND_TOOLS },
        quirks: Quirks { max_tokens: MaxTokens::Old, no_developer_role: true, ..PLAIN },
        probe: true,
        ..ROW
    },
    Preset { id: "sglang", ..ROW },
];

/// The row of an id or alias.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.id == name || preset.aliases.contains(&name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
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
            "https://api.openai.com/v1 | openai_responses:authorization openai_chat:authorization | OPENAI_API_KEY | gpt-4.1-mini",
        ),
        ("anthropic", "https://api.anthropic.com/v1 | anthropic:x-api-key | ANTHROPIC_API_KEY | claude-haiku-4-5"),
        (
            "gemini",
            "https://generativelanguage.googleapis.com/v1beta | gemini:x-goog-api-key openai_chat/openai:authorization | GEMINI_API_KEY GOOGLE_API_KEY | gemini-2.5-flash",
        ),
        (
            "hf_inference_api",
            "https://router.huggingface.co/v1 | openai_chat:authorization | HF_TOKEN HUGGINGFACEHUB_API_TOKEN HF_API_TOKEN | openai/gpt-oss-20b",
        ),
        ("groq", "https://api.groq.com/openai/v1 | openai_chat:authorization | GROQ_API_KEY | openai/gpt-oss-20b"),
        ("mistral", "https://api.mistral.ai/v1 | openai_chat:authorization | MISTRAL_API_KEY | mistral-small-latest"),
        ("deepseek", "https://api.deepseek.com/v1 | openai_chat:authorization | DEEPSEEK_API_KEY | deepseek-chat"),
        ("xai", "https://api.x.ai/v1 | openai_chat:authorization | XAI_API_KEY | grok-4-fast-non-reasoning"),
        (
            "together",
            "https://api.together.xyz/v1 | openai_chat:authorization | TOGETHER_API_KEY | meta-llama/Llama-3.3-70B-Instruct-Turbo",
        ),
        (
            "fireworks",
            "https://api.fireworks.ai/inference/v1 | openai_chat:authorization | FIREWORKS_API_KEY | accounts/fireworks/models/gpt-oss-20b",
        ),
        ("cerebras", "https://api.cerebras.ai/v1 | openai_chat:authorization | CEREBRAS_API_KEY | gpt-oss-120b"),
        (
            "nvidia",
            "https://integrate.api.nvidia.com/v1 | openai_chat:authorization | NVIDIA_API_KEY | meta/llama-3.1-8b-instruct",
        ),
        ("perplexity", "https://api.perplexity.ai | openai_chat:authorization | PERPLEXITY_API_KEY | sonar"),
        (
            "azure_openai",
            "- | openai_responses/openai/v1:api-key openai_chat/openai/v1:api-key | AZURE_OPENAI_API_KEY | -",
        ),
        ("ollama", "http://127.0.0.1:11434/v1 | openai_chat:authorization |  | -"),
        ("vllm", "- | openai_chat:authorization |  | -"),
        ("llama_cpp", "http://127.0.0.1:8080/v1 | openai_chat:authorization |  | -"),
        ("lmstudio", "http://127.0.0.1:1234/v1 | openai_chat:authorization |  | -"),
        ("sglang", "- | openai_chat:authorization |  | -"),
    ];

    #[test]
    fn every_row_says_what_the_manual_says() {
        assert_eq!(PRESETS.len(), MANUAL.len());
        for (preset, (id, manual)) in PRESETS.iter().zip(MANUAL) {
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
            assert_eq!((preset.id, row.as_str()), (*id, *manual));
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
            ("deepseek", old, R::Unsupported, H::ReasoningContent),
            ("xai", T::AsGiven, effort, H::Omit),
            ("together", old, R::AsGiven, H::ReasoningContent),
            ("fireworks", old, R::AsGiven, H::ReasoningContent),
            ("cerebras", T::New, effort, H::Reasoning),
            ("nvidia", old, R::AsGiven, H::ReasoningContent),
            ("perplexity", old, R::AsGiven, H::Omit),
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
        assert_eq!(with(|q| q.no_stream_options), ["mistral", "perplexity"]);
        assert_eq!(with(|q| q.strict_alternation), ["perplexity"]);
        assert_eq!(with(|q| q.no_done), ["perplexity"]);
        assert_eq!(with(|q| q.text_as_string), ["nvidia"]);
        assert_eq!(with(|q| q.tool_choice_any), ["mistral"]);
        assert_eq!(
            with(|q| q.no_developer_role),
            ["mistral", "deepseek", "nvidia", "perplexity", "ollama", "llama_cpp", "lmstudio"]
        );
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
            assert!(preset.speaks.iter().any(|one| crate::dialect::codec(one.dialect).is_some()), "{}", preset.id);
            // Only an address of this machine may be tried without having been configured.
            assert!(!preset.probe || preset.base_url.unwrap().starts_with("http://127.0.0.1:"));
        }
    }

    #[test]
    fn the_configuration_knows_the_same_names() {
        use crate::config::{names, variables};
        let ids: Vec<&str> = PRESETS.iter().map(|preset| preset.id).collect();
        assert_eq!(names::presets().collect::<Vec<_>>(), ids);
        for preset in PRESETS {
            assert_eq!(names::builtin(preset.id).unwrap().aliases, preset.aliases);
            let known = variables::names_for(&format!("providers.{}.api_key", preset.id));
            for key in preset.keys {
                assert!(known.iter().any(|name| name == key), "{key}");
            }
        }
    }

    #[test]
    fn a_key_is_sent_as_its_dialect_wants() {
        assert_eq!(Auth::Bearer.header("k"), (http::header::AUTHORIZATION, "Bearer k".into()));
        assert_eq!(Auth::Header("x-api-key").header("k").1, "k");
    }
}
