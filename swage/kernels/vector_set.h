// Which vector instructions the kernels use on this machine.
#pragma once
#include <string>

namespace swage::kernels {

// Highway's name of the best set that was compiled in and that the processor has: "AVX2", "AVX3_DL";
// "AVX3_DL AMX" where tiles are multiplied too.
std::string vector_set();

}  // namespace swage::kernels
