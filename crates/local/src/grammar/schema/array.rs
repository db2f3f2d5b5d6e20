//! Arrays: first the items that have a schema each, then those that share one, so many at least and at most.

use serde_json::{Map, Value};

use super::scalars::times;
use super::{Result, Translator, invalid};

impl Translator<'_> {
    pub(super) fn array(&mut self, fields: &Map<String, Value>, at: &str) -> Result<String> {
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
}
