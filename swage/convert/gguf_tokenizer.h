// The tokenizer of a GGUF file as Hugging Face's files.
#pragma once
#include <map>
#include <string>

#include "swage/convert/gguf_keys.h"

namespace swage::pipeline {

// tokenizer_config.json and tokenizer.json (byte-level BPE) or tokenizer.model (SentencePiece's BPE); with a chat
// template if the file has one. Nothing for a file without a tokenizer. Error(Unsupported) naming a model or a way of
// splitting texts that is not known, Error(CorruptData) for lists that do not fit together.
std::map<std::string, std::string> gguf_tokenizer(const GgufKeys& keys);

}  // namespace swage::pipeline
