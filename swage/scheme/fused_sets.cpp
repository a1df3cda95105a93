#include "swage/scheme/fused_sets.h"

#include <array>
#include <string_view>
#include <utility>

namespace swage::scheme {

std::string fused_set(const std::string& module) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kSets = {{{"q_proj", "qkv"},
                                                                                   {"k_proj", "qkv"},
                                                                                   {"v_proj", "qkv"},
                                                                                   {"gate_proj", "gate_up"},
                                                                                   {"up_proj", "gate_up"},
                                                                                   {"w1", "w13"},
                                                                                   {"w3", "w13"},
                                                                                   {"q_a_proj", "qkv_a"},
                                                                                   {"kv_a_proj_with_mqa", "qkv_a"}}};
  const size_t leaf = module.rfind('.') + 1;  // 0 without a dot
  for (const auto& [name, set] : kSets) {
    if (std::string_view(module).substr(leaf) == name) return module.substr(0, leaf) + std::string(set);
  }
  return module;
}

}  // namespace swage::scheme
