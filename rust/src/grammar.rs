//! Which tokens may come next if a text has to follow a JSON schema, a regular expression or a grammar: llguidance's parser over
//! the bytes of the tokenizer's tokens. Schemas and grammars come from strangers: what they take is bounded.

use crate::bounded::{bounded, Limits};
use crate::gbnf::gbnf_to_lark;
use crate::guard::guard;
use crate::token_bytes::{token_bytes, HIDDEN};
use crate::tokenizer::Tokenizer;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{regex_to_lark, Matcher, ParserFactory};
use serde_json::{json, Value as Json};
use std::sync::Arc;

const MOST_TEXT_BYTES: usize = 1 << 20;
const MOST_ERROR_LETTERS: usize = 300;
/// 256k tokens take some 60 MB and half a second.
const VOCABULARY: Limits = Limits { bytes: 2 << 30, stack: 64 << 20, seconds: 60 };
/// JSON nests 128 deep at most; the largest published schemas take a second.
const COMPILING: Limits = Limits { bytes: 512 << 20, stack: 64 << 20, seconds: 10 };
/// Between two tokens of JSON: a space, or a new line and its indentation. Without a bound a model may go on with spaces for ever.
const JSON_SPACE: &str = r"( |\r?\n[ \t]{0,24})";

/// The tokens of a model, ready for grammars.
pub struct GrammarVocabulary {
    factory: Arc<ParserFactory>,
    size: usize, // of the model's logits; the id behind them ends a text
}

/// Where a text stands in its grammar.
pub struct GrammarMatcher {
    matcher: Matcher,
    end: u32,
}

fn limits() -> ParserLimits {
    // About 100 MB of lexer states. A mask takes some 20 ms at most.
    ParserLimits { max_lexer_states: 50_000, verbose_errors: false, ..Default::default() }
}

fn vocabulary_of(mut words: Vec<Vec<u8>>) -> Result<GrammarVocabulary, String> {
    let size = words.len();
    words.push([&[HIDDEN], b"<|end of text|>".as_slice()].concat());
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, size as u32), &words);
    let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let mut factory = ParserFactory::new_simple(&env).map_err(|e| e.to_string())?;
    *factory.limits_mut() = limits();
    factory.quiet();
    Ok(GrammarVocabulary { factory: Arc::new(factory), size })
}

/// `size`: of the model's logits, which may be more or fewer than there are tokens.
pub fn grammar_vocabulary(tokenizer: &Tokenizer, size: usize) -> Result<Box<GrammarVocabulary>, String> {
    let inner = tokenizer.shared();
    let made = bounded(VOCABULARY, move || vocabulary_of(token_bytes(&inner, size)?));
    made.map(Box::new).map_err(|e| format!("no grammars with this tokenizer: {e}"))
}

fn with_space(mut schema: Json) -> Result<Json, String> {
    if let Json::Bool(anything) = schema {
        schema = if anything { json!({}) } else { return Err("no value fits the schema false".to_owned()) };
    }
    let Json::Object(fields) = &mut schema else { return Err("a schema is an object".to_owned()) };
    if !fields.contains_key("x-guidance") {
        fields.insert("x-guidance".to_owned(), json!({"whitespace_pattern": JSON_SPACE}));
    }
    Ok(schema)
}

fn grammar_of(kind: &str, text: &str) -> Result<TopLevelGrammar, String> {
    match kind {
        "json_object" => Ok(TopLevelGrammar::from_json_schema(with_space(json!({"type": "object"}))?)),
        "json_schema" => {
            let schema: Json = serde_json::from_str(text).map_err(|e| e.to_string())?;
            Ok(TopLevelGrammar::from_json_schema(with_space(schema)?))
        }
        // Digits, letters and spaces are ASCII: who writes \d means 0 to 9.
        "regex" => Ok(TopLevelGrammar::from_lark(format!("start: /{}/", regex_to_lark(text, "dws")))),
        "gbnf" => Ok(TopLevelGrammar::from_lark(gbnf_to_lark(text)?)),
        "lark" => Ok(TopLevelGrammar::from_lark(text.to_owned())),
        _ => Err(format!("\"{kind}\": expected json_object, json_schema, regex, gbnf or lark")),
    }
}

/// The first line of an error; some repeat the whole text in it.
fn short(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default().trim();
    let cut: String = line.chars().take(MOST_ERROR_LETTERS).collect();
    if cut.len() < line.len() {
        cut + "..."
    } else {
        cut
    }
}

impl GrammarVocabulary {
    /// What is wrong with the text is an error.
    pub fn compile(&self, kind: &str, text: &str) -> Result<Box<GrammarMatcher>, String> {
        if text.len() > MOST_TEXT_BYTES {
            return Err(format!("{} bytes, more than {MOST_TEXT_BYTES}", text.len()));
        }
        let (factory, kind, text, end) = (self.factory.clone(), kind.to_owned(), text.to_owned(), self.size as u32);
        let compiled = bounded(COMPILING, move || {
            let parser = factory.create_parser(grammar_of(&kind, &text)?).map_err(|e| short(&e))?;
            let mut matcher = Matcher::new(Ok(parser));
            // Only now is known whether anything fits.
            matcher.compute_mask_or_eos().map_err(|e| short(&e))?;
            Ok(GrammarMatcher { matcher, end })
        });
        compiled.map(Box::new)
    }
}

impl GrammarMatcher {
    /// Another text that stands where this one does.
    pub fn copy(&self) -> Result<Box<GrammarMatcher>, String> {
        guard(|| Ok(Box::new(GrammarMatcher { matcher: self.matcher.deep_clone(), end: self.end })))
    }

    /// Bits of the tokens that may come next, and whether the text may end here.
    pub fn mask(&mut self, words: &mut [u32]) -> Result<bool, String> {
        guard(|| {
            words.fill(0);
            let mask = self.matcher.compute_mask_or_eos().map_err(|e| short(&e))?;
            for (to, from) in words.iter_mut().zip(mask.as_slice()) {
                *to = *from;
            }
            if let Some(word) = words.get_mut(self.end as usize / 32) {
                *word &= !(1 << (self.end % 32)); // no token of the model
            }
            Ok(mask.is_allowed(self.end))
        })
    }

    /// Goes on by a token, one of the mask's. Returns whether the text is at its end: nothing may follow.
    pub fn consume(&mut self, id: u32) -> Result<bool, String> {
        guard(|| {
            self.matcher.consume_token(id).map_err(|e| short(&e))?;
            Ok(self.matcher.is_stopped())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single_bytes() -> GrammarVocabulary {
        vocabulary_of((0..=255u8).map(|byte| vec![byte]).collect()).unwrap()
    }

    /// Whether the grammar takes the text, byte by byte, and may end there.
    fn takes(vocabulary: &GrammarVocabulary, kind: &str, grammar: &str, text: &str) -> bool {
        let mut matcher = vocabulary.compile(kind, grammar).unwrap();
        let mut words = [0; 8];
        for byte in text.bytes() {
            matcher.mask(&mut words).unwrap();
            if words[usize::from(byte) / 32] >> (byte % 32) & 1 == 0 {
                return false;
            }
            matcher.consume(u32::from(byte)).unwrap();
        }
        matcher.mask(&mut words).unwrap()
    }

    /// Texts over `letters` of at most `longest`, all of them.
    fn texts(letters: &str, longest: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut from = 0;
        for _ in 0..longest {
            let until = all.len();
            for i in from..until {
                all.extend(letters.chars().map(|c| format!("{}{c}", all[i])).collect::<Vec<_>>());
            }
            from = until;
        }
        all
    }

    fn check(kind: &str, grammar: &str, letters: &str, longest: usize, fits: impl Fn(&str) -> bool) {
        let vocabulary = single_bytes();
        let mut fitting = 0;
        for text in texts(letters, longest) {
            assert_eq!(takes(&vocabulary, kind, grammar, &text), fits(&text), "{text:?} of {grammar}");
            fitting += usize::from(fits(&text));
        }
        assert!(fitting > 0);
    }

    #[test]
    fn regular_expressions() {
        let whole = regex::Regex::new("^(?:a(b|c)*d?)$").unwrap();
        check("regex", "a(b|c)*d?", "abcd", 4, |text| whole.is_match(text));
        check("regex", r"[\d/]\d|\s\w\D", "1/ ٣a", 3, |text| {
            let letters: Vec<char> = text.chars().collect();
            matches!(letters[..], ['1' | '/', '1'] | [' ', '1' | 'a', ' ' | '/' | 'a' | '٣'])
        });
    }

    /// A terminal does not take letters away from what follows it.
    #[test]
    fn grammars_without_recursion() {
        let whole = regex::Regex::new("^(?:[ab]+b|a{2,3}c?|)$").unwrap();
        check("gbnf", "root ::= word \"b\" | [a]{2,3} \"c\"? | \"\"\nword ::= [a-b]+ # letters\n", "abc", 5, |text| {
            whole.is_match(text)
        });
    }

    #[test]
    fn grammars_with_recursion() {
        let balanced = |text: &str| {
            let inner = text.trim_start_matches('(');
            let depth = text.len() - inner.len();
            inner.strip_suffix(&")".repeat(depth)).is_some_and(|core| matches!(core, "a" | "ab" | "b" | "aab"))
        };
        check(
            "gbnf",
            "root ::= \"(\" root \")\" |\n  core # of letters\ncore ::= [a-b] | \"ab\" | (\"a\" \"a\") [^ac()]",
            "ab()",
            5,
            balanced,
        );
    }

    #[test]
    fn grammars_that_are_none_are_refused_by_line() {
        for (grammar, message) in [
            ("", "no rule \"root\""),
            ("root ::= other", "the rule other is not there"),
            ("root ::= \"a", "line 1: a text without an end"),
            ("root ::= \"a\"\nroot ::= \"b\"", "line 2: root is there twice"),
            ("root ::= [z-a]", "ends before it begins"),
            ("root ::= []", "an empty class"),
            ("root ::= \"a\"{3,2}", "repetition's numbers"),
            ("root ::= \"a\"{99999}", "repetition's numbers"),
            ("root ::= (\"a\"", "expected )"),
            ("root = \"a\"", "expected ::="),
            ("root ::= \"a\" )", "expected the end of the line"),
            ("root ::= <think>", "tokens by name"),
            ("root ::= \"\\q\"", "an escape that is none"),
            ("root ::= \"\\ud800\"", "no character"),
        ] {
            let error = single_bytes().compile("gbnf", grammar).map(|_| ()).unwrap_err();
            assert!(error.contains(message), "{grammar}: {error}");
        }
        let deep = format!("root ::= {}\"a\"{}", "(".repeat(5000), ")".repeat(5000));
        assert!(single_bytes().compile("gbnf", &deep).map(|_| ()).unwrap_err().contains("too deep"));
    }

    #[test]
    fn schemas() {
        let schema = r##"{"type":"object","properties":{"a":{"enum":["x","y"]},"b":{"$ref":"#/$defs/n"}},
            "required":["a"],"additionalProperties":false,"$defs":{"n":{"type":"integer","minimum":3,"maximum":12}}}"##;
        let vocabulary = single_bytes();
        for (text, fits) in [
            (r#"{"a":"x"}"#, true),
            (
                r#"{ "a" : "y",
                "b" : 12 }"#,
                true,
            ),
            (r#"{"a":"x","b":13}"#, false),
            (r#"{"b":3}"#, false),
            (r#"{"a":"z"}"#, false),
            (r#"{"a":"x","c":1}"#, false),
            (r#"[]"#, false),
        ] {
            assert_eq!(takes(&vocabulary, "json_schema", schema, text), fits, "{text}");
        }
        assert!(takes(&vocabulary, "json_object", "", r#"{"k":[1,2.5e3,null,true,{"x":"é\n"}]}"#));
        assert!(!takes(&vocabulary, "json_object", "", "[1]"));
        assert!(takes(&vocabulary, "json_schema", "true", "[1]"));
        assert!(!takes(&vocabulary, "json_object", "", "{  "));
    }

    #[test]
    fn hostile_ones_are_refused_in_time() {
        const ANY: &str = "taken or refused";
        let vocabulary = single_bytes();
        let deep = format!("{}{}{}", r#"{"items":"#.repeat(3000), "{}", "}".repeat(3000));
        let wide: Vec<String> = (0..200_000).map(|i| format!("\"{i}\"")).collect();
        for (kind, text, message) in [
            ("json_schema", "{", "EOF"),
            ("json_schema", "3", "a schema is an object"),
            ("json_schema", "false", "no value fits"),
            ("json_schema", r#"{"type":"nothing"}"#, ""),
            ("json_schema", r#"{"type":"object","unevaluatedProperties":false}"#, "nimplemented"),
            ("json_schema", r##"{"$ref":"http://elsewhere/schema"}"##, ""),
            ("json_schema", r##"{"$ref":"#/$defs/none"}"##, ""),
            ("json_schema", r#"{"allOf":[{"type":"string"},{"type":"integer"}]}"#, ""),
            ("json_schema", deep.as_str(), "recursion"),
            ("json_schema", &format!("{{\"enum\":[{}]}}", wide.join(",")), "more than"),
            ("regex", "(", ""),
            ("regex", &"(".repeat(100_000), ""),
            ("regex", "(((a{1000}){1000}){1000}){1000}", ANY),
            ("regex", "(a|b)*c(a|b){5000}(a|b)*x(?:[a-z]+[0-9]*){300}", ANY),
            ("lark", "start: start_", ""),
            ("lark", "", ""),
            ("other", "", "expected json_object"),
        ] {
            let began = std::time::Instant::now();
            let shown: String = text.chars().take(60).collect();
            match vocabulary.compile(kind, text).map(|_| ()) {
                Ok(()) => assert!(message == ANY, "{shown} was taken"),
                Err(error) => {
                    assert!((message == ANY || error.contains(message)) && error.len() < 2000, "{shown}: {error}");
                    assert!(!error.contains("internal failure"), "{shown}: {error}");
                }
            }
            assert!(began.elapsed().as_secs() < 60, "{shown} took {:?}", began.elapsed());
        }
    }

    #[test]
    fn copies_go_on_by_themselves() {
        let mut first = single_bytes().compile("regex", "a+b|c").unwrap();
        let mut second = first.copy().unwrap();
        assert!(!first.consume(u32::from(b'a')).unwrap());
        assert!(second.consume(u32::from(b'c')).unwrap());
        assert!(first.consume(u32::from(b'b')).unwrap());
        assert!(first.consume(u32::from(b'b')).is_err());
    }
}
