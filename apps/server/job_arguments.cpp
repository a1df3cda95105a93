// From what a client asks for to the arguments of `swage compress`: nothing outside the roots, no option that names a
// file.
#include <algorithm>
#include <array>

#include "apps/server/jobs.h"

namespace swage::server {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 24> kPassedOn = {"scheme",         "method",
                                                   "group_size",     "symmetric",
                                                   "targets",        "ignore",
                                                   "actorder",       "dampening_frac",
                                                   "quality",        "sweeps",
                                                   "target",         "block_size",
                                                   "target_bits",    "target_size",
                                                   "scale_search",   "weight_observer",
                                                   "rotate",         "num_calibration_samples",
                                                   "max_seq_length", "smoothing_strength",
                                                   "duo_scaling",    "n_grid",
                                                   "model_free",     "seed"};

// A path below one of the roots, whatever links there are on the way to it.
fs::path below(const std::vector<std::string>& roots, const std::string& name, const std::string& what) {
  const fs::path relative = name;
  SWAGE_CHECK(!name.empty() && name.size() < 1000 && name.find('\0') == std::string::npos && relative.is_relative(),
              InvalidArgument, what, ": expected a path below the allowed folders");
  for (const fs::path& part : relative)
    SWAGE_CHECK(part != "..", InvalidArgument, what, ": expected a path below the allowed folders");
  for (const std::string& root : roots) {
    std::error_code error;
    const fs::path base = fs::canonical(root, error);
    if (error) continue;
    const fs::path found = fs::canonical(base / relative, error);
    if (error) continue;
    const auto [end, at] = std::mismatch(base.begin(), base.end(), found.begin(), found.end());
    if (end == base.end()) return found;
  }
  throw Error(ErrorKind::InvalidArgument, cat(what, ": \"", name, "\" is not below the allowed folders"));
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name.size() < 100 && name[0] != '.' &&
         std::all_of(
             name.begin(), name.end(),
             [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-'; });
}

std::string value_of(const std::string& name, const Json& value) {
  if (value.is_string()) return value.as_string();
  SWAGE_CHECK(value.is_number() || value.is_bool(), InvalidArgument, "options.", name,
              ": expected text, a number or true or false");
  return value.dump();
}

void add_options(const Json& options, std::vector<std::string>& out) {
  SWAGE_CHECK(options.is_object(), InvalidArgument, "options: expected an object");
  for (const auto& [name, value] : options.as_object()) {
    SWAGE_CHECK(std::any_of(kPassedOn.begin(), kPassedOn.end(), [&](const char* one) { return one == name; }),
                InvalidArgument, "options.", name.substr(0, 60), ": is not taken over HTTP");
    std::string option = name;
    std::replace(option.begin(), option.end(), '_', '-');
    const Json::Array values = value.is_array() ? value.as_array() : Json::Array{value};
    for (const Json& one : values) {
      if (one.is_bool())
        out.push_back(cat(one.as_bool() ? "--" : "--no-", option));
      else
        out.push_back(cat("--", option, "=", value_of(name, one)));
    }
  }
}

std::string data_of(const JobOptions& options, const std::string& data) {
  if (data == "builtin") return data;
  if (data.starts_with("upload-"))
    return below({(fs::path(options.folder) / "uploads").string()}, data, "data").string();
  return below(options.data_roots, data, "data").string();
}

}  // namespace

std::vector<std::string> compress_arguments(const JobOptions& options, const Json& request, const fs::path& folder) {
  SWAGE_CHECK(request.is_object(), InvalidArgument, "expected an object");
  for (const auto& [name, value] : request.as_object())
    SWAGE_CHECK(name == "model" || name == "recipe" || name == "data" || name == "options", InvalidArgument,
                name.substr(0, 60), ": expected model, recipe, data or options");
  std::vector<std::string> out = {options.program, "compress",
                                  below(options.model_roots, request.get_string("model", ""), "model").string(),
                                  "--output=" + (folder / "output").string(), "--verbose"};
  if (const std::string recipe = request.get_string("recipe", ""); !recipe.empty()) {
    SWAGE_CHECK(is_plain_name(recipe), InvalidArgument, "recipe: expected the name of a recipe that swage has");
    out.push_back("--recipe=" + recipe);
  }
  if (const std::string data = request.get_string("data", ""); !data.empty())
    out.push_back("--data=" + data_of(options, data));
  if (const Json* given = request.find("options")) add_options(*given, out);
  if (!options.max_memory.empty()) out.push_back("--max-memory=" + options.max_memory);
  return out;
}

}  // namespace swage::server
