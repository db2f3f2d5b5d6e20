//! What stands in the path: the model, what is asked of it, and whether it streams.
//!
//! `/v1beta/models/MODEL:VERB`; the model may hold `/` and `:`, the verb is what follows the last `:`. Query: `alt=sse` chooses server-sent events, without it a
//! stream is one JSON array.

use http::{HeaderMap, HeaderValue, header};

use crate::dialect::{Framing, RequestHead};
use crate::error::{Error, Result};
use crate::ids::shorten;
use crate::provider::Call;

/// The collections that models stand in. A tuned model keeps its collection as part of its name.
const MODELS: &str = "models/";
const TUNED: &str = "tunedModels/";

/// What a path asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// The model, where the path names one.
    pub(super) model: Option<String>,
    /// The verb, "" where there is none.
    pub(super) verb: String,
}

impl Asked {
    /// Whether events are wanted as they come.
    pub(super) fn streams(&self) -> bool {
        self.verb.starts_with("stream")
    }
}

/// Reads a path.
pub(super) fn asked(path: &str) -> Asked {
    let after = |collection: &str| {
        let found = path.find(&format!("/{collection}")).map(|at| at + 1)?;
        path.get(found..)
    };
    let name = match (after(MODELS), after(TUNED)) {
        // Whichever collection comes first holds the rest.
        (Some(models), Some(tuned)) if tuned.len() > models.len() => tuned,
        (Some(models), _) => models.get(MODELS.len()..).unwrap_or_default(),
        (None, Some(tuned)) => tuned,
        (None, None) => return Asked { model: None, verb: String::new() },
    };
    let (model, verb) = name.rsplit_once(':').unwrap_or((name, ""));
    Asked { model: Some(unescape(model)).filter(|model| !model.is_empty()), verb: verb.to_owned() }
}

/// A model's name as bodies give it, `models/x`, without its collection.
pub(super) fn short_name(name: &str) -> &str {
    name.strip_prefix(MODELS).unwrap_or(name)
}

/// A model's name with its collection, as bodies give it.
pub(super) fn full_name(model: &str) -> String {
    if in_collection(model) { model.to_owned() } else { format!("{MODELS}{model}") }
}

fn in_collection(model: &str) -> bool {
    model.starts_with(MODELS) || model.starts_with(TUNED)
}

/// Whether a client wants its stream as server-sent events.
pub(super) fn wants_sse(head: &RequestHead) -> bool {
    head.query.as_deref().is_some_and(|query| query.split('&').any(|pair| pair == "alt=sse"))
}

/// The model that a call goes to.
///
/// # Errors
/// `caller_invalid_request` where nobody named one.
pub(super) fn model_of(call: &Call) -> Result<&str> {
    let model = call.model().or(call.request.model.as_deref());
    model.ok_or_else(|| {
        Error::invalid("model: it is missing").with_hint("this dialect has the model in its path: name one")
    })
}

/// The path of a call below a base URL.
///
/// # Errors
/// `caller_invalid_request` for a name that would leave the collection of models.
pub(super) fn path(model: &str, verb: &str) -> Result<String> {
    if model.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(Error::invalid(format!("{:?} is not the name of a model of this dialect", shorten(model))));
    }
    let name = full_name(model);
    let mut path = String::with_capacity(name.len() + verb.len() + 2);
    path.push('/');
    for &byte in name.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'@' => {
                path.push(char::from(byte));
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path.push(':');
    path.push_str(verb);
    Ok(path)
}

pub(super) fn headers(framing: Framing) -> HeaderMap {
    let accept = match framing {
        Framing::Whole => "application/json",
        Framing::Stream => "text/event-stream",
    };
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::ACCEPT, HeaderValue::from_static(accept)),
    ])
}

/// Takes percent escapes apart; what is none stays as it is.
fn unescape(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match (first, rest) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                let value = hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0);
                out.push(u8::try_from(value).unwrap_or(b'?'));
                bytes = after;
            }
            _ => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn paths_name_model_and_verb() {
        for (path, model, verb) in [
            ("/v1beta/models/gemini-2.5-flash:generateContent", Some("gemini-2.5-flash"), "generateContent"),
            (
                "/v1/models/openai/gpt-4o:free:streamGenerateContent",
                Some("openai/gpt-4o:free"),
                "streamGenerateContent",
            ),
            ("/v1beta/models/a%2Fb%20c:countTokens", Some("a/b c"), "countTokens"),
            ("/v1beta/tunedModels/t:generateContent", Some("tunedModels/t"), "generateContent"),
            ("/v1beta/models/x/tunedModels/t:generateContent", Some("x/tunedModels/t"), "generateContent"),
            ("/v1beta/models/x", Some("x"), ""),
            ("/v1beta/models/:generateContent", None, "generateContent"),
            ("/v1beta/models/100%:generateContent", Some("100%"), "generateContent"),
            ("/", None, ""),
        ] {
            let expected = Asked { model: model.map(str::to_owned), verb: verb.to_owned() };
            assert_eq!(asked(path), expected, "{path}");
        }
    }

    #[test]
    fn paths_are_written_so_that_they_are_read_again() {
        for model in ["gemini-2.5-flash", "a/b:c", "tunedModels/t", "with space?#%", "é"] {
            let path = path(model, "generateContent").unwrap();
            assert_eq!(asked(&path).model.unwrap(), model, "{path}");
            assert!(!path.contains([' ', '?', '#']), "{path}");
        }
        assert_eq!(path("models/x", "y").unwrap(), "/models/x:y");
        for bad in ["../x", "a//b", "a/./b", ""] {
            assert!(path(bad, "y").is_err(), "{bad}");
        }
    }
}
