//! Several schemas as one: `allOf`, a `$ref` with conditions beside it, alternatives with conditions around them. What two parts say of the
//! same thing is joined where one keyword can say both, and refused by name where none can.

use serde_json::{Map, Value};

use super::{GrammarError, Result, Translator, invalid};

/// Keywords that say what fits, for merging and for telling a bare `$ref` from one with conditions beside it.
pub(super) const KEPT: [&str; 20] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "minLength",
    "maxLength",
    "pattern",
    "minimum",
    "maximum",
    "nullable",
    "format",
];

impl Translator<'_> {
    /// `allOf` and a `$ref` with conditions beside it: one set of keywords that says the same.
    pub(super) fn merged(&mut self, fields: &Map<String, Value>, at: &str) -> Result<Map<String, Value>> {
        let mut merged = fields.clone();
        let mut parts: Vec<Value> = Vec::new();
        let mut seen = 0;
        take_parts(&mut merged, &mut parts);
        while let Some(part) = parts.pop() {
            self.step()?;
            seen += 1;
            if seen > 64 {
                return Err(GrammarError::TooLarge { what: "schemas merged in one place", limit: 64 });
            }
            let mut part = match part {
                Value::Bool(true) => continue,
                Value::String(target) => match self.resolve(&target, at)? {
                    Value::Object(fields) => fields.clone(),
                    Value::Bool(true) => continue,
                    _ => return Err(invalid(format!("{target} is no object"), at)),
                },
                Value::Object(fields) => fields,
                _ => return Err(invalid("a part of allOf is no schema", at)),
            };
            self.refuse(&part, at)?;
            take_parts(&mut part, &mut parts);
            merge(&mut merged, part, at)?;
        }
        Ok(merged)
    }

    /// Alternatives, each with the conditions that stand beside them.
    pub(super) fn alternatives(
        &mut self,
        fields: &Map<String, Value>,
        keyword: &str,
        options: &Value,
        at: &str,
    ) -> Result<String> {
        let options = options
            .as_array()
            .filter(|options| !options.is_empty())
            .ok_or_else(|| invalid(format!("{keyword} is no list of schemas"), at))?;
        let mut beside = constraints(fields);
        beside.remove(keyword);
        let mut names = Vec::new();
        for (index, option) in options.iter().enumerate() {
            self.step()?;
            let at = format!("{at}/{keyword}/{index}");
            self.depth += 1;
            if self.depth > self.limits.depth {
                return Err(GrammarError::TooLarge { what: "levels of nesting", limit: self.limits.depth });
            }
            let name = match option {
                Value::Object(option) if beside.is_empty() => self.fields(option, &at)?,
                Value::Object(option) => {
                    let mut joined = beside.clone();
                    let mut option = option.clone();
                    if option.contains_key("$ref") || option.contains_key("allOf") {
                        option = self.merged(&option, &at)?;
                    }
                    self.refuse(&option, &at)?;
                    merge(&mut joined, option, &at)?;
                    self.fields(&joined, &at)?
                }
                Value::Bool(true) if beside.is_empty() => self.share("value")?,
                Value::Bool(true) => self.fields(&beside, &at)?,
                Value::Bool(false) => {
                    self.depth -= 1;
                    continue;
                }
                _ => return Err(invalid("a schema is an object or a boolean", &at)),
            };
            self.depth -= 1;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        match names.len() {
            0 => Err(invalid("nothing can fit it", at)),
            1 => Ok(names.remove(0)),
            _ => self.fresh(names.join(" | ")),
        }
    }
}

/// The keywords of a subschema that say what fits, without the annotations.
pub(super) fn constraints(fields: &Map<String, Value>) -> Map<String, Value> {
    let says = |key: &str| KEPT.contains(&key) || matches!(key, "$ref" | "exclusiveMinimum" | "exclusiveMaximum");
    fields.iter().filter(|(key, _)| says(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Moves `$ref` and the parts of `allOf` out of a subschema; a reference is left as its text.
fn take_parts(fields: &mut Map<String, Value>, parts: &mut Vec<Value>) {
    parts.extend(fields.shift_remove("$ref"));
    if let Some(Value::Array(all)) = fields.shift_remove("allOf") {
        parts.extend(all.into_iter().map(|part| if part.is_string() { Value::Null } else { part }));
    }
}

/// Puts the keywords of `from` beside those of `into`, where both together can be said in one.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>, at: &str) -> Result<()> {
    // A part that closes its properties closes them against those of the other part too.
    let closed =
        |part: &Map<String, Value>| !matches!(part.get("additionalProperties"), None | Some(Value::Bool(true)));
    let lacks = |part: &Map<String, Value>, other: &Map<String, Value>| {
        let has = |name: &String| part.get("properties").and_then(|properties| properties.get(name)).is_some();
        other.get("properties").and_then(Value::as_object).is_some_and(|properties| !properties.keys().all(has))
    };
    if (closed(into) && lacks(into, &from)) || (closed(&from) && lacks(&from, into)) {
        return Err(GrammarError::Unsupported {
            keyword: "additionalProperties beside other properties".to_owned(),
            at: at.to_owned(),
        });
    }
    for (key, value) in constraints(&from) {
        let Some(present) = into.get_mut(&key) else {
            into.insert(key, value);
            continue;
        };
        if *present == value {
            continue;
        }
        let conflict =
            || GrammarError::Unsupported { keyword: format!("allOf with two different {key:?}"), at: at.to_owned() };
        match (key.as_str(), present, value) {
            ("properties", Value::Object(present), Value::Object(more)) => {
                for (name, schema) in more {
                    match present.get(&name) {
                        Some(known) if *known != schema => return Err(conflict()),
                        _ => drop(present.insert(name, schema)),
                    }
                }
            }
            ("required", Value::Array(present), Value::Array(more)) => {
                for name in more {
                    if !present.contains(&name) {
                        present.push(name);
                    }
                }
            }
            ("type", present, value) => {
                let kinds =
                    |value: &Value| -> Vec<Value> { value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]) };
                let number = |kinds: &[Value]| kinds.iter().any(|kind| kind == "number");
                let (left, right) = (kinds(present), kinds(&value));
                let both: Vec<Value> = left
                    .iter()
                    .filter(|kind| right.contains(kind) || (*kind == "integer" && number(&right)))
                    .chain(right.iter().filter(|kind| *kind == "integer" && number(&left)))
                    .cloned()
                    .collect();
                if both.is_empty() {
                    return Err(invalid("no type fits all parts", at));
                }
                *present = Value::Array(both);
            }
            ("minimum" | "minLength" | "minItems" | "exclusiveMinimum", present, value) => {
                if value.as_f64() > present.as_f64() {
                    *present = value;
                }
            }
            ("maximum" | "maxLength" | "maxItems" | "exclusiveMaximum", present, value) => {
                if value.as_f64() < present.as_f64() {
                    *present = value;
                }
            }
            ("additionalProperties", present, Value::Bool(false)) => *present = Value::Bool(false),
            _ => return Err(conflict()),
        }
    }
    Ok(())
}
