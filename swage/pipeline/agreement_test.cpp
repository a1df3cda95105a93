// What is said beforehand and what is written: an estimate from the headers, one from the config alone, the dry run's
// plan and the tensors of the real output take the same number of bytes, for every preset and modifier.
#include <gtest/gtest.h>

#include "swage/checkpoint/reader.h"
#include "swage/io/tensor_spec.h"
#include "swage/pipeline/compress.h"
#include "swage/pipeline/estimate.h"
#include "swage/pipeline/tiny_models_test_support.h"
#include "swage/scheme/presets.h"

namespace swage::pipeline {
namespace {

// Wide enough for the groups of every preset: a tied head, experts apart, and in one tensor.
std::map<std::string, Json> wide_configs() {
  std::map<std::string, Json> out;
  const std::map<std::string, Json> all = configs();
  for (const char* name : {"llama31", "mixtral", "granitemoe"}) {
    Json config = all.at(name);
    for (const char* size : {"hidden_size", "intermediate_size"}) config.set(size, int64_t{128});
    config.set("head_dim", int64_t{32});
    config.set("num_attention_heads", int64_t{4});
    config.set("num_key_value_heads", int64_t{2});
    config.set("num_hidden_layers", int64_t{2});
    if (std::string(name) == "llama31") config.set("tie_word_embeddings", true);
    out.emplace(name, std::move(config));
  }
  return out;
}

// A figure, or what refused to give it.
struct Said {
  int64_t output_bytes = 0, written_bytes = 0;
  std::string refusal;
};

template <class Work>
Said said_by(const Work& work) {
  try {
    const Json plan = work().at("plan");
    return {plan.get_int("output_bytes", -1), plan.get_int("written_bytes", -1), {}};
  } catch (const Error& e) {
    return {0, 0, e.what()};
  }
}

EstimateJob estimate_of(const CompressJob& job, const fs::path& source) {
  EstimateJob out;
  static_cast<CompressJob&>(out) = job;
  out.source = source;
  out.given = parse_rates("gemm=100G,copy=10G,disk=1G");
  return out;
}

int64_t bytes_written(const fs::path& folder) {
  const checkpoint::Reader reader(folder);
  uint64_t sum = 0;
  for (const io::TensorSpec& spec : reader.tensors()) sum += io::data_bytes(spec);
  return int64_t(sum);
}

void expect_agreement(const fs::path& folder, const std::string& model, const std::string& what, const Recipe& recipe) {
  const std::string where = model + ", " + what;
  const Modifiers modifiers = modifiers_of(recipe);
  const fs::path target = folder / "out";
  CompressJob job = job_of(folder / model, target, modifiers);
  const Said planned = said_by([&] { return run_estimate(estimate_of(job, job.source), Context()); });
  const Said declared = said_by([&] { return run_estimate(estimate_of(job, folder / (model + ".json")), Context()); });
  job.dry_run = true;
  const Said dry = said_by([&] { return run_compress(job, Context()); });
  EXPECT_EQ(planned.refusal, dry.refusal) << where;
  EXPECT_EQ(planned.refusal.empty(), declared.refusal.empty()) << where << ": " << declared.refusal;
  if (!dry.refusal.empty()) return;
  job.dry_run = false;
  const Json report = run_compress(job, Context());
  const int64_t written = bytes_written(target);
  EXPECT_EQ(written, report.at("plan").get_int("output_bytes", -1)) << where;
  EXPECT_EQ(dry.output_bytes, written) << where;
  EXPECT_EQ(planned.output_bytes, written) << where;
  EXPECT_EQ(declared.output_bytes, written) << where;
  EXPECT_EQ(planned.written_bytes, dry.written_bytes) << where;
  EXPECT_EQ(declared.written_bytes, dry.written_bytes) << where;
}

TEST(Agreement, EstimateDryRunAndOutputTakeTheSameBytes) {
  const Folder folder("agreement");
  for (const auto& [model, config] : wide_configs()) {
    write_model(folder.path / model, config, random_weights(config));
    std::ofstream(folder.path / (model + ".json")) << config.dump();
    for (const std::string& preset : scheme::preset_names()) {
      const std::string fields = cat(R"({"scheme": ")", preset, R"(", "ignore": ["lm_head"]})");
      expect_agreement(folder.path, model, preset, {{"rtn", fields.c_str()}});
    }
    for (const auto& [recipe, parts] : recipes()) expect_agreement(folder.path, model, recipe, parts);
  }
}

}  // namespace
}  // namespace swage::pipeline
