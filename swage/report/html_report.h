// The report for people: one HTML page without scripts, fonts or anything else from elsewhere, so that it opens offline
// and years later.
#pragma once
#include <string>
#include <string_view>

#include "swage/base/json.h"

namespace swage::pipeline {

// `report`: what swage_report.json holds; members that are missing are left out of the page.
std::string html_report(const Json& report, std::string_view recipe_yaml);

}  // namespace swage::pipeline
