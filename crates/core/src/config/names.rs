//! The names that a config may use: the built-in providers with their aliases, and the search for the nearest name after a slip.
//!
//! What a provider *does* is not known here: rows of HTTP providers are in `provider/presets.rs`, the agents in `provider/process/`.

/// What stands behind a built-in provider's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sort {
    /// An HTTP API: may be named as `preset`.
    Http,
    /// A server of one's own that speaks HTTP: may be named as `preset`.
    OwnServer,
    /// A coding agent's command line.
    Agent,
    /// Something of this machine or network: the embedded engine, a Python worker, peers.
    Here,
}

/// A provider that needs no section in the config to be known.
#[derive(Clone, Copy, Debug)]
pub struct Builtin {
    /// Its id.
    pub id: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// What stands behind it.
    pub sort: Sort,
}

const fn row(id: &'static str, aliases: &'static [&'static str], sort: Sort) -> Builtin {
    Builtin { id, aliases, sort }
}

/// Every built-in provider.
pub const BUILTIN: &[Builtin] = &[
    row("ipfs_peer", &["ipfs_peers"], Sort::Here),
    row("accelerate", &[], Sort::Here),
    row("openrouter", &[], Sort::Http),
    row("openai", &[], Sort::Http),
    row("anthropic", &[], Sort::Http),
    row("gemini", &[], Sort::Http),
    row("hf_inference_api", &["hf_inference"], Sort::Http),
    row("codex_cli", &["codex"], Sort::Agent),
    row("copilot_cli", &[], Sort::Agent),
    row("gemini_cli", &[], Sort::Agent),
    row("claude_code", &[], Sort::Agent),
    row("gemini_py", &[], Sort::Agent),
    row("claude_py", &["claude"], Sort::Agent),
    row("copilot_sdk", &[], Sort::Agent),
    row("groq", &[], Sort::Http),
    row("mistral", &[], Sort::Http),
    row("deepseek", &[], Sort::Http),
    row("xai", &[], Sort::Http),
    row("together", &[], Sort::Http),
    row("fireworks", &[], Sort::Http),
    row("cerebras", &[], Sort::Http),
    row("nvidia", &[], Sort::Http),
    row("perplexity", &[], Sort::Http),
    row("azure_openai", &[], Sort::Http),
    row("ollama", &[], Sort::OwnServer),
    row("vllm", &[], Sort::OwnServer),
    row("llama_cpp", &[], Sort::OwnServer),
    row("lmstudio", &[], Sort::OwnServer),
    row("sglang", &[], Sort::OwnServer),
    row("local_hf", &["hf", "huggingface"], Sort::Here),
    row("local", &[], Sort::Here),
];

/// The built-in provider of this id or alias.
pub fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTIN.iter().find(|row| row.id == name || row.aliases.contains(&name))
}

/// The names that `preset` takes.
pub fn presets() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().filter(|row| matches!(row.sort, Sort::Http | Sort::OwnServer)).map(|row| row.id)
}

/// The candidate that `name` was probably meant to be; none where everything is far off.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong: "base_ulr" is found, "colour" does not become "model".
    let limit = name.chars().count().div_ceil(3).min(4);
    let lower = name.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_unique() {
        let mut names: Vec<_> = BUILTIN.iter().flat_map(|row| row.aliases.iter().chain([&row.id])).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        assert_eq!(builtin("codex").map(|row| row.id), Some("codex_cli"));
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("base_ulr", ["base_url", "models"]), Some("base_url"));
        assert_eq!(nearest("BASE_URL", ["base_url"]), Some("base_url"));
        assert_eq!(nearest("colour", ["model", "preset"]), None);
        assert_eq!(nearest("", ["a"]), None);
    }
}
