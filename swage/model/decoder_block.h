// The decoder block that a BlockDescription describes. Stages: "attention input" (q, k, v), "attention output" (o), "mlp
// input" (gate and up, of all experts), then "mlp output" (down), or for a mixture "expert 0 output", "expert 1 output", ...
#pragma once
#include <memory>

#include "swage/checkpoint/weight_source.h"
#include "swage/model/block.h"
#include "swage/model/description.h"
#include "swage/model/norm.h"

namespace swage::model {

// A linear with its weights. Error(CorruptData) for absent tensors or other shapes.
Linear load_linear(const LinearDescription& description, const checkpoint::WeightSource& weights);

// What the checkpoint has it multiply its input and output with.
void load_transforms(Linear& linear, const checkpoint::WeightSource& weights);

class DecoderBlock : public Block {
 public:
  // `rope` may be null for blocks without rotary embedding.
  DecoderBlock(const BlockDescription& description, const checkpoint::WeightSource& weights, std::shared_ptr<const Rope> rope);
  void begin(Flow& flow) const override;
  void step(int s, Flow& flow) const override;
  at::Tensor expert_output(int expert, const at::Tensor& x_TD) const override;
  void keep_experts(const std::vector<int64_t>& kept) override;
  void route_again(Flow& flow) const override;

 private:
  void load_mlp(const MlpDescription& mlp, const checkpoint::WeightSource& weights);
  void load_experts(const MoeDescription& moe, const checkpoint::WeightSource& weights);
  void attend_heads(Flow& flow) const;
  // Input of the MLP out of the residual stream, into flow.input_TI; routes it for a mixture.
  void enter_mlp(Flow& flow) const;
  // The gated product of MLP or expert `index` for rows x.
  at::Tensor inner(int index, const at::Tensor& x) const;
  void enter_expert(int expert, Flow& flow) const;
  void finish_experts(Flow& flow) const;

  const MoeDescription& mixture() const;

  BlockDescription description_;
  MoeDescription* moe_ = nullptr;  // into description_
  Activation activation_ = Activation::Silu;
  bool gated_ = true;
  std::shared_ptr<const Rope> rope_;
  Norm attention_norm_, mlp_norm_, query_norm_, key_norm_;
  at::Tensor router_ED_;
  std::shared_ptr<const ops::Transform> query_transform_, key_transform_;  // null: none
  std::optional<ActivationQuantization> query_quantization_, key_quantization_, value_quantization_;
};

}  // namespace swage::model
