//! Grammars as llama.cpp writes them (GBNF), in the Lark form that llguidance reads.
//!
//! GBNF is a grammar of characters. llguidance has a lexer, whose terminals are greedy: what a terminal may still take, no other
//! one gets. So a grammar without recursion becomes one regular expression, and of one with recursion each character is a
//! terminal of its own; then both read the same texts.

use std::collections::HashMap;
use std::fmt::Write;

const MOST_DEPTH: usize = 200; // of parentheses
const MOST_REPEATS: u32 = 10_000;

enum Node {
    Text(String),
    Class(String), // as a regular expression
    Rule(usize),
    Sequence(Vec<Node>),
    Either(Vec<Node>),
    Repeat(Box<Node>, u32, Option<u32>),
}

struct Reader<'a> {
    text: &'a [char],
    at: usize,
    names: HashMap<String, usize>,
    rules: Vec<Option<Node>>,
    order: Vec<String>,
}

impl Reader<'_> {
    fn fail<T>(&self, what: &str) -> Result<T, String> {
        let line = 1 + self.text[..self.at.min(self.text.len())].iter().filter(|&&c| c == '\n').count();
        Err(format!("line {line}: {what}"))
    }

    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn takes(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        self.at += usize::from(found);
        found
    }

    fn skip(&mut self, lines: bool) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' => self.at += 1,
                '\r' | '\n' if lines => self.at += 1,
                '#' => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    fn name(&mut self) -> Result<usize, String> {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            self.at += 1;
        }
        if from == self.at {
            return self.fail("expected the name of a rule");
        }
        let name: String = self.text[from..self.at].iter().collect();
        if !self.names.contains_key(&name) {
            self.names.insert(name.clone(), self.rules.len());
            self.order.push(name.clone());
            self.rules.push(None);
        }
        Ok(self.names[&name])
    }

    fn rule(&mut self) -> Result<(), String> {
        let rule = self.name()?;
        self.skip(false);
        if !(self.takes(':') && self.takes(':') && self.takes('=')) {
            return self.fail("expected ::=");
        }
        self.skip(true);
        let body = self.either(0)?;
        if self.rules[rule].replace(body).is_some() {
            return self.fail(&format!("{} is there twice", self.order[rule]));
        }
        if self.peek().is_some_and(|c| c != '\n' && c != '\r') {
            return self.fail("expected the end of the line");
        }
        self.skip(true);
        Ok(())
    }

    fn either(&mut self, depth: usize) -> Result<Node, String> {
        if depth > MOST_DEPTH {
            return self.fail("parentheses are nested too deep");
        }
        let mut parts = vec![self.sequence(depth)?];
        while self.takes('|') {
            self.skip(true);
            parts.push(self.sequence(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Node::Either(parts) })
    }

    fn sequence(&mut self, depth: usize) -> Result<Node, String> {
        let mut parts = Vec::new();
        loop {
            let one = match self.peek() {
                Some('"') => Node::Text(self.quoted()?),
                Some('[') => Node::Class(self.class()?),
                Some('.') => {
                    self.at += 1;
                    Node::Class("(?s:.)".to_owned())
                }
                Some('(') => {
                    self.at += 1;
                    self.skip(true);
                    let inner = self.either(depth + 1)?;
                    if !self.takes(')') {
                        return self.fail("expected )");
                    }
                    inner
                }
                Some('<') | Some('!') => return self.fail("tokens by name are not supported"),
                Some(c) if c.is_ascii_alphanumeric() || c == '_' => Node::Rule(self.name()?),
                _ => break,
            };
            let one = self.repeated(one)?;
            self.skip(depth > 0);
            parts.push(one);
        }
        Ok(Node::Sequence(parts))
    }

    fn repeated(&mut self, mut node: Node) -> Result<Node, String> {
        loop {
            self.skip(false);
            let (least, most) = match self.peek() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    self.at += 1;
                    let least = self.number()?.unwrap_or(0);
                    let most = if self.takes(',') { self.number()? } else { Some(least) };
                    if self.peek() != Some('}') {
                        return self.fail("expected }");
                    }
                    (least, most)
                }
                _ => return Ok(node),
            };
            self.at += 1;
            if most.is_some_and(|most| most < least) || most.unwrap_or(least) > MOST_REPEATS {
                return self.fail("a repetition's numbers");
            }
            node = Node::Repeat(Box::new(node), least, most);
        }
    }

    fn number(&mut self) -> Result<Option<u32>, String> {
        let from = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits: String = self.text[from..self.at].iter().collect();
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().map(Some).or_else(|_| self.fail("a repetition's numbers"))
    }

    fn quoted(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut text = String::new();
        while !self.takes('"') {
            match self.peek() {
                None | Some('\n') => return self.fail("a text without an end"),
                Some(_) => text.push(self.character()?),
            }
        }
        Ok(text)
    }

    /// One that may be escaped.
    fn character(&mut self) -> Result<char, String> {
        let c = self.text[self.at];
        self.at += 1;
        if c != '\\' {
            return Ok(c);
        }
        let Some(escaped) = self.peek() else { return self.fail("an escape without an end") };
        self.at += 1;
        let digits = match escaped {
            'n' => return Ok('\n'),
            'r' => return Ok('\r'),
            't' => return Ok('\t'),
            '"' | '\\' | '[' | ']' | '-' | '/' | '^' => return Ok(escaped),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return self.fail("an escape that is none"),
        };
        let hex: String = self.text[self.at..(self.at + digits).min(self.text.len())].iter().collect();
        self.at += digits;
        let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == digits);
        code.and_then(char::from_u32).map_or_else(|| self.fail("an escape that is no character"), Ok)
    }

    fn class(&mut self) -> Result<String, String> {
        self.at += 1;
        let mut out = String::from(if self.takes('^') { "[^" } else { "[" });
        while !self.takes(']') {
            if self.peek().is_none() {
                return self.fail("a class of characters without an end");
            }
            let first = self.character()?;
            let range = self.peek() == Some('-') && self.text.get(self.at + 1).is_some_and(|&c| c != ']');
            self.at += usize::from(range);
            let last = if range { self.character()? } else { first };
            if last < first {
                return self.fail("a range of characters that ends before it begins");
            }
            let _ = write!(out, "\\u{{{:x}}}-\\u{{{:x}}}", first as u32, last as u32);
        }
        if out.ends_with(['[', '^']) {
            return self.fail("an empty class of characters");
        }
        Ok(out + "]")
    }
}

fn rules_in(node: &Node, out: &mut Vec<usize>) {
    match node {
        Node::Rule(rule) => out.push(*rule),
        Node::Sequence(parts) | Node::Either(parts) => parts.iter().for_each(|part| rules_in(part, out)),
        Node::Repeat(part, ..) => rules_in(part, out),
        Node::Text(_) | Node::Class(_) => {}
    }
}

/// Whether some rule that `rule` needs needs itself. `state`: 0 unseen, 1 being looked at, 2 done.
fn is_recursive(rule: usize, needs: &[Vec<usize>], state: &mut [u8]) -> bool {
    let mut path = vec![(rule, 0)];
    state[rule] = 1;
    while let Some((rule, next)) = path.last_mut() {
        let Some(&needed) = needs[*rule].get(*next) else {
            state[*rule] = 2;
            path.pop();
            continue;
        };
        *next += 1;
        match state[needed] {
            0 => {
                state[needed] = 1;
                path.push((needed, 0));
            }
            1 => return true,
            _ => {}
        }
    }
    false
}

fn quoted(c: char) -> String {
    format!("/\\u{{{:x}}}/", c as u32)
}

/// `rule`: the letter that names of rules begin with.
fn write_node(node: &Node, rule: char, out: &mut String) {
    match node {
        Node::Text(text) if text.is_empty() => out.push_str("\"\""),
        Node::Text(text) => {
            let letters: Vec<String> = text.chars().map(quoted).collect();
            out.push_str(&letters.join(" "));
        }
        Node::Class(class) => {
            let _ = write!(out, "/{class}/");
        }
        Node::Rule(number) => {
            let _ = write!(out, "{rule}{number}");
        }
        Node::Sequence(parts) if parts.is_empty() => out.push_str("\"\""),
        Node::Sequence(parts) => {
            for (i, part) in parts.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { " " });
                write_node(part, rule, out);
            }
        }
        Node::Either(parts) => {
            for (i, part) in parts.iter().enumerate() {
                out.push_str(if i == 0 { "(" } else { " | " });
                write_node(part, rule, out);
            }
            out.push(')');
        }
        Node::Repeat(part, least, most) => {
            out.push('(');
            write_node(part, rule, out);
            let _ = match (least, most) {
                (0, None) => write!(out, ")*"),
                (1, None) => write!(out, ")+"),
                (0, Some(1)) => write!(out, ")?"),
                (least, None) => write!(out, "){{{least},}}"),
                (least, Some(most)) => write!(out, "){{{least},{most}}}"),
            };
        }
    }
}

/// The same grammar for llguidance. An error names the line.
pub fn gbnf_to_lark(text: &str) -> Result<String, String> {
    let text: Vec<char> = text.chars().collect();
    let mut reader = Reader { text: &text, at: 0, names: HashMap::new(), rules: Vec::new(), order: Vec::new() };
    reader.skip(true);
    while reader.peek().is_some() {
        reader.rule()?;
    }
    let Some(&root) = reader.names.get("root") else { return Err("there is no rule \"root\"".to_owned()) };
    let mut needs = Vec::new();
    for (rule, name) in reader.rules.iter().zip(&reader.order) {
        let Some(node) = rule else { return Err(format!("the rule {name} is not there")) };
        let mut needed = Vec::new();
        rules_in(node, &mut needed);
        needs.push(needed);
    }
    let recursive = is_recursive(root, &needs, &mut vec![0; needs.len()]);
    let letter = if recursive { 'r' } else { 'R' };
    let mut out = format!("start: {letter}{root}\n");
    for (number, node) in reader.rules.iter().flatten().enumerate() {
        let _ = write!(out, "{letter}{number}: ");
        write_node(node, letter, &mut out);
        out.push('\n');
    }
    Ok(out)
}
