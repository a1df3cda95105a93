//! What stands beside tokenizer.json: tokens and BOS/EOS rules of tokenizer_config.json. Made into a tokenizer as
//! transformers' classes make it.

use crate::sentencepiece::{llama_decoder, llama_pre_tokenizer};
use serde_json::{json, Value as Json};
use std::collections::HashMap;
use tokenizers::models::ModelWrapper;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer};

/// `changes`: {"tokens": [{"content", flags, "named"}], "frame": null or {"bos": text or null, "eos": text or null},
/// "class_rules": null or {"prepend_scheme"} or {"add_prefix_space", "said"}, "split_special_tokens"}.
pub fn apply_changes(tokenizer: &mut Tokenizer, changes: &str) -> Result<(), String> {
    let changes: Json = serde_json::from_str(changes).map_err(|e| e.to_string())?;
    let rules = &changes["class_rules"];
    if let Some(prepend_scheme) = rules["prepend_scheme"].as_str() {
        as_llama(tokenizer, prepend_scheme)?;
    } else if let Some(prefix) = rules["add_prefix_space"].as_bool() {
        set_prefix_space(tokenizer, prefix, rules["said"].as_bool().unwrap_or(false))?;
    }
    tokenizer.set_encode_special_tokens(changes["split_special_tokens"].as_bool().unwrap_or(false));
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

/// LlamaTokenizer has normalizer, pre-tokenizer and decoder of its own; a file of bytes is not read with that class.
fn as_llama(tokenizer: &mut Tokenizer, prepend_scheme: &str) -> Result<(), String> {
    let bytes = tokenizer.get_pre_tokenizer().is_some_and(|p| prefix_space(p).is_some())
        || matches!(tokenizer.get_decoder(), Some(DecoderWrapper::ByteLevel(_)));
    if bytes || !matches!(tokenizer.get_model(), ModelWrapper::BPE(_)) {
        return Ok(());
    }
    let pre_tokenizer: PreTokenizerWrapper =
        serde_json::from_value(llama_pre_tokenizer(prepend_scheme)).map_err(|e| e.to_string())?;
    let decoder: DecoderWrapper = serde_json::from_value(llama_decoder(prepend_scheme)).map_err(|e| e.to_string())?;
    tokenizer.with_normalizer(None::<NormalizerWrapper>).map_err(|e| e.to_string())?;
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer)).with_decoder(Some(decoder));
    Ok(())
}

/// Whether a pre-tokenizer of bytes puts a space before the text; none if it is not one.
fn prefix_space(pre_tokenizer: &PreTokenizerWrapper) -> Option<bool> {
    match pre_tokenizer {
        PreTokenizerWrapper::ByteLevel(bytes) => Some(bytes.add_prefix_space),
        PreTokenizerWrapper::Sequence(parts) => parts.as_ref().iter().find_map(prefix_space),
        _ => None,
    }
}

/// GPT2Tokenizer and Qwen2Tokenizer go by their config where a space before the text is concerned. Behind other rules
/// than these classes have, it would mean something else.
fn set_prefix_space(tokenizer: &mut Tokenizer, wanted: bool, said: bool) -> Result<(), String> {
    let Some(mut pre_tokenizer) = tokenizer.get_pre_tokenizer().cloned() else { return Ok(()) };
    match &mut pre_tokenizer {
        PreTokenizerWrapper::ByteLevel(bytes) => bytes.add_prefix_space = wanted,
        PreTokenizerWrapper::Sequence(parts) => match parts.as_mut() {
            [PreTokenizerWrapper::Split(_), PreTokenizerWrapper::ByteLevel(bytes)] => bytes.add_prefix_space = wanted,
            others => match others.iter().find_map(prefix_space) {
                Some(stored) if said && stored != wanted => return Err(format!(
                    "add_prefix_space is {stored} here and {wanted} in tokenizer_config.json; write the same into both"
                )),
                _ => return Ok(()),
            },
        },
        _ => return Ok(()),
    }
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer));
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
