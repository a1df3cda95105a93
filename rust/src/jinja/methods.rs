//! Attributes and methods of values. What would change a list or dict, or begins with an underscore, is undefined: the
//! sandbox hides it.

use super::calls::CallArguments;
use super::exec::Interpreter;
use super::format::format_value;
use super::format_fields::{field_path, format_pieces};
use super::operators::{equal, order};
use super::string_methods::{string_method, STRING_METHODS};
use super::text::{python_repr, python_str};
use super::value::{burn_text, fail, hash_key, unsupported, Dict, Result, Value, View};
use std::rc::Rc;

#[derive(Debug)]
pub struct Method {
    pub of: Value,
    pub name: &'static str,
}

const DICT_METHODS: [&str; 6] = ["copy", "fromkeys", "get", "items", "keys", "values"];
const DICT_CHANGES: [&str; 5] = ["clear", "pop", "popitem", "setdefault", "update"];
const LIST_METHODS: [&str; 3] = ["copy", "count", "index"];
const LIST_CHANGES: [&str; 8] = ["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"];
const INT_METHODS: [&str; 6] = ["as_integer_ratio", "bit_count", "bit_length", "conjugate", "from_bytes", "to_bytes"];
const FLOAT_METHODS: [&str; 5] = ["as_integer_ratio", "conjugate", "fromhex", "hex", "is_integer"];
const VIEW_METHODS: [&str; 2] = ["isdisjoint", "mapping"];
const OTHER: [&str; 6] = ["cycle", "changed", "next", "reset", "count", "index"];

/// The method `name` of `of`, which must be among the names above.
pub fn bound(of: Value, name: &str) -> Value {
    let lists: [&[&'static str]; 7] =
        [&STRING_METHODS, &DICT_METHODS, &LIST_METHODS, &INT_METHODS, &FLOAT_METHODS, &VIEW_METHODS, &OTHER];
    let name = lists.into_iter().flatten().find(|known| **known == name).copied().unwrap_or("");
    Value::Method(Rc::new(Method { of, name }))
}

fn hidden(of: &Value, name: &str) -> Value {
    Value::undefined(format!("access to attribute '{name}' of '{}' object is unsafe", of.type_name()))
}

impl Interpreter {
    /// getattr(of, name); None for an AttributeError.
    pub fn python_attribute(&mut self, of: &Value, name: &str) -> Result<Option<Value>> {
        let dunder = name.starts_with("__") && name.ends_with("__") && name.len() > 4;
        if dunder && !matches!(of, Value::Namespace(_)) {
            return Ok(Some(hidden(of, name)).filter(|_| subscriptless(of, name)));
        }
        let (methods, changes): (&[&str], &[&str]) = match of {
            Value::Str(_) => (&STRING_METHODS, &[]),
            Value::Markup(_) => return unsupported(format!("'{name}' of a text marked as safe")),
            Value::Dict(_) => (&DICT_METHODS, &DICT_CHANGES),
            Value::List(_) => (&LIST_METHODS, &LIST_CHANGES),
            Value::Tuple(_) => (&LIST_METHODS[1..], &[]),
            Value::Int(_) | Value::Bool(_) => (&INT_METHODS, &[]),
            Value::Float(_) => (&FLOAT_METHODS, &[]),
            Value::View(..) => (&VIEW_METHODS, &[]),
            Value::Cycler(_) => (&["next", "reset"], &[]),
            _ => (&[], &[]),
        };
        if methods.contains(&name) {
            return Ok(Some(bound(of.clone(), name)));
        }
        if changes.contains(&name) {
            return Ok(Some(hidden(of, name)));
        }
        Ok(match (of, name) {
            (Value::Namespace(values), _) => values.borrow().get_str(name).cloned(),
            (Value::Loop(state), _) => {
                let state = state.clone();
                self.loop_attribute(&state, name)?
            }
            (Value::Tuple(pair), "grouper") if pair.group => Some(pair.items[0].clone()),
            (Value::Tuple(pair), "list") if pair.group => Some(pair.items[1].clone()),
            (Value::Int(_) | Value::Bool(_), "real" | "numerator") => of.as_index().map(Value::Int),
            (Value::Int(_) | Value::Bool(_), "imag") => Some(Value::Int(0)),
            (Value::Int(_) | Value::Bool(_), "denominator") => Some(Value::Int(1)),
            (Value::Float(f), "real") => Some(Value::Float(*f)),
            (Value::Float(_), "imag") => Some(Value::Float(0.0)),
            (Value::Range(start, _, _), "start") => Some(Value::Int(*start)),
            (Value::Range(_, stop, _), "stop") => Some(Value::Int(*stop)),
            (Value::Range(_, _, step), "step") => Some(Value::Int(*step)),
            (Value::Cycler(cycler), "current") => Some(cycler.items[cycler.at.get()].clone()),
            (Value::Cycler(cycler), "pos") => Some(Value::Int(cycler.at.get() as i128)),
            (Value::Cycler(cycler), "items") => Some(Value::tuple(cycler.items.clone())?),
            (Value::Macro(called), _) => macro_attribute(called, name)?,
            (Value::Iter(_), "send" | "throw" | "close") => return unsupported(format!("{name} of a generator")),
            (Value::Iter(_), _) if name.starts_with("gi_") => Some(hidden(of, name)),
            (Value::Function(super::calls::Function::Dict), "fromkeys") => return unsupported("dict.fromkeys"),
            (Value::Joiner(joiner), "sep") => Some(joiner.separator.clone()),
            (Value::Joiner(joiner), "used") => Some(Value::Bool(joiner.used.get())),
            _ => None,
        })
    }

    pub fn call_method(&mut self, of: &Value, name: &'static str, arguments: CallArguments) -> Result<Value> {
        match of {
            Value::Str(text) if matches!(name, "format" | "format_map") => {
                self.format(text, name == "format_map", arguments).map(Value::from)
            }
            Value::Str(text) => string_method(text, name, arguments),
            Value::Dict(dict) => dict_method(dict, name, arguments),
            Value::List(items) | Value::Tuple(items) => sequence_method(of, &items.items, name, arguments),
            Value::Float(f) if name == "is_integer" => {
                arguments.bind(name, [])?;
                Ok(Value::Bool(f.is_finite() && f.fract() == 0.0))
            }
            Value::Loop(state) => {
                if !arguments.named.is_empty() {
                    return fail(format!("{name}() takes no keyword arguments"));
                }
                let state = state.clone();
                self.loop_method(&state, name, arguments.positional)
            }
            Value::Cycler(cycler) => {
                arguments.bind(name, [])?;
                let at = cycler.at.get();
                if name == "reset" {
                    cycler.at.set(0);
                    return Ok(Value::None);
                }
                cycler.at.set((at + 1) % cycler.items.len());
                Ok(cycler.items[at].clone())
            }
            other => unsupported(format!("the method {}.{name}", other.type_name())),
        }
    }

    /// text.format(...): fields are looked up as the sandbox does.
    fn format(&mut self, text: &str, from_map: bool, arguments: CallArguments) -> Result<String> {
        let CallArguments { positional, named } = arguments;
        let mut dict = Dict::default();
        for (name, value) in &named {
            dict.set(Value::Str(name.clone()), value.clone())?;
        }
        let (positional, dict) = match (from_map, &positional[..]) {
            (false, _) => (positional, Rc::new(dict)),
            (true, [Value::Dict(map)]) if named.is_empty() => (Vec::new(), map.clone()),
            (true, _) => return fail("format_map() takes exactly one mapping"),
        };
        let mut out = String::new();
        let mut automatic = 0;
        let mut numbered = false;
        for piece in format_pieces(text)? {
            out.push_str(&piece.text);
            let Some(field) = piece.field else { continue };
            let (first, path) = field_path(&field.name)?;
            let mut value = if first.is_empty() {
                automatic += 1;
                positional.get(automatic - 1).cloned()
            } else if let Ok(at) = first.parse::<usize>() {
                numbered = true;
                positional.get(at).cloned()
            } else {
                dict.get_str(&first).cloned()
            }
            .map_or_else(|| fail(format!("format(): no argument for the field '{}'", field.name)), Ok)?;
            if numbered && automatic > 0 {
                return fail("cannot switch from automatic field numbering to manual field specification");
            }
            for (is_attribute, key) in path {
                value = match (is_attribute, &key) {
                    (true, Value::Str(name)) => self.attribute(&value, name)?,
                    _ => self.item(&value, &key)?,
                };
            }
            let value = match field.conversion {
                Some('s') => Value::from(python_str(&value)?),
                Some(_) => Value::from(python_repr(&value)?),
                None => value,
            };
            out.push_str(&format_value(&value, &field.spec)?);
            burn_text(out.len())?;
        }
        Ok(out)
    }
}

/// A dict's item of that name comes before the hidden attribute only for names that Python's dict does not have.
fn subscriptless(of: &Value, name: &str) -> bool {
    !matches!(of, Value::Dict(dict) if dict.get_str(name).is_some())
}

fn macro_attribute(called: &super::calls::Macro, name: &str) -> Result<Option<Value>> {
    let body = &called.body;
    Ok(Some(match name {
        "name" => body.name.as_ref().map_or(Value::None, |name| Value::Str(name.clone())),
        "arguments" => Value::tuple(body.parameters.iter().map(|(name, _)| Value::Str(name.clone())).collect())?,
        "catch_kwargs" => Value::Bool(body.uses_kwargs),
        "catch_varargs" => Value::Bool(body.uses_varargs),
        "caller" => Value::Bool(body.uses_caller),
        _ => return Ok(None),
    }))
}

fn dict_method(dict: &Rc<Dict>, name: &'static str, arguments: CallArguments) -> Result<Value> {
    match name {
        "get" => {
            let [key, default] = arguments.bind(name, ["", " "])?;
            let Some(key) = key else { return fail("get expected at least 1 argument, got 0") };
            let found = dict.get(&hash_key(&key)?).cloned();
            Ok(found.or(default).unwrap_or(Value::None))
        }
        "fromkeys" => unsupported("dict.fromkeys"),
        _ => {
            arguments.bind(name, [])?;
            Ok(match name {
                "items" => Value::View(View::Items, dict.clone()),
                "keys" => Value::View(View::Keys, dict.clone()),
                "values" => Value::View(View::Values, dict.clone()),
                _ => Value::Dict(Rc::new((**dict).clone())),
            })
        }
    }
}

fn sequence_method(of: &Value, items: &[Value], name: &'static str, arguments: CallArguments) -> Result<Value> {
    if name == "copy" {
        arguments.bind(name, [])?;
        return Value::list(items.to_vec());
    }
    let [value, start, stop] = arguments.bind(name, ["", " ", "  "])?;
    let Some(value) = value else { return fail(format!("{name}() takes at least one argument (0 given)")) };
    if start.is_some() || stop.is_some() {
        return unsupported(format!("{}.{name} with a start or stop", of.type_name()));
    }
    let mut count = 0;
    for (at, item) in items.iter().enumerate() {
        if equal(item, &value)? {
            if name == "index" {
                return Ok(Value::Int(at as i128));
            }
            count += 1;
        }
    }
    if name == "index" {
        return fail(format!("{} is not in list", python_repr(&value)?));
    }
    Ok(Value::Int(count))
}

/// The smallest (or largest) of the keys' items; the first among equals.
pub fn extreme(items: Vec<(Value, Value)>, largest: bool) -> Result<Option<Value>> {
    let mut best: Option<(Value, Value)> = None;
    for (key, item) in items {
        let better = match &best {
            None => true,
            Some((known, _)) if largest => order(&key, known, ">")? == Some(std::cmp::Ordering::Greater),
            Some((known, _)) => order(&key, known, "<")? == Some(std::cmp::Ordering::Less),
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map(|(_, item)| item))
}
