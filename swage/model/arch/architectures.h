// One function per architecture: config.json -> ModelDescription. Listed in arch_table.cpp.
#pragma once
#include "swage/checkpoint/weight_source.h"
#include "swage/model/config_fields.h"
#include "swage/model/description.h"

namespace swage::model {

ModelDescription describe_llama(const ConfigFields& config, const checkpoint::WeightSource& weights);
ModelDescription describe_mistral(const ConfigFields& config, const checkpoint::WeightSource& weights);
ModelDescription describe_qwen2(const ConfigFields& config, const checkpoint::WeightSource& weights);
ModelDescription describe_qwen3(const ConfigFields& config, const checkpoint::WeightSource& weights);
ModelDescription describe_smollm3(const ConfigFields& config, const checkpoint::WeightSource& weights);
ModelDescription describe_mixtral(const ConfigFields& config, const checkpoint::WeightSource& weights);
ModelDescription describe_qwen3_moe(const ConfigFields& config, const checkpoint::WeightSource& weights);
ModelDescription describe_opt(const ConfigFields& config, const checkpoint::WeightSource& weights);

}  // namespace swage::model
