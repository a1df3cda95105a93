// make_checkpoint: writes a checkpoint of real shapes and random bf16 weights, shard by shard, for measuring runs over
// files.
//   make_checkpoint FOLDER llama|qwen3_moe|deepseek_v3|gizmo GIGABYTES [SHARD_GIGABYTES [SEED [SHRINK]]]
// As many layers as GIGABYTES (10^9) hold. `gizmo` has the tensors of llama under a model_type that nobody knows;
// qwen3_moe keeps its experts in 3-D tensors. SHRINK divides all widths, for many small tensors. The same arguments
// give the same bytes. Only llama can be calibrated on (with a tokenizer put beside it); the others serve runs from the
// shards alone.
#include <fcntl.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "swage/base/error.h"
#include "swage/base/json.h"
#include "swage/io/file_descriptor.h"
#include "swage/io/safetensors.h"
#include "swage/io/shard_index.h"

namespace {

using namespace swage;
using Tensors = std::vector<io::TensorSpec>;

constexpr size_t kPieceBytes = 4 << 20;

struct Request {
  std::string folder, family;
  double bytes = 0, shard_bytes = 1e9;
  uint64_t seed = 1;
  int64_t shrink = 1;
};

struct Model {
  Json config = Json::object();
  Tensors ends;
  Tensors (*layer)(int64_t index, int64_t shrink) = nullptr;
};

uint64_t splitmix(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void add(Tensors& out, const std::string& name, std::vector<int64_t> shape) {
  out.push_back({name, io::Dtype::BF16, std::move(shape)});
}

void add_attention(Tensors& out, const std::string& layer, int64_t hidden, int64_t kv) {
  add(out, layer + "input_layernorm.weight", {hidden});
  add(out, layer + "post_attention_layernorm.weight", {hidden});
  add(out, layer + "self_attn.q_proj.weight", {hidden, hidden});
  add(out, layer + "self_attn.k_proj.weight", {kv, hidden});
  add(out, layer + "self_attn.v_proj.weight", {kv, hidden});
  add(out, layer + "self_attn.o_proj.weight", {hidden, hidden});
}

void add_mlp(Tensors& out, const std::string& mlp, int64_t hidden, int64_t inner) {
  add(out, mlp + "gate_proj.weight", {inner, hidden});
  add(out, mlp + "up_proj.weight", {inner, hidden});
  add(out, mlp + "down_proj.weight", {hidden, inner});
}

std::string layer_name(int64_t index) { return cat("model.layers.", index, "."); }

// Llama-2-7B.
Tensors llama_layer(int64_t index, int64_t shrink) {
  Tensors out;
  add_attention(out, layer_name(index), 4096 / shrink, 4096 / shrink);
  add_mlp(out, layer_name(index) + "mlp.", 4096 / shrink, 11008 / shrink);
  return out;
}

// Qwen3-30B-A3B: 128 experts, in two tensors a layer.
Tensors qwen3_moe_layer(int64_t index, int64_t shrink) {
  const int64_t hidden = 2048 / shrink, inner = 768 / shrink, experts = 128;
  Tensors out;
  add_attention(out, layer_name(index), hidden, 512 / shrink);
  add(out, layer_name(index) + "mlp.gate.weight", {experts, hidden});
  add(out, layer_name(index) + "mlp.experts.gate_up_proj", {experts, 2 * inner, hidden});
  add(out, layer_name(index) + "mlp.experts.down_proj", {experts, hidden, inner});
  return out;
}

// DeepSeek-V3: latent attention, 256 experts one by one and a shared one.
Tensors deepseek_layer(int64_t index, int64_t shrink) {
  const int64_t hidden = 7168 / shrink, inner = 2048 / shrink;
  const std::string layer = layer_name(index), attention = layer + "self_attn.", mlp = layer + "mlp.";
  Tensors out;
  add(out, layer + "input_layernorm.weight", {hidden});
  add(out, layer + "post_attention_layernorm.weight", {hidden});
  add(out, attention + "q_a_proj.weight", {1536 / shrink, hidden});
  add(out, attention + "q_a_layernorm.weight", {1536 / shrink});
  add(out, attention + "q_b_proj.weight", {24576 / shrink, 1536 / shrink});
  add(out, attention + "kv_a_proj_with_mqa.weight", {576 / shrink, hidden});
  add(out, attention + "kv_a_layernorm.weight", {512 / shrink});
  add(out, attention + "kv_b_proj.weight", {32768 / shrink, 512 / shrink});
  add(out, attention + "o_proj.weight", {hidden, 16384 / shrink});
  add(out, mlp + "gate.weight", {256, hidden});
  for (int e = 0; e < 256; ++e) add_mlp(out, cat(mlp, "experts.", e, "."), hidden, inner);
  add_mlp(out, mlp + "shared_experts.", hidden, inner);
  return out;
}

// What a forward pass needs to know of llama: heads of 128 columns, fewer of them in a narrower model.
void describe_llama(int64_t hidden, int64_t shrink, Json& config) {
  config.set("architectures", Json(Json::Array{"LlamaForCausalLM"}));
  config.set("intermediate_size", 11008 / shrink);
  for (const char* heads : {"num_attention_heads", "num_key_value_heads"})
    config.set(heads, std::max<int64_t>(1, hidden / 128));
  config.set("hidden_act", "silu");
  config.set("max_position_embeddings", int64_t(4096));
  config.set("rms_norm_eps", 1e-5);
  config.set("rope_theta", 10000.0);
}

Model model_of(const Request& request) {
  const bool moe = request.family == "qwen3_moe", deepseek = request.family == "deepseek_v3";
  SWAGE_CHECK(moe || deepseek || request.family == "llama" || request.family == "gizmo", InvalidArgument,
              "unknown family ", request.family);
  const int64_t hidden = (deepseek ? 7168 : moe ? 2048 : 4096) / request.shrink;
  Model model;
  model.layer = deepseek ? deepseek_layer : moe ? qwen3_moe_layer : llama_layer;
  add(model.ends, "model.embed_tokens.weight", {32000, hidden});
  add(model.ends, "model.norm.weight", {hidden});
  add(model.ends, "lm_head.weight", {32000, hidden});
  model.config.set("model_type", request.family);
  model.config.set("hidden_size", hidden);
  model.config.set("tie_word_embeddings", false);
  model.config.set("torch_dtype", "bfloat16");
  model.config.set("vocab_size", int64_t(32000));
  if (!moe && !deepseek) describe_llama(hidden, request.shrink, model.config);
  return model;
}

uint64_t bytes_of(const Tensors& tensors) {
  uint64_t sum = 0;
  for (const io::TensorSpec& spec : tensors) sum += io::data_bytes(spec);
  return sum;
}

// 2^16 bf16 numbers of a normal distribution with deviation 0.02; a random index draws one.
std::vector<uint16_t> normal_table() {
  std::vector<uint16_t> table(1 << 16);
  uint64_t state = 7;
  for (uint16_t& entry : table) {
    double sum = -6;  // of twelve uniform numbers
    for (int i = 0; i < 12; ++i) sum += double(splitmix(state) >> 11) * 0x1p-53;
    const float value = float(sum * 0.02);
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    entry = uint16_t(bits >> 16);
  }
  return table;
}

void write_shard(const std::filesystem::path& path, const Tensors& tensors, const std::vector<uint16_t>& normal,
                 uint64_t& state) {
  const io::FileDescriptor file(path, O_WRONLY | O_CREAT | O_TRUNC);
  const std::string header = io::safetensors_header(tensors, {{"format", "pt"}});
  file.write_at(header, 0);
  uint64_t at = header.size(), left = bytes_of(tensors);
  std::vector<uint16_t> piece(kPieceBytes / 2);
  while (left > 0) {
    for (size_t i = 0; i < piece.size(); i += 4) {
      const uint64_t draw = splitmix(state);
      for (int k = 0; k < 4; ++k) piece[i + size_t(k)] = normal[(draw >> (16 * k)) & 0xFFFF];
    }
    const uint64_t count = std::min<uint64_t>(left, kPieceBytes);
    file.write_at({reinterpret_cast<const char*>(piece.data()), count}, at);
    at += count;
    left -= count;
  }
}

void make(const Request& request) {
  Model model = model_of(request);
  const uint64_t layer_bytes = bytes_of(model.layer(0, request.shrink)), end_bytes = bytes_of(model.ends);
  const int64_t layers = std::max<int64_t>(1, std::llround((request.bytes - double(end_bytes)) / double(layer_bytes)));
  std::vector<Tensors> shards(1);
  uint64_t filled = 0;
  const auto place = [&](const Tensors& tensors) {
    for (const io::TensorSpec& spec : tensors) {
      const uint64_t bytes = io::data_bytes(spec);
      if (filled > 0 && double(filled + bytes) > request.shard_bytes) {
        shards.emplace_back();
        filled = 0;
      }
      shards.back().push_back(spec);
      filled += bytes;
    }
  };
  place(model.ends);
  for (int64_t i = 0; i < layers; ++i) place(model.layer(i, request.shrink));
  model.config.set("num_hidden_layers", layers);
  const std::filesystem::path folder = request.folder;
  std::filesystem::create_directories(folder);
  io::FileDescriptor(folder / "config.json", O_WRONLY | O_CREAT | O_TRUNC).write_at(model.config.dump(2) + "\n", 0);
  const std::vector<uint16_t> normal = normal_table();
  uint64_t state = request.seed, total = 0;
  io::ShardIndex index;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = io::shard_name(i + 1, shards.size());
    write_shard(folder / name, shards[i], normal, state);
    total += bytes_of(shards[i]);
    for (const io::TensorSpec& spec : shards[i]) index.weight_map.emplace_back(spec.name, name);
  }
  if (shards.size() > 1) {
    io::FileDescriptor(folder / io::kIndexFileName, O_WRONLY | O_CREAT | O_TRUNC)
        .write_at(io::shard_index_text(index, total), 0);
  }
  std::printf("%s: %lld layers, %zu shards, %.3f GB\n", request.folder.c_str(), static_cast<long long>(layers),
              shards.size(), double(total) * 1e-9);
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 4) {
    std::fprintf(stderr,
                 "usage: make_checkpoint FOLDER llama|qwen3_moe|deepseek_v3|gizmo GIGABYTES [SHARD_GIGABYTES [SEED "
                 "[SHRINK]]]\n");
    return 2;
  }
  Request request{arguments[1], arguments[2], std::atof(arguments[3]) * 1e9};
  if (count > 4) request.shard_bytes = std::atof(arguments[4]) * 1e9;
  if (count > 5) request.seed = std::strtoull(arguments[5], nullptr, 10);
  if (count > 6) request.shrink = std::max<int64_t>(1, std::atoll(arguments[6]));
  try {
    make(request);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "make_checkpoint: %s\n", e.what());
    return 1;
  }
  return 0;
}
