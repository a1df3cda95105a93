//! swage's bridge to the crates it takes from the Rust world: tokenizers, chat templates, and the hub.
//! Every function returns Result: cxx throws rust::Error on the C++ side, and `guard` turns panics into such errors.

mod bounded;
mod guard;
mod hub;
mod python_text;
mod strftime;
mod template;
mod tokenizer;

use hub::{hub_cached_snapshot, hub_fetch_file, hub_list_files};
use template::{chat_template, ChatTemplate};
use tokenizer::{tokenizer_from_json, Tokenizer};

#[cxx::bridge(namespace = "swage::bridge")]
mod ffi {
    /// Token ids of many texts, end to end; text i ends before ids[ends[i]].
    struct EncodedBatch {
        ids: Vec<u32>,
        ends: Vec<usize>,
    }

    /// One model of the hub, and where and how it is reached.
    struct HubSource {
        cache_dir: String,
        endpoint: String,
        token: String,
        id: String,
        revision: String,
    }

    extern "Rust" {
        type Tokenizer;
        fn tokenizer_from_json(json: &[u8]) -> Result<Box<Tokenizer>>;
        fn encode(self: &Tokenizer, text: &str, add_special_tokens: bool) -> Result<Vec<u32>>;
        fn encode_batch(
            self: &Tokenizer,
            texts: &CxxVector<CxxString>,
            add_special_tokens: bool,
        ) -> Result<EncodedBatch>;
        fn decode(self: &Tokenizer, ids: &[u32], skip_special_tokens: bool) -> Result<String>;
        fn vocabulary_size(self: &Tokenizer) -> Result<usize>;
        fn token_id(self: &Tokenizer, token: &str) -> Result<i64>;

        type ChatTemplate;
        fn chat_template(source: &str) -> Result<Box<ChatTemplate>>;
        fn render(
            self: &ChatTemplate,
            messages_json: &str,
            variables_json: &str,
            add_generation_prompt: bool,
            now_seconds: i64,
        ) -> Result<String>;

        fn hub_cached_snapshot(source: &HubSource) -> Result<String>;
        fn hub_list_files(source: &HubSource) -> Result<Vec<String>>;
        fn hub_fetch_file(source: &HubSource, file: &str) -> Result<String>;
    }
}
