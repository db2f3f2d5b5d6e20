//! From a JSON schema to the grammar (GBNF) that llama.cpp holds an answer to, so that what is generated fits the schema by construction.
//! Schemas come from callers: the work is counted and bounded, and what cannot be kept is refused by name rather than ignored. It runs no
//! model and checks no document.
//!
//! [`schema`] translates, [`pattern`] does regular expressions, [`range`] whole numbers between bounds, [`check`] judges a grammar's
//! cost. JSON Schema 2020-12: <https://json-schema.org/draft/2020-12>; GBNF: llama.cpp's `grammars/README.md`.
//!
//! Kept: `type`, `properties`, `required`, `additionalProperties`, `items`, `prefixItems`, `minItems`, `maxItems`, `enum`, `const`,
//! `anyOf` and `oneOf` (as alternatives), `allOf` (merged), `$ref` within the schema (recursive too), `minLength`, `maxLength`,
//! `pattern` (without lookaround and back references), integer bounds, `nullable`, the formats `date`, `time`, `date-time`, `uuid`.
//! Ignored: other formats, as the standard says, and annotations. Properties come in the order the schema lists them; where a schema
//! lists properties and says nothing of others, there are no others.

mod check;
mod pattern;
mod range;
mod schema;

use serde_json::Value;

pub use check::check;

/// How large a schema and its grammar may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The schema as JSON, in bytes.
    pub bytes: usize,
    /// Levels of nesting.
    pub depth: usize,
    /// Steps of translation, one for each schema, property, alternative and value looked at.
    pub steps: usize,
    /// Rules in the grammar.
    pub rules: usize,
    /// The highest count of a repetition (`maxItems`, `minLength`, …).
    pub repetitions: u64,
    /// Values in one `enum`.
    pub values: usize,
    /// The grammar, in bytes.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 256 << 10,
            depth: 48,
            steps: 20_000,
            rules: 4_000,
            repetitions: 1_000,
            values: 1_000,
            output: 512 << 10,
        }
    }
}

/// Why there is no grammar. Every text names the place in the schema as a JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GrammarError {
    /// The schema asks for something that a grammar cannot hold an answer to.
    Unsupported {
        /// The keyword, as in `uniqueItems`.
        keyword: String,
        /// Where: a JSON pointer.
        at: String,
    },
    /// The schema is wrong in itself, or nothing can fit it.
    Invalid {
        /// What is wrong.
        detail: String,
        /// Where: a JSON pointer.
        at: String,
    },
    /// A limit is passed.
    TooLarge {
        /// Which one.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl std::fmt::Display for GrammarError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GrammarError::Unsupported { keyword, at } => {
                write!(
                    out,
                    "the local model cannot be held to {keyword:?} (at {at:?} in the schema); leave it out, or ask a provider that takes it"
                )
            }
            GrammarError::Invalid { detail, at } => {
                write!(out, "the schema is wrong at {at:?}: {detail}")
            }
            GrammarError::TooLarge { what, limit } => {
                write!(out, "the schema is too large for the local model: more than {limit} {what}; make it smaller")
            }
        }
    }
}

impl std::error::Error for GrammarError {}

/// The grammar of a JSON schema; its first rule is `root`.
///
/// # Errors
/// [`GrammarError`], within a bounded number of steps whatever the schema.
pub fn from_schema(schema: &Value) -> Result<String, GrammarError> {
    from_schema_within(schema, &Limits::default()).map(|(grammar, _)| grammar)
}

/// As [`from_schema`] with limits of one's own; also says how many steps it took.
///
/// # Errors
/// As [`from_schema`].
pub fn from_schema_within(schema: &Value, limits: &Limits) -> Result<(String, usize), GrammarError> {
    let (grammar, steps) = schema::translate(schema, limits)?;
    check(&grammar, limits)?;
    Ok((grammar, steps))
}

/// The grammar of `response_format: json_object`: any JSON object.
pub fn any_object() -> String {
    let schema = serde_json::json!({ "type": "object" });
    from_schema(&schema).unwrap_or_default()
}

#[cfg(test)]
mod tests;
