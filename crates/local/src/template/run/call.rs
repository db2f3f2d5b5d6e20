//! Calls: macros, loops that call themselves, the global functions, and the arguments of all of them. Methods are in `methods.rs`, filters
//! in `filters.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::calendar::strftime;
use super::super::meter::{Meter, Result, Stop};
use super::super::methods;
use super::super::operators::undefined;
use super::super::syntax::{Args, Expr};
use super::super::text;
use super::super::value::{Closure, Handle, Kind, Value};
use super::Run;

/// The longest `range`: Jinja2's own bound for templates that are not trusted.
const MAX_RANGE: i128 = 100_000;

/// The functions every template has.
const GLOBALS: [&str; 5] = ["namespace", "range", "dict", "raise_exception", "strftime_now"];

/// A global function's name, if it is one.
pub(super) fn global(name: &str) -> Option<&'static str> {
    GLOBALS.into_iter().find(|known| *known == name)
}

/// The arguments of a call.
#[derive(Debug, Clone, Default)]
pub(in super::super) struct Bound {
    pub(in super::super) positional: Vec<Value>,
    pub(in super::super) named: Vec<(Arc<str>, Value)>,
}

impl Bound {
    /// The same once more.
    pub(in super::super) fn again(&self, meter: &Meter) -> Result<Self> {
        meter.places(self.positional.len() + self.named.len())?;
        Ok(self.clone())
    }

    /// The arguments under the names that `function` has for them.
    pub(in super::super) fn take<const N: usize>(self, function: &str, names: [&str; N]) -> Result<[Option<Value>; N]> {
        if self.positional.len() > N {
            return Err(Stop::failed(format!("{function} takes {N} arguments, not {}", self.positional.len())));
        }
        let mut taken = [const { None }; N];
        for (place, value) in taken.iter_mut().zip(self.positional) {
            *place = Some(value);
        }
        for (name, value) in self.named {
            let place = names.iter().position(|known| **known == *name).and_then(|index| taken.get_mut(index));
            let place = place.ok_or_else(|| Stop::failed(format!("{function} has no argument {name:?}")))?;
            *place = Some(value);
        }
        Ok(taken)
    }
}

/// A dict of pairs, of which the last of each key counts.
pub(super) fn dict(meter: &Meter, pairs: Vec<(Value, Value)>) -> Result<Value> {
    // Keys are nearly always texts, and then a set of them says which were there already.
    let mut seen: HashMap<Arc<str>, usize> = HashMap::new();
    let mut entries: Vec<(Value, Value)> = Vec::with_capacity(pairs.len());
    for (key, value) in pairs {
        meter.places(2)?;
        let before = match &key {
            Value::Text(text) => {
                meter.bytes(text.len())?;
                seen.get(text).copied()
            }
            Value::Seq(seq) if seq.kind == Kind::Tuple => position(meter, &entries, &key)?,
            Value::Seq(_) | Value::Dict(_) => {
                return Err(Stop::failed(format!("unhashable type: '{}'", key.type_name())));
            }
            _ => position(meter, &entries, &key)?,
        };
        match before.and_then(|index| entries.get_mut(index)) {
            Some(entry) => entry.1 = value,
            None => {
                if let Value::Text(text) = &key {
                    seen.insert(Arc::clone(text), entries.len());
                }
                entries.push((key, value));
            }
        }
    }
    Value::dict(meter, entries)
}

fn position(meter: &Meter, entries: &[(Value, Value)], key: &Value) -> Result<Option<usize>> {
    for (index, (have, _)) in entries.iter().enumerate() {
        if super::super::value::equal(meter, have, key)? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

impl Run {
    pub(super) fn args(&mut self, args: &Args) -> Result<Bound> {
        let mut bound = Bound::default();
        for value in &args.positional {
            bound.positional.push(self.eval(value)?);
        }
        if let Some(list) = &args.list {
            let list = self.eval(list)?;
            bound.positional.extend(list.items(&self.meter)?);
        }
        for (name, value) in &args.named {
            bound.named.push((Arc::clone(name), self.eval(value)?));
        }
        if let Some(dict) = &args.dict {
            let Value::Dict(dict) = self.eval(dict)? else {
                return Err(Stop::failed("what stands behind ** is no dict"));
            };
            self.meter.places(2 * dict.entries.len())?;
            for (name, value) in &dict.entries {
                let Value::Text(name) = name else { return Err(Stop::failed("keywords must be strings")) };
                bound.named.push((Arc::clone(name), value.clone()));
            }
        }
        Ok(bound)
    }

    /// Evaluates a call; `caller` is the body of the call block it opens.
    pub(super) fn call_with(&mut self, call: &Expr, caller: Option<Value>) -> Result<Value> {
        let Expr::Call(callee, args) = call else {
            return Err(Stop::failed("only a call can be called"));
        };
        if let Expr::Attr(of, name) = &**callee {
            let of = self.eval(of)?;
            if methods::knows(&of, name) {
                let args = self.args(args)?;
                return self.method(&of, name, args);
            }
            let function = self.attr(&of, name)?;
            let args = self.args(args)?;
            return self.invoke(&function, args, caller, name);
        }
        let function = self.eval(callee)?;
        let args = self.args(args)?;
        let name = if let Expr::Name(name) = &**callee { name } else { "a value" };
        self.invoke(&function, args, caller, name)
    }

    fn method(&mut self, of: &Value, name: &str, args: Bound) -> Result<Value> {
        match of {
            Value::Loop(handle) => self.loop_method(*handle, name, args),
            _ => methods::call(&self.meter, of, name, args),
        }
    }

    /// Calls a value.
    fn invoke(&mut self, function: &Value, args: Bound, caller: Option<Value>, name: &str) -> Result<Value> {
        match function {
            Value::Macro(closure) => self.call_macro(closure, args, caller),
            Value::Method(method) => self.method(&method.0, &method.1, args),
            Value::Loop(handle) => self.call_loop(*handle, args),
            Value::Function(function) => self.call_global(function, args),
            Value::Undefined(what) => Err(undefined(what.as_deref().or(Some(name)))),
            other => Err(Stop::failed(format!("'{}' object is not callable", other.type_name()))),
        }
    }

    fn call_macro(&mut self, closure: &Closure, args: Bound, caller: Option<Value>) -> Result<Value> {
        let code = Arc::clone(&closure.code);
        // Called after its loop ended, a macro sees the template's own variables.
        let Handle { index, serial } = closure.scope;
        let around = if self.scopes.get(index).is_some_and(|scope| scope.serial == serial) { index } else { 0 };
        let text = self.captured(|run| {
            run.scoped_in(around, |run| {
                let mut rest = args.positional.into_iter();
                let mut named = args.named;
                for (name, default) in &code.parameters {
                    let given =
                        named.iter().position(|(given, _)| given == name).map(|index| named.swap_remove(index).1);
                    let value = match (rest.next().or(given), default) {
                        (Some(value), _) => value,
                        (None, Some(default)) => run.eval(default)?,
                        (None, None) => Value::Undefined(Some(Arc::clone(name))),
                    };
                    run.set(name, value)?;
                }
                let more: Vec<Value> = rest.collect();
                let named: Vec<_> = named.into_iter().map(|(name, value)| (Value::Text(name), value)).collect();
                let more = run.tuple(more)?;
                let named = Value::dict(&run.meter, named)?;
                run.set(&Arc::from("varargs"), more)?;
                run.set(&Arc::from("kwargs"), named)?;
                if let Some(caller) = caller {
                    run.set(&Arc::from("caller"), caller)?;
                }
                run.body(&code.body)
            })
        })?;
        Ok(Value::from(text))
    }

    fn call_loop(&mut self, handle: Handle, args: Bound) -> Result<Value> {
        let [over] = args.take("loop", ["iterable"])?;
        let Some((over, (code, around), level)) =
            self.loop_at(handle).and_then(|at| Some((over?, at.again.clone()?, at.level)))
        else {
            return Err(Stop::failed("only a recursive loop can be called, with one list"));
        };
        let text = self.captured(|run| run.for_loop(&code, &over, around, level + 1))?;
        Ok(Value::from(text))
    }

    fn loop_method(&mut self, handle: Handle, name: &str, args: Bound) -> Result<Value> {
        let Some(at) = self.loops.get_mut(handle.index).filter(|at| at.serial == handle.serial) else {
            return Err(undefined(Some("loop")));
        };
        if name == "cycle" {
            let places = args.positional.len();
            let place = at.index.checked_rem(places).and_then(|index| args.positional.into_iter().nth(index));
            return place.ok_or_else(|| Stop::failed("no items for cycling given"));
        }
        let before = at.changed.replace(args.again(&self.meter)?.positional);
        let same = match &before {
            Some(before) if before.len() == args.positional.len() => {
                let mut same = true;
                for (before, now) in before.iter().zip(&args.positional) {
                    same = same && super::super::value::equal(&self.meter, before, now)?;
                }
                same
            }
            _ => false,
        };
        Ok(Value::Bool(!same))
    }

    fn call_global(&mut self, function: &str, args: Bound) -> Result<Value> {
        match function {
            "namespace" => {
                let mut fields = HashMap::new();
                self.meter.places(8)?;
                for given in args.positional {
                    let Value::Dict(given) = given else { return Err(Stop::failed("namespace takes dicts and names")) };
                    self.meter.places(3 * given.entries.len())?;
                    for (name, value) in &given.entries {
                        let Value::Text(name) = name else { return Err(Stop::failed("keywords must be strings")) };
                        fields.insert(Arc::clone(name), value.clone());
                    }
                }
                self.meter.places(3 * args.named.len())?;
                fields.extend(args.named);
                self.namespaces.push(fields);
                Ok(Value::Namespace(self.namespaces.len() - 1))
            }
            "dict" => {
                let mut pairs = Vec::new();
                for given in args.positional {
                    let Value::Dict(given) = given else { return Err(Stop::failed("dict takes a dict and names")) };
                    self.meter.places(2 * given.entries.len())?;
                    pairs.extend(given.entries.iter().cloned());
                }
                pairs.extend(args.named.into_iter().map(|(name, value)| (Value::Text(name), value)));
                dict(&self.meter, pairs)
            }
            "range" => {
                let whole = |value: &Value| value.as_int().ok_or_else(|| Stop::failed("range takes whole numbers"));
                let numbers = args.positional.iter().map(whole).collect::<Result<Vec<_>>>()?;
                let (start, stop, step) = match *numbers.as_slice() {
                    [stop] => (0, stop, 1),
                    [start, stop] => (start, stop, 1),
                    [start, stop, step] if step != 0 => (start, stop, step),
                    _ => return Err(Stop::failed("range takes one to three numbers, the step not 0")),
                };
                let span = if step > 0 { stop.checked_sub(start) } else { start.checked_sub(stop) };
                let count = match (span, step.checked_abs()) {
                    (Some(span), Some(step)) => (span.max(0) / step).saturating_add(1),
                    _ => i128::MAX,
                };
                if count > MAX_RANGE + 1 {
                    return Err(Stop::failed(format!("range too big, the longest is {MAX_RANGE}")));
                }
                let count = usize::try_from(count).unwrap_or(0);
                self.meter.places(count)?;
                let inside = |number: &i128| if step > 0 { *number < stop } else { *number > stop };
                let numbers = (0..count as i128).map(|index| start + index * step).take_while(inside);
                Value::list(&self.meter, numbers.map(Value::Int).collect())
            }
            "raise_exception" => {
                let [words] = args.take("raise_exception", ["message"])?;
                Err(Stop::Raised(text::string(&self.meter, &words.unwrap_or(Value::None))?))
            }
            _ => {
                let [form] = args.take("strftime_now", ["format"])?;
                let Some(Value::Text(form)) = form else { return Err(Stop::failed("strftime_now takes a format")) };
                self.meter.product(form.len(), 8)?;
                strftime(self.settings.now, &form).map(Value::from).map_err(Stop::failed)
            }
        }
    }

    /// What filters pay with.
    pub(in super::super) fn meter(&self) -> &Meter {
        &self.meter
    }
}
