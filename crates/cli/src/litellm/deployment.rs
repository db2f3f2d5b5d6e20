//! A deployment of `model_list` as a target: whose API it is, at which address, with which key. Deployments that share all three share a section.

use super::Notes;
use super::toml::{self, Toml};
use super::yaml::Node;

/// What a prefix of LiteLLM's names is here: the preset, the variable that its key is in by default, and what its addresses lack.
struct Known {
    prefix: &'static str,
    preset: &'static str,
    variable: &'static str,
    path: &'static str,
}

const fn known(prefix: &'static str, preset: &'static str, variable: &'static str) -> Known {
    Known { prefix, preset, variable, path: "" }
}

const KNOWN: &[Known] = &[
    known("openai", "openai", "OPENAI_API_KEY"),
    known("azure", "azure_openai", "AZURE_API_KEY"),
    Known { path: "/v1", ..known("anthropic", "anthropic", "ANTHROPIC_API_KEY") },
    known("gemini", "gemini", "GEMINI_API_KEY"),
    known("groq", "groq", "GROQ_API_KEY"),
    known("mistral", "mistral", "MISTRAL_API_KEY"),
    known("deepseek", "deepseek", "DEEPSEEK_API_KEY"),
    known("xai", "xai", "XAI_API_KEY"),
    known("together_ai", "together", "TOGETHERAI_API_KEY"),
    known("fireworks_ai", "fireworks", "FIREWORKS_AI_API_KEY"),
    known("cerebras", "cerebras", "CEREBRAS_API_KEY"),
    known("nvidia_nim", "nvidia", "NVIDIA_NIM_API_KEY"),
    known("perplexity", "perplexity", "PERPLEXITYAI_API_KEY"),
    known("openrouter", "openrouter", "OPENROUTER_API_KEY"),
    known("huggingface", "hf_inference_api", "HUGGINGFACE_API_KEY"),
    Known { path: "/v1", ..known("ollama", "ollama", "") },
    Known { path: "/v1", ..known("ollama_chat", "ollama", "") },
    known("hosted_vllm", "vllm", "HOSTED_VLLM_API_KEY"),
    known("lm_studio", "lmstudio", "LM_STUDIO_API_KEY"),
];

/// Names without a prefix whose maker LiteLLM knows.
const BARE: &[(&str, &str)] = &[
    ("gpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("chatgpt-", "openai"),
    ("text-embedding-", "openai"),
    ("dall-e-", "openai"),
    ("claude-", "anthropic"),
];

/// An address that nobody has, in place of one that only a variable names.
const UNSET: &str = "https://set-me.invalid/v1";

/// A provider's section.
#[derive(Debug, PartialEq)]
struct Provider {
    id: String,
    preset: &'static str,
    base_url: Option<String>,
    api_version: Option<String>,
    /// The key's line: `api_key_env = "X"`.
    key: Option<String>,
    /// Lines of `headers`, names quoted.
    headers: Vec<String>,
}

/// A deployment that could be converted.
#[derive(Debug)]
pub(super) struct Deployment {
    /// What clients call it.
    pub(super) name: String,
    pub(super) line: usize,
    /// `provider/model`.
    pub(super) target: String,
    /// Its share among those of the same name, where it has one.
    pub(super) weight: Option<u64>,
    /// Lines of `[models."provider/model"]`.
    model: Vec<(String, String)>,
    /// Lines of `[prices."provider/model"]`.
    price: Vec<(String, String)>,
}

/// All that could be converted.
#[derive(Debug, Default)]
pub(super) struct Deployments {
    pub(super) all: Vec<Deployment>,
    providers: Vec<Provider>,
    /// The provider for every name that nothing else knows.
    pub(super) catch_all: Option<String>,
}

const PARAMS: &[&str] = &[
    "model",
    "api_key",
    "api_base",
    "base_url",
    "api_version",
    "custom_llm_provider",
    "organization",
    "extra_headers",
    "headers",
    "weight",
    "rpm",
    "tpm",
    "timeout",
    "stream_timeout",
    "input_cost_per_token",
    "output_cost_per_token",
    "drop_params",
];
const INFO: &[&str] =
    &["id", "mode", "input_cost_per_token", "output_cost_per_token", "max_input_tokens", "base_model", "description"];

impl Deployments {
    pub(super) fn add(&mut self, node: &Node, notes: &mut Notes) {
        let params = node.at("litellm_params");
        let (Some(name), Some(model)) = (node.at("model_name").text(), params.at("model").text()) else {
            return notes.add(node, "model_list", "a deployment without model_name or litellm_params.model: left out");
        };
        let Some((known, model)) = known_of(model, params) else {
            let why = format!("{model:?}: no provider here has this prefix; left out");
            return notes.add(params.at("model"), "litellm_params.model", why);
        };
        notes.others(node, "", &["model_name", "litellm_params", "model_info", "rpm", "tpm"]);
        notes.others(params, "litellm_params.", PARAMS);
        let info = node.at("model_info");
        notes.others(info, "model_info.", INFO);
        if let Some(mode @ ("batch" | "audio_transcription" | "audio_speech" | "rerank" | "moderation")) =
            info.at("mode").text()
        {
            notes.add(info.at("mode"), "model_info.mode", format!("{mode}: its paths are under /passthrough only"));
        }
        for (table, above) in [(params, "litellm_params."), (node, "")] {
            for key in ["rpm", "tpm"].into_iter().filter(|key| table.at(key).is_there()) {
                let why = "it counts as a share among the deployments of one name, and is no limit here";
                notes.add(table.at(key), format!("{above}{key}"), why);
            }
        }
        let provider = self.provider(known, params, notes);
        if let Some(prefix) = model.strip_suffix('*') {
            return self.any(name, prefix, &provider, node, notes);
        }
        if model.is_empty() {
            return notes.add(params.at("model"), "litellm_params.model", "it names no model; left out");
        }
        let target = format!("{provider}/{model}");
        let number = |key: &str| {
            let node = Some(params.at(key)).filter(|node| node.is_there()).unwrap_or(node.at(key));
            node.number().filter(|number| *number >= 0.0)
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let weight = ["weight", "rpm", "tpm"].into_iter().find_map(number).map(|weight| weight.min(1e6).round() as u64);
        let mut settings = Vec::new();
        let time = |key: &str| params.at(key).number().and_then(toml::duration);
        if let Some(whole) = time("timeout") {
            settings.push(("timeouts.whole".to_owned(), whole));
        }
        if let Some(first) = time("stream_timeout") {
            settings.push(("timeouts.first_event".to_owned(), first));
        }
        if let Some(window) = info.at("max_input_tokens").number().filter(|window| *window >= 1.0) {
            settings.push(("window".to_owned(), format!("{window:.0}")));
        }
        let price = |key: &str| {
            let node = Some(params.at(key)).filter(|node| node.is_there()).unwrap_or(info.at(key));
            node.number().filter(|price| (0.0..1.0).contains(price)).map(|price| toml::text(&dollars(price)))
        };
        let price = match (price("input_cost_per_token"), price("output_cost_per_token")) {
            (Some(input), Some(output)) => vec![("input".to_owned(), input), ("output".to_owned(), output)],
            _ => Vec::new(),
        };
        self.all.push(Deployment { name: name.to_owned(), line: node.line, target, weight, model: settings, price });
    }

    /// A deployment for every model of a provider: our names reach them by `provider/model` as they stand.
    fn any(&mut self, name: &str, prefix: &str, provider: &str, node: &Node, notes: &mut Notes) {
        if !prefix.is_empty() {
            notes.add(
                node,
                "model_name",
                format!("{name:?}: names are not changed on their way; say {provider}/{prefix}…"),
            );
        } else if name == "*" {
            self.catch_all = Some(provider.to_owned());
            notes.add(
                node,
                "model_name",
                format!("\"*\": {provider} is router.provider, which every other name goes to"),
            );
        } else if name != format!("{provider}/*") {
            notes.add(node, "model_name", format!("{name:?}: its models are called {provider}/… here"));
        }
    }

    /// The section of a deployment's provider: one that is there already, or a new one.
    fn provider(&mut self, known: &Known, params: &Node, notes: &mut Notes) -> String {
        let base = Some(params.at("api_base")).filter(|node| node.is_there()).unwrap_or(params.at("base_url"));
        let base_url = base.text().map(|url| match url.strip_prefix("os.environ/") {
            Some(variable) => {
                notes.add(
                    base,
                    "litellm_params.api_base",
                    format!(
                        "an address cannot come from a variable here: write what {variable} holds in place of {UNSET}"
                    ),
                );
                UNSET.to_owned()
            }
            None => with_path(url, known.path),
        });
        let api_version =
            params.at("api_version").text().and_then(|version| match version.strip_prefix("os.environ/") {
                Some(variable) => {
                    notes.add(
                        params.at("api_version"),
                        "litellm_params.api_version",
                        format!("write what {variable} holds"),
                    );
                    None
                }
                None => Some(version.to_owned()),
            });
        let key = params.at("api_key").text().map(key_line);
        let mut headers = Vec::new();
        let organization =
            params.at("organization").text().map(|value| ("OpenAI-Organization", value, params.at("organization")));
        let extra = ["extra_headers", "headers"].into_iter().flat_map(|table| params.at(table).entries());
        let extra = extra.filter_map(|(name, node)| Some((name, node.text()?, node)));
        for (name, value, node) in organization.into_iter().chain(extra) {
            if value.starts_with("os.environ/") {
                notes.add(node, name, "a header's value cannot come from a variable here");
            } else {
                headers.push(format!("{} = {}", toml::name(name), toml::text(value)));
            }
        }
        let alike = |one: &&Provider| {
            one.preset == known.preset
                && one.base_url == base_url
                && one.api_version == api_version
                && one.headers == headers
        };
        if let Some(one) = self
            .providers
            .iter()
            .filter(alike)
            .find(|one| one.key == key || one.key == default_key(known, key.is_none()))
        {
            return one.id.clone();
        }
        let taken = |id: &str| self.providers.iter().any(|one| one.id == id);
        let numbered = (2..).map(|number| format!("{}_{number}", known.preset));
        let id = std::iter::once(known.preset.to_owned()).chain(numbered).find(|id| !taken(id)).unwrap_or_default();
        let key = key.or_else(|| default_key(known, true));
        self.providers.push(Provider { id: id.clone(), preset: known.preset, base_url, api_version, key, headers });
        id
    }

    /// Writes the providers, and what is set of their models.
    pub(super) fn write(&self, toml: &mut Toml) {
        for one in &self.providers {
            let section = format!("providers.{}", one.id);
            if one.id != one.preset {
                toml.set(&section, "preset", toml::text(one.preset));
            }
            let lines = [("base_url", &one.base_url), ("api_version", &one.api_version)];
            for (key, value) in lines.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
                toml.set(&section, key, toml::text(value));
            }
            if let Some((key, value)) = one.key.as_ref().and_then(|line| line.split_once(" = ")) {
                toml.set(&section, key, value);
            }
            if !one.headers.is_empty() {
                toml.set(&section, "headers", format!("{{ {} }}", one.headers.join(", ")));
            }
            if one.base_url.is_none() && one.key.is_none() && one.headers.is_empty() && one.id == one.preset {
                toml.set(&section, "enabled", "true");
            }
        }
        let mut seen: Vec<&str> = Vec::new();
        for one in self.all.iter().filter(|one| !one.model.is_empty() || !one.price.is_empty()) {
            if seen.contains(&one.target.as_str()) {
                continue;
            }
            seen.push(&one.target);
            for (section, lines) in [("models", &one.model), ("prices", &one.price)] {
                let section = format!("{section}.{}", toml::text(&one.target));
                lines.iter().for_each(|(key, value)| toml.set(&section, key, value));
            }
        }
    }

    /// Whether a provider's section is called so.
    pub(super) fn has_provider(&self, id: &str) -> bool {
        self.providers.iter().any(|one| one.id == id)
    }
}

/// Whose API a model's name means, and the name that is left.
fn known_of<'a>(model: &'a str, params: &Node) -> Option<(&'static Known, &'a str)> {
    let with = |prefix: &str| KNOWN.iter().find(|known| known.prefix == prefix);
    if let Some(provider) = params.at("custom_llm_provider").text() {
        return with(provider).map(|known| {
            (known, model.strip_prefix(provider).and_then(|rest| rest.strip_prefix('/')).unwrap_or(model))
        });
    }
    if let Some((prefix, rest)) = model.split_once('/')
        && let Some(known) = with(prefix)
    {
        return Some((known, rest));
    }
    let bare = BARE.iter().find(|(start, _)| model.starts_with(start) && !model.contains('/'));
    bare.and_then(|(_, prefix)| with(prefix)).map(|known| (known, model))
}

/// A key as a line of a section.
pub(super) fn key_line(value: &str) -> String {
    match value.strip_prefix("os.environ/") {
        Some(variable) => format!("api_key_env = {}", toml::text(variable)),
        None => format!("api_key = {}", toml::text(value)),
    }
}

/// The key that LiteLLM takes where none is given.
fn default_key(known: &Known, wanted: bool) -> Option<String> {
    (wanted && !known.variable.is_empty()).then(|| format!("api_key_env = {}", toml::text(known.variable)))
}

fn with_path(url: &str, path: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with(path) { url.to_owned() } else { format!("{url}{path}") }
}

/// What a million tokens cost, in dollars with six decimals at most.
fn dollars(each: f64) -> String {
    let text = format!("{:.6}", each * 1_000_000.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
