//! Python's `%` formatting and the format specifications of str.format.

use super::operators::{number, Number};
use super::text::{float_repr, python_repr, python_str};
use super::value::{burn_text, fail, unsupported, Key, Result, Value};

const MAX_WIDTH: usize = 1 << 20;

struct Percent {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// What `%` takes its values from.
struct Source<'a> {
    values: &'a Value,
    tuple: Option<&'a [Value]>,
    next: usize,
}

impl Source<'_> {
    fn next(&mut self) -> Result<Value> {
        let at = self.next;
        self.next += 1;
        match self.tuple {
            Some(items) => items.get(at).cloned(),
            None => (at == 0).then(|| self.values.clone()),
        }
        .map_or_else(|| fail("not enough arguments for format string"), Ok)
    }
}

/// format % values
pub fn percent_format(format: &str, values: &Value) -> Result<String> {
    let tuple = if let Value::Tuple(items) = values { Some(&items.items[..]) } else { None };
    let mut source = Source { values, tuple, next: 0 };
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        rest = percent_field(rest, &mut source, &mut out)?;
        burn_text(out.len())?;
    }
    out.push_str(rest);
    // Python takes whatever can be subscribed for a mapping, of which not all has to be used.
    let mapping = matches!(values, Value::Dict(_) | Value::List(_) | Value::Range(..) | Value::Undefined(_));
    let given = tuple.map_or(1, <[Value]>::len);
    if source.next < given && !mapping {
        return fail("not all arguments converted during string formatting");
    }
    Ok(out)
}

fn leading_number(text: &str) -> Result<(Option<usize>, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if end == 0 {
        return Ok((None, text));
    }
    match text[..end].parse::<usize>() {
        Ok(n) if n <= MAX_WIDTH => Ok((Some(n), &text[end..])),
        _ => fail("a width or precision above 1048576"),
    }
}

/// A width or precision: digits, or `*` for the next value.
fn size<'t>(text: &'t str, source: &mut Source) -> Result<(Option<i128>, &'t str)> {
    if let Some(after) = text.strip_prefix('*') {
        return match source.next()?.as_index() {
            Some(n) if n.unsigned_abs() <= MAX_WIDTH as u128 => Ok((Some(n), after)),
            Some(_) => fail("a width or precision above 1048576"),
            None => fail("* wants int"),
        };
    }
    leading_number(text).map(|(n, rest)| (n.map(|n| n as i128), rest))
}

fn percent_field<'t>(text: &'t str, source: &mut Source, out: &mut String) -> Result<&'t str> {
    let mut rest = text;
    let mut keyed = None;
    if let Some(after) = rest.strip_prefix('(') {
        let Some((key, tail)) = closing(after) else { return fail("incomplete format key") };
        let Value::Dict(dict) = source.values else { return fail("format requires a mapping") };
        let found = dict.get(&Key::Str(key.into()));
        keyed = Some(found.cloned().map_or_else(|| fail(format!("KeyError: '{key}'")), Ok)?);
        rest = tail;
    }
    let mut spec =
        Percent { left: false, plus: false, space: false, alternate: false, zero: false, width: 0, precision: None };
    while let Some(c) = rest.chars().next().filter(|c| "-+ #0".contains(*c)) {
        match c {
            '-' => spec.left = true,
            '+' => spec.plus = true,
            ' ' => spec.space = true,
            '#' => spec.alternate = true,
            _ => spec.zero = true,
        }
        rest = &rest[1..];
    }
    let (width, after) = size(rest, source)?;
    rest = after;
    if let Some(width) = width {
        spec.left |= width < 0;
        spec.width = width.unsigned_abs() as usize;
    }
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = size(after, source)?;
        spec.precision = Some(precision.unwrap_or(0).max(0) as usize);
        rest = after;
    }
    rest = rest.strip_prefix(['h', 'l', 'L']).unwrap_or(rest);
    let Some(code) = rest.chars().next() else { return fail("incomplete format") };
    rest = &rest[code.len_utf8()..];
    if code == '%' {
        out.push('%');
        return Ok(rest);
    }
    let value = match keyed {
        Some(value) => value,
        None => source.next()?,
    };
    out.push_str(&percent_value(code, &value, &spec)?);
    Ok(rest)
}

/// The key in `(key)...`, with parentheses within it balanced.
fn closing(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth == 0 {
            return Some((&text[..at], &text[at + 1..]));
        }
    }
    None
}

fn percent_value(code: char, value: &Value, spec: &Percent) -> Result<String> {
    let cut = |text: String| match spec.precision {
        Some(n) => text.chars().take(n).collect(),
        None => text,
    };
    let sign = if spec.plus { Some('+') } else { spec.space.then_some(' ') };
    let (prefix, body) = match code {
        's' => (String::new(), cut(python_str(value)?)),
        'r' => (String::new(), cut(python_repr(value)?)),
        'c' => (String::new(), percent_char(value)?),
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let number = percent_int(code, value)?;
            let (prefix, digits) = radix_digits(number, code);
            let digits = zeros(digits, spec.precision.unwrap_or(0));
            let prefix = if spec.alternate { prefix } else { "" };
            (format!("{}{prefix}", sign_of(number < 0, sign)), digits)
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => {
            value.check_defined()?;
            let Some(number) = number(value) else {
                return fail(format!("must be real number, not {}", value.type_name()));
            };
            let number = number.float();
            let text = float_digits(number.abs(), code, spec.precision.unwrap_or(6), spec.alternate)?;
            (sign_of(number.is_sign_negative() && !number.is_nan(), sign), text)
        }
        'a' => return unsupported("the format %a"),
        other => return fail(format!("unsupported format character '{other}'")),
    };
    let numeric = !matches!(code, 's' | 'r' | 'c');
    let length = prefix.chars().count() + body.chars().count();
    let fill = spec.width.saturating_sub(length);
    Ok(match (spec.left, spec.zero && numeric) {
        (true, _) => format!("{prefix}{body}{}", " ".repeat(fill)),
        (false, true) => format!("{prefix}{}{body}", "0".repeat(fill)),
        (false, false) => format!("{}{prefix}{body}", " ".repeat(fill)),
    })
}

fn percent_char(value: &Value) -> Result<String> {
    match value {
        Value::Str(s) if s.chars().count() == 1 => Ok(s.to_string()),
        other => match other.as_index().and_then(|i| u32::try_from(i).ok()).and_then(char::from_u32) {
            Some(c) => Ok(c.to_string()),
            None => fail("%c requires int or char"),
        },
    }
}

fn percent_int(code: char, value: &Value) -> Result<i128> {
    match number(value) {
        Some(Number::Int(i)) => Ok(i),
        Some(Number::Float(f)) if matches!(code, 'd' | 'i' | 'u') => float_to_int(f),
        _ => {
            value.check_defined()?;
            fail(format!("%{code} format: a number is required, not {}", value.type_name()))
        }
    }
}

/// int(float)
pub fn float_to_int(value: f64) -> Result<i128> {
    if value.is_nan() || value.is_infinite() {
        return fail("cannot convert float infinity or NaN to integer");
    }
    if value.abs() >= 1.7e38 {
        return super::operators::large();
    }
    Ok(value as i128)
}

fn sign_of(negative: bool, sign: Option<char>) -> String {
    if negative {
        "-".to_owned()
    } else {
        sign.map(String::from).unwrap_or_default()
    }
}

fn zeros(digits: String, width: usize) -> String {
    "0".repeat(width.saturating_sub(digits.len())) + &digits
}

fn radix_digits(number: i128, code: char) -> (&'static str, String) {
    let magnitude = number.unsigned_abs();
    match code {
        'x' => ("0x", format!("{magnitude:x}")),
        'X' => ("0X", format!("{magnitude:X}")),
        'o' => ("0o", format!("{magnitude:o}")),
        'b' => ("0b", format!("{magnitude:b}")),
        _ => ("", magnitude.to_string()),
    }
}

/// Digits of a float that is not negative, as C's printf writes them.
fn float_digits(value: f64, code: char, precision: usize, alternate: bool) -> Result<String> {
    if precision > 400 {
        return unsupported("a precision above 400");
    }
    let upper = code.is_ascii_uppercase();
    if !value.is_finite() {
        let text = if value.is_nan() { "nan" } else { "inf" };
        return Ok(if upper { text.to_uppercase() } else { text.to_owned() });
    }
    let dot = |text: String| if alternate && !text.contains('.') { text + "." } else { text };
    let text = match code.to_ascii_lowercase() {
        'f' => dot(format!("{value:.precision$}")),
        'e' => exponent_form(value, precision, alternate),
        _ => {
            let digits = precision.max(1);
            let exponent = exponent_of(value, digits - 1);
            let text = if exponent < -4 || exponent >= digits as i32 {
                exponent_form(value, digits - 1, alternate)
            } else {
                dot(format!("{value:.*}", (digits as i32 - 1 - exponent).max(0) as usize))
            };
            if alternate {
                text
            } else {
                without_zeros(&text)
            }
        }
    };
    Ok(if upper { text.to_uppercase() } else { text })
}

fn exponent_of(value: f64, precision: usize) -> i32 {
    let text = format!("{value:.precision$e}");
    text.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0)
}

fn exponent_form(value: f64, precision: usize, alternate: bool) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let dot = if alternate && !digits.contains('.') { "." } else { "" };
    format!("{digits}{dot}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// Trailing zeros of the digits, and a dot at their end, taken away.
fn without_zeros(text: &str) -> String {
    let (digits, exponent) = match text.find('e') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    if !digits.contains('.') {
        return text.to_owned();
    }
    format!("{}{exponent}", digits.trim_end_matches('0').trim_end_matches('.'))
}

struct Spec {
    fill: char,
    align: Option<char>,
    sign: char,
    alternate: bool,
    zero: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    code: Option<char>,
}

fn parse_spec(text: &str) -> Result<Spec> {
    let mut spec = Spec {
        fill: ' ',
        align: None,
        sign: '-',
        alternate: false,
        zero: false,
        width: 0,
        grouping: None,
        precision: None,
        code: None,
    };
    let mut chars = text.chars();
    let (first, second) = (chars.next(), chars.next());
    let is_align = |c: Option<char>| c.filter(|c| "<>=^".contains(*c));
    let mut rest = text;
    if let (Some(fill), Some(align)) = (first, is_align(second)) {
        (spec.fill, spec.align) = (fill, Some(align));
        rest = &rest[fill.len_utf8() + 1..];
    } else if let Some(align) = is_align(first) {
        spec.align = Some(align);
        rest = &rest[1..];
    }
    if let Some(sign) = rest.chars().next().filter(|c| "+- ".contains(*c)) {
        spec.sign = sign;
        rest = &rest[1..];
    }
    if rest.starts_with('z') {
        return unsupported("the format option z");
    }
    let flag = |rest: &mut &str, c: char| {
        let found = rest.strip_prefix(c);
        *rest = found.unwrap_or(rest);
        found.is_some()
    };
    spec.alternate = flag(&mut rest, '#');
    spec.zero = flag(&mut rest, '0');
    let (width, after) = leading_number(rest)?;
    spec.width = width.unwrap_or(0);
    rest = after;
    if let Some(c) = rest.chars().next().filter(|c| matches!(c, ',' | '_')) {
        spec.grouping = Some(c);
        rest = &rest[1..];
    }
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = leading_number(after)?;
        spec.precision = Some(precision.map_or_else(|| fail("Format specifier missing precision"), Ok)?);
        rest = after;
    }
    let mut left = rest.chars();
    spec.code = left.next();
    if left.next().is_some() {
        return fail("Invalid format specifier");
    }
    Ok(spec)
}

/// format(value, spec)
pub fn format_value(value: &Value, spec: &str) -> Result<String> {
    if spec.is_empty() {
        return python_str(value);
    }
    if !matches!(value, Value::Str(_) | Value::Bool(_)) && number(value).is_none() {
        return fail(format!("unsupported format string passed to {}.__format__", value.type_name()));
    }
    let spec = parse_spec(spec)?;
    let (prefix, body, numeric) = match (value, spec.code) {
        (Value::Str(s), None | Some('s')) => {
            if spec.sign != '-' || spec.alternate || spec.grouping.is_some() || spec.align == Some('=') {
                return fail("format option not allowed with a string");
            }
            let cut: String = s.chars().take(spec.precision.unwrap_or(usize::MAX)).collect();
            (String::new(), cut, false)
        }
        (Value::Str(_), Some(code)) => return fail(format!("Unknown format code '{code}' for object of type 'str'")),
        _ => {
            let (prefix, body) = format_number(value, &spec)?;
            (prefix, body, true)
        }
    };
    if spec.zero && spec.grouping.is_some() {
        return unsupported("zero padding together with thousands separators");
    }
    let fill = spec.width.saturating_sub(prefix.chars().count() + body.chars().count());
    let zero = spec.zero && spec.align.is_none();
    let fill_char = if spec.zero && spec.fill == ' ' && spec.align.is_none() { '0' } else { spec.fill };
    let padding = |n: usize| fill_char.to_string().repeat(n);
    let default = if numeric {
        if zero {
            '='
        } else {
            '>'
        }
    } else {
        '<'
    };
    Ok(match spec.align.unwrap_or(default) {
        '<' => format!("{prefix}{body}{}", padding(fill)),
        '^' => format!("{}{prefix}{body}{}", padding(fill / 2), padding(fill - fill / 2)),
        '=' => format!("{prefix}{}{body}", padding(fill)),
        _ => format!("{}{prefix}{body}", padding(fill)),
    })
}

fn format_number(value: &Value, spec: &Spec) -> Result<(String, String)> {
    let sign = (spec.sign != '-').then_some(spec.sign);
    let number = number(value).map_or_else(|| fail("not a number"), Ok)?;
    if let (Number::Int(i), None | Some('d' | 'b' | 'o' | 'x' | 'X' | 'c' | 'n')) = (number, spec.code) {
        if spec.precision.is_some() {
            return fail("Precision not allowed in integer format specifier");
        }
        if matches!(spec.code, Some('c' | 'n')) {
            return unsupported("the format codes c and n");
        }
        let (prefix, digits) = radix_digits(i, spec.code.unwrap_or('d'));
        let prefix = if spec.alternate { prefix } else { "" };
        let size = if matches!(spec.code, None | Some('d')) { 3 } else { 4 };
        return Ok((format!("{}{prefix}", sign_of(i < 0, sign)), grouped(&digits, spec.grouping, size)));
    }
    let float = number.float();
    let negative = float.is_sign_negative() && !float.is_nan();
    let magnitude = float.abs();
    let text = match spec.code {
        Some(code @ ('e' | 'E' | 'f' | 'F' | 'g' | 'G')) => {
            float_digits(magnitude, code, spec.precision.unwrap_or(6), spec.alternate)?
        }
        Some('%') => float_digits(magnitude * 100.0, 'f', spec.precision.unwrap_or(6), spec.alternate)? + "%",
        None if spec.precision.is_none() => float_repr(magnitude),
        None => return unsupported("a float's precision without a format code"),
        Some(code) => return fail(format!("Unknown format code '{code}' for object of type 'float'")),
    };
    let whole = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let body = grouped(&text[..whole], spec.grouping, 3) + &text[whole..];
    Ok((sign_of(negative, sign), body))
}

fn grouped(digits: &str, separator: Option<char>, size: usize) -> String {
    let Some(separator) = separator else { return digits.to_owned() };
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % size == 0 {
            out.push(separator);
        }
        out.push(c);
    }
    out
}
