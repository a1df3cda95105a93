// A model folder opened for running: reader, weights, model, tokenizer.
#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "swage/checkpoint/reader.h"
#include "swage/data/tokenizer.h"
#include "swage/format/weight_source.h"
#include "swage/model/model.h"
#include "swage/swage.h"

namespace swage::api {

struct ModelSession {
  ModelSession(const std::string& folder_or_id, const HubSettings& hub, const Context& context,
               format::KeptForm kept = format::KeptForm::Codes);

  const std::filesystem::path folder;
  const checkpoint::Reader reader;
  const format::CheckpointWeights weights;
  const std::unique_ptr<model::Model> model;
  const data::Tokenizer tokenizer;
};

}  // namespace swage::api
