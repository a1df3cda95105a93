//! The bytes that each token of a tokenizer stands for in a text, as its decoder puts them there.

use serde_json::Value as Json;
use tokenizers::Tokenizer as HfTokenizer;

/// Before the names of tokens that a text does not show: no text has this byte.
pub const HIDDEN: u8 = 0xff;

/// What a decoder does to single tokens; the rest of it (joining them, a space less at the text's beginning) is of the whole.
#[derive(Default)]
struct Steps {
    bytes_as_letters: bool,
    bytes_by_number: bool,
    replaced: Vec<(String, String)>,
}

impl Steps {
    fn of(decoder: &Json) -> Result<Steps, String> {
        let mut steps = Steps::default();
        steps.add(decoder)?;
        Ok(steps)
    }

    fn add(&mut self, decoder: &Json) -> Result<(), String> {
        let text = |key: &str| decoder[key].as_str().map(str::to_owned);
        match decoder["type"].as_str() {
            Some("Sequence") => {
                for step in decoder["decoders"].as_array().into_iter().flatten() {
                    self.add(step)?;
                }
            }
            Some("ByteLevel") => self.bytes_as_letters = true,
            Some("ByteFallback") => self.bytes_by_number = true,
            Some("Metaspace") => self.replaced.push((text("replacement").unwrap_or_default(), " ".to_owned())),
            Some("Replace") => match decoder["pattern"]["String"].as_str() {
                Some(from) => self.replaced.push((from.to_owned(), text("content").unwrap_or_default())),
                None => return Err("its decoder replaces by a regular expression".to_owned()),
            },
            Some("Fuse") | Some("Strip") => {}
            other => return Err(format!("its decoder is {}", other.unwrap_or("none"))),
        }
        Ok(())
    }

    fn bytes(&self, token: &str) -> Vec<u8> {
        if self.bytes_as_letters {
            return token.chars().map(byte_of_letter).collect::<Option<Vec<u8>>>().unwrap_or_else(|| token.into());
        }
        let number = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
        if let (true, Some(digits)) = (self.bytes_by_number && token.len() == 6, number) {
            if let Ok(byte) = u8::from_str_radix(digits, 16) {
                return vec![byte];
            }
        }
        let replaced = self.replaced.iter().filter(|(from, _)| !from.is_empty());
        replaced.fold(token.to_owned(), |text, (from, to)| text.replace(from.as_str(), to)).into_bytes()
    }
}

/// Byte-level tokenizers write each byte as a letter: itself if it is printable, the others in order from U+0100 on.
fn byte_of_letter(letter: char) -> Option<u8> {
    let printable = |code: u32| matches!(code, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    match letter as u32 {
        code if code < 0x100 => printable(code).then_some(code as u8),
        code if code < 0x144 => (0..0x100).filter(|&byte| !printable(byte)).nth(code as usize - 0x100).map(|b| b as u8),
        _ => None,
    }
}

/// By id, for `size` ids; empty where there is no token.
pub fn token_bytes(tokenizer: &HfTokenizer, size: usize) -> Result<Vec<Vec<u8>>, String> {
    let decoder = tokenizer.get_decoder().map_or(Ok(Json::Null), |decoder| serde_json::to_value(decoder));
    let steps = Steps::of(&decoder.map_err(|e| e.to_string())?)?;
    let added = tokenizer.get_added_tokens_decoder();
    let bytes_of = |id: usize| match (added.get(&(id as u32)), tokenizer.id_to_token(id as u32)) {
        (Some(token), _) if token.special => [&[HIDDEN], token.content.as_bytes()].concat(),
        (_, Some(token)) => steps.bytes(&token),
        _ => Vec::new(),
    };
    Ok((0..size).map(bytes_of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(model: &str, decoder: &str, added: &str) -> Result<Vec<Vec<u8>>, String> {
        let json = format!(r#"{{"version":"1.0","added_tokens":[{added}],"model":{model},"decoder":{decoder}}}"#);
        token_bytes(&HfTokenizer::from_bytes(json.as_bytes()).unwrap(), 6)
    }

    #[test]
    fn letters_that_stand_for_bytes() {
        let model = r#"{"type":"BPE","vocab":{"a":0,"Ġb":1,"Ã¤":2,"Ń":3,"日":4},"merges":[]}"#;
        let added = r#"{"id":5,"content":"<end>","special":true,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false}"#;
        let found = bytes(
            model,
            r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}"#,
            added,
        );
        let expected: Vec<Vec<u8>> =
            vec![b"a".to_vec(), b" b".to_vec(), "ä".into(), vec![0xad], "日".into(), b"\xff<end>".to_vec()];
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn bytes_by_number_and_spaces_as_underlines() {
        let model = r#"{"type":"BPE","byte_fallback":true,"vocab":{"<0x0A>":0,"▁b":1,"<0x>":2},"merges":[]}"#;
        let decoder = r#"{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"▁"},"content":" "},
            {"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]}"#;
        let found = bytes(model, decoder, "").unwrap();
        assert_eq!(found[..4], [b"\n".to_vec(), b" b".to_vec(), b"<0x>".to_vec(), vec![]]);
    }

    #[test]
    fn decoders_that_join_words_are_refused() {
        let model = r#"{"type":"WordLevel","unk_token":"u","vocab":{"u":0}}"#;
        assert_eq!(bytes(model, "null", "").unwrap_err(), "its decoder is none");
        let pieces = r###"{"type":"WordPiece","prefix":"##","cleanup":true}"###;
        assert_eq!(bytes(model, pieces, "").unwrap_err(), "its decoder is WordPiece");
        let regex = r#"{"type":"Replace","pattern":{"Regex":"a"},"content":""}"#;
        assert!(bytes(model, regex, "").unwrap_err().contains("regular expression"));
    }
}
