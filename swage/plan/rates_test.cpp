#include "swage/plan/rates.h"

#include <gtest/gtest.h>

#include <fstream>

#include "swage/base/error.h"

namespace swage::pipeline {
namespace {

TEST(Rates, AreParsedWithTheirUnits) {
  const Rates rates = parse_rates("gemm=19.5T,disk=1200M");
  EXPECT_EQ(rates.gemm, 19.5e12);
  EXPECT_EQ(rates.disk, 1.2e9);
  EXPECT_EQ(rates.copy, 0);
  EXPECT_EQ(rates.integer, rates.gemm);  // what follows from one follows
  EXPECT_LT(rates.gram, rates.gemm);
  EXPECT_GT(rates.gram, 0);
}

TEST(Rates, WhatMakesNoSenseIsNamed) {
  for (const char* text : {"", "gemm", "gemm=", "gemm=fast", "gemm=-1G", "gemm=0", "gemm=1GG", "gemm=1e400", "gemm=inf",
                           "speed=1G", "gemm=1G,gemm=2G", "gemm=1G,"}) {
    try {
      parse_rates(text);
      FAIL() << text;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::InvalidArgument) << text;
    }
  }
}

TEST(Rates, MeasuresWhatIsNotGivenAndKeepsTheRest) {
  const auto folder = std::filesystem::path(testing::TempDir()) / "rates_test";
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "model.safetensors") << std::string(1 << 20, 'x');
  const Rates rates = measure_rates(folder, parse_rates("copy=5G"), 0.1);
  EXPECT_EQ(rates.copy, 5e9);
  for (const double rate : {rates.gemm, rates.integer, rates.gram, rates.disk}) EXPECT_GT(rate, 1e6);
  EXPECT_FALSE(rates.disk_is_assumed);
  EXPECT_GT(rates.measured_seconds, 0);
  std::filesystem::remove_all(folder);
  EXPECT_TRUE(measure_rates(folder, parse_rates("copy=5G,gemm=100G"), 0.1).disk_is_assumed);
}

}  // namespace
}  // namespace swage::pipeline
