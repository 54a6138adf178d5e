// ISTA and FISTA on a block of rows. Shrinkage, and the momentum where it needs no restart test, are done on
// the product's accumulators. With few features (2 n < K) two products with D cost less than one with the
// Gram matrix.
#pragma once

#include "cpu/lasso_prepared.hpp"
#include "cpu/lasso_prox.hpp"

namespace thalweg::cpu {

template <class T, Penalty P>
class ProximalMethod final : public LassoMethodBase<T> {
 public:
  ProximalMethod(const typename CodingDictionary<T>::Prepared& dictionary, const LassoOptions& options,
                 Index capacity, bool shared_alpha)
      : dictionary_(dictionary),
        options_(options),
        stride_(simd::padded<T>(dictionary.n_components)),
        feature_stride_(simd::padded<T>(dictionary.n_features)),
        use_gram_(2 * dictionary.n_features >= dictionary.n_components),
        step_(static_cast<T>(1.0 / dictionary.lipschitz())),
        threshold_((shared_alpha ? 1 : capacity) * stride_),
        threshold_stride_(shared_alpha ? 0 : stride_),
        x_((use_gram_ ? 0 : capacity) * feature_stride_),
        residual_((use_gram_ ? 0 : capacity) * feature_stride_),
        correlation_((use_gram_ ? capacity : 0) * stride_, T(0)),
        code_(capacity * stride_),
        point_(capacity * stride_),
        next_point_((use_gram_ ? capacity : 0) * stride_),
        momentum_(capacity),
        factor_(capacity),
        turn_(capacity) {}

  [[nodiscard]] bool starts_from_certificate() const override {
    return options_.warm_start && options_.tol > 0;
  }

  void start(LassoBlock<T>& block) override {
    for (Index p = 0; p < (threshold_stride_ > 0 ? block.count : 1); ++p)
      for (Index j = 0; j < stride_; ++j)
        threshold_[p * threshold_stride_ + j] =
            static_cast<T>(block.alpha_row(p)[j] / dictionary_.lipschitz());
    for (Index p = 0; p < block.count; ++p) {
      for (Index j = 0; j < stride_; ++j)
        code_[p * stride_ + j] = point_[p * stride_ + j] =
            j < dictionary_.n_components ? block.code_row(p)[j] : T(0);
      momentum_[p] = 1.0;
    }
    load_samples(block);
  }

  void advance(LassoBlock<T>& block, Index iterations) override {
    for (Index it = 0; it < iterations; ++it) {
      poll_interrupt();
      iterate(block.count);
    }
    for (Index p = 0; p < block.count; ++p) {
      std::copy_n(code_.data() + p * stride_, dictionary_.n_components, block.code_row(p));
      block.n_iter[p] += static_cast<std::int32_t>(iterations);
    }
  }

  void move(Index from, Index to) override {
    const auto copy = [&](const Buffer<T>& b, Index stride) {
      std::copy_n(b.data() + from * stride, stride, b.data() + to * stride);
    };
    if (threshold_stride_ > 0) copy(threshold_, stride_);
    if (use_gram_)
      copy(correlation_, stride_);
    else
      copy(x_, feature_stride_);
    copy(code_, stride_);
    copy(point_, stride_);
    momentum_[to] = momentum_[from];
  }

 private:
  void load_samples(const LassoBlock<T>& block) {
    if (!use_gram_) {
      for (Index p = 0; p < block.count; ++p)
        for (Index k = 0; k < feature_stride_; ++k)
          x_[p * feature_stride_ + k] = k < dictionary_.n_features ? static_cast<T>(block.x_row(p)[k]) : T(0);
      return;
    }
    matmul<double>({block.x.data(), block.count, dictionary_.n_features, block.feature_stride},
                   dictionary_.template transposed<double>(), [&](Index p, Index col, simd::Vec<double> acc) {
                     for (int l = 0; l < simd::lanes<double>; ++l)
                       if (col + l < stride_) correlation_[p * stride_ + col + l] = static_cast<T>(acc[l]);
                   });
  }

  void iterate(Index rows) {
    for (Index p = 0; p < rows; ++p) {
      const double next = next_momentum(momentum_[p]);
      factor_[p] = accelerated() ? static_cast<T>((momentum_[p] - 1.0) / next) : T(0);
      turn_[p] = simd::Vec<T>{};
      momentum_[p] = next;
    }
    if (use_gram_)
      gram_product(rows);
    else
      two_products(rows);
    if (restarts()) restart(rows);
  }

  [[nodiscard]] bool accelerated() const { return options_.method == LassoMethod::fista; }
  [[nodiscard]] bool restarts() const { return accelerated() && options_.adaptive_restart; }

  void gram_product(Index rows) {
    matmul<T>({point_.data(), rows, dictionary_.n_components, stride_}, dictionary_.packed_gram(),
              [this](Index p, Index col, simd::Vec<T> acc) {
                const Index at = p * stride_ + col;
                step(p, col, simd::load(correlation_.data() + at) - acc, next_point_.data() + at);
              });
    std::swap(point_, next_point_);
  }

  void two_products(Index rows) {
    matmul<T>({point_.data(), rows, dictionary_.n_components, stride_}, dictionary_.packed_atoms(),
              [this](Index p, Index col, simd::Vec<T> acc) {
                const Index at = p * feature_stride_ + col;
                simd::store(residual_.data() + at, simd::load(x_.data() + at) - acc);
              });
    const simd::Vec<T> l2 = simd::broadcast(static_cast<T>(dictionary_.l2));
    matmul<T>({residual_.data(), rows, dictionary_.n_features, feature_stride_},
              dictionary_.template transposed<T>(), [&](Index p, Index col, simd::Vec<T> acc) {
                T* point = point_.data() + p * stride_ + col;
                step(p, col, acc - l2 * simd::load(point), point);
              });
  }

  // z+ = prox(y + c / L); y+ = z+ + factor (z+ - z), unless a restart must be decided first: then y+ holds z+
  // - z.
  void step(Index p, Index col, simd::Vec<T> correlation, T* next_point) {
    using V = simd::Vec<T>;
    const Index at = p * stride_ + col;
    const V point = simd::load(point_.data() + at);
    const V threshold = simd::load(threshold_.data() + p * threshold_stride_ + col);
    const V next = prox<T, P>(point + step_ * correlation, threshold, options_.positive);
    const V change = next - simd::load(code_.data() + at);
    simd::store(code_.data() + at, next);
    if (restarts()) {
      turn_[p] += (point - next) * change;
      simd::store(next_point, change);
    } else {
      simd::store(next_point, next + factor_[p] * change);
    }
  }

  void restart(Index rows) {
    for (Index p = 0; p < rows; ++p) {
      double turn = 0.0;
      for (int l = 0; l < simd::lanes<T>; ++l) turn += turn_[p][l];
      if (turn > 0) {  // the momentum points uphill
        momentum_[p] = next_momentum(1.0);
        factor_[p] = T(0);
      }
      for (Index j = 0; j < stride_; j += simd::lanes<T>) {
        T* point = point_.data() + p * stride_ + j;
        simd::store(point, simd::load(code_.data() + p * stride_ + j) + factor_[p] * simd::load(point));
      }
    }
  }

  const typename CodingDictionary<T>::Prepared& dictionary_;
  const LassoOptions& options_;
  Index stride_;
  Index feature_stride_;
  bool use_gram_;
  T step_;
  Buffer<T> threshold_;  // alpha / L
  Index threshold_stride_;
  Buffer<T> x_;
  Buffer<T> residual_;
  Buffer<T> correlation_;  // <x, d_j>
  Buffer<T> code_;
  Buffer<T> point_;  // where the gradient is taken
  Buffer<T> next_point_;
  Buffer<double> momentum_;
  Buffer<T> factor_;
  Buffer<simd::Vec<T>> turn_;
};

}  // namespace thalweg::cpu
