//! Values as Python prints them: str(), repr() and json.dumps().

use super::unicode::is_printable;
use super::value::{burn, fail, unsupported, Result, Value, View};
use std::fmt::Write;

/// str(value)
pub fn python_str(value: &Value) -> Result<String> {
    match value {
        Value::Str(s) | Value::Markup(s) => Ok(s.to_string()),
        Value::Undefined(_) => Ok(String::new()),
        _ => python_repr(value),
    }
}

/// repr(value)
pub fn python_repr(value: &Value) -> Result<String> {
    let mut out = String::new();
    write_repr(value, &mut out)?;
    Ok(out)
}

fn write_repr(value: &Value, out: &mut String) -> Result<()> {
    burn(1)?;
    match value {
        Value::Undefined(_) => out.push_str("Undefined"),
        Value::None => out.push_str("None"),
        Value::Bool(b) => out.push_str(if *b { "True" } else { "False" }),
        Value::Int(i) => out.push_str(&i.to_string()),
        Value::Float(f) => out.push_str(&float_repr(*f)),
        Value::Str(s) => write_string_repr(s, out),
        Value::Markup(s) => {
            out.push_str("Markup(");
            write_string_repr(s, out);
            out.push(')');
        }
        Value::List(s) => write_items(&s.items, ["[", "]"], out)?,
        Value::Tuple(s) if s.items.len() == 1 => write_items(&s.items, ["(", ",)"], out)?,
        Value::Tuple(s) => write_items(&s.items, ["(", ")"], out)?,
        Value::Dict(d) => write_dict(d, out)?,
        Value::Range(start, stop, 1) => out.push_str(&format!("range({start}, {stop})")),
        Value::Range(start, stop, step) => out.push_str(&format!("range({start}, {stop}, {step})")),
        Value::View(kind, _) => {
            let name = value.type_name();
            let items = value.items()?;
            debug_assert!(matches!(kind, View::Keys | View::Values | View::Items));
            write_items(&items, [&format!("{name}(["), "])"], out)?;
        }
        Value::Slice(parts) => write_items(&parts[..], ["slice(", ")"], out)?,
        Value::Namespace(_) => return unsupported("printing a namespace"),
        Value::Loop(_) => return unsupported("printing a loop"),
        Value::Macro(m) => match &m.body.name {
            Some(name) => {
                out.push_str("<Macro ");
                write_string_repr(name, out);
                out.push('>');
            }
            None => out.push_str("<Macro anonymous>"),
        },
        other => return unsupported(format!("printing a {}, whose text is an address in Python,", other.type_name())),
    }
    Ok(())
}

fn write_items(items: &[Value], brackets: [&str; 2], out: &mut String) -> Result<()> {
    out.push_str(brackets[0]);
    for (i, item) in items.iter().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        write_repr(item, out)?;
    }
    out.push_str(brackets[1]);
    Ok(())
}

fn write_dict(dict: &super::value::Dict, out: &mut String) -> Result<()> {
    out.push('{');
    for (i, (key, value)) in dict.entries().enumerate() {
        out.push_str(if i > 0 { ", " } else { "" });
        write_repr(key, out)?;
        out.push_str(": ");
        write_repr(value, out)?;
    }
    out.push('}');
    Ok(())
}

fn write_string_repr(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => {
                let code = c as u32;
                let _ = match code {
                    ..=0xff => write!(out, "\\x{code:02x}"),
                    ..=0xffff => write!(out, "\\u{code:04x}"),
                    _ => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// repr(float): the fewest digits that read back the same, with an exponent below 1e-4 and from 1e16 on.
pub fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}"); // 1.25e-7
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 || (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// How json.dumps lays its text out.
pub struct JsonStyle {
    /// What one level is indented by; None: all on one line.
    pub indent: Option<String>,
    pub item_separator: String,
    pub key_separator: String,
    pub sort_keys: bool,
    pub ensure_ascii: bool,
}

/// json.dumps(value)
pub fn json_dumps(value: &Value, style: &JsonStyle) -> Result<String> {
    let mut out = String::new();
    write_json(value, style, 0, &mut out)?;
    Ok(out)
}

fn new_line(style: &JsonStyle, depth: usize, out: &mut String) -> Result<()> {
    if let Some(indent) = &style.indent {
        super::value::burn_text(out.len() / 64 + indent.len() * depth)?;
        out.push('\n');
        out.push_str(&indent.repeat(depth));
    }
    Ok(())
}

fn json_float(value: f64) -> String {
    match value {
        v if v.is_nan() => "NaN".to_owned(),
        v if v.is_infinite() => if v > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
        v => float_repr(v),
    }
}

fn write_json(value: &Value, style: &JsonStyle, depth: usize, out: &mut String) -> Result<()> {
    burn(1)?;
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(i) => out.push_str(&i.to_string()),
        Value::Float(f) => out.push_str(&json_float(*f)),
        Value::Str(s) | Value::Markup(s) => write_json_string(s, style, out),
        Value::List(s) | Value::Tuple(s) => {
            write_block(&s.items, ['[', ']'], style, depth, out, |item, out| write_json(item, style, depth + 1, out))?;
        }
        Value::Dict(d) => {
            let mut entries: Vec<(&Value, &Value)> = d.entries().collect();
            if style.sort_keys {
                super::operators::sort_by_key(&mut entries, |entry| Ok(entry.0.clone()), false)?;
            }
            write_block(&entries, ['{', '}'], style, depth, out, |(key, value), out| {
                write_json_string(&json_key(key)?, style, out);
                out.push_str(&style.key_separator);
                write_json(value, style, depth + 1, out)
            })?;
        }
        other => return fail(format!("Object of type {} is not JSON serializable", other.type_name())),
    }
    Ok(())
}

fn json_key(key: &Value) -> Result<String> {
    Ok(match key {
        Value::Str(s) | Value::Markup(s) => s.to_string(),
        Value::None => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(i) => i.to_string(),
        Value::Float(f) => json_float(*f),
        other => {
            let name = other.type_name();
            return fail(format!("keys must be str, int, float, bool or None, not {name}"));
        }
    })
}

fn write_block<T>(
    items: &[T],
    brackets: [char; 2],
    style: &JsonStyle,
    depth: usize,
    out: &mut String,
    mut write_item: impl FnMut(&T, &mut String) -> Result<()>,
) -> Result<()> {
    out.push(brackets[0]);
    for (i, item) in items.iter().enumerate() {
        out.push_str(if i > 0 { &style.item_separator } else { "" });
        new_line(style, depth + 1, out)?;
        write_item(item, out)?;
    }
    if !items.is_empty() {
        new_line(style, depth, out)?;
    }
    out.push(brackets[1]);
    Ok(())
}

fn write_json_string(text: &str, style: &JsonStyle, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c if style.ensure_ascii && (!c.is_ascii() || c == '\u{7f}') => {
                if c == '\u{7f}' {
                    out.push(c);
                } else {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
