//! The methods of Python's str.

use super::calls::CallArguments;
use super::unicode::{
    is_alpha, is_decimal, is_digit, is_identifier, is_line_end, is_lower, is_numeric, is_printable, is_space, is_title,
    is_upper,
};
use super::value::{burn_text, fail, unsupported, Result, Value};

pub const STRING_METHODS: [&str; 47] = [
    "capitalize",
    "casefold",
    "center",
    "count",
    "encode",
    "endswith",
    "expandtabs",
    "find",
    "format",
    "format_map",
    "index",
    "isalnum",
    "isalpha",
    "isascii",
    "isdecimal",
    "isdigit",
    "isidentifier",
    "islower",
    "isnumeric",
    "isprintable",
    "isspace",
    "istitle",
    "isupper",
    "join",
    "ljust",
    "lower",
    "lstrip",
    "maketrans",
    "partition",
    "removeprefix",
    "removesuffix",
    "replace",
    "rfind",
    "rindex",
    "rjust",
    "rpartition",
    "rsplit",
    "rstrip",
    "split",
    "splitlines",
    "startswith",
    "strip",
    "swapcase",
    "title",
    "translate",
    "upper",
    "zfill",
];

pub fn string_method(text: &str, name: &'static str, arguments: CallArguments) -> Result<Value> {
    burn_text(text.len())?;
    match name {
        "capitalize" | "casefold" | "lower" | "swapcase" | "title" | "upper" => {
            arguments.bind(name, [])?;
            changed_case(text, name).map(Value::from)
        }
        "strip" | "lstrip" | "rstrip" => strip(text, name, arguments),
        "split" | "rsplit" => split(text, name, arguments),
        "splitlines" => splitlines(text, arguments),
        "startswith" | "endswith" => affix(text, name, arguments),
        "count" | "find" | "rfind" | "index" | "rindex" => search(text, name, arguments),
        "center" | "ljust" | "rjust" | "zfill" => padded(text, name, arguments),
        "partition" | "rpartition" => partition(text, name, arguments),
        "removeprefix" | "removesuffix" => {
            let part = one_text(name, arguments)?;
            let rest = if name == "removeprefix" { text.strip_prefix(&*part) } else { text.strip_suffix(&*part) };
            Ok(Value::from(rest.unwrap_or(text)))
        }
        "replace" => {
            let [old, new, count] = arguments.bind(name, ["", " ", "count"])?;
            let (Some(Value::Str(old)), Some(Value::Str(new))) = (old, new) else {
                return fail("replace() takes two strings");
            };
            let count = count.map_or(Ok(-1), |count| index(&count))?;
            replaced(text, &old, &new, count).map(Value::from)
        }
        "join" => {
            let parts = arguments.only(name, "")?;
            joined(text, &parts)
        }
        "expandtabs" => unsupported("str.expandtabs"),
        "encode" | "maketrans" | "translate" => unsupported(format!("str.{name}")),
        _ => {
            arguments.bind(name, [])?;
            predicate(text, name).map(Value::Bool)
        }
    }
}

fn index(value: &Value) -> Result<i128> {
    value
        .as_index()
        .map_or_else(|| fail(format!("'{}' object cannot be interpreted as an integer", value.type_name())), Ok)
}

fn one_text(name: &str, arguments: CallArguments) -> Result<std::sync::Arc<str>> {
    match arguments.only(name, "")? {
        Value::Str(text) => Ok(text),
        other => fail(format!("{name}() argument must be str, not {}", other.type_name())),
    }
}

fn title_char(c: char) -> String {
    match c {
        'ǆ' | 'ǅ' | 'Ǆ' => "ǅ".to_owned(),
        'ǉ' | 'ǈ' | 'Ǉ' => "ǈ".to_owned(),
        'ǌ' | 'ǋ' | 'Ǌ' => "ǋ".to_owned(),
        'ǳ' | 'ǲ' | 'Ǳ' => "ǲ".to_owned(),
        c => {
            let mut upper = c.to_uppercase();
            let first: String = upper.next().into_iter().collect();
            first + &upper.as_str().to_lowercase()
        }
    }
}

trait Remaining {
    fn as_str(&self) -> String;
}
impl Remaining for std::char::ToUppercase {
    fn as_str(&self) -> String {
        self.clone().collect()
    }
}

fn changed_case(text: &str, name: &str) -> Result<String> {
    Ok(match name {
        "lower" => text.to_lowercase(),
        "upper" => text.to_uppercase(),
        "casefold" if text.is_ascii() => text.to_lowercase(),
        "casefold" => return unsupported("str.casefold beyond ASCII"),
        "swapcase" if text.is_ascii() => text
            .chars()
            .map(|c| if c.is_ascii_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
            .collect(),
        "swapcase" => return unsupported("str.swapcase beyond ASCII"),
        "capitalize" => {
            let mut chars = text.chars();
            let first = chars.next().map(title_char).unwrap_or_default();
            first + &chars.as_str().to_lowercase()
        }
        _ => {
            let mut out = String::new();
            let mut inside = false; // after a letter that has case
            for c in text.chars() {
                if inside {
                    out.extend(c.to_lowercase())
                } else {
                    out.push_str(&title_char(c))
                }
                inside = is_upper(c) || is_lower(c) || is_title(c);
            }
            out
        }
    })
}

fn strip(text: &str, name: &str, arguments: CallArguments) -> Result<Value> {
    let [chars] = arguments.bind(name, [""])?;
    let chars = match chars {
        None | Some(Value::None) => None,
        Some(Value::Str(chars)) => Some(chars),
        Some(other) => return fail(format!("{name} arg must be None or str, not {}", other.type_name())),
    };
    Ok(Value::from(stripped(text, chars.as_deref(), name != "rstrip", name != "lstrip")))
}

/// `text` without the characters, or without spaces, at its ends.
pub fn stripped<'t>(text: &'t str, chars: Option<&str>, left: bool, right: bool) -> &'t str {
    let goes = |c: char| chars.map_or_else(|| is_space(c), |chars| chars.contains(c));
    let text = if left { text.trim_start_matches(goes) } else { text };
    if right {
        text.trim_end_matches(goes)
    } else {
        text
    }
}

fn split(text: &str, name: &str, arguments: CallArguments) -> Result<Value> {
    let [separator, most] = arguments.bind(name, ["sep", "maxsplit"])?;
    let most = most.map_or(Ok(-1), |most| index(&most))?;
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let from_left = name == "split";
    let parts: Vec<&str> = match &separator {
        None | Some(Value::None) => split_spaces(text, most, from_left),
        Some(Value::Str(separator)) if separator.is_empty() => return fail("empty separator"),
        Some(Value::Str(separator)) => {
            let limit = most.saturating_add(1);
            if from_left {
                text.splitn(limit, &**separator).collect()
            } else {
                let mut parts: Vec<&str> = text.rsplitn(limit, &**separator).collect();
                parts.reverse();
                parts
            }
        }
        Some(other) => return fail(format!("must be str or None, not {}", other.type_name())),
    };
    burn_text(text.len() + 64 * parts.len())?;
    Value::list(parts.into_iter().map(Value::from).collect())
}

fn split_spaces(text: &str, most: usize, from_left: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = stripped(text, None, from_left, !from_left);
    while !rest.is_empty() {
        if parts.len() == most {
            // What is left keeps the spaces at its far end.
            parts.push(rest);
            break;
        }
        if from_left {
            let end = rest.find(is_space).unwrap_or(rest.len());
            parts.push(&rest[..end]);
            rest = rest[end..].trim_start_matches(is_space);
        } else {
            let begin = rest.char_indices().rev().find(|(_, c)| is_space(*c)).map_or(0, |(i, c)| i + c.len_utf8());
            parts.push(&rest[begin..]);
            rest = rest[..begin].trim_end_matches(is_space);
        }
    }
    if !from_left {
        parts.reverse();
    }
    parts
}

/// str.splitlines(keepends)
pub fn lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(end) = rest.find(is_line_end) else {
            parts.push(rest);
            break;
        };
        let width = match rest[end..].starts_with("\r\n") {
            true => 2,
            false => rest[end..].chars().next().map_or(1, char::len_utf8),
        };
        parts.push(&rest[..if keep_ends { end + width } else { end }]);
        rest = &rest[end + width..];
    }
    parts
}

fn splitlines(text: &str, arguments: CallArguments) -> Result<Value> {
    let [keep_ends] = arguments.bind("splitlines", ["keepends"])?;
    let keep_ends = keep_ends.is_some_and(|keep| keep.truth());
    Value::list(lines(text, keep_ends).into_iter().map(Value::from).collect())
}

/// text[start:stop] and where it begins, in characters; None when it begins behind the end.
fn window<'t>(text: &'t str, start: Option<Value>, stop: Option<Value>) -> Result<Option<(&'t str, i128)>> {
    let bound = |value: Option<Value>| match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => match value.as_index() {
            Some(i) => Ok(Some(i)),
            None => fail("slice indices must be integers or None"),
        },
    };
    let (start, stop) = (bound(start)?, bound(stop)?);
    if start.is_none() && stop.is_none() {
        return Ok(Some((text, 0)));
    }
    let length = text.chars().count() as i128;
    let at = |i: i128| if i < 0 { (i + length).max(0) } else { i };
    let (start, stop) = (at(start.unwrap_or(0)), at(stop.unwrap_or(length)).min(length));
    if start > length || start > stop {
        return Ok(None);
    }
    let byte = |i: i128| text.char_indices().nth(i as usize).map_or(text.len(), |(byte, _)| byte);
    Ok(Some((&text[byte(start)..byte(stop)], start)))
}

fn affix(text: &str, name: &str, arguments: CallArguments) -> Result<Value> {
    let [affixes, start, stop] = arguments.bind(name, ["", " ", "  "])?;
    let affixes = match affixes {
        Some(one @ Value::Str(_)) => vec![one],
        Some(Value::Tuple(several)) => several.items.clone(),
        _ => return fail(format!("{name} first arg must be str or a tuple of str")),
    };
    let Some((part, _)) = window(text, start, stop)? else { return Ok(Value::Bool(false)) };
    for affix in affixes {
        let Value::Str(affix) = affix else { return fail(format!("tuple for {name} must only contain str")) };
        let found = if name == "startswith" { part.starts_with(&*affix) } else { part.ends_with(&*affix) };
        if found {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn search(text: &str, name: &str, arguments: CallArguments) -> Result<Value> {
    let [wanted, start, stop] = arguments.bind(name, ["", " ", "  "])?;
    let Some(Value::Str(wanted)) = wanted else { return fail(format!("{name}() argument must be str")) };
    let part = window(text, start, stop)?;
    if name == "count" {
        let count = match part {
            Some((part, _)) if wanted.is_empty() => part.chars().count() + 1,
            Some((part, _)) => part.matches(&*wanted).count(),
            None => 0,
        };
        return Ok(Value::Int(count as i128));
    }
    let found = part.and_then(|(part, offset)| {
        let byte = if name.starts_with('r') { part.rfind(&*wanted) } else { part.find(&*wanted) };
        byte.map(|byte| offset + part[..byte].chars().count() as i128)
    });
    match found {
        Some(at) => Ok(Value::Int(at)),
        None if name.ends_with("index") => fail("substring not found"),
        None => Ok(Value::Int(-1)),
    }
}

fn padded(text: &str, name: &str, arguments: CallArguments) -> Result<Value> {
    let [width, fill] = arguments.bind(name, ["", " "])?;
    let width = width.map_or_else(|| fail(format!("{name}() takes a width")), |width| index(&width))?;
    let fill = match fill {
        None => ' ',
        Some(Value::Str(s)) if s.chars().count() == 1 && name != "zfill" => s.chars().next().unwrap_or(' '),
        Some(_) => return fail("the fill character must be exactly one character long"),
    };
    pad(text, name, width, fill).map(Value::from)
}

pub fn pad(text: &str, name: &str, width: i128, fill: char) -> Result<String> {
    let length = text.chars().count();
    let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
    let missing = width.saturating_sub(length);
    burn_text(missing.saturating_mul(fill.len_utf8()))?;
    let run = |n: usize| fill.to_string().repeat(n);
    Ok(match name {
        "ljust" => format!("{text}{}", run(missing)),
        "rjust" => format!("{}{text}", run(missing)),
        "center" => {
            let left = missing / 2 + (missing & width & 1);
            format!("{}{text}{}", run(left), run(missing - left))
        }
        _ => {
            let signed = usize::from(text.starts_with(['+', '-']));
            format!("{}{}{}", &text[..signed], "0".repeat(missing), &text[signed..])
        }
    })
}

fn partition(text: &str, name: &str, arguments: CallArguments) -> Result<Value> {
    let separator = one_text(name, arguments)?;
    if separator.is_empty() {
        return fail("empty separator");
    }
    let from_left = name == "partition";
    let found = if from_left { text.split_once(&*separator) } else { text.rsplit_once(&*separator) };
    let parts = match found {
        Some((before, after)) => [before, &separator, after],
        None if from_left => [text, "", ""],
        None => ["", "", text],
    };
    Value::tuple(parts.into_iter().map(Value::from).collect())
}

/// text.replace(old, new, count)
pub fn replaced(text: &str, old: &str, new: &str, count: i128) -> Result<String> {
    let found = if old.is_empty() { text.chars().count() + 1 } else { text.matches(old).count() };
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(found);
    burn_text((text.len()).saturating_add(count.saturating_mul(new.len())))?;
    Ok(text.replacen(old, new, count))
}

pub fn joined(separator: &str, parts: &Value) -> Result<Value> {
    let mut out = String::new();
    for (i, part) in parts.items()?.iter().enumerate() {
        let Value::Str(part) = part else {
            return fail(format!("sequence item {i}: expected str instance, {} found", part.type_name()));
        };
        out.push_str(if i > 0 { separator } else { "" });
        out.push_str(part);
        burn_text(out.len())?;
    }
    Ok(Value::from(out))
}

/// str.islower and str.isupper: some letter has case, and none has another.
pub fn has_case(text: &str, is_wanted: fn(char) -> bool, is_other: fn(char) -> bool) -> bool {
    text.chars().any(is_wanted) && !text.chars().any(|c| is_other(c) || is_title(c))
}

pub fn predicate(text: &str, name: &str) -> Result<bool> {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    Ok(match name {
        "isalnum" => all(|c| is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric(c)),
        "isalpha" => all(is_alpha),
        "isascii" => text.is_ascii(),
        "isdecimal" => all(is_decimal),
        "isdigit" => all(is_digit),
        "isnumeric" => all(is_numeric),
        "isspace" => all(is_space),
        "isprintable" => text.chars().all(is_printable),
        "isidentifier" => is_identifier(text),
        "islower" => has_case(text, is_lower, is_upper),
        "isupper" => has_case(text, is_upper, is_lower),
        "istitle" => {
            let (mut inside, mut any, mut right) = (false, false, true);
            for c in text.chars() {
                if is_upper(c) || is_title(c) {
                    right &= !inside;
                    (inside, any) = (true, true);
                } else if is_lower(c) {
                    right &= inside;
                    (inside, any) = (true, true);
                } else {
                    inside = false;
                }
            }
            right && any
        }
        _ => return unsupported(format!("str.{name}")),
    })
}
