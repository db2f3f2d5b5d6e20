//! Names and identifiers, parsed once at the door into types that cannot be wrong.
//!
//! Nothing here knows what a provider or a model *is*; resolution of names lives in `router/resolve.rs`.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the name.
            ///
            /// # Errors
            /// `caller_invalid_request`, naming the text and the rule it breaks.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                $check(text.as_ref()).map(|text| Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;
            fn try_from(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.to_string()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }
    };
}

name_type! {
    /// The id of a provider: trimmed and lower-cased ASCII letters, digits, `_`, `-` and `.`, 64 bytes at most.
    ProviderId, provider_id
}

name_type! {
    /// A model's name, passed on verbatim: no control characters, no leading `-` (it may become a word of a command line), 256 bytes at most.
    ModelName, model_name
}

name_type! {
    /// Whose data it is: part of every storage key, so that two tenants never see each other's answers. `default` unless a key or a team says otherwise.
    Namespace, namespace
}

/// Whether a text is what a pattern says, in which `*` stands for any characters, none included.
#[must_use]
pub fn matches_pattern(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn provider_id(text: &str) -> Result<String> {
    let id = text.trim().to_ascii_lowercase();
    let fits = !id.is_empty()
        && id.len() <= 64
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'.'))
        && id.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    if fits {
        return Ok(id);
    }
    Err(Error::invalid(format!("{:?} is not a provider id", shorten(text)))
        .with_hint("an id is 1 to 64 letters, digits, '_', '-' or '.', and starts with a letter or digit"))
}

fn model_name(text: &str) -> Result<&str> {
    let text = text.trim();
    let broken = match text {
        "" => "it is empty",
        _ if text.len() > 256 => "it is longer than 256 bytes",
        _ if text.starts_with('-') => "it starts with '-'",
        _ if text.chars().any(char::is_control) => "it holds a control character",
        _ => return Ok(text),
    };
    Err(Error::invalid(format!("{:?} is not a model name: {broken}", shorten(text))))
}

fn namespace(text: &str) -> Result<&str> {
    let fits =
        !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\' && b != b'"');
    if fits {
        return Ok(text);
    }
    Err(Error::invalid(format!("{:?} is not a namespace", shorten(text)))
        .with_hint("a namespace is 1 to 128 printable ASCII characters without spaces"))
}

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

/// Client text in an error message is cut, so that a hostile name does not fill a log.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(80).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// The id of one request, unique and sortable by time; shown to the caller and kept with its trace.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Makes an id from a time in milliseconds since 1970 and 80 random bits: `req_` and 26 characters of Crockford's base 32 (the ULID layout).
    pub fn from_parts(unix_millis: u64, random: u128) -> Self {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let bits = (u128::from(unix_millis) << 80) | (random & ((1 << 80) - 1));
        let mut text = *b"req_00000000000000000000000000";
        for (place, digit) in text.iter_mut().skip(4).rev().enumerate() {
            *digit = ALPHABET[((bits >> (place * 5)) & 31) as usize];
        }
        Self(String::from_utf8_lossy(&text).into())
    }

    /// Takes an id that a client or an upstream chose.
    ///
    /// # Errors
    /// `caller_invalid_request` unless it is 1 to 128 printable ASCII characters.
    pub fn parse(text: &str) -> Result<Self> {
        if !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self(text.into()));
        }
        Err(Error::invalid(format!("{:?} is not a request id", shorten(text)))
            .with_hint("use 1 to 128 printable ASCII characters"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text) in
            [("a", "a"), ("*", ""), ("*", "x/y"), ("a*", "a"), ("*b", "ab"), ("a*b*c", "a--b-bc"), ("a/*", "a/b")]
        {
            assert!(matches_pattern(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("", "a"), ("a*", "ba"), ("a*a", "a"), ("a*b*c", "acb"), ("*b", "ba")] {
            assert!(!matches_pattern(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn provider_ids_are_trimmed_and_lower_cased() {
        assert_eq!(ProviderId::new(" OpenRouter ").unwrap(), "openrouter");
        for bad in ["", "-x", "a b", "a/b", &"x".repeat(65), "naïve"] {
            assert!(ProviderId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn model_names_cannot_become_options() {
        assert_eq!(ModelName::new("meta-llama/Llama-3.3-70B:free").unwrap(), "meta-llama/Llama-3.3-70B:free");
        for bad in ["", "  ", "--help", "a\nb", "a\0b", &"x".repeat(257)] {
            assert!(ModelName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn request_ids_sort_by_time() {
        let (early, late) = (RequestId::from_parts(1, u128::MAX), RequestId::from_parts(2, 0));
        assert!(early < late, "{early} {late}");
        assert_eq!(early.as_str().len(), 30);
        assert!(RequestId::parse("a b").is_err());
    }
}
