//! The tree of a template. It says what is written, not what it means; `parser.rs` makes it and `run.rs` walks it.

use std::sync::Arc;

use super::value::Value;

/// A statement and the line it begins on.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) line: u32,
    pub(super) stmt: Stmt,
}

#[derive(Debug)]
pub(super) enum Stmt {
    Text(String),
    Emit(Expr),
    For(Arc<For>),
    If {
        arms: Vec<(Expr, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
    Set {
        target: Target,
        value: Expr,
    },
    /// `{% set x %}…{% endset %}`: the filters stand around an [`Expr::Hole`].
    Capture {
        target: Target,
        filters: Expr,
        body: Vec<Node>,
    },
    With {
        assignments: Vec<(Target, Expr)>,
        body: Vec<Node>,
    },
    Macro(Arc<Macro>),
    /// `{% call m() %}…{% endcall %}`: the body is the macro `caller`.
    Call {
        caller: Arc<Macro>,
        call: Expr,
    },
    /// `{% filter f %}…{% endfilter %}`
    Filter {
        filters: Expr,
        body: Vec<Node>,
    },
    /// `{% generation %}…{% endgeneration %}`, which marks a part for training and changes nothing.
    Scope(Vec<Node>),
    Break,
    Continue,
}

#[derive(Debug)]
pub(super) struct For {
    pub(super) target: Target,
    pub(super) over: Expr,
    pub(super) condition: Option<Expr>,
    pub(super) recursive: bool,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

#[derive(Debug)]
pub(super) struct Macro {
    pub(super) name: Arc<str>,
    pub(super) parameters: Vec<(Arc<str>, Option<Expr>)>,
    pub(super) body: Vec<Node>,
}

/// What a value is assigned to.
#[derive(Debug)]
pub(super) enum Target {
    Name(Arc<str>),
    Tuple(Vec<Target>),
    /// A field of a namespace.
    Field(Arc<str>, Arc<str>),
}

#[derive(Debug)]
pub(super) enum Expr {
    Const(Value),
    Name(Arc<str>),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    Attr(Box<Expr>, Arc<str>),
    Item(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    Call(Box<Expr>, Args),
    Filter(Box<Expr>, Arc<str>, Args),
    /// The last says whether it is asked for the contrary.
    Test(Box<Expr>, Arc<str>, Args, bool),
    Not(Box<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    /// From left to right, all of one precedence: the first, then each with the operator before it.
    Chain(Box<Expr>, Vec<(Operator, Expr)>),
    Concat(Vec<Expr>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    If {
        test: Box<Expr>,
        then: Box<Expr>,
        otherwise: Option<Box<Expr>>,
    },
    /// What a filter block captured.
    Hole,
}

#[derive(Debug, Default)]
pub(super) struct Args {
    pub(super) positional: Vec<Expr>,
    pub(super) named: Vec<(Arc<str>, Expr)>,
    /// `*list`
    pub(super) list: Option<Box<Expr>>,
    /// `**dict`
    pub(super) dict: Option<Box<Expr>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Rem,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}
