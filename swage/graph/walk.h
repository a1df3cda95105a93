// Questions that several derivations ask of a block program: who makes a value, who reads it.
#pragma once
#include <optional>
#include <vector>

#include "swage/graph/program.h"

namespace swage::graph {

// The node that makes `value`; null for the stream.
const Node* maker_of(const BlockProgram& block, Value value);
// Nodes that read it, in order.
std::vector<const Node*> readers_of(const BlockProgram& block, Value value);
bool read_once(const BlockProgram& block, Value value);
// The nodes that read it are linears and mixtures, which read it by linears.
bool read_by_linears_alone(const BlockProgram& block, Value value);
// Whether an AddNode is all that reads it.
bool only_added(const BlockProgram& block, Value value);

// Output rows of a linear that become `value`, directly or as a part of it.
struct MadeBy {
  int linear;
  RowSlice rows;
};
std::optional<MadeBy> linear_of(const BlockProgram& block, Value value);

}  // namespace swage::graph
