// Arrays of any kind of real number: copies that gather strides and change the dtype, and what the numbers
// of an argument lie between.
#pragma once

#include <limits>

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

// What `size` numbers lie between, NaN left out. Waits for the stream.
struct Extent {
  bool has_nan = false;
  double least = std::numeric_limits<double>::infinity();
  double largest = -std::numeric_limits<double>::infinity();
};
template <class T>
[[nodiscard]] Extent extent_of(const T* data, Index size, Stream& stream);

}  // namespace thalweg::cuda
