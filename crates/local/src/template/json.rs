//! `tojson` as `transformers` has it: Python's `json.dumps` with `ensure_ascii=False` and without HTML escapes.

use std::fmt::Write as _;

use super::meter::{Meter, Result, Stop};
use super::run::Bound;
use super::text::float;
use super::value::{Value, compare};

/// Indents by more than this are no indents.
const MAX_INDENT: i128 = 64;

/// The filter with its arguments.
pub(super) fn tojson(meter: &Meter, value: &Value, args: Bound) -> Result<Value> {
    let [ascii, indent, separators, sort] =
        args.take("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"])?;
    let step = match indent {
        None | Some(Value::None) => None,
        Some(Value::Text(text)) => Some(text.to_string()),
        Some(other) => match other.as_int() {
            Some(width @ ..=MAX_INDENT) => Some(" ".repeat(usize::try_from(width).unwrap_or(0))),
            _ => return Err(Stop::failed("tojson: an indent is a text or up to 64")),
        },
    };
    let (comma, colon) = match separators {
        None | Some(Value::None) => ((if step.is_some() { "," } else { ", " }).to_owned(), ": ".to_owned()),
        Some(pair) => match pair.items(meter)?.as_slice() {
            [Value::Text(comma), Value::Text(colon)] => (comma.to_string(), colon.to_string()),
            _ => return Err(Stop::failed("tojson: separators are two texts")),
        },
    };
    let is_true = |flag: Option<Value>| flag.is_some_and(|flag| flag.is_true());
    let mut json = Json { meter, out: String::new(), ascii: is_true(ascii), step, comma, colon, sort: is_true(sort) };
    json.value(value, 0)?;
    Ok(Value::from(json.out))
}

struct Json<'a> {
    meter: &'a Meter,
    out: String,
    ascii: bool,
    step: Option<String>,
    comma: String,
    colon: String,
    sort: bool,
}

impl Json<'_> {
    fn push(&mut self, text: &str) -> Result<()> {
        self.meter.bytes(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<()> {
        self.meter.bytes(32)?;
        match value {
            Value::None => self.out.push_str("null"),
            Value::Bool(flag) => self.out.push_str(if *flag { "true" } else { "false" }),
            Value::Int(number) => {
                let _ = write!(self.out, "{number}");
            }
            Value::Float(number) => self.float(*number),
            Value::Text(text) => self.text(text)?,
            Value::Dict(dict) => {
                let mut entries: Vec<&(Value, Value)> = dict.entries.iter().collect();
                self.meter.places(entries.len())?;
                if self.sort {
                    entries =
                        super::operators::sorted(entries, &mut |left, right| compare(self.meter, &left.0, &right.0))?;
                }
                self.out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.before(index, depth)?;
                    self.key(key)?;
                    let colon = self.colon.clone();
                    self.push(&colon)?;
                    self.value(value, depth + 1)?;
                }
                self.close(entries.is_empty(), depth, '}')?;
            }
            Value::Seq(seq) if matches!(seq.kind, super::value::Kind::List | super::value::Kind::Tuple) => {
                self.out.push('[');
                for (index, item) in seq.items.iter().enumerate() {
                    self.before(index, depth)?;
                    self.value(item, depth + 1)?;
                }
                self.close(seq.items.is_empty(), depth, ']')?;
            }
            other => {
                return Err(Stop::failed(format!("Object of type {} is not JSON serializable", other.type_name())));
            }
        }
        Ok(())
    }

    fn float(&mut self, number: f64) {
        let text = match number {
            number if number.is_nan() => "NaN".to_owned(),
            number if number.is_infinite() => (if number > 0.0 { "Infinity" } else { "-Infinity" }).to_owned(),
            number => float(number),
        };
        self.out.push_str(&text);
    }

    fn key(&mut self, key: &Value) -> Result<()> {
        match key {
            Value::Text(text) => self.text(text),
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                self.out.push('"');
                self.value(key, 0)?;
                self.out.push('"');
                Ok(())
            }
            other => {
                Err(Stop::failed(format!("keys must be str, int, float, bool or None, not {}", other.type_name())))
            }
        }
    }

    fn before(&mut self, index: usize, depth: usize) -> Result<()> {
        if index > 0 {
            let comma = self.comma.clone();
            self.push(&comma)?;
        }
        self.line(depth + 1)
    }

    fn close(&mut self, empty: bool, depth: usize, bracket: char) -> Result<()> {
        if !empty {
            self.line(depth)?;
        }
        self.out.push(bracket);
        Ok(())
    }

    fn line(&mut self, depth: usize) -> Result<()> {
        if let Some(step) = &self.step {
            self.meter.product(depth + 1, step.len() + 1)?;
            self.out.push('\n');
            self.out.push_str(&step.repeat(depth));
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<()> {
        self.meter.letters(text.len())?;
        self.out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                letter if letter < ' ' || (self.ascii && !matches!(letter, ' '..='~')) => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                letter => self.out.push(letter),
            }
        }
        self.out.push('"');
        Ok(())
    }
}
