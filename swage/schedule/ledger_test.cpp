#include "swage/schedule/ledger.h"

#include <gtest/gtest.h>

#include "swage/schedule/plan_input.h"

namespace swage::pipeline {
namespace {

struct Given {
  model::ModelShape shape;
  Assignment assignment;
  Sparsity sparsity;
  modifiers::Chain chain;
  PlanInput input{.shape = shape, .assignment = assignment, .sparsity = sparsity, .chain = chain};
  PlanStage stage;
};

uint64_t part(const PlanStage& stage, const std::string& name) {
  for (const PlanPart& one : stage.parts) {
    if (one.name == name) return one.host + one.device;
  }
  return 0;
}

TEST(Ledger, TheLargestMomentIsKeptWithItsPlaceAndParts) {
  Given given;
  given.input.process_bytes = 7;
  Ledger ledger(given.input, given.stage);
  ledger.begin_action("one");
  ledger.hold(Buffer::Weights, 100);
  ledger.moment({{"solver", 50, false}, {"copies of inputs", 0}});
  ledger.end_action();
  ledger.begin_action("two");
  ledger.hold(Buffer::Gram, 30);
  ledger.hold(Buffer::GramScratch, 10);
  ledger.end_action();
  EXPECT_EQ(given.stage.at, "one");
  EXPECT_EQ(given.stage.host_bytes(), 157u);
  EXPECT_EQ(part(given.stage, "solver"), 50u);
  EXPECT_EQ(part(given.stage, "process"), 7u);
  ledger.begin_action("three");
  ledger.hold(Buffer::Activations, 1000);
  ledger.end_action();
  EXPECT_EQ(given.stage.at, "three");
  EXPECT_EQ(part(given.stage, "Gram matrices"), 40u);  // both that have the name
  EXPECT_EQ(given.stage.host_bytes(), 1147u);
}

// What an action declares is its largest moment, without the process, what its allocator keeps and the token ids.
TEST(Ledger, EachActionDeclaresItsOwnLargestMoment) {
  Given given;
  given.input.process_bytes = 1 << 20;
  Ledger ledger(given.input, given.stage);
  ledger.begin_action("one");
  ledger.hold(Buffer::TokenIds, 8);
  ledger.hold(Buffer::Allocator, 5);
  ledger.hold(Buffer::Weights, 100);
  ledger.moment({{"solver", 50, false}});
  ledger.end_action();
  ledger.begin_action("two");
  ledger.hold(Buffer::Weights, 0);
  ledger.end_action();
  EXPECT_EQ(ledger.declared(), (std::vector<double>{150, 100}));
}

TEST(Ledger, ABufferLivesFromTheActionThatTakesItToTheOneThatGivesItBack) {
  Given given;
  Ledger ledger(given.input, given.stage);
  for (const double bytes : {100.0, 60.0, 0.0, 20.0}) {
    ledger.begin_action("");
    ledger.hold(Buffer::Weights, bytes);
    ledger.end_action();
  }
  const std::vector<Ledger::Lifetime> lifetimes = ledger.lifetimes();
  ASSERT_EQ(lifetimes.size(), 2u);
  EXPECT_EQ(lifetimes[0].first, 0u);
  EXPECT_EQ(lifetimes[0].last, 2u);
  EXPECT_EQ(lifetimes[0].bytes, 100);
  EXPECT_EQ(lifetimes[1].first, 3u);
  EXPECT_EQ(lifetimes[1].last, 3u);
}

TEST(Ledger, WhatMovesWithTheModelIsOnTheDevice) {
  Given given;
  given.input.on_device = true;
  given.input.process_bytes = 7;
  Ledger ledger(given.input, given.stage);
  ledger.begin_action("");
  ledger.hold(Buffer::Weights, 100);
  ledger.hold(Buffer::SolvedWeights, 20);
  ledger.moment({{"solver", 3, false}, {"forward pass", 4}});
  EXPECT_EQ(given.stage.host_bytes(), 30u);
  EXPECT_EQ(given.stage.device_bytes(), 104u);
}

}  // namespace
}  // namespace swage::pipeline
