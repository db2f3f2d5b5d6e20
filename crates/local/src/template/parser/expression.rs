//! Expressions, by Jinja2's precedences: `if`, `or`, `and`, `not`, comparison, `+ -`, `~`, `* / // %`, `**`, sign, then what stands behind a
//! value. Statements are in `parser.rs`. Operators of one precedence become one flat node: a long chain is no deep tree.

use std::sync::Arc;

use super::super::syntax::{Args, Comparison, Expr, Operator};
use super::super::value::Value;
use super::{Parser, Result, Token};

/// How many attributes, calls and filters one value may have behind it: each makes the tree one deeper.
const MAX_LINKS: usize = 40;

impl Parser {
    /// One value, or several with commas between them, which are a tuple.
    pub(super) fn tuple(&mut self, with_condition: bool) -> Result<Expr> {
        let one = |parser: &mut Self| if with_condition { parser.expression() } else { parser.nested(Self::or) };
        let first = one(self)?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip(",") {
            if matches!(self.peek(), Token::Close | Token::BlockClose) || self.is(")") || self.is_word("recursive") {
                break;
            }
            items.push(one(self)?);
        }
        Ok(Expr::Tuple(items))
    }

    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.nested(Self::condition_expression)
    }

    fn condition_expression(&mut self) -> Result<Expr> {
        let mut value = self.or()?;
        let mut links = 0;
        while self.skip_word("if") {
            self.link(&mut links)?;
            let test = Box::new(self.or()?);
            let otherwise = if self.skip_word("else") { Some(Box::new(self.expression()?)) } else { None };
            value = Expr::If { test, then: Box::new(value), otherwise };
        }
        Ok(value)
    }

    fn or(&mut self) -> Result<Expr> {
        self.several(Self::and, |parser| parser.skip_word("or"), Expr::Or)
    }

    fn and(&mut self) -> Result<Expr> {
        self.several(Self::not, |parser| parser.skip_word("and"), Expr::And)
    }

    fn concat(&mut self) -> Result<Expr> {
        self.several(Self::product, |parser| parser.skip("~"), Expr::Concat)
    }

    /// Operands with the same operator between them, in one node.
    fn several(
        &mut self,
        operand: impl Fn(&mut Self) -> Result<Expr>,
        skip: impl Fn(&mut Self) -> bool,
        make: impl Fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr> {
        let first = operand(self)?;
        if !skip(self) {
            return Ok(first);
        }
        let mut operands = vec![first, operand(self)?];
        while skip(self) {
            operands.push(operand(self)?);
        }
        Ok(make(operands))
    }

    fn not(&mut self) -> Result<Expr> {
        if self.skip_word("not") {
            let value = self.nested(Self::not)?;
            return Ok(Expr::Not(Box::new(value)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let operator = match self.peek() {
                Token::Op("==") => Comparison::Eq,
                Token::Op("!=") => Comparison::Ne,
                Token::Op("<") => Comparison::Lt,
                Token::Op("<=") => Comparison::Le,
                Token::Op(">") => Comparison::Gt,
                Token::Op(">=") => Comparison::Ge,
                Token::Name(word) if word == "in" => Comparison::In,
                Token::Name(word)
                    if word == "not" && matches!(self.peek_after(), Token::Name(next) if next == "in") =>
                {
                    self.at += 1;
                    Comparison::NotIn
                }
                _ => break,
            };
            self.at += 1;
            rest.push((operator, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    fn sum(&mut self) -> Result<Expr> {
        self.chain(Self::concat, |operator| match operator {
            "+" => Some(Operator::Add),
            "-" => Some(Operator::Sub),
            _ => None,
        })
    }

    fn product(&mut self) -> Result<Expr> {
        self.chain(Self::power, |operator| match operator {
            "*" => Some(Operator::Mul),
            "/" => Some(Operator::Div),
            "//" => Some(Operator::FloorDiv),
            "%" => Some(Operator::Rem),
            _ => None,
        })
    }

    /// Jinja2 takes a power from the left, unlike Python.
    fn power(&mut self) -> Result<Expr> {
        self.chain(|parser| parser.unary(true), |operator| (operator == "**").then_some(Operator::Pow))
    }

    fn chain(
        &mut self,
        operand: impl Fn(&mut Self) -> Result<Expr>,
        known: impl Fn(&str) -> Option<Operator>,
    ) -> Result<Expr> {
        let first = operand(self)?;
        let mut rest = Vec::new();
        while let Token::Op(found) = self.peek()
            && let Some(operator) = known(found)
        {
            self.at += 1;
            rest.push((operator, operand(self)?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Chain(Box::new(first), rest) })
    }

    /// A value with its sign; attributes and calls belong to the value, filters to both.
    fn unary(&mut self, with_filters: bool) -> Result<Expr> {
        let signed = if self.skip("-") {
            Expr::Negative(Box::new(self.nested(|parser| parser.unary(false))?))
        } else if self.skip("+") {
            Expr::Positive(Box::new(self.nested(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        self.behind(signed, with_filters)
    }

    fn primary(&mut self) -> Result<Expr> {
        match self.next() {
            Token::Name(name) => Ok(match name.as_str() {
                "true" | "True" => Expr::Const(Value::Bool(true)),
                "false" | "False" => Expr::Const(Value::Bool(false)),
                "none" | "None" => Expr::Const(Value::None),
                _ => Expr::Name(Arc::from(name)),
            }),
            Token::String(mut text) => {
                while let Token::String(more) = self.peek() {
                    text.push_str(more);
                    self.at += 1;
                }
                Ok(Expr::Const(Value::from(text)))
            }
            Token::Int(number) => Ok(Expr::Const(Value::Int(number))),
            Token::Float(number) => Ok(Expr::Const(Value::Float(number))),
            Token::Op("(") => {
                if self.skip(")") {
                    return Ok(Expr::Tuple(Vec::new()));
                }
                let value = self.tuple(true)?;
                self.expect(")")?;
                Ok(value)
            }
            Token::Op("[") => {
                let mut items = Vec::new();
                while !self.skip("]") {
                    if !items.is_empty() {
                        self.expect(",")?;
                        if self.skip("]") {
                            break;
                        }
                    }
                    items.push(self.expression()?);
                }
                Ok(Expr::List(items))
            }
            Token::Op("{") => {
                let mut entries = Vec::new();
                while !self.skip("}") {
                    if !entries.is_empty() {
                        self.expect(",")?;
                        if self.skip("}") {
                            break;
                        }
                    }
                    let key = self.expression()?;
                    self.expect(":")?;
                    entries.push((key, self.expression()?));
                }
                Ok(Expr::Dict(entries))
            }
            _ => {
                self.at -= 1;
                self.unexpected("an expression")
            }
        }
    }

    /// Counts a link, and refuses one too many.
    pub(super) fn link(&self, links: &mut usize) -> Result<()> {
        *links += 1;
        if *links > MAX_LINKS { self.error(format!("over {MAX_LINKS} operations on one value")) } else { Ok(()) }
    }

    /// What stands behind a value: attributes, items, calls; filters and tests if they belong to it.
    fn behind(&mut self, value: Expr, with_filters: bool) -> Result<Expr> {
        let mut value = value;
        let mut links = 0;
        // After a filter or a test only further ones and calls may stand.
        let mut filtered = false;
        loop {
            let test = matches!(self.peek(), Token::Name(word) if word == "is");
            value = match self.peek() {
                Token::Op(".") if !filtered => self.attribute(value)?,
                Token::Op("[") if !filtered => self.subscript(value)?,
                Token::Op("(") => Expr::Call(Box::new(value), self.args()?),
                Token::Op("|") if with_filters => {
                    self.at += 1;
                    filtered = true;
                    self.one_filter(value)?
                }
                _ if test && with_filters => {
                    filtered = true;
                    self.test(value)?
                }
                _ => return Ok(value),
            };
            self.link(&mut links)?;
        }
    }

    fn attribute(&mut self, of: Expr) -> Result<Expr> {
        self.at += 1;
        match self.next() {
            Token::Name(name) => Ok(Expr::Attr(Box::new(of), Arc::from(name))),
            Token::Int(number) => Ok(Expr::Item(Box::new(of), Box::new(Expr::Const(Value::Int(number))))),
            _ => {
                self.at -= 1;
                self.unexpected("a name or a number")
            }
        }
    }

    fn subscript(&mut self, of: Expr) -> Result<Expr> {
        self.at += 1;
        if self.is(":") {
            return self.slice(of, None);
        }
        let first = self.tuple_in_brackets()?;
        if self.is(":") {
            return self.slice(of, Some(first));
        }
        self.expect("]")?;
        Ok(Expr::Item(Box::new(of), Box::new(first)))
    }

    fn tuple_in_brackets(&mut self) -> Result<Expr> {
        let first = self.expression()?;
        if !self.is(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip(",") && !self.is("]") {
            items.push(self.expression()?);
        }
        Ok(Expr::Tuple(items))
    }

    fn slice(&mut self, of: Expr, start: Option<Expr>) -> Result<Expr> {
        let mut parts = [start.map(Box::new), None, None];
        for part in parts.iter_mut().skip(1) {
            if !self.skip(":") {
                break;
            }
            if !self.is(":") && !self.is("]") {
                *part = Some(Box::new(self.expression()?));
            }
        }
        self.expect("]")?;
        Ok(Expr::Slice(Box::new(of), parts))
    }

    pub(super) fn args(&mut self) -> Result<Args> {
        self.nested(Self::args_inside)
    }

    fn args_inside(&mut self) -> Result<Args> {
        self.expect("(")?;
        let mut args = Args::default();
        let mut first = true;
        while !self.skip(")") {
            if !first {
                self.expect(",")?;
                if self.skip(")") {
                    break;
                }
            }
            first = false;
            if self.skip("**") {
                args.dict = Some(Box::new(self.expression()?));
            } else if self.skip("*") {
                args.list = Some(Box::new(self.expression()?));
            } else if let (Token::Name(name), Token::Op("=")) = (self.peek(), self.peek_after()) {
                let name = Arc::from(name.as_str());
                self.at += 2;
                args.named.push((name, self.expression()?));
            } else if args.named.is_empty() && args.dict.is_none() {
                args.positional.push(self.expression()?);
            } else {
                return self.error("a positional argument after a named one");
            }
        }
        Ok(args)
    }

    fn test(&mut self, of: Expr) -> Result<Expr> {
        self.at += 1;
        let contrary = self.skip_word("not");
        let name = self.dotted()?;
        let mut args = Args::default();
        let operand = match self.peek() {
            Token::Op("(") => {
                args = self.args()?;
                false
            }
            Token::Name(word) if word == "is" => return self.error("tests cannot be chained with 'is'"),
            Token::Name(word) => !matches!(word.as_str(), "else" | "or" | "and" | "if" | "in" | "not" | "recursive"),
            Token::String(_) | Token::Int(_) | Token::Float(_) | Token::Op("[" | "{") => true,
            _ => false,
        };
        if operand {
            let operand = self.nested(Self::primary)?;
            args.positional.push(self.behind(operand, false)?);
        }
        Ok(Expr::Test(Box::new(of), name, args, contrary))
    }
}
