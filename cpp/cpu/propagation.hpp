// Rows of states times weights, in panels that fit the first-level cache, each handed to an epilogue.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/buffer.hpp"
#include "core/parallel.hpp"
#include "cpu/bit_product.hpp"
#include "cpu/matmul.hpp"

namespace thalweg::cpu {

// Weights (depth, units) with rows of `stride` numbers, zeros from `units` to padded_units(units).
template <class T>
struct Layer {
  const T* weights;
  Index depth;
  Index units;
  Index stride;

  [[nodiscard]] Index panels() const { return padded_units<T>(units) / panel_units<T>; }
};

// One bit for each of 32 numbers that is not zero.
template <class T>
[[gnu::always_inline]] inline std::uint32_t nonzero_bits(const T* x) {
  std::uint32_t bits = 0;
  for (Index j = 0; j < word_units; j += simd::lanes<T>)
    bits |= static_cast<std::uint32_t>(simd::lane_bits<T>(simd::load(x + j) != 0)) << j;
  return bits;
}

// Real numbers as they are multiplied: rows of 0 and 1 as bits, others as they are or by their non-zeros.
template <class T>
class PreparedRows {
 public:
  // The rows are kept in mind, not copied; unless they may be bits they are taken as they are.
  void prepare(MatrixView<const T> rows, bool may_be_bits, int n_jobs) {
    rows_ = rows;
    depth_ = rows.cols;
    may_be_bits_ = may_be_bits;
    if (!may_be_bits_) return;
    at_least(is_real_, rows.rows);
    at_least(counts_, rows.rows);
    at_least(indices_, rows.rows * depth_);
    at_least(values_, rows.rows * depth_);
    at_least(words_, rows.rows * block_count(depth_, word_units));
    constexpr Index block = 16;
    parallel_for(block_count(rows.rows, block), jobs_for(rows.rows * depth_, n_jobs), [&](Index b, int) {
      for (Index r = b * block; r < std::min(rows.rows, (b + 1) * block); ++r) scan(r);
    });
    Index n_real = 0;
    Index n_entries = 0;
    for (Index r = 0; r < rows.rows; ++r) {
      n_real += is_real_[r];
      n_entries += counts_[r];
    }
    has_real_ = n_real > 0;
    has_bits_ = n_real < rows.rows;
    is_dense_ = 5 * n_entries > 2 * rows.rows * depth_;  // above 40 % a tiled product is faster
  }

  [[nodiscard]] Index rows() const { return rows_.rows; }
  [[nodiscard]] bool has_bits() const { return may_be_bits_ && has_bits_; }
  [[nodiscard]] bool has_real() const { return !may_be_bits_ || has_real_; }
  [[nodiscard]] bool is_real(Index r) const { return !may_be_bits_ || is_real_[r] != 0; }
  [[nodiscard]] bool is_dense() const { return !may_be_bits_ || is_dense_; }
  [[nodiscard]] MatrixView<const T> dense() const { return rows_; }
  [[nodiscard]] Index count(Index r) const { return counts_[r]; }
  [[nodiscard]] const std::uint32_t* indices(Index r) const { return indices_.data() + r * depth_; }
  [[nodiscard]] const T* values(Index r) const { return values_.data() + r * depth_; }
  [[nodiscard]] ConstBits bits() const { return {words_.data(), rows_.rows, depth_, rows_.rows}; }

 private:
  void scan(Index r) {
    const T* x = rows_.row(r);
    std::uint32_t* index = indices_.data() + r * depth_;
    T* value = values_.data() + r * depth_;
    Index count = 0;
    bool all_ones = true;
    for (Index first = 0, w = 0; first < depth_; first += word_units, ++w) {
      std::uint32_t word = 0;
      const Index n = std::min(word_units, depth_ - first);
      if (n == word_units) {
        word = nonzero_bits(x + first);
      } else {
        for (Index j = 0; j < n; ++j) word |= std::uint32_t{x[first + j] != T(0)} << j;
      }
      words_[w * rows_.rows + r] = word;
      for (; word != 0; word &= word - 1) {
        const Index j = first + std::countr_zero(word);
        index[count] = static_cast<std::uint32_t>(j);
        value[count++] = x[j];
        all_ones &= x[j] == T(1);
      }
    }
    is_real_[r] = all_ones ? 0 : 1;
    counts_[r] = all_ones ? 0 : count;
    if (!all_ones)
      for (Index w = 0; w * word_units < depth_; ++w) words_[w * rows_.rows + r] = 0;
  }

  Index depth_ = 0;
  bool may_be_bits_ = false;
  MatrixView<const T> rows_;
  Buffer<std::uint8_t> is_real_;
  Buffer<Index> counts_;
  Buffer<std::uint32_t> indices_;
  Buffer<T> values_;
  Buffer<std::uint32_t> words_;
  bool has_real_ = false;
  bool has_bits_ = false;
  bool is_dense_ = false;
};

// A worker's memory.
template <class T>
struct PropagationScratch {
  static constexpr Index max_rows = 512;
  static constexpr Index panels = 2;  // worked on together
  static constexpr Index stride = panels * panel_units<T>;
  Buffer<T> sums{max_rows * stride};
  Buffer<T> tables{table_size<T>};
};

namespace detail {

// out = sum_i values[i] * weights[indices[i]], `Vectors` vectors wide, in one chain each.
template <class T, int Vectors>
[[gnu::always_inline]] inline void sum_listed(const T* weights, Index stride, const std::uint32_t* indices,
                                              const T* values, Index count, T* out) {
  constexpr int lanes = simd::lanes<T>;
  simd::Vec<T> sum[Vectors] = {};
  for (Index i = 0; i < count; ++i) {
    const T* row = weights + static_cast<Index>(indices[i]) * stride;
    const simd::Vec<T> value = simd::broadcast(values[i]);
    for (int v = 0; v < Vectors; ++v) sum[v] += value * simd::load(row + v * lanes);
  }
  for (int v = 0; v < Vectors; ++v) simd::store(out + v * lanes, sum[v]);
}

// Any number of panels; as many vectors at a time as stay in registers.
template <class T>
void sum_listed(const T* weights, Index stride, const std::uint32_t* indices, const T* values, Index count,
                Index n_panels, T* out) {
  constexpr int together = std::min(2 * vectors_per_panel, 8);
  constexpr int lanes = simd::lanes<T>;
  Index v = 0;
  for (const Index n = n_panels * vectors_per_panel; v < n;) {
    if (n - v >= together) {
      sum_listed<T, together>(weights + v * lanes, stride, indices, values, count, out + v * lanes);
      v += together;
    } else {
      sum_listed<T, vectors_per_panel>(weights + v * lanes, stride, indices, values, count, out + v * lanes);
      v += vectors_per_panel;
    }
  }
}

template <class T>
void real_product(const T* weights, Index weight_stride, const PreparedRows<T>& input, Index first_row,
                  Index rows, Index n_panels, T* sums, Index stride) {
  if (input.is_dense()) {
    const auto keep = [&](Index r, Index col, simd::Vec<T> sum) {
      if (input.is_real(first_row + r)) simd::store(sums + r * stride + col, sum);
    };
    matmul<T>(input.dense().middle_rows(first_row, rows), weights, weight_stride, n_panels * panel_units<T>,
              keep);
    return;
  }
  for (Index r = 0; r < rows; ++r)
    if (const Index row = first_row + r; input.is_real(row))
      sum_listed<T>(weights, weight_stride, input.indices(row), input.values(row), input.count(row), n_panels,
                    sums + r * stride);
}

}  // namespace detail

// Calls epilogue(row, first_unit, sums) for every row and panel, `sums` being panel_units<T> numbers; a
// panel's rows come in increasing order within blocks. `input` is ConstBits or PreparedRows<T>.
template <class T, class Input, class Epilogue>
void propagate(const Layer<T>& layer, const Input& input, Index rows,
               std::vector<PropagationScratch<T>>& scratch, int n_jobs, const Epilogue& epilogue) {
  using Scratch = PropagationScratch<T>;
  const Index pairs = block_count(layer.panels(), Scratch::panels);
  // Few panels: smaller blocks of rows, so that there is work for all threads.
  const Index block = pairs >= 4 ? Scratch::max_rows : Scratch::max_rows / 4;
  const Index row_blocks = block_count(rows, block);
  parallel_for(row_blocks * pairs, jobs_for(rows * layer.depth * layer.units, n_jobs),
               [&](Index task, int worker) {
                 Scratch& own = scratch[static_cast<std::size_t>(worker)];
                 const Index first_row = task / pairs * block;
                 const Index n_rows = std::min(block, rows - first_row);
                 const Index first_panel = task % pairs * Scratch::panels;
                 const Index n_panels = std::min(Scratch::panels, layer.panels() - first_panel);
                 const T* weights = layer.weights + first_panel * panel_units<T>;
                 const auto bit_panels = [&](ConstBits bits) {
                   for (Index p = 0; p < n_panels; ++p)
                     bit_product<T>(weights + p * panel_units<T>, layer.stride, bits, first_row, n_rows,
                                    own.tables.data(), own.sums.data() + p * panel_units<T>, Scratch::stride);
                 };
                 if constexpr (std::is_same_v<Input, ConstBits>) {
                   bit_panels(input);
                 } else {
                   if (input.has_bits()) bit_panels(input.bits());
                   if (input.has_real())
                     detail::real_product<T>(weights, layer.stride, input, first_row, n_rows, n_panels,
                                             own.sums.data(), Scratch::stride);
                 }
                 for (Index p = 0; p < n_panels; ++p)
                   for (Index r = 0; r < n_rows; ++r)
                     epilogue(first_row + r, (first_panel + p) * panel_units<T>,
                              own.sums.data() + r * Scratch::stride + p * panel_units<T>);
               });
}

}  // namespace thalweg::cpu
