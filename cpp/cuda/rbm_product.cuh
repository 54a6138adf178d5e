// Rows of states times weights, each sum handed to what finishes a unit (rbm_units.cuh), in one kernel.
//
// Of bits in single precision: whole numbers on tensor cores (rbm_digits.cuh). A block has 64 units and 64 or
// 256 rows, whose words of states it keeps on chip; the weights stream past by asynchronous copies, four
// stages ahead. A warp makes 32 units of 16 or 64 rows, and expands each word of states to operands in
// registers, by two shifts and masks. Everything else: blocks of 64 units and 64 rows, one chain of
// multiply-adds a sum.
//
// The roof of a sweep of n chains of V + H units: n (V + H) bits are read and written once, next to nothing;
// 2 x 3 V H n (three digits) multiply-adds of 8-bit numbers, on a card of 990 dense 10^12 a second 2.4 ns a
// chain for 784 x 500; and for the draws about 45 instructions a unit.
#pragma once

#include <cstdint>
#include <type_traits>

#include "cuda/async.cuh"
#include "cuda/launch.hpp"
#include "cuda/mma.cuh"
#include "cuda/rbm_digits.cuh"
#include "cuda/rbm_units.cuh"

namespace thalweg::cuda::rbm {

// Rows that a launch leaves out: those whose flag differs.
struct RowFilter {
  const std::uint8_t* is_real = nullptr;  // null: all rows are taken
  bool wants_real = false;
  __device__ bool takes(Index row) const { return is_real == nullptr || (is_real[row] != 0) == wants_real; }
};

// --- bits times digits

inline constexpr int block_threads = 256;
inline constexpr int warps_of_units = 2;
inline constexpr int warps_of_rows = block_threads / 32 / warps_of_units;
inline constexpr int stage_slabs = 4;
inline constexpr int stages = 4;
inline constexpr int stage_words = stage_slabs * warps_of_units * slab_words;

template <int m_tiles>
inline constexpr int block_rows = 16 * m_tiles * warps_of_rows;

template <int m_tiles>
[[nodiscard]] constexpr std::size_t shared_bytes(Index words) {
  return sizeof(std::uint32_t) *
         static_cast<std::size_t>(stages * stage_words + words * Index{block_rows<m_tiles>});
}

namespace detail {

// The next slabs of the block's two tiles to shared memory; nothing beyond the last.
__device__ inline void copy_stage(const Digits& digits, int first_tile, int first_slab, int n_slabs,
                                  int stage, std::uint32_t* shared) {
  constexpr int pieces = stage_words / 4;  // of 16 bytes
#pragma unroll
  for (int i = 0; i < pieces / block_threads; ++i) {
    const int piece = i * block_threads + static_cast<int>(threadIdx.x);
    const int slab = stage * stage_slabs + piece / (warps_of_units * slab_words / 4);
    const int tile = first_tile + piece / (slab_words / 4) % warps_of_units;
    const bool is_there = slab < n_slabs && tile < digits.tiles;
    const std::uint32_t* const from =
        digits.slabs + (is_there ? (Index{tile} * n_digits * digits.words + first_slab + slab) * slab_words +
                                       4 * (piece % (slab_words / 4))
                                 : Index{0});
    copy_async<16>(shared + (stage % stages) * stage_words + 4 * piece, from, is_there);
  }
  commit_copies();
}

// Sums of 16 m_tiles rows and 32 units, from one slab.
template <int m_tiles>
__device__ inline void add_slab(const std::uint32_t* slab, const std::uint32_t* states, int lane,
                                int (&sums)[m_tiles][4][4]) {
  constexpr std::uint32_t low_bits = 0x01010101u;
  std::uint32_t b[4][2];
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    const uint4 both = *reinterpret_cast<const uint4*>(slab + 128 * q + 4 * lane);
    b[2 * q][0] = both.x;
    b[2 * q][1] = both.y;
    b[2 * q + 1][0] = both.z;
    b[2 * q + 1][1] = both.w;
  }
#pragma unroll
  for (int m = 0; m < m_tiles; ++m) {
    const std::uint32_t upper = states[16 * m] >> (lane % 4);
    const std::uint32_t lower = states[16 * m + 8] >> (lane % 4);
    const std::uint32_t a[4] = {upper & low_bits, lower & low_bits, upper >> 4 & low_bits,
                                lower >> 4 & low_bits};
#pragma unroll
    for (int j = 0; j < 4; ++j) mma_int8(sums[m][j], a, b[j]);
  }
}

// Finishes the first 16 rows of `sums`.
template <class Finish, int m_tiles>
__device__ inline void finish_rows(const Finish& finish, const Digits& digits, int tile, Index first_row,
                                   Index rows, const RowFilter& filter, int lane,
                                   const int (&sums)[m_tiles][4][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const Index row = first_row + lane / 4 + 8 * half;
    const bool is_taken = row < rows && filter.takes(row);
    std::uint32_t word = 0;
    double total = 0;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int place = 16 * i + 4 * (lane % 4);
      const Index unit = Index{tile} * tile_units + place;
      const float4 step = *reinterpret_cast<const float4*>(digits.step + unit);
      float x[4] = {static_cast<float>(sums[0][2 * i][2 * half]) * step.x,
                    static_cast<float>(sums[0][2 * i][2 * half + 1]) * step.y,
                    static_cast<float>(sums[0][2 * i + 1][2 * half]) * step.z,
                    static_cast<float>(sums[0][2 * i + 1][2 * half + 1]) * step.w};
      if (is_taken) word |= finish.finish(row, unit, finish.load(unit), x, total) << place;
    }
#pragma unroll
    for (int other = 1; other < 4; other *= 2) {
      word |= __shfl_xor_sync(~0u, word, other);
      if constexpr (Finish::has_sums) total += __shfl_xor_sync(~0u, total, other);
    }
    if (is_taken && lane % 4 == 0) finish.put(row, tile, word, total);
  }
}

template <class Finish, int m_tiles>
__global__ void __launch_bounds__(block_threads, 2)
    bits_kernel(const __grid_constant__ Digits digits, const __grid_constant__ ConstBits states,
                int n_columns, const __grid_constant__ RowFilter filter,
                const __grid_constant__ Finish finish) {
  auto* const slabs = shared_memory<std::uint32_t>();
  std::uint32_t* const words = slabs + stages * stage_words;  // (digits.words, block rows)
  constexpr int rows_here = block_rows<m_tiles>;
  const auto thread = static_cast<int>(threadIdx.x);
  const int lane = thread % 32;
  const int warp = thread / 32;
  const Index first_row = Index{blockIdx.x / static_cast<unsigned>(n_columns)} * rows_here;
  const auto column = static_cast<int>(blockIdx.x % static_cast<unsigned>(n_columns));
  const int first_tile = column * warps_of_units;
  if (filter.is_real != nullptr) {
    int any = 0;
    for (int r = thread; r < rows_here; r += block_threads)
      any |= first_row + r < states.rows && filter.takes(first_row + r) ? 1 : 0;
    if (__syncthreads_or(any) == 0) return;
  }

  // The upper digit is left out where neither tile has it.
  int skipped = 1;
  for (int i = 0; i < warps_of_units; ++i)
    if (first_tile + i < digits.tiles)
      skipped = min(skipped, static_cast<int>(digits.n_skipped[first_tile + i]));
  const int first_slab = skipped * digits.words;
  const int n_slabs = n_digits * digits.words - first_slab;

  for (int i = thread; i < digits.words * rows_here; i += block_threads) {
    const int r = i % rows_here;
    const bool is_there = first_row + r < states.rows;
    copy_async<4>(words + i, states.data + (is_there ? i / rows_here * states.stride + first_row + r : 0),
                  is_there);
  }
#pragma unroll
  for (int s = 0; s < stages - 1; ++s) copy_stage(digits, first_tile, first_slab, n_slabs, s, slabs);

  int sums[m_tiles][4][4] = {};
  const int own_tile = warp % warps_of_units;
  const int own_row = warp / warps_of_units * 16 * m_tiles;
  const int n_stages = (n_slabs + stage_slabs - 1) / stage_slabs;
  int word = 0;
  for (int s = 0; s < n_stages; ++s) {
    wait_for_copies<stages - 2>();
    __syncthreads();
    copy_stage(digits, first_tile, first_slab, n_slabs, s + stages - 1, slabs);
    const std::uint32_t* const stage = slabs + (s % stages) * stage_words + own_tile * slab_words;
#pragma unroll
    for (int k = 0; k < stage_slabs; ++k) {
      if (s * stage_slabs + k >= n_slabs) break;
      if (word == digits.words) {  // the next digit
        word = 0;
#pragma unroll
        for (int m = 0; m < m_tiles; ++m)
#pragma unroll
          for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int i = 0; i < 4; ++i)
              sums[m][j][i] = static_cast<int>(static_cast<unsigned>(sums[m][j][i]) << 8);
      }
      add_slab<m_tiles>(stage + k * warps_of_units * slab_words,
                        words + word * rows_here + own_row + lane / 4, lane, sums);
      ++word;
    }
  }
  wait_for_copies<0>();

  const int tile = first_tile + own_tile;
  if (tile >= digits.tiles) return;
#pragma unroll 1
  for (int m = 0; m < m_tiles; ++m) {
    finish_rows(finish, digits, tile, first_row + own_row + 16 * m, states.rows, filter, lane, sums);
    // The next rows take the first ones' place: registers have no index at run time.
#pragma unroll
    for (int n = 0; n + 1 < m_tiles; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[n][j][i] = sums[n + 1][j][i];
  }
}

}  // namespace detail

// Whether the rows' words of states fit on chip.
[[nodiscard]] inline bool fits_tensor_cores(Index words) {
  return shared_bytes<1>(words) <= device().shared_per_block;
}

template <class Finish, int m_tiles>
void launch_bits(const Digits& digits, const ConstBits& states, const RowFilter& filter, const Finish& finish,
                 Stream& stream) {
  const Index columns = ceil_div(digits.tiles, warps_of_units);
  const Index blocks = columns * ceil_div(states.rows, block_rows<m_tiles>);
  launch(detail::bits_kernel<Finish, m_tiles>, static_cast<unsigned>(blocks), block_threads,
         shared_bytes<m_tiles>(digits.words), stream, digits, states, static_cast<int>(columns), filter,
         finish);
}

template <class Finish>
void multiply_bits(const Digits& digits, const ConstBits& states, const RowFilter& filter,
                   const Finish& finish, Stream& stream) {
  // Large blocks read the weights less often: where two fit on a multiprocessor, and all have blocks.
  const Index columns = ceil_div(digits.tiles, warps_of_units);
  const bool is_large = columns * ceil_div(states.rows, block_rows<4>) >= 2 * device().multiprocessors &&
                        2 * (shared_bytes<4>(digits.words) + 1024) <= device().shared_per_multiprocessor;
  if (is_large) {
    launch_bits<Finish, 4>(digits, states, filter, finish, stream);
  } else {
    launch_bits<Finish, 1>(digits, states, filter, finish, stream);
  }
}

// --- chains of multiply-adds

// Weights (depth, units) with rows of `stride` numbers.
template <class T>
struct Weights {
  const T* data;
  Index depth;
  Index units;
  Index stride;
};

namespace detail {

inline constexpr int chain_threads = 128;
inline constexpr int chain_tile = 64;   // rows, and units
inline constexpr int chain_depth = 16;  // of what is in shared memory at once
inline constexpr int chain_rows = 8;    // of a thread, which has four units of each
inline constexpr int chain_loads = chain_tile * chain_depth / chain_threads;

// The thread's part of the block's next numbers.
template <class T, bool are_bits>
__device__ inline void load_chain(const Weights<T>& weights, const StatesView<T>& states, Index rows,
                                  Index first_row, Index first_unit, Index k0, T (&x)[chain_loads],
                                  T (&w)[chain_loads]) {
  const auto thread = static_cast<int>(threadIdx.x);
  if constexpr (are_bits) {
    const Index row = first_row + thread % chain_tile;
    const bool is_there = row < rows && k0 < weights.depth;
    const std::uint32_t word = is_there ? states.bits(k0 / 32, row) : 0u;
    const int shift = static_cast<int>(k0 % 32) + thread / chain_tile * chain_loads;
#pragma unroll
    for (int i = 0; i < chain_loads; ++i) x[i] = static_cast<T>(word >> (shift + i) & 1u);
  } else {
#pragma unroll
    for (int i = 0; i < chain_loads; ++i) {
      const int place = i * chain_threads + thread;
      const Index row = first_row + place / chain_depth;
      const Index k = k0 + place % chain_depth;
      x[i] = row < rows && k < weights.depth ? states.real(row, k) : T(0);
    }
  }
#pragma unroll
  for (int i = 0; i < chain_loads; ++i) {
    const int place = i * chain_threads + thread;
    const Index k = k0 + place / chain_tile;
    const Index unit = first_unit + place % chain_tile;
    w[i] = k < weights.depth && unit < weights.units ? weights.data[k * weights.stride + unit] : T(0);
  }
}

template <class T>
struct ChainTile {
  static constexpr int row_stride = chain_tile + 4;
  T x[chain_depth][row_stride];
  T w[chain_depth][chain_tile];
};

template <class T, bool are_bits>
__device__ inline void store_chain(ChainTile<T>& tile, const T (&x)[chain_loads], const T (&w)[chain_loads]) {
  const auto thread = static_cast<int>(threadIdx.x);
#pragma unroll
  for (int i = 0; i < chain_loads; ++i) {
    const int place = i * chain_threads + thread;
    if constexpr (are_bits) {
      tile.x[thread / chain_tile * chain_loads + i][thread % chain_tile] = x[i];
    } else {
      tile.x[place % chain_depth][place / chain_depth] = x[i];
    }
    tile.w[place / chain_tile][place % chain_tile] = w[i];
  }
}

__device__ inline float multiply_add(float a, float b, float c) { return __fmaf_rn(a, b, c); }
__device__ inline double multiply_add(double a, double b, double c) { return __fma_rn(a, b, c); }

// Of bits the sums of four units each are added up, of real numbers there is one chain.
template <class T, bool are_bits>
__device__ inline void add_chain(const ChainTile<T>& tile, int row, int unit, T (&sums)[chain_rows][4]) {
  constexpr int group = are_bits ? 4 : 1;
#pragma unroll 1
  for (int k = 0; k < chain_depth; k += group) {
    T part[chain_rows][4] = {};
#pragma unroll
    for (int g = 0; g < group; ++g) {
      T w[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) w[i] = tile.w[k + g][unit + i];
#pragma unroll
      for (int r = 0; r < chain_rows; ++r) {
        const T x = tile.x[k + g][row + r];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if constexpr (are_bits) {
            part[r][i] = multiply_add(x, w[i], part[r][i]);
          } else {
            sums[r][i] = multiply_add(x, w[i], sums[r][i]);
          }
        }
      }
    }
    if constexpr (are_bits)
#pragma unroll
      for (int r = 0; r < chain_rows; ++r)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[r][i] += part[r][i];
  }
}

template <class T, bool are_bits, class Finish>
__global__ void __launch_bounds__(chain_threads)
    chain_kernel(const __grid_constant__ Weights<T> weights, const __grid_constant__ StatesView<T> states,
                 Index rows, int n_columns, const __grid_constant__ RowFilter filter,
                 const __grid_constant__ Finish finish) {
  __shared__ ChainTile<T> tile;
  const auto thread = static_cast<int>(threadIdx.x);
  const Index first_row = Index{blockIdx.x / static_cast<unsigned>(n_columns)} * chain_tile;
  const Index first_unit = Index{blockIdx.x % static_cast<unsigned>(n_columns)} * chain_tile;
  if (filter.is_real != nullptr) {
    const Index row = first_row + thread;
    const int any = thread < chain_tile && row < rows && filter.takes(row) ? 1 : 0;
    if (__syncthreads_or(any) == 0) return;
  }
  const int unit = thread % 16 * 4;
  const int row = thread / 16 * chain_rows;
  T sums[chain_rows][4] = {};
  T x[chain_loads];
  T w[chain_loads];
  load_chain<T, are_bits>(weights, states, rows, first_row, first_unit, 0, x, w);
  for (Index k = 0; k < weights.depth; k += chain_depth) {
    __syncthreads();
    store_chain<T, are_bits>(tile, x, w);
    __syncthreads();
    if (k + chain_depth < weights.depth)
      load_chain<T, are_bits>(weights, states, rows, first_row, first_unit, k + chain_depth, x, w);
    add_chain<T, are_bits>(tile, row, unit, sums);
  }
  const auto values = finish.load(first_unit + unit);
#pragma unroll 1
  for (int r = 0; r < chain_rows; ++r) {
    const Index at = first_row + row + r;
    const bool is_taken = at < rows && filter.takes(at);
    double total = 0;
    std::uint32_t word = 0;
    if (is_taken) word = finish.finish(at, first_unit + unit, values, sums[0], total) << (unit % 32);
#pragma unroll
    for (int other = 1; other < 8; other *= 2) {
      word |= __shfl_xor_sync(~0u, word, other);
      if constexpr (Finish::has_sums) total += __shfl_xor_sync(~0u, total, other);
    }
    const Index own_tile = (first_unit + unit) / tile_units;
    if (is_taken && unit % 32 == 0 && own_tile * tile_units < weights.units)
      finish.put(at, own_tile, word, total);
#pragma unroll
    for (int n = 0; n + 1 < chain_rows; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) sums[n][i] = sums[n + 1][i];
  }
}

}  // namespace detail

template <class T, bool are_bits, class Finish>
void multiply_chain(const Weights<T>& weights, const StatesView<T>& states, Index rows,
                    const RowFilter& filter, const Finish& finish, Stream& stream) {
  const Index columns = ceil_div(weights.units, detail::chain_tile);
  const Index blocks = columns * ceil_div(rows, detail::chain_tile);
  launch(detail::chain_kernel<T, are_bits, Finish>, static_cast<unsigned>(blocks), detail::chain_threads, 0,
         stream, weights, states, rows, static_cast<int>(columns), filter, finish);
}

}  // namespace thalweg::cuda::rbm
