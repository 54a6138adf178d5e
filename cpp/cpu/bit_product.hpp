// Products of 0/1 states with weights, by the method of the four Russians: the 16 sums that four weight rows
// can make are looked up instead of added, so that a unit costs a quarter of an addition.
//
// Every output is, in this order, the sum over groups of four units of the sum, in increasing order, of the
// group's rows whose unit is 1. Where there are too few rows of states to pay for the tables, the same sums
// are made row by row: a row's result is the same bits in whatever batch it comes.
//
// Source: V. Arlazarov, E. Dinic, M. Kronrod, I. Faradzev, On economical construction of the transitive
// closure of a directed graph, Soviet Math. Dokl. 11, 1970.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "cpu/philox_panel.hpp"
#include "kernels/gibbs.hpp"

namespace thalweg::cpu {

inline constexpr Index word_units = 32;  // units in a word of states
inline constexpr Index group_units = 4;
inline constexpr Index groups_per_word = word_units / group_units;
inline constexpr Index table_entries = Index{1} << group_units;
// From so many rows on the tables pay.
inline constexpr Index least_rows_of_tables = 12;

// Entries of all groups of a word, panel_units<T> numbers each: 16 KB.
template <class T>
inline constexpr Index table_size = groups_per_word * table_entries * panel_units<T>;

// `weights` is where the word's first row has its panel, `count` the number of its rows, at most 32.
template <class T>
void build_tables(const T* weights, Index stride, Index count, T* tables) {
  constexpr int lanes = simd::lanes<T>;
  using V = simd::Vec<T>;
  for (Index group = 0; group < groups_per_word; ++group)
    for (int v = 0; v < vectors_per_panel; ++v) {
      V entry[table_entries] = {};
      for (Index u = 0; u < group_units; ++u) {
        const Index unit = group * group_units + u;
        const V row = unit < count ? simd::load(weights + unit * stride + v * lanes) : V{};
        const Index half = Index{1} << u;
        for (Index e = 0; e < half; ++e) entry[half + e] = entry[e] + row;
      }
      T* out = tables + group * table_entries * panel_units<T> + v * lanes;
      for (Index e = 0; e < table_entries; ++e) simd::store(out + e * panel_units<T>, entry[e]);
    }
}

// Adds to each row of `sums` what its word of states selects; the first word begins the sums.
template <class T, bool IsFirst>
void add_words(const T* tables, const std::uint32_t* words, Index rows, T* sums, Index stride) {
  constexpr int lanes = simd::lanes<T>;
  using V = simd::Vec<T>;
  for (Index r = 0; r < rows; ++r) {
    const std::uint32_t word = words[r];
    T* out = sums + r * stride;
    V sum[vectors_per_panel] = {};
    if constexpr (!IsFirst)
      for (int v = 0; v < vectors_per_panel; ++v) sum[v] = simd::load(out + v * lanes);
    for (Index group = 0; group < groups_per_word; ++group) {
      const Index pattern = (word >> (group_units * group)) & (table_entries - 1);
      const T* entry = tables + (group * table_entries + pattern) * panel_units<T>;
      for (int v = 0; v < vectors_per_panel; ++v) sum[v] += simd::load(entry + v * lanes);
    }
    for (int v = 0; v < vectors_per_panel; ++v) simd::store(out + v * lanes, sum[v]);
  }
}

// One row of states against one panel, without tables.
template <class T>
void add_selected(const T* weights, Index stride, BitsView<const std::uint32_t> states, Index row, T* out) {
  constexpr int lanes = simd::lanes<T>;
  using V = simd::Vec<T>;
  V sum[vectors_per_panel] = {};
  for (Index w = 0; w < states.words(); ++w)
    for (std::uint32_t word = states(w, row), first = 0; word != 0;
         word >>= group_units, first += group_units) {
      V part[vectors_per_panel] = {};
      std::uint32_t pattern = word & (table_entries - 1);
      if (pattern == 0) continue;
      for (; pattern != 0; pattern &= pattern - 1) {
        const Index unit = w * word_units + static_cast<Index>(first) + std::countr_zero(pattern);
        for (int v = 0; v < vectors_per_panel; ++v)
          part[v] += simd::load(weights + unit * stride + v * lanes);
      }
      for (int v = 0; v < vectors_per_panel; ++v) sum[v] += part[v];
    }
  for (int v = 0; v < vectors_per_panel; ++v) simd::store(out + v * lanes, sum[v]);
}

// sums[r] = states[first_row + r] * one panel of the weights, which `weights` points to; `tables` is scratch.
template <class T>
void bit_product(const T* weights, Index weight_stride, BitsView<const std::uint32_t> states, Index first_row,
                 Index rows, T* tables, T* sums, Index stride) {
  if (rows < least_rows_of_tables) {
    for (Index r = 0; r < rows; ++r)
      add_selected(weights, weight_stride, states, first_row + r, sums + r * stride);
    return;
  }
  for (Index w = 0; w < states.words(); ++w) {
    const Index unit = w * word_units;
    build_tables(weights + unit * weight_stride, weight_stride, std::min(word_units, states.units - unit),
                 tables);
    const std::uint32_t* words = states.word(w) + first_row;
    w == 0 ? add_words<T, true>(tables, words, rows, sums, stride)
           : add_words<T, false>(tables, words, rows, sums, stride);
  }
}

}  // namespace thalweg::cpu
