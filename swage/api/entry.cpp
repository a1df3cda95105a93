#include "swage/api/entry.h"

extern "C" const swage::api::Functions* swage_functions_0_1_0() {
  static const swage::api::Functions functions = {swage::compress,     swage::evaluate,
                                                  swage::generate,     swage::resolve_model,
                                                  swage::convert,      swage::estimate,
                                                  swage::save_logits,  swage::program_of,
                                                  swage::push,         swage::model_headers,
                                                  swage::scheme_sizes, swage::about,
                                                  swage::open_engine,  swage::net::open_http_server,
                                                  swage::bench};
  return &functions;
}
