// Products with a fixed right operand, with an epilogue on the accumulators while they are in registers.
//
// The right operand is packed once into panels a few vectors wide. Every output element is one chain of
// multiply-adds over the depth in increasing order, wherever the row stands: a row's result is the same bits
// in whatever batch it comes.
#pragma once

#include <algorithm>
#include <type_traits>
#include <utility>

#include "core/buffer.hpp"
#include "core/simd.hpp"
#include "core/view.hpp"

namespace thalweg::cpu {

#if defined(__AVX512F__)
inline constexpr int panel_vectors = 4;
#else
inline constexpr int panel_vectors = 2;
#endif
inline constexpr int tile_rows = 6;

// A (depth, cols) matrix in panels; columns are padded with zeros to whole vectors.
template <class T>
class PackedRight {
 public:
  PackedRight() = default;

  // element(i, j) gives row i, column j of the operand.
  template <class Element>
  PackedRight(Index depth, Index cols, Element&& element)
      : depth_(depth), padded_cols_(simd::padded<T>(cols)), data_(depth * padded_cols_) {
    T* out = data_.data();
    for (Index first = 0; first < padded_cols_; first += panel_width) {
      const Index width = std::min<Index>(panel_width, padded_cols_ - first);
      for (Index i = 0; i < depth; ++i)
        for (Index j = first; j < first + width; ++j)
          *out++ = j < cols ? static_cast<T>(element(i, j)) : T(0);
    }
  }

  static constexpr Index panel_width = panel_vectors * simd::lanes<T>;
  [[nodiscard]] Index depth() const { return depth_; }
  [[nodiscard]] Index padded_cols() const { return padded_cols_; }
  [[nodiscard]] const T* panel(Index first_col) const { return data_.data() + first_col * depth_; }

 private:
  Index depth_ = 0;
  Index padded_cols_ = 0;
  Buffer<T> data_;
};

namespace detail {

template <class T, int Rows, int Vectors, class Epilogue>
[[gnu::always_inline]] inline void tile(const T* left, Index left_stride, const T* right_rows,
                                        Index right_stride, Index depth, Index row, Index col,
                                        Epilogue& epilogue) {
  constexpr int lanes = simd::lanes<T>;
  simd::Vec<T> acc[Rows][Vectors] = {};
  for (Index k = 0; k < depth; ++k) {
    simd::Vec<T> right[Vectors];
    for (int v = 0; v < Vectors; ++v) right[v] = simd::load(right_rows + k * right_stride + v * lanes);
    for (int r = 0; r < Rows; ++r) {
      const simd::Vec<T> a = simd::broadcast(left[r * left_stride + k]);
      for (int v = 0; v < Vectors; ++v) acc[r][v] += a * right[v];
    }
  }
  for (int r = 0; r < Rows; ++r)
    for (int v = 0; v < Vectors; ++v) epilogue(row + r, col + v * lanes, acc[r][v]);
}

// All rows of `left` against `Vectors` columns of vectors that begin at right_rows.
template <class T, int Vectors, class Epilogue>
void column_product(MatrixView<const T> left, const T* right_rows, Index right_stride, Index col,
                    Epilogue& epilogue) {
  Index i = 0;
  for (; i + tile_rows <= left.rows; i += tile_rows)
    tile<T, tile_rows, Vectors>(left.row(i), left.stride, right_rows, right_stride, left.cols, i, col,
                                epilogue);
  for (; i + 2 <= left.rows; i += 2)
    tile<T, 2, Vectors>(left.row(i), left.stride, right_rows, right_stride, left.cols, i, col, epilogue);
  if (i < left.rows)
    tile<T, 1, Vectors>(left.row(i), left.stride, right_rows, right_stride, left.cols, i, col, epilogue);
}

// columns(vectors, col) gives where that many vectors of the right operand begin, and the stride of its rows.
template <class T, class Columns, class Epilogue>
void product(MatrixView<const T> left, Index padded_cols, Columns&& columns, Epilogue& epilogue) {
  constexpr int lanes = simd::lanes<T>;
  Index col = 0;
  const auto next = [&]<int Vectors>(std::integral_constant<int, Vectors>) {
    const auto [right, stride] = columns(Index{Vectors}, col);
    column_product<T, Vectors>(left, right, stride, col, epilogue);
    col += Vectors * lanes;
  };
  while (col + panel_vectors * lanes <= padded_cols) next(std::integral_constant<int, panel_vectors>{});
  const auto rest = (padded_cols - col) / lanes;
  if constexpr (panel_vectors > 3)
    if (rest == 3) next(std::integral_constant<int, 3>{});
  if constexpr (panel_vectors > 2)
    if (rest == 2) next(std::integral_constant<int, 2>{});
  if (rest == 1) next(std::integral_constant<int, 1>{});
}

}  // namespace detail

// Calls epilogue(row, col, acc) for every vector of left * right; left is (rows, depth), col runs over the
// padded columns in steps of a vector. All rows of a panel come before the next panel.
template <class T, class Epilogue>
void matmul(std::type_identity_t<MatrixView<const T>> left, const PackedRight<T>& right,
            Epilogue&& epilogue) {
  detail::product<T>(
      left, right.padded_cols(),
      [&](Index vectors, Index col) { return std::pair(right.panel(col), vectors * simd::lanes<T>); },
      epilogue);
}

// The same with a right operand as it lies in memory, (depth, stride) with rows padded to whole vectors.
template <class T, class Epilogue>
void matmul(std::type_identity_t<MatrixView<const T>> left, const T* right, Index right_stride,
            Index padded_cols, Epilogue&& epilogue) {
  detail::product<T>(
      left, padded_cols, [&](Index, Index col) { return std::pair(right + col, right_stride); }, epilogue);
}

}  // namespace thalweg::cpu
