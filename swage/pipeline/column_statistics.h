// What the columns of a stage's input hold, over the whole calibration set.
#pragma once
#include <functional>
#include <vector>

#include "swage/model/block.h"
#include "swage/modifiers/modifier.h"

namespace swage::pipeline {

// Over all rows of all flows' inputs [T, I]; results do not depend on the number of threads.
// `done`: told of each flow that is not needed any more, in any thread.
modifiers::ColumnStatistics column_statistics(const std::vector<model::Flow>& flows, const std::function<void(size_t)>& done);

}  // namespace swage::pipeline
