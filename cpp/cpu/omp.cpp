#include "kernels/omp.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>

#include "core/buffer.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "cpu/lasso_active_set.hpp"
#include "cpu/lasso_prepared.hpp"
#include "cpu/matmul.hpp"
#include "cpu/row_sums.hpp"

namespace thalweg {
namespace {

constexpr Index rows_per_block = 48;

// One worker's memory, and the pursuit of one row after the other, in the precision S.
template <class T, class S>
class Pursuit {
 public:
  using Prepared = typename CodingDictionary<T>::Prepared;

  Pursuit(const Prepared& dictionary, const PursuitOptions& options, Index most)
      : dictionary_(dictionary),
        options_(options),
        most_(most),
        stride_(simd::padded<S>(dictionary.n_components)),
        gram_(dictionary.template gram<S>().data()),
        set_(most),
        bordering_(most),
        x_(rows_per_block * dictionary.n_features),
        start_(rows_per_block * stride_),
        correlation_(stride_),
        target_(simd::padded<S>(most) + simd::lanes<S>),
        coefficient_(simd::padded<S>(most) + simd::lanes<S>),
        weight_(std::max(most, dictionary.n_components)),
        residual_(dictionary.feature_stride, 0.0),
        sample_(dictionary.feature_stride, 0.0) {}

  // Whether rounding may have spoilt row i: it would be explained better by nothing, claims an error that it
  // has not, or was given up with atoms left.
  [[nodiscard]] bool is_spoilt(MatrixView<const T> x, const PursuitReport& report, Index i) const {
    double energy = 0;
    for (Index k = 0; k < x.cols; ++k) energy += double(x(i, k)) * double(x(i, k));
    const double left = report.residual_squared[i];
    if (!(left <= 1.0001 * energy)) return true;
    const bool has_room = report.n_nonzero[i] < most_;
    const bool claims = report.status[i] == static_cast<std::int8_t>(PursuitStatus::reached);
    return options_.tol >= 0 && (claims || has_room) && left > 1.001 * options_.tol + 1e-9 * energy;
  }

  void run(MatrixView<const T> x, MatrixView<T> codes, const PursuitReport& report, Index first,
           Index count) {
    for (Index p = 0; p < count; ++p)
      for (Index k = 0; k < dictionary_.n_features; ++k)
        x_[p * dictionary_.n_features + k] = static_cast<S>(x(first + p, k));
    cpu::matmul<S>(
        {x_.data(), count, dictionary_.n_features}, dictionary_.template transposed<S>(),
        [&](Index p, Index col, simd::Vec<S> acc) { simd::store(start_.data() + p * stride_ + col, acc); });
    for (Index p = 0; p < count; ++p) {
      poll_interrupt();
      const Index i = first + p;
      for (Index k = 0; k < dictionary_.n_features; ++k) sample_[k] = static_cast<double>(x(i, k));
      const PursuitStatus status = pursue(start_.data() + p * stride_);
      correct();
      write(codes.row(i));
      report.residual_squared[i] = residual_squared();
      report.n_nonzero[i] = static_cast<std::int32_t>(set_.size());
      report.status[i] = static_cast<std::int8_t>(status);
    }
  }

 private:
  static constexpr S singularity = S(64) * std::numeric_limits<S>::epsilon();

  PursuitStatus pursue(const S* start) {
    set_.clear();
    std::copy_n(start, stride_, correlation_.data());
    const double energy = cpu::dot(sample_.data(), sample_.data(), dictionary_.feature_stride);
    // A correlation this small, for atoms of norm below 2, is rounding.
    const double noise = 8.0 * std::numeric_limits<S>::epsilon() * std::sqrt(energy);
    if (options_.tol >= 0 && energy <= options_.tol) return PursuitStatus::reached;
    while (set_.size() < most_) {
      poll_interrupt();
      const std::int32_t j = largest_correlation();
      if (!(std::abs(static_cast<double>(correlation_[j])) > noise)) return PursuitStatus::exhausted;
      bool entered = false;
      if (set_.push(gram_, stride_, &j, 1, singularity, bordering_, &entered) == 0)
        return PursuitStatus::dependent;
      solve(start);
      if (options_.tol >= 0 && reached(start, energy)) return PursuitStatus::reached;
    }
    const bool has_all = options_.tol < 0 && set_.size() == options_.n_nonzero;
    return has_all ? PursuitStatus::reached : PursuitStatus::exhausted;
  }

  // The first of the largest |c_j|, as np.argmax has it.
  [[nodiscard]] std::int32_t largest_correlation() const {
    using V = simd::Vec<S>;
    V largest = {};
    for (Index j = 0; j < stride_; j += simd::lanes<S>) {
      V c = simd::load(correlation_.data() + j);
      c = c < 0 ? -c : c;
      largest = c > largest ? c : largest;
    }
    S size = 0;
    for (int l = 0; l < simd::lanes<S>; ++l) size = std::max(size, largest[l]);
    Index j = 0;
    while (j + 1 < dictionary_.n_components && std::abs(correlation_[j]) != size) ++j;
    return static_cast<std::int32_t>(j);
  }

  // Least squares on the set: z = M b_S, c = b - G z.
  void solve(const S* start) {
    for (Index i = 0; i < set_.size(); ++i) target_[i] = start[set_.atom(i)];
    std::fill(target_.data() + set_.size(), target_.data() + set_.padded_size(), S(0));
    set_.newton_direction(target_.data(), coefficient_.data());
    for (Index i = 0; i < set_.size(); ++i) {
      set_.set_coefficient(i, S(1), static_cast<double>(coefficient_[i]));
      coefficient_[i] = -coefficient_[i];
    }
    cpu::sum_rows<S>(
        start, coefficient_.data(), set_.size(), stride_,
        [this](Index i) { return gram_ + set_.atom(i) * stride_; }, correlation_.data());
    for (Index i = 0; i < set_.size(); ++i) correlation_[set_.atom(i)] = S(0);
  }

  // ||x||^2 - <z, b> decides; where rounding could, the residual itself.
  bool reached(const S* start, double energy) {
    double squared = energy;
    for (Index i = 0; i < set_.size(); ++i)
      squared -= set_.value(i) * static_cast<double>(start[set_.atom(i)]);
    const double doubt = 1e3 * std::numeric_limits<S>::epsilon() * energy;
    if (squared > options_.tol + doubt) return false;
    if (squared <= options_.tol - doubt) return true;
    return residual_squared() <= options_.tol;
  }

  double residual_squared() {
    for (Index i = 0; i < set_.size(); ++i) weight_[i] = -set_.value(i);
    cpu::sum_rows<double>(
        sample_.data(), weight_.data(), set_.size(), dictionary_.feature_stride,
        [this](Index i) { return dictionary_.atom(set_.atom(i)); }, residual_.data());
    return cpu::dot(residual_.data(), residual_.data(), dictionary_.feature_stride);
  }

  // z += M D_S (x - z D), twice, with residuals in float64; then z is rounded to T.
  void correct() {
    for (int round = 0; round < 2 && set_.size() > 0; ++round) {
      residual_squared();
      for (Index i = 0; i < set_.size(); ++i)
        target_[i] = static_cast<S>(
            cpu::dot(dictionary_.atom(set_.atom(i)), residual_.data(), dictionary_.feature_stride));
      std::fill(target_.data() + set_.size(), target_.data() + set_.padded_size(), S(0));
      set_.newton_direction(target_.data(), coefficient_.data());
      for (Index i = 0; i < set_.size(); ++i) set_.value(i) += static_cast<double>(coefficient_[i]);
    }
    const double scale = dictionary_.scale;
    for (Index i = 0; i < set_.size(); ++i)
      set_.value(i) = static_cast<double>(static_cast<T>(set_.value(i) * scale)) / scale;
  }

  void write(T* codes) {
    std::fill_n(codes, dictionary_.n_components, T(0));
    for (Index i = 0; i < set_.size(); ++i)
      codes[set_.atom(i)] = static_cast<T>(set_.value(i) * dictionary_.scale);
  }

  const Prepared& dictionary_;
  const PursuitOptions& options_;
  Index most_;
  Index stride_;
  const S* gram_;
  cpu::ActiveSet<S> set_;
  cpu::BorderingMemory<S> bordering_;
  Buffer<S> x_;
  Buffer<S> start_;  // <x, d_j>, row by row
  Buffer<S> correlation_;
  Buffer<S> target_;
  Buffer<S> coefficient_;
  Buffer<double> weight_;
  Buffer<double> residual_;
  Buffer<double> sample_;
};

}  // namespace

template <class T>
void omp_encode(const CodingDictionary<T>& dictionary, MatrixView<const T> x, MatrixView<T> codes,
                const PursuitReport& report, const PursuitOptions& options) {
  const auto& d = dictionary.prepared();
  require(x.cols == d.n_features, "X: expected ", d.n_features, " features, as the dictionary has, got ",
          x.cols);
  require(codes.rows == x.rows && codes.cols == d.n_components, "codes: expected shape (", x.rows, ", ",
          d.n_components, "), got (", codes.rows, ", ", codes.cols, ")");
  require(d.l2 == 0, "l2: expected 0 for a pursuit, got ", d.l2);
  require(options.n_nonzero > 0, "n_nonzero_coefs: expected at least 1, got ", options.n_nonzero);
  const Index most = std::min({options.n_nonzero, d.n_components, d.n_features});
  d.template transposed<T>();
  d.template gram<T>();
  const Index blocks = block_count(x.rows, rows_per_block);
  const auto n_workers =
      static_cast<std::size_t>(std::min<Index>(thread_count(options.n_jobs), std::max<Index>(blocks, 1)));
  std::vector<std::unique_ptr<Pursuit<T, T>>> workers(n_workers);
  std::vector<std::unique_ptr<Pursuit<T, double>>> careful(n_workers);
  for (auto& worker : workers) worker = std::make_unique<Pursuit<T, T>>(d, options, most);
  parallel_for(blocks, options.n_jobs, [&](Index block, int w) {
    const Index first = block * rows_per_block;
    const Index count = std::min(rows_per_block, x.rows - first);
    auto& worker = *workers[static_cast<std::size_t>(w)];
    worker.run(x, codes, report, first, count);
    if constexpr (std::is_same_v<T, float>)
      for (Index i = first; i < first + count; ++i) {
        if (!worker.is_spoilt(x, report, i)) continue;
        auto& again = careful[static_cast<std::size_t>(w)];
        if (!again) again = std::make_unique<Pursuit<T, double>>(d, options, most);
        again->run(x, codes, report, i, 1);
      }
  });
}

#define THALWEG_INSTANTIATE(T)                                                             \
  template void omp_encode(const CodingDictionary<T>&, MatrixView<const T>, MatrixView<T>, \
                           const PursuitReport&, const PursuitOptions&);
THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg
