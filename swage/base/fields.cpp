#include "swage/base/fields.h"

#include <algorithm>

namespace swage {
namespace {

// Levenshtein distance.
size_t edits_between(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replace});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  constexpr size_t kMostEdits = 2;  // what a slip of the hand takes
  std::string best;
  const size_t dashes = std::min(name.find_first_not_of('-'), name.size());  // those say nothing
  const size_t letters = name.size() - dashes;
  size_t fewest = std::min(kMostEdits, letters == 0 ? 0 : letters - 1) + 1;  // no letter of the name left: no slip
  for (const std::string& candidate : known) {
    const size_t edits = candidate == name ? fewest : edits_between(name, candidate);
    if (edits < fewest) {
      fewest = edits;
      best = candidate;
    }
  }
  return best;
}

void JsonFieldReader::read(const Json& value, std::vector<std::string>& field) {
  field.clear();
  if (value.is_string()) {
    field.push_back(value.as_string());
    return;
  }
  for (const Json& item : value.as_array()) field.push_back(item.as_string());
}

int64_t JsonFieldReader::positive(const Json& value) {
  const int64_t number = value.as_int();
  SWAGE_CHECK(number >= 0, InvalidArgument, "expected a number from 0 on, found ", number);
  return number;
}

void JsonFieldReader::finish() const {
  for (const auto& [name, value] : object_.as_object()) {
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    const std::string near = nearest_name(name, known_);
    throw Error(ErrorKind::InvalidArgument, cat(source_, ": unknown field \"", name, "\"",
                                                near.empty() ? "" : cat("; did you mean \"", near, "\"?")));
  }
}

void JsonFieldWriter::write(std::string_view name, const std::vector<std::string>& field) {
  Json items = Json::array();
  for (const std::string& item : field) items.push_back(item);
  object_.set(name, std::move(items));
}

}  // namespace swage
