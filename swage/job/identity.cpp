#include "swage/job/identity.h"

#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include "swage/base/build_id.h"
#include "swage/base/checksum.h"
#include "swage/base/error.h"
#include "swage/kernels/kernels.h"

namespace swage::pipeline {
namespace {

// Short values are shown, long ones only named.
std::string shown(const Json& value) {
  const std::string text = value.is_string() ? value.as_string() : value.dump();
  return text.size() <= 40 ? text : std::string();
}

void add(std::string& out, const std::string& text) { out += (out.empty() ? "" : "; ") + text; }

}  // namespace

Json program_identity() {
  Json out = Json::object();
  out.set("build", build_id());
  out.set("libtorch", TORCH_VERSION);
  out.set("instructions", cat(at::get_cpu_capability(), ", ", kernels::instruction_set()));
  return out;
}

std::string digest_of(const at::Tensor& tensor) {
  if (!tensor.defined()) return "none";
  const at::Tensor flat = tensor.cpu().contiguous();
  const std::string shape = io::shape_text(tensor.sizes().vec());
  return hex64(checksum({static_cast<const char*>(flat.const_data_ptr()), size_t(flat.nbytes())}, checksum(shape)));
}

std::string digest_of(const std::vector<io::TensorSpec>& tensors) {
  uint64_t sum = 0;
  for (const io::TensorSpec& spec : tensors)
    sum = checksum(cat(spec.name, " ", io::name_of(spec.dtype), " ", io::shape_text(spec.shape)), sum);
  return hex64(sum);
}

std::string difference(const Json& before, const Json& now) {
  std::string out;
  for (const auto& [name, value] : now.as_object()) {
    const Json* old = before.find(name);
    if (old == nullptr) {
      add(out, name + " (is new)");
    } else if (value.is_object() && old->is_object()) {
      const std::string inner = difference(*old, value);
      if (!inner.empty()) add(out, cat(name, ": ", inner));
    } else if (value != *old) {
      const std::string was = shown(*old), is = shown(value);
      add(out, was.empty() || is.empty() ? name : cat(name, " (was ", was, ", is ", is, ")"));
    }
  }
  for (const auto& [name, value] : before.as_object()) {
    if (now.find(name) == nullptr) add(out, name + " (is gone)");
  }
  return out;
}

}  // namespace swage::pipeline
