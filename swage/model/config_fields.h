// Reading of a model's config.json with range checks. Every error names the field.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "swage/base/json.h"
#include "swage/graph/program.h"

namespace swage::model {

// Sizes beyond these are taken for corruption; they keep the number of all weights within 64 bits.
constexpr int64_t kLargestSize = int64_t{1} << 20;
constexpr int64_t kMostLayers = 4096;
constexpr int64_t kMostExperts = 16384;
constexpr int64_t kMostModules = int64_t{1} << 17;  // layers times experts: a short config must not fill the memory

class ConfigFields {
 public:
  // `config` must outlive this. Error(CorruptData) if it is no object.
  explicit ConfigFields(const Json& config);

  const Json& json() const { return config_; }
  // Value of an optional field: as the config has it, null too, or, where it is absent under all of its names, what
  // transformers' config class takes for it (config_defaults.h). Null pointer: neither.
  const Json* find(std::string_view key) const;
  // Whole number from 1 to `most`; with `fallback`, which is not checked: what null means, and absence where find() has
  // nothing.
  int64_t size(std::string_view key, int64_t most = kLargestSize) const;
  int64_t size_or(std::string_view key, int64_t fallback, int64_t most = kLargestSize) const;
  // Whole number of either sign.
  int64_t whole_or(std::string_view key, int64_t fallback) const;
  // Finite number above zero.
  double positive_or(std::string_view key, double fallback) const;
  bool flag_or(std::string_view key, bool fallback) const;
  std::string text_or(std::string_view key, std::string_view fallback) const;
  // Strings of an array of exactly `count`; empty if absent or null.
  std::vector<std::string> texts(std::string_view key, int64_t count) const;
  // Numbers above zero of an array of exactly `count`.
  std::vector<double> positives(std::string_view key, int64_t count) const;
  // The activation function's name; Error(Unsupported) for unknown ones.
  graph::Activation activation(std::string_view key, std::string_view fallback) const;
  // All fields, those that this family calls by the first of two names under the second as well.
  Json renamed(std::initializer_list<std::pair<std::string_view, std::string_view>> names) const;
  // Error(Unsupported) unless the field is absent, null or `only`.
  void require_number(std::string_view key, double only) const;

 private:
  const Json& config_;
  const Json* usual_;  // of its model_type, from the table; null: none
};

// What a family says of its rotary embedding beside the config.
struct RopeForm {
  std::optional<double> partial =
      {};  // share of a head that turns, where the config gives none; nothing: the family turns all of it
  bool interleaved = false;
  const char* theta_key = "rope_theta";
  const char* partial_key = "partial_rotary_factor";
};

// Where the fields of a rotary embedding lie: the value of rope_parameters or rope_scaling or, where there is neither,
// what is usual (ConfigFields::find); null if nothing is.
const Json* rope_fields(const ConfigFields& config);

// Both config forms: `rope_parameters` with rope_theta inside, or rope_theta beside an optional `rope_scaling`.
// Error(Unsupported) for unknown rope types, and for partial rotation of a family that has none.
graph::RopeSpec rope_of(const ConfigFields& config, int64_t head_size, double default_theta, const RopeForm& form = {});

}  // namespace swage::model
