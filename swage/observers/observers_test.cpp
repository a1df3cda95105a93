// Observers against stored outputs of LLM Compressor, and the quantization parameters of activations against
// compressed-tensors.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "swage/base/error.h"
#include "swage/observers/grid_of.h"
#include "swage/observers/observer.h"
#include "swage/solvers/test_vectors.h"

namespace swage::observers {
namespace {

using solvers::load_tensors;
using solvers::read_text;
using Tensors = std::map<std::string, at::Tensor>;

const std::string kData = SWAGE_TEST_DATA "/observers/";

scheme::QuantizationArgs args_of(const Json& json, const Json& settings) {
  scheme::QuantizationArgs args;
  args.num_bits = static_cast<int>(json.at("num_bits").as_int());
  args.type = scheme::number_type_named(json.at("type").as_string());
  args.strategy = scheme::strategy_named(json.at("strategy").as_string());
  args.symmetric = json.at("symmetric").as_bool();
  const Json *group = json.find("group_size"), *block = json.find("block_structure"), *scale = json.find("scale_dtype");
  if (group != nullptr && !group->is_null()) args.group_size = group->as_int();
  if (block != nullptr && !block->is_null())
    args.block_structure = {block->as_array()[0].as_int(), block->as_array()[1].as_int()};
  if (scale != nullptr && !scale->is_null()) args.scale_dtype = scale->as_string();
  args.observer_kwargs = settings;
  return args;
}

Role role_named(const std::string& name) {
  return name == "weight" ? Role::Weight : name == "attention" ? Role::Attention : Role::Activation;
}

std::unique_ptr<Observer> run_case(const Json& json, const Tensors& tensors) {
  const Role role = role_named(json.at("role").as_string());
  auto observer =
      make_observer(json.at("observer").as_string(), args_of(json.at("args"), json.at("observer_kwargs")), role);
  if (json.at("importance").as_bool()) observer->set_importance(tensors.at("importance"), 50);
  for (const Json& input : json.at("inputs").as_array()) {
    const at::Tensor x = tensors.at(input.as_string());
    observer->observe(role == Role::Attention ? x.squeeze(0) : x);
  }
  return observer;
}

double share_equal(const at::Tensor& a, const at::Tensor& b) {
  return (a.flatten().to(at::kFloat) == b.flatten().to(at::kFloat)).to(at::kDouble).mean().item<double>();
}

// |values of the grid - w|^norm summed over the whole weight, by scales of this shape.
double error_with(const at::Tensor& w_OI, const solvers::GridSpec& spec, const QuantizationParameters& found,
                  double norm) {
  solvers::Grid grid;
  grid.spec = spec;
  grid.scale_OG = found.scale.contiguous();
  if (!spec.symmetric) grid.zero_point_OG = found.zero_point.contiguous();
  grid.global_scale = found.global_scale;
  const at::Tensor x_OI = w_OI.to(at::kFloat);
  return (solvers::dequantize_from_grid(solvers::quantize_to_grid(x_OI, grid), grid) - x_OI)
      .to(at::kDouble)
      .abs()
      .pow(norm)
      .sum()
      .item<double>();
}

// Scales as the reference has them, but under a global scale effective ones.
QuantizationParameters golden(const std::string& name, const Tensors& tensors) {
  QuantizationParameters want{tensors.at(name + ".scale").to(at::kFloat), {}, {}};
  if (tensors.contains(name + ".zero_point")) want.zero_point = tensors.at(name + ".zero_point").to(at::kFloat);
  if (tensors.contains(name + ".global_scale")) {
    want.global_scale = tensors.at(name + ".global_scale").to(at::kFloat);
    want.scale = want.scale / want.global_scale;
  }
  return want;
}

// The reference shapes scales [O, 1] and [1] alike here, and keeps MX scales as numbers or exponents by version.
void expect_equal(const QuantizationParameters& found, const QuantizationParameters& want, double share) {
  EXPECT_GE(share_equal(found.scale, want.scale), share);
  ASSERT_EQ(found.zero_point.defined(), want.zero_point.defined());
  if (want.zero_point.defined()) {
    EXPECT_GE(share_equal(found.zero_point, want.zero_point), share);
  }
  ASSERT_EQ(found.global_scale.defined(), want.global_scale.defined());
  if (want.global_scale.defined()) {
    EXPECT_TRUE(found.global_scale.equal(want.global_scale));
  }
}

// Ranges without a search are equal bit for bit, from f32 and bf16. With a search from f32: nearly all are equal,
// because the kernel's power is good to 1e-5 and sums run in another order; from bf16 the reference rounds every error
// to 8 bits and sums those, so its choice is compared by what it is for: ours errs no more.
TEST(Observers, EqualLlmCompressor) {
  const Tensors tensors = load_tensors(kData + "observers.safetensors");
  const Json file = parse_json(read_text(kData + "observers.json"), "observers.json");
  int cases = 0;
  for (const Json& json : file.at("cases").as_array()) {
    const std::string name = json.at("name").as_string(), kind = json.at("observer").as_string();
    SCOPED_TRACE(name);
    const bool search = kind.find("m") != std::string::npos &&
                        (kind.find("mse") != std::string::npos || kind.find("imatrix") != std::string::npos);
    const bool f32 = json.at("dtype").as_string() == "f32";
    const auto observer = run_case(json, tensors);
    const QuantizationParameters found = observer->scale_and_zero_point(f32 ? at::kFloat : at::kBFloat16),
                                 want = golden(name, tensors);
    ++cases;
    if (!search) {
      EXPECT_EQ(share_equal(observer->low(), tensors.at(name + ".low")), 1);
      EXPECT_EQ(share_equal(observer->high(), tensors.at(name + ".high")), 1);
    }
    if (!search || f32) expect_equal(found, want, search ? 0.98 : 1);
    if (!search || f32 || json.at("role").as_string() != "weight" || json.at("importance").as_bool() ||
        found.global_scale.defined())
      continue;
    const scheme::QuantizationArgs args = args_of(json.at("args"), json.at("observer_kwargs"));
    const at::Tensor w_OI = tensors.at(json.at("inputs").as_array()[0].as_string());
    const solvers::GridSpec spec = grid_of(args, at::kBFloat16);
    const double norm = args.observer_kwargs.get_double("norm", 2.4);
    QuantizationParameters shaped = want;
    shaped.scale = want.scale.view(found.scale.sizes());
    if (want.zero_point.defined()) shaped.zero_point = want.zero_point.view(found.scale.sizes());
    // Both choose with scales that are rounded to bf16 afterwards, which moves errors by up to 2^-8.
    EXPECT_LE(error_with(w_OI, spec, found, norm), error_with(w_OI, spec, shaped, norm) * 1.01);
  }
  EXPECT_EQ(cases, 110);
}

// Scales of dynamic activations by the same formulas: one row a token. Values follow bit for bit in f32.
TEST(Observers, DynamicActivationsEqualCompressedTensors) {
  const Tensors tensors = load_tensors(kData + "activations.safetensors");
  const Json file = parse_json(read_text(kData + "activations.json"), "activations.json");
  solvers::ScaleSearch absmax;
  absmax.kind = solvers::ScaleSearch::Kind::Absmax;
  for (const auto& [name, json] : file.at("args").as_object()) {
    for (const std::string dtype : {"f32", "bf16"}) {
      SCOPED_TRACE(name + "." + dtype);
      const std::string key = name + "." + dtype;
      const at::Tensor x_TI = tensors.at("x." + dtype).squeeze(0);
      const scheme::QuantizationArgs args = args_of(json, Json::object());
      const solvers::GridSpec spec = grid_of(args, x_TI.scalar_type());
      const at::Tensor global =
          tensors.contains(key + ".global_scale") ? tensors.at(key + ".global_scale") : at::Tensor();
      const solvers::Grid grid = solvers::find_grid(x_TI, spec, absmax, {}, global);
      at::Tensor want = tensors.at(key + ".scale").to(at::kFloat);
      if (global.defined()) want = want / global;
      EXPECT_EQ(share_equal(grid.scale_OG, want), 1);
      if (!spec.symmetric) {
        EXPECT_EQ(share_equal(grid.zero_point_OG, tensors.at(key + ".zero_point")), 1);
      }
      if (dtype != "f32") continue;
      const at::Tensor values_TI = solvers::dequantize_from_grid(solvers::quantize_to_grid(x_TI, grid), grid);
      EXPECT_TRUE(values_TI.equal(tensors.at(key + ".fake_quant").squeeze(0)));
    }
  }
}

// Static scales, and the global scale of NVFP4's inputs, by the observer of the presets.
TEST(Observers, StaticActivationsEqualCompressedTensors) {
  const Tensors tensors = load_tensors(kData + "activations.safetensors");
  const Json file = parse_json(read_text(kData + "activations.json"), "activations.json");
  for (const std::string name :
       {"int8_tensor_static_sym", "int8_tensor_static_asym", "fp8_tensor_static", "nvfp4_local"}) {
    for (const std::string dtype : {"f32", "bf16"}) {
      SCOPED_TRACE(name + "." + dtype);
      const std::string key = name + "." + dtype;
      const at::Tensor x = tensors.at("x." + dtype);
      const auto observer =
          make_observer("static_minmax", args_of(file.at("args").at(name), Json::object()), Role::Activation);
      observer->observe(x.narrow(1, 0, 4));
      observer->observe(x.narrow(1, 4, 2));
      const QuantizationParameters found = observer->scale_and_zero_point(x.scalar_type());
      if (name == "nvfp4_local") {
        EXPECT_TRUE(found.global_scale.equal(tensors.at(key + ".global_scale")));
        continue;
      }
      EXPECT_EQ(share_equal(found.scale, tensors.at(key + ".scale")), 1);
      if (tensors.contains(key + ".zero_point")) {
        EXPECT_EQ(share_equal(found.zero_point, tensors.at(key + ".zero_point")), 1);
      }
    }
  }
}

scheme::QuantizationArgs int8_tensor(Json settings = Json::object()) {
  scheme::QuantizationArgs args;
  args.observer_kwargs = std::move(settings);
  return args;
}

// The interpolated percentile of torch.quantile; batches count as often as they have values.
TEST(Observers, PercentileOfEachBatch) {
  at::manual_seed(31);
  const at::Tensor first = at::randn({20, 50}), second = at::randn({5, 50}) * 3;
  const auto observer =
      make_observer("percentile", int8_tensor(parse_json(R"({"percentile": 97.5})", "test")), Role::Activation);
  observer->observe(first);
  const auto quantile = [](const at::Tensor& x, double share) {
    return at::quantile(x.flatten().to(at::kDouble), share).item<double>();
  };
  EXPECT_NEAR(observer->high().item<float>(), quantile(first, 0.975), 1e-6);
  EXPECT_NEAR(observer->low().item<float>(), quantile(first, 0.025), 1e-6);
  observer->observe(second);
  EXPECT_NEAR(observer->high().item<float>(), (quantile(first, 0.975) * 4 + quantile(second, 0.975)) / 5, 1e-6);
  const at::Tensor w_OI = at::randn({8, 64});
  scheme::QuantizationArgs group = int8_tensor(parse_json(R"({"percentile": 100})", "test"));
  group.strategy = scheme::Strategy::Group;
  group.group_size = 16;
  const auto all = make_observer("percentile", group, Role::Weight);
  all->observe(w_OI);
  EXPECT_TRUE(all->high().equal(w_OI.view({8, 4, 16}).amax(-1)));
}

// One scale a head has the shape that checkpoints store.
TEST(Observers, HeadsHaveTheirOwnScales) {
  scheme::QuantizationArgs args = int8_tensor();
  args.type = scheme::NumberType::Float;
  args.strategy = scheme::Strategy::AttnHead;
  const auto observer = make_observer("static_minmax", args, Role::Attention);
  const at::Tensor k = at::randn({4, 7, 16});
  observer->observe(k);
  const QuantizationParameters found = observer->scale_and_zero_point(at::kBFloat16);
  EXPECT_EQ(found.scale.sizes(), at::IntArrayRef({4, 1, 1}));
  EXPECT_TRUE(found.scale.flatten().equal((k.abs().amax({1, 2}) / 448).to(at::kBFloat16).to(at::kFloat)));
}

TEST(Observers, FusedLinearsShareAGlobalScale) {
  scheme::QuantizationArgs args = int8_tensor();
  args.num_bits = 4;
  args.type = scheme::NumberType::Float;
  args.strategy = scheme::Strategy::TensorGroup;
  args.group_size = 16;
  const auto small = make_observer("", args, Role::Weight), large = make_observer("", args, Role::Weight);
  small->observe(at::full({2, 32}, 0.25f));
  large->observe(at::full({2, 32}, 2.0f));
  const at::Tensor shared = shared_global_scale({small.get(), large.get()});
  EXPECT_EQ(shared.item<float>(), 1344);
  const QuantizationParameters found = small->scale_and_zero_point(at::kBFloat16, shared);
  EXPECT_TRUE(found.global_scale.equal(shared));
  EXPECT_EQ((found.scale * shared).max().item<float>(), 56);  // 0.25 / 6 * 1344, an E4M3 number
}

TEST(Observers, DoNotDependOnThreads) {
  at::manual_seed(32);
  const at::Tensor w_OI = at::randn({300, 256}), x = at::randn({400, 256});
  const int threads = at::get_num_threads();
  for (const std::string& name : observer_names()) {
    const Role role = needs_importance(name) ? Role::Weight : Role::Activation;
    std::vector<at::Tensor> scales;
    for (const int count : {1, 2, 3}) {
      at::set_num_threads(count);
      const auto observer = make_observer(name, int8_tensor(), role);
      if (needs_importance(name)) observer->set_importance(w_OI.square().sum(0), 300);
      observer->observe(role == Role::Weight ? w_OI : x);
      if (role == Role::Activation) observer->observe(x * 1.5);
      scales.push_back(observer->scale_and_zero_point(at::kFloat).scale);
    }
    EXPECT_TRUE(scales[0].equal(scales[1]) && scales[0].equal(scales[2])) << name;
  }
  at::set_num_threads(threads);
}

TEST(Observers, RefuseWhatMakesNoSense) {
  EXPECT_THROW(make_observer("median", int8_tensor(), Role::Weight), Error);
  EXPECT_THROW(make_observer("minmax", int8_tensor(parse_json(R"({"norm": 2})", "test")), Role::Weight), Error);
  EXPECT_THROW(make_observer("mse", int8_tensor(parse_json(R"({"expand": 0.5})", "test")), Role::Weight), Error);
  EXPECT_THROW(make_observer("imatrix_mse", int8_tensor(), Role::Activation), Error);
  EXPECT_THROW(make_observer("percentile", int8_tensor(parse_json(R"({"percentile": 20})", "test")), Role::Weight),
               Error);
  scheme::QuantizationArgs token = int8_tensor();
  token.strategy = scheme::Strategy::Token;
  EXPECT_THROW(make_observer("minmax", token, Role::Activation), Error);
  const auto imatrix = make_observer("imatrix_mse", int8_tensor(), Role::Weight);
  EXPECT_THROW(imatrix->observe(at::randn({4, 4})), Error);
  const auto plain = make_observer("minmax", int8_tensor(), Role::Weight);
  EXPECT_THROW(plain->scale_and_zero_point(at::kFloat), Error);
  EXPECT_THROW(plain->set_importance(at::ones({4}), 5), Error);
  EXPECT_THROW(plain->observe(at::randn({4})), Error);
  EXPECT_THROW(plain->observe(at::full({2, 2}, NAN)), Error);
  plain->observe(at::empty({0, 4}));
  EXPECT_FALSE(plain->has_range());
}

}  // namespace
}  // namespace swage::observers
