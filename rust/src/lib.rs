//! swage's bridge to the crates it takes from the Rust world: tokenizers, chat templates, and HTTP for the hub.
//! Every function returns Result: cxx throws rust::Error on the C++ side, and `guard` turns panics into such errors.

mod bounded;
mod builtin;
mod gbnf;
mod grammar;
mod guard;
mod http;
mod jinja;
mod sentencepiece;
mod server;
mod strftime;
mod template;
mod token_bytes;
mod tokenizer;
mod tokenizer_parts;

use builtin::builtin_text;
use grammar::{grammar_vocabulary, GrammarMatcher, GrammarVocabulary};
use http::{http_client, join_url, sha1, sha256, url_origin, Digest, HttpClient, HttpReply, PendingReply};
use template::{chat_template, ChatTemplate};
use tokenizer::{convert_sentencepiece, tokenizer_from_json, Tokenizer};

#[cxx::bridge(namespace = "swage::bridge")]
mod ffi {
    /// Token ids of many texts, end to end; text i ends before ids[ends[i]].
    struct EncodedBatch {
        ids: Vec<u32>,
        ends: Vec<usize>,
    }

    /// A tokenizer.json; the tokens to be added to it, in the form of `changes`; {"bos_token": ...} as far as known.
    struct SentencePiece {
        json: String,
        tokens: String,
        special: String,
        /// Added tokens are looked for before the text is normalized, whatever their flag says.
        tokens_match_raw_text: bool,
    }

    struct HttpHeader {
        name: String,
        value: String,
    }

    /// A request: with `body`, or with `length` bytes of the file `path` from `offset` on.
    struct HttpCall {
        method: String,
        url: String,
        headers: Vec<HttpHeader>,
        body: Vec<u8>,
        path: String,
        offset: u64,
        length: u64,
    }

    extern "Rust" {
        type Tokenizer;
        fn tokenizer_from_json(json: &[u8], changes: &str) -> Result<Box<Tokenizer>>;
        fn convert_sentencepiece(
            model: &[u8],
            class_name: &str,
            prepend_scheme: &str,
            renamed: &str,
        ) -> Result<SentencePiece>;
        fn encode(self: &Tokenizer, text: &str, add_special_tokens: bool) -> Result<Vec<u32>>;
        fn encode_batch(
            self: &Tokenizer,
            texts: &CxxVector<CxxString>,
            add_special_tokens: bool,
        ) -> Result<EncodedBatch>;
        fn decode(self: &Tokenizer, ids: &[u32], skip_special_tokens: bool) -> Result<String>;
        fn vocabulary_size(self: &Tokenizer) -> Result<usize>;
        fn token_id(self: &Tokenizer, token: &str) -> Result<i64>;

        type GrammarVocabulary;
        fn grammar_vocabulary(tokenizer: &Tokenizer, size: usize) -> Result<Box<GrammarVocabulary>>;
        fn compile(self: &GrammarVocabulary, kind: &str, text: &str) -> Result<Box<GrammarMatcher>>;
        type GrammarMatcher;
        fn copy(self: &GrammarMatcher) -> Result<Box<GrammarMatcher>>;
        fn mask(self: &mut GrammarMatcher, words: &mut [u32]) -> Result<bool>;
        fn consume(self: &mut GrammarMatcher, id: u32) -> Result<bool>;

        type ChatTemplate;
        fn chat_template(source: &str) -> Result<Box<ChatTemplate>>;
        fn render(
            self: &ChatTemplate,
            messages_json: &str,
            variables_json: &str,
            add_generation_prompt: bool,
            now_seconds: i64,
        ) -> Result<String>;

        fn builtin_text(held_out: bool) -> &'static [u8];

        type HttpClient;
        type HttpReply;
        fn http_client(user_agent: &str, idle_seconds: u64) -> Result<Box<HttpClient>>;
        fn start(self: &HttpClient, call: HttpCall) -> Result<Box<PendingReply>>;
        fn sent(self: &HttpClient) -> u64;
        fn stop(self: &HttpClient);
        type PendingReply;
        fn wait(self: &mut PendingReply, milliseconds: u64) -> bool;
        fn take(self: &mut PendingReply) -> Result<Box<HttpReply>>;
        fn status(self: &HttpReply) -> u16;
        fn failure(self: &HttpReply) -> &str;
        fn unreachable(self: &HttpReply) -> bool;
        fn header(self: &HttpReply, name: &str) -> String;
        fn read(self: &mut HttpReply, to: &mut [u8]) -> Result<usize>;
        fn join_url(base: &str, location: &str) -> Result<String>;
        fn url_origin(text: &str) -> Result<String>;

        type Digest;
        fn sha256() -> Box<Digest>;
        fn sha1() -> Box<Digest>;
        fn update(self: &mut Digest, bytes: &[u8]);
        fn hex(self: &Digest) -> String;
    }
}
