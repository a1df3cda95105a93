// The scalar twins of the kernels of planes of bytes; plain.cpp has the others.
#pragma once
#include "swage/kernels/kernels.h"

namespace swage::kernels {

void quantize_planes(const QuantizePlanes& planes);
void plane_product(const PlaneProduct& product);

}  // namespace swage::kernels
