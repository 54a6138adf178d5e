// Row-major views of memory that somebody else owns.
#pragma once

#include <cstddef>
#include <type_traits>

namespace thalweg {

using Index = std::ptrdiff_t;

// rows x cols, columns contiguous, `stride` elements from one row to the next.
template <class T>
struct MatrixView {
  T* data = nullptr;
  Index rows = 0;
  Index cols = 0;
  Index stride = 0;

  MatrixView() = default;
  MatrixView(T* data_, Index rows_, Index cols_) : MatrixView(data_, rows_, cols_, cols_) {}
  MatrixView(T* data_, Index rows_, Index cols_, Index stride_)
      : data(data_), rows(rows_), cols(cols_), stride(stride_) {}
  template <class U>
    requires(std::is_same_v<const U, T>)
  MatrixView(const MatrixView<U>& o)  // a mutable view serves where a const one is asked for
      : data(o.data), rows(o.rows), cols(o.cols), stride(o.stride) {}

  // constexpr: kernels on a device call them too
  [[nodiscard]] constexpr T* row(Index i) const { return data + i * stride; }
  [[nodiscard]] constexpr T& operator()(Index i, Index j) const { return data[i * stride + j]; }
  [[nodiscard]] MatrixView middle_rows(Index first, Index count) const {
    return {data + first * stride, count, cols, stride};
  }
};

// A matrix that may be broadcast: a stride of 0 repeats a row or a column.
template <class T>
struct BroadcastView {
  const T* data = nullptr;
  Index row_stride = 0;
  Index col_stride = 0;

  [[nodiscard]] T operator()(Index i, Index j) const { return data[i * row_stride + j * col_stride]; }
};

}  // namespace thalweg
