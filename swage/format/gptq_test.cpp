#include "swage/format/gptq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/format/format_test_support.h"
#include "swage/format/golden_test_support.h"

namespace swage::format {
namespace {

using scheme::QuantizationArgs;

QuantizationArgs args_of(int bits, bool symmetric, std::optional<int64_t> group_size, bool sorted = false) {
  QuantizationArgs args;
  args.num_bits = bits;
  args.symmetric = symmetric;
  args.strategy = group_size ? scheme::Strategy::Group : scheme::Strategy::Channel;
  args.group_size = group_size;
  if (sorted) args.actorder = "group";
  return args;
}

struct Case {
  std::string name;
  QuantizationArgs args;
  golden::Tensors tensors;

  // The weight as QuantizedWeight holds it: signed codes, scales as stored.
  QuantizedWeight weight() const {
    const int half = 1 << (args.num_bits - 1);
    const std::string from = tensors.contains("gptq_v2.scales") ? "gptq_v2." : "gptq_p.";
    QuantizedWeight out;
    out.codes_OI = (tensors.at("codes.weight") - half).to(at::kChar);
    out.scale_OG = tensors.at(from + "scales").t().contiguous();
    if (!args.symmetric) out.zero_point_OG = (tensors.at("qparam.zero") - half).to(at::kChar);
    if (args.actorder) out.g_idx_I = tensors.at(from + "g_idx");
    return out;
  }
  // What `library` stores: "gptq" shares all but qzeros with "gptq_v2".
  golden::Tensors stored(const std::string& library) const {
    const std::string shared = library == "gptq_p" ? "gptq_p." : "gptq_v2.";
    golden::Tensors out;
    for (const char* suffix : {"qweight", "scales", "g_idx"}) out[suffix] = tensors.at(shared + suffix);
    out["qzeros"] = tensors.at(library + ".qzeros");
    return out;
  }
};

std::vector<Case> golden_cases() {
  std::vector<Case> found;
  for (const golden::fs::path& root : golden::roots()) {
    std::vector<golden::fs::path> files;
    for (const auto& entry : golden::fs::directory_iterator(root / "gptq")) {
      if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const golden::fs::path& path : files) {
      const std::string name = path.stem().string();  // gptq_w4_asym_g32_actorder__normal_64x128
      const golden::Tensors tensors = golden::read_safetensors(path);
      const int64_t columns = tensors.at("codes.weight").size(1), groups = tensors.at("qparam.zero").size(1);
      const bool symmetric = name.find("_sym_") != std::string::npos,
                 sorted = name.find("actorder") != std::string::npos;
      found.push_back({name, args_of(name[6] - '0', symmetric, columns / groups, sorted), tensors});
    }
    std::cout << files.size() << " cases from " << (root / "gptq").string() << "\n";
  }
  return found;
}

golden::Tensors as_map(const std::vector<std::pair<std::string, at::Tensor>>& stored) {
  return {stored.begin(), stored.end()};
}

void expect_same(const QuantizedWeight& got, const QuantizedWeight& want) {
  EXPECT_TRUE(golden::same_bits(got.codes_OI, want.codes_OI));
  EXPECT_TRUE(golden::same_bits(got.scale_OG, want.scale_OG));
  EXPECT_EQ(got.zero_point_OG.defined(), want.zero_point_OG.defined());
  EXPECT_EQ(got.g_idx_I.defined(), want.g_idx_I.defined());
  if (want.zero_point_OG.defined()) {
    EXPECT_TRUE(golden::same_bits(got.zero_point_OG, want.zero_point_OG));
  }
  if (want.g_idx_I.defined()) {
    EXPECT_TRUE(golden::same_bits(got.g_idx_I, want.g_idx_I));
  }
}

// GPTQModel's files, all three layouts, are read to its codes and written to its bytes. AutoGPTQ's v1 files too, but
// where a zero point of 0 destroyed the word: what it wrote then is lost.
TEST(Gptq, GoldenFilesAreReadAndWrittenBitForBit) {
  int compared = 0;
  for (const Case& one : golden_cases()) {
    for (const std::string library : {"gptq", "gptq_v2", "gptq_p", "autogptq"}) {
      const bool lossy = library == "autogptq" && !fits_gptq_v1(one.weight().zero_point_OG, one.args.num_bits);
      if (!one.tensors.contains(library + ".qzeros") || lossy) continue;
      SCOPED_TRACE(one.name + " " + library);
      const golden::Tensors stored = one.stored(library);
      const Format& format = gptq_format(library == "autogptq" ? "gptq" : library);
      expect_same(format.unpack(one.args, lookup_in(stored)), one.weight());
      EXPECT_EQ(format.shape(one.args, lookup_in(stored)), one.tensors.at("codes.weight").sizes().vec());
      for (const auto& [suffix, tensor] : format.pack(one.args, one.weight())) {
        EXPECT_TRUE(golden::same_bits(tensor, stored.at(suffix))) << suffix;
      }
      ++compared;
    }
  }
  EXPECT_GE(compared, 14);
}

TEST(Gptq, DequantizesToTheLibrarysValues) {
  for (const Case& one : golden_cases()) {
    if (!one.tensors.contains("fake_quant.weight")) continue;
    SCOPED_TRACE(one.name);
    // The library multiplied with the f32 scale, stored is its f16: half an ulp of f16 apart, on at most 2^b - 1 steps.
    const at::Tensor want_OI = one.tensors.at("fake_quant.weight"), got_OI = dequantize(one.weight());
    EXPECT_TRUE(((got_OI - want_OI).abs() <= want_OI.abs() * 0x1p-11 * 1.001 + 1e-7).all().item<bool>());
  }
}

QuantizedWeight random_gptq(const QuantizationArgs& args, int64_t rows, int64_t columns) {
  const int half = 1 << (args.num_bits - 1);
  const int64_t size = args.group_size.value_or(columns), groups = (columns + size - 1) / size;
  QuantizedWeight weight;
  weight.codes_OI = at::randint(-half, half, {rows, columns}, at::kLong).to(at::kChar);
  weight.scale_OG = (at::rand({rows, groups}) + 0.01).to(at::kHalf);
  if (!args.symmetric) weight.zero_point_OG = at::randint(-half, half, {rows, groups}, at::kLong).to(at::kChar);
  const bool whole = groups == 1 || columns % size == 0;
  const at::Tensor plain_I = at::arange(columns).div(size, "floor").to(at::kInt);
  if (args.actorder && groups > 1) weight.g_idx_I = plain_I.index_select(0, at::randperm(columns));
  if (!args.actorder && !whole) weight.g_idx_I = plain_I;  // the last group is short: dequantize() must be told
  return weight;
}

// Any width, with every zero point there is, also 0: v1 writes it as GPTQModel does and reads it back by wrapping
// around.
TEST(Gptq, RoundTripsAnyShape) {
  at::manual_seed(11);
  for (const std::string name : {"gptq", "gptq_v2", "gptq_p"}) {
    for (int bits = 2; bits <= 8; ++bits) {
      if ((bits > 4 && bits < 8) && name != "gptq_p") continue;
      for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{32, 32}, {96, 160}, {32, 1056}, {288, 64}}) {
        for (const std::optional<int64_t> group : {std::optional<int64_t>{}, {32}, {64}, {128}}) {
          for (const bool symmetric : {true, false}) {
            const QuantizationArgs args = args_of(bits, symmetric, group, rows == 96 && group == 32);
            SCOPED_TRACE(cat(name, " ", bits, " bits ", rows, " x ", columns, " group ", group.value_or(-1),
                             symmetric ? " sym" : " asym"));
            const QuantizedWeight weight = random_gptq(args, rows, columns);
            const Format& format = gptq_format(name);
            const auto stored = format.pack(args, weight);
            const auto specs = format.specs(args, rows, columns, io::Dtype::F16);
            ASSERT_EQ(stored.size(), specs.size());
            for (size_t i = 0; i < specs.size(); ++i) {
              EXPECT_EQ(specs[i].name, stored[i].first);
              EXPECT_EQ(specs[i].shape, stored[i].second.sizes().vec());
            }
            const QuantizedWeight got = format.unpack(args, lookup_in(as_map(stored)));
            expect_same(got, weight);
            EXPECT_EQ(dequantize(got).sizes().vec(), (std::vector<int64_t>{rows, columns}));
          }
        }
      }
    }
  }
}

// The words that every symmetric file holds.
TEST(Gptq, SymmetricZeroPointsAreTheKnownWords) {
  at::manual_seed(1);
  for (const auto& [bits, v1, v2] :
       {std::tuple{2, 0x55555555u, 0xAAAAAAAAu}, {4, 0x77777777u, 0x88888888u}, {8, 0x7F7F7F7Fu, 0x80808080u}}) {
    const QuantizationArgs args = args_of(bits, true, 32);
    const QuantizedWeight weight = random_gptq(args, 32, 64);
    for (const auto& [name, word] : {std::pair{"gptq", v1}, {"gptq_v2", v2}}) {
      const at::Tensor qzeros = as_map(gptq_format(name).pack(args, weight)).at("qzeros");
      EXPECT_TRUE((qzeros == int32_t(word)).all().item<bool>()) << name << " " << bits;
    }
  }
}

TEST(Gptq, AMissingOrUnsetGroupIndexMeansConsecutiveGroups) {
  const QuantizationArgs args = args_of(4, true, 32);
  at::manual_seed(2);
  const QuantizedWeight weight = random_gptq(args, 32, 96);
  golden::Tensors stored = as_map(gptq_format("gptq").pack(args, weight));
  for (const at::Tensor& g_idx : {at::Tensor(), at::full({96}, -1, at::kInt), at::arange(96).div(32, "floor")}) {
    stored["g_idx"] = g_idx;
    expect_same(gptq_format("gptq").unpack(args, lookup_in(stored)), weight);
  }
}

// Some exporters leave out what says nothing.
TEST(Gptq, SymmetricZeroPointsMayBeMissing) {
  at::manual_seed(2);
  for (const bool sorted : {false, true}) {
    const QuantizationArgs args = args_of(4, true, 32, sorted);
    QuantizedWeight weight = random_gptq(args, 32, 96);
    if (sorted) weight.g_idx_I = at::arange(96, at::kInt).remainder(3).to(at::kInt);
    for (const char* name : {"gptq", "gptq_v2"}) {
      golden::Tensors stored = as_map(gptq_format(name).pack(args, weight));
      for (const at::Tensor& qzeros : {at::Tensor(), at::empty({3, 0}, at::kInt)}) {
        stored["qzeros"] = qzeros;
        expect_same(gptq_format(name).unpack(args, lookup_in(stored)), weight);
      }
    }
  }
}

TEST(Gptq, BrokenTensorsAreNamed) {
  at::manual_seed(3);
  const QuantizationArgs args = args_of(4, false, 32);
  const Format& format = gptq_format("gptq");
  const golden::Tensors good = as_map(format.pack(args, random_gptq(args, 32, 64)));
  const auto broken = [&](const std::string& suffix, const at::Tensor& replacement, const std::string& says,
                          const QuantizationArgs& with) {
    golden::Tensors stored = good;
    stored[suffix] = replacement;
    expect_error(ErrorKind::CorruptData, says, [&] { format.unpack(with, lookup_in(stored)); });
  };
  broken("qweight", {}, "qweight is missing", args);
  broken("qzeros", {}, "qzeros is missing", args);
  broken("scales", {}, "scales is missing", args);
  broken("qweight", at::zeros({8, 32}), "qweight: expected Int", args);
  broken("qweight", at::zeros({8}, at::kInt), "qweight: expected a matrix", args);
  broken("qweight", at::zeros({8, 31}, at::kInt), "qweight: shape [8, 31] does not hold whole columns of ", args);
  broken("qweight", good.at("qweight"), "does not hold whole columns of ", args_of(3, false, 32));
  broken("qzeros", at::zeros({2, 3}, at::kInt), "qzeros: expected shape [2, 4], found [2, 3]", args);
  broken("scales", at::zeros({32, 2}, at::kHalf), "scales: expected shape [2, 32], found [32, 2]", args);
  broken("scales", at::zeros({2, 32}, at::kInt), "scales: expected Half", args);
  broken("g_idx", at::full({64}, 2, at::kInt), "g_idx: input 0 in group 2 of 2", args);
  broken("g_idx", at::zeros({63}, at::kInt), "g_idx: expected shape [64]", args);
  broken("qzeros", at::full({2, 4}, 0x77777776, at::kInt), "qzeros: the configuration says symmetric",
         args_of(4, true, 32));
}

TEST(Gptq, RefusesWhatItCannotHold) {
  at::manual_seed(4);
  const QuantizationArgs args = args_of(4, false, 32);
  const Format& format = gptq_format("gptq_v2");
  QuantizedWeight weight = random_gptq(args, 32, 64);
  weight.codes_OI[3][5] = 8;
  expect_error(ErrorKind::InvalidArgument, "does not fit into 4 bits", [&] { format.pack(args, weight); });
  expect_error(ErrorKind::InvalidArgument, "multiples of 32", [&] { format.specs(args, 33, 64, io::Dtype::F16); });
  expect_error(ErrorKind::InvalidArgument, "expected scales of shape [32, 1]",
               [&] { format.pack(args_of(4, false, 64), random_gptq(args, 32, 64)); });
  expect_error(ErrorKind::InvalidArgument, "expected no zero points",
               [&] { format.pack(args_of(4, true, 32), random_gptq(args, 32, 64)); });
  expect_error(ErrorKind::Unsupported, "integers of 2, 3, 4 or 8 bits",
               [&] { format.specs(args_of(5, true, 32), 32, 32, io::Dtype::F16); });
  expect_error(ErrorKind::Unsupported, "\"marlin\"", [&] { gptq_format("marlin"); });
  EXPECT_FALSE(fits_gptq_v1(at::full({2, 2}, -8, at::kChar), 4));
  EXPECT_TRUE(fits_gptq_v1(at::full({2, 2}, -7, at::kChar), 4));
}

}  // namespace
}  // namespace swage::format
