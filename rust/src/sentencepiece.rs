//! SentencePiece models (tokenizer.model) as tokenizer.json, as transformers' classes make one of them.

use crate::ffi::SentencePiece;
use serde_json::{json, Value as Json};
use std::collections::{HashMap, HashSet};

/// What a piece is for, as SentencePiece numbers it.
const NORMAL: u64 = 1;
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
    normalizer: Normalizer<'a>,
}

/// What happens to a text before it is taken apart.
struct Normalizer<'a> {
    charsmap: &'a [u8],
    dummy_prefix: bool,
    remove_extra_spaces: bool,
    escape_spaces: bool,
}

/// `class`: "LlamaTokenizer", or another name for the class that has no rules of its own (TokenizersBackend,
/// PreTrainedTokenizerFast), which takes a model of either kind with what the model says of itself.
/// `prepend_scheme`: where a space is put before the text: "never", "always" (each piece between added tokens), "first".
/// `renamed`: {"5": "<|x|>"}, what the config calls ids of pieces; only the latter class takes it for the piece's name.
pub fn convert(bytes: &[u8], class: &str, prepend_scheme: &str, renamed: &str) -> Result<SentencePiece, String> {
    let model = read_model(bytes)?;
    let renamed: Json = serde_json::from_str(renamed).map_err(|e| e.to_string())?;
    let of_llama = class == "LlamaTokenizer";
    let json = if of_llama { llama(&model, prepend_scheme)? } else { as_stored(&model, prepend_scheme, &renamed)? };
    // Without rules of a class the pre-tokenizer keeps the model's own symbols whole.
    let added = model.pieces.iter().filter(|p| p.kind == CONTROL || (p.kind == USER_DEFINED && of_llama));
    let tokens: Vec<Json> = added
        .map(|p| json!({"content": p.text, "special": p.kind == CONTROL, "normalized": false, "named": true}))
        .collect();
    let mut special = serde_json::Map::new();
    for (name, (id, text)) in [("bos_token", &model.begin), ("eos_token", &model.end), ("unk_token", &model.unknown)] {
        // An id of -1 says that the model has no such token.
        if !of_llama && *id < 1 << 31 {
            special.insert(name.to_owned(), json!(text));
        }
    }
    Ok(SentencePiece {
        json: json.to_string(),
        tokens: Json::Array(tokens).to_string(),
        special: Json::Object(special).to_string(),
        tokens_match_raw_text: !of_llama && model.normalizer.dummy_prefix,
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
        normalizer: Normalizer { charsmap: &[], dummy_prefix: true, remove_extra_spaces: true, escape_spaces: true },
    };
    for field in fields(bytes)? {
        match field {
            (1, Field::Bytes(piece)) => model.pieces.push(read_piece(piece)?),
            (2, Field::Bytes(trainer)) => read_trainer(trainer, &mut model)?,
            (3, Field::Bytes(normalizer)) => read_normalizer(normalizer, &mut model.normalizer)?,
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

fn read_normalizer<'a>(bytes: &'a [u8], normalizer: &mut Normalizer<'a>) -> Result<(), String> {
    for field in fields(bytes)? {
        match field {
            (2, Field::Bytes(map)) => normalizer.charsmap = map,
            (3, Field::Number(flag)) => normalizer.dummy_prefix = flag != 0,
            (4, Field::Number(flag)) => normalizer.remove_extra_spaces = flag != 0,
            (5, Field::Number(flag)) => normalizer.escape_spaces = flag != 0,
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

pub fn llama_pre_tokenizer(prepend_scheme: &str) -> Json {
    json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": prepend_scheme, "split": false})
}

pub fn llama_decoder(prepend_scheme: &str) -> Json {
    let mut decoders = decoders(true);
    if prepend_scheme != "never" {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": decoders})
}

/// As LlamaTokenizer builds it.
fn llama(model: &Model, prepend_scheme: &str) -> Result<Json, String> {
    if model.kind != BPE {
        return Err(
            "a SentencePiece model that is not BPE, under class LlamaTokenizer, is not supported: transformers \
                    makes BPE of it, whose ids are not those that the model was trained with"
                .to_owned(),
        );
    }
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null,
        "pre_tokenizer": llama_pre_tokenizer(prepend_scheme), "decoder": llama_decoder(prepend_scheme),
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary(model), "merges": merges_json(model)},
    }))
}

/// As transformers (5.24 and newer) builds it where no class says more: SpmConverter.build_tokenizer_from_spm_proto,
/// which encodes as SentencePiece itself does.
fn as_stored(model: &Model, prepend_scheme: &str, renamed: &Json) -> Result<Json, String> {
    let bpe = model.kind == BPE;
    let names = names_of(model, if bpe { renamed } else { &Json::Null });
    let kept_whole = names_whole(model, &names);
    let inner = if bpe {
        let vocab: serde_json::Map<_, _> =
            names.iter().enumerate().map(|(id, n)| ((*n).to_owned(), json!(id))).collect();
        json!({"type": "BPE", "dropout": null, "unk_token": model.unknown.1, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": model.byte_fallback,
            "ignore_merges": !kept_whole.is_empty(), "vocab": vocab, "merges": merges_of_normal(model, &names)})
    } else {
        let pieces: Vec<Json> = model.pieces.iter().map(|p| json!([p.text, f64::from(p.score)])).collect();
        let unknown = (model.unknown.0 < model.pieces.len() as u64).then_some(model.unknown.0);
        json!({"type": "Unigram", "unk_id": unknown, "vocab": pieces, "byte_fallback": model.byte_fallback})
    };
    let mut pre_tokenizers = Vec::new();
    if model.normalizer.dummy_prefix {
        pre_tokenizers.push(llama_pre_tokenizer(prepend_scheme));
    }
    if !kept_whole.is_empty() {
        pre_tokenizers.push(json!({"type": "Split", "pattern": {"Regex": one_of(kept_whole)}, "behavior": "Isolated",
            "invert": false}));
    }
    let pre_tokenizer = if pre_tokenizers.is_empty() {
        Json::Null
    } else {
        json!({"type": "Sequence", "pretokenizers": pre_tokenizers})
    };
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "post_processor": null,
        "pre_tokenizer": pre_tokenizer,
        "normalizer": {"type": "Sequence", "normalizers": normalizers(&model.normalizer, prepend_scheme)},
        "decoder": {"type": "Sequence", "decoders": stored_decoders(model)},
        "model": inner,
    }))
}

/// In the order of SentencePiece. Of white space only spaces are extra.
fn normalizers(of: &Normalizer, prepend_scheme: &str) -> Vec<Json> {
    let replace = |pattern: Json, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let mut steps = Vec::new();
    if !of.charsmap.is_empty() {
        steps.push(json!({"type": "Precompiled", "precompiled_charsmap": base64(of.charsmap)}));
    }
    if of.remove_extra_spaces {
        steps.push(replace(json!({"Regex": r"\A +| +\z"}), ""));
        steps.push(replace(json!({"Regex": " {2,}"}), " "));
    }
    if of.escape_spaces {
        steps.push(replace(json!({"String": " "}), "\u{2581}"));
    }
    if of.dummy_prefix && prepend_scheme == "always" {
        // Metaspace adds no prefix to a text that begins with the mark; SentencePiece does.
        steps.push(replace(json!({"Regex": "\\A\u{2581}"}), "\u{2581}\u{2581}"));
    }
    steps
}

fn stored_decoders(model: &Model) -> Vec<Json> {
    let mut steps = decoders(model.byte_fallback);
    if model.normalizer.dummy_prefix {
        if !model.byte_fallback {
            steps.push(json!({"type": "Fuse"}));
        }
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    steps
}

/// Names of the model's own symbols; of pieces with one name only the last has it.
fn names_whole<'a>(model: &Model, names: &[&'a str]) -> Vec<&'a str> {
    let last: HashMap<&str, usize> = names.iter().enumerate().map(|(id, name)| (*name, id)).collect();
    let own = |id: &usize| model.pieces[*id].kind == USER_DEFINED && (model.kind != BPE || last[names[*id]] == *id);
    (0..names.len()).filter(own).map(|id| names[id]).collect()
}

/// A regex of the longest of `texts` that stands at a place.
fn one_of(mut texts: Vec<&str>) -> String {
    texts.sort_by_key(|text| std::cmp::Reverse(text.chars().count()));
    texts.into_iter().map(escaped).collect::<Vec<_>>().join("|")
}

/// Python's re.escape.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if "()[]{}?*+-|^$\\.&~# \t\n\r\u{b}\u{c}".contains(letter) {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// Every way to make a normal piece of two others, in the order of the pieces' scores.
fn merges_of_normal(model: &Model, names: &[&str]) -> Vec<Json> {
    let last: HashMap<&str, usize> = names.iter().enumerate().map(|(id, name)| (*name, id)).collect();
    let normal = |name: &str| last.get(name).is_some_and(|id| model.pieces[*id].kind == NORMAL);
    let mut ranked = Vec::new();
    for (id, name) in names.iter().enumerate().filter(|(id, name)| last[*name] == *id && normal(name)) {
        let splits = name.char_indices().skip(1).map(|(at, _)| name.split_at(at));
        ranked.extend(splits.filter(|(l, r)| normal(l) && normal(r)).map(|(l, r)| (model.pieces[id].score, id, l, r)));
    }
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3))));
    ranked.into_iter().map(|(_, _, left, right)| json!([left, right])).collect()
}

/// The pieces' names, but for those that the config gives another one, which no piece keeps.
fn names_of<'a>(model: &'a Model, renamed: &'a Json) -> Vec<&'a str> {
    let new_name = |id: usize| renamed[id.to_string()].as_str();
    let kept = model.pieces.iter().enumerate().filter(|(id, _)| new_name(*id).is_none());
    let kept: HashSet<&str> = kept.map(|(_, p)| p.text.as_str()).collect();
    let name_of = |(id, piece): (usize, &'a Piece)| match new_name(id) {
        Some(name) if !kept.contains(name) => name,
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
        convert(bytes, "LlamaTokenizer", "first", "{}").map(|_| ()).unwrap_err()
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
