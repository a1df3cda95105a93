// Role of a module: what a linear or an embedding does in a model, whatever a family calls it.
#pragma once
#include <string_view>

namespace swage::graph {

enum class Role {
  Other,
  Query,
  Key,
  Value,  // projections of attention; of several in one linear, its parts
  QueryKeyValue,
  KeyValue,
  Latent,      // narrow projections before those of queries, or of keys and values (MLA)
  Output,      // of attention, or of a recurrence
  Recurrence,  // what a recurrence or a convolution over tokens reads
  Gate,
  Up,
  GateUp,  // of an MLP
  Down,
  Router,
  Embedding,
  Positions,
  Projection,  // between an embedding and a stream of another width
  Head,
};

std::string_view text_of(Role role);

}  // namespace swage::graph
