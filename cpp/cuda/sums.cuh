// Sums and maxima over a block, in a fixed order.
#pragma once

#include <cuda_runtime.h>

namespace thalweg::cuda {

// Thread 0 has the sum. `shared` has room for a number of every warp.
__device__ inline double sum_of_block(double x, double* shared) {
  for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(~0U, x, lanes);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  double sum = 0;
  if (threadIdx.x == 0)
    for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += shared[w];
  return sum;
}

// Likewise the largest; 0 where none is above it.
__device__ inline double largest_of_block(double x, double* shared) {
  for (int lanes = 16; lanes > 0; lanes /= 2) x = max(x, __shfl_xor_sync(~0U, x, lanes));
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  double largest = 0;
  if (threadIdx.x == 0)
    for (unsigned w = 0; w < blockDim.x / 32; ++w) largest = max(largest, shared[w]);
  return largest;
}

}  // namespace thalweg::cuda
