// Convolutional sparse coding on the device.
//
// An iteration of FISTA is two implicit matrix products. The first makes the image of the codes, from which
// the residual of the extrapolated point follows, for residuals are linear and that of the codes before is
// kept. The second correlates it with the filters, and its epilogue is the step: it extrapolates, thresholds,
// and writes the new codes in the place of those before. So an iteration reads the codes three times and
// writes them once: with 64 filters at 2,048 x 2,048 pixels 4.3 GB, some 0.95 ms on an H200, beside 2 x 78
// GFLOP of products, threefold on tensor cores. Restart and momentum stay on the device; the host waits for
// it only where the gap is computed.
#include "kernels/csc.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "core/duality.hpp"
#include "core/parallel.hpp"
#include "cuda/correlation.cuh"
#include "cuda/csc_maps.cuh"
#include "cuda/filter_gradient.cuh"
#include "cuda/reduce.cuh"
#include "cuda/synthesis.cuh"

namespace thalweg::cuda {
namespace {

constexpr int block_size = 256;
constexpr Index check_every = 10;

// A kernel whose blocks loop over `size` elements.
template <class... Parameters>
unsigned blocks_for(void (*kernel)(Parameters...), Index size) {
  return grid_for(kernel, ceil_div(size, Index{block_size}), block_size, 0, 2);
}

[[nodiscard]] __device__ Index first_element() { return Index{blockIdx.x} * block_size + threadIdx.x; }
[[nodiscard]] __device__ Index elements_apart() { return Index{gridDim.x} * block_size; }

// --- the residual

// w (y - s); a pixel that is not observed may hold anything.
template <class R, class T>
__device__ R weighted_residual(const T* image, const T* weights, const R* synthesis, Index i) {
  if (weights == nullptr) return static_cast<R>(image[i]) - synthesis[i];
  return weights[i] > T(0) ? static_cast<R>(weights[i]) * (static_cast<R>(image[i]) - synthesis[i]) : R(0);
}

template <class R, class T>
__global__ void __launch_bounds__(block_size)
    residual_kernel(Index size, const T* image, const T* weights, const R* synthesis, R* residual) {
  for (Index i = first_element(); i < size; i += elements_apart())
    residual[i] = weighted_residual(image, weights, synthesis, i);
}

// --- FISTA's step

struct Momentum {
  double momentum = 1;
  double inertia = 0;
};

// The residual of the codes, in the place of that of the codes before, and that of the extrapolated point.
template <class T>
__global__ void __launch_bounds__(block_size)
    point_residual_kernel(Index size, const T* image, const T* weights, const T* synthesis,
                          const Momentum* momentum, T* residual, T* of_point) {
  const auto inertia = static_cast<T>(momentum->inertia);
  for (Index i = first_element(); i < size; i += elements_apart()) {
    const T now = weighted_residual(image, weights, synthesis, i);
    of_point[i] = inertia == T(0) ? now : now + inertia * (now - residual[i]);
    residual[i] = now;
  }
}

// What is done with the correlation c of the point's residual: new codes = shrink(point + step c), in the
// place of the codes before. Sums <point - new, new - now>, which is positive where momentum leads astray.
template <class T>
struct Step {
  struct Operands {
    T now, before, threshold;
  };
  const T* now;
  T* before;
  const T* alpha;
  T step;
  bool is_positive;
  const Momentum* momentum;
  double* turns;
  T inertia = 0;
  T turn = 0;
  double total = 0;

  __device__ void begin() {
    inertia = static_cast<T>(momentum->inertia);
    turn = 0;
  }
  __device__ Operands load(Index place, int filter) const {
    return {now[place], inertia == T(0) ? T(0) : before[place], step * alpha[filter]};
  }
  __device__ void finish(Index place, const Operands& o, T c) {
    const T point = inertia == T(0) ? o.now : o.now + inertia * (o.now - o.before);
    const T moved = point + step * c;
    const T rest = (is_positive ? moved : std::abs(moved)) - o.threshold;
    const T fresh = rest > T(0) ? std::copysign(rest, moved) : T(0);
    turn += (point - fresh) * (fresh - o.now);
    before[place] = fresh;
  }
  __device__ void end() { total += static_cast<double>(turn); }
  __device__ void close(double* shared) {
    const double sum = block_sum<block_size>(total, shared);
    if (threadIdx.x == 0) turns[Index{blockIdx.y} * gridDim.x + blockIdx.x] = sum;
  }
};

// One block: the momentum of the next step, or none after a step that turned.
__global__ void __launch_bounds__(block_size) momentum_kernel(const double* turns, Index count, Momentum* m) {
  __shared__ double shared[block_size / 32];
  double sum = 0;
  for (Index i = threadIdx.x; i < count; i += block_size) sum += turns[i];
  sum = block_sum<block_size>(sum, shared);
  if (threadIdx.x != 0) return;
  const double next = 0.5 * (1 + std::sqrt(1 + 4 * m->momentum * m->momentum));
  *m = sum > 0 ? Momentum{} : Momentum{next, (m->momentum - 1) / next};
}

// --- the certificate, in double

// Parts of <w r, r>, <w r, y>, <w y, y>, the penalty and the largest ratio: a row each of `parts`.
enum Row { row_square, row_product, row_data, row_penalty, row_ratio, rows };

// Also makes the weighted residual.
template <class T>
__global__ void __launch_bounds__(block_size)
    measure_kernel(Index size, const T* image, const T* weights, const double* synthesis, double* residual,
                   double* parts) {
  __shared__ double shared[block_size / 32];
  double sums[3] = {};
  for (Index i = first_element(); i < size; i += elements_apart()) {
    const double wr = weighted_residual(image, weights, synthesis, i);
    residual[i] = wr;
    const double w = weights == nullptr ? 1.0 : static_cast<double>(weights[i]);
    if (!(w > 0)) continue;
    const auto y = static_cast<double>(image[i]);
    sums[row_square] += wr * wr / w;
    sums[row_product] += wr * y;
    sums[row_data] += w * y * y;
  }
  for (int r = 0; r < 3; ++r) {
    const double sum = block_sum<block_size>(sums[r], shared);
    if (threadIdx.x == 0) parts[r * Index{gridDim.x} + blockIdx.x] = sum;
  }
}

// sum alpha_k |z_k|, filters by the grid's second axis.
template <class T>
__global__ void __launch_bounds__(block_size)
    penalty_kernel(Index filters, Index positions, const T* alpha, const T* codes, double* parts) {
  __shared__ double shared[block_size / 32];
  double total = 0;
  for (Index k = blockIdx.y; k < filters; k += gridDim.y) {
    double sum = 0;
    for (Index i = first_element(); i < positions; i += elements_apart())
      sum += static_cast<double>(std::abs(codes[k * positions + i]));
    total += static_cast<double>(alpha[k]) * sum;
  }
  total = block_sum<block_size>(total, shared);
  if (threadIdx.x == 0) parts[Index{blockIdx.y} * gridDim.x + blockIdx.x] = total;
}

// The largest |c| / alpha, or c / alpha where codes are positive.
template <class T>
struct LargestRatio {
  using Operands = T;
  const T* alpha;
  bool is_positive;
  double* parts;
  double largest = 0;

  __device__ void begin() const {}
  __device__ T load(Index, int filter) const { return alpha[filter]; }
  __device__ void finish(Index, T of_filter, double c) {
    const double excess = is_positive ? c : std::abs(c);
    const auto bar = static_cast<double>(of_filter);
    if (excess > largest * bar) largest = excess / bar;  // divides seldom
  }
  __device__ void end() const {}
  __device__ void close(double* shared) {
    const double of_block = block_max<block_size>(largest, shared);
    if (threadIdx.x == 0) parts[Index{blockIdx.y} * gridDim.x + blockIdx.x] = of_block;
  }
};

struct Counts {
  Index of_row[rows];
};

// One block: every row of `parts`, one after the other, summed up, the last one's largest.
__global__ void __launch_bounds__(block_size)
    combine_kernel(const __grid_constant__ Counts counts, const double* parts, double* result) {
  __shared__ double shared[block_size / 32];
  for (int r = 0; r < rows; ++r) {
    double value = 0;
    for (Index i = threadIdx.x; i < counts.of_row[r]; i += block_size)
      value = r == row_ratio ? max(value, parts[i]) : value + parts[i];
    parts += counts.of_row[r];
    value = r == row_ratio ? block_max<block_size>(value, shared) : block_sum<block_size>(value, shared);
    if (threadIdx.x == 0) result[r] = value;
  }
}

// Objective and gap of dense codes of a problem.
template <class T>
class Certificate {
 public:
  Certificate(const CscProblem<T>& problem, const ConvSizes& s, Stream& stream)
      : problem_(problem),
        s_(s),
        synthesis_(s, problem.filters, stream),
        correlation_(s, problem.filters, stream),
        image_(s.image_size(), stream),
        residual_(s.image_size(), stream) {
    const Index of_pixels = blocks_for(measure_kernel<T>, s.image_size());
    const Index positions = Index{s.code_height} * s.code_width;
    const auto filters = static_cast<unsigned>(std::min(s.filters, 1024));
    penalty_grid_ = dim3(blocks_for(penalty_kernel<T>, ceil_div(positions, Index{4})), filters);
    counts_ = {{of_pixels, of_pixels, of_pixels, Index{penalty_grid_.x} * filters,
                correlation_.template blocks<LargestRatio<T>>()}};
    Index all = 0;
    for (const Index count : counts_.of_row) all += count;
    parts_ = Buffer<double>(all, stream);
    result_ = Buffer<double>(rows, stream);
  }

  // Waits for the stream.
  [[nodiscard]] DualityParts operator()(const T* codes, Stream& stream) const {
    synthesis_(codes, image_.data(), stream);
    double* parts = parts_.data();
    launch(measure_kernel<T>, static_cast<unsigned>(counts_.of_row[row_square]), block_size, 0, stream,
           s_.image_size(), problem_.image, problem_.weights, image_.data(), residual_.data(), parts);
    parts += 3 * counts_.of_row[row_square];
    launch(penalty_kernel<T>, penalty_grid_, block_size, 0, stream, Index{s_.filters},
           Index{s_.code_height} * s_.code_width, problem_.alpha, codes, parts);
    parts += counts_.of_row[row_penalty];
    correlation_(residual_.data(), LargestRatio<T>{problem_.alpha, problem_.positive, parts}, stream);
    launch(combine_kernel, 1, block_size, 0, stream, counts_, parts_.data(), result_.data());
    double result[rows];
    download(result_.data(), result, rows, stream);
    return {0.5 * result[row_square], result[row_product], 0.5 * result[row_data], result[row_penalty],
            result[row_ratio]};
  }

 private:
  const CscProblem<T>& problem_;
  ConvSizes s_;
  Synthesis<double, T> synthesis_;
  Correlation<double> correlation_;
  Buffer<double> image_;
  Buffer<double> residual_;
  dim3 penalty_grid_;
  Counts counts_{};
  Buffer<double> parts_;
  Buffer<double> result_;
};

// --- FISTA

template <class T>
class Fista {
 public:
  Fista(const CscProblem<T>& problem, const ConvSizes& s, double lipschitz, T* codes, Stream& stream)
      : problem_(problem),
        s_(s),
        stream_(stream),
        certificate_(problem, s, stream),
        synthesis_(s, problem.filters, stream),
        correlation_(s, problem.filters, stream),
        now_(codes),
        other_(s.code_size(), stream),
        before_(other_.data()),
        image_(s.image_size(), stream),
        residual_(s.image_size(), stream),
        of_point_(s.image_size(), stream),
        turns_(correlation_.template blocks<Step<T>>(), stream),
        momentum_(1, stream),
        step_(static_cast<T>(1 / lipschitz)),
        iterations_under_way_(most_under_way(s)) {
    constexpr Momentum none;
    upload(&none, momentum_.data(), 1, stream);
  }

  void solve(const CscOptions& options, T* codes, CscReport& report) {
    for (Index it = 0;; ++it) {
      poll_interrupt();
      if (it % check_every == 0 || it == options.max_iter) {
        const DualityParts parts = certificate_(now_, stream_);
        report = {parts.objective(), parts.gap(), it};
        if (report.gap <= options.tol || it == options.max_iter) break;
      } else if (it % iterations_under_way_ == 0) {
        stream_.synchronize();
      }
      iterate();
    }
    if (now_ != codes) copy(static_cast<const T*>(now_), codes, s_.code_size(), stream_);
  }

 private:
  // Iterations that are given to the device ahead: of a tenth of a second at most, for Ctrl-C.
  [[nodiscard]] static Index most_under_way(const ConvSizes& s) {
    constexpr double operations = 2e12;
    const double of_iteration =
        4.0 * static_cast<double>(s.code_size()) * s.channels * s.filter_height * s.filter_width;
    return static_cast<Index>(std::clamp(operations / of_iteration, 1.0, static_cast<double>(check_every)));
  }

  void iterate() {
    synthesis_(now_, image_.data(), stream_);
    const auto kernel = point_residual_kernel<T>;
    launch(kernel, blocks_for(kernel, s_.image_size()), block_size, 0, stream_, s_.image_size(),
           problem_.image, problem_.weights, image_.data(), momentum_.data(), residual_.data(),
           of_point_.data());
    correlation_(
        of_point_.data(),
        Step<T>{now_, before_, problem_.alpha, step_, problem_.positive, momentum_.data(), turns_.data()},
        stream_);
    launch(momentum_kernel, 1, block_size, 0, stream_, turns_.data(), turns_.size(), momentum_.data());
    std::swap(now_, before_);
  }

  const CscProblem<T>& problem_;
  ConvSizes s_;
  Stream& stream_;
  Certificate<T> certificate_;
  Synthesis<T> synthesis_;
  Correlation<T> correlation_;
  T* now_;
  Buffer<T> other_;
  T* before_;
  Buffer<T> image_;
  Buffer<T> residual_;
  Buffer<T> of_point_;
  Buffer<double> turns_;
  Buffer<Momentum> momentum_;
  T step_;
  Index iterations_under_way_;
};

// --- statistics of the codes

constexpr int offsets_of_thread = 4;

// a[k, l, t] += sum_p z_k[p] z_l[p + t] over atoms inside the image, of which `codes` are the dense maps: a
// block takes filters k and l and every offset t, its threads a few offsets each, through all atoms of k.
template <class T>
__global__ void __launch_bounds__(block_size)
    pairs_kernel(const __grid_constant__ ConvSizes s, const std::int64_t* index, const T* value, Index count,
                 const T* codes, double* a) {
  __shared__ double values[block_size];
  __shared__ int places[block_size][2];
  const auto k = static_cast<int>(blockIdx.x);
  const auto l = static_cast<int>(blockIdx.y);
  const Index positions = Index{s.code_height} * s.code_width;
  const int across = 2 * s.filter_width - 1;
  const int offsets = (2 * s.filter_height - 1) * across;
  const auto first_from = [&](std::int64_t least) {
    Index low = 0;
    Index high = count;
    while (low < high) {
      const Index middle = (low + high) / 2;
      if (index[middle] < least)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  };
  const Index first = first_from(k * positions);
  const Index end = first_from((k + 1) * positions);
  const T* const map = codes + l * positions;
  for (int base = 0; base < offsets; base += block_size * offsets_of_thread) {
    double sums[offsets_of_thread] = {};
    for (Index chunk = first; chunk < end; chunk += block_size) {
      __syncthreads();
      const Index mine = chunk + threadIdx.x;
      if (mine < end) {
        const Index place = index[mine] % positions;
        const auto y = static_cast<int>(place / s.code_width);
        const auto x = static_cast<int>(place % s.code_width);
        places[threadIdx.x][0] = y;
        places[threadIdx.x][1] = x;
        values[threadIdx.x] = csc_maps::is_inner(s, y, x) ? static_cast<double>(value[mine]) : 0.0;
      }
      __syncthreads();
      const auto atoms = static_cast<int>(min(Index{block_size}, end - chunk));
#pragma unroll
      for (int i = 0; i < offsets_of_thread; ++i) {
        const int offset = base + i * block_size + static_cast<int>(threadIdx.x);
        if (offset >= offsets) continue;
        const int dy = offset / across - s.filter_height + 1;
        const int dx = offset % across - s.filter_width + 1;
        double sum = sums[i];
        for (int atom = 0; atom < atoms; ++atom) {
          const int y = places[atom][0] + dy;
          const int x = places[atom][1] + dx;
          if (values[atom] != 0 && y >= 0 && y < s.code_height && x >= 0 && x < s.code_width)
            sum += values[atom] * static_cast<double>(map[Index{y} * s.code_width + x]);
        }
        sums[i] = sum;
      }
    }
    for (int i = 0; i < offsets_of_thread; ++i) {
      const int offset = base + i * block_size + static_cast<int>(threadIdx.x);
      if (offset < offsets) a[(Index{k} * s.filters + l) * offsets + offset] += sums[i];
    }
  }
}

template <class T>
__global__ void __launch_bounds__(block_size)
    half_square_kernel(Index size, const T* weights, const T* residual, double* parts) {
  __shared__ double shared[block_size / 32];
  double sum = 0;
  for (Index i = first_element(); i < size; i += elements_apart()) {
    const auto wr = static_cast<double>(residual[i]);
    const double w = weights == nullptr ? 1.0 : static_cast<double>(weights[i]);
    if (w > 0) sum += 0.5 * wr * wr / w;
  }
  sum = block_sum<block_size>(sum, shared);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

}  // namespace

template <class T>
void csc_certify(const CscProblem<T>& problem, SparseMapsView<T> maps, Stream& stream, CscReport& report) {
  const ConvSizes s = sizes_of(problem.shape);
  check_maps(s, maps, stream);
  const Buffer<T> codes(s.code_size(), stream);
  expand(s, maps, codes.data(), stream);
  const DualityParts parts = Certificate<T>(problem, s, stream)(codes.data(), stream);
  report.objective = parts.objective();
  report.gap = parts.gap();
}

template <class T>
void csc_fista(const CscProblem<T>& problem, double lipschitz, T* codes, const CscOptions& options,
               Stream& stream, CscReport& report) {
  Fista<T>(problem, sizes_of(problem.shape), lipschitz, codes, stream).solve(options, codes, report);
}

template <class T>
SparseMaps<T> csc_fista_maps(const CscProblem<T>& problem, double lipschitz, SparseMapsView<T> start,
                             const CscOptions& options, Stream& stream, CscReport& report) {
  const ConvSizes s = sizes_of(problem.shape);
  check_maps(s, start, stream);
  const Buffer<T> codes(s.code_size(), stream);
  expand(s, start, codes.data(), stream);
  csc_fista(problem, lipschitz, codes.data(), options, stream, report);
  return non_zeros(static_cast<const T*>(codes.data()), s.code_size(), stream);
}

template <class T>
void csc_expand(const ConvShape& shape, SparseMapsView<T> maps, T* codes, Stream& stream) {
  const ConvSizes s = sizes_of(shape);
  check_maps(s, maps, stream);
  expand(s, maps, codes, stream);
}

template <class T>
void csc_synthesize(const ConvShape& shape, const T* filters, SparseMapsView<T> maps, T* image,
                    Stream& stream) {
  const ConvSizes s = sizes_of(shape);
  check_maps(s, maps, stream);
  const Buffer<T> codes(s.code_size(), stream);
  expand(s, maps, codes.data(), stream);
  const Synthesis<T> synthesis(s, filters, stream);
  synthesis(codes.data(), image, stream);
}

template <class T>
double csc_filter_gradient(const CscProblem<T>& problem, SparseMapsView<T> maps, double* gradient,
                           Stream& stream) {
  const ConvSizes s = sizes_of(problem.shape);
  check_maps(s, maps, stream);
  const Buffer<T> codes(s.code_size(), stream);
  expand(s, maps, codes.data(), stream);
  const Buffer<T> image(s.image_size(), stream);
  const Synthesis<T> synthesis(s, problem.filters, stream);
  synthesis(codes.data(), image.data(), stream);
  const Buffer<T> residual(s.image_size(), stream);
  const auto subtract = residual_kernel<T, T>;
  launch(subtract, blocks_for(subtract, s.image_size()), block_size, 0, stream, s.image_size(), problem.image,
         problem.weights, image.data(), residual.data());
  const FilterGradient<T> of_filters(s, stream);
  of_filters(codes.data(), residual.data(), -1.0, false, gradient, stream);
  const auto sum = half_square_kernel<T>;
  const unsigned blocks = blocks_for(sum, s.image_size());
  const Buffer<double> parts(blocks, stream);
  launch(sum, blocks, block_size, 0, stream, s.image_size(), problem.weights, residual.data(), parts.data());
  std::vector<double> of_block(blocks);
  download(parts.data(), of_block.data(), parts.size(), stream);
  double total = 0;
  for (const double part : of_block) total += part;
  return total;
}

template <class T>
void csc_statistics(const CscProblem<T>& problem, SparseMapsView<T> maps, double* a, double* b,
                    Stream& stream) {
  const ConvSizes s = sizes_of(problem.shape);
  check_maps(s, maps, stream);
  if (maps.count == 0) return;
  const Buffer<T> codes(s.code_size(), stream);
  const Buffer<T> image(s.image_size(), stream);
  const Buffer<T> rest(s.image_size(), stream);  // what atoms that are not inside leave
  expand(s, maps, codes.data(), stream, csc_maps::Which::outer);
  const Synthesis<T> synthesis(s, problem.filters, stream);
  synthesis(codes.data(), image.data(), stream);
  const auto subtract = residual_kernel<T, T>;
  launch(subtract, blocks_for(subtract, s.image_size()), block_size, 0, stream, s.image_size(), problem.image,
         static_cast<const T*>(nullptr), image.data(), rest.data());
  expand(s, maps, codes.data(), stream, csc_maps::Which::inner);
  const FilterGradient<T> of_filters(s, stream);
  of_filters(codes.data(), rest.data(), 1.0, true, b, stream);
  const auto filters = static_cast<unsigned>(s.filters);
  require(filters < (1U << 16), "filters: expected fewer than 65536 on device='cuda', got ", s.filters);
  launch(pairs_kernel<T>, dim3(filters, filters), block_size, 0, stream, s, maps.index, maps.value,
         maps.count, codes.data(), a);
}

#define THALWEG_CSC(T)                                                                                      \
  template void csc_certify(const CscProblem<T>&, SparseMapsView<T>, Stream&, CscReport&);                  \
  template void csc_fista(const CscProblem<T>&, double, T*, const CscOptions&, Stream&, CscReport&);        \
  template SparseMaps<T> csc_fista_maps(const CscProblem<T>&, double, SparseMapsView<T>, const CscOptions&, \
                                        Stream&, CscReport&);                                               \
  template void csc_expand(const ConvShape&, SparseMapsView<T>, T*, Stream&);                               \
  template void csc_synthesize(const ConvShape&, const T*, SparseMapsView<T>, T*, Stream&);                 \
  template double csc_filter_gradient(const CscProblem<T>&, SparseMapsView<T>, double*, Stream&);           \
  template void csc_statistics(const CscProblem<T>&, SparseMapsView<T>, double*, double*, Stream&);

THALWEG_CSC(float)
THALWEG_CSC(double)

}  // namespace thalweg::cuda
