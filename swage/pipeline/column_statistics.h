// What the columns of a stage's input hold, over the whole calibration set.
#pragma once
#include <vector>

#include "swage/model/block.h"
#include "swage/modifiers/modifier.h"

namespace swage::pipeline {

// Over all rows of all flows' inputs [T, I]; results do not depend on the number of threads.
modifiers::ColumnStatistics column_statistics(const std::vector<model::Flow>& flows);

}  // namespace swage::pipeline
