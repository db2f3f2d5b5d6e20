//! The filters over lists. What Jinja2 makes on demand is made at once here, and paid for.

use std::sync::Arc;

use super::super::meter::{Meter, Result, Stop};
use super::super::operators::{self, sorted};
use super::super::predicates;
use super::super::run::{Bound, Run};
use super::super::syntax::Operator;
use super::super::text;
use super::super::value::{Kind, Value, compare, equal};
use super::{apply, many};

/// `a.b.0` of a value, as `map` and `sort` take it; a whole number is a place.
fn path(run: &mut Run, value: &Value, path: &Value) -> Result<Value> {
    let Some(path) = path.as_text() else {
        return run.item(value, path);
    };
    let mut value = value.clone();
    for part in path.split('.') {
        run.meter().step()?;
        let key = part.parse().map_or_else(|_| Value::from(part), Value::Int);
        value = run.item(&value, &key)?;
    }
    Ok(value)
}

/// What a list is sorted by: texts without regard to case, unless it is wanted.
fn sort_key(meter: &Meter, value: Value, case: bool) -> Result<Value> {
    match &value {
        Value::Text(text) if !case => {
            meter.letters(text.len())?;
            Ok(Value::from(text.to_lowercase()))
        }
        _ => Ok(value),
    }
}

fn flag(value: Option<Value>) -> bool {
    value.is_some_and(|value| value.is_true())
}

/// The items with what they are compared by.
fn keyed(run: &mut Run, value: &Value, attribute: Option<&Value>, case: bool) -> Result<Vec<(Value, Value)>> {
    let items = value.items(run.meter())?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items {
        let mut key = Vec::new();
        match attribute {
            None | Some(Value::None) => key.push(item.clone()),
            // Several attributes with commas between them.
            Some(Value::Text(names)) if names.contains(',') => {
                for name in names.split(',') {
                    key.push(path(run, &item, &Value::from(name))?);
                }
            }
            Some(name) => key.push(path(run, &item, name)?),
        }
        let key = key.into_iter().map(|key| sort_key(run.meter(), key, case)).collect::<Result<Vec<_>>>()?;
        keyed.push((Value::list(run.meter(), key)?, item));
    }
    Ok(keyed)
}

fn sorted_pairs(meter: &Meter, pairs: Vec<(Value, Value)>, reverse: bool) -> Result<Vec<(Value, Value)>> {
    meter.places(2 * pairs.len())?;
    sorted(pairs, &mut |left, right| {
        let order = compare(meter, &left.0, &right.0)?;
        Ok(if reverse { order.reverse() } else { order })
    })
}

pub(super) fn sort(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [reverse, case, attribute] = args.take("sort", ["reverse", "case_sensitive", "attribute"])?;
    let pairs = keyed(run, value, attribute.as_ref(), flag(case))?;
    let pairs = sorted_pairs(run.meter(), pairs, flag(reverse))?;
    Value::list(run.meter(), pairs.into_iter().map(|(_, item)| item).collect())
}

pub(super) fn dictsort(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [case, by, reverse] = args.take("dictsort", ["case_sensitive", "by", "reverse"])?;
    let Value::Dict(dict) = value else {
        return Err(Stop::failed(format!("dictsort takes a dict, not {}", value.type_name())));
    };
    let (case, by_value) = (flag(case), by.as_ref().and_then(Value::as_text) == Some("value"));
    let mut pairs = Vec::with_capacity(dict.entries.len());
    for (key, value) in &dict.entries {
        let by = if by_value { value } else { key };
        let pair = Value::seq(run.meter(), Kind::Tuple, vec![key.clone(), value.clone()])?;
        pairs.push((sort_key(run.meter(), by.clone(), case)?, pair));
    }
    let pairs = sorted_pairs(run.meter(), pairs, flag(reverse))?;
    Value::list(run.meter(), pairs.into_iter().map(|(_, pair)| pair).collect())
}

pub(super) fn groupby(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [attribute, _default, case] = args.take("groupby", ["attribute", "default", "case_sensitive"])?;
    let attribute = attribute.ok_or_else(|| Stop::failed("groupby takes an attribute"))?;
    let pairs = keyed(run, value, Some(&attribute), flag(case))?;
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for (key, item) in sorted_pairs(run.meter(), pairs, false)? {
        match groups.last_mut() {
            Some((last, items)) if equal(run.meter(), last, &key)? => items.push(item),
            _ => groups.push((key, vec![item])),
        }
    }
    let mut out = Vec::with_capacity(groups.len());
    for (_, items) in groups {
        let first = items.first().cloned().unwrap_or(Value::None);
        let name = path(run, &first, &attribute)?;
        let items = Value::list(run.meter(), items)?;
        out.push(Value::seq(run.meter(), Kind::Tuple, vec![name, items])?);
    }
    Value::list(run.meter(), out)
}

fn extreme(run: &mut Run, value: &Value, args: Bound, reverse: bool) -> Result<Value> {
    let [case, attribute] = args.take("min and max", ["case_sensitive", "attribute"])?;
    let pairs = keyed(run, value, attribute.as_ref(), flag(case))?;
    let pairs = sorted_pairs(run.meter(), pairs, reverse)?;
    Ok(pairs.into_iter().next().map_or(Value::Undefined(None), |(_, item)| item))
}

pub(super) fn min(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    extreme(run, value, args, false)
}

pub(super) fn max(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    extreme(run, value, args, true)
}

pub(super) fn unique(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [case, attribute] = args.take("unique", ["case_sensitive", "attribute"])?;
    let mut kept: Vec<(Value, Value)> = Vec::new();
    for (key, item) in keyed(run, value, attribute.as_ref(), flag(case))? {
        let mut known = false;
        for (have, _) in &kept {
            known = known || equal(run.meter(), have, &key)?;
        }
        if !known {
            kept.push((key, item));
        }
    }
    Value::seq(run.meter(), Kind::Stream, kept.into_iter().map(|(_, item)| item).collect())
}

pub(super) fn items(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    let Value::Dict(dict) = value else {
        return match value {
            Value::Undefined(_) => Value::seq(run.meter(), Kind::Stream, Vec::new()),
            other => Err(Stop::failed(format!("can only get item pairs from a mapping, not {}", other.type_name()))),
        };
    };
    let mut pairs = Vec::with_capacity(dict.entries.len());
    for (key, value) in &dict.entries {
        pairs.push(Value::seq(run.meter(), Kind::Tuple, vec![key.clone(), value.clone()])?);
    }
    Value::seq(run.meter(), Kind::Stream, pairs)
}

pub(super) fn join(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [between, attribute] = args.take("join", ["d", "attribute"])?;
    let between = between.map_or(Ok(String::new()), |between| text::string(run.meter(), &between))?;
    let mut out = String::new();
    for (index, item) in value.items(run.meter())?.into_iter().enumerate() {
        if index > 0 {
            run.meter().bytes(between.len())?;
            out.push_str(&between);
        }
        let item = match &attribute {
            Some(name) => path(run, &item, name)?,
            None => item,
        };
        text::write(run.meter(), &item, &mut out)?;
    }
    Ok(Value::from(out))
}

pub(super) fn first(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    Ok(value.items(run.meter())?.into_iter().next().unwrap_or(Value::Undefined(None)))
}

pub(super) fn last(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    Ok(value.items(run.meter())?.pop().unwrap_or(Value::Undefined(None)))
}

pub(super) fn list(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    let items = value.items(run.meter())?;
    Value::list(run.meter(), items)
}

pub(super) fn reverse(run: &mut Run, value: &Value, _: Bound) -> Result<Value> {
    if let Value::Text(text) = value {
        run.meter().letters(text.len())?;
        return Ok(Value::from(text.chars().rev().collect::<String>()));
    }
    let mut items = value.items(run.meter())?;
    items.reverse();
    Value::seq(run.meter(), Kind::Stream, items)
}

pub(super) fn sum(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [attribute, start] = args.take("sum", ["attribute", "start"])?;
    let mut sum = start.unwrap_or(Value::Int(0));
    for item in value.items(run.meter())? {
        let item = match &attribute {
            None | Some(Value::None) => item,
            Some(name) => path(run, &item, name)?,
        };
        sum = operators::apply(run.meter(), Operator::Add, &sum, &item)?;
    }
    Ok(sum)
}

/// Lists of so many, the last filled up.
pub(super) fn batch(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [count, fill] = args.take("batch", ["linecount", "fill_with"])?;
    let count = many(count.as_ref(), 1)?.max(1);
    let mut rows = Vec::new();
    for row in value.items(run.meter())?.chunks(count) {
        let mut row = row.to_vec();
        if let Some(fill) = fill.clone().filter(|fill| !matches!(fill, Value::None)) {
            run.meter().places(count - row.len())?;
            row.resize(count, fill);
        }
        rows.push(Value::list(run.meter(), row)?);
    }
    Value::seq(run.meter(), Kind::Stream, rows)
}

/// So many lists, of lengths as equal as can be.
pub(super) fn slice(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let [count, fill] = args.take("slice", ["slices", "fill_with"])?;
    let count = many(count.as_ref(), 1)?.max(1);
    run.meter().places(count)?;
    let items = value.items(run.meter())?;
    let (each, more) = (items.len() / count, items.len() % count);
    let mut left = items.into_iter();
    let mut rows = Vec::new();
    for index in 0..count {
        let mut row: Vec<Value> = left.by_ref().take(each + usize::from(index < more)).collect();
        if index >= more {
            row.extend(fill.clone().filter(|fill| !matches!(fill, Value::None) && more > 0));
        }
        rows.push(Value::list(run.meter(), row)?);
    }
    Value::seq(run.meter(), Kind::Stream, rows)
}

pub(super) fn map(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    let mut out = Vec::new();
    let items = value.items(run.meter())?;
    if args.positional.is_empty() {
        let [attribute, default] = args.take("map", ["attribute", "default"])?;
        let attribute = attribute.ok_or_else(|| Stop::failed("map takes an attribute or a filter"))?;
        for item in items {
            let found = path(run, &item, &attribute)?;
            out.push(match &default {
                Some(default) if found.is_undefined() => default.clone(),
                _ => found,
            });
        }
    } else {
        let (name, args) = named(args, "map")?;
        for item in items {
            run.meter().step()?;
            out.push(apply(run, &name, &item, args.again(run.meter())?)?);
        }
    }
    Value::seq(run.meter(), Kind::Stream, out)
}

/// The name that comes first, and the arguments behind it.
fn named(args: Bound, filter: &str) -> Result<(Arc<str>, Bound)> {
    let mut positional = args.positional.into_iter();
    match positional.next() {
        Some(Value::Text(name)) => Ok((name, Bound { positional: positional.collect(), named: args.named })),
        _ => Err(Stop::failed(format!("{filter} takes a name"))),
    }
}

/// The items that pass a test, or the others.
fn kept(run: &mut Run, value: &Value, args: Bound, by_attribute: bool, wanted: bool) -> Result<Value> {
    let (attribute, args) = if by_attribute {
        let (name, args) = named(args, "selectattr")?;
        (Some(Value::Text(name)), args)
    } else {
        (None, args)
    };
    let (test, args) =
        if args.positional.is_empty() { (None, args) } else { named(args, "select").map(|(t, a)| (Some(t), a))? };
    let mut out = Vec::new();
    for item in value.items(run.meter())? {
        run.meter().step()?;
        let looked_at = match &attribute {
            Some(attribute) => path(run, &item, attribute)?,
            None => item.clone(),
        };
        let passes = match &test {
            Some(test) => predicates::holds(run.meter(), test, &looked_at, args.again(run.meter())?)?,
            None => looked_at.is_true(),
        };
        if passes == wanted {
            out.push(item);
        }
    }
    Value::seq(run.meter(), Kind::Stream, out)
}

pub(super) fn select(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    kept(run, value, args, false, true)
}

pub(super) fn reject(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    kept(run, value, args, false, false)
}

pub(super) fn selectattr(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    kept(run, value, args, true, true)
}

pub(super) fn rejectattr(run: &mut Run, value: &Value, args: Bound) -> Result<Value> {
    kept(run, value, args, true, false)
}
