//! Secrets: a string that cannot be printed or serialised by accident, and the mask for key-shaped text in words that came from elsewhere.
//!
//! It is not encryption. The value is wiped from memory when the last owner drops it; who may read it calls [`Secret::expose`], which is easy to search for.

use std::{borrow::Cow, fmt, sync::Arc};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A credential. It has no `Display` and no `Serialize`; `Debug` prints nothing of it.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes ownership of a secret text. Surrounding white space, which files and shells add, is removed.
    pub fn new(text: impl Into<String>) -> Self {
        let text = Zeroizing::new(text.into());
        Self(Arc::new(Zeroizing::new(text.trim().to_owned())))
    }

    /// The text itself, for the one place that signs or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether this text, blanks around it aside, is the secret. The time taken says nothing about where the two differ.
    pub fn is(&self, text: &str) -> bool {
        let (a, b) = (self.0.as_bytes(), text.trim().as_bytes());
        a.len() == b.len() && a.iter().zip(b).fold(0, |seen, (x, y)| seen | (x ^ y)) == 0
    }

    /// Whether nothing is there: an empty variable counts as unset.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A short, one-way name for this secret: tells two keys apart in provider instances and breakers without revealing either.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::new_with_prefix(b"llm-router secret\0").chain_update(self.0.as_bytes()).finalize();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.expose())
    }
}

impl Eq for Secret {}

/// Prefixes that the providers give their keys; a word that starts with one and goes on is taken for a key.
const KEY_PREFIXES: &[&str] = &[
    "sk-",
    "sk_",
    "pk-",
    "rk-",
    "hf_",
    "gsk_",
    "xai-",
    "AIza",
    "AQ.",
    "ya29.",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "nvapi-",
    "pplx-",
    "csk-",
    "fw_",
    "tgp_",
    "r8_",
    "AKIA",
    "ASIA",
    "eyJ",
    "sess-",
    "key-",
    "api-",
    "xoxb-",
    "xoxp-",
];

/// Words after which the next word is a credential whatever it looks like.
const KEY_MARKERS: &[&str] =
    &["bearer", "x-api-key", "x-goog-api-key", "api-key", "api_key", "apikey", "authorization", "token"];

const SHORTEST_PREFIXED: usize = 12;
const SHORTEST_MARKED: usize = 8;

/// What is shorter is no key, and taking it out would tear holes into words.
const SHORTEST_KNOWN: usize = 6;

/// Replaces these very values in a text by `…`, whatever their shape: for secrets that are known.
pub fn hide<'a, 's>(text: &'a str, secrets: impl IntoIterator<Item = &'s str>) -> Cow<'a, str> {
    let known = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST_KNOWN);
    known.fold(
        Cow::Borrowed(text),
        |text, secret| {
            if text.contains(secret) { text.replace(secret, "…").into() } else { text }
        },
    )
}

/// Replaces key-shaped words of a text by their first characters and `…`.
///
/// Upstreams repeat the key they refused; their words reach logs, error bodies and terminals. A false hit costs a few letters of a message, a miss costs a key.
pub fn mask(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut marked = false;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let word_len = rest.find(|c: char| !is_key_char(c)).unwrap_or(rest.len());
        if word_len == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let word = &rest[..word_len];
        if let Some(keep) = secret_prefix(word, marked) {
            out.push_str(&text[copied..at + keep]);
            out.push('…');
            copied = at + word_len;
        }
        let lower = word.trim_end_matches(['=', ':']).to_ascii_lowercase();
        marked =
            KEY_MARKERS.contains(&lower.as_str()) || (marked && matches!(lower.as_str(), "is" | "basic" | "header"));
        at += word_len;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

fn is_key_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '*')
}

/// How many leading bytes of a key-shaped word may stay, or `None` for a plain word.
fn secret_prefix(word: &str, marked: bool) -> Option<usize> {
    if let Some(prefix) = KEY_PREFIXES.iter().find(|prefix| word.starts_with(**prefix)) {
        // Hyphenated prose such as `api-compatible-endpoint` has no digit; real keys do.
        let keyish =
            word.bytes().any(|b| b.is_ascii_digit()) || word.bytes().filter(u8::is_ascii_uppercase).count() > 2;
        if word.len() >= SHORTEST_PREFIXED && keyish {
            return Some(prefix.len());
        }
    }
    let entropy = word.len() >= SHORTEST_MARKED && word.bytes().any(|b| b.is_ascii_digit());
    (marked && entropy).then_some(0).or_else(|| (word.len() >= 40 && looks_random(word)).then_some(4))
}

/// Long words that mix digits with both cases are keys or digests; neither is needed to understand an error.
fn looks_random(word: &str) -> bool {
    let has = |test: fn(&u8) -> bool| word.as_bytes().iter().any(test);
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    mixed && !word.contains("..") && !is_peer_id(word)
}

/// The id of a peer is its public key, and an error about peers says which one is meant.
fn is_peer_id(word: &str) -> bool {
    let ed25519 = word.len() == 52 && word.starts_with("12D3KooW");
    ed25519 && word.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_what_providers_repeat() {
        for text in [
            "Incorrect API key provided: sk-proj-AbC123dEf456GhI789. You can find it",
            "invalid x-api-key: 0123456789abcdef",
            "Authorization: Bearer abcdef0123456789",
            "https://h/v1?key=AIzaSyA0123456789abcdef",
            r#"{"error":"Invalid token hf_abcDEF012345678"}"#,
            "OPENAI_API_KEY=sk-0123456789abcdef",
            "api_key: deadbeef01",
        ] {
            let masked = mask(text);
            assert!(masked.contains('…'), "{masked}");
            for tail in ["0123456789abcdef", "123dEf", "DEF0123", "deadbeef01"] {
                assert!(!masked.contains(tail), "{masked}");
            }
        }
    }

    #[test]
    fn hides_what_is_known_whatever_its_shape() {
        assert_eq!(hide("no such user: canary bird", ["canary bird", "no", ""]), "no such user: …");
        assert!(matches!(hide("plain", ["canary"]), Cow::Borrowed("plain")));
    }

    #[test]
    fn leaves_prose_alone() {
        for text in [
            "model openai/gpt-4o-mini-2024-07-18 not found",
            "no api-compatible-endpoint here",
            "the token limit is 4096",
            "maximum context length is 8192 tokens",
            "the peer 12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA is not trusted",
            "é日本語",
            "",
        ] {
            assert_eq!(mask(text), text);
        }
    }

    #[test]
    fn says_nothing_of_itself() {
        let secret = Secret::new(" sk-abc \n");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
        assert_eq!(secret.expose(), "sk-abc");
        assert_eq!(secret, Secret::new("sk-abc"));
        assert_ne!(secret.fingerprint(), Secret::new("sk-abd").fingerprint());
    }
}
