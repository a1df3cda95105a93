// Which linears an inference engine fuses into one product: they must share a global scale.
#pragma once
#include <string>

namespace swage::scheme {

// The same key for all members of a fused set - {q,k,v}_proj, {gate,up}_proj, {w1,w3}, {q_a_proj, kv_a_proj_with_mqa}
// of one parent -, the module's own name for every other module.
std::string fused_set(const std::string& module);

}  // namespace swage::scheme
