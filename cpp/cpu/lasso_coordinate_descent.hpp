// Cyclic coordinate descent on the Gram matrix, row by row: sweeps over all atoms, and between them sweeps
// over the non-zeros alone.
#pragma once

#include "cpu/lasso_prepared.hpp"
#include "cpu/lasso_prox.hpp"

namespace thalweg::cpu {

template <class T, Penalty P>
class CoordinateDescentMethod final : public LassoMethodBase<T> {
 public:
  CoordinateDescentMethod(const typename CodingDictionary<T>::Prepared& dictionary,
                          const LassoOptions& options, Index, bool)
      : dictionary_(dictionary),
        options_(options),
        stride_(simd::padded<T>(dictionary.n_components)),
        gram_(dictionary.template gram<T>().data()),
        correlation_(stride_),
        support_(dictionary.n_components) {}

  [[nodiscard]] bool starts_from_certificate() const override { return true; }
  void start(LassoBlock<T>&) override {}
  void move(Index, Index) override {}

  void advance(LassoBlock<T>& block, Index sweeps) override {
    for (Index p = 0; p < block.count; ++p) advance_row(block, p, sweeps);
  }

  void advance_row(LassoBlock<T>& block, Index p, Index sweeps) {
    for (Index j = 0; j < stride_; ++j) correlation_[j] = static_cast<T>(block.correlation_row(p)[j]);
    T* z = block.code_row(p);
    const double* alpha = block.alpha_row(p);
    for (Index sweep = 0; sweep < sweeps; ++sweep) {
      poll_interrupt();
      if (options_.tol == 0 || sweep == 0)
        sweep_all(z, alpha);
      else
        sweep_support(z, alpha);
    }
    block.n_iter[p] += static_cast<std::int32_t>(sweeps);
  }

 private:
  void sweep_all(T* z, const double* alpha) {
    support_size_ = 0;
    for (Index j = 0; j < dictionary_.n_components; ++j) {
      update(z, alpha, j);
      if (z[j] != 0) support_[support_size_++] = static_cast<std::int32_t>(j);
    }
  }

  void sweep_support(T* z, const double* alpha) {
    for (Index i = 0; i < support_size_; ++i) update(z, alpha, support_[i]);
  }

  void update(T* z, const double* alpha, Index j) {
    const T* row = gram_ + j * stride_;
    const T curvature = row[j];
    if (!(curvature > 0)) {  // a zero atom explains nothing
      z[j] = T(0);
      return;
    }
    const T next = prox_number<T, P>(z[j] + correlation_[j] / curvature, static_cast<T>(alpha[j]) / curvature,
                                     options_.positive);
    const T change = next - z[j];
    if (change == 0) return;
    z[j] = next;
    for (Index i = 0; i < stride_; i += simd::lanes<T>)
      simd::store(correlation_.data() + i,
                  simd::load(correlation_.data() + i) - change * simd::load(row + i));
  }

  const typename CodingDictionary<T>::Prepared& dictionary_;
  const LassoOptions& options_;
  Index stride_;
  const T* gram_;
  Buffer<T> correlation_;
  Buffer<std::int32_t> support_;
  Index support_size_ = 0;
};

}  // namespace thalweg::cpu
