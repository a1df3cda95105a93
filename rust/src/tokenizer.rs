//! Hugging Face tokenizers: tokenizer.json in, token ids out and back.

use crate::ffi::EncodedBatch;
use crate::guard::guard;
use cxx::{CxxString, CxxVector};
use tokenizers::Tokenizer as HfTokenizer;

pub struct Tokenizer {
    inner: HfTokenizer,
}

pub fn tokenizer_from_json(json: &[u8]) -> Result<Box<Tokenizer>, String> {
    guard(|| {
        let mut inner = HfTokenizer::from_bytes(json).map_err(|e| e.to_string())?;
        // Stored truncation and padding belong to the training run; transformers switches both off as well.
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        Ok(Box::new(Tokenizer { inner }))
    })
}

impl Tokenizer {
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, String> {
        guard(|| {
            let encoding = self.inner.encode_fast(text, add_special_tokens).map_err(|e| e.to_string())?;
            Ok(encoding.get_ids().to_vec())
        })
    }

    pub fn encode_batch(&self, texts: &CxxVector<CxxString>, add_special_tokens: bool) -> Result<EncodedBatch, String> {
        guard(|| {
            let mut inputs = Vec::with_capacity(texts.len());
            for (i, text) in texts.iter().enumerate() {
                inputs.push(text.to_str().map_err(|e| format!("text {i} is not valid UTF-8: {e}"))?);
            }
            let encodings = self.inner.encode_batch_fast(inputs, add_special_tokens).map_err(|e| e.to_string())?;
            let mut batch = EncodedBatch { ids: Vec::new(), ends: Vec::with_capacity(encodings.len()) };
            for encoding in &encodings {
                batch.ids.extend_from_slice(encoding.get_ids());
                batch.ends.push(batch.ids.len());
            }
            Ok(batch)
        })
    }

    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, String> {
        guard(|| self.inner.decode(ids, skip_special_tokens).map_err(|e| e.to_string()))
    }

    pub fn vocabulary_size(&self) -> Result<usize, String> {
        guard(|| Ok(self.inner.get_vocab_size(true)))
    }

    /// The id of a token, or -1.
    pub fn token_id(&self, token: &str) -> Result<i64, String> {
        guard(|| Ok(self.inner.token_to_id(token).map_or(-1, i64::from)))
    }
}
