//! Evaluates expressions.

use super::ast::{Arguments, Expr, Literal};
use super::calls::CallArguments;
use super::exec::{Interpreter, Scope};
use super::operators::{binary, compare, negate, plus, subscript};
use super::text::python_str;
use super::value::{burn, burn_text, fail, Dict, Missing, Result, Value};
use std::rc::Rc;

impl Interpreter {
    pub fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        burn(1)?;
        match expr {
            Expr::Literal(literal) => Ok(match literal {
                Literal::None => Value::None,
                Literal::Bool(b) => Value::Bool(*b),
                Literal::Int(i) => Value::Int(*i),
                Literal::Float(f) => Value::Float(*f),
                Literal::Str(s) => Value::Str(s.clone()),
            }),
            Expr::Name(name) => match self.resolve(name, scope) {
                Value::Undefined(_) if &**name == "self" => super::value::unsupported("self"),
                value => Ok(value),
            },
            Expr::Tuple(items) => Value::tuple(self.eval_all(items, scope)?),
            Expr::List(items) => Value::list(self.eval_all(items, scope)?),
            Expr::Dict(pairs) => {
                let mut dict = Dict::default();
                for (key, value) in pairs {
                    let key = self.eval(key, scope)?;
                    dict.set(key, self.eval(value, scope)?)?;
                }
                Ok(Value::Dict(Rc::new(dict)))
            }
            Expr::Attribute(of, name) => {
                let of = self.eval(of, scope)?;
                self.attribute(&of, name)
            }
            Expr::Item(of, key) => {
                let of = self.eval(of, scope)?;
                let key = self.eval(key, scope)?;
                self.item(&of, &key)
            }
            Expr::Slice(parts) => {
                let mut values = [Value::None, Value::None, Value::None];
                for (value, part) in values.iter_mut().zip(parts.iter()) {
                    if let Some(part) = part {
                        *value = self.eval(part, scope)?;
                    }
                }
                Ok(Value::Slice(Rc::new(values)))
            }
            Expr::Call(callee, arguments) => {
                let callee = self.eval(callee, scope)?;
                let arguments = self.eval_arguments(arguments, scope)?;
                self.call(&callee, arguments)
            }
            Expr::Filter(..) => self.eval_filter(expr, None, scope),
            Expr::Test(of, name, arguments) => {
                let of = self.eval(of, scope)?;
                let arguments = self.eval_arguments(arguments, scope)?;
                self.test(name, &of, arguments).map(Value::Bool)
            }
            _ => self.eval_operator(expr, scope),
        }
    }

    fn eval_operator(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        match expr {
            Expr::Not(of) => Ok(Value::Bool(!self.eval(of, scope)?.truth())),
            Expr::Neg(of) => negate(&self.eval(of, scope)?),
            Expr::Pos(of) => plus(&self.eval(of, scope)?),
            Expr::And(left, right) => {
                let left = self.eval(left, scope)?;
                if left.truth() {
                    self.eval(right, scope)
                } else {
                    Ok(left)
                }
            }
            Expr::Or(left, right) => {
                let left = self.eval(left, scope)?;
                if left.truth() {
                    Ok(left)
                } else {
                    self.eval(right, scope)
                }
            }
            Expr::Binary(op, left, right) => {
                let left = self.eval(left, scope)?;
                let right = self.eval(right, scope)?;
                binary(*op, &left, &right)
            }
            Expr::Concat(parts) => {
                let mut text = String::new();
                for part in parts {
                    let part = self.eval(part, scope)?;
                    text.push_str(&python_str(&part)?);
                    burn_text(text.len())?;
                }
                Ok(Value::from(text))
            }
            Expr::Compare(first, rest) => {
                let mut left = self.eval(first, scope)?;
                for (comparison, right) in rest {
                    let right = self.eval(right, scope)?;
                    if !compare(*comparison, &left, &right)? {
                        return Ok(Value::Bool(false));
                    }
                    left = right;
                }
                Ok(Value::Bool(true))
            }
            Expr::Condition(test, value, otherwise) => {
                if self.eval(test, scope)?.truth() {
                    return self.eval(value, scope);
                }
                match otherwise {
                    Some(otherwise) => self.eval(otherwise, scope),
                    None => Ok(Value::undefined("the inline if-expression is false and has no else")),
                }
            }
            _ => fail("not an expression"),
        }
    }

    fn eval_all(&mut self, items: &[Expr], scope: &Rc<Scope>) -> Result<Vec<Value>> {
        items.iter().map(|item| self.eval(item, scope)).collect()
    }

    pub fn eval_arguments(&mut self, arguments: &Arguments, scope: &Rc<Scope>) -> Result<CallArguments> {
        let mut positional = self.eval_all(&arguments.positional, scope)?;
        if let Some(star) = &arguments.star {
            positional.extend(self.eval(star, scope)?.items()?);
        }
        let mut named = Vec::new();
        for (name, value) in &arguments.named {
            named.push((name.clone(), self.eval(value, scope)?));
        }
        if let Some(star_star) = &arguments.star_star {
            let Value::Dict(dict) = self.eval(star_star, scope)? else {
                return fail("argument after ** must be a mapping");
            };
            for (key, value) in dict.entries() {
                let Value::Str(name) = key else { return fail("keywords must be strings") };
                if named.iter().any(|(known, _)| known == name) {
                    return fail(format!("got multiple values for keyword argument '{name}'"));
                }
                named.push((name.clone(), value.clone()));
            }
        }
        Ok(CallArguments { positional, named })
    }

    /// A filter expression; `block` is the text that stands at the beginning of a block's filters.
    pub fn eval_filter(&mut self, expr: &Expr, block: Option<Value>, scope: &Rc<Scope>) -> Result<Value> {
        let Expr::Filter(of, name, arguments) = expr else { return self.eval(expr, scope) };
        let value = match (of, block) {
            (Some(inner), block) => self.eval_filter(inner, block, scope)?,
            (None, Some(text)) => text,
            (None, None) => return fail("a filter without a value"),
        };
        let arguments = self.eval_arguments(arguments, scope)?;
        self.filter(name, value, arguments)
    }

    /// of[key] as the sandbox reads it: the item, else the attribute.
    pub fn item(&mut self, of: &Value, key: &Value) -> Result<Value> {
        if let Some(value) = subscript(of, key)? {
            return Ok(value);
        }
        if let Value::Str(name) = key {
            if let Some(value) = self.python_attribute(of, name)? {
                return Ok(value);
            }
        }
        Ok(missing(of, key))
    }

    /// of.name as the sandbox reads it: the attribute, else the item.
    pub fn attribute(&mut self, of: &Value, name: &str) -> Result<Value> {
        of.check_defined()?;
        if let Some(value) = self.python_attribute(of, name)? {
            return Ok(value);
        }
        let key = Value::from(name);
        Ok(subscript(of, &key)?.unwrap_or_else(|| missing(of, &key)))
    }
}

fn missing(of: &Value, key: &Value) -> Value {
    let name = python_str(key).unwrap_or_default();
    Value::Undefined(Rc::new(Missing::Attribute { of: of.type_name(), name }))
}
