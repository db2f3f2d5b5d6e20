//! Evaluates expressions. What operators do to values is in `operators.rs`; names, attributes and items are looked up here.

use std::sync::Arc;

use super::super::meter::{Result, Stop};
use super::super::operators::{self, undefined};
use super::super::syntax::Expr;
use super::super::text;
use super::super::value::Value;
use super::super::{filters, methods, predicates};
use super::{Run, call};

impl Run {
    pub(super) fn eval(&mut self, expr: &Expr) -> Result<Value> {
        self.deeper(|run| match expr {
            Expr::Const(value) => Ok(value.clone()),
            Expr::Name(name) => Ok(run.named(name)),
            Expr::Attr(of, name) => {
                let of = run.eval(of)?;
                run.attr(&of, name)
            }
            Expr::Item(of, key) => {
                let of = run.eval(of)?;
                let key = run.eval(key)?;
                run.item(&of, &key)
            }
            Expr::Call(..) => run.call_with(expr, None),
            Expr::Filter(of, name, args) => {
                let of = run.eval(of)?;
                let args = run.args(args)?;
                filters::apply(run, name, &of, args)
            }
            Expr::Test(of, name, args, contrary) => {
                let of = run.eval(of)?;
                let args = run.args(args)?;
                Ok(Value::Bool(predicates::holds(&run.meter, name, &of, args)? != *contrary))
            }
            Expr::Not(value) => Ok(Value::Bool(!run.eval(value)?.is_true())),
            Expr::And(parts) => run.decided(parts, false),
            Expr::Or(parts) => run.decided(parts, true),
            Expr::If { test, then, otherwise } => {
                if run.eval(test)?.is_true() {
                    return run.eval(then);
                }
                otherwise.as_ref().map_or(Ok(Value::Undefined(None)), |otherwise| run.eval(otherwise))
            }
            other => run.composed(other),
        })
    }

    /// The expressions that are made of several.
    fn composed(&mut self, expr: &Expr) -> Result<Value> {
        match expr {
            Expr::Chain(first, rest) => {
                let mut value = self.eval(first)?;
                for (operator, operand) in rest {
                    let operand = self.eval(operand)?;
                    value = operators::apply(&self.meter, *operator, &value, &operand)?;
                }
                Ok(value)
            }
            Expr::Concat(parts) => {
                let mut out = String::new();
                for part in parts {
                    let part = self.eval(part)?;
                    text::write(&self.meter, &part, &mut out)?;
                }
                Ok(Value::from(out))
            }
            Expr::Compare(first, rest) => {
                let mut left = self.eval(first)?;
                for (comparison, right) in rest {
                    let right = self.eval(right)?;
                    if !operators::holds(&self.meter, *comparison, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expr::Slice(of, parts) => {
                let of = self.eval(of)?;
                let mut bounds = [None, None, None];
                for (bound, part) in bounds.iter_mut().zip(parts) {
                    *bound = part.as_ref().map(|part| self.eval(part)).transpose()?;
                }
                operators::slice(&self.meter, &of, bounds)
            }
            Expr::Negative(value) => operators::signed(&self.eval(value)?, true),
            Expr::Positive(value) => operators::signed(&self.eval(value)?, false),
            Expr::List(items) => {
                let items = items.iter().map(|item| self.eval(item)).collect::<Result<Vec<_>>>()?;
                Value::list(&self.meter, items)
            }
            Expr::Tuple(items) => {
                let items = items.iter().map(|item| self.eval(item)).collect::<Result<Vec<_>>>()?;
                self.tuple(items)
            }
            Expr::Dict(entries) => {
                let mut pairs = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    pairs.push((self.eval(key)?, self.eval(value)?));
                }
                call::dict(&self.meter, pairs)
            }
            Expr::Hole => Ok(self.holes.last().cloned().unwrap_or(Value::Undefined(None))),
            _ => Err(Stop::failed("an expression that is not known")),
        }
    }

    /// `and` and `or`: the first operand whose truth decides, or the last.
    fn decided(&mut self, parts: &[Expr], by: bool) -> Result<Value> {
        let mut value = Value::Undefined(None);
        for part in parts {
            value = self.eval(part)?;
            if value.is_true() == by {
                break;
            }
        }
        Ok(value)
    }

    fn named(&self, name: &Arc<str>) -> Value {
        self.lookup(name)
            .or_else(|| call::global(name).map(Value::Function))
            .unwrap_or_else(|| Value::Undefined(Some(Arc::clone(name))))
    }

    /// `of.name`: a method goes before a key of the same name, as in Python.
    pub(in super::super) fn attr(&mut self, of: &Value, name: &Arc<str>) -> Result<Value> {
        if methods::knows(of, name) {
            return Ok(Value::Method(Arc::new((of.clone(), Arc::clone(name)))));
        }
        match of {
            Value::Undefined(what) => Err(undefined(what.as_deref())),
            Value::Dict(dict) => {
                let found = dict.get(&self.meter, &Value::Text(Arc::clone(name)))?.cloned();
                Ok(found.unwrap_or_else(|| Value::Undefined(Some(Arc::clone(name)))))
            }
            Value::Namespace(index) => {
                let found = self.namespaces.get(*index).and_then(|fields| fields.get(name)).cloned();
                Ok(found.unwrap_or_else(|| Value::Undefined(Some(Arc::clone(name)))))
            }
            Value::Loop(handle) => {
                Ok(self.loop_field(*handle, name).unwrap_or_else(|| Value::Undefined(Some(Arc::clone(name)))))
            }
            Value::Macro(closure) if **name == *"name" => Ok(Value::Text(Arc::clone(&closure.code.name))),
            _ => Ok(Value::Undefined(Some(Arc::clone(name)))),
        }
    }

    /// `of[key]`: a key goes before an attribute.
    pub(in super::super) fn item(&mut self, of: &Value, key: &Value) -> Result<Value> {
        if let Value::Undefined(what) = of {
            return Err(undefined(what.as_deref()));
        }
        if let Value::Dict(dict) = of
            && let Some(found) = dict.get(&self.meter, key)?
        {
            return Ok(found.clone());
        }
        if let Some(index) = key.as_int() {
            let missing = || Value::Undefined(Some(Arc::from(format!("item {index}"))));
            return Ok(operators::place(&self.meter, of, index)?.unwrap_or_else(missing));
        }
        match key {
            Value::Text(name) => self.attr(of, name),
            _ => Ok(Value::Undefined(None)),
        }
    }
}
