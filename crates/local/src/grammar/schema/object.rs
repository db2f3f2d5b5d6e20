//! Objects: their members in the order of the schema, the optional ones skippable, and other members under names that are really others.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::pattern;
use super::{GrammarError, Result, Translator, invalid, literal, text};

impl Translator<'_> {
    pub(super) fn object(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
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
    pub(super) fn members(&mut self, members: &[(String, bool)], other: Option<String>) -> Result<String> {
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
    pub(super) fn other_key(&mut self, names: &[&str]) -> Result<String> {
        if names.is_empty() {
            return self.share("string");
        }
        let any = self.fresh(r#"[^"\\\x7F\x00-\x1F]"#.to_owned())?;
        let names: Vec<Vec<char>> = names.iter().map(|name| name.chars().collect()).collect();
        let names: Vec<&[char]> = names.iter().map(Vec::as_slice).collect();
        let body = self.differing(&names, &any)?;
        self.fresh(format!("\"\\\"\" {body} \"\\\"\""))
    }

    pub(super) fn differing(&mut self, names: &[&[char]], any: &str) -> Result<String> {
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

/// A name as a part of a JSON pointer.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
