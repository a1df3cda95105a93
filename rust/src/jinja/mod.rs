//! Jinja2 for chat templates, in the words of jinja2 3.1 and with Python's values, set up as transformers sets it up:
//! ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks, loop controls, tojson without HTML escapes,
//! raise_exception, strftime_now and {% generation %}. What it cannot do as Jinja2 does it, it refuses.
//!
//! Templates come out of downloaded files. Steps, texts, nesting and calls are bounded here, memory and time by
//! whoever calls; there is no loader and no function that opens a file.

mod ast;
mod calls;
mod eval;
mod exec;
mod filters;
mod format;
mod format_fields;
mod json_input;
mod lexer;
mod loops;
mod methods;
mod names;
mod operators;
mod parse_expression;
mod parser;
mod predicates;
mod scopes;
mod sequence_filters;
mod string_methods;
mod text;
mod unicode;
mod value;

use ast::Stmt;
use exec::{Interpreter, Scope};
use std::rc::Rc;
use std::sync::Arc;
use value::{set_fuel, Dict, Error, Value};

const STEPS: u64 = 10_000_000; // a conversation of a thousand messages takes about a fiftieth
const MAX_SOURCE_BYTES: usize = 4 << 20; // the largest known has 60 KB

#[derive(Debug)]
pub struct Template {
    source: Arc<str>,
    body: Vec<Stmt>,
    unset: Arc<scopes::Unset>,
}

impl Template {
    pub fn parse(source: &str) -> Result<Template, String> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(format!("{} bytes, more than {} MiB", source.len(), MAX_SOURCE_BYTES >> 20));
        }
        let source: Arc<str> = lexer::normalized(source).into();
        let body = parser::parse(&source).map_err(|error: Error| error.message)?;
        let unset = Arc::new(scopes::unset_names(&body));
        Ok(Template { source, body, unset })
    }

    /// The text for a conversation. `variables_json`: an object of further names that the template sees; `now_seconds`:
    /// what strftime_now prints, in seconds since 1970 of the caller's time zone.
    pub fn render(
        &self,
        messages_json: &str,
        variables_json: &str,
        add_generation_prompt: bool,
        now_seconds: i64,
    ) -> Result<String, String> {
        set_fuel(STEPS);
        let scope = Scope::root();
        let named = |what: &'static str| move |error: Error| format!("{what}: {}", error.message);
        let messages = json_input::parse_json(messages_json).and_then(conversation).map_err(named("messages"))?;
        let variables = json_input::parse_json(variables_json).map_err(named("variables"))?;
        scope.set(&"messages".into(), messages);
        scope.set(&"tools".into(), Value::None);
        scope.set(&"documents".into(), Value::None);
        scope.set(&"add_generation_prompt".into(), Value::Bool(add_generation_prompt));
        let Value::Dict(members) = &variables else { return Err("variables: expected an object".to_owned()) };
        for (name, value) in members.entries() {
            if let Value::Str(name) = name {
                scope.set(name, value.clone());
            }
        }
        Interpreter::new(self.source.clone(), self.unset.clone(), now_seconds)
            .run(&self.body, &scope)
            .map_err(|error| error.message)
    }
}

/// Messages as transformers hands them to a template (5.23 and newer): without the members that are null, and with
/// what they hold of reasoning under both names that templates ask for.
fn conversation(messages: Value) -> value::Result<Value> {
    let Value::List(messages) = messages else { return value::fail("expected an array") };
    let mut out = Vec::new();
    for message in &messages.items {
        let Value::Dict(message) = message else { return value::fail("expected an array of objects") };
        let mut kept = Dict::default();
        let given = |name: &str| message.get_str(name).filter(|value| !matches!(value, Value::None));
        let reasoning = ["reasoning_content", "thinking", "reasoning"].into_iter().find_map(given);
        if let Some(reasoning) = reasoning {
            kept.set(Value::from("thinking"), reasoning.clone())?;
        }
        for (name, value) in message.entries().filter(|(_, value)| !matches!(value, Value::None)) {
            kept.set(name.clone(), value.clone())?;
        }
        if let Some(reasoning) = reasoning {
            kept.set(Value::from("reasoning_content"), reasoning.clone())?;
        }
        out.push(Value::Dict(Rc::new(kept)));
    }
    Value::list(out)
}
