// transform_config: matrices that weights and activations are multiplied with, as compressed-tensors 0.20 describes
// them (compressed_tensors/transform/transform_args.py, transform_scheme.py).
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/base/json.h"
#include "swage/scheme/matching.h"

namespace swage::scheme {

// What is multiplied. Weights are stored as the products; the others are computed by whoever runs the model ("online"):
// what a linear reads or makes, keys on their way into the cache and queries, both after rotary embedding.
enum class TransformLocation { Input, WeightInput, WeightOutput, Output, KeyCache, Queries };
std::string_view name_of(TransformLocation location);  // "input", as in the file
bool is_online(TransformLocation location);

// With T the matrix and x a row of activations: x T; weights so that input and weight_input with `inverse` leave the
// function as it is.
struct TransformArgs {
  std::vector<std::string> targets;  // modules, written as in config_groups
  TransformLocation location = TransformLocation::Input;
  bool inverse = false;  // T^-1 in place of T
  std::vector<std::string> ignore;
  bool operator==(const TransformArgs&) const = default;
};

struct TransformScheme {
  std::string type;  // hadamard, random-hadamard: T = stored / sqrt(n); random-matrix: T = stored
  std::vector<TransformArgs> apply = {};
  bool randomize = false;  // rows and columns of a matrix are permuted, by a stored "perm"
  bool requires_grad = false;
  std::optional<int64_t> head_dim = {};     // n of blocks on the diagonal; unset: all columns
  std::string precision = "torch.float32";  // of the product and the stored matrix
  bool operator==(const TransformScheme&) const = default;

  // Whether T is an orthogonal matrix, whose inverse is its transpose, stored as ones and minus ones.
  bool normalised() const { return type != "random-matrix"; }
  bool has_online() const;
};

// By name, in the file's order: "R4", "v".
using TransformGroups = std::vector<std::pair<std::string, TransformScheme>>;

// The value of "transform_config"; {} for no groups.
Json to_json(const TransformGroups& groups);
// Error(CorruptData) naming group and key: unknown keys, wrong types, unknown locations, sizes below 1.
// Error(Unsupported) for a type that compressed-tensors does not have.
TransformGroups parse_transform_config(const Json& json);

// What a reader multiplies at one place.
struct OnlineTransform {
  std::string group;
  const TransformScheme* scheme = nullptr;  // of the matcher's groups
  TransformLocation location = TransformLocation::Input;
  bool inverse = false;
  // Where a module stores its matrix: "v_input" in "model.layers.0.mlp.down_proj.v_input.weight".
  std::string suffix() const { return group + "_" + std::string(name_of(location)); }
};

// Finds what is computed where. Const calls may come from several threads.
class TransformMatcher {
 public:
  explicit TransformMatcher(TransformGroups groups);
  bool empty() const { return entries_.empty(); }
  // Class names that stand among the targets of a location, other than expressions.
  std::vector<std::string> targets_of(TransformLocation location) const;
  // Nothing if no group targets the module there. Error(Unsupported) naming it if two do: libraries do not agree on
  // their order.
  std::optional<OnlineTransform> find(const ModuleName& module, TransformLocation location) const;
  // The suffixes under which matrices are stored, without those of weights: "v_input".
  std::vector<std::string> stored_suffixes() const;

 private:
  struct Entry {
    size_t group, args;
    Patterns targets, ignore;
  };
  TransformGroups groups_;
  std::vector<Entry> entries_;  // online ones
};

}  // namespace swage::scheme
