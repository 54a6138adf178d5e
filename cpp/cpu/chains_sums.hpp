// Forward and backward sums over the paths of one sequence.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "core/parallel.hpp"
#include "core/view.hpp"

namespace thalweg::cpu {

inline constexpr double chain_infinity = std::numeric_limits<double>::infinity();

// exp(-beta (T - min T)), and the transposed.
class TransitionWeights {
 public:
  template <class T>
  TransitionWeights(const T* pairwise, Index k, double beta)
      : k_(k), forward_(static_cast<std::size_t>(k * k)), energies_(static_cast<std::size_t>(k * k)) {
    least_ = chain_infinity;
    for (Index i = 0; i < k * k; ++i) {
      energies_[static_cast<std::size_t>(i)] = static_cast<double>(pairwise[i]);
      least_ = std::min(least_, energies_[static_cast<std::size_t>(i)]);
    }
    if (least_ == chain_infinity) least_ = 0;  // every step is forbidden: only single positions have paths
    for (std::size_t i = 0; i < forward_.size(); ++i) forward_[i] = std::exp(-beta * (energies_[i] - least_));
    backward_.resize(forward_.size());
    for (Index i = 0; i < k; ++i)
      for (Index j = 0; j < k; ++j)
        backward_[static_cast<std::size_t>(j * k + i)] = forward_[static_cast<std::size_t>(i * k + j)];
  }

  [[nodiscard]] Index size() const { return k_; }
  [[nodiscard]] double least() const { return least_; }
  [[nodiscard]] const double* from(Index i) const { return forward_.data() + i * k_; }  // over the next label
  [[nodiscard]] const double* into(Index j) const {
    return backward_.data() + j * k_;
  }  // over the one before
  [[nodiscard]] double energy(Index i, Index j) const {
    return energies_[static_cast<std::size_t>(i * k_ + j)];
  }

 private:
  Index k_;
  double least_ = 0;
  std::vector<double> forward_, backward_, energies_;
};

// Sums of one sequence at a time, for one thread.
class ChainSums {
 public:
  ChainSums(const TransitionWeights& transitions, double beta)
      : transitions_(transitions), beta_(beta), k_(transitions.size()) {}

  // Marginals of the positions in `unary`, and `weight` times the expected transitions added to `pairs`.
  // Returns the free energy; +inf where all paths are forbidden.
  template <class T>
  double run(MatrixView<const T> unary, double weight, MatrixView<T> marginals, double* pairs) {
    hold(unary);
    double free = 0;
    if (!scaled_forward(free) || !scaled_backward()) {
      free = logarithmic();
      if (free == chain_infinity) return free;
    }
    for (Index t = 0; t < length_; ++t)
      for (Index j = 0; j < k_; ++j) marginals(t, j) = static_cast<T>(ahead(t)[j] * behind(t)[j]);
    if (weight != 0) add_pairs(weight, pairs);
    return free;
  }

 private:
  [[nodiscard]] double* ahead(Index t) { return ahead_.data() + t * k_; }
  [[nodiscard]] double* behind(Index t) { return behind_.data() + t * k_; }
  [[nodiscard]] double* weights(Index t) { return weights_.data() + t * k_; }
  [[nodiscard]] double* energies(Index t) { return energies_.data() + t * k_; }

  [[nodiscard]] double* energy_ahead(Index t) { return energy_ahead_.data() + t * k_; }
  [[nodiscard]] double* energy_behind(Index t) { return energy_behind_.data() + t * k_; }

  template <class T>
  void hold(MatrixView<const T> unary) {
    length_ = unary.rows;
    const auto size = static_cast<std::size_t>(length_ * k_);
    for (auto* v : {&ahead_, &behind_, &weights_, &energies_}) v->resize(std::max(v->size(), size));
    scales_.resize(std::max(scales_.size(), static_cast<std::size_t>(length_)));
    least_.resize(scales_.size());
    is_logarithmic_ = false;
    for (Index t = 0; t < length_; ++t) {
      double least = chain_infinity;
      for (Index j = 0; j < k_; ++j) {
        energies(t)[j] = static_cast<double>(unary(t, j));
        least = std::min(least, energies(t)[j]);
      }
      least_[static_cast<std::size_t>(t)] = least == chain_infinity ? 0 : least;
      for (Index j = 0; j < k_; ++j)
        weights(t)[j] = std::exp(-beta_ * (energies(t)[j] - least_[static_cast<std::size_t>(t)]));
    }
  }

  // ahead(t) is proportional to the sum over paths up to t, and sums to one. False where weights underflow.
  bool scaled_forward(double& free) {
    free = 0;
    double logarithm = 0;
    for (Index t = 0; t < length_; ++t) {
      if (t % positions_per_poll == 0) poll_interrupt();
      double* now = ahead(t);
      if (t == 0) {
        std::copy_n(weights(0), k_, now);
      } else {
        std::fill_n(now, k_, 0.0);
        for (Index i = 0; i < k_; ++i) {
          const double share = ahead(t - 1)[i];
          const double* step = transitions_.from(i);
          for (Index j = 0; j < k_; ++j) now[j] += share * step[j];
        }
        for (Index j = 0; j < k_; ++j) now[j] *= weights(t)[j];
        free += transitions_.least();
      }
      double total = 0;
      for (Index j = 0; j < k_; ++j) total += now[j];
      if (!(total > least_total)) return false;
      for (Index j = 0; j < k_; ++j) now[j] /= total;
      scales_[static_cast<std::size_t>(t)] = total;
      logarithm += std::log(total);
      free += least_[static_cast<std::size_t>(t)];
    }
    free -= logarithm / beta_;
    return true;
  }

  // behind(t) is such that ahead(t) behind(t) are the marginals. False where a number is too large.
  bool scaled_backward() {
    std::fill_n(behind(length_ - 1), k_, 1.0);
    for (Index t = length_ - 1; t > 0; --t) {
      if (t % positions_per_poll == 0) poll_interrupt();
      double* before = behind(t - 1);
      std::fill_n(before, k_, 0.0);
      for (Index j = 0; j < k_; ++j) {
        const double share = weights(t)[j] * behind(t)[j] / scales_[static_cast<std::size_t>(t)];
        const double* step = transitions_.into(j);
        for (Index i = 0; i < k_; ++i) before[i] += share * step[i];
      }
      for (Index i = 0; i < k_; ++i)
        if (!std::isfinite(before[i])) return false;
    }
    return true;
  }

  // The same with energies in the place of weights; then `ahead` holds the marginals, and `behind` ones.
  double logarithmic() {
    is_logarithmic_ = true;
    energy_ahead_.resize(ahead_.size());
    energy_behind_.resize(ahead_.size());
    for (Index t = 0; t < length_; ++t) {
      poll_interrupt();
      for (Index j = 0; j < k_; ++j) energy_ahead(t)[j] = energies(t)[j] + (t == 0 ? 0.0 : arrival(t, j));
    }
    const double free = soft_minimum([&](Index j) { return energy_ahead(length_ - 1)[j]; });
    if (free == chain_infinity) return free;
    std::fill_n(energy_behind(length_ - 1), k_, 0.0);
    for (Index t = length_ - 1; t > 0; --t) {
      poll_interrupt();
      for (Index i = 0; i < k_; ++i) energy_behind(t - 1)[i] = departure(t, i);
    }
    for (Index t = 0; t < length_; ++t)
      for (Index j = 0; j < k_; ++j) {
        ahead(t)[j] = std::exp(-beta_ * (energy_ahead(t)[j] + energy_behind(t)[j] - free));
        behind(t)[j] = 1.0;
      }
    free_ = free;
    return free;
  }

  // The free energy of all ways that lead to label j at t, without its own energy.
  double arrival(Index t, Index j) {
    return soft_minimum([&](Index i) { return energy_ahead(t - 1)[i] + transitions_.energy(i, j); });
  }

  // That of all ways on from label i at t - 1.
  double departure(Index t, Index i) {
    return soft_minimum(
        [&](Index j) { return transitions_.energy(i, j) + energies(t)[j] + energy_behind(t)[j]; });
  }

  // -1/beta log of the sum over labels of exp(-beta energy).
  template <class Energy>
  double soft_minimum(const Energy& energy) {
    double least = chain_infinity;
    for (Index i = 0; i < k_; ++i) least = std::min(least, energy(i));
    if (least == chain_infinity) return least;
    double total = 0;
    for (Index i = 0; i < k_; ++i) total += std::exp(-beta_ * (energy(i) - least));
    return least - std::log(total) / beta_;
  }

  void add_pairs(double weight, double* pairs) {
    for (Index t = 1; t < length_; ++t) {
      if (t % positions_per_poll == 0) poll_interrupt();
      for (Index i = 0; i < k_; ++i)
        is_logarithmic_ ? add_pairs_from_energies(t, i, weight, pairs + i * k_)
                        : add_pairs_from_weights(t, i, weight, pairs + i * k_);
    }
  }

  void add_pairs_from_weights(Index t, Index i, double weight, double* pairs) {
    const double share = weight * ahead(t - 1)[i] / scales_[static_cast<std::size_t>(t)];
    const double* step = transitions_.from(i);
    for (Index j = 0; j < k_; ++j) pairs[j] += share * step[j] * weights(t)[j] * behind(t)[j];
  }

  void add_pairs_from_energies(Index t, Index i, double weight, double* pairs) {
    for (Index j = 0; j < k_; ++j)
      pairs[j] += weight * std::exp(-beta_ * (energy_ahead(t - 1)[i] + transitions_.energy(i, j) +
                                              energies(t)[j] + energy_behind(t)[j] - free_));
  }

  static constexpr Index positions_per_poll = 256;
  static constexpr double least_total = 1e-280;  // what underflows beside it is below rounding

  const TransitionWeights& transitions_;
  double beta_;
  Index k_;
  Index length_ = 0;
  bool is_logarithmic_ = false;
  double free_ = 0;  // of the whole sequence, where energies are kept
  std::vector<double> ahead_, behind_, weights_, energies_, scales_, least_, energy_ahead_, energy_behind_;
};

}  // namespace thalweg::cpu
