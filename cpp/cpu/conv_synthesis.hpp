// Sums over many planes, each correlated with a filter of its own, for few outputs: what a convolution of
// codes to an image is, filters reversed.
//
// With one output there are no filters to share a pixel among. Rows of the output share it instead: a tile is
// some rows by some vectors of outputs, and each vector of the window is loaded once for all rows that it
// reaches. The window's first rows reach only the tile's upper rows, and the rows that follow the filter's
// height only its lower ones: they are taken in pairs, so that every step has work for all accumulators.
// Every output is one chain of multiply-adds, plane after plane; the order of a filter's rows depends on
// where in its tile the output lies.
#pragma once

#include <algorithm>
#include <bit>
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
  const auto is_busy = [&](Index p) __attribute__((always_inline)) {
    unsigned char busy = 0;
    for (int v = 0; v < Vectors; ++v) busy |= window.is_busy[y[v] + p];
    return busy != 0;
  };
  // The output's rows [First, Last) meet one row of the window, row r with the tap -r.
  const auto meet = [&]<int First, int Last>(std::integer_sequence<int, First, Last>, const T* row,
                                             const T* tap) __attribute__((always_inline)) {
    simd::Vec<T> pixels[Vectors];
    for (int v = 0; v < Vectors; ++v) pixels[v] = simd::load(row + at[v]);
    for (int r = First; r < Last; ++r) {
      const simd::Vec<T> f = simd::broadcast(tap[-r]);
      for (int v = 0; v < Vectors; ++v) acc[r][v] += f * pixels[v];
    }
  };
  const auto meet_pairs = [&]<int... P>(std::integer_sequence<int, P...>) __attribute__((always_inline)) {
    [[maybe_unused]] const auto pair =
        [&]<int Last>(std::integral_constant<int, Last>) __attribute__((always_inline)) {
          if (!is_busy(Last - 1) && !is_busy(kh + Last - 1)) return;
          const T* row = window.data + (Last - 1) * window.stride;
          const T* tap = taps + Last - 1;
          for (Index j = 0; j < kw; ++j, ++row, tap += kh) {
            meet(std::integer_sequence<int, 0, Last>{}, row, tap);
            meet(std::integer_sequence<int, Last, Rows>{}, row + kh * window.stride, tap + kh);
          }
        };
    (pair(std::integral_constant<int, P + 1>{}), ...);
  };
  meet_pairs(std::make_integer_sequence<int, Rows - 1>{});
  for (Index p = Rows - 1; p < kh; ++p) {
    if (!is_busy(p)) continue;
    const T* row = window.data + p * window.stride;
    const T* tap = taps + p;
    for (Index j = 0; j < kw; ++j, ++row, tap += kh) meet(std::integer_sequence<int, 0, Rows>{}, row, tap);
  }
  for (int v = 0; v < used; ++v)
    for (int r = 0; r < Rows; ++r) simd::store(out + (y[v] + r) * out_stride + x[v], acc[r][v]);
}

template <class T, int Rows, class Between>
void synthesise_rows(const PlaneWindow<T>& window, const T* taps, Index kh, Index kw, Index rows, Index cols,
                     T* out, Index out_stride, Between& between) {
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
    between();
  }
}

}  // namespace detail

// out(y, x) += sum_{i, j} taps[j * kh + i] window(y + i, x + j) for y in [0, rows), x in [0, cols): rows a
// multiple of tile_rows, cols of simd::lanes<T>. Reads rows + kh - 1 rows and cols + kw - 1 columns. Calls
// between() after every tile.
template <class T, class Between>
void synthesise(const PlaneWindow<T>& window, const T* taps, Index kh, Index kw, Index tile_rows, Index rows,
                Index cols, T* out, Index out_stride, Between&& between) {
  const auto with = [&]<int Rows>(std::integral_constant<int, Rows>) {
    detail::synthesise_rows<T, Rows>(window, taps, kh, kw, rows, cols, out, out_stride, between);
  };
  if (tile_rows == synthesis_rows)
    with(std::integral_constant<int, synthesis_rows>{});
  else if (synthesis_rows > 4 && tile_rows == 4)
    with(std::integral_constant<int, 4>{});
  else if (tile_rows == 2)
    with(std::integral_constant<int, 2>{});
  else
    with(std::integral_constant<int, 1>{});
}

// With fewer non-zeros than this in a window it is quicker to add them one by one (`scatter`). For filters of
// 8 x 8 in float32 that is one code in 32; both ways were measured to take the same time at one in 22.
template <class T>
[[nodiscard]] Index scatter_limit(Index rows, Index cols, Index kw) {
  return rows * cols * kw / (16 * simd::padded<T>(kw));
}

// The number of non-zeros in [0, cols) of a row, or some number of them from `enough` on.
template <class T>
[[nodiscard]] Index count_nonzeros(const T* row, Index cols, Index enough) {
  constexpr int lanes = simd::lanes<T>;
  Index count = 0;
  Index x = 0;
  for (; x + lanes <= cols && count < enough; x += lanes)
    count += std::popcount(simd::lane_bits<T>(simd::load(row + x) != 0));
  for (; x < cols && count < enough; ++x) count += row[x] != 0;
  return count;
}

// What synthesise does, non-zero after non-zero, for `cols` columns of the window. A filter's rows come
// reversed and padded with zeros to vectors, reversed[i * padded(kw) + m] = tap (i, kw - 1 - m). Adds 0 to
// kw - 1 columns before and padded(kw) columns after a row of outputs, which must be there; the window's rows
// are readable to a whole number of vectors.
template <class T>
void scatter(const PlaneWindow<T>& window, const T* reversed, Index kh, Index kw, Index rows, Index cols,
             T* out, Index out_stride) {
  constexpr int lanes = simd::lanes<T>;
  const Index width = simd::padded<T>(kw);
  for (Index p = 0; p < rows + kh - 1; ++p) {
    if (window.is_busy[p] == 0) continue;
    const T* row = window.data + p * window.stride;
    simd::for_each_lane<T>(
        simd::padded<T>(cols), [&](Index x) { return simd::load(row + x) != 0; },
        [&](Index x) {
          if (x >= cols) return;
          const simd::Vec<T> z = simd::broadcast(row[x]);
          for (Index i = std::max<Index>(0, p - rows + 1); i < std::min(kh, p + 1); ++i) {
            T* to = out + (p - i) * out_stride + x - (kw - 1);
            for (Index m = 0; m < width; m += lanes)
              simd::store(to + m, simd::load(to + m) + z * simd::load(reversed + i * width + m));
          }
        });
  }
}

}  // namespace thalweg::cpu
