// The certificate of every row: what its codes are worth, in float64, from their residual.
//
// The duality gap needs the largest |c_j| / alpha_j alone. Where a method names the atoms among which it must
// be (block.suspects), only these correlations are computed; where that settles nothing, all are.
#pragma once

#include <algorithm>
#include <limits>
#include <utility>

#include "cpu/lasso_active_set.hpp"
#include "cpu/lasso_prepared.hpp"
#include "cpu/lasso_prox.hpp"

namespace thalweg::cpu {

// Judges the rows of a block, with one worker's scratch memory.
template <class T>
class Certifier {
 public:
  Certifier(const typename CodingDictionary<T>::Prepared& dictionary, const LassoOptions& options,
            Index capacity)
      : dictionary_(dictionary),
        options_(options),
        residual_(capacity * dictionary.feature_stride, 0.0),
        minus_code_(dictionary.n_components),
        support_(dictionary.n_components),
        l1_(capacity),
        settled_(capacity) {}

  // Fills block.certificate; for rows whose gap is above tol, block.correlation too.
  void certify(LassoBlock<T>& block) {
    for (Index p = 0; p < block.count; ++p) {
      measure(block, p);
      const Index n_suspects = std::exchange(block.n_suspects[p], 0);
      settled_[p] = is_zero_row(block, p) || settled_by_suspects(block, p, n_suspects);
    }
    for (Index first = 0; first < block.count;) {
      Index end = first;
      while (end < block.count && !settled_[end]) ++end;
      correlate(block, first, end);
      for (Index p = first; p < end; ++p) block.certificate[p].gap = judge(block, p);
      first = end + 1;
    }
  }

  // 1/2 (||x - z D||^2 + l2 ||z||^2) + penalty.
  [[nodiscard]] double energy(const LassoBlock<T>& block, Index p) const {
    const double half_square = 0.5 * block.certificate[p].residual_squared;
    if (options_.penalty == Penalty::l1) return half_square + l1_[p];
    const T* z = block.code_row(p);
    const double* alpha = block.alpha_row(p);
    const double q = exponent(options_.penalty);
    double sum = half_square;
    for (Index j = 0; j < dictionary_.n_components; ++j)
      if (z[j] != 0) sum += alpha[j] * std::pow(std::abs(static_cast<double>(z[j])), q);
    return sum;
  }

  // Fills block.x_correlation, to which the optimality residual is relative.
  void measure_correlations(LassoBlock<T>& block) const {
    for (Index p = 0; p < block.count; ++p) block.x_correlation[p] = 0.0;
    matmul<double>({block.x.data(), block.count, dictionary_.n_features, block.feature_stride},
                   dictionary_.template transposed<double>(), [&](Index p, Index, simd::Vec<double> acc) {
                     for (int l = 0; l < simd::lanes<double>; ++l)
                       block.x_correlation[p] = std::max(block.x_correlation[p], std::abs(acc[l]));
                   });
  }

 private:
  // The residual of row p's codes, its products, and the l1 penalty. Of the codes as they will be returned:
  // in the caller's units they may be subnormal, and lose bits.
  void measure(LassoBlock<T>& block, Index p) {
    T* z = block.code_row(p);
    const double scale = block.code_scale[p];
    const double back = 1.0 / scale;
    const double* alpha = block.alpha_row(p);
    Index count = 0;
    double l1 = 0.0;
    double squared = 0.0;
    simd::for_each_lane<T>(
        simd::padded<T>(dictionary_.n_components), [&](Index j) { return simd::load(z + j) != T(0); },
        [&](Index j) {
          if (j >= dictionary_.n_components) return;
          const double value = static_cast<double>(static_cast<T>(z[j] * back)) * scale;
          z[j] = static_cast<T>(value);
          support_[count] = static_cast<std::int32_t>(j);
          minus_code_[count++] = -value;
          l1 += alpha[j] * std::abs(value);
          squared += value * value;
        });
    l1_[p] = l1;
    double* r = residual_row(p);
    const double* x = block.x_row(p);
    sum_rows<double>(
        x, minus_code_.data(), count, dictionary_.feature_stride,
        [this](Index i) { return dictionary_.atom(support_[i]); }, r);
    Certificate& c = block.certificate[p];
    c.residual_squared = dot(r, r, dictionary_.feature_stride) + dictionary_.l2 * squared;
    c.x_residual = dot(x, r, dictionary_.feature_stride);
    n_nonzero_ = count;
  }

  // A zero sample with the code zero is at its optimum. Right after measure(block, p).
  bool is_zero_row(LassoBlock<T>& block, Index p) const {
    if (block.x_squared[p] != 0 || n_nonzero_ != 0) return false;
    block.certificate[p].gap = 0.0;
    std::fill_n(block.correlation_row(p), block.code_stride, 0.0);
    return true;
  }

  // Whether the suspects' correlations show that the gap is at most tol.
  bool settled_by_suspects(LassoBlock<T>& block, Index p, Index n_suspects) const {
    if (n_suspects == 0 || block.x_squared[p] == 0) return false;
    const std::int32_t* suspect = block.suspects_row(p);
    const T* z = block.code_row(p);
    double max_ratio = 0.0;
    for (Index i = 0; i < n_suspects; ++i) {
      const std::int32_t j = suspect[i];
      const double c =
          dot(residual_row(p), dictionary_.atom(j), dictionary_.feature_stride) - dictionary_.l2 * z[j];
      raise(max_ratio, (options_.positive ? c : std::abs(c)) / block.alpha_row(p)[j]);
    }
    block.certificate[p].gap = relative_duality_gap(block, p, max_ratio);
    return block.certificate[p].gap <= options_.tol;
  }

  // c = D r - l2 z of the rows [first, end).
  void correlate(LassoBlock<T>& block, Index first, Index end) {
    if (first == end) return;
    matmul<double>({residual_row(first), end - first, dictionary_.n_features, dictionary_.feature_stride},
                   dictionary_.template transposed<double>(), [&](Index i, Index col, simd::Vec<double> acc) {
                     simd::store(block.correlation_row(first + i) + col, acc);
                   });
    if (dictionary_.l2 == 0) return;
    for (Index p = first; p < end; ++p)
      for (Index j = 0; j < dictionary_.n_components; ++j)
        block.correlation_row(p)[j] -= dictionary_.l2 * block.code_row(p)[j];
  }

  [[nodiscard]] double judge(const LassoBlock<T>& block, Index p) const {
    switch (options_.criterion) {
      case Criterion::optimality_residual:
        return optimality_residual(block, p);
      case Criterion::fixed_point_residual:
        return fixed_point_residual(block, p);
      default:
        return relative_duality_gap(block, p, max_ratio(block, p));
    }
  }

  // max_j |c_j| / alpha_j.
  [[nodiscard]] double max_ratio(const LassoBlock<T>& block, Index p) const {
    using V = simd::Vec<double>;
    const double* c = block.correlation_row(p);
    const double* alpha = block.alpha_row(p);
    V largest = {};
    for (Index j = 0; j < simd::padded<double>(dictionary_.n_components); j += simd::lanes<double>) {
      V size = simd::load(c + j);
      if (!options_.positive) size = size < 0 ? -size : size;
      const V ratio = size / simd::load(alpha + j);
      largest = (ratio > largest) | (ratio != ratio) ? ratio : largest;
    }
    double out = 0.0;
    for (int l = 0; l < simd::lanes<double>; ++l) raise(out, largest[l]);
    return out;
  }

  [[nodiscard]] double relative_duality_gap(const LassoBlock<T>& block, Index p, double ratio) const {
    const Certificate& known = block.certificate[p];
    const double gap = duality_gap(known.residual_squared, known.x_residual, l1_[p], ratio);
    const double unit = 0.5 * block.x_squared[p];
    return std::isnormal(unit) ? gap / unit : std::numeric_limits<double>::infinity();
  }

  [[nodiscard]] double optimality_residual(const LassoBlock<T>& block, Index p) const {
    const T* z = block.code_row(p);
    const double* c = block.correlation_row(p);
    const double* alpha = block.alpha_row(p);
    double worst = 0.0;
    for (Index j = 0; j < dictionary_.n_components; ++j) {
      const double size = options_.positive ? c[j] : std::abs(c[j]);
      const double distance = z[j] != 0 ? std::abs(c[j] - std::copysign(alpha[j], static_cast<double>(z[j])))
                                        : std::max(size - alpha[j], 0.0);
      raise(worst, distance);
    }
    if (worst == 0) return 0.0;
    return block.x_correlation[p] > 0 ? worst / block.x_correlation[p]
                                      : std::numeric_limits<double>::infinity();
  }

  [[nodiscard]] double fixed_point_residual(const LassoBlock<T>& block, Index p) const {
    const T* z = block.code_row(p);
    const double* c = block.correlation_row(p);
    const double* alpha = block.alpha_row(p);
    const double l = dictionary_.lipschitz();
    double worst = 0.0;
    double size = 0.0;
    for (Index j = 0; j < dictionary_.n_components; ++j) {
      const double v = static_cast<double>(z[j]);
      const double next = prox_any(v + c[j] / l, alpha[j] / l, options_.penalty, options_.positive);
      raise(worst, std::abs(v - next));
      size = std::max({size, std::abs(v), std::abs(next)});
    }
    return worst == 0 ? 0.0 : worst / size;
  }

  [[nodiscard]] double* residual_row(Index p) const {
    return residual_.data() + p * dictionary_.feature_stride;
  }

  const typename CodingDictionary<T>::Prepared& dictionary_;
  const LassoOptions& options_;
  Buffer<double> residual_;
  Buffer<double> minus_code_;  // of the row just measured, on its support
  Buffer<std::int32_t> support_;
  Index n_nonzero_ = 0;
  Buffer<double> l1_;  // sum_j alpha_j |z_j|
  Buffer<std::uint8_t> settled_;
};

}  // namespace thalweg::cpu
