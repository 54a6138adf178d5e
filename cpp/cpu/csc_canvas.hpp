// The plane on which convolutional sparse coding works, and its tiles.
//
// On a canvas the atom at code position p covers the pixels [p, p + filter size): pixel y of the image lies
// at y + top, and what the image does not reach has weight zero. A circular canvas goes on behind its end:
// the extension, filter size - 1 wide, stands for the first rows and columns.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "core/buffer.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "core/view.hpp"
#include "kernels/conv.hpp"

namespace thalweg::cpu {

template <class T>
struct CanvasLayout {
  ConvShape shape;
  Index code_rows, code_cols;
  Index filter_cols;  // the width of a filter, rounded up to whole vectors of a `FilterBank`
  Index rows, cols, stride, plane;
  Index top, left;
  bool circular;

  CanvasLayout(const ConvShape& s, Index padded_filter_cols)
      : shape(s),
        code_rows(s.code_height()),
        code_cols(s.code_width()),
        filter_cols(padded_filter_cols),
        rows(code_rows + s.filter_height - 1),
        cols(code_cols + s.filter_width - 1),
        stride(row_stride()),
        plane(rows * stride),
        top(s.top()),
        left(s.left()),
        circular(s.boundary == Boundary::circular) {}

  // Elements of a canvas: vectors that begin in its last row may end behind it.
  [[nodiscard]] Index size() const { return shape.channels * plane + stride; }
  [[nodiscard]] Index at(Index y, Index x) const { return y * stride + x; }

 private:
  // Room for vectors that begin at the last code position; no multiple of a page, for the rows under a filter
  // would share the same few lines of the cache.
  [[nodiscard]] Index row_stride() const {
    const Index needed =
        simd::padded<T>(code_cols) + std::max(filter_cols, shape.filter_width) + simd::lanes<T>;
    const Index padded = simd::padded<T>(needed);
    return (padded * static_cast<Index>(sizeof(T))) % 1024 == 0 ? padded + simd::lanes<T> : padded;
  }
};

// One plane a channel, rows padded.
template <class T>
class Canvas {
 public:
  explicit Canvas(const CanvasLayout<T>& layout) : layout_(layout), data_(layout.size(), T(0)) {}

  [[nodiscard]] const CanvasLayout<T>& layout() const { return layout_; }
  [[nodiscard]] T* data() const { return data_.data(); }
  [[nodiscard]] T* row(Index c, Index y) const { return data() + c * layout_.plane + y * layout_.stride; }
  // Where pixel (y, 0) of the image lies.
  [[nodiscard]] T* image_row(Index c, Index y) const { return row(c, y + layout_.top) + layout_.left; }

  void clear(int n_jobs) const {
    parallel_for(layout_.rows, n_jobs, [&](Index y, int) {
      for (Index c = 0; c < layout_.shape.channels; ++c) std::fill_n(row(c, y), layout_.stride, T(0));
    });
  }

  // Circular: the extension becomes a copy of what it stands for.
  void extend() const {
    if (!layout_.circular) return;
    const auto& l = layout_;
    for (Index c = 0; c < l.shape.channels; ++c) {
      for (Index y = 0; y < l.code_rows; ++y)
        std::copy_n(row(c, y), l.cols - l.code_cols, row(c, y) + l.code_cols);
      for (Index y = l.code_rows; y < l.rows; ++y) std::copy_n(row(c, y - l.code_rows), l.cols, row(c, y));
    }
  }

  // Circular: what was added to the extension is added to what it stands for.
  void fold() const {
    if (!layout_.circular) return;
    const auto& l = layout_;
    for (Index c = 0; c < l.shape.channels; ++c) {
      for (Index y = l.code_rows; y < l.rows; ++y) add(row(c, y), l.cols, row(c, y - l.code_rows));
      for (Index y = 0; y < l.code_rows; ++y) add(row(c, y) + l.code_cols, l.cols - l.code_cols, row(c, y));
    }
  }

 private:
  static void add(const T* from, Index count, T* to) {
    for (Index i = 0; i < count; ++i) to[i] += from[i];
  }

  CanvasLayout<T> layout_;
  Buffer<T> data_;
};

// Code positions [y, y + rows) x [x, x + cols).
struct Tile {
  Index y, x, rows, cols;
};

// Cuts the code positions into tiles, and the tiles into classes within which no two share a pixel.
class Tiling {
 public:
  template <class T>
  explicit Tiling(const CanvasLayout<T>& layout) {
    const Index most_rows = std::min<Index>(tile_side, layout.code_rows);
    const Index most_cols = tile_side * tile_side / most_rows;
    const Axis down(layout.code_rows, most_rows, layout.shape.filter_height, layout.shape.filter_height,
                    layout.circular);
    const Axis across(layout.code_cols, most_cols, layout.shape.filter_width, layout.filter_cols,
                      layout.circular);
    tiles_across_ = across.count();
    rows_of_tile_ = down.size;
    cols_of_tile_ = across.size;
    classes_.resize(static_cast<std::size_t>(down.n_colors * across.n_colors));
    for (Index i = 0; i < down.count(); ++i)
      for (Index j = 0; j < across.count(); ++j) {
        const auto color = down.colors[static_cast<std::size_t>(i)] * across.n_colors +
                           across.colors[static_cast<std::size_t>(j)];
        classes_[static_cast<std::size_t>(color)].push_back(static_cast<Index>(tiles_.size()));
        tiles_.push_back({i * down.size, j * across.size,
                          std::min(down.size, layout.code_rows - i * down.size),
                          std::min(across.size, layout.code_cols - j * across.size)});
      }
  }

  [[nodiscard]] Index count() const { return static_cast<Index>(tiles_.size()); }
  [[nodiscard]] const Tile& operator[](Index t) const { return tiles_[static_cast<std::size_t>(t)]; }
  [[nodiscard]] Index tile_of(Index y, Index x) const {
    return y / rows_of_tile_ * tiles_across_ + x / cols_of_tile_;
  }
  [[nodiscard]] Index most_rows() const { return rows_of_tile_; }
  [[nodiscard]] Index most_cols() const { return cols_of_tile_; }

  // Calls body(tile, worker) for every tile, class after class, the tiles of a class side by side.
  template <class Body>
  void for_each_apart(int n_jobs, Body&& body) const {
    for (const auto& members : classes_)
      parallel_for(static_cast<Index>(members.size()), n_jobs,
                   [&](Index i, int worker) { body(members[static_cast<std::size_t>(i)], worker); });
  }

  // The same in any order.
  template <class Body>
  void for_each(int n_jobs, Body&& body) const {
    parallel_for(count(), n_jobs, [&](Index t, int worker) { body(t, worker); });
  }

 private:
  static constexpr Index tile_side = 32;

  // The tiles along one axis, coloured so that equal colours are apart.
  struct Axis {
    Index size;
    Index n_colors = 0;
    std::vector<Index> colors;

    // `reach`: pixels that an atom covers; `touched`: with those that its padding touches. Colours come round
    // every `apart` tiles; around a circle the last tiles have colours of their own.
    Axis(Index length, Index most, Index reach, Index touched, bool circular)
        : size(circular ? std::max<Index>(1, std::min(most, length - reach + 1)) : most) {
      const Index n = block_count(length, size);
      const Index apart = block_count(touched - 1, size) + 1;
      const bool last_is_short = length % size != 0;
      const Index regular = circular ? (last_is_short ? n - 1 : n) / apart * apart : n;
      const Index regular_colors = std::min(apart, regular);
      for (Index i = 0; i < n; ++i) colors.push_back(i < regular ? i % apart : regular_colors + i - regular);
      n_colors = regular_colors + n - regular;
    }

    [[nodiscard]] Index count() const { return static_cast<Index>(colors.size()); }
  };

  std::vector<Tile> tiles_;
  std::vector<std::vector<Index>> classes_;
  Index tiles_across_ = 1;
  Index rows_of_tile_ = 1;
  Index cols_of_tile_ = 1;
};

}  // namespace thalweg::cpu
