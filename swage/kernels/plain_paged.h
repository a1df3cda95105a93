// The scalar twins of the kernels of many sequences.
#pragma once
#include "swage/kernels/paged.h"

namespace swage::kernels {

void dot_rows(const DotRows& rows);
void block_scores(const BlockScores& block);
void block_values(const BlockValues& block);
void score_weights(const ScoreWeights& row);

}  // namespace swage::kernels
