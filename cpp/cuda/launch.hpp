// Starting kernels, and the geometry of what is started.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <mutex>
#include <type_traits>

#include "core/view.hpp"
#include "cuda/device.hpp"

namespace thalweg::cuda {

// Lets the kernel have so much dynamic shared memory, which has to be asked for where it is more than 48 KiB
// together with the static one, of which no kernel has more than 16, before its occupancy is asked for too;
// then as much of the multiprocessor's memory as can be is given to shared memory. What was allowed before
// stays so: another thread may be about to start the kernel.
template <class... Parameters>
void allow_shared(void (*kernel)(Parameters...), std::size_t shared_bytes) {
  constexpr std::size_t free_of_asking = std::size_t{32} << 10;
  if (shared_bytes <= free_of_asking) return;
  static std::mutex asking;
  static std::map<void (*)(Parameters...), std::size_t> allowed;  // of kernels with these parameters
  const std::lock_guard lock(asking);
  std::size_t& most = allowed[kernel];
  if (shared_bytes <= most) return;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(shared_bytes)));
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, 100));  // per cent
  most = shared_bytes;
}

// Starts kernel(arguments...) on the stream, with `shared_bytes` of dynamic shared memory, however much.
template <class... Parameters>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, Stream& stream,
            std::type_identity_t<Parameters>... arguments) {
  allow_shared(kernel, shared_bytes);
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream.get();
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters&&>(arguments)...));
}

// The block's dynamic shared memory, aligned for everything.
template <class T>
__device__ inline T* shared_memory() {
#ifdef THALWEG_CUDA_EMULATION
  return static_cast<T*>(emulation::dynamic_shared());
#else
  extern __shared__ __align__(128) unsigned char thalweg_shared_memory[];
  return reinterpret_cast<T*>(thalweg_shared_memory);
#endif
}

[[nodiscard]] constexpr Index ceil_div(Index n, Index size) { return (n + size - 1) / size; }

// Blocks for kernels whose blocks loop over tiles: as many as there are tiles, or as the device holds at once
// `waves` times.
template <class... Parameters>
[[nodiscard]] unsigned grid_for(void (*kernel)(Parameters...), Index tiles, unsigned block_size,
                                std::size_t shared_bytes, Index waves = 1) {
  allow_shared(kernel, shared_bytes);
  int resident = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, static_cast<int>(block_size),
                                                      shared_bytes));
  const Index most = std::max<Index>(1, Index{resident} * device().multiprocessors * waves);
  return static_cast<unsigned>(std::clamp<Index>(tiles, 1, most));
}

}  // namespace thalweg::cuda
