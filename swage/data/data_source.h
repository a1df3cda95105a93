// A run's text by name: a file, the text that comes with swage, a data set of LLM Compressor's registry, or any of the
// hub.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "swage/data/dataset.h"
#include "swage/data/hub.h"

namespace swage::data {

// A bound of a slice: rows from the front, from the back if negative, or percent.
struct RowBound {
  int64_t value = 0;
  bool percent = false;
};

// "NAME[@REVISION][:CONFIG][:SPLIT][[FROM:TO]]", or "FILE[[FROM:TO]]"
struct DataSpec {
  enum class Kind { File, Builtin, Hub };
  Kind kind = Kind::File;
  std::string text;                   // as given
  std::string file;                   // of the kind File
  std::string id, revision = "main";  // of the hub
  std::string config, split;          // empty: found
  std::optional<RowBound> from, to;
  bool has_slice() const { return from || to; }

  std::string form;            // a registered data set's
  std::string default_config;  // where the user names none
  std::string first_file;      // the only file read, where a set is far too large: the one that everybody takes
  int64_t first_rows = 0;      // only so many rows belong to the set; 0: all
  bool joins_rows = false;
  Draw draw = Draw::None;
};

// Error(InvalidArgument) or Error(Unsupported) that says what there is, for a name that is nothing.
DataSpec parse_data_spec(const std::string& text);
// Names of the registry, sorted.
std::vector<std::string> registered_data_sets();

struct DataRequest {
  std::string name;  // what parse_data_spec() reads
  std::string text_column;
  bool held_out = false;  // of the text that comes with swage: the part for evaluation
  uint64_t enough_bytes =
      0;  // of a hub's data set without a slice, in the set's order: no more text than this is read; 0: all
};

// The documents, from the cache or the hub if need be, with the names and digests of the files.
Documents load_documents(const DataRequest& request, const Tokenizer& tokenizer, const HubOptions& hub,
                         const Context& context);

}  // namespace swage::data
