// A step on the support: conjugate gradients for the quadratic that the objective is while no sign changes.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/csc_atoms.hpp"
#include "cpu/csc_weights.hpp"

namespace thalweg::cpu {

template <class T, int Lanes>
class SupportStep {
 public:
  SupportStep(const CanvasLayout<T>& layout, const Tiling& tiling, const FilterBank<T, Lanes>& bank,
              const PixelWeights<T>& weights, const T* alpha, int most_jobs)
      : layout_(layout),
        tiling_(tiling),
        bank_(bank),
        weights_(weights),
        alpha_(alpha),
        most_jobs_(most_jobs),
        image_(layout),
        first_(static_cast<std::size_t>(tiling.count() + 1), 0),
        parts_(static_cast<std::size_t>(tiling.count()), 0.0) {}

  // Lowers the objective, or changes nothing. `residual` is weighted and extended.
  void operator()(TileAtoms<T>& atoms, const Canvas<T>& residual, int iterations) {
    number(atoms);
    if (first_.back() == 0) return;
    n_jobs_ = jobs_for(atom_operations * first_.back() * layout_.shape.taps(), most_jobs_);
    begin(atoms, residual);
    solve(atoms, iterations);
    for (T length = 1; length > T(0.1); length /= 2)
      if (try_step(atoms, length)) {
        take_step(atoms, residual);
        return;
      }
  }

 private:
  void number(const TileAtoms<T>& atoms) {
    for (std::size_t t = 0; t < atoms.size(); ++t)
      first_[t + 1] = first_[t] + static_cast<Index>(atoms[t].size());
    for (Buffer<T>* b : {&correlation_, &rest_, &direction_, &step_}) at_least(*b, first_.back());
  }

  // Calls visit(atom, number) for the atoms of every tile, tiles side by side; the sum of what it gives.
  template <class Visit>
  double over_atoms(TileAtoms<T>& atoms, Visit&& visit) {
    tiling_.for_each(n_jobs_, [&](Index t, int) {
      double sum = 0;
      Index i = first_[static_cast<std::size_t>(t)];
      for (auto& a : atoms[static_cast<std::size_t>(t)]) sum += visit(a, i++);
      parts_[static_cast<std::size_t>(t)] = sum;
    });
    double total = 0;
    for (const double part : parts_) total += part;
    return total;
  }

  [[nodiscard]] T correlate(const Canvas<T>& canvas, const Atom<T>& a) const {
    return bank_.dot(a.filter, canvas.data() + layout_.at(a.y, a.x), layout_.stride, layout_.plane);
  }

  // image_ = w * (sum of amounts[i] * atom i); sum w (...)^2.
  double synthesize(const TileAtoms<T>& atoms, const Buffer<T>& amounts) {
    image_.clear(n_jobs_);
    add_atoms(bank_, tiling_, atoms, image_, n_jobs_,
              [&](Index t, Index i) { return amounts[first_[static_cast<std::size_t>(t)] + i]; });
    const double square = weights_.apply(image_, n_jobs_);
    image_.extend();
    return square;
  }

  void begin(TileAtoms<T>& atoms, const Canvas<T>& residual) {
    over_atoms(atoms, [&](Atom<T>& a, Index i) {
      correlation_[i] = correlate(residual, a);
      rest_[i] = correlation_[i] - std::copysign(alpha_[a.filter], a.value);
      direction_[i] = rest_[i] / a.curvature;
      step_[i] = T(0);
      return 0.0;
    });
  }

  // Preconditioned by the curvatures; ends early where the rest has become small.
  void solve(TileAtoms<T>& atoms, int iterations) {
    const auto rest_square = [&] {
      return over_atoms(atoms,
                        [&](Atom<T>& a, Index i) { return double(rest_[i]) * rest_[i] / a.curvature; });
    };
    double square = rest_square();
    const double enough = 1e-6 * square;
    for (int it = 0; it < iterations && square > enough; ++it) {
      const double curvature = synthesize(atoms, direction_);
      if (!(curvature > 0)) return;
      const T length = static_cast<T>(square / curvature);
      const double next = over_atoms(atoms, [&](Atom<T>& a, Index i) {
        step_[i] += length * direction_[i];
        rest_[i] -= length * correlate(image_, a);
        return double(rest_[i]) * rest_[i] / a.curvature;
      });
      const T share = static_cast<T>(next / square);
      over_atoms(atoms, [&](Atom<T>& a, Index i) {
        direction_[i] = rest_[i] / a.curvature + share * direction_[i];
        return 0.0;
      });
      square = next;
    }
  }

  // The change of `length` of the step, with values that would change their sign cut off at zero, in
  // `direction_`; whether it lowers the objective.
  bool try_step(TileAtoms<T>& atoms, T length) {
    const double linear = over_atoms(atoms, [&](Atom<T>& a, Index i) {
      T value = a.value + length * step_[i];
      if (!(value * a.value > T(0))) value = T(0);
      direction_[i] = value - a.value;
      return alpha_[a.filter] * (double(std::abs(value)) - std::abs(a.value)) -
             double(direction_[i]) * correlation_[i];
    });
    return linear + 0.5 * synthesize(atoms, direction_) < 0;
  }

  void take_step(TileAtoms<T>& atoms, const Canvas<T>& residual) {
    over_atoms(atoms, [&](Atom<T>& a, Index i) {
      a.value += direction_[i];
      return 0.0;
    });
    for (auto& of_tile : atoms) std::erase_if(of_tile, [](const Atom<T>& a) { return a.value == T(0); });
    parallel_for(layout_.rows, n_jobs_, [&](Index y, int) {
      for (Index c = 0; c < layout_.shape.channels; ++c) {
        T* to = residual.row(c, y);
        const T* from = image_.row(c, y);
        for (Index x = 0; x < layout_.cols; ++x) to[x] -= from[x];
      }
    });
  }

  CanvasLayout<T> layout_;
  const Tiling& tiling_;
  const FilterBank<T, Lanes>& bank_;
  const PixelWeights<T>& weights_;
  const T* alpha_;
  int most_jobs_;
  int n_jobs_ = 1;
  Canvas<T> image_;
  std::vector<Index> first_;
  std::vector<double> parts_;
  Buffer<T> correlation_, rest_, direction_, step_;
};

}  // namespace thalweg::cpu
