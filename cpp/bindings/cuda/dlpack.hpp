// The C structures of DLPack (dmlc.github.io/dlpack, versions 0 and 1), by which libraries hand over arrays.
#pragma once

#include <cstdint>

namespace thalweg::cuda::dlpack {

inline constexpr std::int32_t cuda_device = 2;
inline constexpr std::int32_t cuda_managed_device = 13;

enum class Code : std::uint8_t {
  integer = 0,
  unsigned_integer = 1,
  real = 2,
  bfloat = 4,
  complex = 5,
  boolean = 6
};

struct Device {
  std::int32_t type;
  std::int32_t number;
};

struct Dtype {
  Code code;
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  Dtype dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null for C order
  std::uint64_t byte_offset;
};

struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed* self);
};

inline constexpr std::uint64_t flag_read_only = 1;
inline constexpr std::uint64_t flag_copied = 2;

struct ManagedVersioned {
  std::uint32_t major;
  std::uint32_t minor;
  void* context;
  void (*deleter)(ManagedVersioned* self);
  std::uint64_t flags;
  Tensor tensor;
};

}  // namespace thalweg::cuda::dlpack
