// Correlation of image blocks with a fixed bank of filters, with an epilogue on the accumulators while they
// are in registers.
//
// A tile is some filters by some vectors of pixels: every tap costs one broadcast per filter and one
// unaligned load per vector of pixels, and filters * vectors multiply-adds. No patch is ever copied. Every
// output element is one chain of multiply-adds over (channel, row, column) of its filter, wherever a block
// begins: its bits do not depend on how an image is cut into blocks.
#pragma once

#include <algorithm>

#include "core/buffer.hpp"
#include "core/simd.hpp"
#include "core/view.hpp"

namespace thalweg::cpu {

// Accumulators, the pixels and one broadcast have to fit into the registers.
#if defined(__AVX512F__)
inline constexpr int correlation_filters = 8;
inline constexpr int correlation_vectors = 3;
#elif defined(__AVX__)
inline constexpr int correlation_filters = 4;
inline constexpr int correlation_vectors = 3;
#else
inline constexpr int correlation_filters = 4;
inline constexpr int correlation_vectors = 2;
#endif

// Filters (count, channels, height, width) in panels of correlation_filters, then of the powers of two that
// are left; in a panel the filters run fastest.
template <class T>
class PackedFilters {
 public:
  PackedFilters() = default;

  PackedFilters(const T* filters, Index count, Index channels, Index height, Index width)
      : count_(count),
        channels_(channels),
        height_(height),
        width_(width),
        data_(count * channels * height * width) {
    const Index n = taps();
    T* out = data_.data();
    for (Index first = 0; first < count; first += panel_filters(first))
      for (Index t = 0; t < n; ++t)
        for (Index k = first; k < first + panel_filters(first); ++k) *out++ = filters[k * n + t];
  }

  [[nodiscard]] Index count() const { return count_; }
  [[nodiscard]] Index channels() const { return channels_; }
  [[nodiscard]] Index height() const { return height_; }
  [[nodiscard]] Index width() const { return width_; }
  [[nodiscard]] Index taps() const { return channels_ * height_ * width_; }

  // The panel that begins with filter `first`, and how many filters it has.
  [[nodiscard]] const T* panel(Index first) const { return data_.data() + first * taps(); }
  [[nodiscard]] Index panel_filters(Index first) const {
    Index size = correlation_filters;
    while (first + size > count_) size /= 2;
    return size;
  }

 private:
  Index count_ = 0;
  Index channels_ = 0;
  Index height_ = 0;
  Index width_ = 0;
  Buffer<T> data_;
};

namespace detail {

// `Filters` filters of a panel at the pixels in[at[v] + lane]; store(filter of the panel, v, accumulator).
template <class T, int Filters, int Vectors, class Store>
[[gnu::always_inline]] inline void correlation_tile(const PackedFilters<T>& filters, const T* taps,
                                                    const T* in, const Index (&at)[Vectors], Index row_stride,
                                                    Index channel_stride, Store&& store) {
  const Index width = filters.width();
  simd::Vec<T> acc[Filters][Vectors] = {};
  for (Index c = 0; c < filters.channels(); ++c)
    for (Index i = 0; i < filters.height(); ++i) {
      const T* row = in + c * channel_stride + i * row_stride;
      for (Index j = 0; j < width; ++j, ++row, taps += Filters) {
        simd::Vec<T> pixels[Vectors];
        for (int v = 0; v < Vectors; ++v) pixels[v] = simd::load(row + at[v]);
        for (int r = 0; r < Filters; ++r) {
          const simd::Vec<T> tap = simd::broadcast(taps[r]);
          for (int v = 0; v < Vectors; ++v) acc[r][v] += tap * pixels[v];
        }
      }
    }
  for (int r = 0; r < Filters; ++r)
    for (int v = 0; v < Vectors; ++v) store(r, v, acc[r][v]);
}

// The panel that begins with filter `first`, over the whole block.
template <class T, int Filters, class Epilogue>
void correlate_panel(const PackedFilters<T>& filters, Index first, const T* in, Index row_stride,
                     Index channel_stride, Index rows, Index cols, Epilogue& epilogue) {
  constexpr int vectors = correlation_vectors;
  constexpr int lanes = simd::lanes<T>;
  const T* panel = filters.panel(first);
  // The block's vectors are taken row after row, so that a narrow block fills tiles as well as a wide one.
  Index next_y = 0;
  Index next_x = 0;
  while (next_y < rows) {
    Index y[vectors];
    Index x[vectors];
    Index at[vectors];
    int used = 0;
    for (int v = 0; v < vectors; ++v) {
      if (next_y < rows) {
        y[v] = next_y;
        x[v] = next_x;
        ++used;
        next_x += lanes;
        if (next_x >= cols) {
          next_x = 0;
          ++next_y;
        }
      } else {  // no vector is left: the last one once more, unused
        y[v] = y[v - 1];
        x[v] = x[v - 1];
      }
      at[v] = y[v] * row_stride + x[v];
    }
    correlation_tile<T, Filters, vectors>(filters, panel, in, at, row_stride, channel_stride,
                                          [&](int r, int v, simd::Vec<T> acc) {
                                            if (v < used) epilogue(first + r, y[v], x[v], acc);
                                          });
  }
}

}  // namespace detail

// out(k, y, x) = sum over c, i, j of filters(k, c, i, j) in(c, y + i, x + j) for y in [0, rows), x in [0,
// cols).
//
// `in` points to the block's first pixel; `row_stride` and `channel_stride` are in elements. Calls
// epilogue(k, y, x, acc) for every vector of outputs: x is a multiple of simd::lanes<T>, and the lanes from
// cols - x on hold numbers without meaning. Reads simd::padded<T>(cols) + width - 1 columns of every row,
// which must be there to read. All of a panel's pixels come before the next panel's.
template <class T, class Epilogue>
void correlate_block(const PackedFilters<T>& filters, const T* in, Index row_stride, Index channel_stride,
                     Index rows, Index cols, Epilogue&& epilogue) {
  if (cols <= 0) return;
  constexpr int most = correlation_filters;
  for (Index first = 0; first < filters.count(); first += filters.panel_filters(first)) {
    const Index n = filters.panel_filters(first);
    if (n == most)
      detail::correlate_panel<T, most>(filters, first, in, row_stride, channel_stride, rows, cols, epilogue);
    else if (most > 4 && n == 4)
      detail::correlate_panel<T, 4>(filters, first, in, row_stride, channel_stride, rows, cols, epilogue);
    else if (n == 2)
      detail::correlate_panel<T, 2>(filters, first, in, row_stride, channel_stride, rows, cols, epilogue);
    else
      detail::correlate_panel<T, 1>(filters, first, in, row_stride, channel_stride, rows, cols, epilogue);
  }
}

}  // namespace thalweg::cpu
