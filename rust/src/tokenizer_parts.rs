//! What stands beside tokenizer.json: tokens and BOS/EOS rules of tokenizer_config.json. Made into a tokenizer as
//! transformers' classes make it.

use serde_json::{json, Value as Json};
use std::collections::HashMap;
use tokenizers::{AddedToken, PostProcessorWrapper, Tokenizer};

/// `changes`: {"tokens": [{"content", flags, "named"}], "frame": null or {"bos": text or null, "eos": text or null}}.
pub fn apply_changes(tokenizer: &mut Tokenizer, changes: &str) -> Result<(), String> {
    let changes: Json = serde_json::from_str(changes).map_err(|e| e.to_string())?;
    add_tokens(tokenizer, changes["tokens"].as_array().map_or(&[], Vec::as_slice))?;
    let frame = &changes["frame"];
    if frame.is_null() {
        return Ok(());
    }
    let (mut single, mut pair, mut special) = (Vec::new(), Vec::new(), serde_json::Map::new());
    for sequence in ["A", "B"] {
        let mut part = Vec::new();
        for end in ["bos", "eos"] {
            if let Some(text) = frame[end].as_str() {
                let id = tokenizer
                    .token_to_id(text)
                    .ok_or_else(|| format!("the {end} token {text:?} is not in the vocabulary"))?;
                special.insert(text.to_owned(), json!({"id": text, "ids": [id], "tokens": [text]}));
                part.push(json!({"SpecialToken": {"id": text, "type_id": 0}}));
            }
            if end == "bos" {
                part.push(json!({"Sequence": {"id": sequence, "type_id": 0}}));
            }
        }
        if sequence == "A" {
            single.clone_from(&part);
        }
        pair.extend(part);
    }
    let processor = json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special});
    let processor: PostProcessorWrapper = serde_json::from_value(processor).map_err(|e| e.to_string())?;
    tokenizer.with_post_processor(Some(processor));
    Ok(())
}

/// All at once: each call of the tokenizer's own goes through all of its tokens.
fn add_tokens(tokenizer: &mut Tokenizer, tokens: &[Json]) -> Result<(), String> {
    let mut known: HashMap<String, AddedToken> =
        tokenizer.get_added_tokens_decoder().into_values().map(|t| (t.content.clone(), t)).collect();
    let mut added = Vec::new();
    for token in tokens {
        let content = token["content"].as_str().ok_or("a token without content")?;
        let flag = |name: &str, default: bool| token[name].as_bool().unwrap_or(default);
        let special = flag("special", false);
        let new = AddedToken::from(content, special)
            .single_word(flag("single_word", false))
            .lstrip(flag("lstrip", false))
            .rstrip(flag("rstrip", false))
            .normalized(flag("normalized", !special));
        let all = |t: &AddedToken| (t.single_word, t.lstrip, t.rstrip, t.normalized, t.special);
        // A token that is only named need not be added again with other flags.
        let is_there = known.get(content).is_some_and(|t| flag("named", false) || all(t) == all(&new));
        if !content.is_empty() && !is_there {
            known.insert(content.to_owned(), new.clone());
            added.push(new);
        }
    }
    tokenizer.add_tokens(added).map(drop).map_err(|e| e.to_string())
}
