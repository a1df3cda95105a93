// The scalar twins of the kernels of packed codes; plain.cpp has the others.
#pragma once
#include "swage/kernels/packed.h"

namespace swage::kernels {

void split_blocks(const SplitBlocks& blocks);
void packed_product(const PackedProduct& product);
void row_product(const RowProduct& product);

}  // namespace swage::kernels
