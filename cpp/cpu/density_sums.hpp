// Products and sums of rows that deep densities need beside cpu/matmul.hpp.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/buffer.hpp"
#include "core/simd.hpp"
#include "core/view.hpp"
#include "cpu/matmul.hpp"

namespace thalweg::cpu {

// --- left' right

namespace detail {

template <class T, int Rows, int Vectors, class Epilogue>
[[gnu::always_inline]] inline void transposed_tile(const T* left, Index left_stride, const T* right,
                                                   Index right_stride, Index depth, Index row, Index col,
                                                   Epilogue& epilogue) {
  constexpr int lanes = simd::lanes<T>;
  simd::Vec<T> acc[Rows][Vectors] = {};
  for (Index k = 0; k < depth; ++k) {
    simd::Vec<T> b[Vectors];
    for (int v = 0; v < Vectors; ++v) b[v] = simd::load(right + k * right_stride + v * lanes);
    for (int r = 0; r < Rows; ++r) {
      const simd::Vec<T> a = simd::broadcast(left[k * left_stride + r]);
      for (int v = 0; v < Vectors; ++v) acc[r][v] += a * b[v];
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) epilogue(row + r, col + v * lanes, acc[r][v]);
}

template <class T, int Vectors, class Epilogue>
void transposed_columns(MatrixView<const T> left, const T* right, Index right_stride, Index col,
                        Epilogue& epilogue) {
  Index i = 0;
  for (; i + tile_rows <= left.cols; i += tile_rows)
    transposed_tile<T, tile_rows, Vectors>(left.data + i, left.stride, right + col, right_stride, left.rows,
                                           i, col, epilogue);
  for (; i + 2 <= left.cols; i += 2)
    transposed_tile<T, 2, Vectors>(left.data + i, left.stride, right + col, right_stride, left.rows, i, col,
                                   epilogue);
  if (i < left.cols)
    transposed_tile<T, 1, Vectors>(left.data + i, left.stride, right + col, right_stride, left.rows, i, col,
                                   epilogue);
}

}  // namespace detail

// Calls epilogue(row, col, acc) for every vector of left' right: left is (depth, rows), right (depth, stride)
// with rows of `padded_cols` that are a whole number of vectors. One chain of multiply-adds an element.
template <class T, class Epilogue>
void transposed_matmul(std::type_identity_t<MatrixView<const T>> left, const T* right, Index right_stride,
                       Index padded_cols, Epilogue&& epilogue) {
  constexpr int lanes = simd::lanes<T>;
  Index col = 0;
  for (; col + panel_vectors * lanes <= padded_cols; col += panel_vectors * lanes)
    detail::transposed_columns<T, panel_vectors>(left, right, right_stride, col, epilogue);
  for (; col < padded_cols; col += lanes)
    detail::transposed_columns<T, 1>(left, right, right_stride, col, epilogue);
}

// --- columns of an array whose rows are not padded

// Whole vectors may be read from every row; what lies beyond the last column may be anything.
template <class T>
struct ColumnPanel {
  const T* data;
  Index stride;
  Index cols;    // that count
  Index padded;  // a whole number of vectors
};

inline constexpr Index column_panel_vectors = 4;
template <class T>
inline constexpr Index column_panel = column_panel_vectors * simd::lanes<T>;

// The columns from `first` on, at most column_panel<T> of them; copied to `scratch` where a vector would
// reach past the end of the row.
template <class T>
ColumnPanel<T> columns_from(MatrixView<const T> m, Index first, Buffer<T>& scratch) {
  const Index cols = std::min(column_panel<T>, m.cols - first);
  const Index padded = simd::padded<T>(cols);
  if (first + padded <= m.stride) return {m.data + first, m.stride, cols, padded};
  T* const to = at_least(scratch, m.rows * padded);
  for (Index r = 0; r < m.rows; ++r) {
    std::memcpy(to + r * padded, m.row(r) + first, static_cast<std::size_t>(cols) * sizeof(T));
    std::fill(to + r * padded + cols, to + (r + 1) * padded, T(0));
  }
  return {to, padded, cols, padded};
}

// The first lanes of v that lie within `left` elements; added to what is there, or in its place.
template <class T>
[[gnu::always_inline]] inline void put_vector(T* to, simd::Vec<T> v, Index left, bool adds) {
  if (left >= simd::lanes<T>) [[likely]] {
    simd::store(to, adds ? v + simd::load(to) : v);
    return;
  }
  T part[simd::lanes<T>];
  simd::store(part, v);
  for (Index i = 0; i < left; ++i) to[i] = adds ? to[i] + part[i] : part[i];
}

// --- sums in float64

using DoubleVec = simd::Vec<double>;

// As many elements as a vector has doubles.
[[gnu::always_inline]] inline DoubleVec widened(const double* p) { return simd::load(p); }
[[gnu::always_inline]] inline DoubleVec widened(const float* p) {
  typedef float Half __attribute__((vector_size(simd::bytes / 2)));
  Half half;
  std::memcpy(&half, p, sizeof half);
  return __builtin_convertvector(half, DoubleVec);
}

// The sum of term(i) over i < n: term of an index gives one double, of an index and a tag a vector of them.
template <class Vector, class Scalar>
[[gnu::always_inline]] inline double wide_sum(Index n, const Vector& of_vector, const Scalar& of_one) {
  constexpr Index lanes = simd::lanes<double>;
  DoubleVec sum[4] = {};
  Index i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes)
    for (int v = 0; v < 4; ++v) sum[v] += of_vector(i + v * lanes);
  for (; i + lanes <= n; i += lanes) sum[0] += of_vector(i);
  double total = simd::sum_lanes<double>((sum[0] + sum[1]) + (sum[2] + sum[3]));
  for (; i < n; ++i) total += of_one(i);
  return total;
}

template <class T>
double wide_sum(const T* a, Index n) {
  return wide_sum(
      n, [&](Index i) { return widened(a + i); }, [&](Index i) { return static_cast<double>(a[i]); });
}

template <class T>
double wide_dot(const T* a, const T* b, Index n) {
  return wide_sum(
      n, [&](Index i) { return widened(a + i) * widened(b + i); },
      [&](Index i) { return static_cast<double>(a[i]) * static_cast<double>(b[i]); });
}

}  // namespace thalweg::cpu
