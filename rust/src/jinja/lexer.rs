//! Tokens of a template, after jinja2/lexer.py with trim_blocks and lstrip_blocks on and keep_trailing_newline off.

use super::ast::Literal;
use super::unicode::{is_identifier, is_space};
use super::value::{fail, Error, Result};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub enum Tok {
    Data(Arc<str>),
    VariableBegin,
    VariableEnd,
    BlockBegin,
    BlockEnd,
    Name(Arc<str>),
    Str(Arc<str>),
    Int(i128),
    Float(f64),
    Op(&'static str),
    End,
}

#[derive(Debug, Clone)]
pub struct Token {
    pub tok: Tok,
    pub line: usize,
    pub start: usize,
    pub end: usize,
}

// Longest first.
const OPERATORS: [&str; 26] = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".",
    ":", "|", ",", ";",
];

pub fn at_line(line: usize, message: impl std::fmt::Display) -> Error {
    Error { message: format!("line {line}: {message}"), located: true }
}

/// Line ends as Jinja2 reads them, without the last one.
pub fn normalized(source: &str) -> String {
    let mut text = source.replace("\r\n", "\n").replace('\r', "\n");
    if text.ends_with('\n') {
        text.pop();
    }
    text
}

pub struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    line_starting: bool,
    tokens: Vec<Token>,
}

pub fn tokenize(source: &str) -> Result<Vec<Token>> {
    let mut lexer = Lexer { source, at: 0, line: 1, line_starting: true, tokens: Vec::new() };
    while lexer.at < source.len() {
        lexer.root()?;
    }
    lexer.push(Tok::End, lexer.at);
    Ok(lexer.tokens)
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    /// A token that ends here and began at `start`.
    fn push(&mut self, tok: Tok, start: usize) {
        self.tokens.push(Token { tok, line: self.line, start, end: self.at });
    }

    fn advance(&mut self, bytes: usize) {
        let passed = &self.source[self.at..self.at + bytes];
        self.line += passed.matches('\n').count();
        if bytes > 0 {
            self.line_starting = passed.ends_with('\n');
        }
        self.at += bytes;
    }

    fn skip_spaces(&mut self) {
        let spaces = self.rest().len() - self.rest().trim_start_matches(is_space).len();
        self.advance(spaces);
    }

    fn error<T>(&self, message: impl std::fmt::Display) -> Result<T> {
        Err(at_line(self.line, message))
    }

    /// Text up to the next tag, and the tag.
    fn root(&mut self) -> Result<()> {
        let rest = self.rest();
        let begin =
            rest.as_bytes().windows(2).position(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'));
        let Some(begin) = begin else {
            self.data(rest, rest.len());
            return Ok(());
        };
        let tag = &rest[begin..];
        let sign = tag[2..].chars().next().filter(|c| matches!(c, '-' | '+'));
        let text = self.stripped(&rest[..begin], sign, tag.starts_with("{{"));
        self.data(text, begin);
        let start = self.at;
        if let Some(length) = raw_begin(tag) {
            self.advance(length);
            return self.raw();
        }
        self.advance(2 + sign.map_or(0, char::len_utf8));
        match tag.as_bytes()[1] {
            b'#' => self.comment(),
            b'%' => {
                self.push(Tok::BlockBegin, start);
                self.inside(false)
            }
            _ => {
                self.push(Tok::VariableBegin, start);
                self.inside(true)
            }
        }
    }

    fn data(&mut self, text: &str, bytes: usize) {
        if !text.is_empty() {
            self.tokens.push(Token {
                tok: Tok::Data(text.into()),
                line: self.line,
                start: self.at,
                end: self.at + bytes,
            });
        }
        self.advance(bytes);
    }

    /// `text` before a tag, without what the tag's sign and lstrip_blocks take away.
    fn stripped<'t>(&self, text: &'t str, sign: Option<char>, variable: bool) -> &'t str {
        if sign == Some('-') {
            return text.trim_end_matches(is_space);
        }
        if sign == Some('+') || variable {
            return text;
        }
        let line_begin = text.rfind('\n').map_or(0, |at| at + 1);
        let blank = !text[line_begin..].is_empty() && text[line_begin..].chars().all(is_space);
        if blank && (line_begin > 0 || self.line_starting) {
            &text[..line_begin]
        } else {
            text
        }
    }

    fn comment(&mut self) -> Result<()> {
        let rest = self.rest();
        let Some(end) = rest.find("#}") else { return self.error("missing end of comment tag") };
        let sign = rest[..end].chars().next_back().filter(|c| matches!(c, '-' | '+'));
        self.advance(end + 2);
        self.after_block_end(sign);
        Ok(())
    }

    /// What `-` and trim_blocks take away behind a closed tag.
    fn after_block_end(&mut self, sign: Option<char>) {
        match sign {
            Some('-') => self.skip_spaces(),
            Some(_) => {}
            None if self.rest().starts_with('\n') => self.advance(1),
            None => {}
        }
    }

    fn raw(&mut self) -> Result<()> {
        let rest = self.rest();
        let mut from = 0;
        while let Some(found) = rest[from..].find("{%") {
            let begin = from + found;
            if let Some((length, sign, end_sign)) = raw_end(&rest[begin..]) {
                let text = self.stripped(&rest[..begin], sign, false);
                self.data(text, begin);
                self.advance(length);
                self.after_block_end(end_sign);
                return Ok(());
            }
            from = begin + 2;
        }
        self.error("missing end of raw directive")
    }

    /// The tokens of one tag, with its end.
    fn inside(&mut self, variable: bool) -> Result<()> {
        let mut open: Vec<&str> = Vec::new();
        loop {
            if open.is_empty() && self.tag_end(variable) {
                return Ok(());
            }
            let start = self.at;
            let rest = self.rest();
            let Some(c) = rest.chars().next() else { return self.error("unexpected end of template") };
            if is_space(c) {
                self.skip_spaces();
            } else if c.is_ascii_digit() {
                self.number()?;
            } else if c == '_' || c.is_alphanumeric() {
                let length = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
                let name = &rest[..length];
                if !is_identifier(name) {
                    return self.error(format!("invalid character in identifier {name:?}"));
                }
                self.advance(length);
                self.push(Tok::Name(name.into()), start);
            } else if c == '"' || c == '\'' {
                self.string(c)?;
            } else {
                let Some(op) = OPERATORS.iter().find(|op| rest.starts_with(**op)) else {
                    return self.error(format!("unexpected char {c:?}"));
                };
                self.balance(op, &mut open)?;
                self.advance(op.len());
                self.push(Tok::Op(op), start);
            }
        }
    }

    fn balance(&self, op: &'static str, open: &mut Vec<&str>) -> Result<()> {
        match op {
            "{" => open.push("}"),
            "(" => open.push(")"),
            "[" => open.push("]"),
            "}" | ")" | "]" => match open.pop() {
                None => return self.error(format!("unexpected '{op}'")),
                Some(expected) if expected != op => {
                    return self.error(format!("unexpected '{op}', expected '{expected}'"));
                }
                Some(_) => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn tag_end(&mut self, variable: bool) -> bool {
        let rest = self.rest();
        let close = if variable { "}}" } else { "%}" };
        let sign = rest.chars().next().filter(|c| *c == '-' || (*c == '+' && !variable));
        let signed = sign.is_some() && rest[1..].starts_with(close);
        if !signed && !rest.starts_with(close) {
            return false;
        }
        let start = self.at;
        self.advance(if signed { 3 } else { 2 });
        self.push(if variable { Tok::VariableEnd } else { Tok::BlockEnd }, start);
        match (signed, variable) {
            (true, _) => self.after_block_end(sign),
            (false, false) => self.after_block_end(None),
            (false, true) => {}
        }
        true
    }

    fn number(&mut self) -> Result<()> {
        let (start, rest) = (self.at, self.rest());
        let after_dot = self.source[..start].ends_with('.');
        if let Some(length) = float_length(rest).filter(|_| !after_dot) {
            let value = rest[..length].replace('_', "").parse::<f64>().map_err(|e| at_line(self.line, e))?;
            self.advance(length);
            self.push(Tok::Float(value), start);
            return Ok(());
        }
        let (length, radix) = integer_length(rest);
        let digits = rest[..length].replace('_', "");
        let digits = if radix == 10 { &digits[..] } else { &digits[2..] };
        let Ok(value) = i128::from_str_radix(digits, radix) else {
            return self.error(format!("an integer as large as {digits} is not supported"));
        };
        self.advance(length);
        self.push(Tok::Int(value), start);
        Ok(())
    }

    fn string(&mut self, quote: char) -> Result<()> {
        let (start, rest) = (self.at, self.rest());
        let mut escaped = false;
        let end = rest[1..].char_indices().find(|(_, c)| {
            let closes = *c == quote && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        let Some((length, _)) = end else { return self.error(format!("unexpected char {quote:?}")) };
        let text = unescaped(&rest[1..length + 1]).map_err(|e| at_line(self.line, e.message))?;
        self.advance(length + 2);
        self.push(Tok::Str(text.into()), start);
        Ok(())
    }
}

/// Length of `{%- raw %}`.
fn raw_begin(tag: &str) -> Option<usize> {
    let rest = tag.strip_prefix("{%")?;
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest).trim_start_matches(is_space);
    let rest = rest.strip_prefix("raw")?.trim_start_matches(is_space);
    let rest = match rest.strip_prefix("-%}") {
        Some(after) => after.trim_start_matches(is_space),
        None => rest.strip_prefix("%}")?,
    };
    Some(tag.len() - rest.len())
}

/// Length of `{%- endraw -%}` and its two signs; the space behind it is not in it.
fn raw_end(tag: &str) -> Option<(usize, Option<char>, Option<char>)> {
    let rest = tag.strip_prefix("{%")?;
    let sign = rest.chars().next().filter(|c| matches!(c, '-' | '+'));
    let rest = rest[sign.map_or(0, char::len_utf8)..].trim_start_matches(is_space);
    let rest = rest.strip_prefix("endraw")?.trim_start_matches(is_space);
    let end_sign = rest.chars().next().filter(|c| matches!(c, '-' | '+'));
    let rest = rest[end_sign.map_or(0, char::len_utf8)..].strip_prefix("%}")?;
    Some((tag.len() - rest.len(), sign, end_sign))
}

/// Digits with single underscores between them.
fn digits(text: &str, is_digit: impl Fn(u8) -> bool) -> usize {
    let bytes = text.as_bytes();
    let digit_at = |i: usize| bytes.get(i).is_some_and(|b| is_digit(*b));
    let mut at = 0;
    while digit_at(at) || (at > 0 && bytes.get(at) == Some(&b'_') && digit_at(at + 1)) {
        at += 1;
    }
    at
}

fn float_length(text: &str) -> Option<usize> {
    let decimal = |text: &str| digits(text, |b| b.is_ascii_digit());
    let whole = decimal(text);
    let fraction = match text[whole..].strip_prefix('.') {
        Some(after) if decimal(after) > 0 => 1 + decimal(after),
        _ => 0,
    };
    let rest = &text[whole + fraction..];
    let exponent = match rest.strip_prefix(['e', 'E']) {
        Some(after) => {
            let signed = usize::from(after.starts_with(['+', '-']));
            let count = decimal(&after[signed..]);
            if count > 0 {
                1 + signed + count
            } else {
                0
            }
        }
        None => 0,
    };
    (fraction + exponent > 0).then_some(whole + fraction + exponent)
}

fn integer_length(text: &str) -> (usize, u32) {
    let prefixed = |radix: u32| {
        let after = text[2..].strip_prefix('_').unwrap_or(&text[2..]);
        let count = digits(after, |b| (b as char).is_digit(radix));
        (count > 0).then_some((text.len() - after.len() + count, radix))
    };
    let found = match text.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0b") => prefixed(2),
        Some("0o") => prefixed(8),
        Some("0x") => prefixed(16),
        _ => None,
    };
    found.unwrap_or_else(|| match text.starts_with('0') {
        true => (digits(text, |b| b == b'0'), 10),
        false => (digits(text, |b| b.is_ascii_digit()), 10),
    })
}

/// A literal's text: encode("ascii", "backslashreplace").decode("unicode-escape"). The first step turns `\é` into
/// `\\xe9`, so that it is a backslash and "xe9".
fn unescaped(text: &str) -> Result<String> {
    if !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            None => return fail("\\ at end of string"),
            Some('\n') => {}
            Some(c @ ('\\' | '\'' | '"')) => out.push(c),
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\u{b}'),
            Some('x') => out.push(hex_char(&mut chars, 2)?),
            Some('u') => out.push(hex_char(&mut chars, 4)?),
            Some('U') => out.push(hex_char(&mut chars, 8)?),
            Some('N') => return fail("\\N{...} in a string is not supported"),
            Some(c @ '0'..='7') => out.push(octal_char(c, &mut chars)),
            Some(c) if c.is_ascii() => out.extend(['\\', c]),
            Some(c) => {
                let code = c as u32;
                out.push('\\');
                out.push_str(&match code {
                    ..=0xff => format!("x{code:02x}"),
                    ..=0xffff => format!("u{code:04x}"),
                    _ => format!("U{code:08x}"),
                });
            }
        }
    }
    Ok(out)
}

fn hex_char(chars: &mut std::str::Chars, digits: usize) -> Result<char> {
    let text: String = chars.take(digits).collect();
    let code = (text.chars().count() == digits && text.chars().all(|c| c.is_ascii_hexdigit()))
        .then(|| u32::from_str_radix(&text, 16).ok())
        .flatten();
    match code.map(char::from_u32) {
        Some(Some(c)) => Ok(c),
        Some(None) => fail(format!("the character \\{text} of a string is not supported")),
        None => fail("truncated \\x, \\u or \\U escape"),
    }
}

fn octal_char(first: char, chars: &mut std::str::Chars) -> char {
    let mut code = first as u32 - '0' as u32;
    for _ in 0..2 {
        let Some(digit) = chars.clone().next().and_then(|c| c.to_digit(8)) else { break };
        chars.next();
        code = code * 8 + digit;
    }
    char::from_u32(code).unwrap_or('\u{fffd}') // at most 0o777
}

impl Tok {
    pub fn literal(&self) -> Option<Literal> {
        Some(match self {
            Tok::Int(i) => Literal::Int(*i),
            Tok::Float(f) => Literal::Float(*f),
            Tok::Str(s) => Literal::Str(s.clone()),
            _ => return None,
        })
    }
}
