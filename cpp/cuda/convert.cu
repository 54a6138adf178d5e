#include "cuda/convert.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/error.hpp"
#include "core/walk.hpp"
#include "cuda/launch.hpp"
#include "cuda/memory.hpp"
#include "cuda/reduce.cuh"

namespace thalweg::cuda {
namespace {

constexpr unsigned block_size = 256;
constexpr int most_axes = 64;

struct Half {
  std::uint16_t bits;
};
struct Brain {
  std::uint16_t bits;
};

// --- a number as another kind

template <class To, class From>
__device__ To as(From value) {
  return static_cast<To>(value);
}

template <class To>
__device__ To as(Half value) {
  const std::uint32_t magnitude = value.bits & 0x7FFFu;
  // Eight exponent bits in place of five: subnormal numbers come out right by the product.
  float size = __uint_as_float(magnitude << 13) * 0x1p112F;
  if (magnitude >= 0x7C00u) size = __uint_as_float(0x7F800000u | (magnitude & 0x3FFu) << 13);
  return static_cast<To>((value.bits & 0x8000u) != 0 ? -size : size);
}

template <class To>
__device__ To as(Brain value) {
  return static_cast<To>(__uint_as_float(std::uint32_t{value.bits} << 16));
}

// --- kernels

// The last axis first; strides in elements.
struct Axes {
  int rank = 0;
  Index length[most_axes];
  Index stride[most_axes];
};

template <class From, class To>
__global__ void __launch_bounds__(block_size)
    convert_kernel(const __grid_constant__ Axes axes, const From* from, To* to, Index n) {
  const Index step = Index{gridDim.x} * block_size;
  for (Index i = Index{blockIdx.x} * block_size + threadIdx.x; i < n; i += step) {
    Index rest = i;
    Index at = 0;
    for (int k = 0; k + 1 < axes.rank; ++k) {
      at += rest % axes.length[k] * axes.stride[k];
      rest /= axes.length[k];
    }
    at += rest * axes.stride[axes.rank - 1];
    if constexpr (std::is_same_v<From, To>) {
      to[i] = from[at];
    } else {
      to[i] = as<To>(from[at]);
    }
  }
}

// A row each of `parts`: whether there is NaN, the largest number, and minus the least one.
enum Row { row_nan, row_largest, row_least, rows };

template <class T>
__global__ void __launch_bounds__(block_size) extent_kernel(const T* data, Index n, double* parts) {
  __shared__ T shared[block_size / 32];
  constexpr auto none = std::numeric_limits<T>::infinity();
  T mine[rows] = {0, -none, -none};
  const Index step = Index{gridDim.x} * block_size;
  for (Index i = Index{blockIdx.x} * block_size + threadIdx.x; i < n; i += step) {
    const T value = data[i];
    if (std::isnan(value)) {
      mine[row_nan] = 1;
    } else {
      mine[row_largest] = max(mine[row_largest], value);
      mine[row_least] = max(mine[row_least], -value);
    }
  }
  for (int r = 0; r < rows; ++r) {
    const T of_block = block_max<block_size>(mine[r], shared);
    if (threadIdx.x == 0) parts[r * Index{gridDim.x} + blockIdx.x] = static_cast<double>(of_block);
  }
}

// --- launchers

template <class From, class To>
void run(const void* from, Index ndim, const Index* shape, const Index* strides, void* to, Stream& stream) {
  Axes axes{1, {1}, {1}};
  Index n = 1;
  for (Index k = ndim; k-- > 0;) {
    n *= shape[k];
    if (shape[k] == 1) continue;
    const int last = axes.rank - 1;
    if (axes.length[last] == 1) {
      axes.length[last] = shape[k];
      axes.stride[last] = strides[k];
    } else if (strides[k] == axes.length[last] * axes.stride[last]) {  // goes on where the last axis ends
      axes.length[last] *= shape[k];
    } else {
      axes.length[axes.rank] = shape[k];
      axes.stride[axes.rank] = strides[k];
      ++axes.rank;
    }
  }
  if (n == 0) return;
  const auto kernel = convert_kernel<From, To>;
  launch(kernel, grid_for(kernel, ceil_div(n, block_size), block_size, 0, 4), block_size, 0, stream, axes,
         static_cast<const From*>(from), static_cast<To*>(to), n);
}

// Calls body with a value of the type of the kind.
template <class Body>
void with_type(Kind kind, const Body& body) {
  switch (kind) {
    case Kind::boolean:
    case Kind::uint8:
      return body(std::uint8_t{});
    case Kind::int8:
      return body(std::int8_t{});
    case Kind::int16:
      return body(std::int16_t{});
    case Kind::int32:
      return body(std::int32_t{});
    case Kind::int64:
      return body(std::int64_t{});
    case Kind::uint16:
      return body(std::uint16_t{});
    case Kind::uint32:
      return body(std::uint32_t{});
    case Kind::uint64:
      return body(std::uint64_t{});
    case Kind::float16:
      return body(Half{});
    case Kind::bfloat16:
      return body(Brain{});
    case Kind::float32:
      return body(float{});
    case Kind::float64:
      return body(double{});
  }
  throw std::invalid_argument("dtype: no such kind of number");
}

}  // namespace

std::size_t size_of(Kind kind) {
  std::size_t size = 0;
  with_type(kind, [&](auto value) { size = sizeof value; });
  return size;
}

void convert(Kind from_kind, const void* from, Index ndim, const Index* shape, const Index* strides,
             Kind to_kind, void* to, Stream& stream) {
  require(ndim <= most_axes, "shape: expected at most ", most_axes, " axes, got ", ndim);
  require(from_kind == to_kind || to_kind == Kind::float32 || to_kind == Kind::float64,
          "dtype: expected float32 or float64");
  with_type(from_kind, [&](auto value) {
    using From = decltype(value);
    if (from_kind == to_kind) {
      run<From, From>(from, ndim, shape, strides, to, stream);
    } else if (to_kind == Kind::float32) {
      run<From, float>(from, ndim, shape, strides, to, stream);
    } else {
      run<From, double>(from, ndim, shape, strides, to, stream);
    }
  });
}

template <class T>
Extent extent_of(const T* data, Index size, Stream& stream) {
  if (size == 0) return {};
  const auto kernel = extent_kernel<T>;
  const unsigned blocks = grid_for(kernel, ceil_div(size, block_size), block_size, 0, 4);
  const Buffer<double> parts(Index{rows} * blocks, stream);
  launch(kernel, blocks, block_size, 0, stream, data, size, parts.data());
  std::vector<double> found(static_cast<std::size_t>(parts.size()));
  download(parts.data(), found.data(), parts.size(), stream);
  const auto largest = [&](Row row) {
    return *std::max_element(&found[row * blocks], &found[row * blocks] + blocks);
  };
  return {largest(row_nan) > 0, -largest(row_least), largest(row_largest)};
}

template Extent extent_of(const float*, Index, Stream&);
template Extent extent_of(const double*, Index, Stream&);

}  // namespace thalweg::cuda
