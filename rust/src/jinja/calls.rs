//! What can be called: macros, the functions that Jinja2 and transformers give to templates, and their arguments.

use super::ast::MacroBody;
use super::exec::{Interpreter, Scope};
use super::text::python_str;
use super::value::{burn, fail, range_len, unsupported, Dict, Result, Value};
use crate::strftime::strftime;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

const MAX_RANGE: usize = 100_000; // the sandbox's own

#[derive(Debug)]
pub struct Macro {
    pub body: Arc<MacroBody>,
    pub scope: Rc<Scope>,
}

#[derive(Debug)]
pub struct Cycler {
    pub items: Vec<Value>,
    pub at: Cell<usize>,
}

#[derive(Debug)]
pub struct Joiner {
    pub separator: Value,
    pub used: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Function {
    Range,
    Dict,
    Namespace,
    Cycler,
    Joiner,
    Lipsum,
    RaiseException,
    StrftimeNow,
}

pub fn builtin(name: &str) -> Option<Value> {
    Some(Value::Function(match name {
        "range" => Function::Range,
        "dict" => Function::Dict,
        "namespace" => Function::Namespace,
        "cycler" => Function::Cycler,
        "joiner" => Function::Joiner,
        "lipsum" => Function::Lipsum,
        "raise_exception" => Function::RaiseException,
        "strftime_now" => Function::StrftimeNow,
        _ => return None,
    }))
}

#[derive(Debug, Default)]
pub struct CallArguments {
    pub positional: Vec<Value>,
    pub named: Vec<(Arc<str>, Value)>,
}

impl CallArguments {
    pub fn of(positional: Vec<Value>) -> CallArguments {
        CallArguments { positional, named: Vec::new() }
    }

    /// The arguments by the names of the parameters; an error for one too many, unknown or twice.
    pub fn bind<const N: usize>(self, who: &str, names: [&str; N]) -> Result<[Option<Value>; N]> {
        let mut bound: [Option<Value>; N] = std::array::from_fn(|_| None);
        if self.positional.len() > N {
            return fail(format!("{who}() takes at most {N} arguments ({} given)", self.positional.len()));
        }
        for (slot, value) in bound.iter_mut().zip(self.positional) {
            *slot = Some(value);
        }
        for (name, value) in self.named {
            match names.iter().position(|known| **known == *name) {
                Some(at) if bound[at].is_none() => bound[at] = Some(value),
                Some(_) => return fail(format!("{who}() got multiple values for argument '{name}'")),
                None => return fail(format!("{who}() got an unexpected keyword argument '{name}'")),
            }
        }
        Ok(bound)
    }

    /// The one argument, by position or name.
    pub fn only(self, who: &str, name: &str) -> Result<Value> {
        let [value] = self.bind(who, [name])?;
        value.map_or_else(|| fail(format!("{who}() missing argument '{name}'")), Ok)
    }
}

impl Interpreter {
    pub fn call(&mut self, callee: &Value, arguments: CallArguments) -> Result<Value> {
        burn(1)?;
        match callee {
            Value::Macro(called) => self.called(|this| this.call_macro(called, arguments)),
            Value::Function(function) => self.call_function(*function, arguments),
            Value::Method(method) => {
                let method = method.clone();
                self.call_method(&method.of, method.name, arguments)
            }
            Value::Loop(state) => {
                let state = state.clone();
                let iterable = arguments.only("loop", "iterable")?;
                self.recurse(&state, &iterable)
            }
            Value::Joiner(joiner) => {
                arguments.bind("joiner", [])?;
                Ok(if joiner.used.replace(true) { joiner.separator.clone() } else { Value::from("") })
            }
            other => {
                other.check_defined()?;
                fail(format!("'{}' object is not callable", other.type_name()))
            }
        }
    }

    fn call_macro(&mut self, called: &Rc<Macro>, arguments: CallArguments) -> Result<Value> {
        let body = called.body.clone();
        let name = body.name.as_deref().unwrap_or("caller");
        let scope = self.inside(&called.scope, &called.body.body);
        let CallArguments { positional, mut named } = arguments;
        let takes_caller = body.parameters.iter().any(|(parameter, _)| &**parameter == "caller");
        let given = positional.len();
        let mut values = positional.into_iter();
        let mut missing = Vec::new();
        for (parameter, default) in &body.parameters {
            let by_name = |named: &mut Vec<(Arc<str>, Value)>| {
                let at = named.iter().position(|(known, _)| known == parameter)?;
                Some(named.remove(at).1)
            };
            match values.next().or_else(|| by_name(&mut named)) {
                Some(value) => scope.set(parameter, value),
                None => missing.push((parameter, default)),
            }
        }
        if body.uses_caller && !takes_caller {
            let at = named.iter().position(|(known, _)| &**known == "caller");
            let caller = at.map(|at| named.remove(at).1).filter(|caller| !matches!(caller, Value::None));
            scope.set(&"caller".into(), caller.unwrap_or_else(|| Value::undefined("No caller defined")));
        }
        if body.uses_kwargs {
            let mut kwargs = Dict::default();
            for (key, value) in named.drain(..) {
                kwargs.set(Value::Str(key), value)?;
            }
            scope.set(&"kwargs".into(), Value::Dict(Rc::new(kwargs)));
        } else if let Some((key, _)) = named.first() {
            return fail(format!("macro '{name}' takes no keyword argument '{key}'"));
        }
        if body.uses_varargs {
            scope.set(&"varargs".into(), Value::tuple(values.collect())?);
        } else if given > body.parameters.len() {
            return fail(format!("macro '{name}' takes not more than {} argument(s)", body.parameters.len()));
        }
        self.fill_defaults(&missing, &scope)?;
        self.text_of(&body.body, &scope).map(Value::from)
    }

    fn fill_defaults(&mut self, missing: &[(&Arc<str>, &Option<super::ast::Expr>)], scope: &Rc<Scope>) -> Result<()> {
        // Until its turn comes, a parameter without a value hides what outer scopes call by its name.
        for (parameter, _) in missing {
            scope.set(parameter, Value::undefined(format!("parameter '{parameter}' was not provided")));
        }
        for (parameter, default) in missing {
            if let Some(default) = default {
                let value = self.eval(default, scope)?;
                scope.set(parameter, value);
            }
        }
        Ok(())
    }

    fn call_function(&mut self, function: Function, arguments: CallArguments) -> Result<Value> {
        match function {
            Function::Range => range(arguments),
            Function::Dict => dict(arguments).map(|dict| Value::Dict(Rc::new(dict))),
            Function::Namespace => {
                let values = dict(arguments)?;
                self.namespace(values)
            }
            Function::Cycler => {
                let items = arguments.positional;
                if items.is_empty() || !arguments.named.is_empty() {
                    return fail("at least one item has to be provided to cycler");
                }
                Ok(Value::Cycler(Rc::new(Cycler { items, at: Cell::new(0) })))
            }
            Function::Joiner => {
                let [separator] = arguments.bind("joiner", ["sep"])?;
                let separator = separator.unwrap_or_else(|| Value::from(", "));
                Ok(Value::Joiner(Rc::new(Joiner { separator, used: Cell::new(false) })))
            }
            Function::Lipsum => unsupported("lipsum, whose text is random,"),
            Function::RaiseException => {
                let message = arguments.only("raise_exception", "message")?;
                fail(format!("the template refuses: {}", python_str(&message)?))
            }
            Function::StrftimeNow => {
                let format = arguments.only("strftime_now", "format")?;
                let Value::Str(format) = &format else { return fail("strftime_now() wants a string") };
                strftime(format, self.now_seconds).map(Value::from).or_else(fail)
            }
        }
    }
}

fn range(arguments: CallArguments) -> Result<Value> {
    let mut bounds = Vec::new();
    for value in &arguments.positional {
        value.check_defined()?;
        match value.as_index() {
            Some(i) if i.unsigned_abs() < 1 << 100 => bounds.push(i),
            Some(_) => return super::operators::large(),
            None => {
                return fail(format!("'{}' object cannot be interpreted as an integer", value.type_name()));
            }
        }
    }
    let (start, stop, step) = match (&bounds[..], arguments.named.is_empty()) {
        ([stop], true) => (0, *stop, 1),
        ([start, stop], true) => (*start, *stop, 1),
        ([start, stop, step], true) => (*start, *stop, *step),
        _ => return fail("range() takes one to three integers"),
    };
    if step == 0 {
        return fail("range() arg 3 must not be zero");
    }
    if range_len(start, stop, step) > MAX_RANGE {
        return fail(format!("range too big, the sandbox blocks ranges larger than {MAX_RANGE}"));
    }
    Ok(Value::Range(start, stop, step))
}

/// dict(mapping or pairs, name=value, ...)
fn dict(arguments: CallArguments) -> Result<Dict> {
    let mut dict = Dict::default();
    match &arguments.positional[..] {
        [] => {}
        [Value::Dict(from)] => dict = (**from).clone(),
        [pairs] => {
            pairs.check_defined()?;
            for pair in pairs.items()? {
                match &pair.items()?[..] {
                    [key, value] => dict.set(key.clone(), value.clone())?,
                    _ => return fail("dictionary update sequence elements must have length 2"),
                }
            }
        }
        _ => return fail("dict expected at most 1 argument"),
    }
    burn(1 + dict.len())?;
    for (name, value) in arguments.named {
        dict.set(Value::Str(name), value)?;
    }
    Ok(dict)
}
