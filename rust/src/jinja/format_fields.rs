//! The fields of a text for str.format.

use super::value::{fail, unsupported, Result, Value};

/// One piece of a str.format text: literal text, then perhaps a field.
pub struct Piece {
    pub text: String,
    pub field: Option<Field>,
}

pub struct Field {
    pub name: String,
    pub conversion: Option<char>,
    pub spec: String,
}

/// The pieces of a text for str.format.
pub fn format_pieces(text: &str) -> Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if !matches!(c, '{' | '}') {
            literal.push(c);
            continue;
        }
        if chars.next_if(|(_, next)| *next == c).is_some() {
            literal.push(c);
            continue;
        }
        if c == '}' {
            return fail("Single '}' encountered in format string");
        }
        let inner = &text[at + 1..];
        let mut depth = 1;
        let end = inner.char_indices().find(|(_, c)| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth == 0
        });
        let Some((length, _)) = end else { return fail("expected '}' before end of string") };
        pieces.push(Piece { text: std::mem::take(&mut literal), field: Some(field(&inner[..length])?) });
        while chars.next_if(|(i, _)| *i <= at + 1 + length).is_some() {}
    }
    pieces.push(Piece { text: literal, field: None });
    Ok(pieces)
}

fn field(text: &str) -> Result<Field> {
    let (head, spec) = text.split_once(':').unwrap_or((text, ""));
    if spec.contains('{') {
        return unsupported("a field within a format specification");
    }
    let (name, conversion) = match head.split_once('!') {
        Some((name, code)) => {
            let mut chars = code.chars();
            match (chars.next(), chars.next()) {
                (Some(c @ ('s' | 'r')), None) => (name, Some(c)),
                _ => return fail("unknown conversion specifier"),
            }
        }
        None => (head, None),
    };
    Ok(Field { name: name.to_owned(), conversion, spec: spec.to_owned() })
}

/// A field's name as its first part and what is looked up in it: attributes (true) and items.
pub fn field_path(name: &str) -> Result<(String, Vec<(bool, Value)>)> {
    let first = name.find(['.', '[']).unwrap_or(name.len());
    let mut path = Vec::new();
    let mut rest = &name[first..];
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            path.push((true, Value::from(&after[..end])));
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix('[') {
            let Some(end) = after.find(']') else { return fail("Missing ']' in format string") };
            let key = &after[..end];
            let value = match key.parse::<i128>() {
                Ok(i) if key.bytes().all(|b| b.is_ascii_digit()) => Value::Int(i),
                _ => Value::from(key),
            };
            path.push((false, value));
            rest = &after[end + 1..];
        } else {
            return fail("Only '.' or '[' may follow ']' in format field specifier");
        }
    }
    Ok((name[..first].to_owned(), path))
}
