#include "swage/plan/rates.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <string_view>
#include <vector>

#include "swage/base/error.h"
#include "swage/io/file_descriptor.h"
#include "swage/ops/device.h"
#include "swage/ops/gram.h"
#include "swage/ops/integer_linear.h"
#include "swage/ops/products.h"

namespace swage::pipeline {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kSize = 1024;                    // of the products: beyond any cache, 2 GFLOP
constexpr int64_t kCopyFloats = int64_t{1} << 24;  // 64 MiB
constexpr uint64_t kReadPiece = 4 << 20, kReadMost = uint64_t{256} << 20;
constexpr double kGramShare = 0.78;  // of the rate of products, where only that is known
constexpr double kAssumedDisk = 500e6;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// How often a second `work` can be done: once to warm up, then as often as `limit_seconds` allows, at least twice; the
// median.
double times_a_second(double limit_seconds, const std::function<void()>& work) {
  const Clock::time_point start = Clock::now();
  work();
  std::vector<double> seconds;
  while (seconds.size() < 2 || (seconds_since(start) < limit_seconds && seconds.size() < 50)) {
    const Clock::time_point begin = Clock::now();
    work();
    seconds.push_back(seconds_since(begin));
  }
  std::nth_element(seconds.begin(), seconds.begin() + std::ptrdiff_t(seconds.size() / 2), seconds.end());
  return 1 / std::max(seconds[seconds.size() / 2], 1e-9);
}

double gemm_rate(double limit_seconds) {
  const at::Tensor a = at::ones({kSize, kSize}, at::kFloat), b = at::ones({kSize, kSize}, at::kFloat);
  return 2 * std::pow(double(kSize), 3) * times_a_second(limit_seconds, [&] { at::mm(a, b); });
}

// As the forward pass runs it: one sequence to a thread.
double integer_rate(double limit_seconds, double gemm) {
  const at::Tensor codes_OI = at::full({kSize, kSize}, 3, at::kChar), x_TI = at::ones({kSize / 2, kSize}, at::kFloat);
  const auto linear = ops::IntegerLinear::make(codes_OI, at::ones({kSize, kSize / 64}, at::kFloat), {});
  if (!linear) return gemm;
  const int threads = at::get_num_threads();
  const auto work = [&] {
    at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        at::Tensor out_TO = at::empty({kSize / 2, kSize}, at::kFloat);
        linear->multiply(ops::IntegerLinear::quantize(x_TI, linear->block()), out_TO, false);
      }
    });
  };
  return threads * std::pow(double(kSize), 3) * times_a_second(limit_seconds, work);
}

double gram_rate(double limit_seconds) {
  const at::Tensor x_TI = at::ones({2 * kSize, kSize}, at::kFloat);
  at::Tensor gram_II = at::zeros({kSize, kSize}, at::kDouble), scratch;
  return 2 * std::pow(double(kSize), 3) * times_a_second(limit_seconds, [&] {
           ops::GramSum sum(gram_II, 2 * kSize, scratch);
           sum.add(x_TI);
           sum.finish();
         });
}

double copy_rate(double limit_seconds) {
  const at::Tensor from = at::ones({kCopyFloats}, at::kFloat);
  at::Tensor to = at::empty({kCopyFloats}, at::kFloat);
  return double(kCopyFloats) * 4 * times_a_second(limit_seconds, [&] { to.copy_(from); });
}

// Headers of a model that was not downloaded lie in such files; reading holes says nothing of a disk.
bool is_mostly_holes(const std::filesystem::path& file) {
  struct stat status{};
  return stat(file.c_str(), &status) == 0 && int64_t{status.st_blocks} * 512 < status.st_size / 2;
}

// Large enough for a GPU to be full; kernels for the solver's f32 are an order slower, which a run of bf16 products
// hardly shows.
void measure_device(at::Device device, double limit_seconds, Rates& rates) {
  constexpr int64_t kWide = 8 * kSize;
  const at::Tensor a = at::ones({kWide, kWide}, at::device(device).dtype(ops::product_type(device))),
                   bytes = at::ones({kCopyFloats}, at::device(device).dtype(at::kFloat));
  at::Tensor to = at::empty_like(bytes);
  const auto waited = [&](const auto& work) {
    return [&] {
      work();
      ops::synchronize(device);
    };
  };
  if (rates.gemm == 0) {
    const auto multiply = [&] { ops::product(a, a); };
    rates.gemm = rates.integer = rates.gram =
        2 * std::pow(double(kWide), 3) * times_a_second(limit_seconds, waited(multiply));
    rates.gram *= kGramShare;
  }
  const auto copy = [&] { to.copy_(bytes); };
  if (rates.copy == 0) rates.copy = double(kCopyFloats) * 4 * times_a_second(limit_seconds, waited(copy));
}

std::filesystem::path largest_shard(const std::filesystem::path& folder) {
  std::filesystem::path most;
  uintmax_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() != ".safetensors" || !entry.is_regular_file(error) ||
        entry.file_size(error) <= bytes || is_mostly_holes(entry.path()))
      continue;
    most = entry.path();
    bytes = entry.file_size(error);
  }
  return most;
}

double disk_rate(const std::filesystem::path& file, double limit_seconds) {
  const io::FileDescriptor in(file, O_RDONLY);
  const uint64_t bytes = std::min<uint64_t>(kReadMost, std::filesystem::file_size(file));
  std::vector<char> piece(kReadPiece);
  const Clock::time_point start = Clock::now();
  uint64_t done = 0;
  while (done < bytes && (done == 0 || seconds_since(start) < limit_seconds)) {
    const uint64_t count = std::min(kReadPiece, bytes - done);
    in.read_at(piece.data(), count, done);
    done += count;
  }
  return double(done) / std::max(seconds_since(start), 1e-9);
}

double parse_rate(const std::string& part, std::string_view text) {
  const std::string_view units = "KMGT";
  double factor = 1;
  if (!text.empty() && units.find(text.back()) != std::string_view::npos) {
    factor = std::pow(1000.0, double(units.find(text.back()) + 1));
    text.remove_suffix(1);
  }
  try {
    size_t used = 0;
    const double value = std::stod(std::string(text), &used);
    if (used == text.size() && std::isfinite(value) && value > 0 && std::isfinite(value * factor))
      return value * factor;
  } catch (const std::exception&) {  // said below
  }
  throw Error(ErrorKind::InvalidArgument,
              cat("\"", part, "\": expected NAME=NUMBER a second, with K, M, G or T, as gemm=250G"));
}

}  // namespace

Json Rates::to_json() const {
  Json out = Json::object();
  out.set("gemm_flops", gemm);
  out.set("integer_flops", integer);
  out.set("gram_flops", gram);
  out.set("copy_bytes", copy);
  out.set("disk_bytes", disk);
  out.set("disk_is_assumed", disk_is_assumed);
  out.set("measured_seconds", measured_seconds);
  return out;
}

Rates parse_rates(const std::string& text) {
  Rates out;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, end - at);
    const size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    double* field = name == "gemm" ? &out.gemm : name == "copy" ? &out.copy : name == "disk" ? &out.disk : nullptr;
    SWAGE_CHECK(field != nullptr && equals != std::string::npos, InvalidArgument, "\"", part,
                "\": --rates expects gemm=, copy= or disk= and a number a second");
    SWAGE_CHECK(*field == 0, InvalidArgument, "\"", part, "\": ", name, " is given twice");
    *field = parse_rate(part, std::string_view(part).substr(equals + 1));
    at = end + 1;
  }
  if (out.gemm > 0) {
    out.integer = out.gemm;
    out.gram = kGramShare * out.gemm;
  }
  return out;
}

Rates measure_rates(const std::filesystem::path& folder, Rates rates, double limit_seconds, at::Device device) {
  const Clock::time_point start = Clock::now();
  const double share = limit_seconds / 5;
  if (!device.is_cpu()) measure_device(device, share, rates);
  if (rates.gemm == 0) {
    rates.gemm = gemm_rate(share);
    rates.integer = integer_rate(share, rates.gemm);
    rates.gram = gram_rate(share);
  }
  if (rates.copy == 0) rates.copy = copy_rate(share);
  if (rates.disk == 0) {
    const std::filesystem::path file = largest_shard(folder);
    rates.disk_is_assumed = file.empty();
    rates.disk = file.empty() ? kAssumedDisk : disk_rate(file, share);
  }
  rates.measured_seconds = seconds_since(start);
  return rates;
}

}  // namespace swage::pipeline
