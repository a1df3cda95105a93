#include "swage/model/unread_tensors.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "swage/base/error.h"

namespace swage::model {

std::vector<std::string> unread_tensors(const Model& model, const std::vector<io::TensorSpec>& stored,
                                        const std::function<bool(const std::string&)>& is_known) {
  constexpr std::array<std::string_view, 5> kBuffers = {".rotary_emb.inv_freq", ".masked_bias",
                                                        ".rotary_emb.cos_cached", ".rotary_emb.sin_cached",
                                                        "embeddings.position_ids"};
  std::set<std::string> read;
  for (const io::TensorSpec& spec : model.required_tensors()) read.insert(spec.name);
  const std::vector<std::string>& sides = model.program().side_modules;
  std::vector<std::string> out;
  for (const io::TensorSpec& spec : stored) {
    const bool buffer =
        std::any_of(kBuffers.begin(), kBuffers.end(), [&](std::string_view end) { return spec.name.ends_with(end); });
    const bool side =
        std::any_of(sides.begin(), sides.end(), [&](const std::string& begin) { return spec.name.starts_with(begin); });
    if (!buffer && !side && !read.contains(spec.name) && !is_known(spec.name)) out.push_back(spec.name);
  }
  return out;
}

std::string unread_warning(const std::vector<std::string>& names) {
  constexpr size_t kNamed = 3;
  if (names.empty()) return {};
  std::string list;
  for (size_t i = 0; i < std::min(names.size(), kNamed); ++i) list += (i > 0 ? ", " : "") + names[i];
  return cat(names.size() == 1 ? "a tensor of the file belongs" : cat(names.size(), " tensors of the file belong"),
             " to no module that config.json describes and ", names.size() == 1 ? "is" : "are", " not used: ", list,
             names.size() > kNamed ? " and others" : "");
}

}  // namespace swage::model
