//! Values as Python has them. Lists, tuples and dicts never change once made (the sandbox forbids the methods that
//! would change them), so they are shared; each knows how deep it is nested, which bounds every walk over it.

use super::calls::{Cycler, Function, Joiner, Macro};
use super::loops::LoopState;
use super::methods::Method;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Why a template cannot go on. Statements add where.
#[derive(Debug, Clone)]
pub struct Error {
    pub message: String,
    pub located: bool,
}

impl Error {
    pub fn new(message: impl Into<String>) -> Error {
        Error { message: message.into(), located: false }
    }
}

pub type Result<T> = std::result::Result<T, Error>;

pub fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(message))
}

/// What Jinja2 can do and this interpreter cannot: an error, because a guess might be a wrong text.
pub fn unsupported<T>(what: impl std::fmt::Display) -> Result<T> {
    fail(format!("{what} is not supported"))
}

pub const MAX_NESTING: u32 = 100; // of values; json.dumps and repr of Python give up at about a thousand

#[derive(Debug)]
pub struct Seq {
    pub items: Vec<Value>,
    pub nesting: u32,
    /// A pair of groupby, whose parts are also .grouper and .list.
    pub group: bool,
}

#[derive(Debug, Default, Clone)]
pub struct Dict {
    entries: Vec<(Value, Value)>,
    index: HashMap<Key, usize>,
    nesting: u32,
}

/// Equal for values that Python holds equal as keys of a dict: 1, 1.0 and True.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    None,
    Undefined,
    Int(i128),
    Float(u64),
    Str(Arc<str>),
    Tuple(Vec<Key>),
    Address(usize),
}

#[derive(Debug)]
pub enum Missing {
    Name(Arc<str>),
    Attribute { of: &'static str, name: String },
    Hint(String),
}

/// An iterator of Python: gone through once. `error` comes after the last item.
#[derive(Debug)]
pub struct Iter {
    pub items: Vec<Value>,
    pub next: usize,
    pub error: Option<Error>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum View {
    Keys,
    Values,
    Items,
}

#[derive(Debug, Clone)]
pub enum Value {
    Undefined(Rc<Missing>),
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Arc<str>),
    /// A text marked as safe. It prints like a text; what else Python's Markup would do to it is refused.
    Markup(Arc<str>),
    List(Rc<Seq>),
    Tuple(Rc<Seq>),
    Dict(Rc<Dict>),
    Range(i128, i128, i128),
    View(View, Rc<Dict>),
    Slice(Rc<[Value; 3]>),
    Iter(Rc<RefCell<Iter>>),
    Namespace(Rc<RefCell<Dict>>),
    Loop(Rc<RefCell<LoopState>>),
    Macro(Rc<Macro>),
    Method(Rc<Method>),
    Function(Function),
    Cycler(Rc<Cycler>),
    Joiner(Rc<Joiner>),
}

impl Dict {
    pub fn len(&self) -> usize {
        self.entries.len()
    }
    pub fn get(&self, key: &Key) -> Option<&Value> {
        self.index.get(key).map(|&at| &self.entries[at].1)
    }
    pub fn get_str(&self, key: &str) -> Option<&Value> {
        self.get(&Key::Str(key.into()))
    }
    pub fn entries(&self) -> impl Iterator<Item = (&Value, &Value)> {
        self.entries.iter().map(|(k, v)| (k, v))
    }
    pub fn keys(&self) -> impl Iterator<Item = &Value> {
        self.entries.iter().map(|(k, _)| k)
    }
    pub fn set(&mut self, key: Value, value: Value) -> Result<()> {
        let hashed = hash_key(&key)?;
        self.nesting = self.nesting.max(value.nesting()).max(key.nesting());
        if self.nesting >= MAX_NESTING {
            return fail("values are nested too deeply");
        }
        match self.index.get(&hashed) {
            Some(&at) => self.entries[at].1 = value,
            None => {
                self.index.insert(hashed, self.entries.len());
                self.entries.push((key, value));
            }
        }
        Ok(())
    }
}

/// hash(value), an error for what Python cannot hash.
pub fn hash_key(value: &Value) -> Result<Key> {
    Ok(match value {
        Value::None => Key::None,
        Value::Undefined(_) => Key::Undefined,
        Value::Bool(b) => Key::Int(i128::from(*b)),
        Value::Int(i) => Key::Int(*i),
        Value::Float(f) if f.fract() == 0.0 && f.abs() < 1e38 => Key::Int(*f as i128),
        Value::Float(f) => Key::Float(f.to_bits()),
        Value::Str(s) | Value::Markup(s) => Key::Str(s.clone()),
        Value::Tuple(t) => Key::Tuple(t.items.iter().map(hash_key).collect::<Result<_>>()?),
        Value::Range(..) | Value::Slice(_) => return unsupported("a range or slice as a key"),
        Value::List(_) | Value::Dict(_) | Value::View(..) => {
            return fail(format!("unhashable type: '{}'", value.type_name()))
        }
        other => Key::Address(other.address()),
    })
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Str(text.into())
    }
}
impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Str(text.into())
    }
}

impl Value {
    pub fn undefined(hint: impl Into<String>) -> Value {
        Value::Undefined(Rc::new(Missing::Hint(hint.into())))
    }
    fn seq(items: Vec<Value>, group: bool) -> Result<Rc<Seq>> {
        let nesting = items.iter().map(Value::nesting).max().unwrap_or(0);
        if nesting >= MAX_NESTING {
            return fail("values are nested too deeply");
        }
        Ok(Rc::new(Seq { items, nesting, group }))
    }
    pub fn list(items: Vec<Value>) -> Result<Value> {
        Ok(Value::List(Value::seq(items, false)?))
    }
    pub fn tuple(items: Vec<Value>) -> Result<Value> {
        Ok(Value::Tuple(Value::seq(items, false)?))
    }
    pub fn group(grouper: Value, items: Vec<Value>) -> Result<Value> {
        Ok(Value::Tuple(Value::seq(vec![grouper, Value::list(items)?], true)?))
    }
    pub fn iter(items: Vec<Value>) -> Value {
        Value::iter_until(items, None)
    }
    pub fn iter_until(items: Vec<Value>, error: Option<Error>) -> Value {
        Value::Iter(Rc::new(RefCell::new(Iter { items, next: 0, error })))
    }
    /// How deep the values in it lie; namespaces and iterators hide theirs, and count as deep as Python lets them be.
    fn nesting(&self) -> u32 {
        match self {
            Value::List(s) | Value::Tuple(s) => s.nesting + 1,
            Value::Dict(d) | Value::View(_, d) => d.nesting + 1,
            _ => 0,
        }
    }
    fn address(&self) -> usize {
        match self {
            Value::List(s) | Value::Tuple(s) => Rc::as_ptr(s) as usize,
            Value::Dict(d) => Rc::as_ptr(d) as usize,
            Value::Iter(i) => Rc::as_ptr(i) as usize,
            Value::Namespace(n) => Rc::as_ptr(n) as usize,
            Value::Loop(l) => Rc::as_ptr(l) as usize,
            Value::Macro(m) => Rc::as_ptr(m) as usize,
            Value::Method(m) => Rc::as_ptr(m) as usize,
            Value::Function(f) => *f as usize + 1,
            Value::Cycler(c) => Rc::as_ptr(c) as usize,
            Value::Joiner(j) => Rc::as_ptr(j) as usize,
            _ => 0,
        }
    }
    /// The same object, for those that have an identity.
    pub fn same_object(&self, other: &Value) -> bool {
        self.address() != 0 && self.address() == other.address()
    }
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined(_) => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::Markup(_) => "Markup",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Range(..) => "range",
            Value::View(View::Keys, _) => "dict_keys",
            Value::View(View::Values, _) => "dict_values",
            Value::View(View::Items, _) => "dict_items",
            Value::Slice(_) => "slice",
            Value::Iter(_) => "generator",
            Value::Namespace(_) => "Namespace",
            Value::Loop(_) => "LoopContext",
            Value::Macro(_) => "Macro",
            Value::Method(_) => "builtin_function_or_method",
            Value::Function(_) => "function",
            Value::Cycler(_) => "Cycler",
            Value::Joiner(_) => "Joiner",
        }
    }
    /// UndefinedError for an undefined value, as most operations on one raise it.
    pub fn check_defined(&self) -> Result<()> {
        match self {
            Value::Undefined(missing) => fail(missing_message(missing)),
            _ => Ok(()),
        }
    }
    pub fn is_undefined(&self) -> bool {
        matches!(self, Value::Undefined(_))
    }
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) | Value::Markup(s) => Some(s),
            _ => None,
        }
    }
    /// An int or bool, as Python's operator.index takes it.
    pub fn as_index(&self) -> Option<i128> {
        match self {
            Value::Int(i) => Some(*i),
            Value::Bool(b) => Some(i128::from(*b)),
            _ => None,
        }
    }
    /// bool(value)
    pub fn truth(&self) -> bool {
        match self {
            Value::Undefined(_) | Value::None => false,
            Value::Bool(b) => *b,
            Value::Int(i) => *i != 0,
            Value::Float(f) => *f != 0.0,
            Value::Str(s) | Value::Markup(s) => !s.is_empty(),
            Value::List(s) | Value::Tuple(s) => !s.items.is_empty(),
            Value::Dict(d) | Value::View(_, d) => d.len() > 0,
            Value::Range(start, stop, step) => range_len(*start, *stop, *step) > 0,
            _ => true,
        }
    }
    /// len(value)
    pub fn length(&self) -> Result<usize> {
        Ok(match self {
            Value::Undefined(_) => 0,
            Value::Str(s) | Value::Markup(s) => s.chars().count(),
            Value::List(s) | Value::Tuple(s) => s.items.len(),
            Value::Dict(d) | Value::View(_, d) => d.len(),
            Value::Range(start, stop, step) => range_len(*start, *stop, *step),
            other => return fail(format!("object of type '{}' has no len()", other.type_name())),
        })
    }
    pub fn is_iterable(&self) -> bool {
        matches!(
            self,
            Value::Undefined(_)
                | Value::Str(_)
                | Value::Markup(_)
                | Value::List(_)
                | Value::Tuple(_)
                | Value::Dict(_)
                | Value::View(..)
                | Value::Range(..)
                | Value::Iter(_)
                | Value::Loop(_)
        )
    }
    /// The items that a `for` would see; an iterator is used up.
    pub fn items(&self) -> Result<Vec<Value>> {
        Ok(match self {
            Value::Undefined(_) => Vec::new(),
            Value::Str(s) => s.chars().map(|c| Value::from(c.encode_utf8(&mut [0; 4]) as &str)).collect(),
            Value::List(s) | Value::Tuple(s) => s.items.clone(),
            Value::Dict(d) | Value::View(View::Keys, d) => d.keys().cloned().collect(),
            Value::View(View::Values, d) => d.entries().map(|(_, v)| v.clone()).collect(),
            Value::View(View::Items, d) => {
                d.entries().map(|(k, v)| Value::tuple(vec![k.clone(), v.clone()])).collect::<Result<_>>()?
            }
            Value::Range(start, stop, step) => {
                (0..range_len(*start, *stop, *step)).map(|i| Value::Int(start + step * i as i128)).collect()
            }
            Value::Iter(iter) => {
                let mut iter = iter.borrow_mut();
                let at = std::mem::take(&mut iter.next);
                if let Some(error) = iter.error.take() {
                    return Err(error);
                }
                let mut items = std::mem::take(&mut iter.items);
                items.split_off(at.min(items.len()))
            }
            Value::Loop(_) | Value::Markup(_) => return unsupported(format!("going through a {}", self.type_name())),
            other => return fail(format!("'{}' object is not iterable", other.type_name())),
        })
    }
}

pub fn missing_message(missing: &Missing) -> String {
    match missing {
        Missing::Name(name) => format!("'{name}' is undefined"),
        Missing::Attribute { of, name } => format!("'{of} object' has no attribute '{name}'"),
        Missing::Hint(text) => text.clone(),
    }
}

pub fn range_len(start: i128, stop: i128, step: i128) -> usize {
    let distance = if step > 0 { stop - start } else { start - stop };
    if distance <= 0 {
        0
    } else {
        ((distance - 1) / step.abs() + 1) as usize
    }
}

thread_local! {
    /// What is left of the work that the template at hand may do; every loop over something large takes its share.
    static FUEL: Cell<u64> = const { Cell::new(0) };
}

pub fn set_fuel(steps: u64) {
    FUEL.set(steps);
}

/// Counts `steps` of work; an error when there has been too much of it.
pub fn burn(steps: usize) -> Result<()> {
    match FUEL.get().checked_sub(steps as u64) {
        Some(left) => {
            FUEL.set(left);
            Ok(())
        }
        None => {
            FUEL.set(0);
            fail("the template needs too many steps")
        }
    }
}

pub const MAX_TEXT_BYTES: usize = 32 << 20; // of one value

/// Counts the work of making or reading a text of so many bytes; an error if it is too long.
pub fn burn_text(bytes: usize) -> Result<()> {
    if bytes > MAX_TEXT_BYTES {
        return fail(format!("a text of more than {} MiB", MAX_TEXT_BYTES >> 20));
    }
    burn(1 + bytes / 64)
}

const MAX_ITEMS: usize = 1 << 22; // of one list

/// Counts the work of making a list of so many items; an error if there are too many.
pub fn burn_items(items: usize) -> Result<()> {
    if items > MAX_ITEMS {
        return fail(format!("a list of more than {MAX_ITEMS} items"));
    }
    burn(1 + items / 4)
}
