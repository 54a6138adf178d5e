// The correlations of a residual with all atoms: how far the dual point has to be scaled, and which atoms
// violate optimality most.
#pragma once

#include <algorithm>
#include <vector>

#include "cpu/correlation.hpp"
#include "cpu/csc_canvas.hpp"
#include "cpu/csc_certificate.hpp"

namespace thalweg::cpu {

// An atom that is zero and should not be.
struct Candidate {
  std::int32_t filter, y, x;
};

// One worker's memory for the screening of a tile.
template <class T>
class Screen {
 public:
  explicit Screen(const Tiling& tiling)
      : cells_across_(block_count(tiling.most_cols(), cell)),
        worst_(block_count(tiling.most_rows(), cell) * cells_across_),
        at_(worst_.size()) {}

  // The largest |c| / alpha of the tile; of every cell of positions, the atom that violates most.
  T operator()(const PackedFilters<T>& filters, const T* inverse_alpha, bool positive,
               const Canvas<T>& residual, const Tile& tile, std::vector<Candidate>& candidates) {
    const auto& layout = residual.layout();
    std::fill_n(worst_.data(), worst_.size(), T(1));
    std::fill_n(at_.data(), at_.size(), Candidate{-1, 0, 0});
    simd::Vec<T> largest{};
    correlate_block<T>(filters, residual.data() + layout.at(tile.y, tile.x), layout.stride, layout.plane,
                       tile.rows, tile.cols, [&](Index k, Index y, Index x, simd::Vec<T> c) {
                         const auto ratio = first_lanes<T>(
                             excess<T>(c, positive) * simd::broadcast(inverse_alpha[k]), tile.cols - x);
                         largest = ratio > largest ? ratio : largest;
                         for (unsigned left = simd::lane_bits<T>(ratio > simd::broadcast(T(1))); left != 0;
                              left &= left - 1) {
                           const Index l = std::countr_zero(left);
                           note(k, y, x + l, ratio[l]);
                         }
                       });
    candidates.clear();
    for (Index i = 0; i < at_.size(); ++i)
      if (at_[i].filter >= 0)
        candidates.push_back({at_[i].filter, at_[i].y + static_cast<std::int32_t>(tile.y),
                              at_[i].x + static_cast<std::int32_t>(tile.x)});
    return simd::max_lanes<T>(largest);
  }

 private:
  static constexpr Index cell = 2;

  [[gnu::always_inline]] void note(Index k, Index y, Index x, T ratio) {
    const Index i = y / cell * cells_across_ + x / cell;
    if (ratio > worst_[i]) {
      worst_[i] = ratio;
      at_[i] = {static_cast<std::int32_t>(k), static_cast<std::int32_t>(y), static_cast<std::int32_t>(x)};
    }
  }

  Index cells_across_;
  Buffer<T> worst_;
  Buffer<Candidate> at_;
};

}  // namespace thalweg::cpu
