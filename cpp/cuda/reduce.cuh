// Sums and maxima over a warp or a block, in a fixed order: same input, same bits.
#pragma once

#include <cuda_runtime.h>

namespace thalweg::cuda {

inline constexpr unsigned whole_warp = 0xFFFFFFFFu;

// In every lane; all lanes of the warp call together.
template <class T>
__device__ inline T warp_sum(T value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(whole_warp, value, lanes);
  return value;
}

template <class T>
__device__ inline T warp_max(T value) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) value = max(value, __shfl_xor_sync(whole_warp, value, lanes));
  return value;
}

// In every thread; all threads of a block of `block_size` threads in x call together. `scratch` is shared
// memory for block_size / 32 numbers, free again after the call.
template <int block_size, class T>
__device__ inline T block_sum(T value, T* scratch) {
  static_assert(block_size % 32 == 0 && block_size <= 1024);
  constexpr int warps = block_size / 32;
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  T sum = scratch[0];
#pragma unroll
  for (int w = 1; w < warps; ++w) sum += scratch[w];
  __syncthreads();
  return sum;
}

// Likewise the largest.
template <int block_size, class T>
__device__ inline T block_max(T value, T* scratch) {
  static_assert(block_size % 32 == 0 && block_size <= 1024);
  constexpr int warps = block_size / 32;
  value = warp_max(value);
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  T largest = scratch[0];
#pragma unroll
  for (int w = 1; w < warps; ++w) largest = max(largest, scratch[w]);
  __syncthreads();
  return largest;
}

}  // namespace thalweg::cuda
