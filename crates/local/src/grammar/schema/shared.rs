//! The rules that any grammar may need: JSON's own values, and the formats of strings that are kept. Only those that a schema uses come into
//! its grammar, each with what it needs.

use super::{Result, Translator};

/// Rules that every grammar may use: what they need, and their text.
#[rustfmt::skip]
const SHARED: [(&str, &[&str], &str); 14] = [
    ("ws", &[], r#"| " " | "\n" [ \t]{0,20}"#),
    ("hex", &[], "[0-9a-fA-F]"),
    ("char", &["hex"], r#"[^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" ([0-9a-cefA-CEF] hex{3} | [dD] [0-7] hex{2}))"#),
    ("string", &["char"], r#""\"" char* "\"""#),
    ("whole", &[], r#""0" | [1-9] [0-9]{0,15}"#),
    ("integer", &["whole"], r#""-"? whole"#),
    ("fraction", &["whole"], r#"whole ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?"#),
    ("number", &["fraction"], r#""-"? fraction"#),
    ("boolean", &[], r#""true" | "false""#),
    ("null", &[], r#""null""#),
    ("object", &["ws", "string", "value"], r#""{" ws (string ws ":" ws value ws ("," ws string ws ":" ws value ws)*)? "}""#),
    ("array", &["ws", "value"], r#""[" ws (value ws ("," ws value ws)*)? "]""#),
    ("value", &["object", "array", "string", "number", "boolean", "null"], "object | array | string | number | boolean | null"),
    ("date", &[], r#"[0-9]{4} "-" ("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | [1-2] [0-9] | "3" [0-1])"#),
];
/// The formats that are kept, as what stands between the quotes.
#[rustfmt::skip]
pub(super) const FORMATS: [(&str, &[&str], &str); 4] = [
    ("date", &["date"], "date"),
    ("time", &[], TIME),
    ("date-time", &["date"], r#"date "T" ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? ("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])"#),
    ("uuid", &["hex"], r#"hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}"#),
];
const TIME: &str = r#"([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? ("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])"#;

impl Translator<'_> {
    /// Brings a shared rule and what it needs into the grammar.
    pub(super) fn share(&mut self, name: &str) -> Result<String> {
        if !self.rules.contains_key(name)
            && let Some((name, needs, text)) = SHARED.iter().find(|(known, _, _)| *known == name)
        {
            self.rule((*name).to_owned(), (*text).to_owned())?;
            for need in *needs {
                self.share(need)?;
            }
        }
        Ok(name.to_owned())
    }
}
