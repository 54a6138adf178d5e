// ISTA and FISTA for few atoms, in single precision from an anchor: a block keeps a tile of 32 rows on chip
// through a whole stretch of iterations, and goes on to the next tile.
//
// A warp owns 32 columns. Their codes stay in its registers, in the places that the product leaves its sums
// in; the Gram matrix (bfloat16, once a block) and the way y - z0, the left operand, are in shared memory, as
// are start and anchor. With K = 256 that is 213 KiB.
//
// The roof: an iteration of a tile takes 32 K^2 multiply-adds on tensor cores, of which mma.sync reaches
// about 60 % of the rate, 1,650 cycles for K = 256; 2,050 cycles of shared memory for the fragments (a
// column's Gram matrix once, the way once a warp: 128 bytes a cycle); and some 1,300 cycles for 20
// instructions an element. Global memory sees 10 K bytes in and 6 K out a row and stretch, nothing an
// iteration.
#include <cmath>
#include <cstddef>

#include "core/lasso_numbers.hpp"
#include "cuda/lasso_iterate.hpp"
#include "cuda/launch.hpp"
#include "cuda/mma.cuh"

namespace thalweg::cuda {
namespace {

constexpr int warp_size = 32;
constexpr int tile_rows = 32;
constexpr int warp_columns = 32;
constexpr int most_warps = 8;
constexpr int slices = tile_rows / 16;          // of 16 rows, as an mma has them
constexpr int column_tiles = warp_columns / 8;  // of 8 columns
constexpr int halves = 2;                       // of a slice: rows g and g + 8
constexpr int row_padding =
    8;  // numbers after a row in shared memory, so that eight rows lie in different banks

struct TileArguments {
  LassoRows<float> rows;
  const Bfloat16* gram;  // (stride, stride)
  Index stride;
  Index count;
  Index iterations;
  float step;
  bool positive;
  bool is_accelerated;
  bool has_restarts;
};

// start and anchor of two neighbours.
struct alignas(16) Anchor {
  float start[2];
  float code[2];
};

// A block's shared memory.
struct TileMemory {
  Bfloat16* gram;  // (stride, stride + row_padding)
  Bfloat16* way;   // (tile_rows, stride + row_padding)
  Anchor* anchor;  // (slices * column_tiles * halves, threads)
  float* turn;     // (warps, tile_rows)

  __device__ TileMemory(unsigned char* memory, int stride) {
    const int row = stride + row_padding;
    gram = reinterpret_cast<Bfloat16*>(memory);
    way = gram + stride * row;
    anchor = reinterpret_cast<Anchor*>(way + tile_rows * row);
    turn = reinterpret_cast<float*>(anchor + slices * column_tiles * halves * stride);
  }
};

std::size_t tile_bytes(Index stride) {
  const Index row = stride + row_padding;
  const Index bytes = (stride + tile_rows) * row * static_cast<Index>(sizeof(Bfloat16)) +
                      slices * column_tiles * halves * stride * static_cast<Index>(sizeof(Anchor)) +
                      stride / warp_columns * tile_rows * static_cast<Index>(sizeof(float));
  return static_cast<std::size_t>(bytes);
}

// The codes of a warp's columns in its registers: [slice][column tile][half][neighbour].
using Fragments = float[slices][column_tiles][4];

// sums = way gram, of this warp's columns.
__device__ void multiply(const TileMemory& memory, int stride, int first_column, Fragments& sums) {
  const int row = stride + row_padding;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int r = lane % 8;
  const int matrix = lane / 8;
  // Lane 8 i + r names row r of matrix i: of the left operand (rows, depth) by turns, of the right the depth
  // first. The Gram matrix is symmetric: its rows serve as columns.
  const Bfloat16* const left = memory.way + (r + 8 * (matrix % 2)) * row + 8 * (matrix / 2);
  const Bfloat16* const right = memory.gram + (first_column + r + 8 * (matrix / 2)) * row + 8 * (matrix % 2);
#pragma unroll
  for (int m = 0; m < slices; ++m)
#pragma unroll
    for (int t = 0; t < column_tiles; ++t)
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[m][t][e] = 0;
#pragma unroll 2
  for (int depth = 0; depth < stride; depth += 16) {
    std::uint32_t a[slices][4];
    std::uint32_t b[column_tiles / 2][4];
#pragma unroll
    for (int m = 0; m < slices; ++m) load_matrices(a[m], left + 16 * m * row + depth);
#pragma unroll
    for (int t = 0; t < column_tiles / 2; ++t) load_matrices(b[t], right + 16 * t * row + depth);
#pragma unroll
    for (int m = 0; m < slices; ++m) {
#pragma unroll
      for (int t = 0; t < column_tiles; ++t) {
        const std::uint32_t columns[2] = {b[t / 2][2 * (t % 2)], b[t / 2][2 * (t % 2) + 1]};
        mma_bf16(sums[m][t], a[m], columns);
      }
    }
  }
}

__device__ float shrunk(float v, float threshold, bool positive) {
  const float above = v - threshold;
  if (above > 0) return above;
  const float below = v + threshold;
  return positive || !(below < 0) ? 0.0F : below;
}

// `shares_thresholds`: those of the thread's columns are in registers.
template <bool shares_thresholds>
__global__ void __launch_bounds__(most_warps* warp_size, 1)
    tile_kernel(const __grid_constant__ TileArguments s) {
  const int stride = static_cast<int>(s.stride);
  const TileMemory memory(shared_memory<unsigned char>(), stride);
  const int row = stride + row_padding;
  const int thread = static_cast<int>(threadIdx.x);
  const int n_warps = static_cast<int>(blockDim.x) / warp_size;
  const int warp = thread / warp_size;
  const int g = thread % warp_size / 4;
  const int first_column = warp * warp_columns;
  const int my_column = first_column + 2 * (thread % 4);  // of column tile 0, and its neighbour

  for (int i = thread * 8; i < stride * stride; i += static_cast<int>(blockDim.x) * 8)
    *reinterpret_cast<uint4*>(memory.gram + i / stride * row + i % stride) =
        *reinterpret_cast<const uint4*>(s.gram + i);
  float threshold[column_tiles][2];
  if constexpr (shares_thresholds) {
#pragma unroll
    for (int t = 0; t < column_tiles; ++t) {
      threshold[t][0] = s.rows.threshold[my_column + 8 * t];
      threshold[t][1] = s.rows.threshold[my_column + 8 * t + 1];
    }
  }

  for (Index first = Index{blockIdx.x} * tile_rows; first < s.count; first += Index{gridDim.x} * tile_rows) {
    Fragments code;
    float momentum[slices][halves];
    float threshold_factor[slices][halves];
#pragma unroll
    for (int m = 0; m < slices; ++m) {
#pragma unroll
      for (int h = 0; h < halves; ++h) {
        const int in_tile = 16 * m + 8 * h + g;
        const Index p = first + in_tile;
        const bool is_row = p < s.count;
        momentum[m][h] = is_row ? static_cast<float>(s.rows.row[p].momentum) : 1.0F;
        threshold_factor[m][h] = is_row ? static_cast<float>(s.rows.row[p].threshold_factor) : 1.0F;
#pragma unroll
        for (int t = 0; t < column_tiles; ++t) {
          const int column = my_column + 8 * t;
          const Index at = p * s.stride + column;
          float2 z = make_float2(0, 0);
          float2 start = make_float2(0, 0);
          std::uint32_t way = 0;
          if (is_row) {
            z = *reinterpret_cast<const float2*>(s.rows.codes + at);
            start = *reinterpret_cast<const float2*>(s.rows.start + at);
            way = *reinterpret_cast<const std::uint32_t*>(s.rows.way + at);
          }
          code[m][t][2 * h] = z.x;
          code[m][t][2 * h + 1] = z.y;
          const int slot = (m * column_tiles + t) * halves + h;
          memory.anchor[slot * stride + thread] = Anchor{{start.x, start.y}, {z.x, z.y}};
          *reinterpret_cast<std::uint32_t*>(memory.way + in_tile * row + column) = way;
        }
      }
    }
    __syncthreads();

    for (Index iteration = 0; iteration < s.iterations; ++iteration) {
      const bool is_last = iteration + 1 == s.iterations;
      Fragments next;
      multiply(memory, stride, first_column, next);
#pragma unroll
      for (int m = 0; m < slices; ++m) {
#pragma unroll
        for (int h = 0; h < halves; ++h) {
          const int in_tile = 16 * m + 8 * h + g;
          float turn = 0;
#pragma unroll
          for (int t = 0; t < column_tiles; ++t) {
            const Anchor anchor = memory.anchor[((m * column_tiles + t) * halves + h) * stride + thread];
            const std::uint32_t way =
                *reinterpret_cast<const std::uint32_t*>(memory.way + in_tile * row + my_column + 8 * t);
            const float from[2] = {first_of_bf16(way), second_of_bf16(way)};
            float limit[2];
            if constexpr (shares_thresholds) {
              limit[0] = threshold[t][0] * threshold_factor[m][h];
              limit[1] = threshold[t][1] * threshold_factor[m][h];
            } else {
              const Index p = min(first + in_tile, s.count - 1);
              const float2 own = *reinterpret_cast<const float2*>(
                  s.rows.threshold + p * s.rows.threshold_stride + my_column + 8 * t);
              limit[0] = own.x;
              limit[1] = own.y;
            }
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              float& sum = next[m][t][2 * h + e];
              const float z = shrunk(anchor.start[e] + from[e] - s.step * sum, limit[e], s.positive);
              turn += (anchor.code[e] + from[e] - z) * (z - code[m][t][2 * h + e]);
              sum = z;
            }
          }
          turn += __shfl_xor_sync(~0U, turn, 1);
          turn += __shfl_xor_sync(~0U, turn, 2);
          if (thread % 4 == 0) memory.turn[warp * tile_rows + in_tile] = turn;
        }
      }
      __syncthreads();  // all have read the way, and the turns are there
#pragma unroll
      for (int m = 0; m < slices; ++m) {
#pragma unroll
        for (int h = 0; h < halves; ++h) {
          const int in_tile = 16 * m + 8 * h + g;
          float later = 0.5F * (1.0F + std::sqrt(1.0F + 4.0F * momentum[m][h] * momentum[m][h]));
          float factor = s.is_accelerated ? (momentum[m][h] - 1.0F) / later : 0.0F;
          if (s.has_restarts) {
            float turn = 0;
            for (int w = 0; w < n_warps; ++w) turn += memory.turn[w * tile_rows + in_tile];
            if (turn > 0) {  // the momentum points uphill
              later = static_cast<float>(next_momentum(1.0));
              factor = 0;
            }
          }
          momentum[m][h] = later;
#pragma unroll
          for (int t = 0; t < column_tiles; ++t) {
            const Anchor anchor = memory.anchor[((m * column_tiles + t) * halves + h) * stride + thread];
            float way[2];
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              const float z = next[m][t][2 * h + e];
              const float change = factor * (z - code[m][t][2 * h + e]);
              way[e] = is_last ? change : z + change - anchor.code[e];  // the new codes will be the anchor
              code[m][t][2 * h + e] = z;
            }
            *reinterpret_cast<std::uint32_t*>(memory.way + in_tile * row + my_column + 8 * t) =
                pack_bf16(way[0], way[1]);
          }
        }
      }
      __syncthreads();  // the way is there, and all have read the turns
    }

#pragma unroll
    for (int m = 0; m < slices; ++m) {
#pragma unroll
      for (int h = 0; h < halves; ++h) {
        const int in_tile = 16 * m + 8 * h + g;
        const Index p = first + in_tile;
        if (p >= s.count) continue;
        if (my_column == 0) s.rows.row[p].momentum = static_cast<double>(momentum[m][h]);
#pragma unroll
        for (int t = 0; t < column_tiles; ++t) {
          const int column = my_column + 8 * t;
          const Index at = p * s.stride + column;
          *reinterpret_cast<float2*>(s.rows.codes + at) =
              make_float2(code[m][t][2 * h], code[m][t][2 * h + 1]);
          *reinterpret_cast<std::uint32_t*>(s.rows.way + at) =
              *reinterpret_cast<const std::uint32_t*>(memory.way + in_tile * row + column);
        }
      }
    }
  }
}

}  // namespace

bool fits_tiles(Index stride) {
  return stride <= most_warps * warp_columns && tile_bytes(stride) <= device().shared_per_block;
}

void iterate_tiles(const LassoProblem<float>& problem, const CodingDictionary<float>::Prepared& dictionary,
                   LassoRows<float> rows, const LassoStretch& stretch, Stream& stream) {
  TileArguments s{};
  s.rows = rows;
  s.gram = dictionary.rough_gram.data();
  s.stride = problem.stride;
  s.count = stretch.count;
  s.iterations = stretch.iterations;
  s.step = static_cast<float>(1.0 / problem.lipschitz);
  s.positive = problem.positive;
  s.is_accelerated = stretch.is_accelerated;
  s.has_restarts = stretch.has_restarts;
  auto* const kernel = rows.threshold_stride == 0 ? tile_kernel<true> : tile_kernel<false>;
  const auto threads = static_cast<unsigned>(problem.stride / warp_columns * warp_size);
  const std::size_t bytes = tile_bytes(problem.stride);
  const Index tiles = ceil_div(stretch.count, tile_rows);
  launch(kernel, grid_for(kernel, tiles, threads, bytes), threads, bytes, stream, s);
}

}  // namespace thalweg::cuda
