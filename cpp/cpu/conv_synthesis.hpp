// Sums over many planes, each correlated with a filter of its own, for few outputs: what a convolution of
// codes to an image is, filters reversed.
//
// With one output there are no filters to share a pixel among. Rows of the output share it instead: a tile is
// some rows by some vectors of outputs, and each vector of the window is loaded once for all rows that it
// reaches. Every output is one chain of multiply-adds over (plane, row, column).
#pragma once

#include <type_traits>
#include <utility>

#include "core/simd.hpp"
#include "core/view.hpp"

namespace thalweg::cpu {

// Most rows of a tile; lower filters take fewer rows by more vectors.
#if defined(__AVX512F__)
inline constexpr int synthesis_rows = 8;
#else
inline constexpr int synthesis_rows = 4;
#endif

[[nodiscard]] constexpr int synthesis_vectors(int rows) {
#if defined(__AVX512F__)
  return rows == 8 ? 3 : rows == 4 ? 5 : rows == 2 ? 8 : 12;
#elif defined(__AVX__)
  return rows == 4 ? 3 : rows == 2 ? 4 : 8;
#else
  return rows == 4 ? 2 : rows == 2 ? 4 : 8;
#endif
}

// Rows of a tile for filters and outputs of such heights: no more than the filter has.
[[nodiscard]] inline Index synthesis_tile_rows(Index filter_height, Index height) {
  Index rows = synthesis_rows;
  while (rows > filter_height || rows >= 2 * height) rows /= 2;
  return rows;
}

// A window of one plane, and which of its rows have non-zeros.
template <class T>
struct PlaneWindow {
  const T* data = nullptr;
  Index stride = 0;
  const unsigned char* is_busy = nullptr;
};

namespace detail {

// out(y, x) += sum_{i, j} taps[j * kh + i] window(y + i, x + j) on `Rows` rows by `Vectors` vectors; vector v
// begins at row y[v], column x[v]. kh >= Rows.
template <class T, int Rows, int Vectors>
[[gnu::always_inline]] inline void synthesis_tile(const PlaneWindow<T>& window, const T* taps, Index kh,
                                                  Index kw, const Index (&y)[Vectors],
                                                  const Index (&x)[Vectors], int used, T* out,
                                                  Index out_stride) {
  simd::Vec<T> acc[Rows][Vectors];
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) acc[r][v] = simd::load(out + (y[v] + r) * out_stride + x[v]);
  Index at[Vectors];
  for (int v = 0; v < Vectors; ++v) at[v] = y[v] * window.stride + x[v];

  // Row p of the window meets the output's rows [First, Last), row r with the taps of row p - r.
  const auto meet = [&]<int First, int Last>(std::integer_sequence<int, First, Last>, Index p)
                        __attribute__((always_inline)) {
                          unsigned char busy = 0;
                          for (int v = 0; v < Vectors; ++v) busy |= window.is_busy[y[v] + p];
                          if (busy == 0) return;
                          const T* row = window.data + p * window.stride;
                          const T* tap = taps + p;
                          for (Index j = 0; j < kw; ++j, ++row, tap += kh) {
                            simd::Vec<T> pixels[Vectors];
                            for (int v = 0; v < Vectors; ++v) pixels[v] = simd::load(row + at[v]);
                            for (int r = First; r < Last; ++r) {
                              const simd::Vec<T> f = simd::broadcast(tap[-r]);
                              for (int v = 0; v < Vectors; ++v) acc[r][v] += f * pixels[v];
                            }
                          }
                        };
  const auto meet_first = [&]<int... P>(std::integer_sequence<int, P...>) __attribute__((always_inline)) {
    (meet(std::integer_sequence<int, 0, P + 1>{}, P), ...);
  };
  const auto meet_last = [&]<int... P>(std::integer_sequence<int, P...>) __attribute__((always_inline)) {
    (meet(std::integer_sequence<int, P + 1, Rows>{}, kh + P), ...);
  };
  meet_first(std::make_integer_sequence<int, Rows - 1>{});
  for (Index p = Rows - 1; p < kh; ++p) meet(std::integer_sequence<int, 0, Rows>{}, p);
  meet_last(std::make_integer_sequence<int, Rows - 1>{});

  for (int v = 0; v < used; ++v)
    for (int r = 0; r < Rows; ++r) simd::store(out + (y[v] + r) * out_stride + x[v], acc[r][v]);
}

template <class T, int Rows>
void synthesise_rows(const PlaneWindow<T>& window, const T* taps, Index kh, Index kw, Index rows, Index cols,
                     T* out, Index out_stride) {
  constexpr int vectors = synthesis_vectors(Rows);
  Index next_y = 0;
  Index next_x = 0;
  while (next_y < rows) {
    Index y[vectors];
    Index x[vectors];
    int used = 0;
    for (int v = 0; v < vectors; ++v) {
      if (next_y < rows) {
        y[v] = next_y;
        x[v] = next_x;
        ++used;
        next_x += simd::lanes<T>;
        if (next_x >= cols) {
          next_x = 0;
          next_y += Rows;
        }
      } else {  // no vector is left: the last one once more, unused
        y[v] = y[v - 1];
        x[v] = x[v - 1];
      }
    }
    synthesis_tile<T, Rows, vectors>(window, taps, kh, kw, y, x, used, out, out_stride);
  }
}

}  // namespace detail

// out(y, x) += sum_{i, j} taps[j * kh + i] window(y + i, x + j) for y in [0, rows), x in [0, cols): rows a
// multiple of tile_rows, cols of simd::lanes<T>. Reads rows + kh - 1 rows and cols + kw - 1 columns.
template <class T>
void synthesise(const PlaneWindow<T>& window, const T* taps, Index kh, Index kw, Index tile_rows, Index rows,
                Index cols, T* out, Index out_stride) {
  if constexpr (synthesis_rows == 8)
    if (tile_rows == 8)
      return detail::synthesise_rows<T, 8>(window, taps, kh, kw, rows, cols, out, out_stride);
  if (tile_rows == 4) return detail::synthesise_rows<T, 4>(window, taps, kh, kw, rows, cols, out, out_stride);
  if (tile_rows == 2) return detail::synthesise_rows<T, 2>(window, taps, kh, kw, rows, cols, out, out_stride);
  return detail::synthesise_rows<T, 1>(window, taps, kh, kw, rows, cols, out, out_stride);
}

}  // namespace thalweg::cpu
