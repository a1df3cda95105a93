//! Statements of a template, after jinja2/parser.py with the extensions that transformers adds: loop controls and
//! {% generation %}. Expressions are in parse_expression.rs.

use super::ast::{Expr, ForLoop, Kind, MacroBody, Stmt, Target};
use super::lexer::{at_line, tokenize, Tok, Token};
use super::names::reads;
use super::value::{Error, Result};
use std::sync::Arc;

const MAX_NESTING: usize = 100; // of statements and of expressions; Python gives up at about sixty

pub struct Parser {
    pub tokens: Vec<Token>,
    pub at: usize,
    pub nesting: usize,
    /// Links of the chains in the tag at hand.
    pub links: usize,
    /// Loops of the function at hand: a macro's body is one of its own.
    loops: usize,
}

/// The statements of `source`, whose line ends are normalized.
pub fn parse(source: &str) -> Result<Vec<Stmt>> {
    let mut parser = Parser { tokens: tokenize(source)?, at: 0, nesting: 0, links: 0, loops: 0 };
    let body = parser.body(&[])?;
    match parser.peek() {
        Tok::End => Ok(body),
        _ => parser.unexpected(),
    }
}

impl Parser {
    pub fn peek(&self) -> &Tok {
        &self.tokens[self.at].tok
    }
    pub fn look(&self) -> &Tok {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].tok
    }
    pub fn next(&mut self) -> Token {
        let token = self.tokens[self.at].clone();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        at_line(self.tokens[self.at].line, message)
    }
    pub fn unexpected<T>(&self) -> Result<T> {
        Err(self.error(format!("unexpected {}", describe(self.peek()))))
    }
    pub fn is_op(&self, op: &str) -> bool {
        matches!(self.peek(), Tok::Op(found) if *found == op)
    }
    pub fn is_name(&self, name: &str) -> bool {
        matches!(self.peek(), Tok::Name(found) if &**found == name)
    }
    pub fn skip_op(&mut self, op: &str) -> bool {
        let found = self.is_op(op);
        if found {
            self.next();
        }
        found
    }
    pub fn skip_name(&mut self, name: &str) -> bool {
        let found = self.is_name(name);
        if found {
            self.next();
        }
        found
    }
    pub fn expect_op(&mut self, op: &str) -> Result<()> {
        if self.skip_op(op) {
            return Ok(());
        }
        Err(self.error(format!("expected '{op}', got {}", describe(self.peek()))))
    }
    pub fn expect_name(&mut self, name: &str) -> Result<()> {
        if self.skip_name(name) {
            return Ok(());
        }
        Err(self.error(format!("expected '{name}', got {}", describe(self.peek()))))
    }
    pub fn identifier(&mut self) -> Result<Arc<str>> {
        match self.peek().clone() {
            Tok::Name(name) => {
                self.next();
                Ok(name)
            }
            _ => Err(self.error(format!("expected a name, got {}", describe(self.peek())))),
        }
    }
    /// Runs `part` one level deeper.
    pub fn nested<T>(&mut self, part: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return Err(self.error(format!("nested more than {MAX_NESTING} deep")));
        }
        let result = part(self);
        self.nesting -= 1;
        result
    }

    /// Statements up to a tag that begins with one of `ends`, whose name is then the current token; to the end of the
    /// template for none.
    fn body(&mut self, ends: &[&str]) -> Result<Vec<Stmt>> {
        let mut body = Vec::new();
        loop {
            let token = self.tokens[self.at].clone();
            self.links = 0;
            let kind = match token.tok {
                Tok::End => return Ok(body),
                Tok::Data(text) => {
                    self.next();
                    Kind::Data(text)
                }
                Tok::VariableBegin => {
                    self.next();
                    let value = self.tuple(true, &[])?;
                    if *self.peek() != Tok::VariableEnd {
                        return self.unexpected();
                    }
                    self.next();
                    Kind::Output(vec![value])
                }
                Tok::BlockBegin => {
                    self.next();
                    if ends.iter().any(|end| self.is_name(end)) {
                        return Ok(body);
                    }
                    let kind = self.nested(Self::statement)?;
                    self.block_end()?;
                    kind
                }
                _ => return self.unexpected(),
            };
            let end = match kind {
                Kind::Output(_) | Kind::Data(_) => self.tokens[self.at - 1].end,
                _ => self.tag_end(token.start),
            };
            body.push(Stmt { kind, line: token.line, span: (token.start, end) });
        }
    }

    /// Where the tag that begins at `start` ends.
    fn tag_end(&self, start: usize) -> usize {
        let first = self.tokens.partition_point(|token| token.start < start);
        self.tokens[first..].iter().find(|t| t.tok == Tok::BlockEnd).map_or(start, |t| t.end)
    }

    fn block_end(&mut self) -> Result<()> {
        if *self.peek() != Tok::BlockEnd {
            return Err(self.error(format!("expected '%}}', got {}", describe(self.peek()))));
        }
        self.next();
        Ok(())
    }

    /// The rest of the tag at hand, then statements up to one of `ends`.
    fn statements(&mut self, ends: &[&str]) -> Result<Vec<Stmt>> {
        self.skip_op(":");
        self.block_end()?;
        let body = self.body(ends)?;
        if *self.peek() == Tok::End {
            return Err(self.error(format!("unexpected end of template, looking for {}", ends.join(" or "))));
        }
        Ok(body)
    }

    fn statements_to(&mut self, end: &str) -> Result<Vec<Stmt>> {
        let body = self.statements(&[end])?;
        self.next();
        Ok(body)
    }

    fn statement(&mut self) -> Result<Kind> {
        let name = self.identifier()?;
        match &*name {
            "for" => self.for_loop(),
            "if" => self.condition(),
            "set" => self.set(),
            "with" => self.with(),
            "macro" => {
                let name = self.identifier()?;
                Ok(Kind::Macro(Arc::new(self.macro_body(Some(name), "endmacro")?)))
            }
            "call" => self.call_block(),
            "filter" => {
                let filter = self.filters(None, true)?.expect("one filter at least");
                Ok(Kind::FilterBlock(filter, self.statements_to("endfilter")?))
            }
            "print" => self.print(),
            "generation" => self.generation(),
            "break" | "continue" if self.loops == 0 => Err(self.error(format!("'{name}' outside of a loop"))),
            "break" => Ok(Kind::Break),
            "continue" => Ok(Kind::Continue),
            "extends" | "include" | "import" | "from" => {
                while *self.peek() != Tok::BlockEnd && *self.peek() != Tok::End {
                    self.next();
                }
                Ok(Kind::Unsupported("another template: extends, include and import"))
            }
            "block" | "autoescape" => Err(self.error(format!("the tag '{name}' is not supported"))),
            _ => Err(self.error(format!("encountered unknown tag '{name}'"))),
        }
    }

    fn for_loop(&mut self) -> Result<Kind> {
        let target = self.target(&["in"], false)?;
        self.expect_name("in")?;
        let iterable = self.tuple(false, &["recursive"])?;
        let test = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_name("recursive");
        self.loops += 1;
        let body = self.statements(&["endfor", "else"])?;
        self.loops -= 1;
        let ends = self.is_name("endfor");
        self.next();
        let otherwise = if ends { Vec::new() } else { self.statements_to("endfor")? };
        Ok(Kind::For(Arc::new(ForLoop { target, iterable, test, recursive, body, otherwise })))
    }

    fn condition(&mut self) -> Result<Kind> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple(false, &[])?;
            branches.push((test, self.statements(&["elif", "else", "endif"])?));
            if self.skip_name("elif") {
                continue;
            }
            let otherwise = if self.skip_name("else") {
                self.statements_to("endif")?
            } else {
                self.next();
                Vec::new()
            };
            return Ok(Kind::If(branches, otherwise));
        }
    }

    fn set(&mut self) -> Result<Kind> {
        let target = self.target(&[], true)?;
        if self.skip_op("=") {
            return Ok(Kind::Set(target, self.tuple(true, &[])?));
        }
        let filter = self.filters(None, false)?;
        Ok(Kind::SetBlock(target, filter, self.statements_to("endset")?))
    }

    fn with(&mut self) -> Result<Kind> {
        let mut bindings = Vec::new();
        while *self.peek() != Tok::BlockEnd {
            if !bindings.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target(&[], false)?;
            self.expect_op("=")?;
            bindings.push((target, self.expression()?));
        }
        Ok(Kind::With(bindings, self.statements_to("endwith")?))
    }

    fn print(&mut self) -> Result<Kind> {
        let mut values = Vec::new();
        while *self.peek() != Tok::BlockEnd {
            if !values.is_empty() {
                self.expect_op(",")?;
            }
            values.push(self.expression()?);
        }
        Ok(Kind::Output(values))
    }

    fn call_block(&mut self) -> Result<Kind> {
        let parameters = if self.is_op("(") { self.parameters()? } else { Vec::new() };
        let call = self.expression()?;
        if !matches!(call, Expr::Call(..)) {
            return Err(self.error("expected call"));
        }
        let body = self.function_body("endcall")?;
        Ok(Kind::CallBlock(call, Arc::new(finished(None, parameters, body))))
    }

    /// What Jinja2 makes a function of, so that no loop around it can be left from within.
    fn function_body(&mut self, end: &str) -> Result<Vec<Stmt>> {
        let loops = std::mem::take(&mut self.loops);
        let body = self.statements_to(end)?;
        self.loops = loops;
        Ok(body)
    }

    fn generation(&mut self) -> Result<Kind> {
        let body = self.function_body("endgeneration")?;
        let special = ["caller", "kwargs", "varargs"].into_iter().any(|name| reads(&body, name));
        Ok(if special { Kind::Unsupported("caller, kwargs and varargs within generation") } else { Kind::Scope(body) })
    }

    fn macro_body(&mut self, name: Option<Arc<str>>, end: &str) -> Result<MacroBody> {
        let parameters = self.parameters()?;
        let body = self.function_body(end)?;
        Ok(finished(name, parameters, body))
    }

    fn parameters(&mut self) -> Result<Vec<(Arc<str>, Option<Expr>)>> {
        self.expect_op("(")?;
        let mut parameters: Vec<(Arc<str>, Option<Expr>)> = Vec::new();
        while !self.is_op(")") {
            if !parameters.is_empty() {
                self.expect_op(",")?;
            }
            let name = self.identifier()?;
            let default = if self.skip_op("=") { Some(self.expression()?) } else { None };
            if default.is_none() && parameters.last().is_some_and(|(_, before)| before.is_some()) {
                return Err(self.error("non-default argument follows default argument"));
            }
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(self.error(format!("duplicate argument '{name}' in macro definition")));
            }
            parameters.push((name, default));
        }
        self.expect_op(")")?;
        Ok(parameters)
    }

    /// What is assigned to: names, tuples of them, and with `namespace` also `ns.name`.
    fn target(&mut self, ends: &[&str], namespace: bool) -> Result<Target> {
        let mut parts = Vec::new();
        let mut is_tuple = false;
        loop {
            if ends.iter().any(|end| self.is_name(end)) || *self.peek() == Tok::BlockEnd || self.is_op(")") {
                break;
            }
            parts.push(self.target_part(namespace)?);
            if !self.skip_op(",") {
                break;
            }
            is_tuple = true;
        }
        if is_tuple {
            return Ok(Target::Tuple(parts));
        }
        parts.pop().ok_or_else(|| self.error(format!("expected a name, got {}", describe(self.peek()))))
    }

    fn target_part(&mut self, namespace: bool) -> Result<Target> {
        if self.skip_op("(") {
            let target = self.nested(|parser| parser.target(&[], namespace))?;
            self.expect_op(")")?;
            return Ok(target);
        }
        let name = self.identifier()?;
        if namespace && self.skip_op(".") {
            return Ok(Target::Namespace(name, self.identifier()?));
        }
        if matches!(&*name, "true" | "false" | "none" | "True" | "False" | "None") {
            return Err(self.error(format!("can't assign to '{name}'")));
        }
        if &*name == "loop" && !namespace {
            return Err(self.error("can't assign to special loop variable"));
        }
        Ok(Target::Name(name))
    }
}

fn finished(name: Option<Arc<str>>, parameters: Vec<(Arc<str>, Option<Expr>)>, body: Vec<Stmt>) -> MacroBody {
    let uses = |wanted: &str| reads(&body, wanted);
    let (uses_caller, uses_kwargs, uses_varargs) = (uses("caller"), uses("kwargs"), uses("varargs"));
    MacroBody { name, parameters, body, uses_caller, uses_kwargs, uses_varargs }
}

pub fn describe(tok: &Tok) -> String {
    match tok {
        Tok::Data(_) => "template data".to_owned(),
        Tok::VariableBegin => "'{{'".to_owned(),
        Tok::VariableEnd => "'}}'".to_owned(),
        Tok::BlockBegin => "'{%'".to_owned(),
        Tok::BlockEnd => "'%}'".to_owned(),
        Tok::Name(name) => format!("'{name}'"),
        Tok::Str(_) => "a string".to_owned(),
        Tok::Int(i) => format!("'{i}'"),
        Tok::Float(f) => format!("'{f}'"),
        Tok::Op(op) => format!("'{op}'"),
        Tok::End => "the end of the template".to_owned(),
    }
}
