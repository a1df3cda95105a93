//! The tests of `is`.

use super::ast::{Binary, Comparison};
use super::calls::CallArguments;
use super::exec::Interpreter;
use super::operators::{binary, compare, contains, equal};
use super::string_methods::has_case;
use super::text::python_str;
use super::unicode::{is_lower, is_upper};
use super::value::{fail, hash_key, unsupported, Result, Value};

pub const TESTS: [&str; 39] = [
    "odd",
    "even",
    "divisibleby",
    "defined",
    "undefined",
    "filter",
    "test",
    "none",
    "boolean",
    "false",
    "true",
    "integer",
    "float",
    "lower",
    "upper",
    "string",
    "mapping",
    "number",
    "sequence",
    "iterable",
    "callable",
    "sameas",
    "escaped",
    "in",
    "==",
    "eq",
    "equalto",
    "!=",
    "ne",
    ">",
    "gt",
    "greaterthan",
    "ge",
    ">=",
    "<",
    "lt",
    "lessthan",
    "<=",
    "le",
];

fn comparison(name: &str) -> Option<Comparison> {
    Some(match name {
        "==" | "eq" | "equalto" => Comparison::Eq,
        "!=" | "ne" => Comparison::Ne,
        ">" | "gt" | "greaterthan" => Comparison::Gt,
        ">=" | "ge" => Comparison::Ge,
        "<" | "lt" | "lessthan" => Comparison::Lt,
        "<=" | "le" => Comparison::Le,
        _ => return None,
    })
}

fn remainder_is(value: &Value, divisor: &Value, wanted: i128) -> Result<bool> {
    equal(&binary(Binary::Mod, value, divisor)?, &Value::Int(wanted))
}

fn same(value: &Value, other: &Value) -> Result<bool> {
    Ok(match (value, other) {
        (Value::None, Value::None) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) if (-5..=256).contains(a) => a == b, // Python keeps one of each
        (Value::Int(a), Value::Int(b)) if a != b => false,
        (Value::Str(a), Value::Str(b)) if a != b => false,
        (Value::Int(_), Value::Int(_)) | (Value::Str(_), Value::Str(_)) | (Value::Float(_), Value::Float(_)) => {
            return unsupported("`sameas` for equal numbers or texts")
        }
        _ => value.same_object(other),
    })
}

impl Interpreter {
    pub fn test(&mut self, name: &str, value: &Value, arguments: CallArguments) -> Result<bool> {
        if let Some(comparison) = comparison(name) {
            let other = arguments.only(name, "")?;
            return compare(comparison, value, &other);
        }
        match name {
            "divisibleby" => return remainder_is(value, &arguments.only(name, "num")?, 0),
            "sameas" => return same(value, &arguments.only(name, "other")?),
            "in" => return contains(&arguments.only(name, "seq")?, value),
            _ => {}
        }
        if !TESTS.contains(&name) {
            return fail(format!("no test named '{name}'"));
        }
        arguments.bind(name, [])?;
        Ok(match name {
            "odd" => remainder_is(value, &Value::Int(2), 1)?,
            "even" => remainder_is(value, &Value::Int(2), 0)?,
            "defined" => !value.is_undefined(),
            "undefined" => value.is_undefined(),
            "filter" | "test" if value.as_str().is_none() => hash_key(value).map(|_| false)?,
            "filter" => value.as_str().is_some_and(|name| super::filters::FILTERS.contains(&name)),
            "test" => value.as_str().is_some_and(|name| TESTS.contains(&name)),
            "none" => matches!(value, Value::None),
            "boolean" => matches!(value, Value::Bool(_)),
            "false" => matches!(value, Value::Bool(false)),
            "true" => matches!(value, Value::Bool(true)),
            "integer" => matches!(value, Value::Int(_)),
            "float" => matches!(value, Value::Float(_)),
            "lower" => has_case(&python_str(value)?, is_lower, is_upper),
            "upper" => has_case(&python_str(value)?, is_upper, is_lower),
            "string" => value.as_str().is_some(),
            "mapping" => matches!(value, Value::Dict(_)),
            "number" => matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)),
            "sequence" => !matches!(value, Value::View(..)) && value.length().is_ok(),
            "iterable" => value.is_iterable(),
            "callable" => matches!(
                value,
                Value::Macro(_)
                    | Value::Function(_)
                    | Value::Method(_)
                    | Value::Loop(_)
                    | Value::Joiner(_)
                    | Value::Undefined(_)
            ),
            _ => matches!(value, Value::Markup(_)), // escaped
        })
    }
}
