#include "kernels/descent.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "core/parallel.hpp"

namespace thalweg {
namespace {

constexpr Index block_elements = 16384;

template <class T>
bool step_row(const T* x, const T* v, const T* g, T rate, T momentum, T decay, T* next, T* next_v, Index n) {
  constexpr T largest = std::numeric_limits<T>::max();
  bool is_finite = true;
  for (Index i = 0; i < n; ++i) {
    T move = rate * (g[i] - decay * x[i]);
    if (v != nullptr) {
      move += momentum * v[i];
      next_v[i] = move;
    }
    const T moved = x[i] + move;
    next[i] = moved;
    is_finite &= std::abs(moved) <= largest;
  }
  return is_finite;
}

template <class T>
struct AdamFactors {
  T length;  // rate / (1 - b1^step)
  T scale;   // 1 / (1 - b2^step)
};

template <class T>
AdamFactors<T> factors_of(const AdamRates<T>& rates) {
  const double step = static_cast<double>(rates.step);
  const double first = 1 - std::pow(static_cast<double>(rates.first_decay), step);
  const double second = 1 - std::pow(static_cast<double>(rates.second_decay), step);
  return {static_cast<T>(static_cast<double>(rates.rate) / first), static_cast<T>(1 / second)};
}

constexpr Index chunk_elements = 256;

// As many elements as are taken at once. Aligned and filled up with zeros, so that every element goes the
// same way through the vector units wherever it stands in memory: a root has other bits elsewhere.
template <class T>
using Chunk = Eigen::Array<T, chunk_elements, 1>;

template <class T>
void load(Chunk<T>& chunk, const T* from, Index n) {
  std::copy(from, from + n, chunk.data());
  std::fill(chunk.data() + n, chunk.data() + chunk_elements, T(0));
}

template <class T>
struct AdamRow {
  const T *x, *mean, *square, *gradient;
  T *next, *next_mean, *next_square;
};

template <class T>
bool adam_row(const AdamRow<T>& row, Index cols, const AdamRates<T>& rates, const AdamFactors<T>& factors) {
  Chunk<T> x, m, s, g;
  bool ok = true;
  for (Index first = 0; first < cols; first += chunk_elements) {
    const Index n = std::min(chunk_elements, cols - first);
    load(x, row.x + first, n);
    load(m, row.mean + first, n);
    load(s, row.square + first, n);
    load(g, row.gradient + first, n);
    m = rates.first_decay * m + (1 - rates.first_decay) * g;
    s = rates.second_decay * s + (1 - rates.second_decay) * g.square();
    x -= factors.length * m / ((factors.scale * s).sqrt() + rates.epsilon);
    // A square that overflows would stop the element for ever without a word.
    ok &= x.isFinite().all() && s.isFinite().all();
    std::copy(x.data(), x.data() + n, row.next + first);
    std::copy(m.data(), m.data() + n, row.next_mean + first);
    std::copy(s.data(), s.data() + n, row.next_square + first);
  }
  return ok;
}

}  // namespace

template <class T>
bool adam_step(MatrixView<const T> parameter, MatrixView<const T> mean, MatrixView<const T> square,
               MatrixView<const T> gradient, const AdamRates<T>& rates, MatrixView<T> next,
               MatrixView<T> next_mean, MatrixView<T> next_square, int n_jobs) {
  const AdamFactors<T> factors = factors_of(rates);
  const Index cols = parameter.cols;
  const Index block = std::max<Index>(1, block_elements / std::max<Index>(1, cols));
  std::atomic<bool> is_finite{true};
  parallel_for(
      block_count(parameter.rows, block), jobs_for(16 * parameter.rows * cols, n_jobs), [&](Index b, int) {
        bool ok = true;
        for (Index r = b * block; r < std::min(parameter.rows, (b + 1) * block); ++r) {
          const AdamRow<T> row{parameter.row(r), mean.row(r),      square.row(r),     gradient.row(r),
                               next.row(r),      next_mean.row(r), next_square.row(r)};
          ok &= adam_row(row, cols, rates, factors);
        }
        if (!ok) is_finite.store(false);
      });
  return is_finite.load();
}

template <class T>
bool momentum_step(MatrixView<const T> parameter, MatrixView<const T> velocity, MatrixView<const T> gradient,
                   T rate, T momentum, T decay, MatrixView<T> next, MatrixView<T> next_velocity, int n_jobs) {
  const Index block = std::max<Index>(1, block_elements / std::max<Index>(1, parameter.cols));
  std::atomic<bool> is_finite{true};
  parallel_for(block_count(parameter.rows, block), jobs_for(8 * parameter.rows * parameter.cols, n_jobs),
               [&](Index b, int) {
                 bool ok = true;
                 for (Index r = b * block; r < std::min(parameter.rows, (b + 1) * block); ++r) {
                   const bool has_velocity = velocity.data != nullptr;
                   ok &= step_row(parameter.row(r), has_velocity ? velocity.row(r) : nullptr, gradient.row(r),
                                  rate, momentum, decay, next.row(r),
                                  has_velocity ? next_velocity.row(r) : nullptr, parameter.cols);
                 }
                 if (!ok) is_finite.store(false);
               });
  return is_finite.load();
}

template bool momentum_step(MatrixView<const float>, MatrixView<const float>, MatrixView<const float>, float,
                            float, float, MatrixView<float>, MatrixView<float>, int);
template bool momentum_step(MatrixView<const double>, MatrixView<const double>, MatrixView<const double>,
                            double, double, double, MatrixView<double>, MatrixView<double>, int);

template bool adam_step(MatrixView<const float>, MatrixView<const float>, MatrixView<const float>,
                        MatrixView<const float>, const AdamRates<float>&, MatrixView<float>,
                        MatrixView<float>, MatrixView<float>, int);
template bool adam_step(MatrixView<const double>, MatrixView<const double>, MatrixView<const double>,
                        MatrixView<const double>, const AdamRates<double>&, MatrixView<double>,
                        MatrixView<double>, MatrixView<double>, int);

}  // namespace thalweg
