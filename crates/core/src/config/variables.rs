//! The table of every environment variable: its names, what it sets and what it means. `docs/environment.md` is made from it.
//!
//! Kind and default of a variable are those of the key it sets (`keys.rs`). Nothing is read here: `env.rs` does that, and only that file.

use super::keys::Key;

/// The prefixes, the first one winning. They are the original's.
pub const PREFIXES: &[&str] = &["IPFS_KIT_", "IPFS_DATASETS_PY_"];

/// Under which names a variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// With a prefix only.
    Prefixed,
    /// With a prefix, then as it stands.
    Both,
    /// As it stands only.
    Bare,
}

/// What a variable's value becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// The value of the keys, as it stands.
    Plain,
    /// On sets the keys; off says nothing.
    OnlyOn,
    /// Ollama's forms of an address, made the base of its OpenAI-compatible API.
    OllamaHost,
    /// No key: a place or a property of the terminal, for the code that asks.
    Asked,
}

/// One variable.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Variable {
    /// The name, without prefix.
    pub name: &'static str,
    /// Under which names it is read.
    pub scope: Scope,
    /// What the value becomes.
    pub rule: Rule,
    /// The keys that it sets. Where several variables set a key, prefixed names come before bare ones, then the order of the table counts.
    pub sets: &'static [&'static str],
    /// What it means.
    pub doc: &'static str,
}

impl Variable {
    /// Every full name, the first that is set winning.
    pub fn names(&self) -> Vec<String> {
        let prefixed = PREFIXES.iter().map(|prefix| format!("{prefix}{}", self.name));
        let bare = (self.scope != Scope::Prefixed).then(|| self.name.to_owned());
        prefixed.filter(|_| self.scope != Scope::Bare).chain(bare).collect()
    }

    /// The first key that it sets.
    pub fn key(&self) -> Option<&'static Key> {
        self.sets.first().and_then(|path| Key::find(path)).map(|(key, _)| key)
    }
}

/// The names under which a key is read, the first that is set winning: for messages such as "OPENAI_API_KEY is not set".
pub fn names_for(path: &str) -> Vec<String> {
    let setters = || VARIABLES.iter().filter(|variable| variable.sets.contains(&path));
    let prefixed =
        setters().flat_map(|variable| variable.names().into_iter().filter(move |name| *name != variable.name));
    prefixed.chain(setters().filter(|v| v.scope != Scope::Prefixed).map(|v| v.name.to_owned())).collect()
}

macro_rules! variables {
    ($($name:literal $scope:ident $rule:ident [$($set:literal),*] $doc:literal;)*) => {
        /// Every variable.
        pub static VARIABLES: &[Variable] = &[$(Variable {
            name: $name, scope: Scope::$scope, rule: Rule::$rule, sets: &[$($set),*], doc: $doc,
        },)*];
    };
}

variables! {
    "LLM_PROVIDER" Prefixed Plain ["router.provider"] "The provider that heads every automatic plan.";
    "LLM_MODEL" Prefixed Plain ["router.model"] "The default model of `openrouter`, `accelerate`, `local_hf` and of what `LLM_PROVIDER` names.";
    "ENABLE_IPFS_ACCELERATE" Prefixed Plain ["providers.accelerate.enabled"] "Whether `ipfs_accelerate_py` may answer.";

    "OPENROUTER_API_KEY" Both Plain ["providers.openrouter.api_key"] "The key for OpenRouter.";
    "OPENROUTER_MODEL" Prefixed Plain ["providers.openrouter.default_model"] "The default model of `openrouter`.";
    "OPENROUTER_BASE_URL" Prefixed Plain ["providers.openrouter.base_url"] "The address of OpenRouter's API.";
    "OPENROUTER_HTTP_REFERER" Bare Plain ["providers.openrouter.headers.HTTP-Referer"] "The site that OpenRouter attributes calls to.";
    "OPENROUTER_APP_TITLE" Bare Plain ["providers.openrouter.headers.X-Title"] "The title that OpenRouter attributes calls to.";

    "OPENAI_API_KEY" Both Plain ["providers.openai.api_key"] "The key for OpenAI.";
    "OPENAI_KEY" Bare Plain ["providers.openai.api_key"] "Another name of `OPENAI_API_KEY`.";
    "OPENAI_TOKEN" Bare Plain ["providers.openai.api_key"] "Another name of `OPENAI_API_KEY`.";
    "OPENAI_MODEL" Both Plain ["providers.openai.default_model"] "The default model of `openai`.";
    "OPENAI_BASE_URL" Both Plain ["providers.openai.base_url"] "The address of OpenAI's API.";
    "ANTHROPIC_API_KEY" Both Plain ["providers.anthropic.api_key"] "The key for Anthropic.";
    "GEMINI_API_KEY" Both Plain ["providers.gemini.api_key"] "The key for Gemini.";
    "GOOGLE_API_KEY" Both Plain ["providers.gemini.api_key"] "Another name of `GEMINI_API_KEY`.";

    "HF_TOKEN" Both Plain ["providers.hf_inference_api.api_key", "local.hub_token"] "The token for Hugging Face's Inference Providers and for its model hub.";
    "HUGGINGFACEHUB_API_TOKEN" Both Plain ["providers.hf_inference_api.api_key", "local.hub_token"] "Another name of `HF_TOKEN`.";
    "HF_API_TOKEN" Both Plain ["providers.hf_inference_api.api_key", "local.hub_token"] "Another name of `HF_TOKEN`, the original's.";
    "HF_INFERENCE_MODEL" Prefixed Plain ["providers.hf_inference_api.default_model"] "The default model of `hf_inference_api`.";
    "HF_INFERENCE_BASE_URL" Prefixed Plain ["providers.hf_inference_api.base_url"] "The address of the Inference Providers' API.";
    "HF_BILL_TO" Both Plain ["providers.hf_inference_api.headers.X-HF-Bill-To"] "The organisation that Hugging Face bills.";
    "HUGGINGFACE_BILL_TO" Bare Plain ["providers.hf_inference_api.headers.X-HF-Bill-To"] "Another name of `HF_BILL_TO`.";
    "HF_PROVIDER" Prefixed Plain ["providers.hf_inference_api.via"] "The Inference Provider: `auto`, `together`, `groq`, …";
    "HF_INFERENCE_PROVIDER" Prefixed Plain ["providers.hf_inference_api.via"] "Another name of `HF_PROVIDER`.";

    "GROQ_API_KEY" Both Plain ["providers.groq.api_key"] "The key for Groq.";
    "MISTRAL_API_KEY" Both Plain ["providers.mistral.api_key"] "The key for Mistral.";
    "DEEPSEEK_API_KEY" Both Plain ["providers.deepseek.api_key"] "The key for DeepSeek.";
    "XAI_API_KEY" Both Plain ["providers.xai.api_key"] "The key for xAI.";
    "TOGETHER_API_KEY" Both Plain ["providers.together.api_key"] "The key for Together.";
    "FIREWORKS_API_KEY" Both Plain ["providers.fireworks.api_key"] "The key for Fireworks.";
    "CEREBRAS_API_KEY" Both Plain ["providers.cerebras.api_key"] "The key for Cerebras.";
    "NVIDIA_API_KEY" Both Plain ["providers.nvidia.api_key"] "The key for NVIDIA.";
    "PERPLEXITY_API_KEY" Both Plain ["providers.perplexity.api_key"] "The key for Perplexity.";
    "AZURE_OPENAI_API_KEY" Both Plain ["providers.azure_openai.api_key"] "The key for Azure OpenAI.";
    "AZURE_OPENAI_API_VERSION" Both Plain ["providers.azure_openai.api_version"] "The version of Azure's API.";
    "AZURE_OPENAI_ENDPOINT" Both Plain ["providers.azure_openai.base_url"] "The address of the Azure resource.";
    "OLLAMA_HOST" Bare OllamaHost ["providers.ollama.base_url"] "Where Ollama listens, in any form that Ollama takes.";

    "CODEX_CLI_MODEL" Prefixed Plain ["providers.codex_cli.default_model"] "The default model of `codex_cli`.";
    "CODEX_MODEL" Prefixed Plain ["providers.codex_cli.default_model"] "Another name of `CODEX_CLI_MODEL`.";
    "CODEX_SANDBOX" Prefixed Plain ["providers.codex_cli.sandbox"] "What Codex may touch.";
    "CODEX_SKIP_GIT_REPO_CHECK" Prefixed Plain ["providers.codex_cli.skip_git_repo_check"] "Whether Codex may run outside a Git repository.";
    "COPILOT_CLI_CMD" Prefixed Plain ["providers.copilot_cli.command"] "The command line of the Copilot CLI; `{prompt}` and `{model}` are filled in, never by a shell.";
    "COPILOT_SDK_MODEL" Prefixed Plain ["providers.copilot_sdk.default_model"] "The default model of `copilot_sdk`.";
    "COPILOT_SDK_TIMEOUT" Prefixed Plain ["providers.copilot_sdk.timeouts.total"] "What a call of `copilot_sdk` may take; a bare number is seconds.";
    "GEMINI_CLI_CMD" Prefixed Plain ["providers.gemini_cli.command"] "The command line of the Gemini CLI.";
    "CLAUDE_CODE_CLI_CMD" Prefixed Plain ["providers.claude_code.command"] "The command line of Claude Code.";

    "ROUTER_CACHE" Prefixed Plain ["cache.providers"] "Whether provider instances are kept between calls.";
    "ROUTER_RESPONSE_CACHE" Prefixed Plain ["cache.responses"] "Whether answers are stored and used again.";
    "BENCHMARK" Prefixed OnlyOn ["cache.responses"] "On turns the response cache on, where `ROUTER_RESPONSE_CACHE` says nothing.";
    "ROUTER_CACHE_KEY" Prefixed Plain ["cache.key"] "How a cache key is printed.";
    "ROUTER_CACHE_CID_BASE" Prefixed Plain ["cache.cid_base"] "The base in which a CID is printed.";
    "ROUTER_CACHE_DIR" Prefixed Plain ["cache.dir"] "The folder of stored answers.";

    "HF_ENDPOINT" Bare Plain ["local.hub"] "The address of the model hub.";
    "HTTPS_PROXY" Bare Plain ["proxy.https"] "The proxy for `https` addresses: `http://` or `https://`, then `user:password@` where it wants one, `host:port`. A `socks` address is refused.";
    "https_proxy" Bare Plain ["proxy.https"] "Another name of `HTTPS_PROXY`.";
    "http_proxy" Bare Plain ["proxy.http"] "The proxy for `http` addresses.";
    "HTTP_PROXY" Bare Plain ["proxy.http"] "Another name of `http_proxy`.";
    "ALL_PROXY" Bare Plain ["proxy.all"] "The proxy for both, where they have none of their own.";
    "all_proxy" Bare Plain ["proxy.all"] "Another name of `ALL_PROXY`.";
    "NO_PROXY" Bare Plain ["proxy.no_proxy"] "Hosts that are reached directly, with commas between.";
    "no_proxy" Bare Plain ["proxy.no_proxy"] "Another name of `NO_PROXY`.";
    "OTEL_EXPORTER_OTLP_ENDPOINT" Bare Plain ["telemetry.otlp"] "Where OpenTelemetry data goes, by OTLP over HTTP in JSON.";
    "OTEL_EXPORTER_OTLP_HEADERS" Bare Plain ["telemetry.otlp_headers"] "Headers that go with OpenTelemetry data.";
    "OTEL_SERVICE_NAME" Bare Plain ["telemetry.service_name"] "What OpenTelemetry data calls this program.";
    "OTEL_RESOURCE_ATTRIBUTES" Bare Plain ["telemetry.resource"] "What OpenTelemetry data says besides of where it runs.";
    "OTEL_SDK_DISABLED" Bare OnlyOn ["telemetry.disabled"] "On sends no OpenTelemetry data.";

    "IPFS_LLM_ROUTER_LOG" Bare Asked [] "What the command says on standard error of its own work: `off`, `error`, `warn` (the default), `info`, `debug`, `trace`, or `TARGET=LEVEL` with commas between, `warn,llm_router=debug` for example. It comes before `--debug`.";
    "IPFS_LLM_ROUTER_CONFIG" Bare Asked [] "The config file, where `--config` names none.";
    "XDG_CONFIG_HOME" Bare Asked [] "The folder above the config folder; without it `$HOME/.config`.";
    "XDG_CACHE_HOME" Bare Asked [] "The folder above models and stored answers; without it `$HOME/.cache`.";
    "XDG_DATA_HOME" Bare Asked [] "The folder above the state; without it `$HOME/.local/share`.";
    "HOME" Bare Asked [] "The home folder.";
    "PATH" Bare Asked [] "The folders where programs are looked for; relative ones are passed over.";
    "NO_COLOR" Bare Asked [] "Anything in it turns colours off.";
    "TERM" Bare Asked [] "`dumb` turns colours and moving bars off.";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_variable_sets_keys_that_exist() {
        for variable in VARIABLES {
            assert_eq!(variable.sets.is_empty(), variable.rule == Rule::Asked, "{}", variable.name);
            for path in variable.sets {
                assert!(Key::find(path).is_some(), "{} sets {path}", variable.name);
            }
        }
    }

    #[test]
    fn prefixed_names_come_first() {
        assert_eq!(
            names_for("providers.codex_cli.default_model"),
            [
                "IPFS_KIT_CODEX_CLI_MODEL",
                "IPFS_DATASETS_PY_CODEX_CLI_MODEL",
                "IPFS_KIT_CODEX_MODEL",
                "IPFS_DATASETS_PY_CODEX_MODEL"
            ]
        );
        let names = names_for("providers.openai.api_key");
        assert_eq!(names.last().unwrap(), "OPENAI_TOKEN");
        assert_eq!(names.first().unwrap(), "IPFS_KIT_OPENAI_API_KEY");
    }
}
