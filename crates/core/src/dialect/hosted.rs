//! Tools that run at a provider, such as a web search: what becomes of one where the request goes to somebody who does not have it.
//!
//! Clients offer such tools with every request, whether they are wanted or not, and a model that is free to choose answers without them. So they are left out by
//! name, unless the request says that one must be called. A tool that the client runs itself, and describes only in its own dialect's word, is not hosted: a model
//! without it would take away what the client was started for, so it is refused. What else must not be lost is in `foreign.rs`.

use crate::dialect::{Dialect, FieldPath};
use crate::error::{Error, Result};
use crate::request::{Request, Tool, ToolChoice};

/// Tools of some dialect that the client runs, by the first words of their type: OpenAI's, Anthropic's and Google's documents on tool use.
const RUN_BY_CLIENTS: &[&str] =
    &["custom", "local_shell", "shell", "apply_patch", "bash", "text_editor", "computer", "computerUse", "memory"];

/// The request without the tools that run at providers of other dialects than `ours`, and the names of those left out; `None` where it has none of them. `ours` is
/// `None` for a target that has no such tools at all.
///
/// # Errors
/// `caller_unsupported` where one of them must be called, or is the client's own to run.
pub fn left_out(request: &Request, ours: Option<Dialect>) -> Result<Option<(Request, Vec<FieldPath>)>> {
    let foreign = |tool: &&Tool| tool.name.is_empty() && !ours.is_some_and(|ours| tool.extra.contains_key(&ours));
    let mut dropped = Vec::new();
    for tool in request.tools.iter().filter(foreign) {
        let (kind, dialect) = kind(tool);
        let kind = kind.unwrap_or_default();
        let wanted = match &request.tool_choice {
            Some(ToolChoice::Required) => true,
            Some(ToolChoice::Tool(name)) => !request.tools.iter().any(|tool| tool.name == *name),
            _ => false,
        };
        if wanted || kind.is_empty() || is_run_by_clients(&kind) {
            let of = dialect.map_or("another dialect", Dialect::as_str);
            let hint = match wanted && !is_run_by_clients(&kind) {
                true => "leave tool_choice to the model, or name a provider that speaks this dialect",
                false => "leave the tool out, or name a provider that speaks this dialect",
            };
            return Err(Error::unsupported(format!(
                "tools: {kind:?} is a tool of {of} that this provider does not have"
            ))
            .with_hint(hint));
        }
        dropped.push(FieldPath(format!("tools.{kind}")));
    }
    if dropped.is_empty() {
        return Ok(None);
    }
    let mut request = request.clone();
    request.tools.retain(|tool| !foreign(&tool));
    if request.tools.is_empty() {
        // Servers refuse a word about tools where there are none.
        (request.tool_choice, request.parallel_tool_calls) = (None, None);
    }
    Ok(Some((request, dropped)))
}

/// Whether all that a request offers are tools at providers, none of which must be called: a target without tools can answer it.
pub(crate) fn are_all(request: &Request) -> bool {
    let hosted = |tool: &Tool| tool.name.is_empty() && kind(tool).0.is_some_and(|kind| !is_run_by_clients(&kind));
    request.tools.iter().all(hosted) && !matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool(_)))
}

/// A provider's word for a tool of its own: its type, or the only field that Google's have.
fn kind(tool: &Tool) -> (Option<String>, Option<Dialect>) {
    let Some((dialect, fields)) = tool.extra.iter().next() else { return (None, None) };
    let said = fields.get("type").and_then(|kind| kind.value().as_str().map(str::to_owned));
    let word = said.or_else(|| fields.keys().next().cloned()).filter(|word| is_word(word));
    (word, Some(*dialect))
}

/// Names go into headers: no client makes them longer or stranger than a word.
fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte))
}

fn is_run_by_clients(kind: &str) -> bool {
    RUN_BY_CLIENTS.iter().any(|own| kind.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dialect::{RequestHead, codec};

    fn request(dialect: Dialect, body: &str) -> Request {
        codec(dialect).decode_request(&RequestHead::post("/v1beta/models/m:generateContent"), body.as_bytes()).unwrap()
    }

    fn names(request: &Request, ours: Dialect) -> Vec<String> {
        left_out(request, Some(ours)).unwrap().unwrap().1.into_iter().map(|field| field.0).collect()
    }

    #[test]
    fn what_a_model_may_do_without_is_left_out_by_name() {
        let function = r#"{"type":"function","name":"f","parameters":{}}"#;
        for choice in [
            "",
            r#","tool_choice":"auto""#,
            r#","tool_choice":"none""#,
            r#","tool_choice":{"type":"function","name":"f"}"#,
        ] {
            let body = format!(
                r#"{{"input":"x","tools":[{function},{{"type":"web_search"}},{{"type":"mcp","server_label":"s"}}]{choice}}}"#
            );
            let request = request(Dialect::OpenaiResponses, &body);
            let (fitted, dropped) = left_out(&request, Some(Dialect::OpenaiChat)).unwrap().unwrap();
            assert_eq!((fitted.tools.len(), fitted.tool_choice == request.tool_choice), (1, true), "{choice}");
            assert_eq!(dropped, ["tools.web_search".into(), "tools.mcp".into()]);
            assert!(left_out(&request, Some(Dialect::OpenaiResponses)).unwrap().is_none());
        }
        let google =
            request(Dialect::Gemini, r#"{"contents":[{"parts":[{"text":"x"}]}],"tools":[{"googleSearch":{}}]}"#);
        assert_eq!(names(&google, Dialect::Anthropic), ["tools.googleSearch"]);
        let anthropic = request(
            Dialect::Anthropic,
            r#"{"max_tokens":9,"messages":[{"role":"user","content":"x"}],"tool_choice":{"type":"auto"},"tools":[{"type":"web_search_20250305","name":"web_search"}]}"#,
        );
        let (fitted, dropped) = left_out(&anthropic, None).unwrap().unwrap();
        assert!(fitted.tools.is_empty() && fitted.tool_choice.is_none() && are_all(&anthropic));
        assert_eq!(dropped, ["tools.web_search_20250305".into()]);
    }

    #[test]
    fn what_must_be_called_or_is_the_clients_own_is_refused() {
        for (dialect, body, says) in [
            (
                Dialect::OpenaiResponses,
                r#"{"input":"x","tools":[{"type":"web_search"}],"tool_choice":"required"}"#,
                "web_search",
            ),
            (Dialect::OpenaiResponses, r#"{"input":"x","tools":[{"type":"custom","name":"apply_patch"}]}"#, "custom"),
            (
                Dialect::OpenaiResponses,
                r#"{"input":"x","tools":[{"type":"computer_use_preview"}]}"#,
                "computer_use_preview",
            ),
            (Dialect::OpenaiResponses, r#"{"input":"x","tools":[{"type":"a\r\nb: c"}]}"#, "\"\""),
            (
                Dialect::Anthropic,
                r#"{"max_tokens":9,"messages":[{"role":"user","content":"x"}],"tools":[{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"web_search"}}"#,
                "web_search_20250305",
            ),
            (
                Dialect::Anthropic,
                r#"{"max_tokens":9,"messages":[{"role":"user","content":"x"}],"tools":[{"type":"bash_20250124","name":"bash"}]}"#,
                "bash_20250124",
            ),
        ] {
            let request = request(dialect, body);
            let refused = left_out(&request, Some(Dialect::OpenaiChat)).unwrap_err();
            assert!(refused.message().contains(says) && refused.hint().is_some(), "{body}: {refused}");
            assert!(!are_all(&request), "{body}");
        }
    }
}
