// ISTA and FISTA of many samples on a device: chunks of rows, in each of which stretches of iterations and
// certificates take turns, and finished rows leave.
//
// Which way the iterations are computed depends on the dictionary, the dtype, tol and the penalty alone (see
// lasso_rows.hpp and lasso_iterate.hpp). Rows of a chunk start together: how long a stretch is depends on the
// iterations made, so that a row's iterations are the same whatever its neighbours do.
#include <algorithm>

#include "core/error.hpp"
#include "core/parallel.hpp"
#include "cuda/lasso_iterate.hpp"
#include "cuda/launch.hpp"

namespace thalweg::cuda {
namespace {

// Iterations between certificates: 10 at first, and later a few per cent of those made.
Index stretch_after(Index done) { return done < 100 ? 10 : done < 1000 ? 20 : 50; }

template <class T>
class ChunkSolver {
 public:
  using Prepared = typename CodingDictionary<T>::Prepared;

  ChunkSolver(const LassoProblem<T>& problem, const Prepared& dictionary, const LassoOptions& options,
              Index rows, Stream& stream)
      : problem_(problem),
        dictionary_(dictionary),
        options_(options),
        stream_(stream),
        is_anchored_(anchors(options)),
        has_tiles_(is_anchored_ && has_tiles(dictionary)),
        shares_thresholds_(problem.alpha.row_stride == 0),
        capacity_(chunk_rows(rows)) {
    const Index codes = capacity_ * problem.stride;
    for (Side& side : side_) {
      side.row = Buffer<LassoRow>(capacity_, stream);
      side.codes = Buffer<T>(codes, stream);
      side.start = Buffer<T>(codes, stream);
      if (is_anchored_) {
        side.way = Buffer<Bfloat16>(codes, stream);
        if (!has_tiles_) side.anchor = Buffer<T>(codes, stream);
      } else {
        side.point = Buffer<T>(codes, stream);
      }
      if (!shares_thresholds_) side.threshold = Buffer<T>(codes, stream);
    }
    if (shares_thresholds_) shared_threshold_ = Buffer<T>(problem.stride, stream);
    wide_codes_ = Buffer<double>(codes, stream);
    residual_ = Buffer<double>(capacity_ * dictionary.n_features, stream);
    correlation_ = Buffer<double>(codes, stream);
    is_kept_ = Buffer<std::int32_t>(capacity_, stream);
    place_ = Buffer<Index>(capacity_, stream);
    n_kept_ = Buffer<Index>(1, stream);
  }

  [[nodiscard]] Index capacity() const { return capacity_; }

  // The samples [first, first + count).
  void run(Index first, Index count) {
    count_ = count;
    start(first);
    Index done = 0;
    while (count_ > 0) {
      const Index left = options_.max_iter - done;
      const Index iterations = std::min(left, stretch_after(done));
      iterate(iterations);
      done += iterations;
      if (options_.tol == 0 && done < options_.max_iter) {
        stream_.synchronize();  // the device is never far behind an interrupt
        continue;
      }
      certify();
      retire({done, iterations, /*is_start=*/false, /*may_finish=*/true});
    }
  }

 private:
  // A row's arrays, of which one side holds the rows, and the other those that are kept next time.
  struct Side {
    Buffer<LassoRow> row;
    Buffer<T> codes, start, point, anchor, threshold;
    Buffer<Bfloat16> way;
  };

  static bool anchors(const LassoOptions& options) {
    return std::is_same_v<T, float> && options.penalty == Penalty::l1 && options.tol > 0;
  }

  static bool has_tiles(const Prepared& dictionary) {
    return !dictionary.has_two_products && fits_tiles(dictionary.stride);
  }

  // Rows at a time: no more than a sixteenth of the device's memory holds.
  [[nodiscard]] Index chunk_rows(Index rows) const {
    constexpr Index most_rows = is_emulated ? 96 : Index{1} << 19;
    const Index of_codes = is_anchored_ ? (has_tiles_ ? 20 : 28) : 6 * Index{sizeof(T)};
    const Index row_bytes =
        problem_.stride * (of_codes + 16 + (shares_thresholds_ ? 0 : 2 * Index{sizeof(T)})) +
        dictionary_.n_features * 12 + 2 * Index{sizeof(LassoRow)};
    const auto budget = static_cast<Index>(device().memory / 16);
    return std::min(rows, std::clamp<Index>(budget / row_bytes, 32, most_rows));
  }

  LassoRows<T> rows(const Side& side) const {
    return {side.row.data(),
            side.codes.data(),
            side.way.data(),
            side.anchor.data(),
            side.point.data(),
            side.start.data(),
            shares_thresholds_ ? shared_threshold_.data() : side.threshold.data(),
            shares_thresholds_ ? 0 : problem_.stride};
  }

  [[nodiscard]] LassoScratch scratch() const {
    return {wide_codes_.data(), residual_.data(), correlation_.data(),
            is_kept_.data(),    place_.data(),    n_kept_.data()};
  }

  void start(Index first) {
    load_rows(problem_, rows(side_[0]), first, count_, stream_);
    measure_rows(problem_, rows(side_[0]), scratch(), count_, stream_);
    correlate<T>(dictionary_, scratch(), count_, stream_);
    start_rows(problem_, rows(side_[0]), scratch(), count_, stream_);
    const bool may_finish = problem_.warm_start && options_.tol > 0;
    if (!is_anchored_ && !may_finish) return;
    if (problem_.warm_start) {
      subtract_codes<T>(dictionary_, scratch(), count_, stream_);
      correlate<T>(dictionary_, scratch(), count_, stream_);
    }
    retire({0, 0, /*is_start=*/true, may_finish});
  }

  void iterate(Index iterations) {
    const LassoStretch stretch{count_, iterations, options_.method == LassoMethod::fista,
                               options_.method == LassoMethod::fista && options_.adaptive_restart};
    if constexpr (std::is_same_v<T, float>) {
      if (has_tiles_) return iterate_tiles(problem_, dictionary_, rows(side_[0]), stretch, stream_);
    }
    // The correlations are not in use meanwhile; their memory holds the product.
    T* const product = reinterpret_cast<T*>(correlation_.data());
    T* const between = reinterpret_cast<T*>(residual_.data());
    iterate_products<T>(problem_, dictionary_, rows(side_[0]), stretch, product, between, stream_);
  }

  void certify() {
    measure_rows(problem_, rows(side_[0]), scratch(), count_, stream_);
    subtract_codes<T>(dictionary_, scratch(), count_, stream_);
    correlate<T>(dictionary_, scratch(), count_, stream_);
  }

  // Judges the rows; those that go on are moved together, and anchored anew.
  void retire(const Judgement& judgement) {
    judge_rows(problem_, rows(side_[0]), scratch(), judgement, count_, stream_);
    place_rows(scratch(), count_, stream_);
    const Index kept = download_one(n_kept_.data(), stream_);
    if (kept > 0 && (is_anchored_ || kept < count_)) {
      move_rows(problem_, rows(side_[0]), rows(side_[1]), scratch(), count_, stream_);
      std::swap(side_[0], side_[1]);
    }
    count_ = kept;
  }

  const LassoProblem<T> problem_;
  const Prepared& dictionary_;
  const LassoOptions& options_;
  Stream& stream_;
  bool is_anchored_;
  bool has_tiles_;
  bool shares_thresholds_;
  Index capacity_;
  Index count_ = 0;
  Side side_[2];
  Buffer<T> shared_threshold_;
  Buffer<double> wide_codes_, residual_, correlation_;
  Buffer<std::int32_t> is_kept_;
  Buffer<Index> place_, n_kept_;
};

constexpr unsigned block_size = 256;

template <class T>
__global__ void __launch_bounds__(block_size)
    split_kernel(const MatrixView<const T> codes, const MatrixView<T> out) {
  const Index step = Index{gridDim.x} * block_size;
  for (Index at = Index{blockIdx.x} * block_size + threadIdx.x; at < codes.rows * codes.cols; at += step) {
    const Index i = at / codes.cols;
    const Index j = at - i * codes.cols;
    const T z = codes.data[i * codes.stride + j];
    T* const both = out.data + i * out.stride;
    both[j] = z > T(0) ? z : T(0);
    both[codes.cols + j] = z < T(0) ? -z : T(0);
  }
}

}  // namespace

template <class T>
void CodingDictionary<T>::encode(MatrixView<const T> x, BroadcastView<T> alpha, MatrixView<T> codes,
                                 const LassoReport& report, const LassoOptions& options,
                                 Stream& stream) const {
  const Prepared& d = *prepared_;
  require(x.cols == d.n_features, "X: expected ", d.n_features, " features, as the dictionary has, got ",
          x.cols);
  require(codes.rows == x.rows && codes.cols == d.n_components, "codes: expected shape (", x.rows, ", ",
          d.n_components, "), got (", codes.rows, ", ", codes.cols, ")");
  require(options.method == LassoMethod::fista || options.method == LassoMethod::ista,
          "solver: device='cuda' has 'auto', 'fista' and 'ista'");
  require(options.max_iter > 0, "max_iter: expected at least 1, got ", options.max_iter);
  require(options.tol >= 0, "tol: expected a number >= 0, got ", options.tol);
  if (x.rows == 0) return;
  LassoProblem<T> problem{};
  problem.x = x;
  problem.alpha = alpha;
  problem.codes = codes;
  problem.report = report;
  problem.penalty = options.penalty;
  problem.criterion = options.criterion;
  problem.positive = options.positive;
  problem.warm_start = options.warm_start;
  problem.tol = options.tol;
  problem.max_iter = options.max_iter;
  problem.n_components = d.n_components;
  problem.stride = d.stride;
  problem.scale = d.scale;
  problem.l2 = d.l2;
  problem.lipschitz = d.lipschitz;
  ChunkSolver<T> solver(problem, d, options, x.rows, stream);
  for (Index first = 0; first < x.rows; first += solver.capacity()) {
    poll_interrupt();
    solver.run(first, std::min(solver.capacity(), x.rows - first));
  }
}

template <class T>
void split_signs(MatrixView<const T> codes, MatrixView<T> out, Stream& stream) {
  require(out.rows == codes.rows && out.cols == 2 * codes.cols, "out: expected shape (", codes.rows, ", ",
          2 * codes.cols, "), got (", out.rows, ", ", out.cols, ")");
  const Index size = codes.rows * codes.cols;
  if (size == 0) return;
  const auto kernel = split_kernel<T>;
  launch(kernel, grid_for(kernel, ceil_div(size, block_size), block_size, 0, 4), block_size, 0, stream, codes,
         out);
}

template <class T>
void reconstruct(MatrixView<const T> codes, MatrixView<const T> atoms, MatrixView<T> out, Stream& stream) {
  require(codes.cols == atoms.rows || codes.cols == 2 * atoms.rows, "codes: expected ", atoms.rows,
          " columns, or twice as many, got ", codes.cols);
  require(out.rows == codes.rows && out.cols == atoms.cols, "out: expected shape (", codes.rows, ", ",
          atoms.cols, "), got (", out.rows, ", ", out.cols, ")");
  const Operand<const T> d{atoms.data, atoms.stride};
  const Operand<T> to{out.data, out.stride};
  const auto add = [&](T sign, Index first_column, T keep) {
    gemm(stream, codes.rows, atoms.cols, atoms.rows, sign,
         Operand<const T>{codes.data + first_column, codes.stride}, d, keep, to);
  };
  add(T(1), 0, T(0));
  if (codes.cols == 2 * atoms.rows) add(T(-1), atoms.rows, T(1));
}

#define THALWEG_INSTANTIATE(T)                                                                       \
  template void CodingDictionary<T>::encode(MatrixView<const T>, BroadcastView<T>, MatrixView<T>,    \
                                            const LassoReport&, const LassoOptions&, Stream&) const; \
  template void split_signs(MatrixView<const T>, MatrixView<T>, Stream&);                            \
  template void reconstruct(MatrixView<const T>, MatrixView<const T>, MatrixView<T>, Stream&);
THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg::cuda
