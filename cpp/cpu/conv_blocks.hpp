// Planes cut into blocks, and the windows of other planes that blocks look at, copied with their boundary.
#pragma once

#include <algorithm>

#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "core/view.hpp"

namespace thalweg::cpu {

// A grid of blocks over a plane, all of `rows` x `cols` but those at its end.
struct BlockGrid {
  Index height = 0;
  Index width = 0;
  Index rows = 0;
  Index cols = 0;

  [[nodiscard]] Index across() const { return block_count(width, cols); }
  [[nodiscard]] Index count() const { return block_count(height, rows) * across(); }
  [[nodiscard]] Index top(Index block) const { return block / across() * rows; }
  [[nodiscard]] Index left(Index block) const { return block % across() * cols; }
  [[nodiscard]] Index rows_of(Index block) const { return std::min(rows, height - top(block)); }
  [[nodiscard]] Index cols_of(Index block) const { return std::min(cols, width - left(block)); }
};

// Blocks of nearly equal size: whole vectors of columns, a multiple of `row_unit` rows, at most `most_rows`
// where that many are wanted, and about `vectors` vectors in all.
template <class T>
[[nodiscard]] BlockGrid block_grid(Index height, Index width, Index row_unit, Index most_rows,
                                   Index vectors) {
  const auto even = [](Index size, Index most) {
    return block_count(size, block_count(size, std::max<Index>(most, 1)));
  };
  const Index units = even(block_count(height, row_unit), most_rows / row_unit);
  const Index rows = units * row_unit;
  const Index columns = even(block_count(width, simd::lanes<T>), vectors / rows);
  return {height, width, rows, columns * simd::lanes<T>};
}

[[nodiscard]] inline Index modulo(Index i, Index n) { return (i % n + n) % n; }

// to[i] = from[i] for i in [0, n).
template <class T>
[[gnu::always_inline]] inline void copy_run(const T* from, Index n, T* to) {
  constexpr int lanes = simd::lanes<T>;
  if (n < lanes) {
    std::copy_n(from, n, to);
    return;
  }
  for (Index i = 0; i + lanes < n; i += lanes) simd::store(to + i, simd::load(from + i));
  simd::store(to + n - lanes, simd::load(from + n - lanes));
}

// to(r, q) = plane(top + r, left + q) for r in [0, rows), q in [0, cols). What lies outside of the plane is
// 0, or where it `wraps` is found modulo its size.
template <class T>
void copy_window(const T* plane, Index height, Index width, Index top, Index left, Index rows, Index cols,
                 bool wraps, T* to, Index stride) {
  for (Index r = 0; r < rows; ++r, to += stride) {
    const Index y = wraps ? modulo(top + r, height) : top + r;
    if (y < 0 || y >= height) {
      std::fill_n(to, cols, T(0));
      continue;
    }
    const T* row = plane + y * width;
    if (wraps && (left < 0 || left + cols > width)) {
      Index x = modulo(left, width);
      for (Index q = 0; q < cols; x = 0) {
        const Index n = std::min(cols - q, width - x);
        copy_run(row + x, n, to + q);
        q += n;
      }
      continue;
    }
    const Index before = std::clamp<Index>(-left, 0, cols);
    const Index inside = std::clamp<Index>(width - left, before, cols);
    std::fill_n(to, before, T(0));
    copy_run(row + left + before, inside - before, to + before);
    std::fill_n(to + inside, cols - inside, T(0));
  }
}

// Asks for [from, from + n) before it is needed: short rows of a large array are too irregular for the
// processor to foresee. Inlined, as compilers drop calls of functions that do nothing else.
template <class T>
[[gnu::always_inline]] inline void prefetch_run(const T* from, Index n) {
  constexpr Index line = 64 / sizeof(T);
  for (Index i = 0; i < n; i += line) __builtin_prefetch(from + i, 0, 2);
  __builtin_prefetch(from + n - 1, 0, 2);
}

// Asks for a window's rows, a few at a time.
template <class T>
class Prefetch {
 public:
  Prefetch() = default;
  Prefetch(const T* plane, Index height, Index width, Index top, Index left, Index rows, Index cols)
      : plane_(plane),
        width_(width),
        row_(std::max<Index>(top, 0)),
        end_row_(std::min(top + rows, height)),
        left_(std::max<Index>(left, 0)),
        end_(std::min(left + cols, width)) {}

  void next(Index rows) {
    if (left_ >= end_) return;
    for (const Index end = std::min(row_ + rows, end_row_); row_ < end; ++row_)
      prefetch_run(plane_ + row_ * width_ + left_, end_ - left_);
  }

 private:
  const T* plane_ = nullptr;
  Index width_ = 0;
  Index row_ = 0;
  Index end_row_ = 0;
  Index left_ = 0;
  Index end_ = 0;
};

// The first `count` lanes, count >= 1.
template <class T>
[[gnu::always_inline]] inline void store_some(T* to, simd::Vec<T> v, Index count) {
  if (count >= simd::lanes<T>) {
    simd::store(to, v);
    return;
  }
  T all[simd::lanes<T>];
  simd::store(all, v);
  std::copy_n(all, count, to);
}

}  // namespace thalweg::cpu
