#include "swage/job/steps.h"

#include <utility>

#include "swage/base/error.h"

namespace swage::pipeline {

Steps::Steps(Journal* journal, Json header, checkpoint::Writer& writer, checkpoint::ReadLog& log,
             std::vector<ModuleReport>& modules)
    : journal_(journal),
      header_(std::move(header)),
      writer_(writer),
      log_(log),
      modules_(modules) {
  if (journal_ == nullptr || !journal_->begun()) return;
  for (const Json& entry : journal_->entries()) {
    resumed_ = true;
    if (const Json* account = entry.find("account")) {
      accounts_.push_back(*account);
      continue;
    }
    finished_.insert(entry.at("step").as_string());
    for (const Json& name : entry.at("tensors").as_array()) writer_.restore(name.as_string());
    for (const Json& module : entry.at("modules").as_array()) modules_.push_back(ModuleReport::from_journal(module));
  }
  noted_ = modules_.size();
}

void Steps::finish(const std::string& step) {
  if (journal_ == nullptr) return;
  Json tensors = Json::array(), modules = Json::array();
  for (std::string& name : writer_.sync_written()) tensors.push_back(std::move(name));
  for (; noted_ < modules_.size(); ++noted_) modules.push_back(modules_[noted_].to_journal());
  Json entry = Json::object();
  entry.set("step", step);
  entry.set("tensors", std::move(tensors));
  entry.set("modules", std::move(modules));
  append(std::move(entry));
  if (!modules_.empty()) writer_.keep(true);
  finished_.insert(step);
}

void Steps::finish_part(const std::string& step, Json account) {
  if (journal_ == nullptr) return;
  writer_.sync_written();
  Json entry = Json::object();
  entry.set("step", step);
  entry.set("account", std::move(account));
  append(std::move(entry));
  writer_.keep(true);
}

void Steps::append(Json entry) {
  entry.set("read", log_.take_news());
  if (!journal_->begun()) journal_->begin(header_);
  journal_->append(entry);
}

std::string block_step(int64_t block) { return cat("block ", block); }

}  // namespace swage::pipeline
