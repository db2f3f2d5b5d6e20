//! What the vendor's models take, by the beginning of their names: one table, asked where a request of another dialect is written in this one.
//!
//! The rows follow the vendor's documentation and the recorded answers of its API (limits of tokens as seen in recordings; what is refused, as the profiles
//! of public SDKs have it). A request that came in this dialect is not held against it: its caller knows the model. The vendor's own list of models is
//! asked elsewhere, in `provider/upstream/models.rs`.

/// How a model is told to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Not at all.
    Never,
    /// By a number of tokens.
    Budget,
    /// By a number of tokens, or as it sees fit.
    Both,
    /// As it sees fit, whatever the effort.
    Adaptive,
}

/// Which of `temperature` and `top_p` a model takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choosing {
    /// Both.
    Both,
    /// One of them at a time.
    Either,
    /// Neither, nor `top_k`.
    Fixed,
}

/// A row: what models whose name begins so take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model {
    begins: &'static str,
    /// The largest `max_tokens`.
    pub(super) most_tokens: u32,
    /// The `max_tokens` sent where the caller set none; the field is required.
    pub(super) default_tokens: u32,
    pub(super) thinking: Thinking,
    /// Whether `output_config.effort` is taken.
    pub(super) effort: bool,
    /// Whether that takes `xhigh`; `max` stands for it where not.
    pub(super) xhigh: bool,
    pub(super) choosing: Choosing,
    /// Whether an answer can be held to a JSON Schema, and a tool's arguments.
    pub(super) schema: bool,
    /// Whether a call of a tool can be forced.
    pub(super) forced: bool,
    /// Whether a system text may stand in the middle of a conversation.
    pub(super) system_turns: bool,
}

/// The present generation, and what is believed of one that this table does not know yet.
const NEWEST: Model = Model {
    begins: "claude-",
    most_tokens: 128_000,
    default_tokens: 128_000,
    thinking: Thinking::Adaptive,
    effort: true,
    xhigh: true,
    choosing: Choosing::Fixed,
    schema: true,
    forced: true,
    system_turns: true,
};

/// Claude 4.5: a number of tokens to think with, no effort.
const FOUR_FIVE: Model = Model {
    most_tokens: 64_000,
    default_tokens: 64_000,
    thinking: Thinking::Budget,
    effort: false,
    xhigh: false,
    choosing: Choosing::Either,
    system_turns: false,
    ..NEWEST
};

/// Claude 3.7 to 4.1. Prompt and limit together must fit their window, so that the default leaves room for the prompt.
const FOUR: Model = Model { default_tokens: 32_000, choosing: Choosing::Both, schema: false, ..FOUR_FIVE };

/// Before models thought.
const THREE: Model = Model { most_tokens: 4096, default_tokens: 4096, thinking: Thinking::Never, ..FOUR };

/// What serves this dialect under another name: it judges for itself.
const OTHER: Model = Model {
    begins: "",
    most_tokens: u32::MAX,
    default_tokens: 8192,
    thinking: Thinking::Budget,
    choosing: Choosing::Both,
    ..FOUR_FIVE
};

/// The more telling beginnings first.
const MODELS: &[Model] = &[
    Model { begins: "claude-fable-5-1", forced: false, ..NEWEST },
    Model { begins: "claude-mythos-5-1", forced: false, ..NEWEST },
    Model { begins: "claude-opus-4-8", ..NEWEST },
    Model { begins: "claude-opus-4-7", ..NEWEST },
    Model { begins: "claude-opus-4-6", thinking: Thinking::Both, xhigh: false, choosing: Choosing::Either, ..NEWEST },
    Model { begins: "claude-opus-4-5", effort: true, ..FOUR_FIVE },
    Model { begins: "claude-opus-4-1", most_tokens: 32_000, choosing: Choosing::Either, schema: true, ..FOUR },
    Model { begins: "claude-opus-4", most_tokens: 32_000, ..FOUR },
    Model { begins: "claude-sonnet-4-6", thinking: Thinking::Both, xhigh: false, choosing: Choosing::Either, ..NEWEST },
    Model { begins: "claude-sonnet-4-5", ..FOUR_FIVE },
    Model { begins: "claude-sonnet-4", ..FOUR },
    Model { begins: "claude-haiku-4-5", ..FOUR_FIVE },
    Model { begins: "claude-3-7", ..FOUR },
    Model { begins: "claude-3-5", most_tokens: 8192, default_tokens: 8192, ..THREE },
    Model { begins: "claude-3", ..THREE },
    Model { begins: "claude-2", ..THREE },
    Model { begins: "claude-instant", ..THREE },
    NEWEST,
    OTHER,
];

/// The row of a model. Resellers put words before the vendor's name, and some write its version with a dot.
pub(super) fn find(name: &str) -> &'static Model {
    let name = name.to_ascii_lowercase().replace('.', "-");
    let name = name.find("claude-").and_then(|at| name.get(at..)).unwrap_or_default();
    MODELS.iter().find(|row| name.starts_with(row.begins)).unwrap_or(&OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_kind_find_their_row() {
        for (name, begins) in [
            ("claude-haiku-4-5", "claude-haiku-4-5"),
            ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
            ("anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", "claude-opus-4-1"),
            ("claude-opus-4-20250514", "claude-opus-4"),
            ("claude-3-5-haiku@20241022", "claude-3-5"),
            ("claude-3-opus-latest", "claude-3"),
            ("claude-sonnet-5-5", "claude-"),
            ("claude-fable-5-1", "claude-fable-5-1"),
            ("claude-fable-5", "claude-"),
            ("deepseek-chat", ""),
            ("", ""),
        ] {
            assert_eq!(find(name).begins, begins, "{name}");
        }
    }

    #[test]
    fn defaults_are_within_the_limits() {
        assert!(MODELS.iter().all(|row| row.default_tokens <= row.most_tokens));
    }
}
