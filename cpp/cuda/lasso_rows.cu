// What is done with rows between stretches of iterations.
//
// The certificate takes two products in double, 4 K n operations a row, by cuBLAS; what is here reads and
// writes each array once: 40 K bytes a row. On a card of 4 TB/s and 60 TFLOP/s in double that is 10 ns for K
// = 1024 beside 17 ns of products (n = 256), and a stretch of ten or more iterations lies between two
// certificates.
//
// One warp a row everywhere; sums are over lanes in a fixed tree.
#include "cuda/lasso_rows.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/lasso_numbers.hpp"
#include "cuda/launch.hpp"
#include "cuda/mma.cuh"

namespace thalweg::cuda {
namespace {

constexpr unsigned warp_size = 32;
constexpr unsigned warps = 8;
constexpr unsigned block_size = warps * warp_size;

__device__ Index my_row() { return Index{blockIdx.x} * warps + threadIdx.x / warp_size; }
__device__ Index my_lane() { return threadIdx.x % warp_size; }

template <class T>
__device__ T* row_of(const MatrixView<T>& matrix, Index i) {
  return matrix.data + i * matrix.stride;
}

template <class T>
__device__ T weight_of(const BroadcastView<T>& alpha, Index i, Index j) {
  return alpha.data[i * alpha.row_stride + j * alpha.col_stride];
}

__device__ double sum_of_warp(double value) {
  for (int way = 16; way > 0; way /= 2) value += __shfl_xor_sync(~0U, value, way);
  return value;
}

__device__ double largest_of_warp(double value) {
  for (int way = 16; way > 0; way /= 2) raise(value, __shfl_xor_sync(~0U, value, way));
  return value;
}

unsigned row_blocks(Index count) { return static_cast<unsigned>(ceil_div(count, warps)); }

// --- the start

template <class T>
__device__ double largest_weight(const LassoProblem<T>& problem, Index i) {
  double largest = 0;
  for (Index j = my_lane(); j < problem.n_components; j += warp_size)
    largest = max(largest, static_cast<double>(weight_of(problem.alpha, i, j)));
  return largest_of_warp(largest);
}

// The thresholds that all rows share, in the units that alpha asks for.
template <class T>
__global__ void __launch_bounds__(warp_size)
    thresholds_kernel(const __grid_constant__ LassoProblem<T> problem, T* threshold) {
  const double scale = scale_for_weight(largest_weight(problem, 0), problem.scale, problem.penalty);
  const double factor = weight_factor(scale, problem.scale, problem.penalty) / problem.lipschitz;
  for (Index j = my_lane(); j < problem.stride; j += warp_size)
    threshold[j] = j < problem.n_components
                       ? static_cast<T>(static_cast<double>(weight_of(problem.alpha, 0, j)) * factor)
                       : T(1);
}

template <class T>
__global__ void __launch_bounds__(block_size) load_kernel(const __grid_constant__ LassoProblem<T> problem,
                                                          const LassoRows<T> rows, Index first, Index count) {
  const Index p = my_row();
  if (p >= count) return;
  const Index lane = my_lane();
  const Index i = first + p;
  const T* const x = row_of(problem.x, i);
  double largest = 0;
  for (Index k = lane; k < problem.x.cols; k += warp_size)
    largest = max(largest, std::abs(static_cast<double>(x[k])));
  largest = largest_of_warp(largest);
  const double weight = largest_weight(problem, i);
  const double shared_scale = scale_for_weight(weight, problem.scale, problem.penalty);
  LassoRow row{};
  row.row = i;
  row.x_scale = scale_for_sample<T>(shared_scale, largest);
  row.alpha_factor = weight_factor(row.x_scale, problem.scale, problem.penalty);
  // Where it leaves the range of T, so do all thresholds.
  const double most = static_cast<double>(std::numeric_limits<T>::max());
  row.threshold_factor = min(pow(row.x_scale / shared_scale, 2.0 - exponent(problem.penalty)), most);
  double squared = 0;
  for (Index k = lane; k < problem.x.cols; k += warp_size) {
    const double scaled = static_cast<double>(x[k]) * row.x_scale;
    squared += scaled * scaled;
  }
  squared = sum_of_warp(squared);
  row.x_squared = largest == 0 ? 0.0 : max(squared, std::numeric_limits<double>::denorm_min());
  row.momentum = 1.0;
  row.lowest_energy = std::numeric_limits<double>::infinity();
  if (lane == 0) rows.row[p] = row;
  const double code_scale = row.x_scale / problem.scale;
  const double to_threshold = row.alpha_factor / problem.lipschitz;
  for (Index j = lane; j < problem.stride; j += warp_size) {
    const bool is_atom = j < problem.n_components;
    T code = T(0);
    if (is_atom && problem.warm_start) {
      code = static_cast<T>(static_cast<double>(row_of(problem.codes, i)[j]) * code_scale);
      if (problem.positive && code < T(0)) code = T(0);
    }
    const Index at = p * problem.stride + j;
    rows.codes[at] = code;
    if (rows.point != nullptr) rows.point[at] = code;
    if (rows.way != nullptr) rows.way[at] = Bfloat16{0};
    if (rows.threshold_stride > 0)
      rows.threshold[at] =
          is_atom ? static_cast<T>(static_cast<double>(weight_of(problem.alpha, i, j)) * to_threshold) : T(1);
  }
}

// --- certificates

template <class T>
__global__ void __launch_bounds__(block_size)
    measure_kernel(const __grid_constant__ LassoProblem<T> problem, const LassoRows<T> rows,
                   const LassoScratch scratch, Index count) {
  const Index p = my_row();
  if (p >= count) return;
  const Index lane = my_lane();
  LassoRow& row = rows.row[p];
  const double scale = row.x_scale / problem.scale;
  const double back = 1.0 / scale;
  const double q = exponent(problem.penalty);
  double penalty = 0;
  double squared = 0;
  int n_nonzero = 0;
  for (Index j = lane; j < problem.stride; j += warp_size) {
    const Index at = p * problem.stride + j;
    T& code = rows.codes[at];
    double value = 0;
    if (code != T(0)) {
      value = static_cast<double>(static_cast<T>(static_cast<double>(code) * back)) * scale;
      code = static_cast<T>(value);
      const double size = std::abs(value);
      const double alpha = static_cast<double>(weight_of(problem.alpha, row.row, j)) * row.alpha_factor;
      penalty += alpha * (q == 1 ? size : q == 0 ? (size != 0 ? 1.0 : 0.0) : pow(size, q));
      squared += value * value;
      ++n_nonzero;
    }
    scratch.wide_codes[at] = value;
  }
  penalty = sum_of_warp(penalty);
  squared = sum_of_warp(squared);
  n_nonzero = __reduce_add_sync(~0U, n_nonzero);
  const T* const x = row_of(problem.x, row.row);
  for (Index k = lane; k < problem.x.cols; k += warp_size)
    scratch.residual[p * problem.x.cols + k] = static_cast<double>(x[k]) * row.x_scale;
  if (lane == 0) {
    row.penalty = penalty;
    row.code_squared = squared;
    row.n_nonzero = n_nonzero;
  }
}

template <class T>
__global__ void __launch_bounds__(block_size)
    start_kernel(const __grid_constant__ LassoProblem<T> problem, const LassoRows<T> rows,
                 const LassoScratch scratch, Index count) {
  const Index p = my_row();
  if (p >= count) return;
  double largest = 0;
  for (Index j = my_lane(); j < problem.stride; j += warp_size) {
    const double c = scratch.correlation[p * problem.stride + j];
    largest = max(largest, std::abs(c));
    if (rows.way == nullptr) rows.start[p * problem.stride + j] = static_cast<T>(c);
  }
  largest = largest_of_warp(largest);
  if (my_lane() == 0) rows.row[p].x_correlation = largest;
}

// One row at its codes, seen by one warp.
template <class T>
struct RowView {
  const LassoProblem<T>& problem;
  const LassoRow& row;
  const T* codes;
  const double* correlation;

  __device__ double alpha(Index j) const {
    return static_cast<double>(weight_of(problem.alpha, row.row, j)) * row.alpha_factor;
  }
  __device__ double code(Index j) const { return static_cast<double>(codes[j]); }
  // c_j = <r, d_j> - l2 z_j
  __device__ double c(Index j) const { return correlation[j] - problem.l2 * code(j); }
  __device__ double size_of_c(Index j) const { return problem.positive ? c(j) : std::abs(c(j)); }
};

template <class T>
__device__ double relative_duality_gap(const RowView<T>& v, double residual_squared, double x_residual) {
  double ratio = 0;
  for (Index j = my_lane(); j < v.problem.n_components; j += warp_size)
    raise(ratio, v.size_of_c(j) / v.alpha(j));
  ratio = largest_of_warp(ratio);
  const double unit = 0.5 * v.row.x_squared;
  const bool is_normal = unit >= std::numeric_limits<double>::min() && std::isfinite(unit);
  return is_normal ? duality_gap(residual_squared, x_residual, v.row.penalty, ratio) / unit
                   : std::numeric_limits<double>::infinity();
}

template <class T>
__device__ double optimality_residual(const RowView<T>& v) {
  double worst = 0;
  for (Index j = my_lane(); j < v.problem.n_components; j += warp_size) {
    const double z = v.code(j);
    const double beyond = v.size_of_c(j) - v.alpha(j);
    raise(worst, z != 0 ? std::abs(v.c(j) - std::copysign(v.alpha(j), z)) : beyond < 0 ? 0.0 : beyond);
  }
  worst = largest_of_warp(worst);
  if (worst == 0) return 0.0;
  return v.row.x_correlation > 0 ? worst / v.row.x_correlation : std::numeric_limits<double>::infinity();
}

template <class T>
__device__ double fixed_point_residual(const RowView<T>& v) {
  double worst = 0;
  double size = 0;
  const double l = v.problem.lipschitz;
  for (Index j = my_lane(); j < v.problem.n_components; j += warp_size) {
    const double z = v.code(j);
    const double next = prox_any(z + v.c(j) / l, v.alpha(j) / l, v.problem.penalty, v.problem.positive);
    raise(worst, std::abs(z - next));
    size = max(size, max(std::abs(z), std::abs(next)));
  }
  worst = largest_of_warp(worst);
  size = largest_of_warp(size);
  return worst == 0 ? 0.0 : worst / size;
}

// Whether a row has come as far as the rounding of T lets it: small, and no better for a good part of the
// way. Linear convergence, however slow, passes: it gains 1 % in much less than the time it took to become
// small.
template <class T>
__device__ bool is_stuck(LassoRow& row, double energy, double gap, const Judgement& judgement) {
  constexpr Index patience = 500;
  const bool is_better = energy < row.lowest_energy;
  row.idle = is_better ? 0 : row.idle + judgement.since_last;
  if (is_better) row.lowest_energy = energy;
  const double small = 4096.0 * static_cast<double>(std::numeric_limits<T>::epsilon());
  return row.idle >= max(patience, judgement.n_iter / 4) && gap < small;
}

template <class T>
__global__ void __launch_bounds__(block_size)
    judge_kernel(const __grid_constant__ LassoProblem<T> problem, const LassoRows<T> rows,
                 const LassoScratch scratch, const Judgement judgement, Index count) {
  const Index p = my_row();
  if (p >= count) return;
  const Index lane = my_lane();
  LassoRow row = rows.row[p];
  const T* const x = row_of(problem.x, row.row);
  const double* const residual = scratch.residual + p * problem.x.cols;
  double residual_squared = 0;
  double x_residual = 0;
  for (Index k = lane; k < problem.x.cols; k += warp_size) {
    residual_squared += residual[k] * residual[k];
    x_residual += static_cast<double>(x[k]) * row.x_scale * residual[k];
  }
  residual_squared = sum_of_warp(residual_squared) + problem.l2 * row.code_squared;
  x_residual = sum_of_warp(x_residual);
  const RowView<T> view{problem, row, rows.codes + p * problem.stride,
                        scratch.correlation + p * problem.stride};
  double gap = 0;  // of a zero sample with the code zero, which is at its optimum
  if (row.x_squared != 0 || row.n_nonzero != 0) {
    gap = problem.criterion == Criterion::duality_gap
              ? relative_duality_gap(view, residual_squared, x_residual)
          : problem.criterion == Criterion::optimality_residual ? optimality_residual(view)
                                                                : fixed_point_residual(view);
  }
  const bool is_reached = problem.tol > 0 && gap <= problem.tol;
  bool is_spent = false;
  if (!judgement.is_start) {
    const bool stuck = is_stuck<T>(row, 0.5 * residual_squared + row.penalty, gap, judgement);
    is_spent = stuck || judgement.n_iter >= problem.max_iter;
  }
  const bool is_finished = judgement.may_finish && (is_reached || is_spent);
  if (lane == 0) {
    rows.row[p].lowest_energy = row.lowest_energy;
    rows.row[p].idle = row.idle;
    scratch.is_kept[p] = is_finished ? 0 : 1;
  }
  if (!is_finished) return;
  const double back = problem.scale / row.x_scale;
  for (Index j = lane; j < problem.n_components; j += warp_size)
    row_of(problem.codes, row.row)[j] = static_cast<T>(view.code(j) * back);
  if (lane == 0) {
    problem.report.gap[row.row] = gap;
    problem.report.n_iter[row.row] = static_cast<std::int32_t>(judgement.n_iter);
    problem.report.status[row.row] = static_cast<std::int8_t>(problem.tol == 0 ? Status::fixed_iterations
                                                              : is_reached     ? Status::converged
                                                                               : Status::not_converged);
  }
}

// --- the way out

constexpr unsigned scan_threads = 1024;

// One block: a sum over warps, then over the warps' sums, stretch by stretch.
__global__ void __launch_bounds__(scan_threads) place_kernel(const LassoScratch scratch, Index count) {
  __shared__ int of_warp[scan_threads / warp_size];
  const unsigned warp = threadIdx.x / warp_size;
  const unsigned lane = threadIdx.x % warp_size;
  Index before = 0;
  for (Index first = 0; first < count; first += scan_threads) {
    const Index p = first + threadIdx.x;
    const int is_kept = p < count ? scratch.is_kept[p] : 0;
    const unsigned kept = __ballot_sync(~0U, is_kept);
    if (lane == 0) of_warp[warp] = __popc(kept);
    __syncthreads();
    Index place = before + __popc(kept & ((1U << lane) - 1U));
    Index all = 0;
    for (unsigned w = 0; w < scan_threads / warp_size; ++w) {
      if (w < warp) place += of_warp[w];
      all += of_warp[w];
    }
    if (p < count) scratch.place[p] = place;
    before += all;
    __syncthreads();
  }
  if (threadIdx.x == 0) *scratch.n_kept = before;
}

template <class T>
__global__ void __launch_bounds__(block_size)
    move_kernel(const __grid_constant__ LassoProblem<T> problem, const LassoRows<T> from,
                const LassoRows<T> to, const LassoScratch scratch, Index count) {
  const Index p = my_row();
  if (p >= count || scratch.is_kept[p] == 0) return;
  const Index place = scratch.place[p];
  if (my_lane() == 0) to.row[place] = from.row[p];
  for (Index j = my_lane(); j < problem.stride; j += warp_size) {
    const Index at = p * problem.stride + j;
    const Index there = place * problem.stride + j;
    const T code = from.codes[at];
    to.codes[there] = code;
    if (from.way != nullptr) {
      to.way[there] = from.way[at];
      const double z = static_cast<double>(code);
      const double c = scratch.correlation[at] - problem.l2 * z;
      to.start[there] = static_cast<T>(z + c / problem.lipschitz);
      if (to.anchor != nullptr) to.anchor[there] = code;
    } else {
      to.point[there] = from.point[at];
      to.start[there] = from.start[at];
    }
    if (from.threshold_stride > 0) to.threshold[there] = from.threshold[at];
  }
}

}  // namespace

template <class T>
void load_rows(const LassoProblem<T>& problem, LassoRows<T> rows, Index first, Index count, Stream& stream) {
  if (rows.threshold_stride == 0)
    launch(thresholds_kernel<T>, 1, warp_size, 0, stream, problem, rows.threshold);
  launch(load_kernel<T>, row_blocks(count), block_size, 0, stream, problem, rows, first, count);
}

template <class T>
void measure_rows(const LassoProblem<T>& problem, LassoRows<T> rows, const LassoScratch& scratch, Index count,
                  Stream& stream) {
  launch(measure_kernel<T>, row_blocks(count), block_size, 0, stream, problem, rows, scratch, count);
}

template <class T>
void subtract_codes(const typename CodingDictionary<T>::Prepared& dictionary, const LassoScratch& scratch,
                    Index count, Stream& stream) {
  const Index n = dictionary.n_features;
  gemm(stream, count, n, dictionary.stride, -1.0,
       Operand<const double>{scratch.wide_codes, dictionary.stride},
       Operand<const double>{dictionary.atoms.data(), n}, 1.0, Operand<double>{scratch.residual, n});
}

template <class T>
void correlate(const typename CodingDictionary<T>::Prepared& dictionary, const LassoScratch& scratch,
               Index count, Stream& stream) {
  const Index n = dictionary.n_features;
  gemm(stream, count, dictionary.stride, n, 1.0, Operand<const double>{scratch.residual, n},
       Operand<const double>{dictionary.atoms.data(), n, Transposed::yes}, 0.0,
       Operand<double>{scratch.correlation, dictionary.stride});
}

template <class T>
void start_rows(const LassoProblem<T>& problem, LassoRows<T> rows, const LassoScratch& scratch, Index count,
                Stream& stream) {
  launch(start_kernel<T>, row_blocks(count), block_size, 0, stream, problem, rows, scratch, count);
}

template <class T>
void judge_rows(const LassoProblem<T>& problem, LassoRows<T> rows, const LassoScratch& scratch,
                const Judgement& judgement, Index count, Stream& stream) {
  launch(judge_kernel<T>, row_blocks(count), block_size, 0, stream, problem, rows, scratch, judgement, count);
}

void place_rows(const LassoScratch& scratch, Index count, Stream& stream) {
  launch(place_kernel, 1, scan_threads, 0, stream, scratch, count);
}

template <class T>
void move_rows(const LassoProblem<T>& problem, LassoRows<T> from, LassoRows<T> to,
               const LassoScratch& scratch, Index count, Stream& stream) {
  launch(move_kernel<T>, row_blocks(count), block_size, 0, stream, problem, from, to, scratch, count);
}

#define THALWEG_INSTANTIATE(T)                                                                            \
  template void load_rows(const LassoProblem<T>&, LassoRows<T>, Index, Index, Stream&);                   \
  template void measure_rows(const LassoProblem<T>&, LassoRows<T>, const LassoScratch&, Index, Stream&);  \
  template void subtract_codes<T>(const CodingDictionary<T>::Prepared&, const LassoScratch&, Index,       \
                                  Stream&);                                                               \
  template void correlate<T>(const CodingDictionary<T>::Prepared&, const LassoScratch&, Index, Stream&);  \
  template void start_rows(const LassoProblem<T>&, LassoRows<T>, const LassoScratch&, Index, Stream&);    \
  template void judge_rows(const LassoProblem<T>&, LassoRows<T>, const LassoScratch&, const Judgement&,   \
                           Index, Stream&);                                                               \
  template void move_rows(const LassoProblem<T>&, LassoRows<T>, LassoRows<T>, const LassoScratch&, Index, \
                          Stream&);
THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg::cuda
