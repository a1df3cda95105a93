//! Filters on texts and numbers, and the table of all.

use super::calls::CallArguments;
use super::exec::Interpreter;
use super::format::{float_to_int, percent_format};
use super::operators::{escaped, number, Number};
use super::string_methods::{lines, pad, replaced, string_method, stripped};
use super::text::{json_dumps, python_str, JsonStyle};
use super::value::{burn_text, fail, unsupported, Dict, Result, Value};
use std::rc::Rc;

pub const FILTERS: [&str; 54] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "filesizeformat",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "items",
    "map",
    "min",
    "max",
    "pprint",
    "random",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "striptags",
    "sum",
    "title",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "urlize",
    "wordcount",
    "wordwrap",
    "xmlattr",
    "tojson",
];

/// An argument that must be an int if it is given.
pub fn int_argument(value: &Option<Value>, default: i128) -> Result<i128> {
    match value {
        None => Ok(default),
        Some(value) => match value.as_index() {
            Some(i) => Ok(i),
            None => fail(format!("'{}' object cannot be interpreted as an integer", value.type_name())),
        },
    }
}

pub fn truth(value: &Option<Value>) -> bool {
    value.as_ref().is_some_and(Value::truth)
}

impl Interpreter {
    pub fn filter(&mut self, name: &str, value: Value, arguments: CallArguments) -> Result<Value> {
        match name {
            "default" | "d" => {
                let [other, boolean] = arguments.bind(name, ["default_value", "boolean"])?;
                let replace = value.is_undefined() || (truth(&boolean) && !value.truth());
                Ok(if replace { other.unwrap_or_else(|| Value::from("")) } else { value })
            }
            "length" | "count" => {
                arguments.bind(name, [])?;
                value.length().map(|n| Value::Int(n as i128))
            }
            "string" => {
                arguments.bind(name, [])?;
                if matches!(value, Value::Markup(_)) {
                    return Ok(value);
                }
                python_str(&value).map(Value::from)
            }
            "attr" => {
                let name = arguments.only(name, "name")?;
                let Value::Str(name) = &name else { return fail("attr wants a name") };
                value.check_defined()?;
                let found = self.python_attribute(&value, name)?;
                Ok(found.unwrap_or_else(|| Value::undefined(format!("no attribute '{name}'"))))
            }
            "tojson" => tojson(&value, arguments),
            "abs" | "int" | "float" | "round" | "filesizeformat" => number_filter(name, &value, arguments),
            "upper" | "lower" | "capitalize" | "title" | "trim" | "replace" | "indent" | "truncate" | "center"
            | "wordcount" | "format" => text_filter(name, &value, arguments),
            "safe" | "escape" | "e" | "forceescape" => markup_filter(name, &value, arguments),
            "random" => unsupported("the filter random"),
            "pprint" | "striptags" | "urlencode" | "urlize" | "wordwrap" | "xmlattr" => {
                unsupported(format!("the filter {name}"))
            }
            _ if FILTERS.contains(&name) => self.sequence_filter(name, value, arguments),
            _ => fail(format!("no filter named '{name}'")),
        }
    }
}

/// transformers' own: json.dumps without escapes for HTML.
fn tojson(value: &Value, arguments: CallArguments) -> Result<Value> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let [ensure_ascii, indent, separators, sort_keys] = arguments.bind("tojson", names)?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(other) => match other.as_index() {
            Some(n) if n <= 64 => Some(" ".repeat(n.max(0) as usize)),
            _ => return fail("tojson: indent must be a string or an integer up to 64"),
        },
    };
    let [item_separator, key_separator] = match separators {
        None | Some(Value::None) => [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()],
        Some(pair) => match &pair.items()?[..] {
            [Value::Str(item), Value::Str(key)] => [item.to_string(), key.to_string()],
            _ => return fail("tojson: separators must be two strings"),
        },
    };
    let (sort_keys, ensure_ascii) = (truth(&sort_keys), truth(&ensure_ascii));
    json_dumps(value, &JsonStyle { indent, item_separator, key_separator, sort_keys, ensure_ascii }).map(Value::from)
}

fn number_filter(name: &str, value: &Value, arguments: CallArguments) -> Result<Value> {
    match name {
        "abs" => {
            arguments.bind(name, [])?;
            match number(value) {
                Some(Number::Int(i)) => Ok(Value::Int(i.abs())),
                Some(Number::Float(f)) => Ok(Value::Float(f.abs())),
                None => fail(format!("bad operand type for abs(): '{}'", value.type_name())),
            }
        }
        "int" => {
            let [default, base] = arguments.bind(name, ["default", "base"])?;
            let base = int_argument(&base, 10)?;
            let found = to_int(value, base)?;
            Ok(found.map(Value::Int).or(default).unwrap_or(Value::Int(0)))
        }
        "float" => {
            let [default] = arguments.bind(name, ["default"])?;
            Ok(to_float(value)?.map(Value::Float).or(default).unwrap_or(Value::Float(0.0)))
        }
        "round" => {
            let [precision, method] = arguments.bind(name, ["precision", "method"])?;
            let method = method.unwrap_or_else(|| Value::from("common"));
            round(value, int_argument(&precision, 0)?, method.as_str().unwrap_or(""))
        }
        _ => {
            let [binary] = arguments.bind(name, ["binary"])?;
            value.check_defined()?;
            let bytes = to_float(value)?.map_or_else(|| fail("filesizeformat wants a number"), Ok)?;
            file_size(bytes, truth(&binary)).map(Value::from)
        }
    }
}

/// int(text, base); None for a ValueError.
fn parse_int(text: &str, base: i128) -> Result<Option<i128>> {
    if !(base == 0 || (2..=36).contains(&base)) {
        return fail("int() base must be >= 2 and <= 36, or 0");
    }
    let text = stripped(text, None, true, true);
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let prefix =
        [("0x", 16), ("0o", 8), ("0b", 2)].into_iter().find(|(p, b)| lower.starts_with(p) && (base == *b || base == 0));
    let (digits, radix) = match prefix {
        Some((p, b)) => (lower[p.len()..].strip_prefix('_').unwrap_or(&lower[p.len()..]), b as u32),
        None => (&lower[..], if base == 0 { 10 } else { base as u32 }),
    };
    let wrong = digits.is_empty() || digits.starts_with('_') || digits.ends_with('_') || digits.contains("__");
    let plain = digits.replace('_', "");
    if wrong || (base == 0 && radix == 10 && plain.len() > 1 && plain.starts_with('0')) {
        return Ok(None);
    }
    if !plain.is_ascii() && plain.chars().any(super::unicode::is_decimal) {
        return unsupported("digits beyond ASCII");
    }
    if !plain.chars().all(|c| c.is_digit(radix)) {
        return Ok(None);
    }
    let magnitude = i128::from_str_radix(&plain, radix).or_else(|_| super::operators::large())?;
    Ok(Some(if negative { -magnitude } else { magnitude }))
}

/// float(text); None for a ValueError.
fn parse_float(text: &str) -> Result<Option<f64>> {
    let text = stripped(text, None, true, true);
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    if (0..bytes.len()).any(|i| bytes[i] == b'_' && !(i > 0 && digit(i - 1) && digit(i + 1))) {
        return Ok(None);
    }
    if !text.is_ascii() && text.chars().any(super::unicode::is_decimal) {
        return unsupported("digits beyond ASCII");
    }
    Ok(text.replace('_', "").parse().ok())
}

/// The filter `int` without its default.
fn to_int(value: &Value, base: i128) -> Result<Option<i128>> {
    value.check_defined()?;
    match value {
        Value::Str(text) => match parse_int(text, base)? {
            Some(i) => Ok(Some(i)),
            None => match parse_float(text)? {
                Some(f) if f.is_finite() => float_to_int(f).map(Some),
                _ => Ok(None),
            },
        },
        Value::Float(f) if f.is_nan() => Ok(None),
        Value::Float(f) => float_to_int(*f).map(Some),
        other => Ok(other.as_index()),
    }
}

fn to_float(value: &Value) -> Result<Option<f64>> {
    value.check_defined()?;
    Ok(match value {
        Value::Str(text) => parse_float(text)?,
        other => number(other).map(Number::float),
    })
}

fn round(value: &Value, precision: i128, method: &str) -> Result<Value> {
    value.check_defined()?;
    let Some(number) = number(value) else {
        return fail(format!("type {} doesn't define __round__ method", value.type_name()));
    };
    if !(0..=300).contains(&precision) {
        return unsupported("round with a precision below 0 or above 300");
    }
    let (digits, scale) = (precision as usize, 10f64.powi(precision as i32));
    let scaled = |f: fn(f64) -> f64| {
        let float = number.float() * scale;
        if !float.is_finite() || float.abs() > 9e15 {
            return unsupported("round of a number as large");
        }
        Ok(Value::Float(f(float) / scale))
    };
    match (method, number) {
        ("common", Number::Int(i)) => Ok(Value::Int(i)),
        ("common", Number::Float(f)) if !f.is_finite() => Ok(Value::Float(f)),
        ("common", Number::Float(f)) => Ok(Value::Float(format!("{f:.digits$}").parse().unwrap_or(f))),
        ("ceil", _) => scaled(f64::ceil),
        ("floor", _) => scaled(f64::floor),
        _ => fail("method must be common, ceil or floor"),
    }
}

fn file_size(bytes: f64, binary: bool) -> Result<String> {
    let base: f64 = if binary { 1024.0 } else { 1000.0 };
    if bytes == 1.0 {
        return Ok("1 Byte".to_owned());
    }
    if bytes < base {
        return Ok(format!("{} Bytes", float_to_int(bytes)?));
    }
    let mut unit = base;
    let mut prefix = "";
    for next in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
        prefix = next;
        unit *= base;
        if bytes < unit {
            break;
        }
    }
    let prefix = if binary { format!("{}iB", prefix.to_uppercase()) } else { format!("{prefix}B") };
    Ok(format!("{:.1} {prefix}", base * bytes / unit))
}

fn text_filter(name: &str, value: &Value, arguments: CallArguments) -> Result<Value> {
    if matches!(value, Value::Markup(_)) {
        let plain = arguments.positional.is_empty() && arguments.named.is_empty();
        match name {
            "replace" => {} // takes str() of it
            "upper" | "lower" | "capitalize" | "trim" if plain => {
                let text = text_filter(name, &Value::from(python_str(value)?), arguments)?;
                return Ok(Value::Markup(python_str(&text)?.into()));
            }
            _ => return unsupported(format!("the filter {name} on a text marked as safe")),
        }
    }
    let text = || python_str(value);
    match name {
        "upper" => string_method(&text()?, "upper", arguments),
        "lower" => string_method(&text()?, "lower", arguments),
        "capitalize" => string_method(&text()?, "capitalize", arguments),
        "title" => {
            arguments.bind(name, [])?;
            Ok(Value::from(title(&text()?)))
        }
        "trim" => {
            let [chars] = arguments.bind(name, ["chars"])?;
            string_method(&text()?, "strip", CallArguments::of(vec![chars.unwrap_or(Value::None)]))
        }
        "replace" => {
            let [old, new, count] = arguments.bind(name, ["old", "new", "count"])?;
            let (Some(old), Some(new)) = (old, new) else { return fail("replace wants two texts") };
            let count = if matches!(count, Some(Value::None)) { None } else { count };
            let count = int_argument(&count, -1)?;
            replaced(&text()?, &python_str(&old)?, &python_str(&new)?, count).map(Value::from)
        }
        "indent" => {
            let [width, first, blank] = arguments.bind(name, ["width", "first", "blank"])?;
            value.check_defined()?;
            let Value::Str(text) = value else { return fail("indent wants a string") };
            indented(text, &width, truth(&first), truth(&blank)).map(Value::from)
        }
        "truncate" => truncate(value, arguments),
        "center" => {
            let [width] = arguments.bind(name, ["width"])?;
            pad(&text()?, "center", int_argument(&width, 80)?, ' ').map(Value::from)
        }
        "wordcount" => {
            arguments.bind(name, [])?;
            let words = regex::Regex::new(r"\w+").expect("a constant");
            Ok(Value::Int(words.find_iter(&text()?).count() as i128))
        }
        _ => format_filter(&text()?, arguments),
    }
}

fn format_filter(text: &str, arguments: CallArguments) -> Result<Value> {
    let CallArguments { positional, named } = arguments;
    if !positional.is_empty() && !named.is_empty() {
        return fail("can't handle positional and keyword arguments at the same time");
    }
    let values = if named.is_empty() {
        Value::tuple(positional)?
    } else {
        let mut dict = Dict::default();
        for (name, value) in named {
            dict.set(Value::Str(name), value)?;
        }
        Value::Dict(Rc::new(dict))
    };
    percent_format(text, &values).map(Value::from)
}

/// Words begin after spaces, hyphens and opening brackets.
fn title(text: &str) -> String {
    let mut out = String::new();
    let mut first = true;
    for c in text.chars() {
        let separates = super::unicode::is_space(c) || "-({[<".contains(c);
        if first || separates {
            out.extend(c.to_uppercase());
        } else {
            out.extend(c.to_lowercase());
        }
        first = separates;
    }
    out
}

fn indented(text: &str, width: &Option<Value>, first: bool, blank: bool) -> Result<String> {
    let indention = match width {
        Some(Value::Str(indention)) => indention.to_string(),
        other => {
            let width = int_argument(other, 4)?.clamp(0, 1 << 16);
            " ".repeat(width as usize)
        }
    };
    let text = format!("{text}\n"); // so that a last line end counts as a line
    let lines = lines(&text, false);
    burn_text(text.len() + lines.len().saturating_mul(indention.len()))?;
    let mut out = String::new();
    for (i, line) in lines.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(out)
}

fn truncate(value: &Value, arguments: CallArguments) -> Result<Value> {
    let [length, kill_words, end, leeway] = arguments.bind("truncate", ["length", "killwords", "end", "leeway"])?;
    let end = match end {
        None => "...".into(),
        Some(Value::Str(end)) => end,
        Some(_) => return fail("truncate: end must be a string"),
    };
    let leeway = if matches!(leeway, Some(Value::None)) { None } else { leeway };
    let (length, leeway) = (int_argument(&length, 255)?, int_argument(&leeway, 5)?);
    let room = length - end.chars().count() as i128;
    if room < 0 || leeway < 0 {
        return fail("truncate: the length is less than that of the end, or the leeway is negative");
    }
    if value.length()? as i128 <= length + leeway {
        return Ok(value.clone());
    }
    let Value::Str(text) = value else { return fail("truncate wants a string") };
    let cut: String = text.chars().take(room as usize).collect();
    let kept = if truth(&kill_words) { &cut[..] } else { cut.rsplit_once(' ').map_or(&cut[..], |(before, _)| before) };
    Ok(Value::from(format!("{kept}{end}")))
}

fn markup_filter(name: &str, value: &Value, arguments: CallArguments) -> Result<Value> {
    arguments.bind(name, [])?;
    let text = python_str(value)?;
    if name == "safe" || (name != "forceescape" && matches!(value, Value::Markup(_))) {
        return Ok(Value::Markup(text.into()));
    }
    Ok(Value::Markup(escaped(&Value::from(text)).unwrap_or_default().into()))
}
