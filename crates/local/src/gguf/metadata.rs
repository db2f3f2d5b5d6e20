//! The metadata pairs of a GGUF file as typed values, without a meaning: `rules.rs` and `vocabulary.rs` say what they must be. Arrays
//! nobody here asks about are passed over and only their type and length kept.

use std::collections::HashMap;
use std::io::Read;

use super::read::{MAX_STRING, Source};
use super::{GgufError, Reason, Result, Templates};

/// The most metadata pairs: real files have under a hundred.
pub(super) const MAX_PAIRS: u64 = 65_536;
/// The most elements of one array: the largest vocabularies hold half a million merges.
const MAX_ELEMENTS: u64 = 16 << 20;
/// The longest token, in bytes. llama.cpp walks a token's bytes by recursion.
const MAX_TOKEN: u64 = 8192;
const MAX_KEY: u64 = 65_535;
/// Arrays of whole numbers up to this length are kept: a value for each block.
const KEPT_NUMBERS: u64 = 1024;

/// The value types of the format, with their size in bytes; strings and arrays have none.
const SIZES: [Option<u64>; 13] =
    [Some(1), Some(1), Some(2), Some(2), Some(4), Some(4), Some(4), Some(1), None, None, Some(8), Some(8), Some(8)];
const NAMES: [&str; 13] =
    ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"];

pub(super) const I32: u32 = 5;
pub(super) const F32: u32 = 6;
const BOOL: u32 = 7;
pub(super) const TEXT: u32 = 8;
const ARRAY: u32 = 9;
const F64: u32 = 12;

/// One value. Whole numbers of every width are one variant: the rules care for the number.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Number(i128),
    Float(f64),
    Bool(bool),
    Text(String),
    /// A short array of whole numbers.
    Numbers(Vec<i128>),
    /// The vocabulary's strings.
    Texts(Vec<String>),
    /// Any other array, passed over: its element type and length.
    Array(u32, u64),
}

/// All pairs by key, and the order of the keys.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    values: HashMap<String, Value>,
    order: Vec<String>,
}

pub(super) fn read<R: Read>(source: &mut Source<R>, count: u64) -> Result<Metadata> {
    let mut metadata = Metadata::default();
    for index in 0..count {
        let key = source.text(&format!("metadata key {index}"), MAX_KEY)?;
        if key.is_empty() {
            return Err(GgufError::new(Reason::Inconsistent, format!("metadata key {index} is empty")));
        }
        let kind = source.u32(&key)?;
        let value = value(source, &key, kind)?;
        if metadata.values.insert(key.clone(), value).is_some() {
            return Err(GgufError::new(Reason::Inconsistent, format!("metadata key {key} stands twice")));
        }
        metadata.order.push(key);
    }
    Ok(metadata)
}

fn value<R: Read>(source: &mut Source<R>, key: &str, kind: u32) -> Result<Value> {
    Ok(match kind {
        TEXT => Value::Text(source.text(key, MAX_STRING)?),
        ARRAY => return array(source, key),
        _ => scalar(source, key, kind)?,
    })
}

fn scalar<R: Read>(source: &mut Source<R>, key: &str, kind: u32) -> Result<Value> {
    Ok(match kind {
        0 => Value::Number(u8::from_le_bytes(source.bytes(key)?).into()),
        1 => Value::Number(i8::from_le_bytes(source.bytes(key)?).into()),
        2 => Value::Number(u16::from_le_bytes(source.bytes(key)?).into()),
        3 => Value::Number(i16::from_le_bytes(source.bytes(key)?).into()),
        4 => Value::Number(source.u32(key)?.into()),
        I32 => Value::Number(i32::from_le_bytes(source.bytes(key)?).into()),
        F32 => Value::Float(f32::from_le_bytes(source.bytes(key)?).into()),
        BOOL => Value::Bool(source.bytes::<1>(key)? != [0]),
        10 => Value::Number(source.u64(key)?.into()),
        11 => Value::Number(i64::from_le_bytes(source.bytes(key)?).into()),
        F64 => Value::Float(f64::from_le_bytes(source.bytes(key)?)),
        _ => return Err(unknown_type(key, kind)),
    })
}

fn array<R: Read>(source: &mut Source<R>, key: &str) -> Result<Value> {
    let kind = source.u32(key)?;
    let count = source.count(&format!("elements of {key}"), MAX_ELEMENTS)?;
    let Some(size) = SIZES.get(kind as usize) else {
        return Err(unknown_type(key, kind));
    };
    match size {
        None if kind == ARRAY => Err(GgufError::new(
            Reason::Unsupported,
            format!("{key} is an array of arrays, which llama.cpp does not read"),
        )),
        None => {
            // Each string has at least its length before it, so a lying count fails here and not after reserving memory for it.
            source.expect(count.saturating_mul(8), key)?;
            let words = key == "tokenizer.ggml.tokens";
            let mut texts = Vec::with_capacity(if words { count as usize } else { 0 });
            for index in 0..count {
                if words {
                    texts.push(source.text(&format!("{key}[{index}]"), MAX_TOKEN)?);
                } else {
                    source.string(key, MAX_STRING)?;
                }
            }
            Ok(if words { Value::Texts(texts) } else { Value::Array(kind, count) })
        }
        Some(size) => {
            let bytes = count.saturating_mul(*size);
            source.expect(bytes, key)?;
            if matches!(kind, F32 | F64) || (count > KEPT_NUMBERS && key != "tokenizer.ggml.token_type") {
                source.skip(bytes, key)?;
                return Ok(Value::Array(kind, count));
            }
            let mut numbers = Vec::with_capacity(count as usize);
            for _ in 0..count {
                numbers.push(match scalar(source, key, kind)? {
                    Value::Number(number) => number,
                    Value::Bool(flag) => i128::from(flag),
                    _ => 0,
                });
            }
            // The vocabulary's types must be i32 for llama.cpp, which reads them as such.
            Ok(if key == "tokenizer.ggml.token_type" && kind != I32 {
                Value::Array(kind, count)
            } else {
                Value::Numbers(numbers)
            })
        }
    }
}

fn unknown_type(key: &str, kind: u32) -> GgufError {
    GgufError::new(Reason::Inconsistent, format!("{key} has the unknown value type {kind}"))
}

impl Value {
    fn type_name(&self) -> String {
        match self {
            Value::Number(_) => "a number".to_owned(),
            Value::Float(_) => "a fraction".to_owned(),
            Value::Bool(_) => "a flag".to_owned(),
            Value::Text(_) => "a string".to_owned(),
            Value::Numbers(numbers) => format!("an array of {} numbers", numbers.len()),
            Value::Texts(texts) => format!("an array of {} strings", texts.len()),
            Value::Array(kind, count) => {
                format!("an array of {count} {}", NAMES.get(*kind as usize).unwrap_or(&"values"))
            }
        }
    }
}

impl Metadata {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// A whole number, where the key is there.
    pub(super) fn number(&self, key: &str) -> Result<Option<i128>> {
        self.typed(key, "a number", |value| if let Value::Number(number) = value { Some(*number) } else { None })
    }

    /// A fraction, where the key is there.
    pub(super) fn float(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a fraction", |value| if let Value::Float(float) = value { Some(*float) } else { None })
    }

    /// A flag, where the key is there.
    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a flag", |value| if let Value::Bool(flag) = value { Some(*flag) } else { None })
    }

    /// A string, where the key is there.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", |value| if let Value::Text(text) = value { Some(text.as_str()) } else { None })
    }

    /// The strings of a vocabulary array, where the key is there.
    pub(super) fn texts(&self, key: &str) -> Result<Option<&[String]>> {
        self.typed(key, "an array of strings", |value| {
            if let Value::Texts(texts) = value { Some(texts.as_slice()) } else { None }
        })
    }

    fn typed<'a, T>(&'a self, key: &str, wanted: &str, pick: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        pick(value).map(Some).ok_or_else(|| {
            GgufError::new(Reason::Inconsistent, format!("{key} is {}, not {wanted}", value.type_name()))
        })
    }

    /// `general.alignment`, 32 by default.
    pub(super) fn alignment(&self) -> Result<u64> {
        match self.number("general.alignment")? {
            None => Ok(32),
            Some(number) => u32::try_from(number)
                .ok()
                .filter(|number| number.is_power_of_two() && *number <= 1 << 20)
                .map(u64::from)
                .ok_or_else(|| {
                    GgufError::new(
                        Reason::Inconsistent,
                        format!("general.alignment is {number}, not a power of two up to 1048576"),
                    )
                }),
        }
    }

    /// Every chat template of the file.
    pub(super) fn templates(&self) -> Result<Templates> {
        const KEY: &str = "tokenizer.chat_template";
        let mut named = Vec::new();
        for key in &self.order {
            if let (Some(name), Some(Value::Text(text))) = (key.strip_prefix("tokenizer.chat_template."), self.get(key))
            {
                named.push((name.to_owned(), text.clone()));
            }
        }
        Ok(Templates { default: self.text(KEY)?.map(str::to_owned), named })
    }
}
