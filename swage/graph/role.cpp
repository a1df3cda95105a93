#include "swage/graph/role.h"

namespace swage::graph {

std::string_view text_of(Role role) {
  switch (role) {
    case Role::Other:
      return "other";
    case Role::Query:
      return "query";
    case Role::Key:
      return "key";
    case Role::Value:
      return "value";
    case Role::QueryKeyValue:
      return "query, key, value";
    case Role::KeyValue:
      return "key, value";
    case Role::Latent:
      return "latent";
    case Role::Output:
      return "output";
    case Role::Recurrence:
      return "recurrence";
    case Role::Gate:
      return "gate";
    case Role::Up:
      return "up";
    case Role::GateUp:
      return "gate, up";
    case Role::Down:
      return "down";
    case Role::Router:
      return "router";
    case Role::Embedding:
      return "embedding";
    case Role::Positions:
      return "positions";
    case Role::Projection:
      return "projection";
    case Role::Head:
      return "head";
  }
  return "";
}

}  // namespace swage::graph
