// The kernels that run on a GPU: raw device pointers and dimensions in, no allocation; each is queued on a stream and
// returns. They are compiled into a plugin (libswage_cuda.so) that the program opens when it is asked for a GPU, and
// once more for the host (host_threads.h), where tests run them against the plain twins. Matrices of the solver lie
// transposed here: a column of the weight is consecutive, so that the lanes of a warp, a row of the weight each, read
// side by side.
#pragma once
#include <cstdint>

#include "swage/kernels/kernels.h"

namespace swage::kernels {

inline constexpr int kDeviceKernelsVersion = 1;  // of the table below: a plugin of another build is refused

// A run of at most kGptqBlock columns of GptqPanel for all rows of a weight:
//   v_i = value_i + sum_{begin<=k<i} e_k M_ki, where `value` holds w_i + sum_{k<begin} e_k M_ki; code, e and loss as
//   there.
inline constexpr int64_t kGptqBlock = 128;
struct GptqBlock {
  int64_t rows, columns;  // of the weight
  int64_t begin, count;   // columns of this block, in the visiting order
  const float* value;     // [count, rows]
  float* weight_error;    // [columns, rows]: in this block's columns w on entry, e on return
  const float* m;         // [columns, columns], unit upper triangular
  const float* d;         // [columns]
  const int32_t* group;   // [columns]
  const float* scale;     // [groups, rows]
  const float* zero;      // [groups, rows], or null: zeros
  CodeRange range;
  bool keep_zeros;  // where w is 0 the code is `zero`
  uint8_t* codes;   // [columns, rows]
  double* loss;     // [rows]: added to
};

// ScaleSearchPanel for all groups of the rows of a weight.
struct ScaleSearchRows {
  const float* weight;           // [rows, columns]
  int64_t rows, columns, group;  // weights of a group; divides columns
  const float* factors;          // [steps]
  int64_t steps;
  float norm;
  CodeRange range;
  bool symmetric;
  float divisor;
  ScaleRule rule;
  const float* importance;  // [columns], or null
  float* scale;             // [rows, groups]
  float* zero;              // [rows, groups], or null if symmetric
  int32_t* bad;             // [1]: set to 1 if a weight is not finite
};

// RefinePanel for all rows of a weight: columns first .. first + count.
struct RefineBlock {
  int64_t rows, columns, first, count;  // count <= kLongestRefit
  const float* gram;                    // [columns, columns]
  const float* inverse_diagonal;        // [columns]
  const float* gradient;                // [columns, rows]
  uint8_t* codes;                       // [columns, rows]: changed
  float* scale;                         // [rows]: of this group; changed
  const float* zero;                    // [rows], or null: zeros
  bool refit;
  ScaleRule rule;
  CodeRange range;
  const float* keep;  // [columns, rows], or null: where it is 0 the code stays
  float* change;      // [count, rows], out
};

// Adds a tile of f32 sums to the f64 Gram matrix, where row <= column.
struct GramAdd {
  const float* tile;  // [rows, columns]
  int64_t rows, columns;
  int64_t row0, column0;  // place of the tile in the matrix
  double* gram;           // [width, width]
  int64_t width;
};

// Codes as values in f32 or bf16: (code - zero) * scale.
struct DequantizeRows {
  const uint8_t* codes;  // [rows, columns]
  int64_t rows, columns, group;
  const float* scale;  // [rows, columns / group]
  const float* zero;   // the same, or null
  CodeKind kind;
  float* out;  // [rows, columns]
};

// What a plugin gives. Functions return null, or what the driver says of the launch; `stream` is a cudaStream_t.
struct DeviceKernels {
  int version;
  const char* (*gptq_block)(const GptqBlock&, void* stream);
  const char* (*search_scales)(const ScaleSearchRows&, void* stream);
  const char* (*refine_block)(const RefineBlock&, void* stream);
  const char* (*gram_add)(const GramAdd&, void* stream);
  const char* (*dequantize)(const DequantizeRows&, void* stream);
  const char* (*rms_norm)(const RmsNormRows&, void* stream);
  const char* (*silu_multiply)(const SiluMultiply&, void* stream);
  const char* (*rotate_heads)(const RotateHeads&, void* stream);
  const char* (*last_error)();                                    // of anything queued so far that has run; null: none
  const char* (*describe)(int device, char* text, int64_t size);  // name, compute capability, driver
};

using DeviceKernelsEntry = const DeviceKernels* (*)();
inline constexpr const char* kDeviceKernelsSymbol = "swage_device_kernels";

// The same sources, compiled for the host: `stream` is ignored, pointers are the host's. For tests; slow.
const DeviceKernels& device_kernels_on_host();

}  // namespace swage::kernels
