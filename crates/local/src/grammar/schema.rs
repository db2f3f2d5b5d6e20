//! The translation itself: each subschema becomes a rule, equal subschemas the same one, a `$ref` the rule of what it points to, so that
//! a recursive schema becomes a recursive grammar. Every step is counted.
//!
//! Here a subschema is taken apart; what its type asks for is in `scalars.rs`, `array.rs` and `object.rs`, what joins several schemas in
//! `merge.rs`, JSON's own rules in `shared.rs`.

mod array;
mod merge;
mod object;
mod scalars;
mod shared;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{GrammarError, Limits};

use self::merge::{KEPT, constraints};

/// Keywords that change what fits and that a grammar cannot keep.
const REFUSED: [&str; 22] = [
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "contains",
    "minContains",
    "maxContains",
    "uniqueItems",
    "multipleOf",
    "minProperties",
    "maxProperties",
    "$dynamicRef",
    "$recursiveRef",
    "additionalItems",
    "$anchor",
];
type Result<T> = std::result::Result<T, GrammarError>;

pub(super) fn translate(schema: &Value, limits: &Limits) -> Result<(String, usize)> {
    if size(schema, limits.bytes) > limits.bytes {
        return Err(GrammarError::TooLarge { what: "bytes of schema", limit: limits.bytes });
    }
    let mut translator = Translator {
        root: schema,
        limits,
        rules: BTreeMap::new(),
        bytes: 0,
        known: HashMap::new(),
        pointers: HashMap::new(),
        open: Vec::new(),
        steps: 0,
        depth: 0,
    };
    let name = translator.schema(schema, "#")?;
    // No blanks around the whole: a small model would go on writing them.
    translator.rule("root".to_owned(), name)?;
    let mut grammar = String::new();
    for (name, text) in &translator.rules {
        let _ = writeln!(grammar, "{name} ::= {text}");
    }
    Ok((grammar, translator.steps))
}

/// About the bytes of a value as JSON, counted no further than `enough`.
fn size(value: &Value, enough: usize) -> usize {
    let mut total = 0usize;
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        total = total.saturating_add(match value {
            Value::String(text) => text.len() + 2,
            Value::Array(items) => {
                open.extend(items);
                2 + items.len()
            }
            Value::Object(fields) => {
                open.extend(fields.values());
                2 + fields.keys().map(|key| key.len() + 4).sum::<usize>()
            }
            _ => 4,
        });
        if total > enough {
            break;
        }
    }
    total
}

/// A text as a grammar literal.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            letter if letter < ' ' || letter == '\u{7f}' => {
                let _ = write!(out, "\\x{:02X}", letter as u32);
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}

struct Translator<'a> {
    root: &'a Value,
    limits: &'a Limits,
    /// Rules by name; the order of names is the order in the grammar.
    rules: BTreeMap<String, String>,
    bytes: usize,
    /// The rule of a subschema, by its text.
    known: HashMap<String, String>,
    /// The rule of a `$ref`'s target, by its pointer; set before the target is translated, so that it may point to itself.
    pointers: HashMap<String, String>,
    /// Pointers followed since the last object or array: meeting one again is a circle with nothing in it.
    open: Vec<String>,
    steps: usize,
    depth: usize,
}

impl<'a> Translator<'a> {
    fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > self.limits.steps {
            return Err(GrammarError::TooLarge { what: "steps to translate", limit: self.limits.steps });
        }
        Ok(())
    }

    fn rule(&mut self, name: String, text: String) -> Result<String> {
        self.bytes += name.len() + text.len() + 6;
        if self.bytes > self.limits.output {
            return Err(GrammarError::TooLarge { what: "bytes of grammar", limit: self.limits.output });
        }
        self.rules.insert(name.clone(), text);
        if self.rules.len() > self.limits.rules {
            return Err(GrammarError::TooLarge { what: "rules", limit: self.limits.rules });
        }
        Ok(name)
    }

    /// A rule under a name of its own.
    fn fresh(&mut self, text: String) -> Result<String> {
        let name = format!("r{}", self.rules.len());
        self.rule(name, text)
    }

    /// The rule for a subschema.
    fn schema(&mut self, schema: &'a Value, at: &str) -> Result<String> {
        self.step()?;
        let fields = match schema {
            Value::Bool(true) => return self.share("value"),
            Value::Bool(false) => return Err(invalid("nothing can fit it", at)),
            Value::Object(fields) => fields,
            _ => return Err(invalid("a schema is an object or a boolean", at)),
        };
        self.depth += 1;
        if self.depth > self.limits.depth {
            return Err(GrammarError::TooLarge { what: "levels of nesting", limit: self.limits.depth });
        }
        let name = self.fields(fields, at)?;
        self.depth -= 1;
        Ok(name)
    }

    /// The rule for a subschema's keywords, in the order that decides which is asked first.
    fn fields(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
        self.refuse(fields, at)?;
        if let Some(target) = fields.get("$ref") {
            let beside = fields.iter().filter(|(key, _)| KEPT.contains(&key.as_str())).count();
            if beside == 0 {
                return self.reference(text(target, "$ref", at)?, at);
            }
        }
        if let Some([only]) = fields.get("allOf").and_then(Value::as_array).map(Vec::as_slice)
            && constraints(fields).len() == 1
        {
            return self.owned(only, &format!("{at}/allOf/0"));
        }
        if fields.contains_key("$ref") || fields.contains_key("allOf") {
            let merged = self.merged(fields, at)?;
            return self.fields(&merged, at);
        }
        for keyword in ["anyOf", "oneOf"] {
            if let Some(options) = fields.get(keyword) {
                return self.alternatives(fields, keyword, options, at);
            }
        }
        let key = Value::Object(constraints(fields)).to_string();
        if let Some(name) = self.known.get(&key) {
            return Ok(name.clone());
        }
        let name = self.plain(fields, at)?;
        self.known.insert(key, name.clone());
        Ok(name)
    }

    fn refuse(&mut self, fields: &Map<String, Value>, at: &str) -> Result<()> {
        for (key, value) in fields {
            self.step()?;
            let harmless = match key.as_str() {
                "uniqueItems" => value == &Value::Bool(false),
                "minProperties" => {
                    let required = fields.get("required").and_then(Value::as_array).map_or(0, Vec::len);
                    value.as_u64().is_some_and(|least| least <= required as u64)
                }
                "multipleOf" => {
                    value.as_u64() == Some(1) && fields.get("type").and_then(Value::as_str) == Some("integer")
                }
                "unevaluatedProperties" => value == &Value::Bool(true),
                "$anchor" => true,
                _ => false,
            };
            if REFUSED.contains(&key.as_str()) && !harmless {
                return Err(GrammarError::Unsupported { keyword: key.clone(), at: at.to_owned() });
            }
        }
        Ok(())
    }

    fn reference(&mut self, target: &str, at: &str) -> Result<String> {
        if let Some(name) = self.pointers.get(target) {
            if self.open.iter().any(|open| open == target) {
                return Err(invalid(format!("{target} leads back to itself with nothing between"), at));
            }
            return Ok(name.clone());
        }
        let schema = self.resolve(target, at)?;
        let name = format!("ref{}", self.pointers.len());
        self.pointers.insert(target.to_owned(), name.clone());
        self.open.push(target.to_owned());
        let body = self.schema(schema, target)?;
        self.open.pop();
        self.rule(name, body)
    }

    /// What a pointer within the schema points to.
    fn resolve(&mut self, target: &str, at: &str) -> Result<&'a Value> {
        self.step()?;
        let Some(pointer) = target.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/'))
        else {
            return Err(GrammarError::Unsupported { keyword: format!("$ref: {target}"), at: at.to_owned() });
        };
        self.root.pointer(pointer).ok_or_else(|| invalid(format!("{target} points to nothing"), at))
    }

    /// A subschema without references and combinations.
    fn plain(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
        let nullable = fields.get("nullable") == Some(&Value::Bool(true));
        let name = if let Some(value) = fields.get("const") {
            self.values(std::slice::from_ref(value), fields, at)?
        } else if let Some(values) = fields.get("enum") {
            let values = values
                .as_array()
                .filter(|values| !values.is_empty())
                .ok_or_else(|| invalid("enum is no list of values", at))?;
            self.values(values, fields, at)?
        } else {
            match fields.get("type") {
                Some(Value::Array(types)) => {
                    let mut names = Vec::new();
                    for kind in types.iter().take(8) {
                        let name = self.typed(text(kind, "type", at)?, fields, at)?;
                        if !names.contains(&name) {
                            names.push(name);
                        }
                    }
                    if names.is_empty() {
                        return Err(invalid("type is an empty list", at));
                    }
                    if names.len() == 1 { names.remove(0) } else { self.fresh(names.join(" | "))? }
                }
                Some(kind) => self.typed(text(kind, "type", at)?, fields, at)?,
                None => self.untyped(fields, at)?,
            }
        };
        if nullable {
            let null = self.share("null")?;
            return self.fresh(format!("{name} | {null}"));
        }
        Ok(name)
    }

    /// Without a type a condition binds only values of its kind; that is almost never meant, so the kind is taken for the type.
    fn untyped(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
        let kinds: [(&[&str], &str); 4] = [
            (&["properties", "required", "additionalProperties"], "object"),
            (&["items", "prefixItems", "minItems", "maxItems"], "array"),
            (&["minLength", "maxLength", "pattern"], "string"),
            (&["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"], "number"),
        ];
        match kinds.iter().find(|(keys, _)| keys.iter().any(|key| fields.contains_key(*key))) {
            Some((_, kind)) => self.typed(kind, fields, at),
            None => self.share("value"),
        }
    }

    fn typed(&mut self, kind: &str, fields: &Map<String, Value>, at: &str) -> Result<String> {
        self.step()?;
        match kind {
            "null" | "boolean" => self.share(kind),
            "string" => self.string(fields, at),
            "integer" => self.integer(fields, at),
            "number" => self.number(fields, at),
            "array" => self.inside(|translator| translator.array(fields, at)),
            "object" => self.inside(|translator| translator.object(fields, at)),
            other => Err(invalid(format!("{other:?} is no type"), at)),
        }
    }

    /// Within an object or array a reference may lead back: there is something between.
    fn inside(&mut self, build: impl FnOnce(&mut Self) -> Result<String>) -> Result<String> {
        let open = std::mem::take(&mut self.open);
        let name = build(self)?;
        self.open = open;
        Ok(name)
    }

    /// A subschema of a merged or cloned one, whose text does not live as long as the root.
    fn owned(&mut self, schema: &Value, at: &str) -> Result<String> {
        self.step()?;
        self.depth += 1;
        if self.depth > self.limits.depth {
            return Err(GrammarError::TooLarge { what: "levels of nesting", limit: self.limits.depth });
        }
        let name = match schema {
            Value::Object(fields) => self.fields(fields, at)?,
            Value::Bool(true) => self.share("value")?,
            Value::Bool(false) => return Err(invalid("nothing can fit it", at)),
            _ => return Err(invalid("a schema is an object or a boolean", at)),
        };
        self.depth -= 1;
        Ok(name)
    }
}

fn invalid(detail: impl Into<String>, at: &str) -> GrammarError {
    GrammarError::Invalid { detail: detail.into(), at: at.to_owned() }
}

fn text<'v>(value: &'v Value, keyword: &str, at: &str) -> Result<&'v str> {
    value.as_str().ok_or_else(|| invalid(format!("{keyword} is no string"), at))
}
