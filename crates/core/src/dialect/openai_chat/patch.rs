//! A request that came in this dialect and goes out in it: the body as received, with only what must change spliced in.
//!
//! What must change: the model's name, whether it streams, asking for token counts, and what the server's [`Quirks`] want otherwise. A request of another
//! origin is written anew in `body.rs`.

use bytes::Bytes;
use serde_json::{Value, value::RawValue};

use crate::dialect::FieldPath;
use crate::dialect::json::{Object, Writer, lenient, read, text};
use crate::dialect::openai_chat::{History, MaxTokens, Quirks, ReasoningField, history, turns};
use crate::dialect::splice::Splice;
use crate::error::Result;
use crate::provider::Call;
use crate::request::Origin;

/// The body of `origin`, changed for `call`'s target.
pub(super) fn patch(call: &Call, origin: &Origin, quirks: &Quirks, dropped: &mut Vec<FieldPath>) -> Result<Bytes> {
    let fields = Object::parse(&origin.body)?;
    let mut body = Splice::new(&origin.body)?;
    if let Some(model) = call.model() {
        body.set(&fields, "model", &Value::from(model).to_string());
    }
    let streamed = lenient::<bool>(fields.get("stream")).unwrap_or(false);
    if streamed != call.request.stream {
        body.set(&fields, "stream", if call.request.stream { "true" } else { "false" });
    }
    counts(call.request.stream, quirks, &fields, &mut body, dropped);
    limit(quirks.max_tokens, &fields, &mut body, dropped);
    reasoning(quirks.reasoning, &fields, &mut body, dropped)?;
    if let Some(raw) = fields.get("tool_choice").filter(|raw| quirks.tool_choice_any && raw.get() == "\"required\"") {
        body.replace(raw, "\"any\"");
    }
    if let Some(raw) = fields.get("messages") {
        conversation(call, quirks, raw, &mut body, dropped)?;
    }
    for &name in quirks.unsupported {
        if let Some(raw) = fields.get(name) {
            body.remove(raw);
            dropped.push(name.into());
        }
    }
    if body.is_untouched() {
        return Ok(origin.body.clone());
    }
    Ok(body.finish())
}

/// Token counts are always asked of a stream: the router needs them, whether or not the client gets them.
fn counts<'a>(stream: bool, quirks: &Quirks, fields: &Object<'a>, body: &mut Splice<'a>, dropped: &mut Vec<FieldPath>) {
    let given = fields.raw("stream_options");
    if quirks.no_stream_options || !stream {
        // Servers refuse the field beside `"stream":false`.
        if let Some(raw) = given {
            body.remove(raw);
            dropped.extend((stream && raw.get() != "null").then(|| "stream_options".into()));
        }
        return;
    }
    match lenient::<serde_json::Map<String, Value>>(given) {
        Some(options) if options.get("include_usage") == Some(&Value::Bool(true)) => {}
        Some(mut options) => {
            options.insert("include_usage".into(), true.into());
            body.set(fields, "stream_options", &Value::Object(options).to_string());
        }
        None => body.set(fields, "stream_options", "{\"include_usage\":true}"),
    }
}

fn limit<'a>(takes: MaxTokens, fields: &Object<'a>, body: &mut Splice<'a>, dropped: &mut Vec<FieldPath>) {
    let (from, to) = match takes {
        MaxTokens::AsGiven => return,
        MaxTokens::Old => ("max_completion_tokens", "max_tokens"),
        MaxTokens::New => ("max_tokens", "max_completion_tokens"),
    };
    match (fields.raw(from), fields.get(to)) {
        (Some(raw), None) => {
            if let Some(null) = fields.raw(to) {
                body.remove(null);
            }
            body.rename(raw, to);
        }
        (Some(raw), Some(other)) => {
            // Both were given: the newer field counts, whatever it is called here.
            if takes == MaxTokens::Old {
                body.replace(other, raw.get());
            }
            body.remove(raw);
            dropped.push(from.into());
        }
        (None, _) => {}
    }
}

fn reasoning<'a>(
    takes: ReasoningField,
    fields: &Object<'a>,
    body: &mut Splice<'a>,
    dropped: &mut Vec<FieldPath>,
) -> Result<()> {
    let (effort, object) = (fields.get("reasoning_effort"), fields.get("reasoning"));
    let mut gone = |raw: Option<&'a RawValue>, name: &str, body: &mut Splice<'a>| {
        if let Some(raw) = raw {
            body.remove(raw);
            dropped.push(name.into());
        }
    };
    match (takes, effort, object) {
        (ReasoningField::Unsupported, ..) => {
            gone(effort, "reasoning_effort", body);
            gone(object, "reasoning", body);
        }
        (ReasoningField::Effort, None, Some(raw)) => {
            let mut inner = Object::of(raw, &"reasoning")?;
            match inner.take("effort") {
                Some(word) => {
                    body.rename(raw, "reasoning_effort");
                    body.replace(raw, word.get());
                    dropped.extend(inner.rest().map(|(name, _)| FieldPath(format!("reasoning.{name}"))));
                }
                None => gone(object, "reasoning", body),
            }
        }
        (ReasoningField::Effort, Some(_), object) => gone(object, "reasoning", body),
        (ReasoningField::Object, Some(raw), None) => {
            body.rename(raw, "reasoning");
            body.replace(raw, format!("{{\"effort\":{}}}", raw.get()));
        }
        _ => {}
    }
    Ok(())
}

/// The conversation stays as it came, but for a role that the server does not know; where turns must be joined or parts flattened it is written anew.
fn conversation<'a>(
    call: &Call,
    quirks: &Quirks,
    raw: &'a RawValue,
    body: &mut Splice<'a>,
    dropped: &mut Vec<FieldPath>,
) -> Result<()> {
    let needs_turns = quirks.strict_alternation && !turns::alternates(&call.request.messages);
    if needs_turns || (quirks.text_as_string && raw.get().contains('[')) {
        let mut to = Writer::with_capacity(raw.get().len() + 64);
        history::encode(&call.request.messages, quirks, &mut to, dropped)?;
        body.replace(raw, String::from_utf8(to.finish()).unwrap_or_default());
        return Ok(());
    }
    let developer = quirks.no_developer_role && raw.get().contains("developer");
    let thoughts: &[&str] = match quirks.history {
        History::Omit => &["reasoning_content", "reasoning", "reasoning_details"],
        _ => &[],
    };
    let thoughts = if raw.get().contains("reasoning") { thoughts } else { &[] };
    if !developer && thoughts.is_empty() {
        return Ok(());
    }
    for (at, raw) in read::<Vec<&RawValue>>(raw, &"messages")?.into_iter().enumerate() {
        let message = Object::of(raw, &"messages")?;
        if let Some(role) = message.get("role").filter(|role| developer && text(role).is_some_and(|w| w == "developer"))
        {
            body.replace(role, "\"system\"");
        }
        for &name in thoughts {
            if let Some(thought) = message.raw(name) {
                body.remove(thought);
                dropped.push(FieldPath(format!("messages[{at}].{name}")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dialect::openai_chat::OpenaiChat;
    use crate::dialect::{Codec, RequestHead};
    use crate::ids::ProviderId;
    use crate::provider::Target;

    /// Through the codec to a target with these quirks, and what was dropped on the way.
    fn through(body: &str, model: Option<&str>, quirks: Quirks) -> (String, Vec<String>) {
        let codec = OpenaiChat::new(quirks);
        let request = codec.decode_request(&RequestHead::post("/v1/chat/completions"), body.as_bytes()).unwrap();
        let model = model.map(|model| model.try_into().unwrap());
        let target = Target::new(ProviderId::new("p").unwrap(), model);
        let call = crate::dialect::testing::call(request, target);
        let http = codec.encode_request(&call).unwrap();
        let dropped = http.dropped.into_iter().map(|path| path.0).collect();
        (String::from_utf8(http.body.to_vec()).unwrap(), dropped)
    }

    const PLAIN: &str = "{ \"temperature\":1.0, \"model\" : \"a\",\"messages\":[{\"content\":\"h\\u0069\",\"role\":\"user\"}] , \"x\":{} }";

    #[test]
    fn nothing_else_is_touched() {
        assert_eq!(through(PLAIN, None, Quirks::default()).0, PLAIN);
        assert_eq!(through(PLAIN, Some("a"), Quirks::default()).0, PLAIN);
        assert_eq!(through(PLAIN, Some("b/c"), Quirks::default()).0, PLAIN.replace("\"a\"", "\"b/c\""));
    }

    #[test]
    fn counts_are_asked_of_every_stream() {
        let body =
            |rest: &str| format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}],\"stream\":true{rest}}}");
        let asked = |rest: &str, quirks| through(&body(rest), None, quirks).0;
        assert_eq!(asked("", Quirks::default()), body(",\"stream_options\":{\"include_usage\":true}"));
        assert_eq!(
            asked(",\"stream_options\":{\"include_usage\":false,\"y\":1}", Quirks::default()),
            body(",\"stream_options\":{\"include_usage\":true,\"y\":1}")
        );
        let refusing = Quirks { no_stream_options: true, ..Quirks::default() };
        assert_eq!(asked(",\"stream_options\":{\"include_usage\":true}", refusing), body(""));
    }

    #[test]
    fn quirks_rename_and_drop() {
        let body = |rest: &str| format!("{{\"messages\":[{{\"role\":\"developer\",\"content\":\"x\"}}]{rest}}}");
        let quirks = Quirks { max_tokens: MaxTokens::New, reasoning: ReasoningField::Effort, ..Quirks::default() };
        let (sent, dropped) =
            through(&body(",\"max_tokens\":5,\"reasoning\":{\"effort\":\"low\",\"exclude\":true}"), None, quirks);
        assert_eq!(sent, body(",\"max_completion_tokens\":5,\"reasoning_effort\":\"low\""));
        assert_eq!(dropped, ["reasoning.exclude"]);

        let quirks = Quirks {
            max_tokens: MaxTokens::Old,
            reasoning: ReasoningField::Object,
            no_developer_role: true,
            unsupported: &["logit_bias", "store"],
            ..Quirks::default()
        };
        let (sent, dropped) = through(
            &body(",\"max_tokens\":1,\"max_completion_tokens\":5,\"reasoning_effort\":\"low\",\"store\":true"),
            None,
            quirks,
        );
        assert_eq!(sent, body(",\"max_tokens\":5,\"reasoning\":{\"effort\":\"low\"}").replace("developer", "system"));
        assert_eq!(dropped, ["max_completion_tokens", "store"]);
    }

    #[test]
    fn conversations_are_rewritten_only_where_the_server_wants_it() {
        let body = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"b\"}]},\
            {\"role\":\"assistant\",\"content\":\"c\",\"reasoning_content\":\"hm\"}]}";
        let turns = Quirks { strict_alternation: true, history: History::Omit, ..Quirks::default() };
        let (sent, dropped) = through(body, None, turns);
        assert_eq!(
            sent,
            "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\n\\nb\"},{\"role\":\"assistant\",\"content\":\"c\"}]}"
        );
        assert_eq!(dropped, ["messages[1].reasoning"]);
        let (sent, dropped) = through(body, None, Quirks { history: History::Omit, ..Quirks::default() });
        assert_eq!(sent, body.replace(",\"reasoning_content\":\"hm\"", ""));
        assert_eq!(dropped, ["messages[2].reasoning_content"]);
    }
}
