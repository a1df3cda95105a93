//! Filters on sequences and dicts.

use super::ast::Binary;
use super::calls::CallArguments;
use super::exec::Interpreter;
use super::filters::{int_argument, truth};
use super::methods::extreme;
use super::operators::{binary, equal, sort_by_key};
use super::text::python_str;
use super::value::{burn, burn_text, fail, hash_key, unsupported, Result, Value};
use std::collections::HashSet;

type Path = Vec<Value>;

/// "a.0.b" as what is looked up one after the other.
fn attribute_path(attribute: &Value) -> Result<Path> {
    Ok(match attribute {
        Value::None => Vec::new(),
        Value::Str(text) => text
            .split('.')
            .map(|part| match part.parse::<i128>() {
                Ok(i) if part.bytes().all(|b| b.is_ascii_digit()) => Value::Int(i),
                _ => Value::from(part),
            })
            .collect(),
        other => vec![other.clone()],
    })
}

fn ignoring_case(value: Value) -> Value {
    match &value {
        Value::Str(text) => Value::from(text.to_lowercase()),
        _ => value,
    }
}

/// How sort, unique, min, max and groupby see an item.
struct KeyOf {
    path: Path,
    case_sensitive: bool,
    default: Option<Value>,
}

impl KeyOf {
    fn new(attribute: Option<Value>, case_sensitive: &Option<Value>) -> Result<KeyOf> {
        let path = attribute_path(&attribute.unwrap_or(Value::None))?;
        Ok(KeyOf { path, case_sensitive: truth(case_sensitive), default: None })
    }
}

impl Interpreter {
    fn look_up(&mut self, item: &Value, path: &Path, default: Option<&Value>) -> Result<Value> {
        let mut value = item.clone();
        for part in path {
            value = self.item(&value, part)?;
            if let (true, Some(default)) = (value.is_undefined(), default) {
                value = default.clone();
            }
        }
        Ok(value)
    }

    fn key(&mut self, item: &Value, key: &KeyOf) -> Result<Value> {
        let value = self.look_up(item, &key.path, key.default.as_ref())?;
        Ok(if key.case_sensitive { value } else { ignoring_case(value) })
    }

    pub fn sequence_filter(&mut self, name: &str, value: Value, arguments: CallArguments) -> Result<Value> {
        match name {
            "list" => {
                arguments.bind(name, [])?;
                let items = value.items()?;
                burn(1 + items.len() / 4)?;
                Value::list(items)
            }
            "first" | "last" | "reverse" => {
                arguments.bind(name, [])?;
                ends(name, value)
            }
            "items" => {
                arguments.bind(name, [])?;
                match &value {
                    Value::Undefined(_) => Ok(Value::iter(Vec::new())),
                    Value::Dict(dict) => {
                        let view = Value::View(super::value::View::Items, dict.clone());
                        view.items().map(Value::iter)
                    }
                    _ => fail("Can only get item pairs from a mapping."),
                }
            }
            "join" => self.join(value, arguments),
            "map" => self.map(value, arguments),
            "select" | "reject" | "selectattr" | "rejectattr" => self.select(name, value, arguments),
            "sort" => self.sort(value, arguments),
            "unique" => self.unique(value, arguments),
            "min" | "max" => {
                let [case_sensitive, attribute] = arguments.bind(name, ["case_sensitive", "attribute"])?;
                let key = KeyOf::new(attribute, &case_sensitive)?;
                let mut keyed = Vec::new();
                for item in value.items()? {
                    keyed.push((self.key(&item, &key)?, item));
                }
                let found = extreme(keyed, name == "max")?;
                Ok(found.unwrap_or_else(|| Value::undefined("No aggregated item, sequence was empty.")))
            }
            "sum" => self.sum(value, arguments),
            "groupby" => self.group_by(value, arguments),
            "batch" | "slice" => pieces(name, value, arguments),
            "dictsort" => dict_sort(value, arguments),
            _ => unsupported(format!("the filter {name}")),
        }
    }

    fn join(&mut self, value: Value, arguments: CallArguments) -> Result<Value> {
        let [separator, attribute] = arguments.bind("join", ["d", "attribute"])?;
        let separator = separator.map_or(Ok(String::new()), |d| python_str(&d))?;
        let path = attribute_path(&attribute.unwrap_or(Value::None))?;
        let mut text = String::new();
        for (i, item) in value.items()?.iter().enumerate() {
            text.push_str(if i > 0 { &separator } else { "" });
            text.push_str(&python_str(&self.look_up(item, &path, None)?)?);
            burn_text(text.len())?;
        }
        Ok(Value::from(text))
    }

    /// A generator: the error of an item comes when it is asked for.
    fn generate(
        &mut self,
        value: Value,
        mut step: impl FnMut(&mut Self, Value) -> Result<Option<Value>>,
    ) -> Result<Value> {
        if !value.truth() {
            return Ok(Value::iter(Vec::new()));
        }
        let (mut out, mut error) = (Vec::new(), None);
        match value.items() {
            Err(problem) => error = Some(problem),
            Ok(items) => {
                for item in items {
                    match step(self, item) {
                        Ok(found) => out.extend(found),
                        Err(problem) => {
                            error = Some(problem);
                            break;
                        }
                    }
                }
            }
        }
        Ok(Value::iter_until(out, error))
    }

    fn map(&mut self, value: Value, arguments: CallArguments) -> Result<Value> {
        let CallArguments { mut positional, named } = arguments;
        if positional.is_empty() && named.iter().any(|(name, _)| &**name == "attribute") {
            let [attribute, default] = CallArguments { positional, named }.bind("map", ["attribute", "default"])?;
            let path = attribute_path(&attribute.unwrap_or(Value::None))?;
            let default = default.filter(|value| !matches!(value, Value::None));
            return self.generate(value, |this, item| this.look_up(&item, &path, default.as_ref()).map(Some));
        }
        if positional.is_empty() {
            return fail("map requires a filter argument");
        }
        let Value::Str(name) = positional.remove(0) else { return fail("map requires a filter's name") };
        self.generate(value, |this, item| {
            let arguments = CallArguments { positional: positional.clone(), named: named.clone() };
            this.filter(&name, item, arguments).map(Some)
        })
    }

    fn select(&mut self, name: &str, value: Value, arguments: CallArguments) -> Result<Value> {
        let CallArguments { mut positional, named } = arguments;
        let path = if name.ends_with("attr") {
            if positional.is_empty() {
                return fail("missing parameter for attribute name");
            }
            attribute_path(&positional.remove(0))?
        } else {
            Vec::new()
        };
        let test = match positional.is_empty() {
            true => None,
            false => match positional.remove(0) {
                Value::Str(test) => Some(test),
                _ => return fail(format!("{name} requires a test's name")),
            },
        };
        let wanted = name.starts_with("select");
        self.generate(value, |this, item| {
            let subject = this.look_up(&item, &path, None)?;
            let holds = match &test {
                Some(test) => {
                    let arguments = CallArguments { positional: positional.clone(), named: named.clone() };
                    this.test(test, &subject, arguments)?
                }
                None => subject.truth(),
            };
            Ok((holds == wanted).then_some(item))
        })
    }

    fn sort(&mut self, value: Value, arguments: CallArguments) -> Result<Value> {
        let [reverse, case_sensitive, attribute] =
            arguments.bind("sort", ["reverse", "case_sensitive", "attribute"])?;
        let keys: Vec<KeyOf> = match &attribute {
            Some(Value::Str(names)) => names
                .split(',')
                .map(|name| KeyOf::new(Some(Value::from(name)), &case_sensitive))
                .collect::<Result<_>>()?,
            _ => vec![KeyOf::new(attribute, &case_sensitive)?],
        };
        let mut items = value.items()?;
        burn(items.len().saturating_mul(4))?;
        let sort_key = |item: &Value| {
            let parts = keys.iter().map(|key| self.key(item, key)).collect::<Result<_>>()?;
            Value::list(parts)
        };
        sort_by_key(&mut items, sort_key, truth(&reverse))?;
        Value::list(items)
    }

    fn unique(&mut self, value: Value, arguments: CallArguments) -> Result<Value> {
        let [case_sensitive, attribute] = arguments.bind("unique", ["case_sensitive", "attribute"])?;
        let key = KeyOf::new(attribute, &case_sensitive)?;
        let mut seen = HashSet::new();
        let (mut out, mut error) = (Vec::new(), None);
        for item in value.items()? {
            match self.key(&item, &key).and_then(|key| hash_key(&key)) {
                Ok(key) => {
                    if seen.insert(key) {
                        out.push(item);
                    }
                }
                Err(problem) => {
                    error = Some(problem);
                    break;
                }
            }
        }
        Ok(Value::iter_until(out, error))
    }

    fn sum(&mut self, value: Value, arguments: CallArguments) -> Result<Value> {
        let [attribute, start] = arguments.bind("sum", ["attribute", "start"])?;
        let path = attribute_path(&attribute.unwrap_or(Value::None))?;
        let mut total = start.unwrap_or(Value::Int(0));
        if total.as_str().is_some() {
            return fail("sum() can't sum strings");
        }
        let items = value.items()?;
        if matches!(total, Value::Float(_)) || items.iter().any(|item| matches!(item, Value::Float(_))) {
            // From Python 3.12 on sums of floats are compensated; before they are not.
            if items.len() > 2 {
                return unsupported("the sum of several floats");
            }
        }
        for item in items {
            total = binary(Binary::Add, &total, &self.look_up(&item, &path, None)?)?;
        }
        Ok(total)
    }

    fn group_by(&mut self, value: Value, arguments: CallArguments) -> Result<Value> {
        let names = ["attribute", "default", "case_sensitive"];
        let [attribute, default, case_sensitive] = arguments.bind("groupby", names)?;
        if attribute.is_none() {
            return fail("groupby wants an attribute");
        }
        let mut key = KeyOf::new(attribute, &case_sensitive)?;
        key.default = default.filter(|value| !matches!(value, Value::None));
        let mut items = value.items()?;
        burn(items.len().saturating_mul(4))?;
        sort_by_key(&mut items, |item| self.key(item, &key), false)?;
        let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
        for item in items {
            let found = self.key(&item, &key)?;
            match groups.last_mut() {
                Some((known, members)) if equal(known, &found)? => members.push(item),
                _ => groups.push((found, vec![item])),
            }
        }
        let mut out = Vec::new();
        for (known, members) in groups {
            let shown = match key.case_sensitive {
                true => known,
                false => self.look_up(&members[0], &key.path, key.default.as_ref())?,
            };
            out.push(Value::group(shown, members)?);
        }
        Value::list(out)
    }
}

fn ends(name: &str, value: Value) -> Result<Value> {
    let none = || Value::undefined(format!("No {name} item, sequence was empty."));
    match (name, &value) {
        ("first", Value::Iter(iter)) => Ok(iter.borrow_mut().pull()?.unwrap_or_else(none)),
        ("first", Value::Str(text)) => Ok(text.chars().next().map_or_else(none, |c| Value::from(c.to_string()))),
        ("first", _) => Ok(value.items()?.into_iter().next().unwrap_or_else(none)),
        ("last", Value::Iter(_)) => fail("'generator' object is not reversible"),
        ("last", _) => Ok(value.items()?.pop().unwrap_or_else(none)),
        (_, Value::Str(text)) => Ok(Value::from(text.chars().rev().collect::<String>())),
        (_, _) => {
            let mut items = value.items()?;
            items.reverse();
            burn(1 + items.len() / 4)?;
            if matches!(value, Value::Iter(_)) {
                Value::list(items)
            } else {
                Ok(Value::iter(items))
            }
        }
    }
}

/// The generators batch and slice.
fn pieces(name: &str, value: Value, arguments: CallArguments) -> Result<Value> {
    let size = if name == "batch" { "linecount" } else { "slices" };
    let [count, fill] = arguments.bind(name, [size, "fill_with"])?;
    let count = match int_argument(&count, 0)? {
        n @ 1..=100_000 => n as usize,
        _ => return fail(format!("{name} wants a number from 1 to 100000")),
    };
    let fill = fill.filter(|value| !matches!(value, Value::None));
    let items = value.items()?;
    burn(items.len() + count)?;
    let mut out = Vec::new();
    if name == "batch" {
        for part in items.chunks(count) {
            let mut part = part.to_vec();
            if let Some(fill) = &fill {
                part.resize(count, fill.clone());
            }
            out.push(Value::list(part)?);
        }
        return Ok(Value::iter(out));
    }
    let (per_slice, extra) = (items.len() / count, items.len() % count);
    let mut at = 0;
    for slice in 0..count {
        let length = per_slice + usize::from(slice < extra);
        let mut part = items[at..at + length].to_vec();
        at += length;
        if slice >= extra {
            part.extend(fill.clone());
        }
        out.push(Value::list(part)?);
    }
    Ok(Value::iter(out))
}

fn dict_sort(value: Value, arguments: CallArguments) -> Result<Value> {
    let [case_sensitive, by, reverse] = arguments.bind("dictsort", ["case_sensitive", "by", "reverse"])?;
    let by_value = match by.as_ref().map_or(Some("key"), Value::as_str) {
        Some("key") => false,
        Some("value") => true,
        _ => return fail("You can only sort by either \"key\" or \"value\""),
    };
    value.check_defined()?;
    let Value::Dict(dict) = &value else { return fail(format!("'{}' object has no items()", value.type_name())) };
    let mut entries: Vec<(Value, Value)> = dict.entries().map(|(k, v)| (k.clone(), v.clone())).collect();
    burn(entries.len().saturating_mul(4))?;
    let case_sensitive = truth(&case_sensitive);
    let key = |(key, value): &(Value, Value)| {
        let part = if by_value { value } else { key }.clone();
        Ok(if case_sensitive { part } else { ignoring_case(part) })
    };
    sort_by_key(&mut entries, key, truth(&reverse))?;
    Value::list(entries.into_iter().map(|(k, v)| Value::tuple(vec![k, v])).collect::<Result<_>>()?)
}
