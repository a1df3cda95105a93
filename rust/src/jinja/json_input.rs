//! JSON into values, as Python's json.loads reads it: integers of any size (up to what values hold), NaN, the last of
//! doubled keys.

use super::value::{fail, Dict, Result, Value};
use std::rc::Rc;

const MAX_DEPTH: usize = 90; // below that of values, so that a template can still put them into something

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

pub fn parse_json(text: &str) -> Result<Value> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_spaces();
    if reader.at < text.len() {
        return fail(format!("unexpected text at byte {}", reader.at));
    }
    Ok(value)
}

impl Reader<'_> {
    fn skip_spaces(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn skip(&mut self, word: &str) -> bool {
        self.skip_spaces();
        let found = self.text[self.at..].starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.skip(word) {
            return Ok(());
        }
        fail(format!("expected {word:?} at byte {}", self.at))
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            return fail("JSON is nested too deeply");
        }
        self.skip_spaces();
        match self.text.as_bytes().get(self.at) {
            Some(b'"') => self.string().map(Value::from),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            _ => {
                for (word, value) in [
                    ("null", Value::None),
                    ("true", Value::Bool(true)),
                    ("false", Value::Bool(false)),
                    ("NaN", Value::Float(f64::NAN)),
                    ("Infinity", Value::Float(f64::INFINITY)),
                    ("-Infinity", Value::Float(f64::NEG_INFINITY)),
                ] {
                    if self.skip(word) {
                        return Ok(value);
                    }
                }
                self.number()
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value> {
        self.expect("[")?;
        let mut items = Vec::new();
        if !self.skip("]") {
            loop {
                items.push(self.value(depth + 1)?);
                if !self.skip(",") {
                    break;
                }
            }
            self.expect("]")?;
        }
        Value::list(items)
    }

    fn object(&mut self, depth: usize) -> Result<Value> {
        self.expect("{")?;
        let mut dict = Dict::default();
        if !self.skip("}") {
            loop {
                self.skip_spaces();
                let key = self.string()?;
                self.expect(":")?;
                let value = self.value(depth + 1)?;
                dict.set(Value::from(key), value)?;
                if !self.skip(",") {
                    break;
                }
            }
            self.expect("}")?;
        }
        Ok(Value::Dict(Rc::new(dict)))
    }

    fn number(&mut self) -> Result<Value> {
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')).unwrap_or(rest.len());
        let word = &rest[..length];
        let value = if word.contains(['.', 'e', 'E']) {
            word.parse().map(Value::Float).ok()
        } else {
            word.parse().map(Value::Int).ok()
        };
        self.at += length;
        match value {
            Some(value) => Ok(value),
            None if word.len() > 38 && word.bytes().skip(1).all(|b| b.is_ascii_digit()) => super::operators::large(),
            None => fail(format!("expected a value at byte {}", self.at - length)),
        }
    }

    fn string(&mut self) -> Result<String> {
        let rest = &self.text[self.at..];
        let mut escaped = false;
        let end = rest.bytes().enumerate().skip(1).find(|(_, b)| {
            let closes = *b == b'"' && !escaped;
            escaped = *b == b'\\' && !escaped;
            closes
        });
        let Some((end, _)) = end.filter(|_| rest.starts_with('"')) else {
            return fail(format!("expected a string at byte {}", self.at));
        };
        let quoted = &rest[..=end];
        self.at += quoted.len();
        if !quoted.contains('\\') {
            return Ok(quoted[1..end].to_owned());
        }
        serde_json::from_str(quoted).or_else(|e| fail(format!("a string at byte {}: {e}", self.at)))
    }
}
