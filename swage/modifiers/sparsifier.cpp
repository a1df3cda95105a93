#include "swage/modifiers/sparsifier.h"

#include <ATen/ops/sub.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "swage/base/error.h"
#include "swage/modifiers/solver_glue.h"

namespace swage::modifiers {
namespace {

// "N:M"
bool parse_two(const std::string& text, int64_t& n, int64_t& m) {
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, n);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != ':') return false;
  const auto second = std::from_chars(first.ptr + 1, end, m);
  return second.ec == std::errc() && second.ptr == end;
}

double share(const Json& value, const std::string& source) {
  SWAGE_CHECK(value.is_number() && value.as_double() >= 0 && value.as_double() < 1, InvalidArgument, source,
              ": sparsity ", value.is_number() ? cat(value.as_double()) : value.dump(),
              ": expected a share from 0 to 1, or a list of such");
  return value.as_double();
}

}  // namespace

solvers::SparsityPattern parse_mask_structure(const std::string& text, double sparsity, const std::string& source) {
  solvers::SparsityPattern out{sparsity};
  if (text == "unstructured") return out;
  SWAGE_CHECK(parse_two(text, out.dropped, out.group), InvalidArgument, source, ": mask_structure \"", text,
              "\": expected N:M (N zeros in every M columns), or 0:0 or unstructured");
  if (out.dropped == 0 && out.group == 0) return out;
  SWAGE_CHECK(out.dropped > 0 && out.group > out.dropped && out.group <= 32, InvalidArgument, source,
              ": mask_structure \"", text, "\": expected 0 < N < M <= 32");
  out.sparsity = double(out.dropped) / double(out.group);
  return out;
}

SparsityRules parse_rules(const SparsityFields& fields, const std::string& source) {
  SparsityRules out;
  out.targets = fields.targets;
  out.ignore = fields.ignore;
  const bool is_list = fields.sparsity.is_array(), given = !fields.sparsity.is_null();
  if (is_list) {
    for (const Json& value : fields.sparsity.as_array()) out.of_modules.push_back(share(value, source));
  }
  const double wanted = given && !is_list ? share(fields.sparsity, source) : 0.5;
  out.pattern = parse_mask_structure(fields.mask_structure, wanted, source);
  if (out.pattern.grouped()) {
    SWAGE_CHECK(!is_list && (!given || std::fabs(wanted - out.pattern.sparsity) < 1e-6), InvalidArgument, source,
                ": sparsity ", fields.sparsity.dump(), " and mask_structure ", fields.mask_structure,
                " say different things: leave sparsity out");
  } else {
    SWAGE_CHECK(given, InvalidArgument, source, ": give a sparsity (the share of zeros), or a mask_structure like 2:4");
  }
  const bool owl = fields.sparsity_profile.has_value();
  SWAGE_CHECK(!owl || *fields.sparsity_profile == "owl" || *fields.sparsity_profile == "OWL", InvalidArgument, source,
              ": sparsity_profile \"", *fields.sparsity_profile, "\": expected owl");
  SWAGE_CHECK(owl == (fields.owl_m > 0) && owl == (fields.owl_lmbda > 0), InvalidArgument, source,
              ": sparsity_profile owl, owl_m and owl_lmbda go together: give all of them or none");
  SWAGE_CHECK(!owl || (!is_list && !out.pattern.grouped()), InvalidArgument, source,
              ": sparsity_profile owl finds the shares of layers: give one sparsity and no N:M");
  out.owl_m = fields.owl_m;
  out.owl_lambda = fields.owl_lmbda;
  return out;
}

std::string describe(const solvers::SparsityPattern& pattern) {
  if (pattern.grouped()) return cat(pattern.dropped, ":", pattern.group);
  return cat(std::round(pattern.sparsity * 1000) / 10, "%");
}

SparsifiedLinear with_error(const at::Tensor& w_OI, at::Tensor q_OI, double error, double whole, int64_t tokens) {
  SparsifiedLinear out;
  SolvedLinear report;
  report_error(error, whole, tokens, report);
  out.loss = report.loss;
  out.relative_error = report.relative_error;
  out.sparsity = 1 - double(q_OI.count_nonzero().item<int64_t>()) / double(w_OI.numel());
  out.weight_OI = std::move(q_OI);
  return out;
}

void add_pruning(const SparsifiedLinear& pruned, SolvedLinear& solved) {
  solved.loss += pruned.loss;
  solved.relative_error = std::hypot(solved.relative_error, pruned.relative_error);
  solved.sparsity = pruned.sparsity;
  solved.warnings.insert(solved.warnings.begin(), pruned.warnings.begin(), pruned.warnings.end());
}

SparsifiedLinear masked(const at::Tensor& w_OI, const at::Tensor& keep_OI, const Statistics& statistics) {
  at::Tensor q_OI = w_OI.mul(keep_OI);
  const at::Tensor error_OI = at::sub(w_OI, q_OI);
  if (!statistics.gram_II.defined()) {
    return with_error(w_OI, std::move(q_OI), squared_sum(error_OI), squared_sum(w_OI), 1);
  }
  const at::Tensor gram_II = statistics.gram_II.to(at::kCPU, at::kFloat);
  return with_error(w_OI, std::move(q_OI), quadratic_form(error_OI, gram_II), quadratic_form(w_OI, gram_II),
                    statistics.tokens);
}

}  // namespace swage::modifiers
