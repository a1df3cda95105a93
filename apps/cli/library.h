// libswage.so, loaded when first needed: --help and inspect do without it and start at once.
#pragma once
#include "swage/api/entry.h"

namespace swage::cli {

// Error(Io) if the library is not beside the program or does not match it.
const api::Functions& library();

}  // namespace swage::cli
