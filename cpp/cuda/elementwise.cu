// Elementwise functions and proximal maps on the device.
//
// The roof is the memory: x (and alpha, where it is an array) is read once and out written once, 8 bytes an
// element in single precision. A card that moves 4 TB/s does 0.5 elements a picosecond so, and has some 60
// instruction slots for each: math.cuh keeps the smooth functions at 20 to 30. A thread has four 16-byte
// loads under way before it computes, and nothing is kept in the caches that is not used again.
#include "kernels/elementwise.hpp"

#include <cstdint>
#include <cstring>
#include <limits>

#include "core/error.hpp"
#include "core/scalar.hpp"
#include "core/walk.hpp"
#include "cuda/elementwise_plan.hpp"
#include "cuda/launch.hpp"
#include "cuda/math.cuh"

namespace thalweg::cuda {
namespace {

// --- what is done to an element

struct Softplus {
  template <class T>
  __device__ T operator()(T u, T) const {
    return device_softplus(u);
  }
};

struct Sigmoid {
  template <class T>
  __device__ T operator()(T u, T) const {
    return device_sigmoid(u);
  }
};

struct LogSigmoid {
  template <class T>
  __device__ T operator()(T u, T) const {
    return device_log_sigmoid(u);
  }
};

struct DSigmoid {
  template <class T>
  __device__ T operator()(T u, T) const {
    return device_d_sigmoid(u);
  }
};

struct DLogSigmoid {
  template <class T>
  __device__ T operator()(T u, T) const {
    return device_sigmoid(-u);
  }
};

struct Shrink {
  template <class T>
  __device__ T operator()(T z, T alpha) const {
    return shrink(z, alpha);
  }
};

struct ShrinkNonneg {
  template <class T>
  __device__ T operator()(T z, T alpha) const {
    return shrink_nonneg(z, alpha);
  }
};

struct HardShrink {
  template <class T>
  __device__ T operator()(T z, T alpha) const {
    return hard_shrink(z, alpha);
  }
};

struct ProxHalf {
  template <class T>
  __device__ T operator()(T z, T alpha) const {
    return prox_half(z, alpha);
  }
};

struct ProxTwoThirds {
  template <class T>
  __device__ T operator()(T z, T alpha) const {
    return prox_two_thirds(z, alpha);
  }
};

// --- contiguous arrays

// What the second argument is: nothing, one number, or an array.
enum class Weight { none, one, each };

template <class T>
struct alignas(16) Pack {
  static constexpr int size = pack_bytes / sizeof(T);
  T element[size];
};

template <class T>
__device__ Pack<T> load(const T* from) {
  const float4 bits = __ldcs(reinterpret_cast<const float4*>(from));
  Pack<T> pack;
  std::memcpy(&pack, &bits, sizeof bits);
  return pack;
}

template <class T>
__device__ void store(T* to, const Pack<T>& pack) {
  float4 bits;
  std::memcpy(&bits, &pack, sizeof bits);
  __stcs(reinterpret_cast<float4*>(to), bits);
}

constexpr auto block_size = static_cast<unsigned>(elementwise_block);

// The tile from `first` on. `x`, `alpha` (where it is an array) and `out` are aligned to 16 bytes there.
template <class T, Weight weight, class F>
__device__ void whole_tile(const F& f, const T* x, const T* alpha, T fixed, T* out, Index first) {
  constexpr int size = Pack<T>::size;
  const Index mine = first + Index{threadIdx.x} * size;
  Pack<T> in[packs_under_way];
  Pack<T> weights[packs_under_way];
#pragma unroll
  for (Index p = 0; p < packs_under_way; ++p) {
    in[p] = load(x + mine + p * elementwise_block * size);
    if constexpr (weight == Weight::each) weights[p] = load(alpha + mine + p * elementwise_block * size);
  }
#pragma unroll
  for (Index p = 0; p < packs_under_way; ++p) {
#pragma unroll
    for (int i = 0; i < size; ++i) {
      if constexpr (weight == Weight::each) fixed = weights[p].element[i];
      in[p].element[i] = f(in[p].element[i], fixed);
    }
    store(out + mine + p * elementwise_block * size, in[p]);
  }
}

// out[i] = f(x[i], alpha[i]) for i below n.
template <class T, Weight weight, class F>
__global__ void __launch_bounds__(block_size)
    contiguous_kernel(F f, const T* x, const T* alpha, T* out, Index n, ElementwisePlan plan) {
  const T fixed = weight == Weight::one ? *alpha : T(0);
  const auto one = [&](Index i) { out[i] = f(x[i], weight == Weight::each ? alpha[i] : fixed); };
  for (Index tile = blockIdx.x; tile < plan.tiles; tile += gridDim.x)
    whole_tile<T, weight>(f, x, alpha, fixed, out, plan.head + tile * plan.tile);
  const Index mine = Index{blockIdx.x} * block_size + threadIdx.x;
  if (mine < plan.head) one(mine);
  for (Index i = n - plan.tail(n) + mine; i < n; i += Index{gridDim.x} * block_size) one(i);
}

// --- strided arrays

constexpr int most_axes = 64;  // NumPy's

// Strides in elements of x, alpha and out, the last axis first.
struct Axes {
  int rank = 0;
  Index length[most_axes];
  Index stride[3][most_axes];
};

// `Number` holds the count of elements: 32 bits where they suffice, for division takes a multiple of the time
// in 64.
template <class Number, class T, Weight weight, class F>
__global__ void __launch_bounds__(block_size)
    strided_kernel(F f, const __grid_constant__ Axes axes, const T* x, const T* alpha, T* out, Number n) {
  const Number step = static_cast<Number>(gridDim.x) * block_size;
  Number i = static_cast<Number>(blockIdx.x) * block_size + threadIdx.x;
  for (; i < n; i += step) {
    Number rest = i;
    Index from = 0;
    Index by = 0;
    Index to = 0;
    for (int k = 0; k < axes.rank; ++k) {
      const auto length = static_cast<Number>(axes.length[k]);
      const Number quotient = rest / length;
      const auto at = static_cast<Index>(rest - quotient * length);
      rest = quotient;
      from += at * axes.stride[0][k];
      if (weight != Weight::none) by += at * axes.stride[1][k];
      to += at * axes.stride[2][k];
    }
    out[to] = f(x[from], weight == Weight::none ? T(0) : alpha[by]);
  }
}

// --- launchers

// Elements behind an aligned address.
template <class T>
Index misalignment(const T* p) {
  return static_cast<Index>(reinterpret_cast<std::uintptr_t>(p) % pack_bytes / sizeof(T));
}

template <class T, Weight weight, class F>
void run_contiguous(const F& f, const T* x, const T* alpha, T* out, Index n, Stream& stream) {
  const Index past = misalignment(out);
  const bool is_common = past == misalignment(x) && (weight != Weight::each || past == misalignment(alpha));
  const auto plan = plan_elementwise(n, sizeof(T), is_common ? past : -1);
  const auto kernel = contiguous_kernel<T, weight, F>;
  launch(kernel, grid_for(kernel, plan.blocks(n), block_size, 0, 4), block_size, 0, stream, f, x, alpha, out,
         n, plan);
}

template <class T, Weight weight, class F>
void run_strided(const F& f, const Walk& walk, const T* x, const T* alpha, T* out, Stream& stream) {
  const std::size_t rank = walk.shape.size();
  require(rank <= most_axes, "shape: expected at most ", most_axes, " axes, got ", rank);
  Axes axes{};
  axes.rank = static_cast<int>(rank);
  for (std::size_t k = 0; k < rank; ++k) {
    axes.length[k] = walk.shape[rank - 1 - k];
    for (std::size_t a = 0; a < 3; ++a) axes.stride[a][k] = walk.strides[a][rank - 1 - k];
  }
  const Index blocks = ceil_div(walk.size, block_size);
  if (walk.size <= std::numeric_limits<std::int32_t>::max()) {
    const auto kernel = strided_kernel<std::uint32_t, T, weight, F>;
    launch(kernel, grid_for(kernel, blocks, block_size, 0, 4), block_size, 0, stream, f, axes, x, alpha, out,
           static_cast<std::uint32_t>(walk.size));
  } else {
    const auto kernel = strided_kernel<std::uint64_t, T, weight, F>;
    launch(kernel, grid_for(kernel, blocks, block_size, 0, 4), block_size, 0, stream, f, axes, x, alpha, out,
           static_cast<std::uint64_t>(walk.size));
  }
}

template <bool has_weight, class T, class F>
void run(const F& f, Index ndim, const Index* shape, StridedView<const T> x, StridedView<const T> alpha,
         StridedView<T> out, Stream& stream) {
  const Walk walk(ndim, shape, x.strides, alpha.strides, out.strides);
  if (walk.size == 0) return;
  if (!walk.is_contiguous()) {
    constexpr Weight weight = has_weight ? Weight::each : Weight::none;
    run_strided<T, weight>(f, walk, x.data, alpha.data, out.data, stream);
  } else if constexpr (!has_weight) {
    run_contiguous<T, Weight::none>(f, x.data, alpha.data, out.data, walk.size, stream);
  } else if (walk.strides[1][0] == 0) {
    run_contiguous<T, Weight::one>(f, x.data, alpha.data, out.data, walk.size, stream);
  } else {
    run_contiguous<T, Weight::each>(f, x.data, alpha.data, out.data, walk.size, stream);
  }
}

}  // namespace

template <class T>
void apply_smooth(Smooth f, Index ndim, const Index* shape, StridedView<const T> x, StridedView<T> out,
                  Stream& stream) {
  const auto apply = [&](const auto& function) { run<false, T>(function, ndim, shape, x, {}, out, stream); };
  switch (f) {
    case Smooth::softplus:
      return apply(Softplus{});
    case Smooth::sigmoid:
      return apply(Sigmoid{});
    case Smooth::log_sigmoid:
      return apply(LogSigmoid{});
    case Smooth::d_sigmoid:
      return apply(DSigmoid{});
    case Smooth::d_log_sigmoid:
      return apply(DLogSigmoid{});
  }
  throw std::invalid_argument("f: no such function");
}

template <class T>
void apply_prox(Prox f, double q, Index ndim, const Index* shape, StridedView<const T> z,
                StridedView<const T> alpha, StridedView<T> out, Stream& stream) {
  const auto apply = [&](const auto& function) {
    run<true, T>(function, ndim, shape, z, alpha, out, stream);
  };
  if (f == Prox::shrink) return apply(Shrink{});
  if (f == Prox::shrink_nonneg) return apply(ShrinkNonneg{});
  require(q >= 0 && q <= 1, "q: expected a number in [0, 1], got ", q);
  if (q == 0) return apply(HardShrink{});
  if (q == 0.5) return apply(ProxHalf{});
  if (q == 2.0 / 3.0) return apply(ProxTwoThirds{});
  if (q == 1) return apply(Shrink{});
  apply(LqProx<T>(q));
}

template void apply_smooth(Smooth, Index, const Index*, StridedView<const float>, StridedView<float>,
                           Stream&);
template void apply_smooth(Smooth, Index, const Index*, StridedView<const double>, StridedView<double>,
                           Stream&);
template void apply_prox(Prox, double, Index, const Index*, StridedView<const float>,
                         StridedView<const float>, StridedView<float>, Stream&);
template void apply_prox(Prox, double, Index, const Index*, StridedView<const double>,
                         StridedView<const double>, StridedView<double>, Stream&);

}  // namespace thalweg::cuda
