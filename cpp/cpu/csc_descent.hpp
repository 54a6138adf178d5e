// Coordinate descent on the atoms of one tile, over a copy of the residual that they share.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "cpu/csc_atoms.hpp"
#include "cpu/csc_screen.hpp"
#include "cpu/csc_weights.hpp"

namespace thalweg::cpu {

// argmin_z curvature / 2 (z - u / curvature)^2 + alpha |z|, over z >= 0 where `positive`.
template <class T>
[[gnu::always_inline]] inline T best_value(T u, T alpha, T curvature, bool positive) {
  const T rest = (positive ? u : std::abs(u)) - alpha;
  if (!(rest > T(0))) return T(0);
  return std::copysign(rest, u) / curvature;
}

// One worker's copy of the pixels under a tile.
template <class T, int Lanes>
class TileDescent {
 public:
  TileDescent(const CanvasLayout<T>& layout, const Tiling& tiling)
      : layout_(layout),
        stride_(simd::padded<T>(tiling.most_cols() + layout.filter_cols)),
        plane_((tiling.most_rows() + layout.shape.filter_height - 1) * stride_),
        residual_(layout.shape.channels * plane_ + stride_),
        weights_(layout.shape.channels * plane_ + stride_) {}

  // Admits the candidates to the tile's atoms, makes at most `sweeps` sweeps over them, drops those that end
  // at zero, and takes the change into `residual`, which is weighted.
  void operator()(const FilterBank<T, Lanes>& bank, const PixelWeights<T>& weights, const T* norms,
                  const T* alpha, bool positive, int sweeps, T accuracy, const Canvas<T>& residual,
                  const Tile& tile, Index number, const std::vector<Candidate>& candidates,
                  std::vector<Atom<T>>& atoms) {
    if (candidates.empty() && atoms.empty()) return;
    copy_in(residual, tile);
    const bool ones = weights.all_ones(number);
    if (!ones) fill_weights(weights, tile);
    admit(candidates, atoms);
    for (auto& a : atoms)
      if (a.curvature == T(0))
        a.curvature =
            ones ? norms[a.filter] : bank.dot_squares(a.filter, at(weights_, tile, a), stride_, plane_);
    for (int s = 0; s < sweeps; ++s)
      if (!sweep(bank, alpha, positive, accuracy, ones, tile, atoms)) break;
    std::erase_if(atoms, [](const Atom<T>& a) { return a.value == T(0); });
    copy_out(residual, tile);
  }

 private:
  [[nodiscard]] T* at(const Buffer<T>& local, const Tile& tile, const Atom<T>& a) const {
    return local.data() + (a.y - tile.y) * stride_ + (a.x - tile.x);
  }

  static void admit(const std::vector<Candidate>& candidates, std::vector<Atom<T>>& atoms) {
    const auto before = [](const Atom<T>& a, const Atom<T>& b) { return a.place() < b.place(); };
    std::sort(atoms.begin(), atoms.end(), before);
    const auto known = static_cast<std::ptrdiff_t>(atoms.size());
    for (const auto& c : candidates) {
      const Atom<T> atom{c.filter, c.y, c.x, T(0), T(0)};
      if (!std::binary_search(atoms.begin(), atoms.begin() + known, atom, before)) atoms.push_back(atom);
    }
    std::sort(atoms.begin(), atoms.end(), before);
  }

  // Whether anything changed by more than `accuracy` of alpha. Neighbours in the list share pixels: they are
  // visited far from each other, so that one update need not wait for the stores of the last.
  bool sweep(const FilterBank<T, Lanes>& bank, const T* alpha, bool positive, T accuracy, bool ones,
             const Tile& tile, std::vector<Atom<T>>& atoms) {
    const std::size_t n = atoms.size();
    const std::size_t step = scattering_step(n);
    bool changed = false;
    for (std::size_t visit = 0, i = 0; visit < n; ++visit, i += step) {
      if (i >= n) i -= n;
      Atom<T>& a = atoms[i];
      if (!(a.curvature > T(0))) {
        a.value = T(0);
        continue;
      }
      T* patch = at(residual_, tile, a);
      const T u = bank.dot(a.filter, patch, stride_, plane_) + a.curvature * a.value;
      const T value = best_value(u, alpha[a.filter], a.curvature, positive);
      const T delta = value - a.value;
      if (delta == T(0)) continue;
      changed |= std::abs(delta) * a.curvature > accuracy * alpha[a.filter];
      a.value = value;
      if (ones)
        bank.add(a.filter, -delta, patch, stride_, plane_);
      else
        bank.add_weighted(a.filter, -delta, patch, at(weights_, tile, a), stride_, plane_);
    }
    return changed;
  }

  // About the golden section of n, and without a common divisor.
  static std::size_t scattering_step(std::size_t n) {
    if (n < 8) return 1;
    std::size_t step = (n * 618 / 1000) | 1;
    while (std::gcd(step, n) != 1) ++step;
    return step;
  }

  // Calls run(local, canvas, count) for every piece of a row that lies in one piece on the canvas.
  template <class Run>
  void for_each_run(const Canvas<T>& canvas, const Tile& tile, Run&& run) const {
    const Index rows = tile.rows + layout_.shape.filter_height - 1;
    const Index cols = tile.cols + layout_.shape.filter_width - 1;
    const Index end = layout_.circular ? layout_.code_cols : layout_.cols;
    for (Index c = 0; c < layout_.shape.channels; ++c)
      for (Index y = 0; y < rows; ++y) {
        Index row = tile.y + y;
        if (layout_.circular && row >= layout_.code_rows) row -= layout_.code_rows;
        T* local = residual_.data() + c * plane_ + y * stride_;
        const Index first = std::min(cols, end - tile.x);
        run(local, canvas.row(c, row) + tile.x, first);
        if (first < cols) run(local + first, canvas.row(c, row), cols - first);
      }
  }

  void copy_in(const Canvas<T>& canvas, const Tile& tile) const {
    std::fill_n(residual_.data(), residual_.size(), T(0));
    for_each_run(canvas, tile, [](T* local, const T* there, Index n) { std::copy_n(there, n, local); });
  }

  void copy_out(const Canvas<T>& canvas, const Tile& tile) const {
    for_each_run(canvas, tile, [](const T* local, T* there, Index n) { std::copy_n(local, n, there); });
  }

  void fill_weights(const PixelWeights<T>& weights, const Tile& tile) const {
    std::fill_n(weights_.data(), weights_.size(), T(0));
    for (Index c = 0; c < layout_.shape.channels; ++c)
      for (Index y = 0; y < tile.rows + layout_.shape.filter_height - 1; ++y)
        for (Index x = 0; x < tile.cols + layout_.shape.filter_width - 1; ++x)
          weights_[c * plane_ + y * stride_ + x] = weights.at(c, tile.y + y, tile.x + x);
  }

  CanvasLayout<T> layout_;
  Index stride_, plane_;
  Buffer<T> residual_;
  Buffer<T> weights_;
};

}  // namespace thalweg::cpu
