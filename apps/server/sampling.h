// The fields that all routes of OpenAI's share.
#pragma once
#include "apps/server/fields.h"
#include "apps/server/service.h"

namespace swage::server {

// 400 with code model_not_found unless it is ours. Absent: ours.
void check_model(Fields& fields, const Service& service);
// Everything but prompt, tokens at most, and probabilities.
runtime::Request read_sampling(Fields& fields, const Service& service);
// Whether the prompt fits; 400 with code context_length_exceeded otherwise.
void check_prompt(const std::vector<int64_t>& prompt, const Service& service);
// Fields that clients send and that mean nothing here, and a header that lists the others that nobody read.
net::HttpHeaders ignored_header(Fields& fields);

uint64_t random_seed();
// "cmpl-" and 24 hexadecimal digits.
std::string new_id(const std::string& prefix);
int64_t now_seconds();
const char* finish_reason(runtime::Finish finish);

struct StreamForm {
  bool is_on = false, usage = false;
};
StreamForm read_stream(Fields& fields);

}  // namespace swage::server
