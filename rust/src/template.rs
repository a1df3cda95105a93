//! Chat templates for C++. They come out of downloaded files: beside the bounds of the interpreter itself (jinja/), they
//! are parsed and rendered on a thread of their own with bounded memory, stack and time.

use crate::bounded::{bounded, TEMPLATE};
use crate::jinja::Template;
use std::sync::Arc;

pub struct ChatTemplate {
    template: Arc<Template>,
}

pub fn chat_template(source: &str) -> Result<Box<ChatTemplate>, String> {
    let source = source.to_owned();
    bounded(TEMPLATE, move || Ok(Box::new(ChatTemplate { template: Arc::new(Template::parse(&source)?) })))
}

impl ChatTemplate {
    /// `variables_json`: an object of further names that the template sees (bos_token, tools, ...). `now_seconds`: what
    /// strftime_now prints, in seconds since 1970 of the caller's time zone.
    pub fn render(
        &self,
        messages_json: &str,
        variables_json: &str,
        add_generation_prompt: bool,
        now_seconds: i64,
    ) -> Result<String, String> {
        let template = self.template.clone();
        let (messages, variables) = (messages_json.to_owned(), variables_json.to_owned());
        bounded(TEMPLATE, move || template.render(&messages, &variables, add_generation_prompt, now_seconds))
    }
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

    /// Every expression prints what it prints in Python (bench/chat_templates/oracle.py), or is refused as not supported.
    #[test]
    fn expressions_print_what_jinja2_prints() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/data/jinja/");
        let values = std::fs::read_to_string(format!("{folder}values.json")).unwrap();
        let oracle = std::fs::read_to_string(format!("{folder}expressions_oracle.jsonl")).unwrap();
        let (mut equal, mut refused, mut differing) = (0, Vec::new(), Vec::new());
        for line in oracle.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let source = row["template"].as_str().unwrap();
            let found = chat_template(source).and_then(|t| t.render("[]", &values, false, 1_721_952_000));
            match (found, row["text"].as_str()) {
                (Ok(text), Some(wanted)) if text == wanted => equal += 1,
                (Err(_), None) => equal += 1,
                (Err(error), Some(_)) if error.contains("not supported") => refused.push(source.to_owned()),
                (found, wanted) => differing.push(format!("{source}: {found:?} instead of {wanted:?}")),
            }
        }
        assert!(differing.is_empty(), "{}", differing.join("\n"));
        assert!(equal > 900 && refused.len() <= 7, "{equal} equal, refused: {refused:?}");
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
    fn endless_templates_run_out_of_steps() {
        let nested = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
        assert!(text_of(nested).unwrap_err().contains("too many steps"));
    }

    #[test]
    fn refusals_are_errors() {
        assert!(text_of("{{ raise_exception('no tools') }}").unwrap_err().contains("no tools"));
    }

    #[test]
    fn errors_name_line_and_tag() {
        let error = text_of("a\nb {{ messages[0].content + 1 }} c").unwrap_err();
        assert!(error.starts_with("line 2: ") && error.ends_with(" in {{ messages[0].content + 1 }}"), "{error}");
    }

    /// What one step can multiply, values and expressions that lie deep in each other, and macros that call themselves.
    #[test]
    fn memory_and_depth_are_bounded() {
        let repeated = |step: &str| {
            format!(
                "{{% set ns = namespace(x='ab', l=[1]) %}}{{% for a in range(180) %}}{{% for i in range(999) %}}{step}\
                 {{% endfor %}}{{% endfor %}}"
            )
        };
        let error_of = |source: &str| text_of(source).unwrap_err();
        assert!(error_of(&repeated("{% set ns.x = ns.x ~ ns.x %}")).contains("more than 32 MiB"));
        let captured = repeated("{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}");
        assert!(error_of(&captured).contains("more than 32 MiB"));
        assert!(error_of(&repeated("{% set ns.l = ns.l + ['x' * 9999999] %}")).contains("needs more than 512 MiB"));
        assert!(error_of("{{ ([1] * 999999999) | list | length }}").contains("more than 4194304 items"));
        assert!(error_of(&repeated("{% set ns.l = ns.l + ns.l %}")).contains("more than 4194304 items"));
        for step in ["{% set ns.l = [ns.l] %}", "{% set ns.l = {'a': ns.l} %}", "{% set ns.l = (ns.l,) %}"] {
            assert!(error_of(&repeated(step)).contains("nested too deeply"), "{step}");
        }
        for (start, link, end) in [
            ("a", ".b", ""),
            ("a", "|e", ""),
            ("a", "[0]", ""),
            ("a", "()", ""),
            ("1", "+1", ""),
            ("1", " if 1", ""),
            ("a", " or a", ""),
            ("", "(", ""),
            ("", "-", "1"),
            ("", "not ", "1"),
            ("", "[", ""),
            ("", "{1:", ""),
        ] {
            let source = format!("{{{{ {start}{}{end} }}}}", link.repeat(500_000));
            let error = error_of(&source);
            let known = ["links", "nested more than", "unexpected"];
            assert!(known.iter().any(|part| error.contains(part)), "{link}: {error}");
        }
        assert!(error_of(&"{% if 1 %}".repeat(100_000)).contains("nested more than"));
        assert!(error_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").contains("calls within calls"));
        assert!(error_of("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}").contains("calls within calls"));
        // Values in a circle are neither walked for ever nor kept for ever.
        assert!(error_of("{% set n = namespace() %}{% set n.n = n %}{{ n }}").contains("not supported"));
    }

    #[test]
    fn files_cannot_be_named() {
        for tag in [
            "include '/etc/hostname'",
            "import '/etc/hostname' as x",
            "extends '/etc/hostname'",
            "from '/etc/hostname' import x",
        ] {
            assert!(text_of(&format!("{{% {tag} %}}")).unwrap_err().contains("another template"), "{tag}");
        }
    }
}
