//! Strings, numbers and listed values. Regular expressions are in `grammar/pattern.rs`, bounds of whole numbers in `grammar/range.rs`.

use serde_json::{Map, Value};

use super::super::{pattern, range};
use super::shared::FORMATS;
use super::{GrammarError, Result, Translator, invalid, literal, text};

impl Translator<'_> {
    pub(super) fn values(&mut self, values: &[Value], fields: &Map<String, Value>, at: &str) -> Result<String> {
        if values.len() > self.limits.values {
            return Err(GrammarError::TooLarge { what: "values in an enum", limit: self.limits.values });
        }
        let allowed: Option<Vec<&str>> = match fields.get("type") {
            Some(Value::String(kind)) => Some(vec![kind]),
            Some(Value::Array(kinds)) => Some(kinds.iter().filter_map(Value::as_str).collect()),
            _ => None,
        };
        let mut literals = Vec::new();
        for value in values {
            self.step()?;
            if allowed.as_ref().is_none_or(|kinds| kinds.iter().any(|kind| is_type(value, kind))) {
                literals.push(literal(&value.to_string()));
            }
        }
        if literals.is_empty() {
            return Err(invalid("no value of the enum has the type", at));
        }
        self.fresh(literals.join(" | "))
    }

    pub(super) fn string(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
        let (least, most) = (self.count(fields, "minLength", at)?, self.count(fields, "maxLength", at)?);
        if let Some(pattern) = fields.get("pattern") {
            if least.is_some() || most.is_some() {
                return Err(GrammarError::Unsupported {
                    keyword: "pattern with minLength or maxLength".to_owned(),
                    at: at.to_owned(),
                });
            }
            let pattern = text(pattern, "pattern", at)?;
            let any = self.share("char")?;
            let inside = pattern::expression(pattern, &any)
                .map_err(|what| GrammarError::Unsupported { keyword: format!("pattern: {what}"), at: at.to_owned() })?;
            return self.fresh(format!("\"\\\"\" {inside} \"\\\"\""));
        }
        if let Some((_, needs, inside)) =
            FORMATS.iter().find(|(format, _, _)| fields.get("format").and_then(Value::as_str) == Some(format))
        {
            for need in *needs {
                self.share(need)?;
            }
            return self.fresh(format!("\"\\\"\" {inside} \"\\\"\""));
        }
        if least.is_none() && most.is_none() {
            return self.share("string");
        }
        let any = self.share("char")?;
        let times = times(least, most, at)?;
        self.fresh(format!("\"\\\"\" {any}{times} \"\\\"\""))
    }

    /// A whole number that counts something, within the limit on repetitions.
    pub(super) fn count(&mut self, fields: &Map<String, Value>, keyword: &str, at: &str) -> Result<Option<u64>> {
        let Some(value) = fields.get(keyword) else {
            return Ok(None);
        };
        let count = value.as_u64().or_else(|| {
            value.as_f64().filter(|number| *number >= 0.0 && number.fract() == 0.0).map(|number| number as u64)
        });
        let count = count.ok_or_else(|| invalid(format!("{keyword} is no whole number"), at))?;
        if count > self.limits.repetitions {
            // An upper bound that is out of reach is kept by the length of any answer; a lower one is not.
            if keyword.starts_with("max") {
                return Ok(None);
            }
            return Err(GrammarError::TooLarge { what: "repetitions", limit: self.limits.repetitions as usize });
        }
        Ok(Some(count))
    }

    pub(super) fn integer(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
        let low = [
            bound(fields, "minimum", at)?.map(f64::ceil),
            bound(fields, "exclusiveMinimum", at)?.map(|low| low.floor() + 1.0),
        ];
        let high = [
            bound(fields, "maximum", at)?.map(f64::floor),
            bound(fields, "exclusiveMaximum", at)?.map(|high| high.ceil() - 1.0),
        ];
        let low = low.into_iter().flatten().reduce(f64::max);
        let high = high.into_iter().flatten().reduce(f64::min);
        if low.is_none() && high.is_none() {
            return self.share("integer");
        }
        // Bounds beyond what a double holds exactly, as those of 64-bit numbers, are no bounds to a writer of 16 digits.
        let exact = |bound: f64| (bound.abs() < 9e15).then_some(bound as i64);
        let text = range::integers(low.and_then(exact), high.and_then(exact))
            .ok_or_else(|| invalid("no number is within its bounds", at))?;
        self.fresh(text)
    }

    pub(super) fn number(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
        for keyword in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] {
            match bound(fields, keyword, at)? {
                None => {}
                Some(0.0) if keyword == "minimum" => return self.share("fraction"),
                Some(_) => {
                    return Err(GrammarError::Unsupported {
                        keyword: format!("{keyword} of a number that is no integer"),
                        at: at.to_owned(),
                    });
                }
            }
        }
        self.share("number")
    }
}

pub(super) fn times(least: Option<u64>, most: Option<u64>, at: &str) -> Result<String> {
    let least = least.unwrap_or(0);
    Ok(match most {
        None if least == 0 => "*".to_owned(),
        None => format!("{{{least},}}"),
        Some(most) if most < least => {
            return Err(invalid("an upper bound is below the lower one", at));
        }
        Some(most) => format!("{{{least},{most}}}"),
    })
}

fn bound(fields: &Map<String, Value>, keyword: &str, at: &str) -> Result<Option<f64>> {
    match fields.get(keyword) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or_else(|| invalid(format!("{keyword} is no number"), at)),
    }
}

fn is_type(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
