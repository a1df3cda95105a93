// The fields of a request's JSON, read by name within their ranges. What is wrong is a 400 that names the field.
#pragma once
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "apps/server/api_error.h"

namespace swage::server {

struct Range {
  double least, most;
  bool open_least = false, open_most = false;  // whether the ends themselves are outside
};

class Fields {
 public:
  // `prefix` stands before names in errors: "parameters.".
  explicit Fields(const Json& object, std::string prefix = {});

  // The member, or null where it is absent or null.
  const Json* find(const std::string& name);
  bool flag(const std::string& name, bool fallback);
  double number(const std::string& name, double fallback, const Range& range);
  int64_t integer(const std::string& name, int64_t fallback, int64_t least, int64_t most);
  std::string text(const std::string& name, const std::string& fallback);
  // A string, or a list of at most so many of them.
  std::vector<std::string> texts(const std::string& name, size_t most);
  std::optional<uint64_t> seed();
  // Of these that are there, so that they do not count as unknown.
  void ignore(std::initializer_list<const char*> names);
  // Members that nobody asked for.
  std::vector<std::string> unknown() const;
  ApiError wrong(const std::string& name, const std::string& what) const;

 private:
  const Json& object_;
  const std::string prefix_;
  std::set<std::string> known_;
};

// The object that a body is. Error 400 for anything else.
Json parse_body(const std::string& body);

}  // namespace swage::server
