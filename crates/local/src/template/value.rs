//! The values of a template: Python's, as far as `transformers` lets templates have them, which is without a way to change one. Nothing is
//! lazy and nothing holds itself, so that walking a value ends; a value's depth is bounded where it is made. What is shared in memory is
//! walked as often as it appears, and paid for each time. Text is made from values in `text.rs` and `json.rs`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::meter::{Meter, Result, Stop};
use super::syntax::Macro;

/// Deeper than any schema, and shallow enough to walk by recursion.
const MAX_DEPTH: u16 = 100;

#[derive(Debug, Clone)]
pub(super) enum Value {
    /// What was looked for and is not there: its name, for the message if somebody uses it.
    Undefined(Option<Arc<str>>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Arc<str>),
    Seq(Arc<Seq>),
    Dict(Arc<Dict>),
    /// What `namespace()` made: its number, the fields are the run's.
    Namespace(usize),
    /// A loop that is running.
    Loop(Handle),
    Macro(Arc<Closure>),
    /// A method that was named and not called.
    Method(Arc<(Value, Arc<str>)>),
    /// A global function, by its name.
    Function(&'static str),
}

/// The place of something on one of the run's stacks, and the serial number that tells whether it is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) index: usize,
    pub(super) serial: u64,
}

/// A macro and the scope it was written in.
#[derive(Debug)]
pub(super) struct Closure {
    pub(super) code: Arc<Macro>,
    pub(super) scope: Handle,
}

/// What Python has under several names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Tuple,
    /// What Python would make on demand: true even where it is empty, without length or places.
    Stream,
    /// `keys()`, `values()`, `items()`: a length and no places.
    View,
}

#[derive(Debug)]
pub(super) struct Seq {
    pub(super) kind: Kind,
    pub(super) items: Vec<Value>,
    depth: u16,
}

#[derive(Debug)]
pub(super) struct Dict {
    pub(super) entries: Vec<(Value, Value)>,
    depth: u16,
}

impl Dict {
    /// What stands under a key.
    pub(super) fn get(&self, meter: &Meter, key: &Value) -> Result<Option<&Value>> {
        meter.bytes(self.entries.len())?;
        for (have, value) in &self.entries {
            // Keys are texts nearly always: no call for those that differ.
            if let (Value::Text(have), Value::Text(key)) = (have, key) {
                if have == key {
                    return Ok(Some(value));
                }
            } else if equal(meter, have, key)? {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(Arc::from(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(Arc::from(text))
    }
}

impl Value {
    /// A text that is paid for here.
    pub(super) fn text(meter: &Meter, text: &str) -> Result<Self> {
        meter.bytes(text.len())?;
        Ok(Value::from(text))
    }

    pub(super) fn seq(meter: &Meter, kind: Kind, items: Vec<Value>) -> Result<Self> {
        meter.places(items.len() + 1)?;
        let depth = deeper(items.iter().map(Value::depth).max())?;
        Ok(Value::Seq(Arc::new(Seq { kind, items, depth })))
    }

    pub(super) fn list(meter: &Meter, items: Vec<Value>) -> Result<Self> {
        Self::seq(meter, Kind::List, items)
    }

    /// A dict of entries whose keys differ.
    pub(super) fn dict(meter: &Meter, entries: Vec<(Value, Value)>) -> Result<Self> {
        meter.places(2 * entries.len() + 1)?;
        let depth = deeper(entries.iter().map(|(key, value)| key.depth().max(value.depth())).max())?;
        Ok(Value::Dict(Arc::new(Dict { entries, depth })))
    }

    /// The caller's JSON: not the template's work, so nothing is paid for it.
    pub(super) fn from_json(json: &serde_json::Value) -> Result<Self> {
        use serde_json::Value as Json;
        Ok(match json {
            Json::Null => Value::None,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::String(text) => Value::from(text.as_str()),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(whole), ..) => Value::Int(whole.into()),
                (_, Some(whole), _) => Value::Int(whole.into()),
                (.., broken) => Value::Float(broken.unwrap_or(f64::NAN)),
            },
            Json::Array(items) => {
                let items = items.iter().map(Value::from_json).collect::<Result<Vec<_>>>()?;
                let depth = deeper(items.iter().map(Value::depth).max())?;
                Value::Seq(Arc::new(Seq { kind: Kind::List, items, depth }))
            }
            Json::Object(fields) => {
                let entry = |(key, value): (&String, _)| Ok((Value::from(key.as_str()), Value::from_json(value)?));
                let entries = fields.iter().map(entry).collect::<Result<Vec<_>>>()?;
                let depth = deeper(entries.iter().map(|(_, value)| value.depth()).max())?;
                Value::Dict(Arc::new(Dict { entries, depth }))
            }
        })
    }

    fn depth(&self) -> u16 {
        match self {
            Value::Seq(seq) => seq.depth,
            Value::Dict(dict) => dict.depth,
            Value::Method(method) => method.0.depth(),
            _ => 0,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number; Python's booleans are some.
    pub(super) fn as_int(&self) -> Option<i128> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Bool(flag) => Some(i128::from(*flag)),
            _ => None,
        }
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            Value::Float(number) => Some(*number),
            other => other.as_int().map(|number| number as f64),
        }
    }

    pub(super) fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(flag) => *flag,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::Seq(seq) => seq.kind == Kind::Stream || !seq.items.is_empty(),
            Value::Dict(dict) => !dict.entries.is_empty(),
            _ => true,
        }
    }

    /// Python's name of its type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Text(_) => "str",
            Value::Dict(_) => "dict",
            Value::Namespace(_) => "Namespace",
            Value::Loop(_) => "LoopContext",
            Value::Macro(_) => "Macro",
            Value::Method(_) => "method",
            Value::Function(_) => "function",
            Value::Seq(seq) => match seq.kind {
                Kind::List => "list",
                Kind::Tuple => "tuple",
                Kind::Stream => "generator",
                Kind::View => "dict_view",
            },
        }
    }

    /// What a loop over it sees.
    pub(super) fn items(&self, meter: &Meter) -> Result<Vec<Value>> {
        match self {
            Value::Seq(seq) => {
                meter.places(seq.items.len())?;
                Ok(seq.items.clone())
            }
            Value::Dict(dict) => {
                meter.places(dict.entries.len())?;
                Ok(dict.entries.iter().map(|(key, _)| key.clone()).collect())
            }
            Value::Text(text) => {
                // Each letter becomes a text of its own.
                meter.product(text.len(), 96)?;
                Ok(text.chars().map(|letter| Value::from(letter.encode_utf8(&mut [0; 4]) as &str)).collect())
            }
            Value::Undefined(_) => Ok(Vec::new()),
            other => Err(Stop::failed(format!("'{}' object is not iterable", other.type_name()))),
        }
    }

    /// How long it is, where it has a length.
    pub(super) fn len(&self, meter: &Meter) -> Result<usize> {
        match self {
            Value::Text(text) => {
                meter.bytes(text.len())?;
                Ok(text.chars().count())
            }
            Value::Seq(seq) if seq.kind != Kind::Stream => Ok(seq.items.len()),
            Value::Dict(dict) => Ok(dict.entries.len()),
            Value::Undefined(_) => Ok(0),
            other => Err(Stop::failed(format!("object of type '{}' has no len()", other.type_name()))),
        }
    }
}

fn deeper(inner: Option<u16>) -> Result<u16> {
    match inner.unwrap_or(0) {
        depth if depth < MAX_DEPTH => Ok(depth + 1),
        _ => Err(Stop::failed("a value is nested over 100 deep")),
    }
}

/// Python's `==`. Everything that is looked at is paid for.
pub(super) fn equal(meter: &Meter, left: &Value, right: &Value) -> Result<bool> {
    meter.bytes(8)?;
    Ok(match (left, right) {
        (Value::Text(left), Value::Text(right)) => {
            meter.bytes(left.len().min(right.len()))?;
            left == right
        }
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Seq(left), Value::Seq(right)) => {
            if left.kind != right.kind || left.items.len() != right.items.len() {
                return Ok(false);
            }
            for (left, right) in left.items.iter().zip(&right.items) {
                if !equal(meter, left, right)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Dict(left), Value::Dict(right)) => {
            if left.entries.len() != right.entries.len() {
                return Ok(false);
            }
            for (key, value) in &left.entries {
                match right.get(meter, key)? {
                    Some(other) if equal(meter, value, other)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Namespace(left), Value::Namespace(right)) => left == right,
        (Value::Loop(left), Value::Loop(right)) => left == right,
        (Value::Macro(left), Value::Macro(right)) => Arc::ptr_eq(left, right),
        (Value::Function(left), Value::Function(right)) => left == right,
        _ => match (left.as_int(), right.as_int()) {
            (Some(left), Some(right)) => left == right,
            _ => left.as_float().zip(right.as_float()).is_some_and(|(left, right)| left == right),
        },
    })
}

/// Python's `<`, and what follows from it.
pub(super) fn compare(meter: &Meter, left: &Value, right: &Value) -> Result<Ordering> {
    meter.bytes(8)?;
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => {
            meter.bytes(left.len().min(right.len()))?;
            return Ok(left.cmp(right));
        }
        (Value::Seq(left), Value::Seq(right)) if left.kind == right.kind => {
            for (left, right) in left.items.iter().zip(&right.items) {
                if !equal(meter, left, right)? {
                    return compare(meter, left, right);
                }
            }
            return Ok(left.items.len().cmp(&right.items.len()));
        }
        _ => {}
    }
    if let (Some(left), Some(right)) = (left.as_int(), right.as_int()) {
        return Ok(left.cmp(&right));
    }
    let numbers = left.as_float().zip(right.as_float());
    numbers.map(|(left, right)| left.partial_cmp(&right).unwrap_or(Ordering::Equal)).ok_or_else(|| {
        Stop::failed(format!(
            "'<' not supported between instances of '{}' and '{}'",
            left.type_name(),
            right.type_name()
        ))
    })
}
