// What the columns of a stage's input hold, over the whole calibration set.
#pragma once
#include <functional>
#include <vector>

#include "swage/model/block.h"
#include "swage/modifiers/modifier.h"

namespace swage::pipeline {

// Over all rows of all flows' inputs [T, I]; results do not depend on the number of threads.
// `mean`: whether mean_abs_I is wanted; undefined without. `done`: told of each flow that is not needed any more, in
// any thread.
modifiers::ColumnStatistics column_statistics(const std::vector<model::Flow>& flows, bool mean,
                                              const std::function<void(size_t)>& done);

}  // namespace swage::pipeline
