// What looks at images, by its number of parameters.
#pragma once
#include <cstdint>

#include "swage/model/config_fields.h"

namespace swage::model {

// Of vision_config and the projector; 0 for a tower whose sizes are not known. Error(CorruptData) if there is no
// vision_config.
int64_t vision_parameters(const ConfigFields& config);

}  // namespace swage::model
