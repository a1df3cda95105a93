// One function per architecture: config.json -> ModelProgram. Listed in arch_table.cpp.
#pragma once
#include "swage/checkpoint/weight_source.h"
#include "swage/graph/program.h"
#include "swage/model/config_fields.h"

namespace swage::model {

graph::ModelProgram describe_afmoe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_apertus(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_arcee(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_bamba(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_bitnet(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_bloom(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_codegen(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_cohere(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_cohere2(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_deepseek_v2(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_deepseek_v3(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_deepseek_v32(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_dots1(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_ernie4_5(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_ernie4_5_moe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_exaone4(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_exaone_moe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_falcon(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_falcon_h1(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_falcon_mamba(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_flex_olmo(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gemma(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gemma2(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gemma3(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gemma3_text(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gemma3n(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gemma3n_text(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gemma4_text(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_glm(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_glm4(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_glm4_moe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_glm4_moe_lite(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_glm_moe_dsa(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gpt2(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gpt_bigcode(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gpt_neo(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gpt_neox(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gpt_oss(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_gptj(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_granite(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_granitemoe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_granitemoehybrid(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_helium(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_hunyuan_v1_dense(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_hunyuan_v1_moe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_jamba(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_kimi_linear(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_lfm2(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_lfm2_moe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_llama(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_llama4(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_llama4_text(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_llava(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_mamba(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_mamba2(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_minicpm3(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_minimax(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_minimax_m2(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_ministral(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_ministral3(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_mistral(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_mistral3(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_mistral4(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_mixtral(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_mllama(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_mpt(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_nemotron(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_nemotron_h(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_olmo(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_olmo2(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_olmo3(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_olmo_hybrid(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_olmoe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_opt(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_phi(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_phi3(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_phimoe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen2(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen2_moe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen2_vl(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen3(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen3_5(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen3_5_moe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen3_5_moe_text(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen3_5_text(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen3_moe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen3_next(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen3_vl(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_qwen3_vl_moe(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_seed_oss(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_smollm3(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_solar_open(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_stablelm(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_starcoder2(const ConfigFields& config, const checkpoint::WeightSource& weights);
graph::ModelProgram describe_zamba2(const ConfigFields& config, const checkpoint::WeightSource& weights);

}  // namespace swage::model
