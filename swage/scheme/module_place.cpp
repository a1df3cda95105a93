#include "swage/scheme/module_place.h"

#include <algorithm>
#include <cctype>
#include <utility>
#include <vector>

namespace swage::scheme {
namespace {

constexpr size_t kMostDigits = 9;  // of a layer's number; more of them are a name
constexpr int kOrdinary = 50;

bool is_number(std::string_view part) {
  return !part.empty() && part.size() <= kMostDigits &&
         std::all_of(part.begin(), part.end(), [](unsigned char c) { return std::isdigit(c) != 0; });
}

// Takes the first part off a name.
std::string_view take_part(std::string_view& name) {
  const size_t end = std::min(name.find('.'), name.size());
  const std::string_view part = name.substr(0, end);
  name.remove_prefix(std::min(end + 1, name.size()));
  return part;
}

// When a part of a name runs among its neighbours; exact names, then what a name contains.
int rank_of(std::string_view part) {
  constexpr std::pair<std::string_view, int> kExact[] = {{"input_layernorm", 10},
                                                         {"ln_1", 10},
                                                         {"self_attn_layer_norm", 10},
                                                         {"self_attn", 20},
                                                         {"attention", 20},
                                                         {"attn", 20},
                                                         {"linear_attn", 20},
                                                         {"q_proj", 30},
                                                         {"k_proj", 31},
                                                         {"v_proj", 32},
                                                         {"qkv_proj", 32},
                                                         {"q_norm", 33},
                                                         {"k_norm", 34},
                                                         {"o_proj", 35},
                                                         {"out_proj", 35},
                                                         {"post_attention_layernorm", 40},
                                                         {"ln_2", 40},
                                                         {"final_layer_norm", 40},
                                                         {"gate", 41},
                                                         {"router", 41},
                                                         {"gate_proj", 43},
                                                         {"w1", 43},
                                                         {"up_proj", 44},
                                                         {"w3", 44},
                                                         {"down_proj", 45},
                                                         {"w2", 45},
                                                         {"fc1", 43},
                                                         {"fc2", 45},
                                                         {"gate_up_proj", 43},
                                                         {"norm", 60},
                                                         {"lm_head", 70},
                                                         {"score", 70}};
  for (const auto& [name, rank] : kExact) {
    if (part == name) return rank;
  }
  if (part.find("embed") != std::string_view::npos || part == "wte" || part == "wpe") return 0;
  return part.find("norm") != std::string_view::npos ? 60 : kOrdinary;
}

int compare_parts(std::string_view a, std::string_view b) {
  if (is_number(a) && is_number(b)) {
    const auto value = [](std::string_view part) { return std::stoll(std::string(part)); };
    if (value(a) != value(b)) return value(a) < value(b) ? -1 : 1;
  }
  const int rank_a = rank_of(a), rank_b = rank_of(b);
  return rank_a != rank_b ? rank_a - rank_b : a.compare(b);
}

}  // namespace

ModulePlace place_of(const std::string& name) {
  ModulePlace out;
  for (std::string_view rest = name; !rest.empty();) {
    const std::string_view part = take_part(rest);
    if (is_number(part) && out.layer < 0) {
      out.layer = std::stoll(std::string(part));
      out.kind.clear();
    } else {
      out.kind += out.kind.empty() ? "" : ".";
      out.kind += is_number(part) ? "*" : part;
    }
  }
  return out;
}

bool runs_before(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty()) {
    if (const int order = compare_parts(take_part(a), take_part(b)); order != 0) return order < 0;
  }
  return a.empty() && !b.empty();
}

}  // namespace swage::scheme
