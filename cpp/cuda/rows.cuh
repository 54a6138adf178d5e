// Kernels that give every row of a matrix to a warp: whole lines of memory whatever the width, and sums over
// a row in one order.
#pragma once

#include "cuda/launch.hpp"

namespace thalweg::cuda::rows {

constexpr unsigned block_size = 256;
constexpr Index per_block = block_size / 32;

__device__ inline Index first() { return Index{blockIdx.x} * per_block + threadIdx.x / 32; }
__device__ inline Index step() { return Index{gridDim.x} * per_block; }
__device__ inline Index lane() { return Index{threadIdx.x % 32}; }

// The sum over the warp, in every lane.
__device__ inline double sum(double value) {
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, distance);
  return value;
}

// Starts a kernel whose warps loop from first() to below `n` by step().
template <class... Parameters>
void launch_rows(void (*kernel)(Parameters...), Index n, Stream& stream,
                 std::type_identity_t<Parameters>... arguments) {
  if (n == 0) return;
  const unsigned grid = grid_for(kernel, ceil_div(n, per_block), block_size, 0, 4);
  launch(kernel, grid, block_size, 0, stream, arguments...);
}

}  // namespace thalweg::cuda::rows
