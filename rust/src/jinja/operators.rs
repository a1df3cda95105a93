//! Python's operators on values: arithmetic, comparison, `in`, subscripts.

use super::ast::{Binary, Comparison};
use super::format::percent_format;
use super::value::{burn, burn_items, burn_text, fail, hash_key, range_len, unsupported, Result, Seq, Value, View};
use std::cmp::Ordering;
use std::rc::Rc;

#[derive(Clone, Copy)]
pub enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    pub fn float(self) -> f64 {
        match self {
            Number::Int(i) => i as f64,
            Number::Float(f) => f,
        }
    }
}

pub fn number(value: &Value) -> Option<Number> {
    match value {
        Value::Float(f) => Some(Number::Float(*f)),
        other => other.as_index().map(Number::Int),
    }
}

fn symbol(op: Binary) -> &'static str {
    match op {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::FloorDiv => "//",
        Binary::Mod => "%",
        Binary::Pow => "** or pow()",
    }
}

pub fn large<T>() -> Result<T> {
    unsupported("an integer beyond 127 bits")
}

pub fn binary(op: Binary, left: &Value, right: &Value) -> Result<Value> {
    // A text formats whatever stands at its right, even what is undefined.
    if let (Binary::Mod, Value::Str(format)) = (op, left) {
        return Ok(Value::from(percent_format(format, right)?));
    }
    left.check_defined()?;
    right.check_defined()?;
    if matches!(left, Value::Markup(_)) || matches!(right, Value::Markup(_)) {
        return match (op, escaped(left), escaped(right)) {
            (Binary::Add, Some(left), Some(right)) => {
                burn_text(left.len() + right.len())?;
                Ok(Value::Markup(format!("{left}{right}").into()))
            }
            _ => unsupported("this operator on a text marked as safe"),
        };
    }
    if let (Some(a), Some(b)) = (number(left), number(right)) {
        return match (a, b) {
            (Number::Int(a), Number::Int(b)) => int_binary(op, a, b),
            _ => float_binary(op, a.float(), b.float()).map(Value::Float),
        };
    }
    match (op, left, right) {
        (Binary::Add, Value::Str(a), Value::Str(b)) => {
            burn_text(a.len() + b.len())?;
            Ok(Value::from(format!("{a}{b}")))
        }
        (Binary::Add, Value::List(a), Value::List(b)) => Value::list(joined(a, b)?),
        (Binary::Add, Value::Tuple(a), Value::Tuple(b)) => Value::tuple(joined(a, b)?),
        (Binary::Mul, items, count) if count.as_index().is_some() && is_repeatable(items) => {
            repeated(items, count.as_index().unwrap_or(0))
        }
        (Binary::Mul, count, items) if count.as_index().is_some() && is_repeatable(items) => {
            repeated(items, count.as_index().unwrap_or(0))
        }
        _ => fail(format!(
            "unsupported operand type(s) for {}: '{}' and '{}'",
            symbol(op),
            left.type_name(),
            right.type_name()
        )),
    }
}

/// A text as it stands beside one that is marked as safe.
pub fn escaped(value: &Value) -> Option<String> {
    match value {
        Value::Markup(text) => Some(text.to_string()),
        Value::Str(text) => {
            let text = text.replace('&', "&amp;").replace('>', "&gt;").replace('<', "&lt;");
            Some(text.replace('\'', "&#39;").replace('"', "&#34;"))
        }
        _ => None,
    }
}

fn joined(a: &Rc<Seq>, b: &Rc<Seq>) -> Result<Vec<Value>> {
    burn_items(a.items.len() + b.items.len())?;
    Ok(a.items.iter().chain(&b.items).cloned().collect())
}

fn is_repeatable(value: &Value) -> bool {
    matches!(value, Value::Str(_) | Value::List(_) | Value::Tuple(_))
}

fn repeated(items: &Value, count: i128) -> Result<Value> {
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    let repeat = |seq: &Rc<Seq>| {
        let total = seq.items.len().saturating_mul(count);
        burn_items(total)?;
        Ok(seq.items.iter().cycle().take(total).cloned().collect::<Vec<_>>())
    };
    match items {
        Value::Str(s) => {
            burn_text(s.len().saturating_mul(count))?;
            Ok(Value::from(s.repeat(if s.is_empty() { 0 } else { count })))
        }
        Value::List(s) => Value::list(repeat(s)?),
        Value::Tuple(s) => Value::tuple(repeat(s)?),
        _ => fail("cannot be repeated"),
    }
}

fn int_binary(op: Binary, a: i128, b: i128) -> Result<Value> {
    let exact = match op {
        Binary::Add => a.checked_add(b),
        Binary::Sub => a.checked_sub(b),
        Binary::Mul => a.checked_mul(b),
        Binary::Div if b == 0 => return fail("division by zero"),
        Binary::Div => return exact_quotient(a, b).map(Value::Float),
        Binary::FloorDiv | Binary::Mod if b == 0 => return fail("integer division or modulo by zero"),
        Binary::FloorDiv => a.checked_div_euclid(b).map(|_| floor_div(a, b)),
        Binary::Mod => a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
        Binary::Pow if b < 0 => {
            if a == 0 {
                return fail("0.0 cannot be raised to a negative power");
            }
            return Ok(Value::Float((a as f64).powf(b as f64)));
        }
        Binary::Pow => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
    };
    exact.map_or_else(large, |value| Ok(Value::Int(value)))
}

fn floor_div(a: i128, b: i128) -> i128 {
    let quotient = a / b;
    if a % b != 0 && (a < 0) != (b < 0) {
        quotient - 1
    } else {
        quotient
    }
}

/// a / b: both are exact as f64, or the result might be rounded twice.
fn exact_quotient(a: i128, b: i128) -> Result<f64> {
    if a.unsigned_abs() > 1 << 53 || b.unsigned_abs() > 1 << 53 {
        return unsupported("division of integers beyond 53 bits");
    }
    Ok(a as f64 / b as f64)
}

fn float_binary(op: Binary, a: f64, b: f64) -> Result<f64> {
    if b == 0.0 && matches!(op, Binary::Div | Binary::FloorDiv | Binary::Mod) {
        return fail("float division by zero");
    }
    let modulo = || {
        let r = a % b;
        if r == 0.0 {
            0.0f64.copysign(b)
        } else if (r < 0.0) != (b < 0.0) {
            r + b
        } else {
            r
        }
    };
    Ok(match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Mod => modulo(),
        Binary::FloorDiv => {
            let quotient = (a - modulo()) / b; // as CPython's float_divmod
            let floor = quotient.floor();
            if quotient == 0.0 {
                0.0f64.copysign(a / b)
            } else if quotient - floor > 0.5 {
                floor + 1.0
            } else {
                floor
            }
        }
        Binary::Pow if a == 0.0 && b < 0.0 => return fail("0.0 cannot be raised to a negative power"),
        Binary::Pow if a < 0.0 && b.fract() != 0.0 => return unsupported("a complex number"),
        Binary::Pow => {
            let power = a.powf(b);
            if power.is_infinite() && a.is_finite() && b.is_finite() {
                return fail("numerical result out of range");
            }
            power
        }
    })
}

pub fn negate(value: &Value) -> Result<Value> {
    value.check_defined()?;
    match number(value) {
        Some(Number::Int(i)) => i.checked_neg().map_or_else(large, |i| Ok(Value::Int(i))),
        Some(Number::Float(f)) => Ok(Value::Float(-f)),
        None => fail(format!("bad operand type for unary -: '{}'", value.type_name())),
    }
}

pub fn plus(value: &Value) -> Result<Value> {
    value.check_defined()?;
    match number(value) {
        Some(Number::Int(i)) => Ok(Value::Int(i)),
        Some(Number::Float(f)) => Ok(Value::Float(f)),
        None => fail(format!("bad operand type for unary +: '{}'", value.type_name())),
    }
}

/// Exact comparison of numbers, as Python's; None with a NaN.
fn number_order(a: Number, b: Number) -> Option<Ordering> {
    match (a, b) {
        (Number::Int(a), Number::Int(b)) => Some(a.cmp(&b)),
        (Number::Float(a), Number::Float(b)) => a.partial_cmp(&b),
        (Number::Int(a), Number::Float(b)) => int_float_order(a, b),
        (Number::Float(a), Number::Int(b)) => int_float_order(b, a).map(Ordering::reverse),
    }
}

fn int_float_order(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b.abs() >= 1.7e38 {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    Some(a.cmp(&(b.trunc() as i128)).then_with(|| 0.0f64.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal)))
}

/// left == right
pub fn equal(left: &Value, right: &Value) -> Result<bool> {
    burn(1)?;
    if let (Some(a), Some(b)) = (number(left), number(right)) {
        return Ok(number_order(a, b) == Some(Ordering::Equal));
    }
    Ok(match (left, right) {
        (Value::Undefined(_), Value::Undefined(_)) | (Value::None, Value::None) => true,
        (Value::Str(a) | Value::Markup(a), Value::Str(b) | Value::Markup(b)) => a == b,
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            if a.items.len() != b.items.len() {
                return Ok(false);
            }
            for (x, y) in a.items.iter().zip(&b.items) {
                if !same_or_equal(x, y)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Dict(a), Value::Dict(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (key, x) in a.entries() {
                match b.get(&hash_key(key)?) {
                    Some(y) if same_or_equal(x, y)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        (Value::Range(a, b, c), Value::Range(d, e, f)) => {
            let (n, m) = (range_len(*a, *b, *c), range_len(*d, *e, *f));
            n == m && (n == 0 || (a == d && (n == 1 || c == f)))
        }
        (Value::View(a, _), Value::View(b, _)) if *a != View::Values && *b != View::Values => {
            return unsupported("comparing views of dicts")
        }
        _ => left.same_object(right),
    })
}

/// x is y or x == y, as containers compare.
fn same_or_equal(x: &Value, y: &Value) -> Result<bool> {
    if let (Value::Float(a), Value::Float(b)) = (x, y) {
        if a.is_nan() && b.is_nan() {
            return unsupported("comparing nan within containers");
        }
    }
    equal(x, y)
}

/// Order for <, <=, >, >=; Ok(None) when neither holds (NaN).
pub fn order(left: &Value, right: &Value, sign: &str) -> Result<Option<Ordering>> {
    burn(1)?;
    left.check_defined()?;
    right.check_defined()?;
    if let (Some(a), Some(b)) = (number(left), number(right)) {
        return Ok(number_order(a, b));
    }
    match (left, right) {
        (Value::Str(a) | Value::Markup(a), Value::Str(b) | Value::Markup(b)) => Ok(Some(a.cmp(b))),
        (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
            for (x, y) in a.items.iter().zip(&b.items) {
                if !same_or_equal(x, y)? {
                    return order(x, y, sign);
                }
            }
            Ok(Some(a.items.len().cmp(&b.items.len())))
        }
        _ => fail(format!(
            "'{sign}' not supported between instances of '{}' and '{}'",
            left.type_name(),
            right.type_name()
        )),
    }
}

pub fn compare(comparison: Comparison, left: &Value, right: &Value) -> Result<bool> {
    Ok(match comparison {
        Comparison::Eq => equal(left, right)?,
        Comparison::Ne => !equal(left, right)?,
        Comparison::Lt => order(left, right, "<")? == Some(Ordering::Less),
        Comparison::Le => matches!(order(left, right, "<=")?, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Gt => order(left, right, ">")? == Some(Ordering::Greater),
        Comparison::Ge => matches!(order(left, right, ">=")?, Some(Ordering::Greater | Ordering::Equal)),
        Comparison::In => contains(right, left)?,
        Comparison::NotIn => !contains(right, left)?,
    })
}

/// value in container
pub fn contains(container: &Value, value: &Value) -> Result<bool> {
    match container {
        Value::Str(s) | Value::Markup(s) => match value {
            Value::Str(part) | Value::Markup(part) => {
                burn_text(s.len())?;
                Ok(s.contains(&**part))
            }
            other => fail(format!("'in <string>' requires string as left operand, not {}", other.type_name())),
        },
        Value::Dict(d) | Value::View(View::Keys, d) => Ok(d.get(&hash_key(value)?).is_some()),
        Value::List(s) | Value::Tuple(s) => any_equal(&s.items, value),
        Value::Iter(_) | Value::Range(..) | Value::View(..) => {
            if let Value::Iter(_) = container {
                return unsupported("`in` an iterator");
            }
            any_equal(&container.items()?, value)
        }
        Value::Undefined(_) => Ok(false),
        other => fail(format!("argument of type '{}' is not iterable", other.type_name())),
    }
}

fn any_equal(items: &[Value], value: &Value) -> Result<bool> {
    for item in items {
        if equal(item, value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// obj[key]; None where Python raises TypeError or LookupError, at which Jinja2 looks further.
pub fn subscript(of: &Value, key: &Value) -> Result<Option<Value>> {
    of.check_defined()?;
    if let Value::Slice(parts) = key {
        return slice(of, parts);
    }
    Ok(match of {
        Value::Dict(d) => match hash_key(key) {
            Ok(key) => d.get(&key).cloned(),
            Err(_) => None,
        },
        Value::List(s) | Value::Tuple(s) => {
            key.as_index().and_then(|i| position(i, s.items.len())).map(|i| s.items[i].clone())
        }
        Value::Str(s) => match key.as_index() {
            Some(i) => {
                burn_text(s.len())?;
                let count = if i < 0 { s.chars().count() } else { usize::MAX };
                position(i, count).and_then(|i| s.chars().nth(i)).map(|c| Value::from(c.to_string()))
            }
            None => None,
        },
        Value::Range(start, stop, step) => key
            .as_index()
            .and_then(|i| position(i, range_len(*start, *stop, *step)))
            .map(|i| Value::Int(start + step * i as i128)),
        Value::Markup(_) => return unsupported("a subscript of a text marked as safe"),
        _ => None,
    })
}

fn position(index: i128, length: usize) -> Option<usize> {
    let at = if index < 0 { index + length as i128 } else { index };
    usize::try_from(at).ok().filter(|at| *at < length)
}

fn slice(of: &Value, parts: &[Value; 3]) -> Result<Option<Value>> {
    let is_index = |v: &Value| matches!(v, Value::None) || v.as_index().is_some();
    let sliceable = matches!(of, Value::List(_) | Value::Tuple(_) | Value::Str(_) | Value::Range(..));
    // Jinja2 compiles a slice to Python's own, without the second look that other subscripts get.
    if !sliceable {
        return fail(format!("'{}' object cannot be sliced here", of.type_name()));
    }
    if !parts.iter().all(is_index) {
        return fail("slice indices must be integers or None");
    }
    let [start, stop, step] = [0, 1, 2].map(|i: usize| parts[i].as_index());
    if step == Some(0) {
        return fail("slice step cannot be zero");
    }
    if let Value::Str(s) = of {
        burn_text(s.len())?;
        let chars: Vec<char> = s.chars().collect();
        let text: String = slice_positions(start, stop, step, chars.len()).map(|i| chars[i]).collect();
        return Ok(Some(Value::from(text)));
    }
    let items = of.items()?;
    burn(1 + items.len() / 4)?;
    let picked = slice_positions(start, stop, step, items.len()).map(|i| items[i].clone()).collect();
    Ok(Some(match of {
        Value::List(_) => Value::list(picked)?,
        Value::Tuple(_) => Value::tuple(picked)?,
        _ => return unsupported("a slice of a range"),
    }))
}

/// PySlice_AdjustIndices
fn slice_positions(
    start: Option<i128>,
    stop: Option<i128>,
    step: Option<i128>,
    length: usize,
) -> impl Iterator<Item = usize> {
    let (length, step) = (length as i128, step.unwrap_or(1));
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |index: i128| (if index < 0 { index.saturating_add(length) } else { index }).clamp(low, high);
    let start = start.map_or(if step > 0 { low } else { high }, bound);
    let stop = stop.map_or(if step > 0 { high } else { low }, bound);
    (0..range_len(start, stop, step)).map(move |i| (start + step * i as i128) as usize)
}

/// list.sort(key=key, reverse=reverse): stable; an error for keys that cannot be ordered.
pub fn sort_by_key<T>(items: &mut Vec<T>, mut key: impl FnMut(&T) -> Result<Value>, reverse: bool) -> Result<()> {
    let mut keyed = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        keyed.push((key(&item)?, item));
    }
    let mut failure = None;
    keyed.sort_by(|(a, _), (b, _)| {
        let (a, b) = if reverse { (b, a) } else { (a, b) };
        match order(a, b, "<") {
            Ok(Some(order)) => order,
            Ok(None) => {
                failure.get_or_insert_with(|| super::value::Error::new("sorting nan is not supported"));
                Ordering::Equal
            }
            Err(error) => {
                failure.get_or_insert(error);
                Ordering::Equal
            }
        }
    });
    match failure {
        Some(error) => Err(error),
        None => {
            items.extend(keyed.into_iter().map(|(_, item)| item));
            Ok(())
        }
    }
}
