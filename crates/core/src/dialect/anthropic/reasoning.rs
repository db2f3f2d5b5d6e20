//! How much a model is told to think: the domain's words as `thinking` and `output_config.effort`, after what the model takes (`models.rs`).
//!
//! The vendor ties thinking to other settings: a budget must leave room below the limit of tokens, goes neither with a forced call nor with a turn
//! that continues calls without the thoughts that led to them. Where two wishes collide, the one for thoughts is dropped by name.

use serde_json::{Value, json};

use crate::dialect::FieldPath;
use crate::dialect::anthropic::history::{Setting, lacks_thoughts};
use crate::dialect::anthropic::models::Thinking;
use crate::request::{Request, ToolChoice};

/// The smallest budget that the vendor takes.
const LEAST: u32 = 1024;

/// Efforts in the domain's words, this dialect's word, and the budget for models that want a number.
const EFFORTS: &[(&str, &str, u32)] = &[
    ("minimal", "low", LEAST),
    ("low", "low", 2048),
    ("medium", "medium", 8192),
    ("high", "high", 16_384),
    ("xhigh", "xhigh", 32_768),
    ("max", "max", 32_768),
];

/// What a request says about thoughts on the wire.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) thinking: Option<Value>,
    pub(super) effort: Option<&'static str>,
    /// Tokens that are thought with: the limit must be larger.
    pub(super) budget: Option<u32>,
}

impl Plan {
    /// Whether the model will think.
    pub(super) fn thinks(&self) -> bool {
        self.thinking.as_ref().is_some_and(|thinking| thinking["type"] != "disabled")
    }
}

/// The dialect's word for an effort.
pub(super) fn own_word(word: &str) -> Option<&'static str> {
    EFFORTS.iter().find(|(known, ..)| *known == word).map(|(_, word, _)| *word)
}

/// Plans the thoughts of a request whose caller set `limit`.
pub(super) fn plan(request: &Request, setting: Setting, limit: Option<u32>, dropped: &mut Vec<FieldPath>) -> Plan {
    let Some(reasoning) = &request.reasoning else { return Plan::default() };
    let model = setting.model;
    let mut plan = Plan::default();
    let word = reasoning.effort.as_deref();
    if word == Some("none") {
        plan.thinking = (model.thinking != Thinking::Never).then(|| json!({"type": "disabled"}));
        return plan;
    }
    let known = EFFORTS.iter().find(|(known, ..)| Some(*known) == word);
    match known {
        None if word.is_some() => dropped.push("reasoning.effort".into()),
        Some((_, word, _)) if model.effort => {
            plan.effort = Some(if *word == "xhigh" && !model.xhigh { "max" } else { word });
        }
        _ => {}
    }
    let budget = reasoning.budget_tokens;
    let adaptive = match model.thinking {
        Thinking::Adaptive => true,
        Thinking::Both => budget.is_none(),
        Thinking::Budget | Thinking::Never => false,
    };
    if adaptive {
        dropped.extend(budget.map(|_| "reasoning.budget_tokens".into()));
        let mut thinking = json!({"type": "adaptive"});
        if reasoning.summary.is_some() {
            thinking["display"] = "summarized".into();
        }
        plan.thinking = Some(thinking);
        return plan;
    }
    let Some(budget) = budget.or(known.map(|(_, _, budget)| *budget)) else { return plan };
    let forced = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool(_)));
    let room = limit.map_or(u32::MAX, |limit| limit.saturating_sub(1));
    let fits = budget.min(room) >= LEAST.min(budget);
    if model.thinking == Thinking::Never || forced || !fits || lacks_thoughts(&request.messages, setting.foreign) {
        dropped.push("reasoning".into());
        return plan;
    }
    let budget = budget.min(room);
    plan.thinking = Some(json!({"type": "enabled", "budget_tokens": budget}));
    plan.budget = Some(budget);
    plan
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dialect::anthropic::models;
    use crate::request::Reasoning;

    fn planned(
        model: &str,
        limit: Option<u32>,
        change: impl FnOnce(&mut Request, &mut Reasoning),
    ) -> (Plan, Vec<String>) {
        let (mut request, mut reasoning) = (Request::new("x"), Reasoning::default());
        change(&mut request, &mut reasoning);
        request.reasoning = Some(reasoning);
        let mut dropped = Vec::new();
        let setting = Setting { model: models::find(model), foreign: true };
        let plan = plan(&request, setting, limit, &mut dropped);
        (plan, dropped.into_iter().map(|path| path.0).collect())
    }

    fn effort(word: &str) -> impl FnOnce(&mut Request, &mut Reasoning) + '_ {
        move |_, reasoning| reasoning.effort = Some(word.to_owned())
    }

    #[test]
    fn each_generation_is_told_in_its_own_words() {
        let (plan, dropped) = planned("claude-sonnet-5", None, effort("xhigh"));
        assert_eq!((plan.thinking.unwrap(), plan.effort), (json!({"type": "adaptive"}), Some("xhigh")));
        assert!(dropped.is_empty());
        let (plan, _) = planned("claude-opus-4-6", None, effort("xhigh"));
        assert_eq!(plan.effort, Some("max"));
        let (plan, _) = planned("claude-haiku-4-5", None, effort("low"));
        assert_eq!((plan.thinking.unwrap()["budget_tokens"].clone(), plan.effort), (json!(2048), None));
        let (plan, dropped) = planned("claude-3-5-haiku", None, effort("low"));
        assert_eq!((plan, dropped), (Plan::default(), vec!["reasoning".to_owned()]));
        let (plan, _) = planned("claude-haiku-4-5", None, effort("none"));
        assert!(!plan.thinks() && plan.thinking.is_some());
    }

    #[test]
    fn budgets_leave_room_and_give_way() {
        let (plan, _) = planned("claude-haiku-4-5", Some(4000), effort("high"));
        assert_eq!(plan.budget, Some(3999));
        let (plan, dropped) = planned("claude-haiku-4-5", Some(512), effort("high"));
        assert_eq!((plan, dropped), (Plan::default(), vec!["reasoning".to_owned()]));
        let (plan, dropped) = planned("claude-haiku-4-5", None, |request, reasoning| {
            request.tool_choice = Some(ToolChoice::Required);
            reasoning.budget_tokens = Some(2000);
        });
        assert_eq!((plan.thinking, dropped), (None, vec!["reasoning".to_owned()]));
        let (plan, dropped) = planned("claude-opus-5", None, |_, reasoning| reasoning.budget_tokens = Some(2000));
        assert_eq!(plan.thinking.unwrap()["type"], "adaptive");
        assert_eq!(dropped, ["reasoning.budget_tokens"]);
        let (_, dropped) = planned("claude-opus-5", None, effort("heroic"));
        assert_eq!(dropped, ["reasoning.effort"]);
    }
}
