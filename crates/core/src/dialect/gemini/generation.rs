//! What a model of the family takes, read from the generation in its name: how it is told to think, which form of schema it knows, and whether calls need seals.
//!
//! Names without a generation (`gemini-flash-latest`, a tuned model) are taken for the oldest one that is still common, whose fields newer ones take as well.

use crate::request::Reasoning;

/// A generation: major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(u32, u32);

/// Efforts of the OpenAI API: word, tokens for models that count them, level for models that know levels.
const EFFORTS: &[(&str, u32, &str)] = &[
    ("none", 0, "minimal"),
    ("minimal", 1024, "minimal"),
    ("low", 1024, "low"),
    ("medium", 8192, "medium"),
    ("high", 24576, "high"),
    ("xhigh", 24576, "high"),
];

/// How much a model is told to think.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Thinking {
    pub(super) budget: Option<u32>,
    pub(super) level: Option<&'static str>,
    pub(super) include: bool,
    /// What of the wish cannot be said.
    pub(super) unsaid: Vec<&'static str>,
}

impl Generation {
    /// The generation of a model.
    pub(super) fn of(model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        let Some(rest) = name.strip_prefix("gemini-") else {
            return if name.starts_with("gemma") { Self(1, 0) } else { Self(2, 5) };
        };
        let word = rest.split('-').next().unwrap_or_default();
        let (major, minor) = word.split_once('.').unwrap_or((word, "0"));
        match (major.parse(), minor.parse()) {
            (Ok(major), Ok(minor)) => Self(major, minor),
            _ => Self(2, 5),
        }
    }

    /// Whether schemas go as JSON Schema (`parametersJsonSchema`, `responseJsonSchema`) and not in Google's own subset.
    pub(super) fn takes_json_schema(self) -> bool {
        self >= Self(2, 5)
    }

    /// Whether media of a function's result stand inside the result.
    pub(super) fn takes_media_in_results(self) -> bool {
        self >= Self(3, 0)
    }

    /// Whether a function call in the history without its seal is refused.
    pub(super) fn wants_seals(self) -> bool {
        self >= Self(3, 0)
    }

    /// How the model is told to think as much as asked.
    pub(super) fn thinking(self, asked: &Reasoning) -> Thinking {
        let mut thinking = Thinking::default();
        if self < Self(2, 5) {
            thinking.unsaid.extend(asked.effort.is_some().then_some("reasoning.effort"));
            thinking.unsaid.extend(asked.budget_tokens.is_some().then_some("reasoning.budget_tokens"));
            thinking.unsaid.extend(asked.summary.is_some().then_some("reasoning.summary"));
            return thinking;
        }
        thinking.include = asked.summary.is_some() || asked.budget_tokens.is_some_and(|tokens| tokens > 0);
        thinking.budget = asked.budget_tokens;
        if let Some(word) = &asked.effort {
            match EFFORTS.iter().find(|(known, ..)| known == word) {
                // Both at once are refused: the number says more.
                _ if thinking.budget.is_some() => thinking.unsaid.push("reasoning.effort"),
                Some((_, _, level)) if self >= Self(3, 0) => thinking.level = Some(level),
                Some((_, tokens, _)) => thinking.budget = Some(*tokens),
                None => thinking.unsaid.push("reasoning.effort"),
            }
        }
        thinking
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_read_from_names() {
        for (model, generation) in [
            ("gemini-2.5-flash", Generation(2, 5)),
            ("models/gemini-3-pro-preview", Generation(3, 0)),
            ("gemini-3.1-flash-lite", Generation(3, 1)),
            ("google/gemini-2.0-flash-001", Generation(2, 0)),
            ("gemini-flash-latest", Generation(2, 5)),
            ("gemma-3-27b-it", Generation(1, 0)),
            ("tunedModels/x", Generation(2, 5)),
        ] {
            assert_eq!(Generation::of(model), generation, "{model}");
        }
    }

    #[test]
    fn thinking_is_said_as_the_model_takes_it() {
        let effort = |word: &str| Reasoning { effort: Some(word.into()), ..Reasoning::default() };
        assert_eq!(Generation(2, 5).thinking(&effort("low")).budget, Some(1024));
        assert_eq!(Generation(2, 5).thinking(&effort("none")).budget, Some(0));
        assert_eq!(Generation(3, 0).thinking(&effort("high")).level, Some("high"));
        assert_eq!(Generation(2, 0).thinking(&effort("high")).unsaid, ["reasoning.effort"]);
        let both = Reasoning { budget_tokens: Some(9), ..effort("low") };
        let said = Generation(3, 0).thinking(&both);
        assert_eq!((said.budget, said.level, said.include), (Some(9), None, true));
        assert_eq!(said.unsaid, ["reasoning.effort"]);
    }
}
