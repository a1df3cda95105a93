// POST /v1/embeddings: texts as vectors of length 1, pooled from what the model makes of their tokens.
#include <bit>
#include <cmath>
#include <cstring>

#include "apps/server/answer.h"
#include "apps/server/handlers.h"
#include "apps/server/prompts.h"
#include "apps/server/sampling.h"

namespace swage::server {
namespace {

struct EmbeddingForm {
  bool base64 = false;
  int64_t dimensions = 0;  // the first ones; 0: all
};

std::vector<float> unit(const std::vector<double>& pooled, int64_t dimensions) {
  const size_t count = dimensions > 0 ? size_t(dimensions) : pooled.size();
  double squares = 0;
  for (size_t i = 0; i < count; ++i) squares += pooled[i] * pooled[i];
  const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
  std::vector<float> out;
  for (size_t i = 0; i < count; ++i) out.push_back(float(pooled[i] * scale));
  return out;
}

// Floats of 32 bits, the least byte first.
std::string base64_of(const std::vector<float>& values) {
  static_assert(std::endian::native == std::endian::little);
  constexpr const char* kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) bits = bits << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0u);
    for (size_t j = 0; j < 4; ++j) out += j <= count ? kLetters[bits >> (18 - 6 * j) & 63] : '=';
  }
  return out;
}

class EmbeddingAnswer : public Answer {
 public:
  EmbeddingAnswer(Service& service, Call call, EmbeddingForm form)
      : Answer(service, std::move(call), false),
        form_(form) {}

 protected:
  void news(size_t, const runtime::Event&) override {}
  void done() override {
    Json data = Json::array();
    for (size_t i = 0; i < choices().size(); ++i) data.push_back(entry(i));
    Json used = Json::object();
    used.set("prompt_tokens", usage().prompt);
    used.set("total_tokens", usage().prompt);
    Json out = Json::object();
    out.set("object", "list");
    out.set("data", std::move(data));
    out.set("model", service_.model.id);
    out.set("usage", std::move(used));
    reply(out);
  }

 private:
  Json entry(size_t index) const {
    const std::vector<float> values = unit(choices()[index].last.pooled, form_.dimensions);
    Json list = Json::array();
    for (const float value : values) list.push_back(double(value));
    Json out = Json::object();
    out.set("object", "embedding");
    out.set("index", int64_t(index));
    out.set("embedding", form_.base64 ? Json(base64_of(values)) : std::move(list));
    return out;
  }

  const EmbeddingForm form_;
};

}  // namespace

void embed(Service& service, const Call& call) {
  const Json body = parse_body(call.request.body);
  Fields fields(body);
  check_model(fields, service);
  EmbeddingForm form;
  const std::string format = fields.text("encoding_format", "float");
  if (format != "float" && format != "base64") throw fields.wrong("encoding_format", "expected float or base64");
  form.base64 = format == "base64";
  form.dimensions = fields.integer("dimensions", 0, 1, service.model.hidden);
  runtime::Request request;
  request.max_new_tokens = 0;
  request.pooling = service.limits.pooling;
  std::vector<runtime::Request> requests;
  for (Prompt& prompt : read_prompts(fields, "input", service, false)) {
    requests.push_back(request);
    requests.back().prompt = std::move(prompt.ids);
  }
  const auto answer = std::make_shared<EmbeddingAnswer>(service, call, form);
  answer->set_headers(ignored_header(fields));
  answer->ask(std::move(requests));
}

}  // namespace swage::server
