// Copies from device memory to shared memory that go on while the thread does (cp.async). A thread that waits
// sees its own copies; what other threads copied it sees after a __syncthreads() that follows their wait.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace thalweg::cuda {

// `bytes` is 4, 8 or 16, and both addresses are multiples of it. Where not `is_valid`, zeros are written and
// nothing is read.
template <int bytes>
__device__ inline void copy_async(void* to_shared, const void* from, bool is_valid = true) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16);
#ifdef THALWEG_CUDA_EMULATION
  ::emulation::async_copy(to_shared, from, bytes, is_valid ? bytes : 0);
#else
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(to_shared));
  const int valid_bytes = is_valid ? bytes : 0;
  if constexpr (bytes == 16) {  // by way of L2 only
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(valid_bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(address), "l"(from), "n"(bytes),
                 "r"(valid_bytes)
                 : "memory");
  }
#endif
}

// Closes a group: the thread's copies since the last one.
__device__ inline void commit_copies() {
#ifdef THALWEG_CUDA_EMULATION
  ::emulation::async_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most `groups_left` of the thread's groups, the last ones, are under way.
template <int groups_left>
__device__ inline void wait_for_copies() {
#ifdef THALWEG_CUDA_EMULATION
  ::emulation::async_wait(groups_left);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(groups_left) : "memory");
#endif
}

}  // namespace thalweg::cuda
