// What the architectures of GGUF files are called, have and lack in Hugging Face's spelling.
#pragma once
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/convert/gguf_keys.h"

namespace swage::pipeline {

// How a tensor of the file becomes one of the checkpoint.
enum class GgufChange {
  None,
  QueryRows,   // rotary pairs that are neighbours become halves, in each head of the queries
  KeyRows,     // and of the keys
  MinusOne,    // norms that multiply by 1 + weight
  Transposed,  // Conv1D
};

struct GgufName {
  const char* gguf;    // without ".weight"; of a layer behind "blk.N."
  const char* stored;  // of a layer behind the layers' prefix; "{}" is an expert's number
  GgufChange change = GgufChange::None;
};

struct GgufFamily {
  const char* architecture;  // "qwen3moe"
  const char* layers;        // "model.layers."
  std::vector<GgufName> outside, inside;
  Json (*config)(const GgufKeys& keys, const io::GgufFile& file);  // without what all have
};

// Error(Unsupported) listing those that there are.
const GgufFamily& gguf_family(const GgufKeys& keys, const io::GgufFile& file);

// config.json of the file's model, its weights of the type `dtype` ("bfloat16").
Json gguf_config(const GgufFamily& family, const GgufKeys& keys, const io::GgufFile& file, const std::string& dtype);

// A tensor of the checkpoint and where it comes from.
struct GgufImport {
  std::string name;
  const io::GgufTensor* from = nullptr;
  GgufChange change = GgufChange::None;
  int64_t expert = -1;         // of a stack; -1: the whole
  std::vector<int64_t> shape;  // as it is stored
};

// Error(Unsupported) naming a tensor that the family has no name for.
std::vector<GgufImport> gguf_imports(const GgufFamily& family, const GgufKeys& keys, const io::GgufFile& file);

}  // namespace swage::pipeline
