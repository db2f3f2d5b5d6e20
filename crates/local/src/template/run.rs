//! Runs a template's tree: statements and scopes here, expressions in `run/expression.rs`, calls in `run/call.rs`. The rules of scopes are
//! Jinja2's: a loop's and a macro's assignments end with it, an `if` has no scope, a macro sees what stands around it when it is called.
//! Everything a template makes lives on stacks of the run, so that nothing outlives it.

mod call;
mod expression;

use std::collections::HashMap;
use std::sync::Arc;

use super::meter::{Meter, Result, Stop};
use super::syntax::{Expr, For, Node, Stmt, Target};
use super::text;
use super::value::{Closure, Handle, Kind, Value};

pub(super) use call::Bound;

/// How many nodes may be at work inside each other, macros that call themselves included. Together with [`STACK`] this keeps a template
/// from using up the stack: a node takes some 1–2 KiB of it, several times that without optimisation.
const MAX_DEPTH: usize = 600;
/// The stack a template runs on, in bytes: touched only as far as it is used.
pub(super) const STACK: usize = 16 << 20;

/// What a rendering may use and knows.
pub(super) struct Settings {
    /// The budget, in steps.
    pub(super) steps: u64,
    /// The longest text, in bytes.
    pub(super) output: usize,
    /// Now, in seconds since 1970.
    pub(super) now: i64,
}

/// The text that a template makes of its variables.
pub(super) fn run(body: &[Node], variables: HashMap<Arc<str>, Value>, settings: Settings) -> Result<String> {
    let mut run = Run {
        meter: Meter::new(settings.steps),
        out: vec![String::new()],
        scopes: vec![Scope { serial: 0, parent: 0, variables }],
        scope: 0,
        serial: 0,
        loops: Vec::new(),
        namespaces: Vec::new(),
        holes: Vec::new(),
        depth: 0,
        settings,
    };
    run.body(body)?;
    Ok(run.out.pop().unwrap_or_default())
}

pub(super) struct Run {
    meter: Meter,
    settings: Settings,
    /// What is written; above the first, what blocks and macros capture.
    out: Vec<String>,
    scopes: Vec<Scope>,
    /// The innermost scope.
    scope: usize,
    /// Given to scopes and loops, none twice.
    serial: u64,
    loops: Vec<Loop>,
    namespaces: Vec<HashMap<Arc<str>, Value>>,
    /// What the filter blocks at work captured.
    holes: Vec<Value>,
    depth: usize,
}

struct Scope {
    serial: u64,
    parent: usize,
    variables: HashMap<Arc<str>, Value>,
}

/// A `for` at work.
struct Loop {
    serial: u64,
    items: Vec<Value>,
    index: usize,
    /// How many recursive calls of itself it stands in.
    level: usize,
    /// What to run again when it is called, and where it stands.
    again: Option<(Arc<For>, usize)>,
    /// What `changed` was asked last.
    changed: Option<Vec<Value>>,
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    Break,
    Continue,
}

impl Run {
    fn body(&mut self, nodes: &[Node]) -> Result<Flow> {
        for node in nodes {
            let flow = self.statement(&node.stmt).map_err(|stop| stop.at(node.line))?;
            if flow != Flow::On {
                return Ok(flow);
            }
        }
        Ok(Flow::On)
    }

    /// Goes one node deeper.
    fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.meter.step()?;
        if self.depth >= MAX_DEPTH {
            return Err(Stop::Exhausted("depth"));
        }
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        result
    }

    fn statement(&mut self, stmt: &Stmt) -> Result<Flow> {
        self.deeper(|run| match stmt {
            Stmt::Text(text) => run.write(text),
            Stmt::Emit(value) => {
                let value = run.eval(value)?;
                run.emit(&value)
            }
            Stmt::If { arms, otherwise } => run.condition(arms, otherwise),
            Stmt::For(code) => {
                let over = run.eval(&code.over)?;
                let around = run.scope;
                run.for_loop(code, &over, around, 0)
            }
            Stmt::Set { target, value } => {
                let value = run.eval(value)?;
                run.assign(target, value)
            }
            Stmt::Break => Ok(Flow::Break),
            Stmt::Continue => Ok(Flow::Continue),
            block => run.block(block),
        })
    }

    /// The statements with a body of their own that are rare.
    fn block(&mut self, stmt: &Stmt) -> Result<Flow> {
        match stmt {
            Stmt::Capture { target, filters, body } => {
                let text = self.captured(|run| run.scoped(|run| run.body(body)))?;
                let value = self.filtered(filters, text)?;
                self.assign(target, value)
            }
            Stmt::Filter { filters, body } => {
                let text = self.captured(|run| run.scoped(|run| run.body(body)))?;
                let value = self.filtered(filters, text)?;
                self.emit(&value)
            }
            Stmt::With { assignments, body } => {
                let values = assignments.iter().map(|(_, value)| self.eval(value)).collect::<Result<Vec<_>>>()?;
                self.scoped(|run| {
                    for ((target, _), value) in assignments.iter().zip(values) {
                        run.assign(target, value)?;
                    }
                    run.body(body)
                })
            }
            Stmt::Scope(body) => self.scoped(|run| run.body(body)),
            Stmt::Macro(code) => {
                let closure = Closure { code: Arc::clone(code), scope: self.here() };
                self.set(&code.name, Value::Macro(Arc::new(closure)))?;
                Ok(Flow::On)
            }
            Stmt::Call { caller, call } => {
                let caller = Value::Macro(Arc::new(Closure { code: Arc::clone(caller), scope: self.here() }));
                let value = self.call_with(call, Some(caller))?;
                self.emit(&value)
            }
            _ => Ok(Flow::On),
        }
    }

    fn condition(&mut self, arms: &[(Expr, Vec<Node>)], otherwise: &[Node]) -> Result<Flow> {
        for (test, body) in arms {
            if self.eval(test)?.is_true() {
                return self.body(body);
            }
        }
        self.body(otherwise)
    }

    fn filtered(&mut self, filters: &Expr, text: String) -> Result<Value> {
        self.holes.push(Value::from(text));
        let value = self.eval(filters);
        self.holes.pop();
        value
    }

    /// Writes a text where output goes now.
    fn write(&mut self, text: &str) -> Result<Flow> {
        self.meter.bytes(text.len())?;
        if let Some(out) = self.out.last_mut() {
            out.push_str(text);
        }
        self.written()
    }

    fn emit(&mut self, value: &Value) -> Result<Flow> {
        if let Some(out) = self.out.last_mut() {
            text::write(&self.meter, value, out)?;
        }
        self.written()
    }

    fn written(&self) -> Result<Flow> {
        if self.out.last().is_some_and(|out| out.len() > self.settings.output) {
            return Err(Stop::Exhausted("output"));
        }
        Ok(Flow::On)
    }

    /// What is written meanwhile.
    fn captured(&mut self, work: impl FnOnce(&mut Self) -> Result<Flow>) -> Result<String> {
        self.out.push(String::new());
        let result = work(self);
        let text = self.out.pop().unwrap_or_default();
        result.map(|_| text)
    }

    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// The innermost scope, for what may be called after it ended.
    fn here(&self) -> Handle {
        Handle { index: self.scope, serial: self.scopes.get(self.scope).map_or(0, |scope| scope.serial) }
    }

    /// Runs with a scope inside the innermost one.
    fn scoped<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.scoped_in(self.scope, work)
    }

    /// Runs with a scope inside the one at `parent`.
    fn scoped_in<T>(&mut self, parent: usize, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.meter.places(2)?;
        let (outer, length) = (self.scope, self.scopes.len());
        let serial = self.next_serial();
        self.scopes.push(Scope { serial, parent, variables: HashMap::new() });
        self.scope = length;
        let result = work(self);
        self.scopes.truncate(length);
        self.scope = outer;
        result
    }

    fn set(&mut self, name: &Arc<str>, value: Value) -> Result<()> {
        self.meter.places(3)?;
        if let Some(scope) = self.scopes.get_mut(self.scope) {
            scope.variables.insert(Arc::clone(name), value);
        }
        Ok(())
    }

    fn lookup(&self, name: &str) -> Option<Value> {
        let mut at = self.scope;
        loop {
            let scope = self.scopes.get(at)?;
            if let Some(value) = scope.variables.get(name) {
                return Some(value.clone());
            }
            if at == 0 {
                return None;
            }
            at = scope.parent;
        }
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<Flow> {
        match target {
            Target::Name(name) => self.set(name, value)?,
            Target::Field(name, field) => {
                self.meter.places(3)?;
                let Some(Value::Namespace(index)) = self.lookup(name) else {
                    return Err(Stop::failed(format!("cannot assign attribute on non-namespace object {name}")));
                };
                if let Some(namespace) = self.namespaces.get_mut(index) {
                    namespace.insert(Arc::clone(field), value);
                }
            }
            Target::Tuple(targets) => {
                let values = value.items(&self.meter)?;
                if values.len() != targets.len() {
                    let (wanted, got) = (targets.len(), values.len());
                    return Err(Stop::failed(format!("cannot unpack {got} values into {wanted} names")));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value)?;
                }
            }
        }
        Ok(Flow::On)
    }

    /// Runs a loop over a value; `around` is the scope it stands in, which is not the innermost one where a loop calls itself.
    fn for_loop(&mut self, code: &Arc<For>, over: &Value, around: usize, level: usize) -> Result<Flow> {
        let mut items = over.items(&self.meter)?;
        if let Some(condition) = &code.condition {
            let mut kept = Vec::new();
            for item in items {
                let keep = self.scoped_in(around, |run| {
                    run.assign(&code.target, item.clone())?;
                    Ok(run.eval(condition)?.is_true())
                })?;
                if keep {
                    kept.push(item);
                }
            }
            items = kept;
        }
        if items.is_empty() {
            return self.scoped_in(around, |run| run.body(&code.otherwise));
        }
        let serial = self.next_serial();
        let handle = Handle { index: self.loops.len(), serial };
        let again = code.recursive.then(|| (Arc::clone(code), around));
        self.loops.push(Loop { serial, items, index: 0, level, again, changed: None });
        let result = self.rounds(code, around, handle);
        self.loops.truncate(handle.index);
        result
    }

    fn rounds(&mut self, code: &For, around: usize, handle: Handle) -> Result<Flow> {
        let mut index = 0;
        while let Some(item) = self.loops.get(handle.index).and_then(|at| at.items.get(index)).cloned() {
            self.meter.step()?;
            if let Some(at) = self.loops.get_mut(handle.index) {
                at.index = index;
            }
            let flow = self.scoped_in(around, |run| {
                run.set(&Arc::from("loop"), Value::Loop(handle))?;
                run.assign(&code.target, item)?;
                run.body(&code.body)
            })?;
            if flow == Flow::Break {
                break;
            }
            index += 1;
        }
        Ok(Flow::On)
    }

    fn loop_at(&self, handle: Handle) -> Option<&Loop> {
        self.loops.get(handle.index).filter(|at| at.serial == handle.serial)
    }

    /// A field of a running loop.
    fn loop_field(&self, handle: Handle, name: &str) -> Option<Value> {
        let at = self.loop_at(handle)?;
        let (index, length) = (at.index as i128, at.items.len() as i128);
        let item = |index: Option<usize>| {
            index.and_then(|index| at.items.get(index)).cloned().unwrap_or(Value::Undefined(Some(Arc::from(name))))
        };
        Some(match name {
            "index" => Value::Int(index + 1),
            "index0" => Value::Int(index),
            "revindex" => Value::Int(length - index),
            "revindex0" => Value::Int(length - index - 1),
            "first" => Value::Bool(index == 0),
            "last" => Value::Bool(index + 1 == length),
            "length" => Value::Int(length),
            "depth" => Value::Int(at.level as i128 + 1),
            "depth0" => Value::Int(at.level as i128),
            "previtem" => item(at.index.checked_sub(1)),
            "nextitem" => item(at.index.checked_add(1)),
            _ => return None,
        })
    }

    fn tuple(&self, items: Vec<Value>) -> Result<Value> {
        Value::seq(&self.meter, Kind::Tuple, items)
    }
}
