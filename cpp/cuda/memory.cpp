#include "cuda/memory.hpp"

#include <cstdint>

#include "core/error.hpp"

namespace thalweg::cuda {
namespace {

// Of our own, so that nobody else's settings change.
cudaMemPool_t pool() {
  static const cudaMemPool_t made = [] {
    cudaMemPoolProps properties{};
    properties.allocType = cudaMemAllocationTypePinned;  // the only kind that there is
    properties.location.type = cudaMemLocationTypeDevice;
    properties.location.id = device_number;
    cudaMemPool_t p = nullptr;
    check(cudaMemPoolCreate(&p, &properties));
    std::uint64_t kept = device().memory / 4;  // what is free beyond goes back to the driver, for others
    check(cudaMemPoolSetAttribute(p, cudaMemPoolAttrReleaseThreshold, &kept));
    return p;
  }();
  return made;
}

}  // namespace

void* allocate(std::size_t bytes, Stream& stream) {
  void* memory = nullptr;
  cudaError_t status = cudaMallocFromPoolAsync(&memory, bytes, pool(), stream.get());
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    stream.synchronize();
    trim_memory();
    status = cudaMallocFromPoolAsync(&memory, bytes, pool(), stream.get());
  }
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    std::size_t free = 0;
    std::size_t total = 0;
    (void)cudaMemGetInfo(&free, &total);
    throw OutOfMemory(join("device='cuda': out of memory: ", bytes, " bytes were asked for, ", free, " of ",
                           total, " are free"));
  }
  check(status);
  return memory;
}

void deallocate(void* memory, Stream& stream) noexcept {
  const auto lock = stream.alone();
  (void)cudaFreeAsync(memory, stream.get());
}

void upload_bytes(const void* from, void* to, std::size_t bytes, Stream& stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream.get()));
  // Ordinary memory has been read by now, unless the device can read it itself; pinned memory, which some
  // libraries hand out, is read when its turn comes.
  cudaPointerAttributes attributes{};
  if (cudaPointerGetAttributes(&attributes, from) != cudaSuccess) (void)cudaGetLastError();
  if (device().reads_pageable_memory || attributes.type == cudaMemoryTypeHost ||
      attributes.type == cudaMemoryTypeManaged)
    stream.synchronize();
}

void trim_memory() { check(cudaMemPoolTrimTo(pool(), 0)); }

}  // namespace thalweg::cuda
