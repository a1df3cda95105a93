// Runner of a block program.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "swage/checkpoint/weight_source.h"
#include "swage/graph/program.h"
#include "swage/graph/schedule.h"
#include "swage/model/block.h"
#include "swage/model/heads.h"
#include "swage/model/mlp.h"
#include "swage/model/moe.h"
#include "swage/model/neighbours.h"
#include "swage/model/norm.h"
#include "swage/model/recurrence.h"
#include "swage/model/rope.h"

namespace swage::model {

// The tables that RopeNodes count.
using RopeTables = std::vector<std::shared_ptr<const Rope>>;

class ProgramBlock : public Block {
 public:
  ProgramBlock(const graph::BlockProgram& program, const checkpoint::WeightSource& weights, RopeTables ropes);
  void begin(Flow& flow) const override;
  void step(int s, Flow& flow) const override;
  at::Tensor expert_output(int expert, const at::Tensor& x_TD) const override;
  void keep_experts(const std::vector<int64_t>& kept) override;
  void route_again(Flow& flow) const override;

 private:
  class Pass;  // through a few operations, of one flow

  void load_node(size_t n, const checkpoint::WeightSource& weights);
  void load_router(const graph::ExpertsNode& node, const checkpoint::WeightSource& weights);
  // Runs operations [first, end) of the schedule, then makes the input of stage `next`, if there is one.
  void run(size_t first, size_t end, size_t next, Flow& flow) const;
  // The gated product of an expert for rows x.
  at::Tensor inner(const graph::ExpertsNode& node, int expert, const at::Tensor& x) const;
  void enter_expert(const graph::ExpertsNode& node, int expert, Flow& flow) const;
  const graph::ExpertsNode& mixture() const;
  void reschedule();

  graph::BlockProgram program_;
  graph::Schedule schedule_;
  RopeTables ropes_;
  std::vector<Norm> norms_;             // by node
  std::vector<XieluForm> xielu_forms_;  // by node
  std::map<size_t, Convolution> convolutions_;
  std::map<size_t, at::Tensor> factors_;
  std::map<size_t, Recurrence> recurrences_;
  std::map<size_t, Heads> heads_;
  std::map<size_t, Neighbours> neighbours_;
  Router router_;
};

}  // namespace swage::model
