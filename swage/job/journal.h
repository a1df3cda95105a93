// What of a run is finished, on disk: lines that are appended one by one, each whole and durable or not there.
//   CHECKSUM JSON\n          CHECKSUM: 16 hexadecimal digits of the JSON, seeded with the checksum of the line before
// The first line says what the run is, the others what is done. A line that was cut off, and all after it, count as not
// written.
#pragma once
#include <filesystem>
#include <optional>
#include <vector>

#include "swage/base/json.h"
#include "swage/io/file_descriptor.h"

namespace swage::pipeline {

// For one thread. Failures of the system are Error(Io).
class Journal {
 public:
  // Reads the file, if there is one.
  explicit Journal(std::filesystem::path file);

  // Whether there is a first line.
  bool begun() const { return header_.has_value(); }
  const Json& header() const { return *header_; }
  // What an earlier run appended.
  const std::vector<Json>& entries() const { return entries_; }
  // Begins a new journal in the file's place. Returns when it is on the disk.
  void begin(const Json& header);
  // Returns when the line is on the disk.
  void append(const Json& entry);

 private:
  void read();
  void write_line(const Json& line);

  std::filesystem::path path_;
  io::FileDescriptor file_;
  std::optional<Json> header_;
  std::vector<Json> entries_;
  uint64_t bytes_ = 0;     // of the whole lines
  uint64_t checksum_ = 0;  // of the last one
};

}  // namespace swage::pipeline
