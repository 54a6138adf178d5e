// What the lasso's methods share: the prepared dictionary and the rows of one block, in the units of
// core/lasso_numbers.hpp.
#pragma once

#include <cmath>
#include <memory>
#include <mutex>

#include "core/buffer.hpp"
#include "core/lasso_numbers.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "cpu/matmul.hpp"
#include "kernels/lasso.hpp"

namespace thalweg {

// A value made by the first thread that asks.
template <class Value>
class Lazy {
 public:
  template <class Make>
  const Value& get(Make&& make) const {
    std::call_once(once_, [&] { value_ = std::make_unique<Value>(make()); });
    return *value_;
  }

 private:
  mutable std::once_flag once_;
  mutable std::unique_ptr<Value> value_;
};

template <class T>
struct CodingDictionary<T>::Prepared {
  Index n_components = 0;
  Index n_features = 0;
  Index feature_stride = 0;  // n_features, padded to vectors of double
  double scale = 1.0;        // the atoms below are the caller's times this
  double l2 = 0.0;           // in the scaled units
  int n_jobs = 0;
  Buffer<double> atoms;  // (n_components, feature_stride)

  Prepared(MatrixView<const T> d, double l2_, int n_jobs_);

  // An upper bound of the largest eigenvalue of D D^T + l2 I, in the scaled units.
  double lipschitz() const;

  [[nodiscard]] const double* atom(Index j) const { return atoms.data() + j * feature_stride; }

  // D^T, to the right of X or of residuals: correlations.
  template <class S>
  const cpu::PackedRight<S>& transposed() const {
    const auto make = [this] {
      return cpu::PackedRight<S>(n_features, n_components, [this](Index i, Index j) { return atom(j)[i]; });
    };
    if constexpr (std::is_same_v<S, float>)
      return transposed_float_.get(make);
    else
      return transposed_double_.get(make);
  }

  // D, to the right of codes: reconstructions.
  const cpu::PackedRight<T>& packed_atoms() const {
    return packed_atoms_.get([this] {
      return cpu::PackedRight<T>(n_components, n_features, [this](Index i, Index j) { return atom(i)[j]; });
    });
  }

  // D D^T + l2 I, rows padded with zeros to whole vectors.
  template <class S>
  const Buffer<S>& gram() const {
    const auto make = [this] { return make_gram<S>(); };
    if constexpr (std::is_same_v<S, float>)
      return gram_float_.get(make);
    else
      return gram_double_.get(make);
  }

  // The Gram matrix packed as a right operand.
  const cpu::PackedRight<T>& packed_gram() const {
    return packed_gram_.get([this] {
      const Buffer<T>& g = gram<T>();
      const Index stride = simd::padded<T>(n_components);
      return cpu::PackedRight<T>(n_components, n_components,
                                 [&](Index i, Index j) { return g[i * stride + j]; });
    });
  }

 private:
  template <class S>
  Buffer<S> make_gram() const;

  Lazy<cpu::PackedRight<float>> transposed_float_;
  Lazy<cpu::PackedRight<double>> transposed_double_;
  Lazy<cpu::PackedRight<T>> packed_atoms_;
  Lazy<cpu::PackedRight<T>> packed_gram_;
  Lazy<Buffer<float>> gram_float_;
  Lazy<Buffer<double>> gram_double_;
  Lazy<double> lipschitz_;
};

// The Gram matrix is made row block by row block, each by the same chain of operations as any other product.
template <class T>
template <class S>
Buffer<S> CodingDictionary<T>::Prepared::make_gram() const {
  const Index stride = simd::padded<S>(n_components);
  Buffer<S> gram(n_components * stride);
  const cpu::PackedRight<S>& right = transposed<S>();
  constexpr Index rows_per_block = 48;
  parallel_for(block_count(n_components, rows_per_block), n_jobs, [&](Index block, int) {
    const Index first = block * rows_per_block;
    const Index rows = std::min(rows_per_block, n_components - first);
    Buffer<S> left(rows * n_features);
    for (Index i = 0; i < rows; ++i)
      for (Index k = 0; k < n_features; ++k) left[i * n_features + k] = static_cast<S>(atom(first + i)[k]);
    cpu::matmul<S>({left.data(), rows, n_features}, right, [&](Index i, Index col, simd::Vec<S> acc) {
      simd::store(gram.data() + (first + i) * stride + col, acc);
    });
    for (Index i = 0; i < rows; ++i) gram[(first + i) * stride + first + i] += static_cast<S>(l2);
  });
  return gram;
}

// What is known of a row at its codes, in float64.
struct Certificate {
  double residual_squared = 0.0;  // ||x - z D||^2 + l2 ||z||^2
  double x_residual = 0.0;        // <x, x - z D>
  double gap = 0.0;               // relative, by the criterion asked for
};

// The unfinished rows of one block, compact: place p in all arrays belongs to one row.
template <class T>
struct LassoBlock {
  Index feature_stride;
  Index code_stride;
  Index count = 0;               // unfinished rows
  Buffer<Index> row;             // (capacity,) number of the row among the samples
  Buffer<double> x;              // (capacity, feature_stride) samples, scaled
  Buffer<double> x_squared;      // (capacity,) ||x||^2
  Buffer<double> x_correlation;  // (capacity,) max_j |<x, d_j>|, for the optimality residual
  Buffer<double> alpha;          // (capacity or 1, code_stride) scaled, padded with ones
  Index alpha_stride;            // 0 where all rows share alpha
  Buffer<T> codes;               // (capacity, code_stride) scaled
  Buffer<double> code_scale;     // (capacity,) scaled codes = codes * this
  Buffer<double> correlation;    // (capacity, code_stride) D (x - z D) - l2 z; padded with zeros
  Buffer<Certificate> certificate;
  Buffer<std::int32_t> n_iter;
  Buffer<std::uint8_t> exhausted;  // the method can improve this row no further
  Buffer<std::int32_t>
      suspects;              // (capacity, code_stride) atoms of which one has the largest |c_j| / alpha_j
  Buffer<Index> n_suspects;  // (capacity,) 0: not known

  LassoBlock(Index capacity, Index n_features, Index n_components, bool shared_alpha)
      : feature_stride(simd::padded<double>(n_features)),
        code_stride(simd::padded<float>(n_components)),
        row(capacity),
        x(capacity * feature_stride, 0.0),
        x_squared(capacity),
        x_correlation(capacity, 0.0),
        alpha((shared_alpha ? 1 : capacity) * code_stride, 1.0),
        alpha_stride(shared_alpha ? 0 : code_stride),
        codes(capacity * code_stride, T(0)),
        code_scale(capacity),
        correlation(capacity * code_stride, 0.0),
        certificate(capacity),
        n_iter(capacity),
        exhausted(capacity),
        suspects(capacity * code_stride),
        n_suspects(capacity, Index(0)) {}

  [[nodiscard]] double* x_row(Index p) const { return x.data() + p * feature_stride; }
  [[nodiscard]] double* alpha_row(Index p) const { return alpha.data() + p * alpha_stride; }
  [[nodiscard]] T* code_row(Index p) const { return codes.data() + p * code_stride; }
  [[nodiscard]] double* correlation_row(Index p) const { return correlation.data() + p * code_stride; }
  [[nodiscard]] std::int32_t* suspects_row(Index p) const { return suspects.data() + p * code_stride; }

  void move(Index from, Index to) {
    row[to] = row[from];
    std::copy_n(x_row(from), feature_stride, x_row(to));
    x_squared[to] = x_squared[from];
    x_correlation[to] = x_correlation[from];
    if (alpha_stride > 0) std::copy_n(alpha_row(from), code_stride, alpha_row(to));
    std::copy_n(code_row(from), code_stride, code_row(to));
    code_scale[to] = code_scale[from];
    std::copy_n(correlation_row(from), code_stride, correlation_row(to));
    certificate[to] = certificate[from];
    n_iter[to] = n_iter[from];
    exhausted[to] = exhausted[from];
  }
};

// A method with one worker's memory. The driver calls start(), then advance() and the certificate by turns;
// finished rows leave the block through move().
template <class T>
class LassoMethodBase {
 public:
  virtual ~LassoMethodBase() = default;
  // Whether block.certificate and block.correlation are wanted before the first advance().
  [[nodiscard]] virtual bool starts_from_certificate() const = 0;
  // Takes up a new block; block.codes is the starting point.
  virtual void start(LassoBlock<T>& block) = 0;
  // Up to `iterations` more on every row, writing block.codes, block.n_iter and block.exhausted, and, where
  // they are known, the suspects.
  virtual void advance(LassoBlock<T>& block, Index iterations) = 0;
  virtual void move(Index from, Index to) = 0;
};

}  // namespace thalweg
