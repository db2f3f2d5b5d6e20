//! The rows. To add an OpenAI-compatible provider: a row here and what its manual says in `tests.rs` beside it, its name in `config/names.rs`, the variable
//! of its key in `config/variables.rs`.
//!
//! The order is that of automatic plans. A difference in the wire format is a named field of [`Quirks`], never a condition in the code. What the fields
//! mean is `../presets.rs`.

use super::{Auth, Preset, Speaks};
use crate::dialect::Dialect;
use crate::dialect::openai_chat::{History, MaxTokens, Quirks, ReasoningField};
use crate::provider::Capabilities;

const fn speaks(dialect: Dialect, prefix: &'static str, auth: Auth) -> Speaks {
    Speaks { dialect, prefix, auth }
}

/// `openai_chat` right below the base URL, with a bearer key: what most rows speak. Also what a provider without a preset speaks.
pub const CHAT: Speaks = speaks(Dialect::OpenaiChat, "", Auth::Bearer);

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
    told_to_continue: false,
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
    speaks: &[CHAT],
    capabilities: Capabilities::ALL,
    quirks: PLAIN,
    prefill: false,
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
        default_model: Some("gpt-6-luna"),
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
        default_model: Some("claude-haiku-5-5"),
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
        default_model: Some("gemini-3.5-flash-lite"),
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
        default_model: Some("deepseek-flash"),
        capabilities: Capabilities { json_schema: false, ..TEXT_AND_TOOLS },
        quirks: Quirks {
            max_tokens: MaxTokens::Old,
            no_developer_role: true,
            reasoning: ReasoningField::Effort,
            unsupported: &["n", "logit_bias", "seed"],
            ..PLAIN
        },
        ..ROW
    },
    Preset {
        id: "xai",
        base_url: Some("https://api.x.ai/v1"),
        keys: &["XAI_API_KEY"],
        default_model: Some("grok-4.3"),
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
        default_model: Some("zai-org/GLM-5.3-Flash"),
        quirks: Quirks { max_tokens: MaxTokens::Old, ..PLAIN },
        ..ROW
    },
    Preset {
        id: "fireworks",
        base_url: Some("https://api.fireworks.ai/inference/v1"),
        keys: &["FIREWORKS_API_KEY"],
        default_model: Some("accounts/fireworks/models/glm-5p3-flash"),
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
        base_url: Some("https://api.perplexity.ai/v1"),
        keys: &["PERPLEXITY_API_KEY"],
        default_model: Some("perplexity/sonar"),
        // Its chat format is no longer supported: what took its place follows OpenAI's newer one.
        speaks: &[speaks(Dialect::OpenaiResponses, "", Auth::Bearer)],
        capabilities: Capabilities { images: true, ..TEXT_AND_TOOLS },
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
    Preset { id: "vllm", prefill: true, quirks: Quirks { told_to_continue: true, ..PLAIN }, ..ROW },
    Preset {
        id: "llama_cpp",
        base_url: Some("http://127.0.0.1:8080/v1"),
        capabilities: Capabilities { multiple_choices: false, ..Capabilities::ALL },
        prefill: true,
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
    Preset { id: "sglang", prefill: true, quirks: Quirks { told_to_continue: true, ..PLAIN }, ..ROW },
];
