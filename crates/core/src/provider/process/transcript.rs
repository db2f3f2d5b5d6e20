//! A conversation as plain text, for programs that take nothing else.
//!
//! One user text is that text. Otherwise system and developer texts that come first stand first, as they are; a single user text after them follows behind an
//! empty line; any longer conversation is written turn by turn, each behind `User:`, `Assistant:` or `System:` and an empty line between them, and ends
//! with `Assistant:`. Blocks of one message are joined by line ends. What text cannot say and must not lose is refused; the rest is named as dropped.

use crate::dialect::FieldPath;
use crate::error::{Error, Result};
use crate::request::{BlockBody, Message, Request, ResponseFormat, Role, ToolChoice};

/// The conversation as text, and the names of the fields that are not in it.
///
/// # Errors
/// `caller_unsupported` for tools, tool results, pictures, sounds, files, JSON answers, `n`, stop texts and output kinds other than text;
/// `caller_invalid_request` where nothing is said.
pub(super) fn render(request: &Request) -> Result<(String, Vec<FieldPath>)> {
    refuse(request)?;
    let mut dropped = unsaid(request);
    if let Some(prompt) = request.plain_prompt() {
        return Ok((prompt.to_owned(), dropped));
    }
    let texts = request
        .messages
        .iter()
        .enumerate()
        .map(|(at, message)| Ok((message.role, text_of(at, message, &mut dropped)?)))
        .collect::<Result<Vec<_>>>()?;
    if texts.is_empty() {
        return Err(Error::invalid("the request has no messages").with_hint("give a prompt"));
    }
    let instructions = texts.iter().take_while(|(role, _)| matches!(role, Role::System | Role::Developer)).count();
    let (first, rest) = texts.split_at(instructions);
    let mut paragraphs: Vec<String> = first.iter().map(|(_, text)| text.clone()).collect();
    match rest {
        [] => {}
        [(Role::User, text)] => paragraphs.push(text.clone()),
        turns => {
            paragraphs.extend(turns.iter().map(|(role, text)| format!("{}: {text}", label(*role))));
            paragraphs.push("Assistant:".to_owned());
        }
    }
    Ok((paragraphs.join("\n\n"), dropped))
}

fn label(role: Role) -> &'static str {
    match role {
        Role::System | Role::Developer => "System",
        Role::Assistant => "Assistant",
        Role::User | Role::Tool => "User",
    }
}

fn refuse(request: &Request) -> Result<()> {
    let wants_json = !matches!(request.response_format, None | Some(ResponseFormat::Text));
    let wants_call = matches!(request.tool_choice, Some(ToolChoice::Required | ToolChoice::Tool(_)));
    let asked = [
        (!request.tools.is_empty(), "tools"),
        (wants_call, "a forced tool choice"),
        (wants_json, "a JSON answer"),
        (request.choices() > 1, "several answers"),
        (!request.sampling.stop.is_empty(), "stop texts"),
        (request.modalities.iter().any(|kind| kind != "text"), "answers other than text"),
    ];
    match asked.into_iter().find(|(asked, _)| *asked) {
        Some((_, what)) => Err(unsupported(what)),
        None => Ok(()),
    }
}

fn unsupported(what: &str) -> Error {
    Error::unsupported(format!("a command takes and gives plain text: {what} cannot be said to it"))
        .with_hint("ask a provider with an API, or leave it out")
}

/// One message's text.
fn text_of(at: usize, message: &Message, dropped: &mut Vec<FieldPath>) -> Result<String> {
    let mut texts = Vec::new();
    for (place, block) in message.content.iter().enumerate() {
        match &block.body {
            BlockBody::Text { text, .. } | BlockBody::Refusal { text } => texts.push(text.as_str()),
            BlockBody::Reasoning { .. } => dropped.push(FieldPath(format!("messages[{at}].content[{place}]"))),
            BlockBody::ToolCall { .. } | BlockBody::ToolResult { .. } => return Err(unsupported("a tool call")),
            BlockBody::Image { .. } => return Err(unsupported("a picture")),
            BlockBody::Audio { .. } => return Err(unsupported("a sound")),
            BlockBody::File { .. } => return Err(unsupported("a file")),
            BlockBody::Media { .. } => return Err(unsupported("media")),
            BlockBody::Provider { .. } => return Err(unsupported("content of another provider")),
        }
    }
    if message.name.is_some() {
        dropped.push(FieldPath(format!("messages[{at}].name")));
    }
    Ok(texts.join("\n"))
}

/// The fields that are set and cannot be said.
fn unsaid(request: &Request) -> Vec<FieldPath> {
    let sampling = &request.sampling;
    let set = [
        (sampling.max_tokens.is_some(), "sampling.max_tokens"),
        (sampling.temperature.is_some(), "sampling.temperature"),
        (sampling.top_p.is_some(), "sampling.top_p"),
        (sampling.top_k.is_some(), "sampling.top_k"),
        (sampling.min_p.is_some(), "sampling.min_p"),
        (sampling.frequency_penalty.is_some(), "sampling.frequency_penalty"),
        (sampling.presence_penalty.is_some(), "sampling.presence_penalty"),
        (sampling.repetition_penalty.is_some(), "sampling.repetition_penalty"),
        (sampling.seed.is_some(), "sampling.seed"),
        (!sampling.logit_bias.is_empty(), "sampling.logit_bias"),
        (sampling.logprobs.is_some(), "sampling.logprobs"),
        (sampling.top_logprobs.is_some(), "sampling.top_logprobs"),
        (request.reasoning.is_some(), "reasoning"),
        (request.parallel_tool_calls.is_some(), "parallel_tool_calls"),
        (request.user.is_some(), "user"),
        (request.metadata.is_some(), "metadata"),
    ];
    let mut fields: Vec<FieldPath> = set.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.into()).collect();
    for (dialect, extra) in &request.extra {
        fields.extend(extra.keys().map(|key| FieldPath(format!("extra.{dialect}.{key}"))));
    }
    fields
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::request::{Block, Source, Tool};

    fn text(messages: Vec<Message>) -> String {
        render(&Request { messages, ..Request::default() }).unwrap().0
    }

    #[test]
    fn conversations_follow_the_rule() {
        let assistant = || Message::assistant(vec![Block::text("b1"), Block::text("b2")]);
        assert_eq!(text(vec![Message::user("- a\n")]), "- a\n");
        assert_eq!(text(vec![Message::system("s"), Message::user("a")]), "s\n\na");
        assert_eq!(
            text(vec![Message::system("s"), Message::user("a"), assistant(), Message::user("c")]),
            "s\n\nUser: a\n\nAssistant: b1\nb2\n\nUser: c\n\nAssistant:"
        );
    }

    #[test]
    fn what_text_cannot_say_is_refused_or_named() {
        let mut request = Request::new("a");
        request.sampling.temperature = Some(0.5);
        request.user = Some("u".into());
        assert_eq!(render(&request).unwrap().1, ["sampling.temperature".into(), "user".into()]);
        let image = BlockBody::Image { source: Source::Url("http://h/i.png".into()), detail: None };
        let tool =
            Tool { name: "f".into(), description: None, parameters: None, strict: None, extra: Default::default() };
        let mut stop = Request::new("a");
        stop.sampling.stop.push("x".into());
        for refused in [
            Request {
                messages: vec![Message { content: vec![image.into()], ..Message::user("") }],
                ..Request::default()
            },
            Request { tools: vec![tool], ..Request::new("a") },
            Request { response_format: Some(ResponseFormat::JsonObject), ..Request::new("a") },
            stop,
        ] {
            assert_eq!(render(&refused).unwrap_err().kind().name(), "caller_unsupported");
        }
        assert_eq!(render(&Request::default()).unwrap_err().kind().name(), "caller_invalid_request");
    }
}
