// Arrays of any kind of real number: copies that gather strides and change the dtype, and looks for what an
// argument must not contain.
#pragma once

#include "core/view.hpp"
#include "cuda/device.hpp"

namespace thalweg::cuda {

enum class Kind {
  boolean,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
  float16,
  bfloat16,
  float32,
  float64
};

[[nodiscard]] std::size_t size_of(Kind kind);

// to (C-contiguous, of `shape`) = from (strides in elements), where the kinds are the same or `to_kind` is
// float32 or float64.
void convert(Kind from_kind, const void* from, Index ndim, const Index* shape, const Index* strides,
             Kind to_kind, void* to, Stream& stream);

// Which of these are among `size` numbers. Waits for the stream.
struct Faults {
  bool has_nan = false;
  bool has_infinity = false;
  bool has_negative = false;
};
template <class T>
[[nodiscard]] Faults find_faults(const T* data, Index size, Stream& stream);

}  // namespace thalweg::cuda
