#include "kernels/descent.hpp"

#include <Eigen/Core>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <vector>

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

// `count` elements from `first` on; whether they are finite.
template <class T>
bool adam_block(const AdamArrays<T>& arrays, Index first, Index count, const AdamRates<T>& rates,
                const AdamFactors<T>& factors) {
  Chunk<T> x, m, s, g;
  T not_finite = 0;  // NaN as soon as there is one: x - x of an infinity or of NaN
  for (const Index end = first + count; first < end; first += chunk_elements) {
    const Index n = std::min(chunk_elements, end - first);
    load(x, arrays.parameter + first, n);
    load(m, arrays.mean + first, n);
    load(s, arrays.square + first, n);
    load(g, arrays.gradient + first, n);
    m = rates.first_decay * m + (1 - rates.first_decay) * g;
    s = rates.second_decay * s + (1 - rates.second_decay) * g.square();
    x -= factors.length * m / ((factors.scale * s).sqrt() + rates.epsilon);
    // A square that overflows would stop the element for ever without a word.
    not_finite += ((x - x) + (s - s)).sum();
    std::copy(x.data(), x.data() + n, arrays.next + first);
    std::copy(m.data(), m.data() + n, arrays.next_mean + first);
    std::copy(s.data(), s.data() + n, arrays.next_square + first);
  }
  return not_finite == 0;
}

}  // namespace

template <class T>
bool adam_step(std::span<const AdamArrays<T>> parameters, const AdamRates<T>& rates, int n_jobs) {
  const AdamFactors<T> factors = factors_of(rates);
  std::vector<Index> starts{0};  // of every parameter's blocks
  Index elements = 0;
  for (const auto& arrays : parameters) {
    starts.push_back(starts.back() + block_count(arrays.size, block_elements));
    elements += arrays.size;
  }
  std::atomic<bool> is_finite{true};
  parallel_for(starts.back(), jobs_for(16 * elements, n_jobs), [&](Index block, int) {
    const auto above = std::upper_bound(starts.begin(), starts.end(), block);
    const auto which = static_cast<std::size_t>(above - starts.begin()) - 1;
    const auto& arrays = parameters[which];
    const Index first = (block - starts[which]) * block_elements;
    if (!adam_block(arrays, first, std::min(block_elements, arrays.size - first), rates, factors))
      is_finite.store(false);
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

template bool adam_step(std::span<const AdamArrays<float>>, const AdamRates<float>&, int);
template bool adam_step(std::span<const AdamArrays<double>>, const AdamRates<double>&, int);

}  // namespace thalweg
