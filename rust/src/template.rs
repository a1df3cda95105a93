//! Chat templates in minijinja, set up as transformers sets up Jinja2: trim_blocks, lstrip_blocks, loop controls,
//! `raise_exception`, `strftime_now`, Python's methods on values and Python's spelling of what is printed.
//! Templates come out of downloaded files: instructions, output, memory and time are bounded, and there is no loader, so no file
//! can be named.

use crate::bounded::bounded;
use crate::python_text::{python_json, python_str, JsonStyle};
use crate::strftime::strftime;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{context, AutoEscape, Environment, Error, ErrorKind};
use std::io;
use std::sync::Arc;

const NAME: &str = "chat template";
const FUEL: u64 = 2_000_000; // instructions; a conversation of a thousand messages takes about an eighth
const MAX_RECURSION: usize = 100; // macros within macros; fits a stack of 2 MiB
const MAX_OUTPUT_BYTES: usize = 64 << 20;

pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
}

fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

fn invalid(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}

fn tojson(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    if indent.is_some_and(|n| n > 64) {
        return Err(invalid("tojson: indent above 64"));
    }
    let separators: Option<Vec<String>> = options.get("separators")?;
    let [item_separator, key_separator] = match separators {
        Some(pair) => <[String; 2]>::try_from(pair).map_err(|_| invalid("tojson: separators must be two strings"))?,
        None => [if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()],
    };
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    options.assert_all_used()?;
    let text = python_json(&value, &JsonStyle { indent, item_separator, key_separator, sort_keys, ensure_ascii })?;
    Ok(Value::from_safe_string(text))
}

/// transformers marks what the assistant said with {% generation %} ... {% endgeneration %}, a block that outputs its
/// body. Written as a condition that always holds it means the same here.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start + 2..].find("%}").map(|at| at + 2) else { break };
        let tag = &rest[start + 2..start + length];
        let word = tag.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let replacement = match word {
            "generation" => Some("if true"),
            "endgeneration" => Some("endif"),
            _ => None,
        };
        out.push_str(&rest[..start + 2]);
        match replacement {
            Some(new) => out.push_str(&tag.replacen(word, &format!(" {new} "), 1)),
            None => out.push_str(tag),
        }
        out.push_str("%}");
        rest = &rest[start + length + 2..];
    }
    out.push_str(rest);
    out
}

pub fn chat_template(source: &str) -> Result<Box<ChatTemplate>, String> {
    let source = source.to_owned();
    bounded(move || {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_RECURSION);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Bool | ValueKind::None | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
                out.write_str(&python_str(value)?).map_err(Error::from)
            }
            _ => minijinja::escape_formatter(out, state, value),
        });
        environment.add_filter("tojson", tojson);
        environment.add_filter("string", |value: Value| python_str(&value));
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, format!("the template refuses: {message}")))
        });
        environment.add_template_owned(NAME, without_generation_tags(&source)).map_err(|e| explain(&e))?;
        Ok(Box::new(ChatTemplate { environment: Arc::new(environment) }))
    })
}

/// Collects the output, up to a limit.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other(format!("output exceeds {MAX_OUTPUT_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ChatTemplate {
    /// `variables_json`: an object of further names that the template sees (bos_token, ...). `now_seconds`: what
    /// strftime_now prints, in seconds since 1970 of the caller's time zone.
    pub fn render(
        &self,
        messages_json: &str,
        variables_json: &str,
        add_generation_prompt: bool,
        now_seconds: i64,
    ) -> Result<String, String> {
        let environment = self.environment.clone();
        let (messages, variables) = (messages_json.to_owned(), variables_json.to_owned());
        bounded(move || render(&environment, &messages, &variables, add_generation_prompt, now_seconds))
    }
}

fn render(
    environment: &Environment,
    messages_json: &str,
    variables_json: &str,
    add_generation_prompt: bool,
    now_seconds: i64,
) -> Result<String, String> {
    let messages: Value = serde_json::from_str(messages_json).map_err(|e| format!("messages: {e}"))?;
    let variables: Value = serde_json::from_str(variables_json).map_err(|e| format!("variables: {e}"))?;
    let now = Value::from_function(move |format: String| -> Result<String, Error> {
        strftime(&format, now_seconds).map_err(invalid)
    });
    let names = context! {
        messages, add_generation_prompt, tools => (), documents => (), strftime_now => now, ..variables
    };
    let template = environment.get_template(NAME).map_err(|e| explain(&e))?;
    let mut out = Bounded(Vec::new());
    template.render_captured_to(names, &mut out).map_err(|e| explain(&e))?;
    String::from_utf8(out.0).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(source: &str) -> Result<String, String> {
        chat_template(source)?.render(r#"[{"role":"user","content":"h\"é"}]"#, r#"{"bos_token":"<s>"}"#, true, 0)
    }

    #[test]
    fn prints_as_python_does() {
        let text = text_of("{{ true }} {{ none }} {{ messages }} {{ messages | tojson }} {{ bos_token }}").unwrap();
        assert_eq!(text, r#"True None [{'role': 'user', 'content': 'h"é'}] [{"role": "user", "content": "h\"é"}] <s>"#);
    }

    #[test]
    fn generation_blocks_print_their_body() {
        assert_eq!(text_of("a\n{%- generation -%}\n b \n{%- endgeneration %}c").unwrap(), "abc");
    }

    #[test]
    fn a_tag_that_ends_in_its_own_beginning_is_an_error() {
        assert!(text_of("a{%}b").is_err());
        assert!(text_of("{%").is_err());
    }

    #[test]
    fn endless_templates_run_out_of_fuel() {
        let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(text_of(nested).unwrap_err().contains("fuel"));
    }

    #[test]
    fn refusals_are_errors() {
        assert!(text_of("{{ raise_exception('no tools') }}").unwrap_err().contains("no tools"));
    }

    /// What one instruction can multiply, and values that lie so deep in each other that whoever walks them needs a deep stack.
    #[test]
    fn memory_and_depth_are_bounded() {
        let repeated = |count: usize, step: &str, after: &str| {
            format!(
                "{{% set ns = namespace(x='ab', l=[1]) %}}{{% for a in range({count}) %}}{{% for i in range(999) %}}{step}\
                 {{% endfor %}}{{% endfor %}}{after}"
            )
        };
        let doubled = text_of(&repeated(1, "{% set ns.x = ns.x ~ ns.x %}", ""));
        assert!(doubled.unwrap_err().contains("needs more than"));
        let captured = text_of(&repeated(1, "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}", ""));
        assert!(captured.unwrap_err().contains("needs more than"));
        assert!(text_of("{{ ([1] * 999999999) | list | length }}").is_err());
        for step in ["{% set ns.l = [ns.l] %}", "{% set ns.l = {'a': ns.l} %}"] {
            let nested = repeated(180, step, "");
            for after in
                ["", "{{ ns.l == [ns.l] }}", "{{ ns.l | tojson }}", "{{ ns.l ~ 'x' }}", "{{ {ns.l: 1} | length }}"]
            {
                let _ = text_of(&(nested.clone() + after)); // any outcome but a stack that overflows
            }
        }
    }

    #[test]
    fn files_cannot_be_named() {
        for tag in [
            "include '/etc/hostname'",
            "import '/etc/hostname' as x",
            "extends '/etc/hostname'",
            "from '/etc/hostname' import x",
        ] {
            assert!(text_of(&format!("{{% {tag} %}}")).unwrap_err().contains("template not found"), "{tag}");
        }
    }
}
