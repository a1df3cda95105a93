//! What stands beside tokenizer.json, or instead of it: tokens and BOS/EOS rules of tokenizer_config.json, SentencePiece
//! models. Made into a tokenizer as transformers' classes make it.

use serde_json::{json, Value as Json};
use std::collections::HashMap;
use tokenizers::{AddedToken, PostProcessorWrapper, Tokenizer};

/// `changes`: {"tokens": [{"content", flags, "named"}], "frame": null or {"bos": text or null, "eos": text or null}}.
pub fn apply_changes(tokenizer: &mut Tokenizer, changes: &str) -> Result<(), String> {
    let changes: Json = serde_json::from_str(changes).map_err(|e| e.to_string())?;
    for token in changes["tokens"].as_array().into_iter().flatten() {
        add_token(tokenizer, token)?;
    }
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

fn add_token(tokenizer: &mut Tokenizer, token: &Json) -> Result<(), String> {
    let content = token["content"].as_str().ok_or("a token without content")?;
    let flag = |name: &str, default: bool| token[name].as_bool().unwrap_or(default);
    let special = flag("special", false);
    let added = AddedToken::from(content, special)
        .single_word(flag("single_word", false))
        .lstrip(flag("lstrip", false))
        .rstrip(flag("rstrip", false))
        .normalized(flag("normalized", !special));
    let all = |t: &AddedToken| (t.content.clone(), t.single_word, t.lstrip, t.rstrip, t.normalized, t.special);
    let known = tokenizer.get_added_tokens_decoder();
    // A token that is only named need not be added again with other flags.
    let is_there =
        known.values().any(|t| if flag("named", false) { t.content == content } else { all(t) == all(&added) });
    if content.is_empty() || is_there {
        return Ok(());
    }
    let result = if special { tokenizer.add_special_tokens([added]) } else { tokenizer.add_tokens([added]) };
    result.map(drop).map_err(|e| e.to_string())
}

/// A SentencePiece model's BPE as tokenizer.json, as transformers' LlamaTokenizer builds it.
pub fn sentencepiece_json(model: &[u8], prepend_scheme: &str) -> Result<String, String> {
    let mut pieces = Vec::new();
    let mut kind = 1; // unigram, unless the model says other
    for field in fields(model)? {
        match field {
            (1, Field::Bytes(piece)) => pieces.push(read_piece(piece)?),
            (2, Field::Bytes(trainer)) => {
                for field in fields(trainer)? {
                    if let (3, Field::Number(n)) = field {
                        kind = n;
                    }
                }
            }
            _ => {}
        }
    }
    if kind != 2 {
        return Err("a SentencePiece model that is not BPE is not supported".to_owned());
    }
    let vocab: serde_json::Map<String, Json> =
        pieces.iter().enumerate().map(|(id, (piece, _))| (piece.clone(), json!(id))).collect();
    let merges: Vec<Json> = merges(&pieces).into_iter().map(|(l, r)| json!([l, r])).collect();
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prepend_scheme != "never" {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": prepend_scheme, "split": false},
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": merges},
    });
    Ok(tokenizer.to_string())
}

/// Every way to make a piece of two others; the piece's score decides, then the lengths of the two.
fn merges(pieces: &[(String, f32)]) -> Vec<(&str, &str)> {
    let ids: HashMap<&str, usize> = pieces.iter().enumerate().map(|(id, (piece, _))| (piece.as_str(), id)).collect();
    let scores: HashMap<&str, f32> = pieces.iter().map(|(piece, score)| (piece.as_str(), *score)).collect();
    let mut merges = Vec::new();
    for (piece, _) in pieces {
        let splits = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        let mut local: Vec<_> = splits.filter_map(|(l, r)| Some((ids.get(l)?, ids.get(r)?, l, r))).collect();
        local.sort_by_key(|(l, r, _, _)| (*l, *r));
        merges.extend(local.into_iter().map(|(_, _, l, r)| (scores[piece.as_str()], l, r)));
    }
    let length = |text: &str| text.chars().count();
    merges.sort_by(|(a, al, ar), (b, bl, br)| {
        b.total_cmp(a).then(length(bl).cmp(&length(al))).then(length(br).cmp(&length(ar)))
    });
    merges.into_iter().map(|(_, l, r)| (l, r)).collect()
}

fn read_piece(bytes: &[u8]) -> Result<(String, f32), String> {
    let (mut piece, mut score) = (String::new(), 0.0);
    for field in fields(bytes)? {
        match field {
            (1, Field::Bytes(text)) => piece = String::from_utf8(text.to_vec()).map_err(|e| format!("a piece: {e}"))?,
            (2, Field::Fixed32(bits)) => score = f32::from_bits(bits),
            _ => {}
        }
    }
    Ok((piece, score))
}

/// A field's value in a protocol buffer.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    Fixed64,
}

/// The fields of a message with their numbers.
fn fields(mut bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Field::Number(varint(&mut bytes)?),
            1 => take(&mut bytes, 8).map(|_| Field::Fixed64)?,
            2 => {
                let length = varint(&mut bytes)?;
                Field::Bytes(take(&mut bytes, length)?)
            }
            5 => Field::Fixed32(take(&mut bytes, 4)?.iter().rev().fold(0, |bits, b| bits << 8 | u32::from(*b))),
            other => return Err(format!("not a SentencePiece model: a field of wire type {other}")),
        };
        out.push((key >> 3, value));
    }
    Ok(out)
}

fn take<'a>(bytes: &mut &'a [u8], count: u64) -> Result<&'a [u8], String> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let (head, tail) = bytes.split_at_checked(count).ok_or("not a SentencePiece model: it ends within a field")?;
    *bytes = tail;
    Ok(head)
}

fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("not a SentencePiece model: a number of more than 64 bits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_models_are_errors() {
        for (bytes, message) in [
            (&b"\x0a\x05ab"[..], "ends within a field"),
            (b"\x0f", "wire type 7"),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "more than 64 bits"),
            (b"", "not BPE"),
            (b"\x0a\x03\x0a\x01\xff", "a piece"),
        ] {
            let error = sentencepiece_json(bytes, "first").unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
