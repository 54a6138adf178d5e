// Weighted sums of rows, sum_i w_i row_i: products with symmetric matrices and with few rows of a large one.
#pragma once

#include "core/simd.hpp"
#include "core/view.hpp"

namespace thalweg::cpu {

// Inner product over whole vectors.
template <class T>
T dot(const T* a, const T* b, Index width) {
  constexpr int lanes = simd::lanes<T>;
  simd::Vec<T> sum[2] = {};
  Index i = 0;
  for (; i + 2 * lanes <= width; i += 2 * lanes) {
    sum[0] += simd::load(a + i) * simd::load(b + i);
    sum[1] += simd::load(a + i + lanes) * simd::load(b + i + lanes);
  }
  if (i < width) sum[0] += simd::load(a + i) * simd::load(b + i);
  sum[0] += sum[1];
  return simd::sum_lanes<T>(sum[0]);
}

#if defined(__AVX512F__)
inline constexpr int sum_vectors = 16;
#else
inline constexpr int sum_vectors = 8;
#endif

namespace detail {

template <class T, int Vectors, class RowAt>
[[gnu::always_inline]] inline void sum_chunk(const T* start, const T* weights, Index count, Index col,
                                             RowAt& row_at, T* out) {
  constexpr int lanes = simd::lanes<T>;
  constexpr int chains = Vectors <= 2   ? 4
                         : Vectors <= 4 ? 2
                                        : 1;  // enough independent sums to hide the latency
  simd::Vec<T> acc[chains][Vectors] = {};
  if (start != nullptr)
    for (int v = 0; v < Vectors; ++v) acc[0][v] = simd::load(start + col + v * lanes);
  Index i = 0;
  for (; i + chains <= count; i += chains)
    for (int chain = 0; chain < chains; ++chain) {
      const T* row = row_at(i + chain) + col;
      const simd::Vec<T> w = simd::broadcast(weights[i + chain]);
      for (int v = 0; v < Vectors; ++v) acc[chain][v] += w * simd::load(row + v * lanes);
    }
  for (; i < count; ++i) {
    const T* row = row_at(i) + col;
    const simd::Vec<T> w = simd::broadcast(weights[i]);
    for (int v = 0; v < Vectors; ++v) acc[0][v] += w * simd::load(row + v * lanes);
  }
  for (int v = 0; v < Vectors; ++v) {
    for (int chain = 1; chain < chains; ++chain) acc[0][v] += acc[chain][v];
    simd::store(out + col + v * lanes, acc[0][v]);
  }
}

template <class T, int Vectors, class RowAt>
void sum_tail(const T* start, const T* weights, Index count, Index col, Index vectors, RowAt& row_at,
              T* out) {
  if constexpr (Vectors > 0) {
    if (vectors >= Vectors) {
      sum_chunk<T, Vectors>(start, weights, count, col, row_at, out);
      col += Vectors * simd::lanes<T>;
      vectors -= Vectors;
    }
    sum_tail<T, Vectors / 2>(start, weights, count, col, vectors, row_at, out);
  }
}

}  // namespace detail

// out = start + sum_i weights[i] * row_at(i)[0 .. width), `width` a whole number of vectors; start may be
// null (0) or out itself.
template <class T, class RowAt>
void sum_rows(const T* start, const T* weights, Index count, Index width, RowAt&& row_at, T* out) {
  Index col = 0;
  const Index full = sum_vectors * simd::lanes<T>;
  for (; col + full <= width; col += full)
    detail::sum_chunk<T, sum_vectors>(start, weights, count, col, row_at, out);
  detail::sum_tail<T, sum_vectors / 2>(start, weights, count, col, (width - col) / simd::lanes<T>, row_at,
                                       out);
}

}  // namespace thalweg::cpu
