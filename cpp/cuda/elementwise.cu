// Elementwise functions and proximal maps on the device.
//
// The roof is the memory: x (and alpha, where it is an array) is read once and out written once, 8 bytes an
// element in single precision. A card that moves 4 TB/s does 0.5 elements a picosecond so, and has some 60
// instruction slots for each: math.cuh keeps the smooth functions at 25 to 40. A thread has four 16-byte
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

// What the second argument is: nothing, one number, an array, a row that repeats or a column that does.
enum class Weight { none, one, each, row, column };

// Walks over the elements of such an argument, one after the other.
template <class T, Weight weight>
class Weights {
 public:
  __device__ Weights(const T* alpha, Index i, Index cols) : alpha_(alpha), at_(i), cols_(cols) {
    if constexpr (weight == Weight::one) fixed_ = *alpha;
    if constexpr (is_repeated) move_to(i);
  }

  __device__ void move_to(Index i) {
    at_ = i;
    if constexpr (is_repeated) {
      // Division takes a multiple of the time in 64 bits.
      if (i <= std::numeric_limits<std::uint32_t>::max() &&
          cols_ <= std::numeric_limits<std::uint32_t>::max()) {
        row_ = static_cast<std::uint32_t>(i) / static_cast<std::uint32_t>(cols_);
      } else {
        row_ = i / cols_;
      }
      col_ = i - row_ * cols_;
    }
  }

  __device__ T next() {
    if constexpr (weight == Weight::none) return T(0);
    if constexpr (weight == Weight::one) return fixed_;
    if constexpr (weight == Weight::each) return alpha_[at_++];
    const T value = alpha_[weight == Weight::row ? col_ : row_];
    if (++col_ == cols_) {
      col_ = 0;
      ++row_;
    }
    return value;
  }

 private:
  static constexpr bool is_repeated = weight == Weight::row || weight == Weight::column;

  const T* alpha_;
  Index at_;
  Index cols_;
  Index row_ = 0;
  Index col_ = 0;
  T fixed_ = T(0);
};

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

// The tile from `first` on. `x`, `alpha` (where it is an array of their shape) and `out` are aligned to 16
// bytes there.
template <class T, Weight weight, class F>
__device__ void whole_tile(const F& f, const T* x, const T* alpha, Weights<T, weight>& weights, T* out,
                           Index first) {
  constexpr int size = Pack<T>::size;
  const Index mine = first + Index{threadIdx.x} * size;
  Pack<T> in[packs_under_way];
  Pack<T> given[packs_under_way];
#pragma unroll
  for (Index p = 0; p < packs_under_way; ++p) {
    in[p] = load(x + mine + p * elementwise_block * size);
    if constexpr (weight == Weight::each) given[p] = load(alpha + mine + p * elementwise_block * size);
  }
#pragma unroll
  for (Index p = 0; p < packs_under_way; ++p) {
    const Index at = mine + p * elementwise_block * size;
    if constexpr (weight == Weight::row || weight == Weight::column) weights.move_to(at);
#pragma unroll
    for (int i = 0; i < size; ++i) {
      const T by = weight == Weight::each ? given[p].element[i] : weights.next();
      in[p].element[i] = f(in[p].element[i], by);
    }
    store(out + at, in[p]);
  }
}

// out[i] = f(x[i], weight i of alpha) for i below n; rows have `cols` elements.
template <class T, Weight weight, class F>
__global__ void __launch_bounds__(block_size)
    contiguous_kernel(F f, const T* x, const T* alpha, T* out, Index n, Index cols, ElementwisePlan plan) {
  const Index mine = Index{blockIdx.x} * block_size + threadIdx.x;
  const Index tail = n - plan.tail(n);
  Weights<T, weight> weights(alpha, 0, cols);
  for (Index tile = blockIdx.x; tile < plan.tiles; tile += gridDim.x)
    whole_tile<T, weight>(f, x, alpha, weights, out, plan.head + tile * plan.tile);
  const auto one = [&](Index i) {
    weights.move_to(i);
    out[i] = f(x[i], weights.next());
  };
  if (mine < plan.head) one(mine);
  for (Index i = tail + mine; i < n; i += Index{gridDim.x} * block_size) one(i);
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
void run_contiguous(const F& f, const T* x, const T* alpha, T* out, Index n, Index cols, Stream& stream) {
  const Index past = misalignment(out);
  const bool is_common = past == misalignment(x) && (weight != Weight::each || past == misalignment(alpha));
  const auto plan = plan_elementwise(n, sizeof(T), is_common ? past : -1);
  const auto kernel = contiguous_kernel<T, weight, F>;
  launch(kernel, grid_for(kernel, plan.blocks(n), block_size, 0, 4), block_size, 0, stream, f, x, alpha, out,
         n, cols, plan);
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

// Whether x and out are contiguous matrices, and alpha moves by these strides along their two axes.
bool repeats(const Walk& walk, Index down, Index along) {
  if (walk.shape.size() != 2) return false;
  const Index cols = walk.shape[1];
  const auto moves = [&](std::size_t a, Index by_row, Index by_col) {
    return walk.strides[a][0] == by_row && walk.strides[a][1] == by_col;
  };
  return moves(0, cols, 1) && moves(1, down, along) && moves(2, cols, 1);
}

template <bool has_weight, class T, class F>
void run(const F& f, Index ndim, const Index* shape, StridedView<const T> x, StridedView<const T> alpha,
         StridedView<T> out, Stream& stream) {
  const Walk walk(ndim, shape, x.strides, alpha.strides, out.strides);
  if (walk.size == 0) return;
  const Index cols = walk.shape.back();
  const auto contiguous = [&]<Weight weight>() {
    run_contiguous<T, weight>(f, x.data, alpha.data, out.data, walk.size, cols, stream);
  };
  if constexpr (!has_weight) {
    if (walk.is_contiguous()) return contiguous.template operator()<Weight::none>();
    run_strided<T, Weight::none>(f, walk, x.data, alpha.data, out.data, stream);
  } else {
    if (walk.is_contiguous()) {
      return walk.strides[1][0] == 0 ? contiguous.template operator()<Weight::one>()
                                     : contiguous.template operator()<Weight::each>();
    }
    if (repeats(walk, 0, 1)) return contiguous.template operator()<Weight::row>();
    if (repeats(walk, 1, 0)) return contiguous.template operator()<Weight::column>();
    run_strided<T, Weight::each>(f, walk, x.data, alpha.data, out.data, stream);
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
