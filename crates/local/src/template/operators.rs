//! What the operators and brackets of a template do to values: Python's arithmetic, slices and items. Whatever makes something longer than
//! what it was given pays before it does.

use std::cmp::Ordering;

use super::format;
use super::meter::{Meter, Result, Stop};
use super::syntax::{Comparison, Operator};
use super::value::{Kind, Value, compare, equal};

pub(super) fn apply(meter: &Meter, operator: Operator, left: &Value, right: &Value) -> Result<Value> {
    match (operator, left, right) {
        (_, Value::Undefined(name), _) | (_, _, Value::Undefined(name)) => Err(undefined(name.as_deref())),
        (Operator::Add, Value::Text(left), Value::Text(right)) => {
            meter.bytes(left.len() + right.len())?;
            Ok(Value::from([&**left, &**right].concat()))
        }
        (Operator::Add, Value::Text(_), other) => {
            Err(Stop::failed(format!("can only concatenate str (not \"{}\") to str", other.type_name())))
        }
        (Operator::Add, Value::Seq(one), Value::Seq(other))
            if one.kind == other.kind && matches!(one.kind, Kind::List | Kind::Tuple) =>
        {
            meter.places(one.items.len() + other.items.len())?;
            Value::seq(meter, one.kind, one.items.iter().chain(&other.items).cloned().collect())
        }
        (Operator::Mul, Value::Text(_) | Value::Seq(_), count) if count.as_int().is_some() => {
            repeat(meter, left, count)
        }
        (Operator::Mul, count, Value::Text(_) | Value::Seq(_)) if count.as_int().is_some() => {
            repeat(meter, right, count)
        }
        (Operator::Rem, Value::Text(form), values) => format::percent(meter, form, values),
        _ => arithmetic(operator, left, right),
    }
}

/// The message for using what is not there.
pub(super) fn undefined(name: Option<&str>) -> Stop {
    Stop::failed(format!("{} is undefined", name.unwrap_or("a value")))
}

fn repeat(meter: &Meter, what: &Value, count: &Value) -> Result<Value> {
    let count = usize::try_from(count.as_int().unwrap_or(0).max(0)).unwrap_or(usize::MAX);
    match what {
        Value::Text(text) => {
            meter.product(count, text.len())?;
            // Nothing many times over is nothing, however often.
            Ok(if text.is_empty() { what.clone() } else { Value::from(text.repeat(count)) })
        }
        Value::Seq(seq) if matches!(seq.kind, Kind::List | Kind::Tuple) => {
            meter.product(count, seq.items.len().saturating_mul(48))?;
            let length = seq.items.len().saturating_mul(count);
            Value::seq(meter, seq.kind, seq.items.iter().cycle().take(length).cloned().collect())
        }
        other => Err(unsupported("*", other, &Value::Int(0))),
    }
}

fn unsupported(operator: &str, left: &Value, right: &Value) -> Stop {
    let (left, right) = (left.type_name(), right.type_name());
    Stop::failed(format!("unsupported operand type(s) for {operator}: '{left}' and '{right}'"))
}

fn arithmetic(operator: Operator, left: &Value, right: &Value) -> Result<Value> {
    let sign = match operator {
        Operator::Add => "+",
        Operator::Sub => "-",
        Operator::Mul => "*",
        Operator::Div => "/",
        Operator::FloorDiv => "//",
        Operator::Rem => "%",
        Operator::Pow => "**",
    };
    let large = || Stop::failed(format!("the result of {sign} is too large"));
    let (Some(one), Some(other)) = (left.as_float(), right.as_float()) else {
        return Err(unsupported(sign, left, right));
    };
    if other == 0.0 && matches!(operator, Operator::Div | Operator::FloorDiv | Operator::Rem) {
        return Err(Stop::failed("division by zero"));
    }
    if let (Some(one), Some(other)) = (left.as_int(), right.as_int())
        && operator != Operator::Div
        && !(operator == Operator::Pow && other < 0)
    {
        let floor = || {
            let quotient = one.checked_div(other)?;
            let uneven = one.checked_rem(other)? != 0 && (one < 0) != (other < 0);
            Some(quotient - i128::from(uneven))
        };
        let result = match operator {
            Operator::Add => one.checked_add(other),
            Operator::Sub => one.checked_sub(other),
            Operator::Mul => one.checked_mul(other),
            Operator::FloorDiv => floor(),
            Operator::Rem => floor().and_then(|floor| one.checked_sub(floor.checked_mul(other)?)),
            _ => u32::try_from(other).ok().and_then(|power| one.checked_pow(power)),
        };
        return result.map(Value::Int).ok_or_else(large);
    }
    Ok(Value::Float(match operator {
        Operator::Add => one + other,
        Operator::Sub => one - other,
        Operator::Mul => one * other,
        Operator::Div => one / other,
        Operator::FloorDiv => (one / other).floor(),
        Operator::Rem => one - other * (one / other).floor(),
        Operator::Pow if one == 0.0 && other < 0.0 => return Err(Stop::failed("zero to a negative power")),
        Operator::Pow => one.powf(other),
    }))
}

/// `-x` and `+x`.
pub(super) fn signed(value: &Value, negative: bool) -> Result<Value> {
    match (value.as_int(), value) {
        (Some(number), _) if negative => {
            number.checked_neg().map(Value::Int).ok_or_else(|| Stop::failed("a number is too large"))
        }
        (Some(number), _) => Ok(Value::Int(number)),
        (_, Value::Float(number)) => Ok(Value::Float(if negative { -number } else { *number })),
        (_, Value::Undefined(name)) => Err(undefined(name.as_deref())),
        (_, other) => Err(Stop::failed(format!("bad operand type for a sign: '{}'", other.type_name()))),
    }
}

pub(super) fn holds(meter: &Meter, comparison: Comparison, left: &Value, right: &Value) -> Result<bool> {
    if !matches!(comparison, Comparison::Eq | Comparison::Ne | Comparison::In | Comparison::NotIn) {
        for side in [left, right] {
            if let Value::Undefined(name) = side {
                return Err(undefined(name.as_deref()));
            }
        }
        // Nothing is before or after what is no number.
        if [left, right].iter().any(|side| side.as_float().is_some_and(f64::is_nan)) {
            return Ok(false);
        }
    }
    Ok(match comparison {
        Comparison::Eq => equal(meter, left, right)?,
        Comparison::Ne => !equal(meter, left, right)?,
        Comparison::Lt => compare(meter, left, right)? == Ordering::Less,
        Comparison::Le => compare(meter, left, right)? != Ordering::Greater,
        Comparison::Gt => compare(meter, left, right)? == Ordering::Greater,
        Comparison::Ge => compare(meter, left, right)? != Ordering::Less,
        Comparison::In => contains(meter, right, left)?,
        Comparison::NotIn => !contains(meter, right, left)?,
    })
}

/// `item in container`
pub(super) fn contains(meter: &Meter, container: &Value, item: &Value) -> Result<bool> {
    match container {
        Value::Text(text) => {
            let Some(part) = item.as_text() else {
                let kind = item.type_name();
                return Err(Stop::failed(format!("'in <string>' requires string as left operand, not {kind}")));
            };
            meter.bytes(text.len())?;
            Ok(text.contains(part))
        }
        Value::Dict(dict) => Ok(dict.get(meter, item)?.is_some()),
        Value::Seq(seq) => {
            for have in &seq.items {
                if equal(meter, have, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Undefined(_) => Ok(false),
        other => Err(Stop::failed(format!("argument of type '{}' is not iterable", other.type_name()))),
    }
}

/// `value[index]` for a list or a text; `None` where there is nothing.
pub(super) fn place(meter: &Meter, value: &Value, index: i128) -> Result<Option<Value>> {
    let from_end = |length: usize| {
        let index = if index < 0 { index + length as i128 } else { index };
        usize::try_from(index).ok().filter(|index| *index < length)
    };
    match value {
        Value::Seq(seq) if matches!(seq.kind, Kind::List | Kind::Tuple) => {
            Ok(from_end(seq.items.len()).and_then(|index| seq.items.get(index)).cloned())
        }
        Value::Text(text) => {
            meter.bytes(text.len())?;
            let index = from_end(if index < 0 { text.chars().count() } else { text.len() });
            let letter = index.and_then(|index| text.chars().nth(index));
            Ok(letter.map(|letter| Value::from(letter.encode_utf8(&mut [0; 4]) as &str)))
        }
        _ => Ok(None),
    }
}

/// `value[start:stop:step]`
pub(super) fn slice(meter: &Meter, value: &Value, parts: [Option<Value>; 3]) -> Result<Value> {
    let mut bounds = [None; 3];
    for (bound, part) in bounds.iter_mut().zip(&parts) {
        *bound = match part {
            None | Some(Value::None) => None,
            Some(part) => Some(part.as_int().ok_or_else(|| {
                Stop::failed(format!("slice indices must be integers or None, not {}", part.type_name()))
            })?),
        };
    }
    let [start, stop, step] = bounds;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(Stop::failed("slice step cannot be zero"));
    }
    match value {
        Value::Text(text) => {
            meter.letters(text.len())?;
            let letters: Vec<char> = text.chars().collect();
            let picked = picks(letters.len(), start, stop, step);
            Ok(Value::from(picked.filter_map(|index| letters.get(index)).collect::<String>()))
        }
        Value::Seq(seq) if matches!(seq.kind, Kind::List | Kind::Tuple) => {
            let picked = picks(seq.items.len(), start, stop, step);
            let mut items = Vec::new();
            for index in picked {
                meter.places(1)?;
                items.extend(seq.items.get(index).cloned());
            }
            Value::seq(meter, seq.kind, items)
        }
        Value::Undefined(name) => Err(undefined(name.as_deref())),
        other => Err(Stop::failed(format!("'{}' object is not subscriptable", other.type_name()))),
    }
}

/// The indices that Python's slice of `length` things has.
fn picks(length: usize, start: Option<i128>, stop: Option<i128>, step: i128) -> impl Iterator<Item = usize> {
    let length = length as i128;
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |index: i128| (if index < 0 { index.saturating_add(length) } else { index }).clamp(low, high);
    let first = start.map_or(if step > 0 { low } else { high }, bound);
    let end = stop.map_or(if step > 0 { high } else { low }, bound);
    let mut next = Some(first);
    std::iter::from_fn(move || {
        let index = next.filter(|index| if step > 0 { *index < end } else { *index > end })?;
        next = index.checked_add(step);
        usize::try_from(index).ok()
    })
}

/// Sorted, equal items in the order they came. A comparison may fail, as in Python, which the standard library's sorts do not allow.
pub(super) fn sorted<T>(items: Vec<T>, order: &mut impl FnMut(&T, &T) -> Result<Ordering>) -> Result<Vec<T>> {
    if items.len() < 2 {
        return Ok(items);
    }
    let mut left = items;
    let right = left.split_off(left.len() / 2);
    let (left, right) = (sorted(left, order)?, sorted(right, order)?);
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let next = if order(one, other)? == Ordering::Greater { right.next() } else { left.next() };
        out.extend(next);
    }
    out.extend(left.chain(right));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_pythons() {
        let of = |start, stop, step| picks(5, start, stop, step).collect::<Vec<_>>();
        assert_eq!(of(None, None, 1), [0, 1, 2, 3, 4]);
        assert_eq!(of(Some(-2), None, 1), [3, 4]);
        assert_eq!(of(None, Some(-1), 2), [0, 2]);
        assert_eq!(of(None, None, -1), [4, 3, 2, 1, 0]);
        assert_eq!(of(Some(3), Some(0), -2), [3, 1]);
        assert_eq!(of(Some(9), Some(-9), -1), [4, 3, 2, 1, 0]);
        assert_eq!(of(Some(i128::MIN), Some(i128::MAX), i128::MAX), [0]);
        assert!(of(Some(4), Some(2), 1).is_empty());
    }

    #[test]
    fn whole_numbers_divide_towards_the_smaller() {
        let both = |left, right| {
            [Operator::FloorDiv, Operator::Rem].map(|operator| {
                arithmetic(operator, &Value::Int(left), &Value::Int(right)).ok().and_then(|v| v.as_int())
            })
        };
        assert_eq!(both(7, 2), [Some(3), Some(1)]);
        assert_eq!(both(-7, 2), [Some(-4), Some(1)]);
        assert_eq!(both(7, -2), [Some(-4), Some(-1)]);
        assert_eq!(both(1, 0), [None, None]);
        assert_eq!(both(i128::MIN, -1), [None, None]);
    }
}
