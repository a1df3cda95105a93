// Schedule of a block program: the stages at which a run may stop, look at what linears are about to read and replace
// their weights, and the operations between them. Every linear runs once, after its stage has begun.
#pragma once
#include <string>
#include <vector>

#include "swage/graph/program.h"

namespace swage::graph {

// Linears that read the same tensor, so that they share one Gram matrix.
struct InputGroup {
  std::vector<int> linears;  // indices into the block's linears
  // A routed expert's index: with routed calibration, only tokens routed to it count. -1: every token.
  int expert = -1;
};

// What one stage of a block reads: one or more groups over the same stage input.
struct Stage {
  std::string name;  // for people: "attention input", "mlp output", "expert 3 output"
  std::vector<InputGroup> groups;
  bool into_residual = false;  // what its one linear makes is added to the residual stream as it is
  bool adds = false;           // something is added to the residual stream after its linears: a part of the block ends
  Value input = kStream;       // -1: what is inside an expert
  int expert = -1;             // whose output this is
  bool routes = false;         // a router reads the input too: experts are known from here on, and may go
  bool attends = false;        // attention is computed after its linears
};

struct Operation {
  // Run: the node. RunInto: a linear whose result is added to the stream, and the node that adds it.
  // Of a mixture: Route when its input is there, then for each expert EnterExpert and LeaveExpert, at last Finish.
  enum class Kind { Run, RunInto, Route, EnterExpert, LeaveExpert, Finish };
  Kind kind;
  size_t node;
  int expert = -1;
};

struct Schedule {
  std::vector<Operation> operations;
  std::vector<Stage> stages;
  std::vector<size_t> first;     // operation of each stage; those before first[0] make the input of stage 0
  std::vector<size_t> last_use;  // operation that reads a value last, by value
  std::vector<int> last_stage;   // the stage of that operation, -1 before stage 0
  int64_t kept_width = 0;  // most numbers a token that lie beside the stream and a stage's input, but for a mixture's

  size_t end_of(size_t stage) const { return stage + 1 < first.size() ? first[stage + 1] : operations.size(); }
};

Schedule schedule_of(const BlockProgram& block);

}  // namespace swage::graph
