//! How what a program prints becomes an answer, as the config says it: the form of its output, and where in a line of JSON the parts of an answer stand.
//!
//! These are settings only; `provider/process/output.rs` reads by them.

use serde_json::Value;

/// The form of a program's standard output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutputForm {
    /// The answer's text.
    #[default]
    Text,
    /// One JSON value; the text stands at this pointer (RFC 6901).
    Json(String),
    /// A JSON value in each line; [`LinesSettings`] say what it is.
    Lines,
}

impl OutputForm {
    /// Reads `text`, `lines` or a JSON pointer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "text" => Ok(Self::Text),
            "lines" => Ok(Self::Lines),
            pointer if pointer.starts_with('/') => pointer_of(pointer).map(Self::Json),
            _ => Err("neither `text`, `lines` nor a JSON pointer, which begins with `/`".into()),
        }
    }
}

/// What the lines of a program are. A part that is not set is not looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinesSettings {
    /// A piece of the answer's text.
    pub text: Option<Pick>,
    /// A piece of its thoughts.
    pub thoughts: Option<Pick>,
    /// What went wrong: the answer is none.
    pub error: Option<Pick>,
    /// The line with which an answer ends; one that ends without it is cut.
    pub end: Option<Condition>,
    /// Tokens of the prompt so far, cached ones included.
    pub input_tokens: Option<Pick>,
    /// Of these: read from a cache.
    pub cached_tokens: Option<Pick>,
    /// Tokens of the answer so far, thoughts included.
    pub output_tokens: Option<Pick>,
    /// Of these: thoughts.
    pub reasoning_tokens: Option<Pick>,
}

/// A place in a line of JSON: `/delta`, or `/delta where /type=text` where only some lines count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    pointer: String,
    only: Option<Condition>,
}

/// What a line of JSON must hold: `/type=text`, or `/delta` where anything that is not null will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pointer: String,
    is: Option<String>,
}

impl Pick {
    /// Reads `POINTER` or `POINTER where CONDITION`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (pointer, only) = match text.split_once(" where ") {
            Some((pointer, only)) => (pointer, Some(Condition::parse(only)?)),
            None => (text, None),
        };
        Ok(Self { pointer: pointer_of(pointer)?, only })
    }

    /// What stands there; nothing where that is null, or the line is not one of those that count.
    pub fn of<'a>(&self, line: &'a Value) -> Option<&'a Value> {
        let counts = self.only.as_ref().is_none_or(|only| only.holds(line));
        line.pointer(&self.pointer).filter(|value| counts && !value.is_null())
    }
}

impl Condition {
    /// Reads `POINTER` or `POINTER=VALUE`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (pointer, is) = match text.split_once('=') {
            Some((pointer, is)) => (pointer, Some(is.trim().to_owned())),
            None => (text, None),
        };
        Ok(Self { pointer: pointer_of(pointer)?, is })
    }

    /// Whether a line is so. Numbers and flags are compared as they are written.
    pub fn holds(&self, line: &Value) -> bool {
        match (line.pointer(&self.pointer), &self.is) {
            (None | Some(Value::Null), _) => false,
            (Some(_), None) => true,
            (Some(Value::String(text)), Some(is)) => text == is,
            (Some(Value::Bool(flag)), Some(is)) => is == if *flag { "true" } else { "false" },
            (Some(Value::Number(number)), Some(is)) => number.to_string() == is.as_str(),
            (Some(_), Some(_)) => false,
        }
    }
}

fn pointer_of(text: &str) -> Result<String, String> {
    let text = text.trim();
    if !text.starts_with('/') {
        return Err(format!("{text:?} is no JSON pointer: it begins with `/`, such as `/result/text`"));
    }
    let odd = text.match_indices('~').any(|(at, _)| !matches!(text.as_bytes().get(at + 1), Some(b'0' | b'1')));
    if odd {
        return Err(format!("{text:?} is no JSON pointer: `~` is written `~0` in it, and `/` in a name `~1`"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn places_and_conditions_are_read_and_found() {
        let line = json!({"type": "text", "part": {"text": "a=b", "n": 3}, "last": null, "a/b": 1});
        let found = |text: &str| Pick::parse(text).unwrap().of(&line).cloned();
        assert_eq!(found("/part/text"), Some(json!("a=b")));
        assert_eq!(found(" /part/n where /type=text "), Some(json!(3)));
        assert_eq!(found("/a~1b where /part/n = 3"), Some(json!(1)));
        assert_eq!(found("/part where /part/text=a=b").map(|value| value.is_object()), Some(true));
        for absent in ["/none", "/last", "/part/n where /type=thought", "/part/n where /last", "/part/n where /part={}"]
        {
            assert_eq!(found(absent), None, "{absent}");
        }
        for bad in ["", "text", "/a where ", "/a where type=x", "/a~", "where /type=x"] {
            assert!(Pick::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn forms_are_words_or_a_pointer() {
        assert_eq!(OutputForm::parse("/result/text"), Ok(OutputForm::Json("/result/text".into())));
        assert_eq!(OutputForm::parse("lines"), Ok(OutputForm::Lines));
        assert!(OutputForm::parse("json").unwrap_err().contains("`/`"));
    }
}
