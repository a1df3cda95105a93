#include "swage/graph/role.h"

#include <array>

namespace swage::graph {
namespace {

// In the order of the enumerators.
constexpr auto kTexts = std::to_array<std::string_view>(
    {"other", "query", "key", "value", "query, key, value", "key, value", "latent", "output", "recurrence", "gate",
     "up", "gate, up", "down", "router", "embedding", "positions", "projection", "head"});
static_assert(kTexts.size() == size_t(Role::Head) + 1);

}  // namespace

std::string_view text_of(Role role) { return kTexts[size_t(role)]; }

}  // namespace swage::graph
