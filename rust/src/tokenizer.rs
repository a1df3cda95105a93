//! Hugging Face tokenizers: tokenizer.json in, token ids out and back. The file is a program that somebody else wrote
//! (normalizers that double a text, regexes that try for ever), so all that it does is bounded.

use crate::bounded::{bounded, bounded_each, Limits};
use crate::ffi::{EncodedBatch, SentencePiece};
use crate::sentencepiece;
use crate::tokenizer_parts::apply_changes;
use cxx::{CxxString, CxxVector};
use std::sync::{Arc, Once};
use tokenizers::Tokenizer as HfTokenizer;

const STACK_BYTES: usize = 64 << 20; // JSON nests 128 deep at most, tokenizers hardly
/// A tokenizer.json of 35 MB, the largest known, takes about 400 MB and 2 seconds.
const LOADING: Limits = Limits { bytes: 2 << 30, stack: STACK_BYTES, seconds: 30 };

/// A megabyte of English takes about 150 MB and less than a second.
fn encoding(bytes: usize) -> Limits {
    let megabytes = bytes.div_ceil(1 << 20);
    let bytes = (256 + 512 * megabytes).min(4096) << 20;
    Limits { bytes: bytes as isize, stack: STACK_BYTES, seconds: 4 + 10 * (megabytes.max(1) as u64 - 1) }
}

fn decoding(ids: usize) -> Limits {
    Limits { bytes: (128 << 20) + 1024 * ids as isize, stack: STACK_BYTES, seconds: 4 + ids as u64 / 100_000 }
}

// Of the regex library, whose own memory is not counted: entries of its stack (about 40 bytes each), and steps back in
// one search. The texts of a real tokenizer take a few of each.
const REGEX_STACK_ENTRIES: u32 = 4 << 20;
const REGEX_STEPS: u64 = 100_000_000;

pub struct Tokenizer {
    inner: Arc<HfTokenizer>,
}

fn bound_regexes() {
    static ONCE: Once = Once::new();
    // SAFETY: both set a number of the library's that is read at the beginning of a search.
    ONCE.call_once(|| unsafe {
        onig_sys::onig_set_match_stack_limit_size(REGEX_STACK_ENTRIES);
        onig_sys::onig_set_retry_limit_in_search(REGEX_STEPS as std::os::raw::c_ulong);
    });
}

/// A panic of the tokenizers crate is no failure of ours: it does not survive every file.
fn explain(error: String) -> String {
    match error.strip_prefix("internal failure: ") {
        Some(text) => format!("the tokenizer fails on it: {text}"),
        None => error,
    }
}

/// `json`: tokenizer.json; `changes`: what the files beside it say (tokenizer_parts.rs).
pub fn tokenizer_from_json(json: &[u8], changes: &str) -> Result<Box<Tokenizer>, String> {
    bound_regexes();
    let (json, changes) = (json.to_vec(), changes.to_owned());
    let loaded = bounded(LOADING, move || {
        let mut inner = HfTokenizer::from_bytes(json).map_err(|e| e.to_string())?;
        // Stored truncation and padding belong to the training run; transformers switches both off as well.
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        apply_changes(&mut inner, &changes)?;
        Ok(Arc::new(inner))
    });
    loaded.map(|inner| Box::new(Tokenizer { inner })).map_err(|e| format!("reading it {}", explain(e))).map_err(shorter)
}

pub fn convert_sentencepiece(model: &[u8], prepend_scheme: &str, renamed: &str) -> Result<SentencePiece, String> {
    let (model, prepend_scheme, renamed) = (model.to_vec(), prepend_scheme.to_owned(), renamed.to_owned());
    bounded(LOADING, move || sentencepiece::convert(&model, &prepend_scheme, &renamed))
}

/// "reading it needs more than ...", but an error of the JSON reader stands for itself.
fn shorter(error: String) -> String {
    match error.strip_prefix("reading it ") {
        Some(rest) if !rest.starts_with("needs") && !rest.starts_with("takes") => rest.to_owned(),
        _ => error,
    }
}

fn of_text(error: String, bytes: usize) -> String {
    let error = explain(error);
    if error.starts_with("needs") || error.starts_with("takes") {
        return format!("tokenizing a text of {bytes} bytes {error}");
    }
    error
}

impl Tokenizer {
    pub fn shared(&self) -> Arc<HfTokenizer> {
        self.inner.clone()
    }

    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, String> {
        let (inner, owned) = (self.inner.clone(), text.to_owned());
        let ids = bounded(encoding(text.len()), move || {
            let encoding = inner.encode_fast(owned, add_special_tokens).map_err(|e| e.to_string())?;
            Ok(encoding.get_ids().to_vec())
        });
        ids.map_err(|e| of_text(e, text.len()))
    }

    pub fn encode_batch(&self, texts: &CxxVector<CxxString>, add_special_tokens: bool) -> Result<EncodedBatch, String> {
        let mut owned = Vec::with_capacity(texts.len());
        for (i, text) in texts.iter().enumerate() {
            owned.push(text.to_str().map_err(|e| format!("text {i} is not valid UTF-8: {e}"))?.to_owned());
        }
        let (inner, longest) = (self.inner.clone(), owned.iter().map(String::len).max().unwrap_or(0));
        let encoded = bounded_each(encoding(longest), owned.len(), move |i| {
            let encoding = inner.encode_fast(owned[i].as_str(), add_special_tokens).map_err(|e| e.to_string())?;
            Ok(encoding.get_ids().to_vec())
        });
        let encoded = encoded.map_err(|e| of_text(e, longest).replace("a text of", "texts of up to"))?;
        let mut batch = EncodedBatch { ids: Vec::new(), ends: Vec::with_capacity(encoded.len()) };
        for ids in &encoded {
            batch.ids.extend_from_slice(ids);
            batch.ends.push(batch.ids.len());
        }
        Ok(batch)
    }

    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, String> {
        let (inner, owned) = (self.inner.clone(), ids.to_vec());
        let text =
            bounded(decoding(ids.len()), move || inner.decode(&owned, skip_special_tokens).map_err(|e| e.to_string()));
        text.map_err(|e| match explain(e) {
            e if e.starts_with("needs") || e.starts_with("takes") => format!("the text of {} tokens {e}", ids.len()),
            e => e,
        })
    }

    pub fn vocabulary_size(&self) -> Result<usize, String> {
        Ok(self.inner.get_vocab_size(true))
    }

    /// The id of a token, or -1.
    pub fn token_id(&self, token: &str) -> Result<i64, String> {
        Ok(self.inner.token_to_id(token).map_or(-1, i64::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(parts: &str) -> Result<Box<Tokenizer>, String> {
        let json = format!(
            r#"{{"version":"1.0","model":{{"type":"WordLevel","unk_token":"u","vocab":{{"u":0,"a":1,"aa":2}}}}{parts}}}"#
        );
        tokenizer_from_json(json.as_bytes(), "{}")
    }

    fn replace(pattern: &str, content: &str) -> String {
        format!(r#"{{"type":"Replace","pattern":{pattern},"content":"{content}"}}"#)
    }

    /// Which of the two bounds comes first depends on the machine.
    fn is_bounded(error: &str) -> bool {
        error.contains("needs more than") || error.contains("takes longer than")
    }

    #[test]
    fn normalizers_that_double_a_text_are_stopped() {
        let rules = vec![replace(r#"{"String":"a"}"#, "aa"); 34].join(",");
        let doubling = tokenizer(&format!(r#","normalizer":{{"type":"Sequence","normalizers":[{rules}]}}"#)).unwrap();
        let error = doubling.encode("a banana", true).unwrap_err();
        assert!(error.starts_with("tokenizing a text of 8 bytes") && is_bounded(&error), "{error}");
        let large = replace(r#"{"String":"a"}"#, &"b".repeat(5 << 20));
        let large = tokenizer(&format!(r#","normalizer":{large}"#)).unwrap();
        assert!(is_bounded(&large.encode(&"a".repeat(10_000), true).unwrap_err()));
    }

    #[test]
    fn regexes_that_try_for_ever_are_stopped() {
        // The first fails at every letter only after it has read all that follow; the second tries every way of taking them.
        for (pattern, message) in
            [("(?=(a+))(a*[bc])", "takes longer than 4 seconds"), ("(a|aa)+[bc]", "Regex search error")]
        {
            let parts = format!(
                r#","pre_tokenizer":{{"type":"Split","pattern":{{"Regex":"{pattern}"}},"behavior":"Isolated","invert":false}}"#
            );
            let error = tokenizer(&parts).unwrap().encode(&"a".repeat(200_000), true).unwrap_err();
            assert!(error.contains(message), "{pattern}: {error}");
        }
    }

    #[test]
    fn decoders_are_bounded_too() {
        let rules = vec![replace(r#"{"String":"a"}"#, "aa"); 34].join(",");
        let doubling = tokenizer(&format!(r#","decoder":{{"type":"Sequence","decoders":[{rules}]}}"#)).unwrap();
        let error = doubling.decode(&[1, 2], true).unwrap_err();
        assert!(error.starts_with("the text of 2 tokens") && is_bounded(&error), "{error}");
    }

    #[test]
    fn an_empty_pattern_is_an_error_or_has_no_effect() {
        let empty = replace(r#"{"String":""}"#, "b");
        match tokenizer(&format!(r#","normalizer":{empty}"#)).and_then(|t| t.encode("a a", true)) {
            Ok(ids) => assert!(!ids.is_empty()),
            Err(error) => assert!(!error.contains("internal failure"), "{error}"),
        }
    }
}
