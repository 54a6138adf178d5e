#include "kernels/lasso.hpp"

#include <limits>
#include <vector>

#include "core/error.hpp"
#include "cpu/lasso_active_set_block.hpp"
#include "cpu/lasso_certificate.hpp"
#include "cpu/lasso_coordinate_descent.hpp"
#include "cpu/lasso_prepared.hpp"
#include "cpu/lasso_proximal.hpp"

namespace thalweg {

namespace {

template <class T>
using MakeMethod = std::unique_ptr<LassoMethodBase<T>> (*)(const typename CodingDictionary<T>::Prepared&,
                                                           const LassoOptions&, Index, bool);

template <class T, class Method>
std::unique_ptr<LassoMethodBase<T>> make(const typename CodingDictionary<T>::Prepared& d,
                                         const LassoOptions& options, Index capacity, bool shared_alpha) {
  return std::make_unique<Method>(d, options, capacity, shared_alpha);
}

template <class T, template <class, Penalty> class Method>
MakeMethod<T> by_penalty(Penalty penalty) {
  switch (penalty) {
    case Penalty::l0:
      return make<T, Method<T, Penalty::l0>>;
    case Penalty::l_half:
      return make<T, Method<T, Penalty::l_half>>;
    case Penalty::l_two_thirds:
      return make<T, Method<T, Penalty::l_two_thirds>>;
    default:
      return make<T, Method<T, Penalty::l1>>;
  }
}

template <class T>
MakeMethod<T> choose(const LassoOptions& options) {
  switch (options.method) {
    case LassoMethod::active_set:
      return make<T, cpu::ActiveSetMethod<T>>;
    case LassoMethod::coordinate_descent:
      return by_penalty<T, cpu::CoordinateDescentMethod>(options.penalty);
    default:
      return by_penalty<T, cpu::ProximalMethod>(options.penalty);
  }
}

template <class T>
double largest_magnitude(const T* x, Index n) {
  simd::Vec<T> sizes = {};
  Index k = 0;
  for (; k + simd::lanes<T> <= n; k += simd::lanes<T>) {
    const simd::Vec<T> v = simd::load(x + k);
    const simd::Vec<T> size = v < 0 ? -v : v;
    sizes = size > sizes ? size : sizes;
  }
  T largest = simd::max_lanes<T>(sizes);
  for (; k < n; ++k) largest = std::max(largest, std::abs(x[k]));
  return static_cast<double>(largest);
}

// The factor of the samples that brings the largest of row i's weights into [1, 2).
template <class T>
double scale_for_alpha(const typename CodingDictionary<T>::Prepared& d, Penalty penalty,
                       BroadcastView<T> alpha, Index i) {
  double largest = 0.0;
  for (Index j = 0; j < d.n_components; ++j) largest = std::max(largest, static_cast<double>(alpha(i, j)));
  return scale_for_weight(largest, d.scale, penalty);
}

// One worker's memory and its way through a block of rows.
template <class T>
class BlockSolver {
 public:
  using Prepared = typename CodingDictionary<T>::Prepared;

  BlockSolver(const Prepared& dictionary, const LassoOptions& options, Index capacity, bool shared_alpha)
      : dictionary_(dictionary),
        options_(options),
        shared_alpha_(shared_alpha),
        block_(capacity, dictionary.n_features, dictionary.n_components, shared_alpha),
        certifier_(dictionary, options, capacity),
        lowest_energy_(capacity),
        idle_(capacity),
        method_(choose<T>(options)(dictionary, options, capacity, shared_alpha)) {}

  void run(MatrixView<const T> x, BroadcastView<T> alpha, MatrixView<T> codes, const LassoReport& report,
           Index first, Index count) {
    load(x, alpha, codes, first, count);
    method_->start(block_);
    if (method_->starts_from_certificate()) {
      certifier_.certify(block_);
      retire(codes, report, /*at_start=*/true);
    }
    const Index stretch = options_.tol == 0 ? options_.max_iter : std::min(check_interval, options_.max_iter);
    Index done = 0;
    while (block_.count > 0) {
      const Index iterations = std::min(stretch, std::max<Index>(options_.max_iter - done, 1));
      method_->advance(block_, iterations);
      done += iterations;
      certifier_.certify(block_);
      retire(codes, report, /*at_start=*/false);
    }
  }

 private:
  static constexpr Index check_interval = 10;
  static constexpr Index patience = 50;

  void load(MatrixView<const T> x, BroadcastView<T> alpha, MatrixView<T> codes, Index first, Index count) {
    block_.count = count;
    if (shared_alpha_ && !alpha_loaded_) {
      x_scale_ = scale_for_alpha<T>(dictionary_, options_.penalty, alpha, 0);
      load_alpha(alpha, 0, 0);
      alpha_loaded_ = true;
    }
    for (Index p = 0; p < count; ++p) {
      const Index i = first + p;
      block_.row[p] = i;
      block_.n_iter[p] = 0;
      block_.exhausted[p] = 0;
      block_.n_suspects[p] = 0;
      lowest_energy_[p] = std::numeric_limits<double>::infinity();
      idle_[p] = 0;
      const double largest = largest_magnitude(x.row(i), dictionary_.n_features);
      if (!shared_alpha_) {
        x_scale_ = scale_for_sample<T>(scale_for_alpha<T>(dictionary_, options_.penalty, alpha, i), largest);
        load_alpha(alpha, i, p);
      }
      block_.code_scale[p] = x_scale_ / dictionary_.scale;
      double* scaled = block_.x_row(p);
      for (Index k = 0; k < dictionary_.n_features; ++k) scaled[k] = static_cast<double>(x(i, k)) * x_scale_;
      // Zero for a zero row alone.
      block_.x_squared[p] = largest == 0 ? 0.0
                                         : std::max(cpu::dot(scaled, scaled, dictionary_.feature_stride),
                                                    std::numeric_limits<double>::denorm_min());
      for (Index j = 0; j < dictionary_.n_components; ++j)
        block_.code_row(p)[j] =
            options_.warm_start ? static_cast<T>(codes(i, j) * block_.code_scale[p]) : T(0);
      if (options_.positive && options_.warm_start)
        for (Index j = 0; j < dictionary_.n_components; ++j)
          block_.code_row(p)[j] = std::max(block_.code_row(p)[j], T(0));
    }
    if (options_.criterion == Criterion::optimality_residual) certifier_.measure_correlations(block_);
  }

  // Row i's weights in the units of x_scale_.
  void load_alpha(BroadcastView<T> alpha, Index i, Index p) {
    const double factor = weight_factor(x_scale_, dictionary_.scale, options_.penalty);
    for (Index j = 0; j < dictionary_.n_components; ++j)
      block_.alpha_row(p)[j] = static_cast<double>(alpha(i, j)) * factor;
  }

  void retire(MatrixView<T> codes, const LassoReport& report, bool at_start) {
    Index kept = 0;
    for (Index p = 0; p < block_.count; ++p) {
      const double gap = block_.certificate[p].gap;
      const bool reached = options_.tol > 0 && gap <= options_.tol;
      const bool spent = !reached && !at_start &&
                         (block_.n_iter[p] >= options_.max_iter || block_.exhausted[p] || is_stuck(p));
      if (reached || spent) {
        write(p, reached, codes, report);
        continue;
      }
      if (kept != p) {
        block_.move(p, kept);
        method_->move(p, kept);
        lowest_energy_[kept] = lowest_energy_[p];
        idle_[kept] = idle_[p];
      }
      ++kept;
    }
    block_.count = kept;
  }

  // Whether the row has come as far as the rounding of T lets it: small, and no better for a good part of the
  // way. Linear convergence, however slow, passes: it gains 1 % in much less than the time it took to become
  // small.
  bool is_stuck(Index p) {
    const double now = certifier_.energy(block_, p);
    const bool better = now < lowest_energy_[p];
    idle_[p] = better ? 0 : idle_[p] + 1;
    if (better) lowest_energy_[p] = now;
    const Index certificates = block_.n_iter[p] / check_interval;
    return idle_[p] >= std::max(patience, certificates / 4) &&
           block_.certificate[p].gap < 4096.0 * std::numeric_limits<T>::epsilon();
  }

  void write(Index p, bool reached, MatrixView<T> codes, const LassoReport& report) const {
    const Index i = block_.row[p];
    const T* z = block_.code_row(p);
    const double back = 1.0 / block_.code_scale[p];
    T* out = codes.row(i);
    for (Index j = 0; j < dictionary_.n_components; ++j)
      out[j] = static_cast<T>(static_cast<double>(z[j]) * back);
    report.gap[i] = block_.certificate[p].gap;
    report.n_iter[i] = block_.n_iter[p];
    report.status[i] = static_cast<std::int8_t>(options_.tol == 0 ? Status::fixed_iterations
                                                : reached         ? Status::converged
                                                                  : Status::not_converged);
  }

  const Prepared& dictionary_;
  const LassoOptions& options_;
  bool shared_alpha_;
  double x_scale_ = 1.0;
  bool alpha_loaded_ = false;
  LassoBlock<T> block_;
  cpu::Certifier<T> certifier_;
  Buffer<double> lowest_energy_;
  Buffer<Index> idle_;  // certificates since the last one that was better
  std::unique_ptr<LassoMethodBase<T>> method_;
};

// Everything that the threads would otherwise race to make.
template <class T>
void prepare(const typename CodingDictionary<T>::Prepared& d, const LassoOptions& options) {
  d.template transposed<double>();
  if (options.criterion == Criterion::fixed_point_residual) d.lipschitz();
  switch (options.method) {
    case LassoMethod::active_set:
      d.template transposed<float>();
      d.template gram<float>();
      break;
    case LassoMethod::coordinate_descent:
      d.template gram<T>();
      break;
    default:
      d.lipschitz();
      if (2 * d.n_features >= d.n_components)
        d.packed_gram();
      else
        d.packed_atoms(), d.template transposed<T>();
  }
}

// Rows per block: enough for the products, few enough that a block's state stays in the cache.
template <class T>
Index block_rows(const typename CodingDictionary<T>::Prepared& d, const LassoOptions& options) {
  if (options.method != LassoMethod::active_set) return 48;
  const Index capacity = d.l2 > 0 ? d.n_components : std::min(d.n_components, d.n_features);
  const Index bytes = capacity * (capacity + 32) * 4;
  return std::clamp<Index>((Index{32} << 20) / bytes / 6 * 6, 6, 48);
}

}  // namespace

template <class T>
void CodingDictionary<T>::encode(MatrixView<const T> x, BroadcastView<T> alpha, MatrixView<T> codes,
                                 const LassoReport& report, const LassoOptions& options) const {
  const Prepared& d = *prepared_;
  require(x.cols == d.n_features, "X: expected ", d.n_features, " features, as the dictionary has, got ",
          x.cols);
  require(codes.rows == x.rows && codes.cols == d.n_components, "codes: expected shape (", x.rows, ", ",
          d.n_components, "), got (", codes.rows, ", ", codes.cols, ")");
  require(options.max_iter > 0, "max_iter: expected at least 1, got ", options.max_iter);
  require(options.tol >= 0, "tol: expected a number >= 0, got ", options.tol);
  require(
      options.method != LassoMethod::active_set ||
          (options.penalty == Penalty::l1 && options.criterion == Criterion::duality_gap && options.tol > 0),
      "solver: 'active_set' needs the l1 penalty, alpha > 0 and tol > 0");
  if (x.rows == 0) return;
  const bool shared_alpha = alpha.row_stride == 0;
  prepare<T>(d, options);
  const Index rows = block_rows<T>(d, options);
  const Index blocks = block_count(x.rows, rows);
  const double scale = shared_alpha ? scale_for_alpha<T>(d, options.penalty, alpha, 0) : 0.0;
  struct Worker {
    std::unique_ptr<BlockSolver<T>> shared, own;  // for blocks whose rows share their units, and for others
  };
  std::vector<Worker> workers(
      static_cast<std::size_t>(std::min<Index>(thread_count(options.n_jobs), blocks)));
  parallel_for(blocks, options.n_jobs, [&](Index block, int w) {
    const Index first = block * rows;
    const Index count = std::min(rows, x.rows - first);
    bool shares = shared_alpha;
    for (Index i = first; shares && i < first + count; ++i)
      shares = scale_for_sample<T>(scale, largest_magnitude(x.row(i), d.n_features)) == scale;
    Worker& worker = workers[static_cast<std::size_t>(w)];
    auto& solver = shares ? worker.shared : worker.own;
    if (!solver) solver = std::make_unique<BlockSolver<T>>(d, options, rows, shares);
    solver->run(x, alpha, codes, report, first, count);
  });
}

#define THALWEG_INSTANTIATE(T)                                                                    \
  template void CodingDictionary<T>::encode(MatrixView<const T>, BroadcastView<T>, MatrixView<T>, \
                                            const LassoReport&, const LassoOptions&) const;
THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg
