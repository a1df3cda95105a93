// What is derived from block programs: stages, smoothing pairs, rotations, texts. Programs are written here, so that no
// family's file is behind a result.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/graph/builder.h"
#include "swage/graph/mixture.h"
#include "swage/graph/rotation.h"
#include "swage/graph/schedule.h"
#include "swage/graph/shape.h"
#include "swage/graph/smoothing.h"

namespace swage::graph {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr int64_t kHidden = 8, kHeads = 2, kHead = 4, kInner = 12;
constexpr const char* kNames[3] = {"gate", "up", "down"};

NormSpec rms(const char* name, int64_t size = kHidden) { return {.name = name, .size = size}; }

AttentionNode form(int64_t kv_heads = kHeads) {
  AttentionNode out;
  out.heads = kHeads;
  out.kv_heads = kv_heads;
  out.head_size = out.value_size = kHead;
  return out;
}

Value attention(BlockBuilder& b, Value x) {
  const Value q = b.linear(x, Role::Query, "q", kHidden), k = b.linear(x, Role::Key, "k", kHidden),
              v = b.linear(x, Role::Value, "v", kHidden);
  return b.linear(b.attention(b.rope(q, kHeads, 0), b.rope(k, kHeads, 0), v, "attn", form()), Role::Output, "o",
                  kHidden);
}

Value mlp(BlockBuilder& b, Value x, Activation activation = Activation::Silu) {
  const Value gate = b.linear(x, Role::Gate, "gate", kInner), up = b.linear(x, Role::Up, "up", kInner);
  return b.linear(b.gate(gate, up, activation), Role::Down, "down", kHidden);
}

BlockProgram sequential() {
  BlockBuilder b("l.", kHidden);
  b.add(attention(b, b.norm(kStream, rms("n1"))));
  b.add(mlp(b, b.norm(kStream, rms("n2"))));
  return b.finish();
}

// Attention and MLP on one norm, as Cohere has them.
BlockProgram parallel() {
  BlockBuilder b("l.", kHidden);
  const Value x = b.norm(kStream, rms("n"));
  b.add(attention(b, x));
  b.add(mlp(b, x));
  return b.finish();
}

std::vector<std::string> names_of(const BlockProgram& block, const Stage& stage) {
  std::vector<std::string> out;
  for (const InputGroup& group : stage.groups) {
    for (const int linear : group.linears) out.push_back(block.linears[size_t(linear)].name);
  }
  return out;
}

TEST(Schedule, LinearsThatReadOneValueShareAStage) {
  const BlockProgram block = sequential();
  const Schedule schedule = schedule_of(block);
  ASSERT_EQ(schedule.stages.size(), 4u);
  EXPECT_THAT(names_of(block, schedule.stages[0]), ElementsAre("l.q", "l.k", "l.v"));
  EXPECT_THAT(names_of(block, schedule.stages[3]), ElementsAre("l.down"));
  EXPECT_EQ(schedule.stages[0].name, "attention input");
  EXPECT_EQ(schedule.stages[2].name, "mlp input");
  EXPECT_TRUE(schedule.stages[0].attends && !schedule.stages[1].attends);
  EXPECT_TRUE(schedule.stages[1].into_residual && schedule.stages[3].into_residual &&
              !schedule.stages[0].into_residual);
  EXPECT_EQ(schedule.kept_width, 0);  // nothing but the stream and the input of a stage
}

// Gate and up are solved with q, k and v, but run when attention is done: what they read waits for them.
TEST(Schedule, AParallelBlockKeepsWhatItsMlpReads) {
  const BlockProgram block = parallel();
  const Schedule schedule = schedule_of(block);
  ASSERT_EQ(schedule.stages.size(), 3u);
  EXPECT_THAT(names_of(block, schedule.stages[0]), ElementsAre("l.q", "l.k", "l.v", "l.gate", "l.up"));
  EXPECT_EQ(schedule.kept_width, kHidden);
}

// The stream after a sum is another tensor.
TEST(Schedule, TheStreamIsAnotherInputAfterEachSum) {
  BlockBuilder b("l.", kHidden);
  b.add(b.norm(attention(b, kStream), rms("n1")));
  b.add(b.norm(mlp(b, kStream), rms("n2")));
  const BlockProgram block = b.finish();
  const Schedule schedule = schedule_of(block);
  ASSERT_EQ(schedule.stages.size(), 4u);
  EXPECT_THAT(names_of(block, schedule.stages[2]), ElementsAre("l.gate", "l.up"));
  EXPECT_FALSE(schedule.stages[1].into_residual);  // a norm stands between
}

BlockProgram mixture() {
  BlockBuilder b("l.", kHidden);
  b.add(attention(b, b.norm(kStream, rms("n1"))));
  const Value x = b.norm(kStream, rms("n2"));
  b.add(mlp(b, x));  // a shared expert
  ExpertsNode rules;
  rules.router = {"router", Role::Router, 3};
  rules.top_k = 2;
  b.add(b.experts(x, rules, kInner, {"experts.", kNames, "fused.gate_up_proj", "fused.down_proj"}));
  return b.finish();
}

TEST(Schedule, ExpertsAreStagesOfTheirOwn) {
  const BlockProgram block = mixture();
  const Schedule schedule = schedule_of(block);
  ASSERT_EQ(schedule.stages.size(), 2u + 2u + 3u);
  const Stage& input = schedule.stages[2];
  EXPECT_TRUE(input.routes);
  ASSERT_EQ(input.groups.size(), 4u);  // the shared expert's, and one for each expert
  EXPECT_EQ(input.groups[0].expert, -1);
  EXPECT_EQ(input.groups[3].expert, 2);
  EXPECT_EQ(schedule.stages[6].expert, 2);
  EXPECT_THAT(names_of(block, schedule.stages[6]), ElementsAre("l.experts.2.down"));
}

TEST(Mixture, KeepsTheFirstExperts) {
  BlockProgram block = mixture();
  keep_experts(block, 2);
  EXPECT_EQ(block.linears.size(), 4u + 3u + 6u);
  EXPECT_EQ(block.experts()->router.rows, 2);
  EXPECT_EQ(block.linears[size_t(block.experts()->experts[1].down)].name, "l.experts.1.down");
  const Mixture names = *mixture_of(mixture());
  EXPECT_THAT(names.shared, ElementsAre(testing::Pair("l.fused.gate_up_proj", ElementsAre(3, 2 * kInner, kHidden)),
                                        testing::Pair("l.fused.down_proj", ElementsAre(3, kHidden, kInner))));
}

std::vector<std::string> producers_of(const std::vector<SmoothingPair>& pairs) {
  std::vector<std::string> out;
  for (const SmoothingPair& pair : pairs) out.push_back(pair.producer);
  return out;
}

TEST(Smoothing, FindsNormsValuesAndUpProjections) {
  const std::vector<SmoothingPair> pairs = smoothing_pairs(sequential());
  EXPECT_THAT(producers_of(pairs), ElementsAre("l.n1", "l.v", "l.n2", "l.up"));
  EXPECT_THAT(pairs[0].consumers, ElementsAre("l.q", "l.k", "l.v"));
  EXPECT_TRUE(pairs[1].cached);
  EXPECT_EQ(pairs[1].run, kHead);
}

TEST(Smoothing, ANormThatMoreThanLinearsReadIsNoProducer) {
  BlockBuilder b("l.", kHidden);
  const Value x = b.norm(kStream, rms("n"));
  b.add(mlp(b, x));
  b.add(x);
  EXPECT_THAT(producers_of(smoothing_pairs(b.finish())), ElementsAre("l.up"));
}

TEST(Smoothing, NoPairThroughAnActivationThatIsNotLinearInScales) {
  BlockBuilder b("l.", kHidden);
  const Value x = b.norm(kStream, rms("n"));
  b.add(b.linear(b.activate(b.linear(x, Role::Up, "up", kInner), Activation::Gelu), Role::Down, "down", kHidden));
  b.add(
      b.linear(b.activate(b.linear(kStream, Role::Up, "up2", kInner), Activation::Relu), Role::Down, "down2", kHidden));
  EXPECT_THAT(producers_of(smoothing_pairs(b.finish())), ElementsAre("l.n", "l.up2"));
}

// One linear for queries, keys and values of each head in turn: the values are rows 8 to 11 and 20 to 23.
TEST(Smoothing, APartOfALinearIsAProducerByItsRows) {
  BlockBuilder b("l.", kHidden);
  const Value all = b.linear(b.norm(kStream, rms("n")), Role::QueryKeyValue, "qkv", 3 * kHidden);
  const std::vector<Value> parts = b.split(all, {kHead, kHead, kHead}, kHeads);
  b.add(b.linear(b.attention(parts[0], parts[1], parts[2], "attn", form()), Role::Output, "o", kHidden));
  const std::vector<SmoothingPair> pairs = smoothing_pairs(b.finish());
  ASSERT_EQ(pairs.size(), 2u);
  EXPECT_EQ(pairs[1].producer, "l.qkv");
  EXPECT_EQ(pairs[1].producer_rows, 3 * kHidden);
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < pairs[1].rows.count(); ++i) rows.push_back(pairs[1].rows.row(i));
  EXPECT_THAT(rows, ElementsAre(8, 9, 10, 11, 20, 21, 22, 23));
}

ModelProgram model_of(BlockProgram block) {
  ModelProgram model;
  model.hidden_size = kHidden;
  model.embedding = {"embed", 16, kHidden};
  model.final_norm = rms("norm");
  model.head = {"out", Role::Head, 16, kHidden};
  model.ropes = {{.size = kHead}};
  model.blocks.push_back(std::move(block));
  return model;
}

const RotatedTensor& tensor_of(const RotatedTensors& all, const std::string& name) {
  for (const RotatedTensor& tensor : all.tensors) {
    if (tensor.name == name) return tensor;
  }
  throw Error(ErrorKind::Internal, name + " is not rotated");
}

TEST(Rotation, ReadersAndWritersOfTheStreamTurn) {
  const RotatedTensors all = rotated_tensors(model_of(parallel()), {.stream = true, .heads = true});
  EXPECT_EQ(tensor_of(all, "l.gate.weight").columns, Basis::Stream);
  EXPECT_EQ(tensor_of(all, "l.gate.weight").norm, "l.n.weight");
  EXPECT_EQ(tensor_of(all, "l.down.weight").rows, Basis::Stream);
  EXPECT_EQ(tensor_of(all, "l.o.weight").rows, Basis::Stream);
  EXPECT_EQ(tensor_of(all, "l.o.weight").columns, Basis::Head);
  EXPECT_EQ(tensor_of(all, "l.v.weight").rows, Basis::Head);
  EXPECT_TRUE(tensor_of(all, "l.n.weight").ones);
  EXPECT_EQ(tensor_of(all, "out.weight").norm, "norm.weight");
}

std::string refusal_of(BlockProgram block, const RotatedSpaces& spaces) {
  try {
    rotated_tensors(model_of(std::move(block)), spaces);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
    return e.what();
  }
  return "none";
}

TEST(Rotation, RefusesWhatItWouldChange) {
  BlockBuilder behind("l.", kHidden);
  behind.add(behind.norm(mlp(behind, behind.norm(kStream, rms("n"))), rms("after")));
  EXPECT_THAT(refusal_of(behind.finish(), {.stream = true}), HasSubstr("l.after stands behind its layer"));
  BlockBuilder read("l.", kHidden);
  const Value x = read.norm(kStream, rms("n"));
  read.add(mlp(read, x));
  read.add(x);
  EXPECT_THAT(refusal_of(read.finish(), {.stream = true}), HasSubstr("is read by more than linears"));
  BlockBuilder clamped("l.", kHidden);
  const Value v = clamped.clamp(clamped.linear(kStream, Role::Value, "v", kHidden), 1);
  clamped.add(clamped.linear(clamped.attention(v, v, v, "attn", form()), Role::Output, "o", kHidden));
  EXPECT_THAT(refusal_of(clamped.finish(), {.heads = true}),
              HasSubstr("l.attn: its values do not go from a linear to a linear"));
  BlockBuilder bare("l.", kHidden);
  bare.add(bare.activate(bare.linear(kStream, Role::Up, "up", kHidden), Activation::Silu));
  EXPECT_THAT(refusal_of(bare.finish(), {.stream = true}), HasSubstr("comes from no linear"));
  BlockBuilder curved("l.", kHidden);
  curved.add(curved.linear(curved.activate(kStream, Activation::Silu), Role::Down, "down", kHidden));
  EXPECT_THAT(refusal_of(curved.finish(), {.stream = true}), HasSubstr("is read by more than norms and linears"));
}

TEST(Shape, CountsEveryTensorOnce) {
  const ModelShape shape = shape_of(model_of(mixture()));
  const int64_t attention = 4 * kHidden * kHidden, expert = 3 * kInner * kHidden;
  EXPECT_EQ(shape.blocks[0].parameters(), 2 * kHidden + attention + 4 * expert + 3 * kHidden);
  EXPECT_EQ(shape.parameters(), shape.blocks[0].parameters() + 2 * 16 * kHidden + kHidden);
  std::vector<std::string> names;
  for (const ModuleInfo& module : shape.modules()) names.push_back(module.name);
  EXPECT_EQ(names.back(), "out");
  EXPECT_EQ(names[1 + 4 + 3], "l.router");
  EXPECT_FALSE(shape.modules()[8].quantizable);
}

TEST(Shape, RecipesCallEveryHeadByOneName) {
  const std::vector<ModuleInfo> modules = modules_of(model_of(sequential()));
  EXPECT_THAT(with_head_named({"lm_head", "re:.*o$"}, modules), ElementsAre("out", "re:.*o$"));
}

TEST(Text, HasALineForEachNode) {
  const std::string text = text_of(model_of(mixture()));
  EXPECT_THAT(text, HasSubstr("linear(v1) as query   l.q"));
  EXPECT_THAT(text, HasSubstr("2 of 3 by softmax"));
  EXPECT_THAT(text, HasSubstr("stream += "));
  EXPECT_THAT(text, HasSubstr("head [16, 8]"));
}

}  // namespace
}  // namespace swage::graph
