//! Expressions of a template, after jinja2/parser.py.

use super::ast::{Arguments, Binary, Comparison, Expr, Literal};
use super::lexer::Tok;
use super::parser::{describe, Parser};
use super::value::Result;
use std::sync::Arc;

const MAX_CHAIN: usize = 500; // links of a.b.c or a + b + c, each of which lies in the next; Python gives up before
const MAX_LINKS: usize = 2_000; // of all chains of one tag; whatever walks the tree goes that deep

/// Counts the links of one chain.
struct Chain(usize);

impl Chain {
    fn link(&mut self, parser: &mut Parser) -> Result<()> {
        self.0 += 1;
        parser.links += 1;
        if self.0 > MAX_CHAIN || parser.links > MAX_LINKS {
            return Err(parser.error(format!("an expression of more than {MAX_CHAIN} links")));
        }
        Ok(())
    }
}

impl Parser {
    pub fn expression(&mut self) -> Result<Expr> {
        self.nested(Self::conditional)
    }

    fn conditional(&mut self) -> Result<Expr> {
        let mut value = self.or()?;
        let mut chain = Chain(0);
        while self.skip_name("if") {
            chain.link(self)?;
            let test = self.or()?;
            let otherwise = if self.skip_name("else") { Some(Box::new(self.expression()?)) } else { None };
            value = Expr::Condition(Box::new(test), Box::new(value), otherwise);
        }
        Ok(value)
    }

    fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        let mut chain = Chain(0);
        while self.skip_name("or") {
            chain.link(self)?;
            left = Expr::Or(Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        let mut chain = Chain(0);
        while self.skip_name("and") {
            chain.link(self)?;
            left = Expr::And(Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        if self.skip_name("not") {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        self.compare()
    }

    fn compare(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let comparison = match self.peek() {
                Tok::Op("==") => Comparison::Eq,
                Tok::Op("!=") => Comparison::Ne,
                Tok::Op("<") => Comparison::Lt,
                Tok::Op("<=") => Comparison::Le,
                Tok::Op(">") => Comparison::Gt,
                Tok::Op(">=") => Comparison::Ge,
                Tok::Name(name) if &**name == "in" => Comparison::In,
                Tok::Name(name) if &**name == "not" && matches!(self.look(), Tok::Name(n) if &**n == "in") => {
                    self.next();
                    Comparison::NotIn
                }
                _ => break,
            };
            self.next();
            rest.push((comparison, self.sum()?));
        }
        Ok(if rest.is_empty() { first } else { Expr::Compare(Box::new(first), rest) })
    }

    fn binary(&mut self, ops: &[(&str, Binary)], part: fn(&mut Self) -> Result<Expr>) -> Result<Expr> {
        let mut left = part(self)?;
        let mut chain = Chain(0);
        while let Some((_, op)) = ops.iter().find(|(op, _)| self.is_op(op)) {
            chain.link(self)?;
            self.next();
            left = Expr::Binary(*op, Box::new(left), Box::new(part(self)?));
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expr> {
        self.binary(&[("+", Binary::Add), ("-", Binary::Sub)], Self::concat)
    }

    fn concat(&mut self) -> Result<Expr> {
        let mut parts = vec![self.product()?];
        while self.skip_op("~") {
            parts.push(self.product()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Expr::Concat(parts) })
    }

    fn product(&mut self) -> Result<Expr> {
        let ops = [("*", Binary::Mul), ("/", Binary::Div), ("//", Binary::FloorDiv), ("%", Binary::Mod)];
        self.binary(&ops, Self::power)
    }

    fn power(&mut self) -> Result<Expr> {
        self.binary(&[("**", Binary::Pow)], |parser| parser.unary(true))
    }

    fn unary(&mut self, with_filter: bool) -> Result<Expr> {
        let node = if self.skip_op("-") {
            Expr::Neg(Box::new(self.nested(|parser| parser.unary(false))?))
        } else if self.skip_op("+") {
            Expr::Pos(Box::new(self.nested(|parser| parser.unary(false))?))
        } else {
            self.primary()?
        };
        let node = self.postfix(node)?;
        if with_filter {
            self.filter_expression(node)
        } else {
            Ok(node)
        }
    }

    pub fn primary(&mut self) -> Result<Expr> {
        let tok = self.peek().clone();
        match tok {
            Tok::Name(name) => {
                self.next();
                Ok(match &*name {
                    "true" | "True" => Expr::Literal(Literal::Bool(true)),
                    "false" | "False" => Expr::Literal(Literal::Bool(false)),
                    "none" | "None" => Expr::Literal(Literal::None),
                    _ => Expr::Name(name),
                })
            }
            Tok::Str(first) => {
                self.next();
                let mut text = first.to_string();
                while let Tok::Str(more) = self.peek() {
                    text.push_str(more);
                    self.next();
                }
                Ok(Expr::Literal(Literal::Str(text.into())))
            }
            Tok::Int(_) | Tok::Float(_) => {
                self.next();
                Ok(Expr::Literal(tok.literal().expect("a number")))
            }
            Tok::Op("(") => {
                self.next();
                let node = self.nested(|parser| parser.tuple_in(true, &[], true))?;
                self.expect_op(")")?;
                Ok(node)
            }
            Tok::Op("[") => {
                self.next();
                Ok(Expr::List(self.comma_separated("]", Self::expression)?))
            }
            Tok::Op("{") => {
                self.next();
                let pair = |parser: &mut Self| {
                    let key = parser.expression()?;
                    parser.expect_op(":")?;
                    Ok((key, parser.expression()?))
                };
                Ok(Expr::Dict(self.comma_separated("}", pair)?))
            }
            _ => self.unexpected(),
        }
    }

    fn comma_separated<T>(&mut self, close: &str, item: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.is_op(close) {
            if !items.is_empty() {
                self.expect_op(",")?;
            }
            if self.is_op(close) {
                break;
            }
            items.push(item(self)?);
        }
        self.expect_op(close)?;
        Ok(items)
    }

    /// One expression, or a tuple of several that commas separate. `ends`: names that end it.
    pub fn tuple(&mut self, with_condition: bool, ends: &[&str]) -> Result<Expr> {
        self.tuple_in(with_condition, ends, false)
    }

    fn tuple_in(&mut self, with_condition: bool, ends: &[&str], parentheses: bool) -> Result<Expr> {
        let mut items = Vec::new();
        let mut is_tuple = false;
        loop {
            let closed = matches!(self.peek(), Tok::VariableEnd | Tok::BlockEnd | Tok::Op(")"));
            if closed || ends.iter().any(|end| self.is_name(end)) {
                break;
            }
            items.push(if with_condition { self.expression()? } else { self.nested(Self::or)? });
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        if !is_tuple {
            if let Some(only) = items.pop() {
                return Ok(only);
            }
            if !parentheses {
                return Err(self.error(format!("expected an expression, got {}", describe(self.peek()))));
            }
        }
        Ok(Expr::Tuple(items))
    }

    fn postfix(&mut self, mut node: Expr) -> Result<Expr> {
        let mut chain = Chain(0);
        loop {
            node = match self.peek() {
                Tok::Op("." | "[") => self.subscript(node)?,
                Tok::Op("(") => Expr::Call(Box::new(node), Box::new(self.arguments()?)),
                _ => return Ok(node),
            };
            chain.link(self)?;
        }
    }

    fn filter_expression(&mut self, mut node: Expr) -> Result<Expr> {
        let mut chain = Chain(0);
        loop {
            node = match self.peek() {
                Tok::Op("|") => self.filters(Some(node), false)?.expect("a filter"),
                Tok::Name(name) if &**name == "is" => self.test(node)?,
                Tok::Op("(") => Expr::Call(Box::new(node), Box::new(self.arguments()?)),
                _ => return Ok(node),
            };
            chain.link(self)?;
        }
    }

    fn subscript(&mut self, node: Expr) -> Result<Expr> {
        if self.skip_op(".") {
            let token = self.next();
            return match token.tok {
                Tok::Name(name) => Ok(Expr::Attribute(Box::new(node), name)),
                Tok::Int(index) => Ok(Expr::Item(Box::new(node), Box::new(Expr::Literal(Literal::Int(index))))),
                _ => Err(self.error("expected name or number")),
            };
        }
        self.expect_op("[")?;
        let mut keys = Vec::new();
        while !self.is_op("]") {
            if !keys.is_empty() {
                self.expect_op(",")?;
            }
            keys.push(self.subscribed()?);
        }
        self.expect_op("]")?;
        let key = if keys.len() == 1 { keys.remove(0) } else { Expr::Tuple(keys) };
        Ok(Expr::Item(Box::new(node), Box::new(key)))
    }

    fn subscribed(&mut self) -> Result<Expr> {
        let mut parts = [None, None, None];
        if !self.is_op(":") {
            let node = self.expression()?;
            if !self.is_op(":") {
                return Ok(node);
            }
            parts[0] = Some(node);
        }
        self.next();
        let ends = |parser: &Self| parser.is_op("]") || parser.is_op(",");
        if !self.is_op(":") && !ends(self) {
            parts[1] = Some(self.expression()?);
        }
        if self.skip_op(":") && !ends(self) {
            parts[2] = Some(self.expression()?);
        }
        Ok(Expr::Slice(Box::new(parts)))
    }

    pub fn arguments(&mut self) -> Result<Arguments> {
        self.expect_op("(")?;
        let mut arguments = Arguments::default();
        let mut first = true;
        while !self.is_op(")") {
            if !first {
                self.expect_op(",")?;
                if self.is_op(")") {
                    break;
                }
            }
            first = false;
            self.argument(&mut arguments)?;
        }
        self.expect_op(")")?;
        Ok(arguments)
    }

    fn argument(&mut self, arguments: &mut Arguments) -> Result<()> {
        let invalid = |parser: &Self| Err(parser.error("invalid syntax for function call expression"));
        let (star, star_star) = (arguments.star.is_some(), arguments.star_star.is_some());
        if self.skip_op("*") {
            if star || star_star {
                return invalid(self);
            }
            arguments.star = Some(self.expression()?);
        } else if self.skip_op("**") {
            if star_star {
                return invalid(self);
            }
            arguments.star_star = Some(self.expression()?);
        } else if let (Tok::Name(name), Tok::Op("=")) = (self.peek().clone(), self.look()) {
            if star_star {
                return invalid(self);
            }
            self.next();
            self.next();
            if arguments.named.iter().any(|(known, _)| *known == name) {
                return Err(self.error(format!("keyword argument repeated: {name}")));
            }
            let value = self.expression()?;
            arguments.named.push((name, value));
        } else {
            if star || star_star || !arguments.named.is_empty() {
                return invalid(self);
            }
            let value = self.expression()?;
            arguments.positional.push(value);
        }
        Ok(())
    }

    fn dotted_name(&mut self) -> Result<Arc<str>> {
        let mut name = self.identifier()?.to_string();
        while self.skip_op(".") {
            name.push('.');
            name.push_str(&self.identifier()?);
        }
        Ok(name.into())
    }

    /// `| name(...)` any number of times; `inline`: the first one without its bar.
    pub fn filters(&mut self, mut node: Option<Expr>, mut inline: bool) -> Result<Option<Expr>> {
        let mut chain = Chain(0);
        while inline || self.is_op("|") {
            chain.link(self)?;
            if !inline {
                self.next();
            }
            inline = false;
            let name = self.dotted_name()?;
            let arguments = if self.is_op("(") { self.arguments()? } else { Arguments::default() };
            node = Some(Expr::Filter(node.map(Box::new), name, Box::new(arguments)));
        }
        Ok(node)
    }

    fn test(&mut self, node: Expr) -> Result<Expr> {
        self.next();
        let negated = self.skip_name("not");
        let name = self.dotted_name()?;
        let mut arguments = Arguments::default();
        match self.peek() {
            Tok::Op("(") => arguments = self.arguments()?,
            Tok::Name(name) if matches!(&**name, "else" | "or" | "and") => {}
            Tok::Name(name) if &**name == "is" => {
                return Err(self.error("you cannot chain multiple tests with is"));
            }
            Tok::Name(_) | Tok::Str(_) | Tok::Int(_) | Tok::Float(_) | Tok::Op("[" | "{") => {
                let operand = self.nested(Self::primary)?;
                let operand = self.postfix(operand)?;
                arguments.positional.push(operand);
            }
            _ => {}
        }
        let node = Expr::Test(Box::new(node), name, Box::new(arguments));
        Ok(if negated { Expr::Not(Box::new(node)) } else { node })
    }
}
