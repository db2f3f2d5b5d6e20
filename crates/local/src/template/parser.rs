//! Makes the tree of a template out of its tokens: the statements here, the expressions in `parser/expression.rs`. Nesting is bounded, so
//! that neither this nor whatever walks the tree can use up the stack. Reference: `jinja2/parser.py`.

mod expression;

use std::sync::Arc;

use super::lexer::{self, Result, SyntaxError, Token};
use super::syntax::{Args, Expr, For, Macro, Node, Stmt, Target};

/// How deep statements and expressions may stand in each other.
const MAX_NESTING: usize = 64;

/// The tree of a template.
pub(super) fn parse(source: &str) -> Result<Vec<Node>> {
    let mut parser = Parser { tokens: lexer::tokens(source)?, at: 0, nesting: 0, loops: 0 };
    let (body, _) = parser.body("the template", &[])?;
    Ok(body)
}

struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    nesting: usize,
    /// The loops around, for `break` and `continue`.
    loops: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |(token, _)| token)
    }

    fn peek_after(&self) -> &Token {
        self.tokens.get(self.at + 1).map_or(&Token::End, |(token, _)| token)
    }

    fn line(&self) -> u32 {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn error<T>(&self, what: impl Into<String>) -> Result<T> {
        Err(SyntaxError { what: what.into(), line: self.line() })
    }

    /// An error at what stands here.
    fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        let found = match self.peek() {
            Token::Text(_) => "text".to_owned(),
            Token::Open => "'{{'".to_owned(),
            Token::Close => "'}}'".to_owned(),
            Token::BlockOpen => "'{%'".to_owned(),
            Token::BlockClose => "'%}'".to_owned(),
            Token::Name(name) => format!("'{}'", name.chars().take(60).collect::<String>()),
            Token::String(_) => "a string".to_owned(),
            Token::Int(_) | Token::Float(_) => "a number".to_owned(),
            Token::Op(operator) => format!("'{operator}'"),
            Token::End => "the end of the template".to_owned(),
        };
        self.error(format!("expected {wanted}, got {found}"))
    }

    fn is(&self, operator: &str) -> bool {
        matches!(self.peek(), Token::Op(found) if *found == operator)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Name(name) if name == word)
    }

    fn skip(&mut self, operator: &str) -> bool {
        let found = self.is(operator);
        self.at += usize::from(found);
        found
    }

    fn skip_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, operator: &str) -> Result<()> {
        if self.skip(operator) { Ok(()) } else { self.unexpected(&format!("'{operator}'")) }
    }

    fn expect_token(&mut self, token: &Token, name: &str) -> Result<()> {
        if self.peek() != token {
            return self.unexpected(name);
        }
        self.at += 1;
        Ok(())
    }

    fn name(&mut self) -> Result<Arc<str>> {
        match self.peek() {
            Token::Name(name) => {
                let name = Arc::from(name.as_str());
                self.at += 1;
                Ok(name)
            }
            _ => self.unexpected("a name"),
        }
    }

    /// Runs what goes one level deeper.
    fn nested<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.nesting >= MAX_NESTING {
            return self.error(format!("nested over {MAX_NESTING} deep"));
        }
        self.nesting += 1;
        let result = work(self);
        self.nesting -= 1;
        result
    }

    /// Statements up to a tag with one of the words `ends`, which is stepped over up to its word and returned.
    fn body(&mut self, of: &str, ends: &[&str]) -> Result<(Vec<Node>, String)> {
        let opened = self.line();
        let mut nodes = Vec::new();
        loop {
            let line = self.line();
            let stmt = match self.next() {
                Token::Text(text) => Stmt::Text(text),
                Token::Open => {
                    let value = self.tuple(true)?;
                    self.expect_token(&Token::Close, "'}}'")?;
                    Stmt::Emit(value)
                }
                Token::BlockOpen => {
                    if let Token::Name(word) = self.peek()
                        && ends.contains(&word.as_str())
                    {
                        let word = word.clone();
                        self.at += 1;
                        return Ok((nodes, word));
                    }
                    self.nested(Self::statement)?
                }
                _ if ends.is_empty() => return Ok((nodes, String::new())),
                _ => return Err(SyntaxError { what: format!("{of} is never closed"), line: opened }),
            };
            nodes.push(Node { line, stmt });
        }
    }

    /// The end of a tag, then statements up to the tag `end`, whose own end is stepped over.
    fn block(&mut self, of: &str, end: &str) -> Result<Vec<Node>> {
        self.expect_token(&Token::BlockClose, "'%}'")?;
        let (body, _) = self.body(of, &[end])?;
        self.expect_token(&Token::BlockClose, "'%}'")?;
        Ok(body)
    }

    /// A statement, from its word to the end of its last tag.
    fn statement(&mut self) -> Result<Stmt> {
        let Token::Name(word) = self.peek() else {
            return self.unexpected("a statement");
        };
        let word = word.clone();
        self.at += 1;
        match word.as_str() {
            "for" => return self.for_loop(),
            "if" => return self.condition(),
            "set" => return self.set(),
            "with" => return self.with(),
            "macro" => return self.macro_(),
            "call" => return self.call_block(),
            "filter" => {
                let filters = self.filters(Expr::Hole)?;
                return Ok(Stmt::Filter { filters, body: self.block("filter", "endfilter")? });
            }
            "generation" => return Ok(Stmt::Scope(self.block("generation", "endgeneration")?)),
            _ => {}
        }
        let stmt = match word.as_str() {
            "print" => Stmt::Emit(self.tuple(true)?),
            "break" | "continue" if self.loops == 0 => return self.error(format!("'{word}' outside of a loop")),
            "break" => Stmt::Break,
            "continue" => Stmt::Continue,
            "include" | "import" | "from" | "extends" | "block" => {
                return self.error(format!("'{word}' has no place in a chat template, which is one file"));
            }
            _ => return self.error(format!("unknown tag '{}'", word.chars().take(60).collect::<String>())),
        };
        self.expect_token(&Token::BlockClose, "'%}'")?;
        Ok(stmt)
    }

    fn for_loop(&mut self) -> Result<Stmt> {
        let target = self.target()?;
        if !self.skip_word("in") {
            return self.unexpected("'in'");
        }
        let over = self.tuple(false)?;
        let condition = if self.skip_word("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_word("recursive");
        self.expect_token(&Token::BlockClose, "'%}'")?;
        self.loops += 1;
        let (body, end) = self.body("for", &["else", "endfor"])?;
        self.loops -= 1;
        self.expect_token(&Token::BlockClose, "'%}'")?;
        let otherwise = if end == "else" {
            let (otherwise, _) = self.body("for", &["endfor"])?;
            self.expect_token(&Token::BlockClose, "'%}'")?;
            otherwise
        } else {
            Vec::new()
        };
        Ok(Stmt::For(Arc::new(For { target, over, condition, recursive, body, otherwise })))
    }

    fn condition(&mut self) -> Result<Stmt> {
        let mut arms = Vec::new();
        loop {
            let test = self.tuple(false)?;
            self.expect_token(&Token::BlockClose, "'%}'")?;
            let (body, end) = self.body("if", &["elif", "else", "endif"])?;
            arms.push((test, body));
            if end == "elif" {
                continue;
            }
            self.expect_token(&Token::BlockClose, "'%}'")?;
            if end == "endif" {
                return Ok(Stmt::If { arms, otherwise: Vec::new() });
            }
            let (otherwise, _) = self.body("if", &["endif"])?;
            self.expect_token(&Token::BlockClose, "'%}'")?;
            return Ok(Stmt::If { arms, otherwise });
        }
    }

    fn set(&mut self) -> Result<Stmt> {
        let target = self.target()?;
        if self.skip("=") {
            let value = self.tuple(true)?;
            self.expect_token(&Token::BlockClose, "'%}'")?;
            return Ok(Stmt::Set { target, value });
        }
        let filters = self.filter_chain(Expr::Hole)?;
        Ok(Stmt::Capture { target, filters, body: self.block("set", "endset")? })
    }

    fn with(&mut self) -> Result<Stmt> {
        let mut assignments = Vec::new();
        while *self.peek() != Token::BlockClose {
            if !assignments.is_empty() {
                self.expect(",")?;
            }
            let target = self.target()?;
            self.expect("=")?;
            assignments.push((target, self.expression()?));
        }
        Ok(Stmt::With { assignments, body: self.block("with", "endwith")? })
    }

    fn macro_(&mut self) -> Result<Stmt> {
        let name = self.name()?;
        let parameters = self.parameters()?;
        Ok(Stmt::Macro(Arc::new(self.macro_body(name, parameters, "macro", "endmacro")?)))
    }

    fn call_block(&mut self) -> Result<Stmt> {
        let parameters = if self.is("(") { self.parameters()? } else { Vec::new() };
        let call = self.expression()?;
        if !matches!(call, Expr::Call(..)) {
            return self.error("expected a call");
        }
        let caller = Arc::new(self.macro_body(Arc::from("caller"), parameters, "call", "endcall")?);
        Ok(Stmt::Call { caller, call })
    }

    fn macro_body(
        &mut self,
        name: Arc<str>,
        parameters: Vec<(Arc<str>, Option<Expr>)>,
        of: &str,
        end: &str,
    ) -> Result<Macro> {
        // A loop around a macro is not around its body.
        let loops = std::mem::take(&mut self.loops);
        let body = self.block(of, end)?;
        self.loops = loops;
        Ok(Macro { name, parameters, body })
    }

    fn parameters(&mut self) -> Result<Vec<(Arc<str>, Option<Expr>)>> {
        self.expect("(")?;
        let mut parameters = Vec::new();
        while !self.is(")") {
            if !parameters.is_empty() {
                self.expect(",")?;
            }
            let name = self.name()?;
            let default = if self.skip("=") { Some(self.expression()?) } else { None };
            parameters.push((name, default));
        }
        self.expect(")")?;
        Ok(parameters)
    }

    /// What stands left of `=` or `in`.
    fn target(&mut self) -> Result<Target> {
        let mut targets = vec![self.one_target()?];
        let mut tuple = false;
        while self.skip(",") {
            tuple = true;
            if self.is("=") || self.is_word("in") {
                break;
            }
            targets.push(self.one_target()?);
        }
        match (tuple, targets.pop()) {
            (false, Some(only)) => Ok(only),
            (_, last) => {
                targets.extend(last);
                Ok(Target::Tuple(targets))
            }
        }
    }

    fn one_target(&mut self) -> Result<Target> {
        if self.skip("(") {
            let target = self.nested(Self::target)?;
            self.expect(")")?;
            return Ok(target);
        }
        let name = self.name()?;
        if matches!(&*name, "true" | "false" | "none" | "True" | "False" | "None") {
            return self.error(format!("cannot assign to '{name}'"));
        }
        if self.skip(".") {
            return Ok(Target::Field(name, self.name()?));
        }
        Ok(Target::Name(name))
    }

    /// The filters of a block: a name, arguments, and `|` before each further one.
    fn filters(&mut self, of: Expr) -> Result<Expr> {
        let first = self.one_filter(of)?;
        self.filter_chain(first)
    }

    fn filter_chain(&mut self, of: Expr) -> Result<Expr> {
        let mut value = of;
        let mut links = 0;
        while self.skip("|") {
            self.link(&mut links)?;
            value = self.one_filter(value)?;
        }
        Ok(value)
    }

    fn one_filter(&mut self, of: Expr) -> Result<Expr> {
        let name = self.dotted()?;
        let args = if self.is("(") { self.args()? } else { Args::default() };
        Ok(Expr::Filter(Box::new(of), name, args))
    }

    fn dotted(&mut self) -> Result<Arc<str>> {
        let name = self.name()?;
        if !self.is(".") {
            return Ok(name);
        }
        let mut name = name.to_string();
        while self.skip(".") {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Ok(Arc::from(name))
    }
}
