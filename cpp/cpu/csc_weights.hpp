// The weights of the pixels on a canvas: the user's where there are some, 1 on the image else, 0 around it.
#pragma once

#include <algorithm>
#include <vector>

#include "core/parallel.hpp"
#include "cpu/csc_canvas.hpp"

namespace thalweg::cpu {

template <class T>
class PixelWeights {
 public:
  // `weights` (C, H, W), or null.
  PixelWeights(const CanvasLayout<T>& layout, const Tiling& tiling, const T* weights, int n_jobs)
      : layout_(layout), weights_(weights), all_ones_(static_cast<std::size_t>(tiling.count())) {
    tiling.for_each(n_jobs, [&](Index t, int) {
      all_ones_[static_cast<std::size_t>(t)] = static_cast<char>(only_ones(tiling[t]));
    });
  }

  // Whether every pixel that the tile's atoms cover has weight 1.
  [[nodiscard]] bool all_ones(Index tile) const { return all_ones_[static_cast<std::size_t>(tile)] != 0; }

  // Of pixel (c, y, x) of the canvas.
  [[nodiscard]] T at(Index c, Index y, Index x) const {
    const auto& s = layout_.shape;
    Index row = y - layout_.top;
    Index col = x - layout_.left;
    if (layout_.circular) {
      row %= s.height;
      col %= s.width;
    }
    if (row < 0 || row >= s.height || col < 0 || col >= s.width) return T(0);
    return weights_ == nullptr ? T(1) : weights_[(c * s.height + row) * s.width + col];
  }

  // Multiplies a canvas by the weights; sum w q^2 of what it was.
  double apply(const Canvas<T>& canvas, int n_jobs) const {
    return over_rows(n_jobs, [&](Index c, Index y) {
      T* row = canvas.row(c, y);
      const Index i = y - layout_.top;
      if (i < 0 || i >= layout_.shape.height) {
        std::fill_n(row, layout_.cols, T(0));
        return 0.0;
      }
      const Index first = layout_.left;
      const Index end = first + layout_.shape.width;
      std::fill(row, row + first, T(0));
      std::fill(row + end, row + layout_.cols, T(0));
      return weigh(row + first, weight_row(c, i));
    });
  }

  // Sums over the pixels of the image, a row at a time: visit(c, i, weights of the row or null) gives a row's
  // part. Summed in a fixed order.
  template <class Visit>
  double over_image(int n_jobs, Visit&& visit) const {
    return over_rows(n_jobs, [&](Index c, Index y) {
      const Index i = y - layout_.top;
      return i < 0 || i >= layout_.shape.height ? 0.0 : visit(c, i, weight_row(c, i));
    });
  }

 private:
  static constexpr Index row_block = 16;

  [[nodiscard]] const T* weight_row(Index c, Index i) const {
    const auto& s = layout_.shape;
    return weights_ == nullptr ? nullptr : weights_ + (c * s.height + i) * s.width;
  }

  [[nodiscard]] double weigh(T* row, const T* weights) const {
    double sum = 0;
    const Index n = layout_.shape.width;
    if (weights == nullptr) {
      for (Index x = 0; x < n; ++x) sum += static_cast<double>(row[x]) * row[x];
    } else {
      for (Index x = 0; x < n; ++x) {
        const T weighted = weights[x] * row[x];
        sum += static_cast<double>(weighted) * row[x];
        row[x] = weighted;
      }
    }
    return sum;
  }

  template <class Visit>
  double over_rows(int n_jobs, Visit&& visit) const {
    const Index n_blocks = block_count(layout_.rows, row_block);
    std::vector<double> parts(static_cast<std::size_t>(n_blocks), 0.0);
    parallel_for(n_blocks, n_jobs, [&](Index block, int) {
      const Index end = std::min(layout_.rows, (block + 1) * row_block);
      double sum = 0;
      for (Index y = block * row_block; y < end; ++y)
        for (Index c = 0; c < layout_.shape.channels; ++c) sum += visit(c, y);
      parts[static_cast<std::size_t>(block)] = sum;
    });
    double total = 0;
    for (const double part : parts) total += part;
    return total;
  }

  [[nodiscard]] bool only_ones(const Tile& t) const {
    const auto& s = layout_.shape;
    const Index rows = t.rows + s.filter_height - 1;
    const Index cols = t.cols + s.filter_width - 1;
    if (weights_ == nullptr && layout_.circular) return true;
    const bool inside = layout_.circular || (t.y >= layout_.top && t.y + rows <= layout_.top + s.height &&
                                             t.x >= layout_.left && t.x + cols <= layout_.left + s.width);
    if (!inside) return false;
    if (weights_ == nullptr) return true;
    for (Index c = 0; c < s.channels; ++c)
      for (Index y = 0; y < rows; ++y)
        for (Index x = 0; x < cols; ++x)
          if (at(c, t.y + y, t.x + x) != T(1)) return false;
    return true;
  }

  CanvasLayout<T> layout_;
  const T* weights_;
  std::vector<char> all_ones_;
};

}  // namespace thalweg::cpu
