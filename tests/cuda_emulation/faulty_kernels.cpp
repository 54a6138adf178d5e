// Kernels with the faults that the emulation is there to find.
#include <pybind11/pybind11.h>

#include "cuda/async.cuh"
#include "cuda/launch.hpp"
#include "cuda/memory.hpp"
#include "cuda/reduce.cuh"

namespace thalweg::cuda {
namespace {

__global__ void overrun(float* out, int n) { out[static_cast<int>(threadIdx.x) + n] = 1.0F; }

__global__ void lonely_barrier(float* out, int) {
  if (threadIdx.x < 32) {
    const unsigned votes = __ballot_sync(whole_warp, 1);
    out[threadIdx.x] = static_cast<float>(votes);
  } else {
    __syncthreads();
  }
  if (threadIdx.x == 0) __ballot_sync(whole_warp, 1);
}

__global__ void left_early(float* out, int) {
  if (threadIdx.x == 5) return;
  out[threadIdx.x] = warp_sum(1.0F);
}

__global__ void part_of_a_mask(float* out, int) {
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xFFFFu, 1.0F, 0);
}

// Reads what the neighbour wrote, without a barrier.
__global__ void no_barrier(float* out, int n) {
  auto* const shared = shared_memory<float>();
  shared[threadIdx.x] = 1.0F;
  out[threadIdx.x] = shared[(static_cast<int>(threadIdx.x) + 1) % n];
}

__global__ void no_wait(float* out, int n) {
  auto* const shared = shared_memory<float>();
  out[threadIdx.x] = 1.0F;
  __syncthreads();
  copy_async<4>(shared + threadIdx.x, out + threadIdx.x);
  commit_copies();
  out[(static_cast<int>(threadIdx.x) + 1) % n] = shared[threadIdx.x];
}

__global__ void beyond_shared(float* out, int n) {
  auto* const shared = shared_memory<float>();
  shared[static_cast<int>(threadIdx.x) + n] = 1.0F;
  out[threadIdx.x] = 0.0F;
}

__global__ void writes_nothing(float*, int) {}

using Kernel = void (*)(float*, int);

// The first of 64 numbers that 64 threads leave behind.
float run(Kernel kernel) {
  constexpr int n = 64;
  Stream& stream = Stream::of_this_thread();
  const Buffer<float> out(n, stream);
  launch(kernel, 1, n, n * sizeof(float), stream, out.data(), n);
  return download_one(out.data(), stream);
}

}  // namespace

void bind_faulty_kernels(pybind11::module_& m) {
  pybind11::module_ faulty = m.def_submodule("faulty", "Kernels with faults that the emulation finds.");
  const auto bind = [&](const char* name, Kernel kernel) {
    faulty.def(name, [kernel] { return run(kernel); });
  };
  bind("overrun", overrun);
  bind("lonely_barrier", lonely_barrier);
  bind("left_early", left_early);
  bind("part_of_a_mask", part_of_a_mask);
  bind("no_barrier", no_barrier);
  bind("no_wait", no_wait);
  bind("beyond_shared", beyond_shared);
  bind("writes_nothing", writes_nothing);
}

}  // namespace thalweg::cuda
