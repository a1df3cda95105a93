// The scalar twins of the kernels of the Gram matrix; plain.cpp has the others.
#pragma once
#include "swage/kernels/kernels.h"

namespace swage::kernels {

void gram_pack(const GramPack& pack);
void gram_tile(const GramTile& tile);
void gram_pack_planes(const GramPack& pack);
void gram_plane_tile(const GramTile& tile);

}  // namespace swage::kernels
