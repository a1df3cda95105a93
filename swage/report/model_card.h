// README.md of an output, as hubs read it: what it was made of and how, its licence, how to run it.
#pragma once
#include <filesystem>
#include <string>

#include "swage/base/json.h"

namespace swage::pipeline {

// What is known of the source beside its weights.
struct CardSource {
  std::string name;  // "org/name" of a hub's snapshot, else the folder's name
  bool is_hub_id = false;
  bool has_card = false;
  std::string licence;  // the lines "license: ..." of its own card's head, as they stand; empty: it says nothing
};
// `id`: the hub id that it was named by; empty: a folder.
CardSource card_source(const std::filesystem::path& folder, const std::string& id = {});
// "org/name" for a snapshot in a hub's cache, else the folder's name.
std::string source_name(const std::filesystem::path& folder);

// Without date, times and the output's name, so that the same run gives the same card.
std::string model_card(const Json& report, const CardSource& source);

}  // namespace swage::pipeline
