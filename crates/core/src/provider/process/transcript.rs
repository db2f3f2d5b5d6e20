//! A conversation as plain text, for programs that take nothing else.
//!
//! One user text is that text. Otherwise system and developer texts that come first stand first, as they are; a single user text after them follows behind an
//! empty line; a program that takes a system prompt of its own gets them there. Any longer conversation is written turn by turn, each behind `User:`,
//! `Assistant:` or `System:` and an empty line between them, and ends with `Assistant:`. Blocks of one message are joined by line ends. What text cannot say
//! and must not lose is refused; the rest is named as dropped.

use crate::dialect::FieldPath;
use crate::error::{Error, Result};
use crate::provider::Capabilities;
use crate::request::{BlockBody, Message, Request, ResponseFormat, Role, Source, ToolChoice};

/// A conversation in the two texts that most agents take, and what comes with them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    /// The system and developer texts that come first.
    pub(super) system: Vec<String>,
    /// All else that is said.
    pub(super) prompt: String,
    /// The pictures of the conversation, in its order.
    pub(super) pictures: Vec<Picture>,
    /// The names of the fields that are not in it.
    pub(super) dropped: Vec<FieldPath>,
}

/// A picture whose bytes are at hand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Picture {
    /// Its media type.
    pub(super) mime: String,
    /// Its bytes in base64.
    pub(super) data: String,
}

/// The conversation as one text, and the names of the fields that are not in it.
///
/// # Errors
/// `caller_unsupported` for tools, tool results, pictures, sounds, files, JSON answers, `n`, stop texts and output kinds other than text;
/// `caller_invalid_request` where nothing is said.
pub(super) fn render(request: &Request) -> Result<(String, Vec<FieldPath>)> {
    let Said { system: mut paragraphs, prompt, dropped, .. } = split(request, Capabilities::default())?;
    paragraphs.extend(Some(prompt).filter(|prompt| !prompt.is_empty()));
    Ok((paragraphs.join("\n\n"), dropped))
}

/// The conversation in its parts, for a program that takes a system prompt of its own and whatever `takes` says besides text.
///
/// # Errors
/// As [`render`], less what it takes.
pub(super) fn split(request: &Request, takes: Capabilities) -> Result<Said> {
    refuse(request, takes)?;
    let mut said = Said { dropped: unsaid(request), ..Said::default() };
    if let Some(prompt) = request.plain_prompt() {
        prompt.clone_into(&mut said.prompt);
        return Ok(said);
    }
    let texts = request
        .messages
        .iter()
        .enumerate()
        .map(|(at, message)| Ok((message.role, text_of(at, message, takes, &mut said)?)))
        .collect::<Result<Vec<_>>>()?;
    if texts.is_empty() {
        return Err(Error::invalid("the request has no messages").with_hint("give a prompt"));
    }
    let instructions = texts.iter().take_while(|(role, _)| matches!(role, Role::System | Role::Developer)).count();
    let (first, rest) = texts.split_at(instructions);
    said.system = first.iter().map(|(_, text)| text.clone()).collect();
    match rest {
        [] => {}
        [(Role::User, text)] => said.prompt.clone_from(text),
        turns => {
            let mut paragraphs: Vec<String> =
                turns.iter().map(|(role, text)| format!("{}: {text}", label(*role))).collect();
            paragraphs.push("Assistant:".to_owned());
            said.prompt = paragraphs.join("\n\n");
        }
    }
    Ok(said)
}

fn label(role: Role) -> &'static str {
    match role {
        Role::System | Role::Developer => "System",
        Role::Assistant => "Assistant",
        Role::User | Role::Tool => "User",
    }
}

fn refuse(request: &Request, takes: Capabilities) -> Result<()> {
    let wants_json = match request.response_format {
        None | Some(ResponseFormat::Text) => false,
        Some(ResponseFormat::JsonSchema(_)) => !takes.json_schema,
        Some(_) => true,
    };
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
fn text_of(at: usize, message: &Message, takes: Capabilities, said: &mut Said) -> Result<String> {
    let mut texts = Vec::new();
    for (place, block) in message.content.iter().enumerate() {
        match &block.body {
            BlockBody::Text { text, .. } | BlockBody::Refusal { text } => texts.push(text.as_str()),
            BlockBody::Reasoning { .. } => said.dropped.push(FieldPath(format!("messages[{at}].content[{place}]"))),
            BlockBody::ToolCall { .. } | BlockBody::ToolResult { .. } => return Err(unsupported("a tool call")),
            BlockBody::Image { source: Source::Base64 { mime, data }, .. } if takes.images => {
                said.pictures.push(Picture { mime: mime.clone(), data: data.clone() });
            }
            BlockBody::Image { .. } if takes.images => {
                return Err(Error::unsupported("a program on this machine takes a picture's bytes, not its address")
                    .with_hint("send the picture itself, in base64"));
            }
            BlockBody::Image { .. } => return Err(unsupported("a picture")),
            BlockBody::Audio { .. } => return Err(unsupported("a sound")),
            BlockBody::File { .. } => return Err(unsupported("a file")),
            BlockBody::Media { .. } => return Err(unsupported("media")),
            BlockBody::Provider { .. } => return Err(unsupported("content of another provider")),
        }
    }
    if message.name.is_some() {
        said.dropped.push(FieldPath(format!("messages[{at}].name")));
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
    use crate::request::{Block, Tool};

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
