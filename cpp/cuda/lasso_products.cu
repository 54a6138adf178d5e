// ISTA and FISTA for many atoms: the product by cuBLAS, and one kernel for the step, shrinkage, momentum and
// restart.
//
// The roof of that kernel is the memory. From an anchor it reads the product, the point, the start, the
// anchor and the code, and writes point and code: 24 bytes an atom and row in all (44 with full products in
// double), where K = 1024 takes 6 ns a row on a card of 4 TB/s, beside a product of 2 K^2 operations, 3 ns at
// the 700 TFLOP/s of bfloat16. A row's codes stay in registers between the step and the momentum, which waits
// for the sum over the row that decides the restart.
#include <cmath>

#include "core/lasso_numbers.hpp"
#include "core/parallel.hpp"
#include "cuda/lasso_iterate.hpp"
#include "cuda/launch.hpp"
#include "cuda/mma.cuh"

namespace thalweg::cuda {
namespace {

constexpr unsigned warp_size = 32;
constexpr int width = 4;                // neighbours that a thread takes at a time
constexpr unsigned most_threads = 512;  // of a row

template <class T>
struct alignas(16) Pack {
  T at[width];
};

template <class T>
struct Step {
  LassoRows<T> rows;
  const T* product;  // of the point or the way
  Index count;
  Index stride;
  T step;  // 1 / L
  T l2;    // what the product leaves out
  Penalty penalty;
  bool positive;
  bool is_accelerated;
  bool has_restarts;
  bool is_last;  // of the stretch: the way is then from the new codes, which will be the anchor
};

template <class T>
__device__ Pack<T> load(const T* from) {
  return *reinterpret_cast<const Pack<T>*>(from);
}

template <class T>
__device__ void store(T* to, const Pack<T>& pack) {
  *reinterpret_cast<Pack<T>*>(to) = pack;
}

__device__ Pack<float> load(const Bfloat16* from) {
  const uint2 both = *reinterpret_cast<const uint2*>(from);
  return {{first_of_bf16(both.x), second_of_bf16(both.x), first_of_bf16(both.y), second_of_bf16(both.y)}};
}

__device__ void store(Bfloat16* to, const Pack<float>& p) {
  *reinterpret_cast<uint2*>(to) = uint2{pack_bf16(p.at[0], p.at[1]), pack_bf16(p.at[2], p.at[3])};
}

// The codes after the step from the point, and what they tell about the momentum's direction.
template <class T, bool is_anchored>
__device__ Pack<T> next_codes(const Step<T>& s, Index at, Index col, Index p, T threshold_factor,
                              const Pack<T>& code, T& turn) {
  const Pack<T> start = load(s.rows.start + at);
  const Pack<T> product = load(s.product + at);
  const Pack<T> threshold = load(s.rows.threshold + p * s.rows.threshold_stride + col);
  Pack<T> point;
  Pack<T> next;
  Pack<T> anchor;
  if constexpr (is_anchored) {
    point = load(s.rows.way + at);
    anchor = load(s.rows.anchor + at);
  } else {
    point = load(s.rows.point + at);
  }
#pragma unroll
  for (int i = 0; i < width; ++i) {
    const T from = point.at[i];
    const T sum = product.at[i] + s.l2 * from;
    const T limit = threshold.at[i] * threshold_factor;
    T y = from;
    if constexpr (is_anchored) {
      const T v = start.at[i] + from - s.step * sum;
      next.at[i] = prox_number<T, Penalty::l1>(v, limit, s.positive);
      y = anchor.at[i] + from;
    } else {
      next.at[i] = prox_any(from + s.step * (start.at[i] - sum), limit, s.penalty, s.positive);
    }
    turn += (y - next.at[i]) * (next.at[i] - code.at[i]);
  }
  return next;
}

template <class T, bool is_anchored>
__device__ void advance(const Step<T>& s, Index at, T factor, const Pack<T>& code, const Pack<T>& next) {
  Pack<T> point;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    const T change = factor * (next.at[i] - code.at[i]);
    point.at[i] = is_anchored && s.is_last ? change : next.at[i] + change;
  }
  store(s.rows.codes + at, next);
  if constexpr (is_anchored) {
    if (!s.is_last) {
      const Pack<T> anchor = load(s.rows.anchor + at);
#pragma unroll
      for (int i = 0; i < width; ++i) point.at[i] -= anchor.at[i];
    }
    store(s.rows.way + at, point);
  } else {
    store(s.rows.point + at, point);
  }
}

// The sum over the threads of a row, the same to all of them.
__device__ double sum_of_row(double value) {
  for (int way = 16; way > 0; way /= 2) value += __shfl_xor_sync(~0U, value, way);
  if (blockDim.x == warp_size) return value;
  __shared__ double of_warp[warp_size];
  const unsigned n_warps = blockDim.x / warp_size;
  if (threadIdx.x % warp_size == 0) of_warp[threadIdx.x / warp_size] = value;
  __syncthreads();
  value = 0;
  for (unsigned w = 0; w < n_warps; ++w) value += of_warp[w];
  return value;
}

// One iteration. A row is done by the blockDim.x threads of one threadIdx.y; where that is more than a warp,
// it has the block for itself. `packs`: how many a thread holds; 0: any number, and the codes go by way of
// memory.
template <class T, bool is_anchored, int packs>
__global__ void __launch_bounds__(most_threads) step_kernel(const __grid_constant__ Step<T> s) {
  const Index p = Index{blockIdx.x} * blockDim.y + threadIdx.y;
  if (p >= s.count) return;  // whole warps
  const LassoRow& row = s.rows.row[p];
  const double momentum = row.momentum;
  const T threshold_factor = s.rows.threshold_stride == 0 ? static_cast<T>(row.threshold_factor) : T(1);
  const Index first = Index{threadIdx.x} * width;
  const Index apart = Index{blockDim.x} * width;
  T turn = 0;
  Pack<T> code[packs > 0 ? packs : 1];
  Pack<T> next[packs > 0 ? packs : 1];
  if constexpr (packs > 0) {
#pragma unroll
    for (int i = 0; i < packs; ++i) {
      const Index col = first + i * apart;
      if (col >= s.stride) break;
      const Index at = p * s.stride + col;
      code[i] = load(s.rows.codes + at);
      next[i] = next_codes<T, is_anchored>(s, at, col, p, threshold_factor, code[i], turn);
    }
  } else {
    for (Index col = first; col < s.stride; col += apart) {
      const Index at = p * s.stride + col;
      code[0] = load(s.rows.codes + at);
      next[0] = next_codes<T, is_anchored>(s, at, col, p, threshold_factor, code[0], turn);
      store(const_cast<T*>(s.product) + at, next[0]);  // read by this thread alone
    }
  }
  double later = next_momentum(momentum);
  T factor = s.is_accelerated ? static_cast<T>((momentum - 1.0) / later) : T(0);
  if (s.has_restarts) {
    if (sum_of_row(static_cast<double>(turn)) > 0) {  // the momentum points uphill
      later = next_momentum(1.0);
      factor = T(0);
    }
    __syncwarp();  // all have read it
    if (threadIdx.x == 0) s.rows.row[p].momentum = later;
  }
  if constexpr (packs > 0) {
#pragma unroll
    for (int i = 0; i < packs; ++i) {
      const Index col = first + i * apart;
      if (col >= s.stride) break;
      advance<T, is_anchored>(s, p * s.stride + col, factor, code[i], next[i]);
    }
  } else {
    for (Index col = first; col < s.stride; col += apart) {
      const Index at = p * s.stride + col;
      advance<T, is_anchored>(s, at, factor, load(s.rows.codes + at), load(s.product + at));
    }
  }
}

// t of every row after an iteration without restarts, which step_kernel's threads have read.
__global__ void momentum_kernel(LassoRow* rows, Index count) {
  const Index p = Index{blockIdx.x} * blockDim.x + threadIdx.x;
  if (p < count) rows[p].momentum = next_momentum(rows[p].momentum);
}

template <class T, bool is_anchored>
void step(const Step<T>& s, Stream& stream) {
  constexpr Index most_packs = 4;
  constexpr unsigned threads = 256;
  const Index packs = ceil_div(s.stride, width);
  // Powers of two: a warp up to 512 atoms, the whole block beyond.
  unsigned of_row = warp_size;
  while (of_row < most_threads && packs > Index{of_row} * most_packs) of_row *= 2;
  const unsigned rows = of_row == warp_size ? threads / warp_size : 1;
  const Index each = ceil_div(packs, of_row);
  auto* const kernel = each > most_packs ? step_kernel<T, is_anchored, 0>
                       : each > 2        ? step_kernel<T, is_anchored, 4>
                       : each > 1        ? step_kernel<T, is_anchored, 2>
                                         : step_kernel<T, is_anchored, 1>;
  launch(kernel, static_cast<unsigned>(ceil_div(s.count, rows)), dim3(of_row, rows), 0, stream, s);
  if (s.is_accelerated && !s.has_restarts)
    launch(momentum_kernel, static_cast<unsigned>(ceil_div(s.count, threads)), threads, 0, stream, s.rows.row,
           s.count);
}

// product = way (D D^T + l2 I), without l2 where there are two products.
void multiply_way(const CodingDictionary<float>::Prepared& d, const LassoRows<float>& rows, Index count,
                  float* product, float* between, Stream& stream) {
  const Operand<const Bfloat16> way{rows.way, d.stride};
  const Operand<float> to{product, d.stride};
  if (!d.has_two_products) {
    gemm(stream, count, d.stride, d.stride, 1.0F, way, {d.rough_gram.data(), d.stride}, 0.0F, to);
    return;
  }
  const Index n = d.n_features;
  gemm(stream, count, n, d.stride, 1.0F, way, {d.rough_atoms.data(), n}, 0.0F, {between, n});
  gemm(stream, count, d.stride, n, 1.0F, {between, n}, {d.working_atoms.data(), n, Transposed::yes}, 0.0F, to,
       Precision::tf32);
}

// product = point (D D^T + l2 I), likewise.
template <class T>
void multiply_point(const typename CodingDictionary<T>::Prepared& d, const LassoRows<T>& rows, Index count,
                    T* product, T* between, Stream& stream) {
  const Operand<const T> point{rows.point, d.stride};
  const Operand<T> to{product, d.stride};
  if (!d.has_two_products) {
    gemm(stream, count, d.stride, d.stride, T(1), point, {d.gram.data(), d.stride}, T(0), to);
    return;
  }
  const Index n = d.n_features;
  gemm(stream, count, n, d.stride, T(1), point, {d.working_atoms.data(), n}, T(0), Operand<T>{between, n});
  gemm(stream, count, d.stride, n, T(1), Operand<const T>{between, n},
       {d.working_atoms.data(), n, Transposed::yes}, T(0), to);
}

}  // namespace

template <class T>
void iterate_products(const LassoProblem<T>& problem,
                      const typename CodingDictionary<T>::Prepared& dictionary, LassoRows<T> rows,
                      const LassoStretch& stretch, T* product, T* between, Stream& stream) {
  Step<T> s{};
  s.rows = rows;
  s.product = product;
  s.count = stretch.count;
  s.stride = problem.stride;
  s.step = static_cast<T>(1.0 / problem.lipschitz);
  s.l2 = dictionary.has_two_products ? static_cast<T>(problem.l2) : T(0);
  s.penalty = problem.penalty;
  s.positive = problem.positive;
  s.is_accelerated = stretch.is_accelerated;
  s.has_restarts = stretch.has_restarts;
  for (Index i = 0; i < stretch.iterations; ++i) {
    poll_interrupt();
    s.is_last = i + 1 == stretch.iterations;
    if constexpr (std::is_same_v<T, float>) {
      if (rows.way != nullptr) {
        multiply_way(dictionary, rows, stretch.count, product, between, stream);
        step<T, true>(s, stream);
        continue;
      }
    }
    multiply_point<T>(dictionary, rows, stretch.count, product, between, stream);
    step<T, false>(s, stream);
  }
}

template void iterate_products(const LassoProblem<float>&, const CodingDictionary<float>::Prepared&,
                               LassoRows<float>, const LassoStretch&, float*, float*, Stream&);
template void iterate_products(const LassoProblem<double>&, const CodingDictionary<double>::Prepared&,
                               LassoRows<double>, const LassoStretch&, double*, double*, Stream&);

}  // namespace thalweg::cuda
