// Programs as text, for people: "swage inspect --program".
#include <algorithm>
#include <map>

#include "swage/base/error.h"
#include "swage/graph/program.h"

namespace swage::graph {
namespace {

std::string_view name_of(Activation activation) {
  constexpr std::string_view kNames[] = {"relu",    "relu^2",   "silu",        "gelu", "gelu(tanh)",
                                         "sigmoid", "identity", "gelu(quick)", "tanh", "xielu"};
  return kNames[size_t(activation)];
}

std::string text_of(const Gating& gating) {
  return cat(name_of(gating.activation), gating.limit > 0 ? cat(", up to ", gating.limit) : std::string(),
             gating.up_offset != 0 ? cat(", up + ", gating.up_offset) : std::string());
}

// Lines of one block.
class Printer {
 public:
  explicit Printer(const BlockProgram& block) : block_(block) {}

  std::string text() {
    for (const Node& node : block_.nodes) std::visit([&](const auto& one) { print(one); }, node);
    return std::move(out_);
  }

 private:
  std::string value(Value value) const { return value == kStream ? "stream" : cat("v", value); }
  template <class... T>
  void line(Value out, const T&... words) {
    out_ += cat("  ", value(out), " [", block_.values[size_t(out)].width, "] = ", words..., "\n");
  }

  static std::string rest_of(const NormSpec& norm) {
    return cat(norm.heads > 0 ? cat(", a weight for each of ", norm.heads, " heads") : std::string(),
               norm.offset != 0 ? cat(", weight + ", norm.offset) : std::string(), norm.weight ? "" : ", no weight",
               norm.bias ? ", bias" : "");
  }

  void print(const NormNode& node) {
    line(node.out, node.norm.kind == NormKind::Rms ? "rms_norm(" : "layer_norm(", value(node.in), ") by ",
         node.norm.size, rest_of(node.norm), "   ", node.norm.name);
  }
  void print(const LinearNode& node) {
    const LinearSpec& linear = block_.linears[size_t(node.linear)];
    line(node.out, "linear(", value(node.in), ") as ", text_of(linear.role), linear.bias ? ", bias" : "", "   ",
         linear.name);
  }
  void print(const SplitNode& node) {
    std::string names, sizes;
    for (size_t i = 0; i < node.out.size(); ++i) {
      names += cat(i == 0 ? "" : ", ", value(node.out[i]));
      sizes += cat(i == 0 ? "" : ", ", node.sizes[i]);
    }
    out_ += cat("  ", names, " = split(", value(node.in), ") into ", sizes,
                node.groups > 1 ? cat(", ", node.groups, " times") : std::string(), "\n");
  }
  void print(const JoinNode& node) {
    std::string names;
    for (size_t i = 0; i < node.in.size(); ++i) names += cat(i == 0 ? "" : ", ", value(node.in[i]));
    line(node.out, "join(", names, ") in ", node.heads, " heads");
  }
  void print(const RopeNode& node) {
    line(node.out, "rope(", value(node.in), ") in ", node.heads, " heads, table ", node.table,
         node.first > 0 ? cat(", from ", node.first, " on") : std::string());
  }
  void print(const AttentionNode& node) {
    line(node.out, node.causal ? "attention(" : "attention both ways(", value(node.query), ", ", value(node.key), ", ",
         value(node.value), ") of ", node.heads, " heads on ", node.kv_heads, ", scale ", node.scale,
         node.window > 0 ? cat(", window ", node.window) : std::string(),
         node.index_count > 0 ? cat(", of the best ", node.index_count) : std::string(),
         node.chunk > 0 ? cat(", chunks of ", node.chunk) : std::string(),
         node.softcap > 0 ? cat(", soft cap ", node.softcap) : std::string(), node.alibi != 0 ? ", alibi" : "",
         node.sinks.empty() ? "" : ", sinks",
         node.relative ? cat(", bias of ", node.relative->buckets, " distances") : std::string(),
         node.disentangled ? cat(", disentangled, ", 2 * node.disentangled->span, " distances") : std::string(), "   ",
         node.name);
  }
  void print(const ConvolutionNode& node) {
    line(node.out, name_of(node.activation), "(convolution(", value(node.in), ") over ", node.kernel, " tokens)",
         node.bias ? ", bias" : "", "   ", node.parts[0].name);
  }
  void print(const NeighbourNode& node) {
    line(node.out, name_of(node.activation), "(convolution(", value(node.in), ") over ", node.kernel,
         " neighbours, bias)   ", node.name);
  }
  void print(const RecurrenceNode& node) {
    line(node.out, node.delta ? "delta rule(" : "recurrence(", value(node.query), ", ", value(node.key), ", ",
         value(node.value), node.gate >= 0 ? ", " + value(node.gate) : std::string(),
         node.beta >= 0 ? ", " + value(node.beta) : std::string(), ") of ", node.heads, " heads, states of ",
         node.key_size, " x ", node.value_size, "   ", node.rates);
  }
  void print(const ActivateNode& node) { line(node.out, name_of(node.activation), "(", value(node.in), ")"); }
  void print(const GateNode& node) {
    line(node.out, text_of(node.gating), "(", value(node.gate), ") * ", value(node.up));
  }
  void print(const SliceNode& node) { line(node.out, value(node.in), " from ", node.first, " on"); }
  void print(const WriteNode& node) { out_ += cat("  stream from ", node.first, " on = ", value(node.in), "\n"); }
  void print(const SourceNode& node) { line(node.out, "the source's rows"); }
  void print(const MultiplyNode& node) { line(node.out, value(node.in), " * ", node.name); }
  void print(const ScaleNode& node) { line(node.out, value(node.in), " * ", node.factor); }
  void print(const PositionScaleNode& node) {
    line(node.out, value(node.in), " * (1 + ", node.scale, " log(1 + floor((position + ", node.offset, ") / ",
         node.period, ")))");
  }
  void print(const CutNode& node) {
    line(node.out, "relu(", value(node.in), " - mean - ", node.deviations, " deviations)");
  }
  void print(const MatchNode& node) {
    line(node.out, value(node.in), " * rms(", value(node.like), ") / rms(", value(node.in), ")");
  }
  void print(const ClampNode& node) { line(node.out, "clamp(", value(node.in), ") to ", node.limit); }
  void print(const SumNode& node) {
    std::string names;
    for (size_t i = 0; i < node.in.size(); ++i) names += cat(i == 0 ? "" : " + ", value(node.in[i]));
    line(node.out, names);
  }
  void print(const AddNode& node) { out_ += cat("  stream += ", value(node.in), "\n"); }
  void print(const ExpertsNode& node) {
    constexpr std::string_view kKinds[] = {"softmax", "sigmoid", "mixer"};
    line(node.out, "experts(", value(node.in), ", routed by ", value(node.router_in), "): ", node.top_k, " of ",
         node.experts.size(), " by ", kKinds[size_t(node.kind)],
         node.groups > 1 ? cat(", from ", node.top_groups, " of ", node.groups, " groups") : std::string(),
         node.router_bias.empty() ? "" : ", bias for the choice", node.renormalise ? ", renormalised" : "",
         node.factor != 1 ? cat(", times ", node.factor) : std::string(), ", ", text_of(node.gating),
         node.weighs_input ? ", on weighted inputs" : "", "   ", node.router.name);
  }

  const BlockProgram& block_;
  std::string out_;
};

// The text with layer numbers taken out, by which blocks are alike.
std::string without_number(std::string text, const std::string& number) {
  const std::string with = "." + number + ".";
  for (size_t at = text.find(with); at != std::string::npos; at = text.find(with, at + 1))
    text.replace(at, with.size(), ".N.");
  return text;
}

std::string text_of_norm(const NormSpec& norm) {
  return cat(norm.kind == NormKind::Rms ? "rms_norm" : "layer_norm", "   ", norm.name, "\n");
}

std::string text_of(const RopeSpec& rope) {
  constexpr std::string_view kKinds[] = {"default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional"};
  return cat(kKinds[size_t(rope.kind)], ", ", rope.size, " numbers of a head, theta ", rope.theta,
             rope.interleaved ? ", interleaved" : "");
}

// Blocks that are alike but for their number, once.
std::string text_of_blocks(const std::vector<BlockProgram>& blocks) {
  std::vector<std::pair<std::string, std::vector<size_t>>> kinds;
  for (size_t b = 0; b < blocks.size(); ++b) {
    const std::string text = without_number(Printer(blocks[b]).text(), std::to_string(b));
    const auto same = std::find_if(kinds.begin(), kinds.end(), [&](const auto& kind) { return kind.first == text; });
    if (same == kinds.end())
      kinds.push_back({text, {b}});
    else
      same->second.push_back(b);
  }
  std::string out;
  for (const auto& [text, alike] : kinds) {
    out += alike.size() == 1 ? "layer" : "layers";
    for (const size_t b : alike) out += cat(b == alike[0] ? " " : ", ", b);
    out += ":\n" + text;
  }
  return out;
}

}  // namespace

std::string text_of(const BlockProgram& block) { return Printer(block).text(); }

namespace {

// What enters the first block, a line a part.
std::string text_of_embedding(const ModelProgram& model) {
  std::string out =
      cat("stream [", model.hidden_size, "] = embedding [", model.embedding.rows, ", ", model.embedding.columns, "]",
          model.embedding_scale != 1 ? cat(" * ", model.embedding_scale) : std::string(), "   ", model.embedding.name,
          "\n");
  if (model.positions) out += cat("stream += positions   ", model.positions->name, "\n");
  if (model.token_types) out += cat("stream += token types   ", model.token_types->name, "\n");
  if (model.embedding_norm) out += text_of_norm(*model.embedding_norm);
  if (model.project_in) out += cat("linear   ", model.project_in->name, "\n");
  return out;
}

std::string text_of_head(const ModelProgram& model) {
  if (model.head.rows == 0) return "no head\n";
  std::string out = model.head_transform ? "before the head:\n" + Printer(*model.head_transform).text() : std::string();
  return out + cat("head [", model.head.rows, ", ", model.head.columns, "]", model.tied_embeddings ? ", tied" : "",
                   model.logit_scale != 1 ? cat(", logits * ", model.logit_scale) : std::string(),
                   model.logit_softcap > 0 ? cat(", soft cap ", model.logit_softcap) : std::string(), "   ",
                   model.head.name, "\n");
}

}  // namespace

std::string text_of(const ModelProgram& model) {
  std::string out = text_of_embedding(model);
  for (size_t i = 0; i < model.ropes.size(); ++i) out += cat("rope table ", i, ": ", text_of(model.ropes[i]), "\n");
  out += text_of_blocks(model.blocks);
  if (model.final_norm) out += text_of_norm(*model.final_norm);
  return out + text_of_head(model);
}

}  // namespace swage::graph
