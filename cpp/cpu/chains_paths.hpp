// The path of least energy through one sequence, with or without one path left out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/parallel.hpp"
#include "core/view.hpp"

namespace thalweg::cpu {

// Searches of one sequence at a time, for one thread.
template <class T>
class ChainPaths {
 public:
  ChainPaths(const T* pairwise, Index k) : k_(k), steps_(static_cast<std::size_t>(k * k)) {
    for (std::size_t i = 0; i < steps_.size(); ++i) steps_[i] = static_cast<double>(pairwise[i]);
  }

  // Returns the least energy; +inf where all paths are forbidden.
  double best(MatrixView<const T> unary, std::int64_t* states) {
    begin(unary);
    for (Index t = 1; t < unary.rows; ++t) {
      step(t);
      add(unary, t);
    }
    return trace(unary.rows, states, nullptr);
  }

  // Likewise of all paths but `right`. A path either has followed the right one so far, and then there is one
  // such, or has left it, and then the best for each label is kept.
  double offending(MatrixView<const T> unary, const std::int64_t* right, std::int64_t* states) {
    begin(unary);
    double along = static_cast<double>(unary(0, right[0]));
    now_[static_cast<std::size_t>(right[0])] = infinity;
    for (Index t = 1; t < unary.rows; ++t) {
      step(t);
      const double* leave = steps_.data() + right[t - 1] * k_;
      for (Index j = 0; j < k_; ++j)
        if (j != right[t] && along + leave[j] < now_[static_cast<std::size_t>(j)]) {
          now_[static_cast<std::size_t>(j)] = along + leave[j];
          origin(t)[j] = from_right;
        }
      add(unary, t);
      along += leave[right[t]] + static_cast<double>(unary(t, right[t]));
    }
    return trace(unary.rows, states, right);
  }

 private:
  static constexpr double infinity = std::numeric_limits<double>::infinity();
  static constexpr std::int32_t from_right = -1;
  static constexpr Index positions_per_poll = 256;

  [[nodiscard]] std::int32_t* origin(Index t) { return origins_.data() + t * k_; }

  void begin(MatrixView<const T> unary) {
    origins_.resize(std::max(origins_.size(), static_cast<std::size_t>(unary.rows * k_)));
    now_.assign(static_cast<std::size_t>(k_), 0.0);
    before_.resize(static_cast<std::size_t>(k_));
    add(unary, 0);
  }

  void add(MatrixView<const T> unary, Index t) {
    for (Index j = 0; j < k_; ++j) now_[static_cast<std::size_t>(j)] += static_cast<double>(unary(t, j));
  }

  // now_[j] becomes the least of before + step over the labels before, the first of equal ones.
  void step(Index t) {
    if (t % positions_per_poll == 0) poll_interrupt();
    std::swap(now_, before_);
    std::fill(now_.begin(), now_.end(), infinity);
    std::int32_t* const from = origin(t);
    std::fill_n(from, k_, 0);
    double* const now = now_.data();
    for (Index i = 0; i < k_; ++i) {
      const double reached = before_[static_cast<std::size_t>(i)];
      const double* row = steps_.data() + i * k_;
      const auto label = static_cast<std::int32_t>(i);
      for (Index j = 0; j < k_; ++j) {
        const double energy = reached + row[j];
        const bool is_less = energy < now[j];
        now[j] = is_less ? energy : now[j];
        from[j] = is_less ? label : from[j];
      }
    }
  }

  double trace(Index length, std::int64_t* states, const std::int64_t* right) {
    const auto last = std::min_element(now_.begin(), now_.end());
    if (*last == infinity) {
      if (right != nullptr) std::copy_n(right, length, states);
      return infinity;
    }
    auto label = static_cast<std::int64_t>(last - now_.begin());
    for (Index t = length - 1; t >= 0; --t) {
      states[t] = label;
      if (t == 0) break;
      const std::int32_t from = origin(t)[label];
      if (right != nullptr && from == from_right) {
        std::copy_n(right, t, states);
        break;
      }
      label = from;
    }
    return *last;
  }

  Index k_;
  std::vector<double> steps_, now_, before_;
  std::vector<std::int32_t> origins_;
};

}  // namespace thalweg::cpu
