//! Schemas: JSON Schema as every other dialect writes it, and the subset of OpenAPI's that Google calls `Schema`.
//!
//! [`to_json_schema`] reads the subset: it loses nothing but a hint about order. [`to_subset`] writes it for models that know no other: references are put in
//! place, `const`, `oneOf`, `allOf` and `null` are said otherwise, what cannot be said is named, and what would be another schema without it is refused.

use serde_json::{Map, Value, json};

use crate::dialect::FieldPath;
use crate::dialect::json::camel;
use crate::error::{Error, Result};
use crate::ids::shorten;

/// The most places in a schema that is written anew: references may multiply.
const MAX_PLACES: usize = 10_000;

/// The most bytes of what references stand for, all together.
const MAX_COPIED: usize = 4 << 20;

/// The deepest nesting written; recursion never ends by itself.
const MAX_DEPTH: usize = 32;

/// Counts that the subset writes as texts.
const COUNTS: &[&str] = &["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"];

/// The subset as JSON Schema.
pub(super) fn to_json_schema(schema: &Value) -> Value {
    let Some(fields) = schema.as_object() else { return schema.clone() };
    let mut out = Map::new();
    let mut nullable = false;
    for (name, value) in fields {
        let name = if name.contains('_') { camel(name) } else { name.clone() };
        let value = match (name.as_str(), value) {
            ("type", Value::String(word)) if word == "TYPE_UNSPECIFIED" => continue,
            ("type", Value::String(word)) => word.to_ascii_lowercase().into(),
            ("nullable", Value::Bool(null)) => {
                nullable = *null;
                continue;
            }
            // An order for the model to write in; JSON Schema has no word for it.
            ("propertyOrdering", _) => continue,
            ("format", Value::String(word)) if word == "enum" => continue,
            ("items", value) => to_json_schema(value),
            ("anyOf", Value::Array(list)) => list.iter().map(to_json_schema).collect::<Vec<_>>().into(),
            ("properties", Value::Object(properties)) => {
                let each = properties.iter().map(|(name, value)| (name.clone(), to_json_schema(value)));
                Value::Object(each.collect())
            }
            (name, Value::String(count)) if COUNTS.contains(&name) => match count.parse::<u64>() {
                Ok(count) => count.into(),
                Err(_) => value.clone(),
            },
            (_, value) => value.clone(),
        };
        out.insert(name, value);
    }
    if nullable {
        match out.get_mut("type") {
            Some(Value::String(word)) => {
                let both = json!([word, "null"]);
                out.insert("type".into(), both);
            }
            _ => {
                if let Some(Value::Array(list)) = out.get_mut("anyOf") {
                    list.push(json!({"type": "null"}));
                }
            }
        }
        if let Some(Value::Array(list)) = out.get_mut("enum") {
            list.push(Value::Null);
        }
    }
    out.into()
}

/// JSON Schema as the subset. `path` is where the schema stands in the request; what is left out is named in `dropped`.
///
/// # Errors
/// `caller_unsupported` for what would be another schema without it: recursion, references to elsewhere, contradictions.
pub(super) fn to_subset(schema: &Value, path: &str, dropped: &mut Vec<FieldPath>) -> Result<Value> {
    let mut writing = Writing { root: schema, dropped, places: 0, copied: 0 };
    writing.schema(schema, path, 0)
}

/// Words that say nothing to the model or are put in place.
const SILENT: &[&str] = &[
    "$schema",
    "$id",
    "$comment",
    "$defs",
    "definitions",
    "$anchor",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];

/// Words that the subset has as well.
const SAME: &[&str] = &["title", "description", "default", "example", "minimum", "maximum", "pattern", "required"];

/// Formats that the subset has, by type.
const FORMATS: &[&str] = &["date-time", "int32", "int64", "float", "double", "enum"];

struct Writing<'a> {
    root: &'a Value,
    dropped: &'a mut Vec<FieldPath>,
    places: usize,
    /// Bytes of what references stood for so far.
    copied: usize,
}

impl Writing<'_> {
    fn schema(&mut self, schema: &Value, path: &str, depth: usize) -> Result<Value> {
        self.places += 1;
        if depth > MAX_DEPTH || self.places > MAX_PLACES {
            return Err(unsupported(path, "it is recursive or too large to be written without references"));
        }
        let fields = match schema {
            Value::Object(fields) => fields,
            // `true` is any value, for which the subset has an empty schema.
            Value::Bool(true) => return Ok(json!({})),
            Value::Bool(false) => return Err(unsupported(path, "no value fits it")),
            _ => return Err(Error::invalid(format!("{path}: it is not a schema"))),
        };
        if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
            let target = self.resolve(target, path)?;
            let mut whole = target.as_object().cloned().unwrap_or_default();
            // What stands beside a reference holds as well.
            whole.extend(fields.iter().filter(|(name, _)| *name != "$ref").map(|(k, v)| (k.clone(), v.clone())));
            return self.schema(&whole.into(), path, depth + 1);
        }
        let fields = match fields.get("allOf") {
            Some(Value::Array(all)) => &self.merged(fields, all, path, depth)?,
            _ => fields,
        };
        let mut out = Map::new();
        self.types(fields, &mut out, path);
        for (name, value) in fields {
            self.word((name, value), fields, &mut out, path, depth)?;
        }
        Ok(out.into())
    }

    fn resolve(&mut self, target: &str, path: &str) -> Result<Value> {
        let found = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let found = found.ok_or_else(|| unsupported(path, &format!("{:?} is not part of it", shorten(target))))?;
        self.copied = self.copied.saturating_add(found.to_string().len());
        if self.copied > MAX_COPIED {
            return Err(unsupported(path, "it is recursive or too large to be written without references"));
        }
        Ok(found.clone())
    }

    /// `allOf` as one schema: properties and what is required are joined, other words must agree.
    fn merged(
        &mut self,
        fields: &Map<String, Value>,
        all: &[Value],
        path: &str,
        depth: usize,
    ) -> Result<Map<String, Value>> {
        if depth > MAX_DEPTH {
            return Err(unsupported(path, "it is recursive"));
        }
        let mut whole = fields.clone();
        whole.shift_remove("allOf");
        for one in all {
            self.places += 1;
            let mut one = one.clone();
            for _ in 0..MAX_DEPTH {
                match one.get("$ref").and_then(Value::as_str).map(str::to_owned) {
                    Some(target) => one = self.resolve(&target, path)?,
                    None => break,
                }
            }
            for (name, value) in one.as_object().into_iter().flatten() {
                match (whole.get_mut(name), value) {
                    (None, _) => drop(whole.insert(name.clone(), value.clone())),
                    (Some(old), new) if old == new => {}
                    (Some(Value::Object(old)), Value::Object(new)) if name == "properties" => {
                        old.extend(new.iter().map(|(k, v)| (k.clone(), v.clone())));
                    }
                    (Some(Value::Array(old)), Value::Array(new)) if name == "required" => {
                        let more: Vec<Value> = new.iter().filter(|one| !old.contains(one)).cloned().collect();
                        old.extend(more);
                    }
                    _ if SILENT.contains(&name.as_str()) || matches!(name.as_str(), "title" | "description") => {}
                    _ => return Err(unsupported(&format!("{path}.allOf"), &format!("its parts disagree on {name}"))),
                }
            }
        }
        // Parts of parts.
        match whole.get("allOf").cloned() {
            Some(Value::Array(more)) => self.merged(&whole, &more, path, depth + 1),
            _ => Ok(whole),
        }
    }

    /// The type: one word, with `null` as a word of its own, and several as alternatives.
    fn types(&mut self, fields: &Map<String, Value>, out: &mut Map<String, Value>, path: &str) {
        let guessed = || {
            let has = |name: &str| fields.contains_key(name);
            if has("properties") || has("additionalProperties") {
                return Some("object");
            }
            if has("items") || has("prefixItems") {
                return Some("array");
            }
            let values: Vec<&Value> = match (fields.get("const"), fields.get("enum")) {
                (Some(value), _) => vec![value],
                (_, Some(Value::Array(list))) => list.iter().collect(),
                _ => return None,
            };
            let all = |test: fn(&Value) -> bool| {
                !values.is_empty() && values.iter().all(|value| test(value) || value.is_null())
            };
            match () {
                () if all(Value::is_string) => Some("string"),
                () if all(|value| value.is_i64() || value.is_u64()) => Some("integer"),
                () if all(Value::is_number) => Some("number"),
                () if all(Value::is_boolean) => Some("boolean"),
                () => None,
            }
        };
        let words: Vec<&str> = match fields.get("type") {
            Some(Value::String(word)) => vec![word],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            _ => guessed().into_iter().collect(),
        };
        let upper = |word: &&str| Value::from(word.to_ascii_uppercase());
        let real: Vec<&&str> = words.iter().filter(|word| **word != "null").collect();
        match (real.as_slice(), words.len()) {
            ([], 0) => {}
            ([], _) => drop(out.insert("type".into(), "NULL".into())),
            ([one], all) => {
                out.insert("type".into(), upper(one));
                if all > 1 {
                    out.insert("nullable".into(), true.into());
                }
            }
            (several, all) => {
                // Each alternative says its type; words that hold for one type only stay beside them and are named.
                out.insert(
                    "anyOf".into(),
                    several.iter().map(|word| json!({"type": upper(word)})).collect::<Vec<_>>().into(),
                );
                if all > several.len() {
                    out.insert("nullable".into(), true.into());
                }
                let bound = ["properties", "items", "enum"].into_iter().filter(|name| fields.contains_key(*name));
                self.dropped.extend(bound.map(|name| FieldPath(format!("{path}.{name}"))));
            }
        }
    }

    fn drop(&mut self, path: &str, name: &str) {
        self.dropped.push(FieldPath(format!("{path}.{name}")));
    }

    fn word(
        &mut self,
        (name, value): (&str, &Value),
        all: &Map<String, Value>,
        out: &mut Map<String, Value>,
        path: &str,
        depth: usize,
    ) -> Result<()> {
        let several = matches!(all.get("type"), Some(Value::Array(_))) && out.contains_key("anyOf");
        match (name, value) {
            ("type" | "nullable", _) => {
                if let ("nullable", Value::Bool(true)) = (name, value) {
                    out.insert("nullable".into(), true.into());
                }
            }
            ("properties" | "items" | "enum", _) if several => {}
            ("properties", Value::Object(properties)) => {
                let mut written = Map::new();
                for (name, value) in properties {
                    written.insert(name.clone(), self.schema(value, &format!("{path}.{name}"), depth + 1)?);
                }
                if !written.is_empty() {
                    out.insert(name.into(), written.into());
                }
            }
            ("items", Value::Object(_) | Value::Bool(true)) => {
                out.insert(name.into(), self.schema(value, &format!("{path}.items"), depth + 1)?);
            }
            ("anyOf" | "oneOf", Value::Array(list)) => self.alternatives(list, out, path, depth)?,
            ("const", value) => self.values(std::slice::from_ref(value), name, out, path),
            ("enum", Value::Array(list)) => self.values(list, name, out, path),
            ("exclusiveMinimum" | "exclusiveMaximum", Value::Number(bound)) => {
                // Whole numbers have a neighbour; others have not, and the bound itself is then let in.
                let (limit, step) = if name.ends_with("Minimum") { ("minimum", 1) } else { ("maximum", -1) };
                match bound.as_i64().filter(|_| out.get("type") == Some(&"INTEGER".into())) {
                    Some(bound) => drop(out.insert(limit.into(), bound.saturating_add(step).into())),
                    None => {
                        out.insert(limit.into(), value.clone());
                        self.drop(path, name);
                    }
                }
            }
            ("format", Value::String(word)) if FORMATS.contains(&word.as_str()) => {
                drop(out.insert(name.into(), value.clone()))
            }
            (name, Value::Number(_)) if COUNTS.contains(&name) => drop(out.insert(name.into(), value.clone())),
            // What the subset's objects do anyway.
            ("additionalProperties", Value::Bool(false)) => {}
            (name, _) if SAME.contains(&name) => drop(out.insert(name.into(), value.clone())),
            (name, _) if SILENT.contains(&name) => {}
            (name, _) => self.drop(path, name),
        }
        Ok(())
    }

    fn alternatives(&mut self, list: &[Value], out: &mut Map<String, Value>, path: &str, depth: usize) -> Result<()> {
        let null = |one: &&Value| one.get("type").and_then(Value::as_str) == Some("null");
        if list.iter().any(|one| null(&one)) {
            out.insert("nullable".into(), true.into());
        }
        let mut written = Vec::new();
        for (at, one) in list.iter().filter(|one| !null(one)).enumerate() {
            written.push(self.schema(one, &format!("{path}.anyOf[{at}]"), depth + 1)?);
        }
        match written.as_slice() {
            [Value::Object(only)] => {
                for (name, value) in only {
                    out.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
            [] => {}
            _ => drop(out.insert("anyOf".into(), written.into())),
        }
        Ok(())
    }

    /// A list of values: the subset has it for texts only.
    fn values(&mut self, list: &[Value], name: &str, out: &mut Map<String, Value>, path: &str) {
        if list.iter().any(Value::is_null) {
            out.insert("nullable".into(), true.into());
        }
        let values: Vec<&Value> = list.iter().filter(|value| !value.is_null()).collect();
        if !values.is_empty() && values.iter().all(|value| value.is_string()) {
            out.insert("enum".into(), values.into_iter().cloned().collect::<Vec<_>>().into());
        } else if !values.is_empty() {
            self.drop(path, name);
        }
    }
}

fn unsupported(path: &str, why: &str) -> Error {
    Error::unsupported(format!("{path}: this model takes only Google's subset of JSON Schema, and {why}"))
        .with_hint("a newer model of the family takes JSON Schema as it is")
}

#[cfg(test)]
mod tests;
