#include "swage/io/side_files.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <system_error>

#include "swage/base/error.h"
#include "swage/base/file.h"

namespace swage::io {
namespace {

namespace fs = std::filesystem;

// Weights in any container, and files about the source's weights or about the run that made them.
bool is_about_weights(const std::string& name) {
  constexpr std::string_view kEndings[] = {".safetensors", ".bin", ".pt",      ".pth",    ".ckpt",
                                           ".gguf",        ".h5",  ".msgpack", ".onnx",   ".pkl",
                                           ".onnx_data",   ".npz", ".ot",      ".tflite", ".index.json"};
  // Of GPTQModel and AutoGPTQ, AutoAWQ, ModelOpt, AutoRound, Intel's Neural Compressor, quanto, ExLlamaV2, and scales
  // of a cache for older readers: what they say of the source is not true of the output.
  constexpr std::string_view kNames[] = {
      "config.json",          "recipe.yaml",       "swage_report.html",     "swage_report.json",
      "quantize_config.json", "quant_config.json", "hf_quant_config.json",  "quantization_config.json",
      "quant_log.csv",        "qconfig.json",      "quantization_map.json", "quanto_qmap.json",
      "measurement.json",     "job_new.json",      "kv_cache_scales.json"};
  return std::any_of(std::begin(kEndings), std::end(kEndings),
                     [&](std::string_view end) { return name.ends_with(end); }) ||
         name.find(".safetensors.") != std::string::npos ||  // of an unfinished download or copy
         std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

bool lies_in(const fs::path& file, const fs::path& folder) {
  const fs::path inside = file.lexically_relative(folder);
  return !inside.empty() && *inside.begin() != ".." && inside != ".";
}

// MODEL/blobs of a folder MODEL/snapshots/REVISION; empty for any other.
fs::path blobs_of(const fs::path& folder) {
  const fs::path snapshots = folder.parent_path();
  return snapshots.filename() == "snapshots" ? snapshots.parent_path() / "blobs" : fs::path();
}

// Why the entry is not taken along; empty if it is.
std::string objection(const fs::path& folder, const fs::path& entry) {
  std::error_code error;
  const fs::file_status status = fs::status(entry, error);
  if (!fs::is_regular_file(status)) return cat("is ", kind_of_file(entry));
  if (!belongs_to_folder(folder, entry))
    return cat("is a link to ", fs::read_symlink(entry, error).string(),
               ", which is no part of the model's folder; copy the file there if it is meant to be");
  const uint64_t bytes = fs::file_size(entry, error);
  return error || bytes > kMaxSideFileBytes ? cat("has ", bytes, " bytes, expected at most ", kMaxSideFileBytes)
                                            : std::string();
}

}  // namespace

bool belongs_to_folder(const fs::path& folder, const fs::path& entry) {
  std::error_code error;
  const fs::path home = fs::canonical(folder, error), file = error ? fs::path() : fs::canonical(entry, error);
  if (error) return false;
  const fs::path blobs = fs::canonical(blobs_of(home), error);  // itself no link out of the model
  return lies_in(file, home) || (!error && blobs == blobs_of(home) && lies_in(file, blobs));
}

void check_belongs_to_folder(const fs::path& folder, const fs::path& entry) {
  SWAGE_CHECK(!is_there(entry) || belongs_to_folder(folder, entry), Io, entry.string(),
              ": is a link to a file that is no part of the model's folder, and what it says would be written into the "
              "output; copy the file there if it is meant to be");
}

SideFiles side_files(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> entries;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    entries.push_back(entry->path());
  SWAGE_CHECK(!error, Io, folder.string(), ": cannot list the folder: ", error.message());
  std::sort(entries.begin(), entries.end());
  SideFiles out;
  for (const fs::path& entry : entries) {
    const std::string name = entry.filename().string();
    std::error_code ignored;
    if (name.starts_with('.') || is_about_weights(name) || fs::is_directory(entry, ignored)) continue;
    const std::string why = objection(folder, entry);
    if (why.empty())
      out.files.push_back(entry);
    else
      out.left_out.push_back(cat(name, " is left out of the output: it ", why));
  }
  return out;
}

}  // namespace swage::io
