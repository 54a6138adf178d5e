// The part of CUDA's runtime and of its device functions that the backend uses, on the host.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "emulation.hpp"

#define __host__
#define __device__
#define __global__
#define __shared__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

// --- vector types

#define THALWEG_VECTOR(name, scalar, alignment2, alignment4)           \
  struct alignas(alignment2) name##2 { scalar x, y; };                 \
  struct alignas(alignment4) name##4 { scalar x, y, z, w; };           \
  inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; } \
  inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
THALWEG_VECTOR(float, float, 8, 16)
THALWEG_VECTOR(double, double, 16, 16)
THALWEG_VECTOR(int, int, 8, 16)
THALWEG_VECTOR(uint, unsigned, 8, 16)
THALWEG_VECTOR(uchar, unsigned char, 2, 4)
#undef THALWEG_VECTOR

// --- the runtime, host side

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400,
  cudaErrorNotReady = 600,
  cudaErrorCudartUnloading = 4
};
const char* cudaGetErrorName(cudaError_t error);
const char* cudaGetErrorString(cudaError_t error);
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount, l2CacheSize;
  int pageableMemoryAccess;
  std::size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
};
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total);

struct EmulatedStream;
struct EmulatedEvent;
struct EmulatedGraph;
struct EmulatedPool;
using cudaStream_t = EmulatedStream*;
using cudaEvent_t = EmulatedEvent*;
using cudaGraph_t = EmulatedGraph*;
using cudaGraphExec_t = EmulatedGraph*;
using cudaMemPool_t = EmulatedPool*;

inline constexpr unsigned cudaStreamNonBlocking = 1;
inline constexpr unsigned cudaEventDefault = 0;
inline constexpr unsigned cudaEventDisableTiming = 2;
inline constexpr unsigned cudaEventWaitDefault = 0;
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end);

enum cudaMemLocationType { cudaMemLocationTypeInvalid = 0, cudaMemLocationTypeDevice = 1 };
enum cudaMemAllocationType { cudaMemAllocationTypeInvalid = 0, cudaMemAllocationTypePinned = 1 };
enum cudaMemPoolAttr { cudaMemPoolAttrReleaseThreshold = 4 };
struct cudaMemLocation {
  cudaMemLocationType type;
  int id;
};
struct cudaMemPoolProps {
  cudaMemAllocationType allocType;
  int handleTypes;
  cudaMemLocation location;
};
cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* properties);
cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value);
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, std::size_t bytes_to_keep);
cudaError_t cudaMallocFromPoolAsync(void** memory, std::size_t size, cudaMemPool_t pool, cudaStream_t stream);
cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream);
inline constexpr unsigned cudaHostAllocDefault = 0;
cudaError_t cudaHostAlloc(void** memory, std::size_t size, unsigned flags);
cudaError_t cudaFreeHost(void* memory);

enum cudaMemcpyKind {
  cudaMemcpyHostToHost,
  cudaMemcpyHostToDevice,
  cudaMemcpyDeviceToHost,
  cudaMemcpyDeviceToDevice,
  cudaMemcpyDefault
};
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind kind,
                            cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                              std::size_t width, std::size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream);
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t size, cudaStream_t stream);

enum cudaMemoryType {
  cudaMemoryTypeUnregistered,
  cudaMemoryTypeHost,
  cudaMemoryTypeDevice,
  cudaMemoryTypeManaged
};
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* p);

enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);

enum cudaFuncAttribute {
  cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
  cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
namespace emulation {
// Shared memory that a kernel may have: more than 48 KiB, its static one included, has to be asked for.
[[nodiscard]] cudaError_t allow_shared(const void* kernel, std::size_t bytes);
[[nodiscard]] bool may_have_shared(const void* kernel, std::size_t bytes);
}  // namespace emulation
template <class F>
cudaError_t cudaFuncSetAttribute(F* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  return emulation::allow_shared(reinterpret_cast<const void*>(kernel), static_cast<std::size_t>(value));
}
template <class F>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, F* /*kernel*/, int block_size,
                                                          std::size_t shared_bytes) {
  cudaDeviceProp device{};
  cudaGetDeviceProperties(&device, 0);
  const auto by_shared = device.sharedMemPerMultiprocessor / (shared_bytes + 1024);
  *blocks = std::min(2048 / block_size, static_cast<int>(std::min<std::size_t>(by_shared, 32)));
  return cudaSuccess;
}

struct cudaLaunchAttribute;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

namespace emulation {
// Does `work` now, or where the stream is being captured at each launch of the graph.
cudaError_t enqueue(cudaStream_t stream, std::function<void()> work);
[[nodiscard]] cudaError_t check_launch(const cudaLaunchConfig_t& config);
}  // namespace emulation

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  if (const cudaError_t fault = emulation::check_launch(*config); fault != cudaSuccess) return fault;
  if (!emulation::may_have_shared(reinterpret_cast<const void*>(kernel), config->dynamicSmemBytes))
    return cudaErrorInvalidValue;
  std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  return emulation::enqueue(config->stream, [config = *config, kernel, values] {
    emulation::run_grid(config.gridDim, config.blockDim, config.dynamicSmemBytes,
                        [&] { std::apply(kernel, values); });
  });
}

// --- device side: threads

inline constexpr int warpSize = 32;
inline void __syncthreads() { emulation::barrier(0); }
inline int __syncthreads_count(int value) { return emulation::barrier(value != 0).sum; }
inline int __syncthreads_or(int value) { return emulation::barrier(value != 0).sum != 0; }
inline int __syncthreads_and(int value) {
  const emulation::Votes votes = emulation::barrier(value != 0);
  return votes.sum == votes.threads;
}
inline void __syncwarp(unsigned mask = ~0U) {
  const char nothing = 0;
  emulation::exchange(mask, &nothing, 0);
}
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace emulation {
template <class T>
T brought(const Slot& slot) {
  static_assert(sizeof(T) <= sizeof(Slot));
  T value;
  std::memcpy(&value, slot.bytes, sizeof(T));
  return value;
}
template <class T, class F>
T reduce(unsigned mask, T value, const F& f) {
  const Slot* const slots = exchange(mask, &value, sizeof(T));
  T result = brought<T>(slots[0]);
  for (unsigned l = 1; l < 32; ++l) result = f(result, brought<T>(slots[l]));
  return result;
}
}  // namespace emulation

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const unsigned first = emulation::lane() / static_cast<unsigned>(width) * static_cast<unsigned>(width);
  const auto* const slots = emulation::exchange(mask, &value, sizeof(T));
  return emulation::brought<T>(slots[first + static_cast<unsigned>(source) % static_cast<unsigned>(width)]);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  const unsigned mine = emulation::lane();
  const unsigned other = mine ^ static_cast<unsigned>(lanes);
  const auto* const slots = emulation::exchange(mask, &value, sizeof(T));
  const bool is_inside = other / static_cast<unsigned>(width) <= mine / static_cast<unsigned>(width);
  return is_inside && other < 32 ? emulation::brought<T>(slots[other]) : value;
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned mine = emulation::lane();
  const auto* const slots = emulation::exchange(mask, &value, sizeof(T));
  const bool is_inside = mine % static_cast<unsigned>(width) + delta < static_cast<unsigned>(width);
  return is_inside ? emulation::brought<T>(slots[mine + delta]) : value;
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned mine = emulation::lane();
  const auto* const slots = emulation::exchange(mask, &value, sizeof(T));
  const bool is_inside = mine % static_cast<unsigned>(width) >= delta;
  return is_inside ? emulation::brought<T>(slots[mine - delta]) : value;
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const unsigned bit = predicate != 0 ? 1U << emulation::lane() : 0U;
  return emulation::reduce(mask, bit, [](unsigned a, unsigned b) { return a | b; });
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == ~0U; }
inline unsigned __reduce_add_sync(unsigned mask, unsigned value) {
  return emulation::reduce(mask, value, [](unsigned a, unsigned b) { return a + b; });
}
inline int __reduce_add_sync(unsigned mask, int value) {
  return static_cast<int>(__reduce_add_sync(mask, static_cast<unsigned>(value)));
}
inline unsigned __reduce_and_sync(unsigned mask, unsigned value) {
  return emulation::reduce(mask, value, [](unsigned a, unsigned b) { return a & b; });
}
inline unsigned __reduce_or_sync(unsigned mask, unsigned value) {
  return emulation::reduce(mask, value, [](unsigned a, unsigned b) { return a | b; });
}
inline unsigned __reduce_xor_sync(unsigned mask, unsigned value) {
  return emulation::reduce(mask, value, [](unsigned a, unsigned b) { return a ^ b; });
}
template <class T>
  requires std::is_same_v<T, int> || std::is_same_v<T, unsigned>
T __reduce_min_sync(unsigned mask, T value) {
  return emulation::reduce(mask, value, [](T a, T b) { return std::min(a, b); });
}
template <class T>
  requires std::is_same_v<T, int> || std::is_same_v<T, unsigned>
T __reduce_max_sync(unsigned mask, T value) {
  return emulation::reduce(mask, value, [](T a, T b) { return std::max(a, b); });
}

// --- device side: memory

template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
T __ldcg(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T value) {
  *p = value;
}
template <class T>
void __stcg(T* p, T value) {
  *p = value;
}

#define THALWEG_ATOMIC(name, expression)        \
  template <class T>                            \
  T name(T* p, std::type_identity_t<T> value) { \
    const T old = *p;                           \
    *p = static_cast<T>(expression);            \
    return old;                                 \
  }
THALWEG_ATOMIC(atomicAdd, old + value)
THALWEG_ATOMIC(atomicSub, old - value)
THALWEG_ATOMIC(atomicMax, std::max(old, value))
THALWEG_ATOMIC(atomicMin, std::min(old, value))
THALWEG_ATOMIC(atomicAnd, old& value)
THALWEG_ATOMIC(atomicOr, old | value)
THALWEG_ATOMIC(atomicXor, old ^ value)
THALWEG_ATOMIC(atomicExch, value)
#undef THALWEG_ATOMIC
template <class T>
T atomicCAS(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  const T old = *p;
  if (old == expected) *p = value;
  return old;
}

// --- device side: arithmetic

inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0F / a; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float a) { return std::exp(a); }
inline float __logf(float a) { return std::log(a); }
inline float __saturatef(float a) { return std::isnan(a) ? 0.0F : std::clamp(a, 0.0F, 1.0F); }
inline float rsqrtf(float a) { return 1.0F / std::sqrt(a); }
inline double rsqrt(double a) { return 1.0 / std::sqrt(a); }
inline float sinpif(float a) { return static_cast<float>(std::sin(3.14159265358979323846 * a)); }
inline float cospif(float a) { return static_cast<float>(std::cos(3.14159265358979323846 * a)); }
inline void sincospif(float a, float* s, float* c) {
  *s = sinpif(a);
  *c = cospif(a);
}
inline void sincospi(double a, double* s, double* c) {
  *s = std::sin(3.14159265358979323846 * a);
  *c = std::cos(3.14159265358979323846 * a);
}
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline int __popcll(unsigned long long a) { return __builtin_popcountll(a); }
inline int __clz(int a) { return a == 0 ? 32 : __builtin_clz(static_cast<unsigned>(a)); }
inline int __ffs(int a) { return __builtin_ffs(a); }
inline unsigned __brev(unsigned a) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; ++i) reversed |= (a >> i & 1U) << (31 - i);
  return reversed;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<unsigned long long>(a) * b >> 32);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  const unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
  return static_cast<unsigned>(both << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  const unsigned long long both = static_cast<unsigned long long>(high) << 32 | low;
  return static_cast<unsigned>(both >> (shift & 31));
}

namespace emulation {
template <class To, class From>
To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}
}  // namespace emulation
inline unsigned __float_as_uint(float a) { return emulation::bits_as<unsigned>(a); }
inline float __uint_as_float(unsigned a) { return emulation::bits_as<float>(a); }
inline int __float_as_int(float a) { return emulation::bits_as<int>(a); }
inline float __int_as_float(int a) { return emulation::bits_as<float>(a); }
inline long long __double_as_longlong(double a) { return emulation::bits_as<long long>(a); }
inline double __longlong_as_double(long long a) { return emulation::bits_as<double>(a); }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long min(long a, long b) { return a < b ? a : b; }
inline long max(long a, long b) { return a > b ? a : b; }
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
