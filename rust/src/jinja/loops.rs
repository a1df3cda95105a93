//! What a `for` goes through, and its `loop`. Items are fetched one by one: the loop's condition may depend on what the
//! body did before.

use super::ast::ForLoop;
use super::exec::{Interpreter, Scope};
use super::operators::equal;
use super::value::{burn, fail, Iter, Result, Value};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

#[derive(Debug)]
enum Feed {
    Items(Vec<Value>, usize),
    Iter(Rc<RefCell<Iter>>),
}

#[derive(Debug)]
pub struct LoopState {
    feed: Feed,
    sized: Option<usize>,
    pub code: Arc<ForLoop>,
    pub outer: Rc<Scope>,
    ahead: Option<Option<Value>>, // fetched before its turn; Some(None): there is no more
    current: Option<Value>,
    before: Option<Value>,
    changed: Option<Vec<Value>>,
    index: i128, // 1 for the first item
    pub depth0: usize,
    tested: bool, // what is left has passed the condition already
}

pub type Shared = Rc<RefCell<LoopState>>;

pub fn new_loop(code: &Arc<ForLoop>, outer: &Rc<Scope>, iterable: &Value, depth0: usize) -> Result<Shared> {
    let sized = match iterable {
        Value::Iter(_) => None,
        _ if code.test.is_some() => None,
        other => Some(other.length().unwrap_or(0)),
    };
    let feed = match iterable {
        Value::Iter(iter) => Feed::Iter(iter.clone()),
        other => Feed::Items(other.items()?, 0),
    };
    let (code, outer) = (code.clone(), outer.clone());
    let (ahead, current, before, changed) = (None, None, None, None);
    Ok(Rc::new(RefCell::new(LoopState {
        feed,
        sized,
        code,
        outer,
        ahead,
        current,
        before,
        changed,
        index: 0,
        depth0,
        tested: false,
    })))
}

impl LoopState {
    fn pull(&mut self) -> Result<Option<Value>> {
        burn(1)?;
        match &mut self.feed {
            Feed::Items(items, next) => {
                let item = items.get(*next).cloned();
                *next += usize::from(item.is_some());
                Ok(item)
            }
            Feed::Iter(iter) => iter.borrow_mut().pull(),
        }
    }
}

impl Iter {
    pub fn pull(&mut self) -> Result<Option<Value>> {
        let item = self.items.get(self.next).cloned();
        self.next += usize::from(item.is_some());
        match (&item, self.error.take()) {
            (None, Some(error)) => Err(error),
            (_, error) => {
                self.error = error;
                Ok(item)
            }
        }
    }
}

impl Interpreter {
    fn fetch(&mut self, state: &Shared) -> Result<Option<Value>> {
        let (code, outer) = (state.borrow().code.clone(), state.borrow().outer.clone());
        loop {
            let Some(item) = state.borrow_mut().pull()? else { return Ok(None) };
            let tested = state.borrow().tested;
            let Some(test) = code.test.as_ref().filter(|_| !tested) else { return Ok(Some(item)) };
            let scope = Scope::inside(&outer);
            self.assign(&code.target, item.clone(), &scope)?;
            if self.eval(test, &scope)?.truth() {
                return Ok(Some(item));
            }
        }
    }

    /// The next item, which is then the loop's current one.
    pub fn loop_next(&mut self, state: &Shared) -> Result<Option<Value>> {
        let ahead = state.borrow_mut().ahead.take();
        let item = match ahead {
            Some(item) => item,
            None => self.fetch(state)?,
        };
        if item.is_some() {
            let mut state = state.borrow_mut();
            state.index += 1;
            state.before = state.current.take();
            state.current = item.clone();
        }
        Ok(item)
    }

    fn peek(&mut self, state: &Shared) -> Result<Option<Value>> {
        if let Some(ahead) = &state.borrow().ahead {
            return Ok(ahead.clone());
        }
        let item = self.fetch(state)?;
        state.borrow_mut().ahead = Some(item.clone());
        Ok(item)
    }

    fn loop_length(&mut self, state: &Shared) -> Result<i128> {
        if let Some(length) = state.borrow().sized {
            return Ok(length as i128);
        }
        let mut rest = Vec::new();
        while let Some(item) = self.fetch(state)? {
            rest.push(item);
        }
        let mut state = state.borrow_mut();
        let ahead = usize::from(matches!(state.ahead, Some(Some(_))));
        let length = rest.len() + state.index as usize + ahead;
        state.feed = Feed::Items(rest, 0);
        state.sized = Some(length);
        state.tested = true;
        Ok(length as i128)
    }

    /// loop.name; None for what it does not have.
    pub fn loop_attribute(&mut self, state: &Shared, name: &str) -> Result<Option<Value>> {
        let index = state.borrow().index;
        Ok(Some(match name {
            "index" => Value::Int(index),
            "index0" => Value::Int(index - 1),
            "first" => Value::Bool(index == 1),
            "last" => Value::Bool(self.peek(state)?.is_none()),
            "length" => Value::Int(self.loop_length(state)?),
            "revindex" => Value::Int(self.loop_length(state)? - index + 1),
            "revindex0" => Value::Int(self.loop_length(state)? - index),
            "depth" => Value::Int(state.borrow().depth0 as i128 + 1),
            "depth0" => Value::Int(state.borrow().depth0 as i128),
            "previtem" if index == 1 => Value::undefined("there is no previous item"),
            "previtem" => state.borrow().before.clone().unwrap_or(Value::None),
            "nextitem" => self.peek(state)?.unwrap_or_else(|| Value::undefined("there is no next item")),
            "cycle" | "changed" => return Ok(Some(super::methods::bound(Value::Loop(state.clone()), name))),
            _ => return Ok(None),
        }))
    }

    pub fn loop_method(&mut self, state: &Shared, name: &str, values: Vec<Value>) -> Result<Value> {
        if name == "cycle" {
            if values.is_empty() {
                return fail("no items for cycling given");
            }
            let at = (state.borrow().index - 1).max(0) as usize % values.len();
            return Ok(values[at].clone());
        }
        let same = match &state.borrow().changed {
            Some(before) if before.len() == values.len() => {
                before.iter().zip(&values).try_fold(true, |same, (a, b)| Ok(same && equal(a, b)?))?
            }
            _ => false,
        };
        if !same {
            state.borrow_mut().changed = Some(values);
        }
        Ok(Value::Bool(!same))
    }
}
