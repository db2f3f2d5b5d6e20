//! What may stand behind `is`: Jinja2's tests.

use super::meter::{Meter, Result, Stop};
use super::operators;
use super::run::Bound;
use super::syntax::Comparison;
use super::value::{Kind, Value, equal};

/// Whether a value passes the test `name`.
pub(super) fn holds(meter: &Meter, name: &str, value: &Value, args: Bound) -> Result<bool> {
    let comparison = match name {
        "eq" | "equalto" | "==" => Some(Comparison::Eq),
        "ne" | "!=" => Some(Comparison::Ne),
        "lt" | "lessthan" | "<" => Some(Comparison::Lt),
        "le" | "<=" => Some(Comparison::Le),
        "gt" | "greaterthan" | ">" => Some(Comparison::Gt),
        "ge" | ">=" => Some(Comparison::Ge),
        "in" => Some(Comparison::In),
        _ => None,
    };
    if let Some(comparison) = comparison {
        let [other] = args.take(name, ["other"])?;
        let other = other.ok_or_else(|| Stop::failed(format!("the test {name} takes a value")))?;
        return operators::holds(meter, comparison, value, &other);
    }
    let [other] = args.take(name, ["other"])?;
    let whole = || value.as_int().ok_or_else(|| Stop::failed(format!("the test {name} takes whole numbers")));
    Ok(match name {
        "defined" => !value.is_undefined(),
        "undefined" => value.is_undefined(),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => value.as_float().is_some(),
        "string" => value.as_text().is_some(),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => match value {
            Value::Text(_) | Value::Dict(_) | Value::Undefined(_) => true,
            Value::Seq(seq) => matches!(seq.kind, Kind::List | Kind::Tuple),
            _ => false,
        },
        "iterable" => {
            matches!(value, Value::Text(_) | Value::Dict(_) | Value::Undefined(_) | Value::Seq(_) | Value::Loop(_))
        }
        "callable" => matches!(value, Value::Macro(_) | Value::Method(_) | Value::Function(_) | Value::Loop(_)),
        "lower" | "upper" => {
            let text = value.as_text().unwrap_or_default();
            meter.letters(text.len())?;
            let (lower, upper) = (text.chars().any(char::is_lowercase), text.chars().any(char::is_uppercase));
            if name == "lower" { lower && !upper } else { upper && !lower }
        }
        "odd" => whole()? % 2 != 0,
        "even" => whole()? % 2 == 0,
        "divisibleby" => {
            let by = other.as_ref().and_then(Value::as_int);
            let rest = by.and_then(|by| whole().ok()?.checked_rem(by));
            rest.ok_or_else(|| Stop::failed("divisibleby takes whole numbers that are not 0"))? == 0
        }
        "sameas" => {
            let other = other.unwrap_or(Value::None);
            value.type_name() == other.type_name() && equal(meter, value, &other)?
        }
        "escaped" => false,
        "filter" => value.as_text().is_some_and(super::filters::exists),
        "test" => value.as_text().is_some_and(|name| NAMES.contains(&name)),
        _ => return Err(Stop::failed(format!("there is no test named {name:?}"))),
    })
}

/// Every test, for the test `test`.
#[rustfmt::skip]
const NAMES: [&str; 38] = [
    "!=", "<", "<=", "==", ">", ">=", "boolean", "callable", "defined", "divisibleby", "eq", "equalto", "escaped", "even", "false", "filter",
    "float", "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne", "none", "number", "odd",
    "sameas", "sequence", "string", "test", "true", "undefined",
];
