#include "cuda_runtime.h"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <vector>

#include "guards.hpp"

struct EmulatedStream {
  EmulatedGraph* captured = nullptr;
};

struct EmulatedEvent {
  std::chrono::steady_clock::time_point recorded;
};

struct EmulatedGraph {
  std::vector<std::function<void()>> work;
};

namespace {

std::size_t total_of(const void* p, std::size_t size) { return p == nullptr ? 0 : size; }

// Bytes of shared memory that a block may ask for: what THALWEG_EMULATION_SHARED says, else as much as on an
// H200.
std::size_t shared_per_block() {
  const char* const bytes = std::getenv("THALWEG_EMULATION_SHARED");
  return bytes != nullptr ? std::strtoull(bytes, nullptr, 10) : std::size_t{227} << 10;
}

// What a copy reads or writes must be memory of the side that its kind says.
bool fits(const void* to, const void* from, cudaMemcpyKind kind) {
  const bool to_device = emulation::is_device_memory(to);
  const bool from_device = emulation::is_device_memory(from);
  switch (kind) {
    case cudaMemcpyHostToDevice:
      return to_device && !from_device;
    case cudaMemcpyDeviceToHost:
      return !to_device && from_device;
    case cudaMemcpyDeviceToDevice:
      return to_device && from_device;
    case cudaMemcpyHostToHost:
      return !to_device && !from_device;
    case cudaMemcpyDefault:
      return true;
  }
  return false;
}

}  // namespace

namespace emulation {

cudaError_t enqueue(cudaStream_t stream, std::function<void()> work) {
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;  // the default stream is nobody's here
  if (stream->captured != nullptr) {
    stream->captured->work.push_back(std::move(work));
  } else {
    work();
  }
  return cudaSuccess;
}

namespace {
std::mutex asking;
std::map<const void*, std::size_t> asked_for;  // dynamic shared memory of kernels
}  // namespace

cudaError_t allow_shared(const void* kernel, std::size_t bytes) {
  cudaDeviceProp device{};
  cudaGetDeviceProperties(&device, 0);
  if (bytes > device.sharedMemPerBlockOptin) return cudaErrorInvalidValue;
  const std::lock_guard lock(asking);
  asked_for[kernel] = bytes;
  return cudaSuccess;
}

bool may_have_shared(const void* kernel, std::size_t bytes) {
  constexpr std::size_t most_static = 16 << 10;  // is not known here
  cudaDeviceProp device{};
  cudaGetDeviceProperties(&device, 0);
  if (bytes + most_static <= device.sharedMemPerBlock) return true;
  const std::lock_guard lock(asking);
  const auto found = asked_for.find(kernel);
  return found != asked_for.end() && bytes <= found->second;
}

cudaError_t check_launch(const cudaLaunchConfig_t& config) {
  const auto& [grid, block, shared, stream, attributes, n_attributes] = config;
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  const bool is_grid = grid.x >= 1 && grid.x <= 0x7FFFFFFFU && grid.y >= 1 && grid.y <= 65535 &&
                       grid.z >= 1 && grid.z <= 65535;
  if (!is_grid || threads < 1 || threads > 1024 || block.z > 64) return cudaErrorInvalidConfiguration;
  cudaDeviceProp device{};
  cudaGetDeviceProperties(&device, 0);
  return shared <= device.sharedMemPerBlockOptin ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace emulation

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    default:
      return "cudaErrorInvalidValue";
  }
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    default:
      return "invalid argument";
  }
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (device != 0) return cudaErrorInvalidDevice;
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "emulation on the host");
  properties->major = 9;
  properties->multiProcessorCount = 4;  // few: blocks that loop over tiles shall loop
  properties->l2CacheSize = 50 << 20;
  properties->totalGlobalMem = emulation::device_memory_bytes;
  properties->sharedMemPerBlock = 48 << 10;
  properties->sharedMemPerBlockOptin = shared_per_block();
  properties->sharedMemPerMultiprocessor = shared_per_block() + 1024;
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) { return cudaDriverGetVersion(version); }

cudaError_t cudaDeviceSynchronize() {
  emulation::check_guards("an emulated kernel or copy");
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *total = emulation::device_memory_bytes;
  *free = *total - emulation::allocated_bytes();
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
  *stream = new EmulatedStream;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaDeviceSynchronize(); }

cudaError_t cudaStreamQuery(cudaStream_t) { return cudaDeviceSynchronize(); }

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t event, unsigned) {
  return event == nullptr ? cudaErrorInvalidResourceHandle : cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new EmulatedEvent;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) {
  event->recorded = std::chrono::steady_clock::now();
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t) { return cudaSuccess; }

cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaDeviceSynchronize(); }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->recorded - start->recorded).count();
  return cudaSuccess;
}

cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps*) {
  *pool = nullptr;
  return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) { return cudaSuccess; }

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t, std::size_t) { return cudaSuccess; }

// Never reused, so that every block begins poisoned.
cudaError_t cudaMallocFromPoolAsync(void** memory, std::size_t size, cudaMemPool_t, cudaStream_t stream) {
  if (stream == nullptr || stream->captured != nullptr) return cudaErrorInvalidValue;
  *memory = emulation::guarded_allocate(size);
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t) {
  return emulation::guarded_free(memory) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaHostAlloc(void** memory, std::size_t size, unsigned) {
  *memory = ::operator new(size, std::nothrow);
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  ::operator delete(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (total_of(to, size) == 0) return cudaSuccess;
  if (!fits(to, from, kind)) return cudaErrorInvalidValue;
  return emulation::enqueue(stream, [=] { std::memmove(to, from, size); });
}

cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  if (width == 0 || height == 0) return cudaSuccess;
  if (!fits(to, from, kind) || width > to_pitch || width > from_pitch) return cudaErrorInvalidValue;
  return emulation::enqueue(stream, [=] {
    for (std::size_t row = 0; row < height; ++row)
      std::memmove(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch,
                   width);
  });
}

cudaError_t cudaMemsetAsync(void* to, int value, std::size_t size, cudaStream_t stream) {
  if (size == 0) return cudaSuccess;
  if (!emulation::is_device_memory(to)) return cudaErrorInvalidValue;
  return emulation::enqueue(stream, [=] { std::memset(to, value, size); });
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p) {
  *attributes = {emulation::is_device_memory(p) ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered, 0};
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (stream == nullptr || stream->captured != nullptr) return cudaErrorInvalidValue;
  stream->captured = new EmulatedGraph;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (stream->captured == nullptr) return cudaErrorInvalidValue;
  *graph = std::exchange(stream->captured, nullptr);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new EmulatedGraph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  for (const auto& work : executable->work) emulation::enqueue(stream, work);
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return cudaGraphDestroy(executable); }
