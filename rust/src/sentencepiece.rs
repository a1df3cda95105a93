//! SentencePiece models (tokenizer.model) as tokenizer.json, as transformers' classes make one of them.

use crate::ffi::SentencePiece;
use serde_json::{json, Value as Json};
use std::collections::{HashMap, HashSet};

/// What a piece is for, as SentencePiece numbers it.
const CONTROL: u64 = 3;
const USER_DEFINED: u64 = 4;

const UNIGRAM: u64 = 1;
const BPE: u64 = 2;

struct Piece {
    text: String,
    score: f32,
    kind: u64,
}

/// What of a ModelProto is read, with the defaults that its format gives.
struct Model<'a> {
    pieces: Vec<Piece>,
    kind: u64,
    byte_fallback: bool,
    unknown: (u64, String),
    begin: (u64, String),
    end: (u64, String),
    charsmap: &'a [u8],
}

/// `prepend_scheme`: where LlamaTokenizer puts a space before the text; empty for the class that has no rules of its
/// own (TokenizersBackend, PreTrainedTokenizerFast), which takes a model of either kind with its own normalizer.
/// `renamed`: {"5": "<|x|>"}, what the config calls ids of pieces; only that class takes it for the piece's name.
pub fn convert(bytes: &[u8], prepend_scheme: &str, renamed: &str) -> Result<SentencePiece, String> {
    let model = read_model(bytes)?;
    let renamed: Json = serde_json::from_str(renamed).map_err(|e| e.to_string())?;
    let json = if !prepend_scheme.is_empty() { llama(&model, prepend_scheme)? } else { as_stored(&model, &renamed)? };
    let added = model.pieces.iter().filter(|p| p.kind == CONTROL || p.kind == USER_DEFINED);
    let tokens: Vec<Json> = added
        .map(|p| json!({"content": p.text, "special": p.kind == CONTROL, "normalized": false, "named": true}))
        .collect();
    let mut special = serde_json::Map::new();
    for (name, (id, text)) in [("bos_token", &model.begin), ("eos_token", &model.end), ("unk_token", &model.unknown)] {
        // An id of -1 says that the model has no such token.
        if prepend_scheme.is_empty() && *id < 1 << 31 {
            special.insert(name.to_owned(), json!(text));
        }
    }
    Ok(SentencePiece {
        json: json.to_string(),
        tokens: Json::Array(tokens).to_string(),
        special: Json::Object(special).to_string(),
    })
}

fn read_model(bytes: &[u8]) -> Result<Model<'_>, String> {
    let mut model = Model {
        pieces: Vec::new(),
        kind: UNIGRAM,
        byte_fallback: false,
        unknown: (0, "<unk>".to_owned()),
        begin: (1, "<s>".to_owned()),
        end: (2, "</s>".to_owned()),
        charsmap: &[],
    };
    for field in fields(bytes)? {
        match field {
            (1, Field::Bytes(piece)) => model.pieces.push(read_piece(piece)?),
            (2, Field::Bytes(trainer)) => read_trainer(trainer, &mut model)?,
            (3, Field::Bytes(normalizer)) => {
                for field in fields(normalizer)? {
                    if let (2, Field::Bytes(map)) = field {
                        model.charsmap = map;
                    }
                }
            }
            _ => {}
        }
    }
    if model.kind != UNIGRAM && model.kind != BPE {
        return Err("a SentencePiece model of words or characters is not supported".to_owned());
    }
    Ok(model)
}

fn read_trainer(trainer: &[u8], model: &mut Model) -> Result<(), String> {
    for field in fields(trainer)? {
        match field {
            (3, Field::Number(kind)) => model.kind = kind,
            (35, Field::Number(flag)) => model.byte_fallback = flag != 0,
            (40, Field::Number(id)) => model.unknown.0 = id,
            (41, Field::Number(id)) => model.begin.0 = id,
            (42, Field::Number(id)) => model.end.0 = id,
            (45, Field::Bytes(text)) => model.unknown.1 = text_of(text)?,
            (46, Field::Bytes(text)) => model.begin.1 = text_of(text)?,
            (47, Field::Bytes(text)) => model.end.1 = text_of(text)?,
            _ => {}
        }
    }
    Ok(())
}

fn vocabulary(model: &Model) -> serde_json::Map<String, Json> {
    model.pieces.iter().enumerate().map(|(id, piece)| (piece.text.clone(), json!(id))).collect()
}

fn merges_json(model: &Model) -> Vec<Json> {
    merges(&model.pieces).into_iter().map(|(l, r)| json!([l, r])).collect()
}

/// As LlamaTokenizer builds it.
fn llama(model: &Model, prepend_scheme: &str) -> Result<Json, String> {
    if model.kind != BPE {
        return Err("a SentencePiece model that is not BPE, under class LlamaTokenizer, is not supported: transformers \
                    makes BPE of it, whose ids are not those that the model was trained with"
            .to_owned());
    }
    let mut decoders = decoders(true);
    if prepend_scheme != "never" {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": prepend_scheme, "split": false},
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary(model), "merges": merges_json(model)},
    }))
}

/// As transformers builds it where no class says more: SpmConverter.build_tokenizer_from_spm_proto.
fn as_stored(model: &Model, renamed: &Json) -> Result<Json, String> {
    let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"})];
    if !model.charsmap.is_empty() {
        normalizers.insert(0, json!({"type": "Precompiled", "precompiled_charsmap": base64(model.charsmap)}));
    }
    let names = names_of(model, renamed);
    let inner = if model.kind == UNIGRAM {
        let pieces: Vec<Json> =
            model.pieces.iter().zip(&names).map(|(p, name)| json!([name, f64::from(p.score)])).collect();
        let unknown = (model.unknown.0 < model.pieces.len() as u64).then_some(model.unknown.0);
        json!({"type": "Unigram", "unk_id": unknown, "vocab": pieces, "byte_fallback": model.byte_fallback})
    } else {
        let vocab: serde_json::Map<_, _> = names.iter().enumerate().map(|(id, n)| ((*n).to_owned(), json!(id))).collect();
        json!({"type": "BPE", "dropout": null, "unk_token": model.unknown.1, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": model.byte_fallback, "ignore_merges": false,
            "vocab": vocab, "merges": merges_json(model)})
    };
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "post_processor": null, "pre_tokenizer": null,
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "decoder": {"type": "Sequence", "decoders": decoders(model.byte_fallback)},
        "model": inner,
    }))
}

/// The pieces' names, but for those that the config gives another one which is not taken.
fn names_of<'a>(model: &'a Model, renamed: &'a Json) -> Vec<&'a str> {
    let taken: HashSet<&str> = model.pieces.iter().map(|p| p.text.as_str()).collect();
    let name_of = |(id, piece): (usize, &'a Piece)| match renamed[id.to_string()].as_str() {
        Some(name) if !taken.contains(name) => name,
        _ => piece.text.as_str(),
    };
    model.pieces.iter().enumerate().map(name_of).collect()
}

fn decoders(byte_fallback: bool) -> Vec<Json> {
    let mut decoders = vec![json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "})];
    if byte_fallback {
        decoders.extend([json!({"type": "ByteFallback"}), json!({"type": "Fuse"})]);
    }
    decoders
}

/// RFC 4648 with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - three.len()));
        for digit in 0..4 {
            let shown = digit <= three.len();
            out.push(if shown { DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] as char } else { '=' });
        }
    }
    out
}

/// Every way to make a piece of two others; the piece's score decides, then the lengths of the two.
fn merges(pieces: &[Piece]) -> Vec<(&str, &str)> {
    let ids: HashMap<&str, usize> = pieces.iter().enumerate().map(|(id, p)| (p.text.as_str(), id)).collect();
    let scores: HashMap<&str, f32> = pieces.iter().map(|p| (p.text.as_str(), p.score)).collect();
    let mut merges = Vec::new();
    for Piece { text: piece, .. } in pieces {
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

fn text_of(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|e| format!("a piece: {e}"))
}

fn read_piece(bytes: &[u8]) -> Result<Piece, String> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: 1 };
    for field in fields(bytes)? {
        match field {
            (1, Field::Bytes(text)) => piece.text = text_of(text)?,
            (2, Field::Fixed32(bits)) => piece.score = f32::from_bits(bits),
            (3, Field::Number(kind)) => piece.kind = kind,
            _ => {}
        }
    }
    Ok(piece)
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

    fn error_of(bytes: &[u8]) -> String {
        convert(bytes, "first", "{}").map(|_| ()).unwrap_err()
    }

    #[test]
    fn broken_models_are_errors() {
        for (bytes, message) in [
            (&b"\x0a\x05ab"[..], "ends within a field"),
            (b"\x0f", "wire type 7"),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "more than 64 bits"),
            (b"", "not BPE"),
            (b"\x12\x02\x18\x03", "words or characters"),
            (b"\x0a\x03\x0a\x01\xff", "a piece"),
        ] {
            let error = error_of(bytes);
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }
}
