#include "swage/schedule/probe_store.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <utility>

#include "swage/base/checksum.h"
#include "swage/base/error.h"
#include "swage/base/file.h"
#include "swage/base/json.h"
#include "swage/io/atomic_file.h"
#include "swage/io/mmap_file.h"

namespace swage::pipeline {
namespace {

constexpr int kWorthIt = 10;  // times as long as the last save must have passed

std::string_view bytes_of(const at::Tensor& stream_TD) {
  return {static_cast<const char*>(stream_TD.const_data_ptr()), size_t(stream_TD.nbytes())};
}

// Bit for bit: what is gone on with must be what would have been.
Json to_json(const std::vector<std::vector<double>>& errors) {
  Json out = Json::array();
  for (const std::vector<double>& unit : errors) {
    Json row = Json::array();
    for (const double error : unit) row.push_back(hex64(std::bit_cast<uint64_t>(error)));
    out.push_back(std::move(row));
  }
  return out;
}

std::vector<std::vector<double>> errors_of(const Json& json) {
  std::vector<std::vector<double>> out;
  for (const Json& row : json.as_array()) {
    std::vector<double>& unit = out.emplace_back();
    for (const Json& text : row.as_array()) {
      const std::string& digits = text.as_string();
      uint64_t bits = 0;
      std::from_chars(digits.data(), digits.data() + digits.size(), bits, 16);
      unit.push_back(std::bit_cast<double>(bits));
    }
  }
  return out;
}

// Takes a stream of this shape off the front.
at::Tensor take_stream(std::string_view& bytes, int64_t tokens, int64_t width) {
  at::Tensor stream_TD = at::empty({tokens, width}, at::kFloat);
  const size_t size = size_t(stream_TD.nbytes());
  SWAGE_CHECK(size <= bytes.size(), Io, "it is shorter than its first line says");
  std::copy_n(bytes.data(), size, static_cast<char*>(stream_TD.mutable_data_ptr()));
  bytes.remove_prefix(size);
  return stream_TD;
}

MeasuredBlocks parse(std::string_view text, const std::string& source, const std::string& identity) {
  const size_t end = text.find('\n');
  SWAGE_CHECK(end != std::string_view::npos, Io, "it has no first line");
  const Json head = parse_json(text.substr(0, end), source);
  std::string_view streams = text.substr(end + 1);
  SWAGE_CHECK(head.at("identity").as_string() == identity, Io, "it belongs to another job");
  Json figures = head;
  figures.erase("digest");
  SWAGE_CHECK(head.at("digest").as_string() == hex64(wide_checksum(streams, checksum(figures.dump()))), Io,
              "it is damaged");
  const Json::Array& shape = head.at("streams").as_array();
  const int64_t sequences = shape.at(0).as_int(), tokens = shape.at(1).as_int(), width = shape.at(2).as_int();
  MeasuredBlocks out{head.at("blocks").as_int(), errors_of(head.at("errors")), {}, {}};
  out.probes.resize(out.errors.size());
  for (int64_t s = 0; s < sequences; ++s) out.base.push_back(take_stream(streams, tokens, width));
  for (const Json& unit : head.at("probes").as_array()) {
    for (int64_t s = 0; s < sequences; ++s)
      out.probes.at(size_t(unit.as_int())).push_back(take_stream(streams, tokens, width));
  }
  return out;
}

}  // namespace

std::optional<MeasuredBlocks> ProbeStore::load() const {
  if (!is_there(file_)) return {};
  try {
    return parse(io::MmapFile(file_).bytes(), file_.string(), identity_);
  } catch (const std::exception&) {
    return {};  // measuring again is always right
  }
}

void ProbeStore::save(const MeasuredBlocks& measured) {
  const Clock::time_point began = Clock::now();
  if (began - saved_ < kWorthIt * took_) return;
  std::vector<at::Tensor> streams;
  Json probes = Json::array();
  const auto add = [&](const at::Tensor& stream_TD) { streams.push_back(stream_TD.cpu().contiguous()); };
  for (const at::Tensor& stream_TD : measured.base) add(stream_TD);
  for (size_t u = 0; u < measured.probes.size(); ++u) {
    if (!measured.probes[u].empty()) probes.push_back(int64_t(u));
    for (const at::Tensor& stream_TD : measured.probes[u]) add(stream_TD);
  }
  std::string text;
  for (const at::Tensor& stream_TD : streams) text += bytes_of(stream_TD);
  Json head = Json::object();
  head.set("identity", identity_);
  head.set("blocks", measured.blocks);
  head.set("errors", to_json(measured.errors));
  head.set("streams",
           Json::Array{int64_t(measured.base.size()), measured.base.at(0).size(0), measured.base.at(0).size(1)});
  head.set("probes", std::move(probes));
  head.set("digest", hex64(wide_checksum(text, checksum(head.dump()))));
  io::AtomicFile file(file_);
  file.write(head.dump() + "\n");
  file.write(text);
  file.commit();
  if (on_save_) on_save_();
  saved_ = Clock::now();
  took_ = saved_ - began;
}

}  // namespace swage::pipeline
