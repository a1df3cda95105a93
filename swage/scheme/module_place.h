// Where a module stands in a model, told by its name.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace swage::scheme {

// Its layer, and what it is there, with the numbers of experts left out: "model.layers.3.mlp.experts.7.w1" is
// mlp.experts.*.w1 of layer 3. Outside of the layers -1 and the whole name.
struct ModulePlace {
  int64_t layer = -1;
  std::string kind;
};
ModulePlace place_of(const std::string& name);

// Whether module `a` runs before `b`: numbers in names count as numbers, embeddings come first, the attention before
// the MLP, the head last. Names that say nothing of it are in the order of their letters. A strict weak order.
bool runs_before(std::string_view a, std::string_view b);

}  // namespace swage::scheme
