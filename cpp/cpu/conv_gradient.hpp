// Sums over pixels of codes times shifted images, for all shifts of a filter: the gradient in the filters.
//
// The codes of a block are transposed, so that vectors run over filters; a tile is some neighbouring taps of
// a filter's row by some vectors of filters, and a tap costs one broadcast of an image's pixel. Pixels whose
// codes are all zero are left out.
#pragma once

#include <algorithm>
#include <type_traits>

#include "core/buffer.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "core/view.hpp"

namespace thalweg::cpu {

inline constexpr int gradient_vectors = 2;  // of filters in a panel
#if defined(__AVX512F__)
inline constexpr int gradient_taps = 12;
#elif defined(__AVX__)
inline constexpr int gradient_taps = 6;
#else
inline constexpr int gradient_taps = 5;
#endif

template <class T>
inline constexpr Index gradient_panel = gradient_vectors * simd::lanes<T>;

// The codes of one panel of filters, pixel after pixel, and where each pixel's window begins.
template <class T>
struct TransposedCodes {
  Buffer<T> codes;
  Buffer<Index> at;
  Index count = 0;

  TransposedCodes() = default;
  explicit TransposedCodes(Index pixels) : codes(pixels * gradient_panel<T>), at(pixels) {}

  // Takes codes(k, y, x) of `filters` filters and rows x cols pixels (cols padded to vectors must fit);
  // codes begin at `from`, and the windows' rows are `window_stride` apart.
  void take(const T* from, Index filter_stride, Index row_stride, Index filters, Index rows, Index cols,
            Index window_stride) {
    constexpr int lanes = simd::lanes<T>;
    count = 0;
    for (Index y = 0; y < rows; ++y)
      for (Index x = 0; x < cols; x += lanes) {
        simd::Vec<T> square[gradient_vectors][lanes];
        Bits bits = {};
        for (int v = 0; v < gradient_vectors; ++v) {
          for (int l = 0; l < lanes; ++l) {
            const Index k = v * lanes + l;
            const T* row = from + k * filter_stride + y * row_stride + x;
            square[v][l] = k < filters ? load_some(row, cols - x) : simd::Vec<T>{};
            bits |= reinterpret_cast<Bits>(square[v][l]);
          }
          simd::transpose<T>(square[v]);
        }
        const unsigned is_set = simd::lane_bits<T>(bits != 0);  // pixels past the last column are not
        const Index first = y * window_stride + x;
        for (int l = 0; l < lanes; ++l)
          if ((is_set >> l & 1) != 0) {
            T* to = codes.data() + count * gradient_panel<T>;
            for (int v = 0; v < gradient_vectors; ++v) simd::store(to + v * lanes, square[v][l]);
            at[count++] = first + l;
          }
      }
  }

 private:
  using Bits = decltype(simd::Vec<T>{} != simd::Vec<T>{});

  static simd::Vec<T> load_some(const T* from, Index count) {
    if (count >= simd::lanes<T>) return simd::load(from);
    T all[simd::lanes<T>] = {};
    std::copy_n(from, count, all);
    return simd::load(all);
  }
};

namespace detail {

// sums[j] += sum over pixels of codes times window[at + j], j in [0, Taps).
template <class T, int Taps, int Vectors>
void gradient_tile(const TransposedCodes<T>& pixels, const T* window, T* sums, Index sums_stride) {
  constexpr int lanes = simd::lanes<T>;
  simd::Vec<T> acc[Taps][Vectors] = {};
  const T* code = pixels.codes.data();
  const Index* at = pixels.at.data();
  for (Index q = 0; q < pixels.count; ++q, code += gradient_panel<T>) {
    const T* from = window + at[q];
    simd::Vec<T> z[Vectors];
    for (int v = 0; v < Vectors; ++v) z[v] = simd::load(code + v * lanes);
    for (int j = 0; j < Taps; ++j) {
      const simd::Vec<T> pixel = simd::broadcast(from[j]);
      for (int v = 0; v < Vectors; ++v) acc[j][v] += pixel * z[v];
    }
  }
  for (int j = 0; j < Taps; ++j)
    for (int v = 0; v < Vectors; ++v) {
      T* sum = sums + j * sums_stride + v * lanes;
      simd::store(sum, simd::load(sum) + acc[j][v]);
    }
}

template <class T, int Taps = gradient_taps>
void gradient_taps_of(const TransposedCodes<T>& pixels, Index taps, bool is_narrow, const T* window, T* sums,
                      Index sums_stride) {
  if constexpr (Taps > 0) {
    if (taps < Taps) return gradient_taps_of<T, Taps - 1>(pixels, taps, is_narrow, window, sums, sums_stride);
    if (is_narrow)
      gradient_tile<T, Taps, 1>(pixels, window, sums, sums_stride);
    else
      gradient_tile<T, Taps, gradient_vectors>(pixels, window, sums, sums_stride);
  }
}

}  // namespace detail

// sums[j * sums_stride + k] += sum over the pixels of code k times window[at + j], for j in [0, taps) and the
// panel's `filters` filters, padded to vectors.
template <class T>
void add_gradient(const TransposedCodes<T>& pixels, Index filters, const T* window, Index taps, T* sums,
                  Index sums_stride) {
  const bool is_narrow = filters <= simd::lanes<T>;
  const Index parts = block_count(taps, gradient_taps);
  for (Index part = 0; part < parts; ++part) {
    const Index first = part * taps / parts;
    const Index count = (part + 1) * taps / parts - first;
    detail::gradient_taps_of<T>(pixels, count, is_narrow, window + first, sums + first * sums_stride,
                                sums_stride);
  }
}

}  // namespace thalweg::cpu
