#include "kernels/descent.hpp"

#include <algorithm>
#include <atomic>
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

}  // namespace

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

}  // namespace thalweg
