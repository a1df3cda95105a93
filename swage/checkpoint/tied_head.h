// A head and an embedding that config.json says are one table, where the file has both. As in transformers 5: if they
// differ, the file counts, and the model is not tied.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "swage/base/json.h"
#include "swage/io/tensor_store.h"

namespace swage::checkpoint {

// What the file's head and the config say together.
struct TiedHead {
  std::string same;      // the head's tensor, if it is the embedding once more: one table is enough
  bool differs = false;  // the model has a head of its own
  std::string warning;   // if that contradicts the config; names both tensors
};

// Compares the two tables where the config ties them (or the architecture does by default) and both are there.
TiedHead find_tied_head(const Json& config, const io::TensorStore& files);

// tie_word_embeddings: false, wherever the config says true.
void untie(Json& config);

}  // namespace swage::checkpoint
