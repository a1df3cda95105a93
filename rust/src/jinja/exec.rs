//! Runs the statements of a template.

use super::ast::{Expr, ForLoop, Kind, Stmt, Target};
use super::calls::{builtin, CallArguments, Macro};
use super::loops::{new_loop, Shared};
use super::scopes::{key_of, Unset};
use super::text::python_str;
use super::value::{burn, burn_text, fail, unsupported, Dict, Error, Missing, Result, Value};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

const MAX_CALLS: usize = 100; // macros within macros and recursive loops; Python gives up at about three hundred
const MAX_EXCERPT: usize = 80; // characters of the failing tag in an error

#[derive(Debug)]
pub struct Scope {
    names: RefCell<Vec<(Arc<str>, Value)>>,
    parent: Option<Rc<Scope>>,
}

impl Scope {
    pub fn root() -> Rc<Scope> {
        Rc::new(Scope { names: RefCell::default(), parent: None })
    }
    pub fn inside(parent: &Rc<Scope>) -> Rc<Scope> {
        Rc::new(Scope { names: RefCell::default(), parent: Some(parent.clone()) })
    }
    pub fn set(&self, name: &Arc<str>, value: Value) {
        let mut names = self.names.borrow_mut();
        match names.iter_mut().find(|(known, _)| known == name) {
            Some(entry) => entry.1 = value,
            None => names.push((name.clone(), value)),
        }
    }
    pub fn get(&self, name: &str) -> Option<Value> {
        let mut scope = Some(self);
        while let Some(here) = scope {
            if let Some((_, value)) = here.names.borrow().iter().find(|(known, _)| **known == *name) {
                return Some(value.clone());
            }
            scope = here.parent.as_deref();
        }
        None
    }
}

pub enum Flow {
    On,
    Break,
    Continue,
}

pub struct Interpreter {
    source: Arc<str>,
    unset: Arc<Unset>,
    output: Vec<String>,
    calls: usize,
    pub now_seconds: i64,
    /// What values may hold in a circle; emptied at the end.
    captured: Vec<Rc<Scope>>,
    namespaces: Vec<Rc<RefCell<Dict>>>,
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        for scope in self.captured.drain(..) {
            let names = std::mem::take(&mut *scope.names.borrow_mut());
            drop(names);
        }
        for namespace in self.namespaces.drain(..) {
            let values = std::mem::take(&mut *namespace.borrow_mut());
            drop(values);
        }
    }
}

impl Interpreter {
    pub fn new(source: Arc<str>, unset: Arc<Unset>, now_seconds: i64) -> Interpreter {
        Interpreter {
            source,
            unset,
            output: Vec::new(),
            calls: 0,
            now_seconds,
            captured: Vec::new(),
            namespaces: Vec::new(),
        }
    }

    /// A scope for the statements of a block.
    pub fn inside(&self, parent: &Rc<Scope>, body: &[Stmt]) -> Rc<Scope> {
        let scope = Scope::inside(parent);
        self.hide_unset(&scope, body);
        scope
    }

    fn hide_unset(&self, scope: &Scope, body: &[Stmt]) {
        for name in self.unset.get(&key_of(body)).into_iter().flatten() {
            scope.set(name, Value::Undefined(Rc::new(Missing::Name(name.clone()))));
        }
    }

    /// The text of a whole template.
    pub fn run(&mut self, body: &[Stmt], scope: &Rc<Scope>) -> Result<String> {
        self.captured.push(scope.clone());
        self.hide_unset(scope, body);
        self.text_of(body, scope)
    }

    pub fn namespace(&mut self, values: Dict) -> Result<Value> {
        for name in values.keys() {
            check_attribute(name.as_str().unwrap_or_default())?;
        }
        let shared = Rc::new(RefCell::new(values));
        self.namespaces.push(shared.clone());
        Ok(Value::Namespace(shared))
    }

    pub fn capture(&mut self, scope: &Rc<Scope>) {
        self.captured.push(scope.clone());
    }

    /// Runs `work` one call deeper.
    pub fn called<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.calls >= MAX_CALLS {
            return fail(format!("calls within calls, more than {MAX_CALLS} deep"));
        }
        self.calls += 1;
        let result = work(self);
        self.calls -= 1;
        result
    }

    fn print(&mut self, text: &str) -> Result<()> {
        let out = self.output.last_mut().expect("within text_of");
        burn_text(text.len())?;
        burn_text(out.len() + text.len()).and_then(|()| {
            out.push_str(text);
            Ok(())
        })
    }

    /// What the statements print.
    pub fn text_of(&mut self, body: &[Stmt], scope: &Rc<Scope>) -> Result<String> {
        self.output.push(String::new());
        let done = self.exec(body, scope);
        let text = self.output.pop().unwrap_or_default();
        match done? {
            Flow::On => Ok(text),
            Flow::Break | Flow::Continue => fail("break or continue outside of a loop"),
        }
    }

    pub fn exec(&mut self, body: &[Stmt], scope: &Rc<Scope>) -> Result<Flow> {
        for stmt in body {
            match self.statement(stmt, scope) {
                Ok(Flow::On) => {}
                Ok(flow) => return Ok(flow),
                Err(error) => return Err(self.located(error, stmt)),
            }
        }
        Ok(Flow::On)
    }

    /// The error with its line and the tag that failed.
    fn located(&self, error: Error, stmt: &Stmt) -> Error {
        if error.located {
            return error;
        }
        let tag = self.source.get(stmt.span.0..stmt.span.1).unwrap_or_default();
        let mut excerpt: String = tag.chars().take(MAX_EXCERPT).collect();
        if excerpt.len() < tag.len() {
            excerpt.push_str("...");
        }
        Error { message: format!("line {}: {} in {excerpt}", stmt.line, error.message), located: true }
    }

    fn statement(&mut self, stmt: &Stmt, scope: &Rc<Scope>) -> Result<Flow> {
        burn(1)?;
        match &stmt.kind {
            Kind::Data(text) => self.print(text)?,
            Kind::Output(values) => {
                for value in values {
                    let value = self.eval(value, scope)?;
                    self.print(&python_str(&value)?)?;
                }
            }
            Kind::If(branches, otherwise) => return self.condition(branches, otherwise, scope),
            Kind::For(code) => return self.for_loop(code, scope),
            Kind::Set(target, value) => {
                let value = self.eval(value, scope)?;
                self.assign(target, value, scope)?;
            }
            Kind::SetBlock(target, filter, body) => {
                let text = Value::from(self.text_of(body, &self.inside(scope, body))?);
                let value = self.filtered(filter.as_ref(), text, scope)?;
                self.assign(target, value, scope)?;
            }
            Kind::With(bindings, body) => return self.with(bindings, body, scope),
            Kind::Macro(body) => {
                let name = body.name.clone().unwrap_or_else(|| "".into());
                self.capture(scope);
                scope.set(&name, Value::Macro(Rc::new(Macro { body: body.clone(), scope: scope.clone() })));
            }
            Kind::CallBlock(call, body) => {
                self.capture(scope);
                let caller = Value::Macro(Rc::new(Macro { body: body.clone(), scope: scope.clone() }));
                let text = self.call_block(call, caller, scope)?;
                self.print(&python_str(&text)?)?;
            }
            Kind::FilterBlock(filter, body) => {
                let inner = self.inside(scope, body);
                let text = Value::from(self.text_of(body, &inner)?);
                match self.filtered(Some(filter), text, &inner)? {
                    Value::Str(text) | Value::Markup(text) => self.print(&text)?,
                    other => return fail(format!("expected str instance, {} found", other.type_name())),
                }
            }
            Kind::Scope(body) => {
                let text = self.text_of(body, &self.inside(scope, body))?;
                self.print(&text)?;
            }
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
            Kind::Unsupported(what) => return unsupported(what),
        }
        Ok(Flow::On)
    }

    fn condition(&mut self, branches: &[(Expr, Vec<Stmt>)], otherwise: &[Stmt], scope: &Rc<Scope>) -> Result<Flow> {
        for (test, body) in branches {
            if self.eval(test, scope)?.truth() {
                return self.exec(body, scope);
            }
        }
        self.exec(otherwise, scope)
    }

    fn with(&mut self, bindings: &[(Target, Expr)], body: &[Stmt], scope: &Rc<Scope>) -> Result<Flow> {
        let inner = self.inside(scope, body);
        for (target, value) in bindings {
            let value = self.eval(value, scope)?;
            self.assign(target, value, &inner)?;
        }
        self.exec(body, &inner)
    }

    fn for_loop(&mut self, code: &Arc<ForLoop>, scope: &Rc<Scope>) -> Result<Flow> {
        let iterable = self.eval(&code.iterable, scope)?;
        let state = new_loop(code, scope, &iterable, 0)?;
        self.loop_body(&state)
    }

    /// `loop(iterable)` of a recursive loop: the text of the body for each item.
    pub fn recurse(&mut self, state: &Shared, iterable: &Value) -> Result<Value> {
        let (code, outer, depth) = {
            let state = state.borrow();
            (state.code.clone(), state.outer.clone(), state.depth0 + 1)
        };
        if !code.recursive {
            return fail("the loop must have the 'recursive' marker to be called recursively");
        }
        let inner = new_loop(&code, &outer, iterable, depth)?;
        self.output.push(String::new());
        let done = self.called(|this| this.loop_body(&inner));
        let text = self.output.pop().unwrap_or_default();
        done?;
        Ok(Value::from(text))
    }

    fn loop_body(&mut self, state: &Shared) -> Result<Flow> {
        let (code, outer) = (state.borrow().code.clone(), state.borrow().outer.clone());
        let loop_name: Arc<str> = "loop".into();
        let mut completed = false; // Jinja2 runs the else part unless one round came to its end
        while let Some(item) = self.loop_next(state)? {
            let scope = self.inside(&outer, &code.body);
            scope.set(&loop_name, Value::Loop(state.clone()));
            self.assign(&code.target, item, &scope)?;
            match self.exec(&code.body, &scope)? {
                Flow::On => completed = true,
                Flow::Continue => {}
                Flow::Break => break,
            }
        }
        if completed || code.otherwise.is_empty() {
            return Ok(Flow::On);
        }
        self.exec(&code.otherwise, &self.inside(&outer, &code.otherwise))
    }

    fn filtered(&mut self, filter: Option<&Expr>, text: Value, scope: &Rc<Scope>) -> Result<Value> {
        match filter {
            Some(filter) => self.eval_filter(filter, Some(text), scope),
            None => Ok(text),
        }
    }

    fn call_block(&mut self, call: &Expr, caller: Value, scope: &Rc<Scope>) -> Result<Value> {
        let Expr::Call(callee, arguments) = call else { return fail("expected call") };
        let callee = self.eval(callee, scope)?;
        let mut arguments: CallArguments = self.eval_arguments(arguments, scope)?;
        arguments.named.push(("caller".into(), caller));
        self.call(&callee, arguments)
    }

    pub fn assign(&mut self, target: &Target, value: Value, scope: &Rc<Scope>) -> Result<()> {
        match target {
            Target::Name(name) => scope.set(name, value),
            Target::Tuple(parts) => {
                let items = value.items()?;
                if items.len() != parts.len() {
                    return fail(format!("{} values to unpack, expected {}", items.len(), parts.len()));
                }
                for (part, item) in parts.iter().zip(items) {
                    self.assign(part, item, scope)?;
                }
            }
            Target::Namespace(name, attribute) => match self.resolve(name, scope) {
                Value::Namespace(values) => {
                    check_attribute(attribute)?;
                    values.borrow_mut().set(Value::Str(attribute.clone()), value)?;
                }
                _ => return fail("cannot assign attribute on non-namespace object"),
            },
        }
        Ok(())
    }

    pub fn resolve(&self, name: &Arc<str>, scope: &Rc<Scope>) -> Value {
        scope
            .get(name)
            .or_else(|| builtin(name))
            .unwrap_or_else(|| Value::Undefined(Rc::new(Missing::Name(name.clone()))))
    }
}

/// transformers' own rule.
fn check_attribute(name: &str) -> Result<()> {
    if name.starts_with('_') {
        return fail(format!("a namespace cannot have the attribute '{name}', which begins with an underscore"));
    }
    Ok(())
}
