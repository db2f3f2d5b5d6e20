//! The translation itself: each subschema becomes a rule, equal subschemas the same one, a `$ref` the rule of what it points to, so that
//! a recursive schema becomes a recursive grammar. Every step is counted.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::{GrammarError, Limits, pattern, range};

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
/// Keywords that say what fits, for merging and for telling a bare `$ref` from one with conditions beside it.
const KEPT: [&str; 20] = [
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
const FORMATS: [(&str, &[&str], &str); 4] = [
    ("date", &["date"], "date"),
    ("time", &[], TIME),
    ("date-time", &["date"], r#"date "T" ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? ("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])"#),
    ("uuid", &["hex"], r#"hex{8} "-" hex{4} "-" hex{4} "-" hex{4} "-" hex{12}"#),
];
const TIME: &str = r#"([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})? ("Z" | [-+] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])"#;

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

    /// Brings a shared rule and what it needs into the grammar.
    fn share(&mut self, name: &str) -> Result<String> {
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

    /// `allOf` and a `$ref` with conditions beside it: one set of keywords that says the same.
    fn merged(&mut self, fields: &Map<String, Value>, at: &str) -> Result<Map<String, Value>> {
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
    fn alternatives(
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

    fn values(&mut self, values: &[Value], fields: &Map<String, Value>, at: &str) -> Result<String> {
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

    fn string(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
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
    fn count(&mut self, fields: &Map<String, Value>, keyword: &str, at: &str) -> Result<Option<u64>> {
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

    fn integer(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
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

    fn number(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
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

    fn array(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
        let (least, most) = (self.count(fields, "minItems", at)?.unwrap_or(0), self.count(fields, "maxItems", at)?);
        if most.is_some_and(|most| most < least) {
            return Err(invalid("maxItems is less than minItems", at));
        }
        self.share("ws")?;
        let empty = Vec::new();
        // Before 2020-12 a list of schemas stood in `items`.
        let (prefix, rest) = match (fields.get("prefixItems"), fields.get("items")) {
            (Some(Value::Array(prefix)), rest) => (prefix, rest),
            (None, Some(Value::Array(prefix))) => (prefix, None),
            (None, rest) => (&empty, rest),
            (Some(_), _) => return Err(invalid("prefixItems is no list of schemas", at)),
        };
        let mut first = Vec::new();
        for (index, item) in prefix.iter().take(most.unwrap_or(u64::MAX) as usize).enumerate() {
            first.push(self.owned(item, &format!("{at}/prefixItems/{index}"))?);
        }
        let item = match rest {
            Some(Value::Bool(false)) => None,
            None if !first.is_empty() => None,
            None => Some(self.share("value")?),
            Some(item) => Some(self.owned(item, &format!("{at}/items"))?),
        };
        // The items after the fixed ones: how many at least and at most.
        let (more_least, more_most) =
            (least.saturating_sub(first.len() as u64), most.map(|most| most.saturating_sub(first.len() as u64)));
        if item.is_none() && more_least > 0 {
            return Err(invalid("minItems asks for more items than there are schemas", at));
        }
        let tail = match &item {
            Some(item) if more_most != Some(0) => {
                let times = times(
                    Some(more_least.saturating_sub(u64::from(first.is_empty()))),
                    more_most.map(|most| most.saturating_sub(u64::from(first.is_empty()))),
                    at,
                )?;
                format!("(\",\" ws {item} ws){times}")
            }
            _ => String::new(),
        };
        let body = match (first.split_first(), &item) {
            (Some((head, others)), _) => {
                let fixed: String = others.iter().map(|name| format!("\",\" ws {name} ws ")).collect();
                format!("\"[\" ws {head} ws {fixed}{tail} \"]\"")
            }
            (None, Some(item)) if most != Some(0) => {
                let some = format!("{item} ws {tail}");
                if least == 0 { format!("\"[\" ws ({some})? \"]\"") } else { format!("\"[\" ws {some} \"]\"") }
            }
            (None, _) => "\"[\" ws \"]\"".to_owned(),
        };
        self.fresh(body)
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

    fn object(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
        let empty = Map::new();
        let properties = match fields.get("properties") {
            None => &empty,
            Some(Value::Object(properties)) => properties,
            Some(_) => return Err(invalid("properties is no object", at)),
        };
        let mut required: Vec<&str> = Vec::new();
        if let Some(list) = fields.get("required") {
            for name in list.as_array().ok_or_else(|| invalid("required is no list of names", at))? {
                self.step()?;
                required.push(text(name, "required", at)?);
            }
        }
        let others = fields.get("additionalProperties");
        if properties.is_empty() && required.is_empty() && matches!(others, None | Some(Value::Bool(true))) {
            return self.share("object");
        }
        self.share("ws")?;
        let known: std::collections::HashSet<&str> = required.iter().copied().collect();
        let mut members = Vec::new();
        for (name, schema) in properties {
            // An optional property that nothing fits is one that must not be there.
            if schema == &Value::Bool(false) && !known.contains(name.as_str()) {
                continue;
            }
            let value = self.owned(schema, &format!("{at}/properties/{}", escape(name)))?;
            members.push((
                format!("{} ws \":\" ws {value} ws", literal(&Value::from(name.as_str()).to_string())),
                known.contains(name.as_str()),
            ));
        }
        // A required name without a schema may hold anything that other properties may.
        for name in required.iter().filter(|name| !properties.contains_key(**name)) {
            let value = match others {
                None | Some(Value::Bool(true)) => self.share("value")?,
                Some(Value::Bool(false)) => {
                    return Err(invalid(format!("{name:?} is required and not allowed"), at));
                }
                Some(schema) => self.owned(schema, &format!("{at}/additionalProperties"))?,
            };
            members.push((format!("{} ws \":\" ws {value} ws", literal(&Value::from(*name).to_string())), true));
        }
        let other = match others {
            Some(Value::Bool(false)) => None,
            None if !properties.is_empty() => None,
            None | Some(Value::Bool(true)) => Some(self.share("value")?),
            Some(schema) => Some(self.owned(schema, &format!("{at}/additionalProperties"))?),
        };
        let names: Vec<&str> = properties.keys().map(String::as_str).chain(required.iter().copied()).collect();
        let other = match other {
            None => None,
            Some(value) => {
                let key = self.other_key(&names)?;
                Some(format!("{key} ws \":\" ws {value} ws"))
            }
        };
        self.members(&members, other)
    }

    /// The rules of an object's members in order, the optional ones skippable: one chain for the start, where no comma stands before, and
    /// one for after the first.
    fn members(&mut self, members: &[(String, bool)], other: Option<String>) -> Result<String> {
        let (mut after, mut start) = match other {
            None => (String::new(), String::new()),
            Some(other) => {
                let more = self.fresh(format!("(\",\" ws {other})*"))?;
                let from = self.fresh(format!("({other} {more})?"))?;
                (more, from)
            }
        };
        for (index, (member, required)) in members.iter().enumerate().rev() {
            self.step()?;
            // The chain for the start is needed only while everything before may be missing.
            let reachable = members.iter().take(index).all(|(_, required)| !required);
            if reachable {
                let here = format!("{member} {after}");
                start = self.fresh(match (required, start.is_empty()) {
                    (true, _) => here,
                    (false, true) => format!("({here})?"),
                    (false, false) => format!("{here} | {start}"),
                })?;
            }
            if index > 0 {
                after = self.fresh(if *required {
                    format!("\",\" ws {member} {after}")
                } else {
                    format!("(\",\" ws {member})? {after}")
                })?;
            }
        }
        self.fresh(format!("\"{{\" ws {start} \"}}\""))
    }

    /// A key that is none of `names`: a tree of their letters, left at the first letter that differs. Escapes in such keys are not written.
    fn other_key(&mut self, names: &[&str]) -> Result<String> {
        if names.is_empty() {
            return self.share("string");
        }
        let any = self.fresh(r#"[^"\\\x7F\x00-\x1F]"#.to_owned())?;
        let names: Vec<Vec<char>> = names.iter().map(|name| name.chars().collect()).collect();
        let names: Vec<&[char]> = names.iter().map(Vec::as_slice).collect();
        let body = self.differing(&names, &any)?;
        self.fresh(format!("\"\\\"\" {body} \"\\\"\""))
    }

    fn differing(&mut self, names: &[&[char]], any: &str) -> Result<String> {
        self.step()?;
        let ends = names.iter().any(|name| name.is_empty());
        let mut branches: BTreeMap<char, Vec<&[char]>> = BTreeMap::new();
        for name in names {
            if let Some((first, rest)) = name.split_first() {
                branches.entry(*first).or_default().push(rest);
            }
        }
        let mut parts = Vec::new();
        let mut letters = String::new();
        for (letter, rests) in &branches {
            letters.push_str(&pattern::class_letter(*letter));
            // A letter that JSON escapes is never written in such a key, so nothing has to differ after it.
            if *letter >= ' ' && !matches!(letter, '"' | '\\' | '\u{7f}') {
                self.depth += 1;
                let deeper = if self.depth > 4 * self.limits.depth {
                    return Err(GrammarError::TooLarge {
                        what: "letters that names share",
                        limit: 4 * self.limits.depth,
                    });
                } else {
                    self.differing(rests, any)?
                };
                self.depth -= 1;
                parts.push(format!("{} {deeper}", literal(letter.encode_utf8(&mut [0; 4]))));
            }
        }
        parts.push(format!("[^\\\"\\\\\\x7F\\x00-\\x1F{letters}] {any}*"));
        if ends { self.fresh(parts.join(" | ")) } else { self.fresh(format!("({})?", parts.join(" | "))) }
    }
}

fn invalid(detail: impl Into<String>, at: &str) -> GrammarError {
    GrammarError::Invalid { detail: detail.into(), at: at.to_owned() }
}

fn text<'v>(value: &'v Value, keyword: &str, at: &str) -> Result<&'v str> {
    value.as_str().ok_or_else(|| invalid(format!("{keyword} is no string"), at))
}

/// A name as a part of a JSON pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn times(least: Option<u64>, most: Option<u64>, at: &str) -> Result<String> {
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

/// The keywords of a subschema that say what fits, without the annotations.
fn constraints(fields: &Map<String, Value>) -> Map<String, Value> {
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
