// Configs and checkpoints that make no sense, and what the errors say.
#include "swage/model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "swage/base/error.h"
#include "swage/model/cached_sequence_test_support.h"
#include "swage/model/config_fields.h"
#include "swage/model/parity_test_support.h"

namespace swage::model {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

Json config_of(const std::string& folder) {
  return parse_json(read_text(parity_folder(folder) / "config.hub.json"), "config.json");
}

Error error_of(const Json& config, const MapSource& weights = MapSource({})) {
  try {
    make_model(config, weights);
  } catch (const Error& e) {
    return e;
  }
  return Error(ErrorKind::Internal, "no error");
}

void expect_error(Json config, const std::string& key, Json value, ErrorKind kind, const std::string& mentions) {
  config.set(key, std::move(value));
  const Error e = error_of(config);
  EXPECT_EQ(e.kind(), kind) << key << ": " << e.what();
  EXPECT_THAT(e.what(), HasSubstr(mentions));
}

TEST(MakeModel, UnknownModelTypeNamesItAndTheSupportedOnes) {
  Json config = config_of("llama32_tied");
  config.set("model_type", "frobnicate");
  const Error e = error_of(config);
  EXPECT_EQ(e.kind(), ErrorKind::Unsupported);
  EXPECT_THAT(e.what(), AllOf(HasSubstr("frobnicate"), HasSubstr("llama, ")));
  for (const char* known : {"cohere", "deepseek_v3", "gpt_neox", "llama", "opt", "phi3", "qwen3_moe"})
    EXPECT_THAT(supported_model_types(), testing::Contains(known));
}

TEST(MakeModel, ConfigThatIsNoObjectOrHasNoModelType) {
  EXPECT_EQ(error_of(Json::array()).kind(), ErrorKind::CorruptData);
  EXPECT_EQ(error_of(Json::object()).kind(), ErrorKind::CorruptData);
  EXPECT_THAT(error_of(Json::object()).what(), HasSubstr("model_type"));
}

TEST(MakeModel, EverySizeIsChecked) {
  const Json config = config_of("llama32_tied");
  for (const char* key : {"hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size",
                          "vocab_size", "num_hidden_layers", "head_dim", "max_position_embeddings"}) {
    for (const Json& bad :
         std::vector<Json>{Json(0), Json(-4), Json(int64_t{1} << 62), Json("many"), Json(2.5), Json::array()}) {
      expect_error(config, key, bad, ErrorKind::CorruptData, key);
    }
  }
  for (const char* key :
       {"hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}) {
    expect_error(config, key, nullptr, ErrorKind::CorruptData, std::string(key) + " is missing");
  }
}

TEST(MakeModel, OtherFieldsAreChecked) {
  const Json llama = config_of("llama32_tied");
  expect_error(llama, "num_key_value_heads", 3, ErrorKind::CorruptData, "multiple of num_key_value_heads");
  expect_error(llama, "rms_norm_eps", -1.0, ErrorKind::CorruptData, "rms_norm_eps");
  expect_error(llama, "rms_norm_eps", "small", ErrorKind::CorruptData, "rms_norm_eps");
  expect_error(llama, "attention_bias", "yes", ErrorKind::CorruptData, "attention_bias");
  expect_error(llama, "hidden_act", 7, ErrorKind::CorruptData, "hidden_act");
  expect_error(llama, "hidden_act", "sine", ErrorKind::Unsupported, "sine");
  expect_error(llama, "partial_rotary_factor", 0.5, ErrorKind::Unsupported, "partial_rotary_factor");
  expect_error(llama, "head_dim", 7, ErrorKind::CorruptData, "head_dim");
  expect_error(llama, "rope_theta", 0.5, ErrorKind::CorruptData, "rope_theta");
  Json heads = llama;
  heads.set("head_dim", nullptr);
  expect_error(heads, "hidden_size", 33, ErrorKind::CorruptData, "hidden_size");
  Json wide = llama;
  wide.set("head_dim", 65536);
  wide.set("num_key_value_heads", 1);
  expect_error(wide, "num_attention_heads", 65536, ErrorKind::CorruptData, "too large");
  const Json qwen = config_of("qwen3");
  expect_error(qwen, "layer_types", Json::Array{"full_attention"}, ErrorKind::CorruptData, "layer_types");
  expect_error(qwen, "layer_types", Json::Array{1, 2, 3}, ErrorKind::CorruptData, "layer_types");
  expect_error(qwen, "layer_types", Json::Array{"full_attention", "full_attention", "chunked"}, ErrorKind::Unsupported,
               "chunked");
}

TEST(MakeModel, RopeScalingIsChecked) {
  const Json llama = config_of("llama32_tied");
  const auto scaling = [&](Json::Object fields) {
    Json config = llama;
    config.set("rope_scaling", Json(std::move(fields)));
    return error_of(config);
  };
  EXPECT_EQ(scaling({{"rope_type", "spiral"}, {"factor", 2.0}}).kind(), ErrorKind::Unsupported);
  EXPECT_THAT(scaling({{"type", "spiral"}}).what(), HasSubstr("spiral"));
  EXPECT_THAT(scaling({{"type", "linear"}}).what(), HasSubstr("factor"));
  EXPECT_THAT(scaling({{"type", "yarn"}, {"factor", 2.0}, {"beta_fast", -1}}).what(), HasSubstr("beta_fast"));
  EXPECT_THAT(scaling({{"type", "llama3"}, {"factor", 2.0}, {"high_freq_factor", 0.5}}).what(),
              HasSubstr("high_freq_factor"));
  EXPECT_THAT(scaling({{"type", "default"}, {"partial_rotary_factor", 0.5}}).what(),
              HasSubstr("partial_rotary_factor"));
  expect_error(llama, "rope_scaling", "yarn", ErrorKind::CorruptData, "rope_scaling");
  Json endless = llama;
  endless.set("max_position_embeddings", nullptr);
  expect_error(endless, "rope_scaling", Json(Json::Object{{"type", "dynamic"}, {"factor", 2.0}}),
               ErrorKind::CorruptData, "max_position_embeddings");
  Json tiny = llama;
  tiny.set("head_dim", 2);
  expect_error(tiny, "rope_scaling", Json(Json::Object{{"type", "dynamic"}, {"factor", 2.0}}), ErrorKind::CorruptData,
               "head_dim");
}

TEST(MakeModel, MixturesAreChecked) {
  const Json mixtral = config_of("mixtral");
  expect_error(mixtral, "num_experts_per_tok", 5, ErrorKind::CorruptData, "num_experts_per_tok");
  expect_error(mixtral, "num_local_experts", 0, ErrorKind::CorruptData, "num_local_experts");
  Json deep = mixtral;
  deep.set("num_hidden_layers", 4096);
  expect_error(deep, "num_local_experts", 16384, ErrorKind::CorruptData, "too large");
  Json qwen = mixtral;
  qwen.set("model_type", "qwen3_moe");
  qwen.set("moe_intermediate_size", 24);
  expect_error(qwen, "mlp_only_layers", "first", ErrorKind::CorruptData, "mlp_only_layers");
  expect_error(qwen, "mlp_only_layers", Json::Array{"one"}, ErrorKind::CorruptData, "mlp_only_layers");
}

TEST(MakeModel, OptIsChecked) {
  const Json opt = config_of("opt");
  expect_error(opt, "num_attention_heads", 5, ErrorKind::CorruptData, "num_attention_heads");
  expect_error(opt, "ffn_dim", 0, ErrorKind::CorruptData, "ffn_dim");
  expect_error(opt, "layer_norm_elementwise_affine", false, ErrorKind::Unsupported, "layer_norm_elementwise_affine");
}

TEST(MakeModel, SmolLm3LayersWithoutRope) {
  Json smol = config_of("llama32_tied");
  smol.set("model_type", "smollm3");
  expect_error(smol, "no_rope_layers", Json::Array{1, 0}, ErrorKind::CorruptData, "no_rope_layers");
  expect_error(smol, "no_rope_layers", Json::Array{"a", "b", "c"}, ErrorKind::CorruptData, "no_rope_layers");
}

class TinyModel : public testing::Test {
 protected:
  void SetUp() override {
    weights_ = std::make_unique<MapSource>(read_safetensors(parity_folder("llama32_tied") / "model.safetensors"));
    model_ = make_model(config_of("llama32_tied"), *weights_);
  }
  std::unique_ptr<MapSource> weights_;
  std::unique_ptr<Model> model_;
};

TEST_F(TinyModel, AbsentAndMisshapenTensorsAreNamed) {
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  weights_->tensors[name] = at::zeros({64, 31});
  try {
    model_->load_block(1, *weights_);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::CorruptData);
    EXPECT_THAT(e.what(), AllOf(HasSubstr(name), HasSubstr(": the config says shape [64, 32]"), HasSubstr("[64, 31]")));
  }
  weights_->tensors.erase(name);
  try {
    model_->load_block(1, *weights_);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::CorruptData);
    EXPECT_THAT(e.what(), AllOf(HasSubstr(name), HasSubstr("which the checkpoint does not have")));
  }
}

TEST_F(TinyModel, InputQuantizationReachesTheLinears) {
  scheme::QuantizationArgs args;
  args.strategy = scheme::Strategy::Token;
  args.dynamic = scheme::Dynamic::Yes;
  weights_->inputs["model.layers.0.mlp.down_proj"] = args;
  const auto block = model_->load_block(0, *weights_);
  EXPECT_EQ(block->linears.back().input_quantization.value().args, args);
  EXPECT_FALSE(block->linears.front().input_quantization.has_value());
  weights_->inputs["model.layers.0.mlp.down_proj"].dynamic = scheme::Dynamic::No;
  EXPECT_THROW(model_->load_block(0, *weights_), Error);
}

// Scales from the observed range, one a head: keys and values move by an e4m3 rounding, 2^-4, and the output a little;
// with a cache the same numbers come out.
TEST_F(TinyModel, CacheQuantizationRoundsKeysAndValues) {
  const auto block = model_->load_block(0, *weights_);
  at::manual_seed(3);
  const at::Tensor hidden_TD = at::randn({7, model_->hidden_size()});
  const auto run = [&](const Block& with, const Batch* batch, AttentionStates* states) {
    Flow flow{.hidden_TD = hidden_TD.clone()};
    flow.batch = batch;
    flow.attention_states = states;
    with.forward(flow);
    return flow.hidden_TD;
  };
  AttentionStates states;
  const at::Tensor plain_TD = run(*block, nullptr, &states);
  scheme::QuantizationArgs args;
  args.type = scheme::NumberType::Float;
  args.strategy = scheme::Strategy::AttnHead;
  weights_->cache = args;
  weights_->tensors["model.layers.0.self_attn.k_scale"] = states.key_GTE.abs().amax({1, 2}, true) / 448;
  EXPECT_THROW(model_->load_block(0, *weights_), Error);  // no v_scale
  weights_->tensors["model.layers.0.self_attn.v_scale"] = states.value_GTE.abs().amax({1, 2}, true) / 448;
  const auto quantized = model_->load_block(0, *weights_);
  const at::Tensor rounded_TD = run(*quantized, nullptr, nullptr);
  EXPECT_GT(relative_error(rounded_TD, plain_TD), 1e-5);
  EXPECT_LT(relative_error(rounded_TD, plain_TD), 0.0625);
  CachedSequence sequence(*model_);
  sequence.reserve(7);
  const Batch batch{&sequence.layout, {{0, 7, 0, 7, &sequence.cache}}};
  EXPECT_LE(relative_error(run(*quantized, &batch, nullptr), rounded_TD), 1e-6);
  weights_->tensors["model.layers.0.self_attn.k_scale"] = at::ones({3});
  EXPECT_THROW(model_->load_block(0, *weights_), Error);
}

// The same for queries alone.
TEST_F(TinyModel, QueriesAreRoundedByTheirScales) {
  at::manual_seed(4);
  const at::Tensor hidden_TD = at::randn({6, model_->hidden_size()});
  const auto run = [&](AttentionStates* states) {
    Flow flow{.hidden_TD = hidden_TD.clone()};
    flow.attention_states = states;
    model_->load_block(0, *weights_)->forward(flow);
    return flow.hidden_TD;
  };
  AttentionStates states;
  const at::Tensor plain_TD = run(&states);
  const int64_t heads = states.query_HTE.size(0);
  scheme::QuantizationArgs args;
  args.type = scheme::NumberType::Float;
  args.strategy = scheme::Strategy::AttnHead;
  weights_->inputs["model.layers.0.self_attn"] = args;
  EXPECT_THROW(run(nullptr), Error);  // no q_scale
  weights_->tensors["model.layers.0.self_attn.q_scale"] = at::ones({heads - 1, 1, 1});
  EXPECT_THROW(run(nullptr), Error);  // not one a head
  weights_->tensors["model.layers.0.self_attn.q_scale"] = states.query_HTE.abs().amax({1, 2}, true) / 448;
  const at::Tensor rounded_TD = run(nullptr);
  EXPECT_GT(relative_error(rounded_TD, plain_TD), 1e-6);
  EXPECT_LT(relative_error(rounded_TD, plain_TD), 0.0625);  // an e4m3 number is within 2^-4 of what it stands for
  weights_->tensors["model.layers.0.self_attn.q_scale"] =
      at::full({heads, 1, 1}, 1e9);  // all queries become 0, as with a projection of zeros
  const at::Tensor mean_TD = run(nullptr);
  weights_->inputs.clear();
  weights_->tensors["model.layers.0.self_attn.q_proj.weight"] =
      at::zeros_like(weights_->tensors["model.layers.0.self_attn.q_proj.weight"]);
  EXPECT_LE(relative_error(mean_TD, run(nullptr)), 1e-6);
}

TEST_F(TinyModel, TiedHeadIsTheEmbedding) {
  EXPECT_TRUE(model_->tied_embeddings());
  EXPECT_EQ(model_->modules().back().name, "lm_head");
  model_->load_ends(*weights_);
  weights_->tensors.clear();
  const at::Tensor hidden_TD = model_->embed(at::arange(4), 0);
  EXPECT_EQ(model_->logits(hidden_TD).sizes(), at::IntArrayRef({4, 128}));
}

TEST_F(TinyModel, BadIdsAndBlocksAreRefused) {
  model_->load_ends(*weights_);
  EXPECT_THROW(model_->embed(at::full({2}, 128, at::kLong), 0), Error);
  EXPECT_THROW(model_->embed(at::full({2}, -1, at::kLong), 0), Error);
  EXPECT_THROW(model_->embed(at::zeros({0}, at::kLong), 0), Error);
  EXPECT_THROW(model_->load_block(3, *weights_), Error);
  EXPECT_THROW(model_->tensors_of_block(-1), Error);
  model_->drop_ends();
  EXPECT_THROW(model_->embed(at::arange(4), 0), Error);
  EXPECT_THROW(model_->logits(at::zeros({4, 32})), Error);
}

TEST_F(TinyModel, ACacheWithoutRoomIsRefused) {
  const auto block = model_->load_block(0, *weights_);
  CachedSequence sequence(*model_);
  sequence.reserve(16);
  const Batch batch{&sequence.layout, {{0, 2, 15, 17, &sequence.cache}}};
  Flow flow{.hidden_TD = at::randn({2, 32}), .batch = &batch};
  EXPECT_THROW(block->forward(flow), Error);
}

// What encoders do not run is refused by the field, and what makes no sense too.
TEST(Encoders, RefuseByField) {
  struct Case {
    const char *folder, *key, *value, *message;
    ErrorKind kind;
  };
  const ErrorKind unsupported = ErrorKind::Unsupported, corrupt = ErrorKind::CorruptData;
  for (const Case& one : std::vector<Case>{
           {"bert", "is_decoder", "true", "is_decoder", unsupported},
           {"bert", "position_embedding_type", "\"relative_key\"", "position_embedding_type", unsupported},
           {"deberta_v2_conv", "relative_attention", "false", "relative_attention", unsupported},
           {"deberta_v2_conv", "conv_kernel_size", "4", "conv_kernel_size", unsupported},
           {"deberta_v2_conv", "conv_groups", "2", "conv_groups", unsupported},
           {"deberta_v2_conv", "embedding_size", "16", "embedding_size", unsupported},
           {"deberta_v2_conv", "pos_att_type", "{}", "pos_att_type must be", corrupt},
           {"deberta_v2_conv", "position_buckets", "200", "position_buckets 200", corrupt},
           {"t5", "relative_attention_num_buckets", "6", "relative_attention_num_buckets 6", corrupt},
           {"t5", "decoder_start_token_id", "128", "decoder_start_token_id", corrupt},
       }) {
    const auto folder = parity_folder(one.folder);
    const MapSource weights(read_safetensors(folder / "model.safetensors"));
    Json config = parse_json(read_text(folder / "config.json"), "config.json");
    config.set(one.key, parse_json(one.value, "value"));
    try {
      make_model(config, weights);
      ADD_FAILURE() << one.key;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), one.kind) << e.what();
      EXPECT_THAT(e.what(), HasSubstr(one.message));
    }
  }
}

TEST(Encoders, HeadsAndTypesThatDoNotFitAreRefused) {
  Json roberta = parse_json(R"({"model_type": "roberta", "hidden_size": 32, "num_attention_heads": 4,
    "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 128, "max_position_embeddings": 8,
    "pad_token_id": 9})",
                            "config.json");
  EXPECT_THROW(make_model(roberta, MapSource({})), Error);
  Json distilbert = parse_json(R"({"model_type": "distilbert", "dim": 32, "n_heads": 5, "hidden_dim": 64, "n_layers": 1,
    "vocab_size": 128, "max_position_embeddings": 8})",
                               "config.json");
  EXPECT_THROW(make_model(distilbert, MapSource({})), Error);
  Json bart = parse_json(R"({"model_type": "bart", "d_model": 32, "encoder_attention_heads": 5, "encoder_ffn_dim": 64,
    "encoder_layers": 1, "vocab_size": 128, "max_position_embeddings": 8})",
                         "config.json");
  EXPECT_THROW(make_model(bart, MapSource({})), Error);
}

TEST(LearnedPositions, EndWithTheTable) {
  const auto folder = parity_folder("opt");
  const MapSource weights(read_safetensors(folder / "model.safetensors"));
  const auto model = make_model(parse_json(read_text(folder / "config.json"), "config.json"), weights);
  model->load_ends(weights);
  EXPECT_EQ(model->max_positions(), 64);
  EXPECT_NO_THROW(model->embed(at::zeros({1}, at::kLong), 63));
  EXPECT_THROW(model->embed(at::zeros({2}, at::kLong), 63), Error);
}

}  // namespace
}  // namespace swage::model
