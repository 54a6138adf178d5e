// The gradient in the filters as an implicit matrix product.
//
// gradient[k, tap] = sum_p codes[k, p] images[p + place(tap)] is the product of the codes, (K, pixels), with
// a matrix (pixels, taps) whose elements are read where they lie in a patch of the image. A block sums 64
// filters and up to 192 taps over some tiles of 128 pixels; its warps take 24 taps each. The next tile comes
// in while one is summed, where shared memory holds both: not in double on devices of 99 KB. Sums of a tile
// are added to those of the block in the operands' type, and the blocks' sums to each other in double, in a
// fixed order.
//
// The roof: as in correlation.cuh; both operands are split in the loop, one of them rounded. Codes are read
// once for every 192 taps, images once for every 64 filters.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <type_traits>

#include "cuda/async.cuh"
#include "cuda/conv_geometry.hpp"
#include "cuda/fragments.cuh"
#include "cuda/launch.hpp"
#include "cuda/memory.hpp"

namespace thalweg::cuda {

struct FilterGradientPlan {
  ConvSizes s;
  TapBoxes boxes;
  int filter_blocks = 0;             // of 64 filters
  int tile_rows = 0, tile_cols = 0;  // pixels of a tile
  int tiles_down = 0, tiles_across = 0;
  int patch_rows = 0, patch_cols = 0;
  int parts = 1;    // blocks that share the tiles
  int buffers = 1;  // tiles in use or under way, of a block: 1 or 2
  std::size_t shared_bytes = 0;

  [[nodiscard]] __host__ __device__ Index tiles() const { return s.n * tiles_down * tiles_across; }
  [[nodiscard]] __host__ __device__ int patch_size() const {
    return boxes.channels * patch_rows * patch_cols;
  }
};

namespace filter_gradients {

constexpr int block_size = 256;
constexpr int warps = block_size / 32;
constexpr int filters_of_block = 64;
constexpr int strips = filters_of_block / 16;
constexpr int blocks_across = 3;  // of 8 taps, of a warp
constexpr int taps_of_warp = 8 * blocks_across;
constexpr int most_taps = taps_of_warp * warps;
constexpr int pixels = 128;
constexpr int codes_stride = pixels + 4;
constexpr int sums_of_block = filters_of_block * most_taps;

template <class T>
__device__ void load_codes(const FilterGradientPlan& plan, const T* codes, Index image, int filter, int y,
                           int x, T* staged) {
  const ConvSizes& s = plan.s;
  for (int at = static_cast<int>(threadIdx.x); at < filters_of_block * pixels; at += block_size) {
    const int k = at / pixels;
    const int row = at % pixels / plan.tile_cols;
    const int col = at % pixels % plan.tile_cols;
    const bool is_there = filter + k < s.filters && y + row < s.code_height && x + col < s.code_width;
    copy_async<sizeof(T)>(staged + k * codes_stride + at % pixels,
                          codes + (is_there ? s.code_at(image, filter + k, y + row, x + col) : 0), is_there);
  }
}

template <class T>
__device__ void load_patch(const FilterGradientPlan& plan, const TapCorner& corner, const T* images,
                           Index image, int y, int x, T* patch) {
  const ConvSizes& s = plan.s;
  const int rows = plan.boxes.channels * plan.patch_rows;
  for (int r = static_cast<int>(threadIdx.x / 32); r < rows; r += warps) {
    const int channel = corner.channel + r / plan.patch_rows;
    const int at_y = around(y - s.top + corner.row + r % plan.patch_rows, s.height, s.is_circular);
    const bool has_row = channel < s.channels && at_y >= 0 && at_y < s.height;
    const T* const row = images + (has_row ? s.image_at(image, channel, at_y, 0) : 0);
    for (int c = static_cast<int>(threadIdx.x % 32); c < plan.patch_cols; c += 32) {
      const int at_x = around(x - s.left + corner.col + c, s.width, s.is_circular);
      const bool is_there = has_row && at_x >= 0 && at_x < s.width;
      copy_async<sizeof(T)>(patch + r * plan.patch_cols + c, row + (is_there ? at_x : 0), is_there);
    }
  }
}

// Block (part, block of filters, box): its sums of codes times images, at [box][block of filters][part].
template <class T>
__global__ void __launch_bounds__(block_size, 1)
    kernel(const __grid_constant__ FilterGradientPlan plan, const T* codes, const T* images, T* parts) {
  const ConvSizes& s = plan.s;
  T* const shared = shared_memory<T>();
  const int buffer_size = filters_of_block * codes_stride + plan.patch_size();
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int first_filter = static_cast<int>(blockIdx.y) * filters_of_block;
  const int busy_strips = min(strips, (s.filters - first_filter + 15) / 16);
  const auto chunk = static_cast<int>(blockIdx.z);
  const TapCorner corner = corner_of(plan.boxes, chunk);
  const bool is_busy = warp * taps_of_warp < plan.boxes.taps();
  int places[blocks_across];
#pragma unroll
  for (int b = 0; b < blocks_across; ++b)
    places[b] =
        tap_place(plan.boxes, warp * taps_of_warp + 8 * b + lane / 4, plan.patch_rows, plan.patch_cols);
  const auto load = [&](Index tile, T* staged) {
    if (tile >= plan.tiles()) return;
    const Index row_of_tiles = tile / plan.tiles_across;
    const Index image = row_of_tiles / plan.tiles_down;
    const int y = static_cast<int>(row_of_tiles % plan.tiles_down) * plan.tile_rows;
    const int x = static_cast<int>(tile % plan.tiles_across) * plan.tile_cols;
    load_codes(plan, codes, image, first_filter, y, x, staged);
    load_patch(plan, corner, images, image, y, x, staged + filters_of_block * codes_stride);
    commit_copies();
  };
  T totals[strips][blocks_across][4] = {};
  int ahead = 0;  // where the next tile goes
  load(blockIdx.x, shared);
  for (Index tile = blockIdx.x; tile < plan.tiles(); tile += plan.parts) {
    const T* const staged = shared + ahead;
    const T* const patch = staged + filters_of_block * codes_stride;
    wait_for_copies<0>();
    __syncthreads();  // and nobody reads the last tile any more
    if (plan.buffers == 2) {
      ahead = buffer_size - ahead;
      load(tile + plan.parts, shared + ahead);
    }
    if (is_busy) {
      T sums[strips][blocks_across][4] = {};
      for (int pixel = 0; pixel < pixels; pixel += 8) {
        const T* const of_pixel =
            patch + pixel / plan.tile_cols * plan.patch_cols + pixel % plan.tile_cols + lane % 4;
        Parts<T, 2> right[blocks_across];
#pragma unroll
        for (int b = 0; b < blocks_across; ++b) {
          const T both[2] = {of_pixel[places[b]], of_pixel[places[b] + 4]};
          right[b] = split(both);
        }
        const T* const of_codes = staged + lane / 4 * codes_stride + pixel + lane % 4;
#pragma unroll
        for (int strip = 0; strip < strips; ++strip) {
          if (strip >= busy_strips) continue;
          const T* const at = of_codes + strip * 16 * codes_stride;
          const T x4[4] = {at[0], at[8 * codes_stride], at[4], at[8 * codes_stride + 4]};
          multiply(sums[strip], split_rounded(x4), right);
        }
      }
#pragma unroll
      for (int strip = 0; strip < strips; ++strip)
#pragma unroll
        for (int b = 0; b < blocks_across; ++b)
#pragma unroll
          for (int i = 0; i < 4; ++i) totals[strip][b][i] += sums[strip][b][i];
    }
    if (plan.buffers == 1) {
      __syncthreads();
      load(tile + plan.parts, shared);
    }
  }
  T* const to =
      parts + ((Index{chunk} * plan.filter_blocks + blockIdx.y) * plan.parts + blockIdx.x) * sums_of_block;
#pragma unroll
  for (int strip = 0; strip < strips; ++strip)
#pragma unroll
    for (int b = 0; b < blocks_across; ++b)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int k = strip * 16 + lane / 4 + 8 * (i / 2);
        const int tap = warp * taps_of_warp + 8 * b + 2 * (lane % 4) + i % 2;
        to[k * most_taps + tap] = totals[strip][b][i];
      }
}

// gradient = scale * the sum over the parts, or is increased by it.
template <class T, class U>
__global__ void __launch_bounds__(block_size)
    reduce_kernel(const __grid_constant__ FilterGradientPlan plan, const T* parts, double scale,
                  bool is_added, U* gradient) {
  const ConvSizes& s = plan.s;
  const TapBoxes& boxes = plan.boxes;
  const Index size = Index{s.filters} * s.channels * s.filter_height * s.filter_width;
  for (Index at = Index{blockIdx.x} * block_size + threadIdx.x; at < size;
       at += Index{gridDim.x} * block_size) {
    const auto col = static_cast<int>(at % s.filter_width);
    const auto row = static_cast<int>(at / s.filter_width % s.filter_height);
    const Index outer = at / s.filter_width / s.filter_height;
    const auto channel = static_cast<int>(outer % s.channels);
    const auto k = static_cast<int>(outer / s.channels);
    const Index chunk =
        (Index{channel / boxes.channels} * boxes.across_rows + row / boxes.rows) * boxes.across_cols +
        col / boxes.cols;
    const int tap =
        (channel % boxes.channels * boxes.rows + row % boxes.rows) * boxes.cols + col % boxes.cols;
    const T* const of_block =
        parts + (chunk * plan.filter_blocks + k / filters_of_block) * plan.parts * sums_of_block +
        k % filters_of_block * most_taps + tap;
    double sum = 0;
    for (int p = 0; p < plan.parts; ++p) sum += static_cast<double>(of_block[Index{p} * sums_of_block]);
    gradient[at] = static_cast<U>(is_added ? static_cast<double>(gradient[at]) + scale * sum : scale * sum);
  }
}

// With boxes of at most `most` taps.
template <class T>
FilterGradientPlan plan_of(const ConvSizes& s, int most) {
  constexpr int most_patch = (96 << 10) / static_cast<int>(sizeof(T));  // elements
  FilterGradientPlan plan;
  plan.s = s;
  plan.boxes = boxes_of(s, most, most_patch / (4 * pixels));
  plan.filter_blocks = ceil_div(s.filters, filters_of_block);
  plan.tile_rows = s.code_height < 4 ? 1 : 4;
  plan.tile_cols = pixels / plan.tile_rows;
  plan.tiles_down = ceil_div(s.code_height, plan.tile_rows);
  plan.tiles_across = ceil_div(s.code_width, plan.tile_cols);
  plan.patch_rows = plan.tile_rows + plan.boxes.rows - 1;
  plan.patch_cols = plan.tile_cols + plan.boxes.cols - 1;
  plan.shared_bytes =
      static_cast<std::size_t>(filters_of_block * codes_stride + plan.patch_size()) * sizeof(T);
  return plan;
}

// For blocks that may have `room` bytes of shared memory: as many taps as fit, and two tiles where they fit.
template <class T>
FilterGradientPlan plan_for(const ConvSizes& s, std::size_t room) {
  FilterGradientPlan plan = plan_of<T>(s, most_taps);
  for (int most = most_taps - 8; plan.shared_bytes > room && most > 0; most -= 8) plan = plan_of<T>(s, most);
  if (2 * plan.shared_bytes <= room) {
    plan.buffers = 2;
    plan.shared_bytes *= 2;
  }
  return plan;
}

}  // namespace filter_gradients

// Gradients in the filters for codes and images of one shape.
template <class T>
class FilterGradient {
 public:
  FilterGradient(const ConvSizes& s, Stream& stream) {
    using namespace filter_gradients;
    plan_ = plan_for<T>(s, device().shared_per_block);
    require_shared(plan_.shared_bytes, s);
    require(plan_.filter_blocks < (1 << 16) && plan_.boxes.count() < (1 << 16), "filters: ", s.filters,
            " of ", s.filter_height, " x ", s.filter_width, " are more than device='cuda' takes");
    // No sum of a block is longer than 64 tiles while the parts' memory stays small.
    const Index others = Index{plan_.filter_blocks} * plan_.boxes.count();
    const Index fewest = thalweg::cuda::ceil_div(Index{2} * device().multiprocessors, others);
    const Index most = std::max<Index>(fewest, (Index{1} << 26) / (others * sums_of_block));
    const Index for_length = std::max(fewest, thalweg::cuda::ceil_div(plan_.tiles(), Index{64}));
    plan_.parts =
        static_cast<int>(std::clamp<Index>(std::min(for_length, most), 1, std::max<Index>(1, plan_.tiles())));
    parts_ = Buffer<T>(others * plan_.parts * sums_of_block, stream);
  }

  // gradient = scale * (codes, images), or += it.
  template <class U>
  void operator()(const T* codes, const T* images, double scale, bool is_added, U* gradient,
                  Stream& stream) const {
    using namespace filter_gradients;
    launch(kernel<T>,
           dim3(static_cast<unsigned>(plan_.parts), static_cast<unsigned>(plan_.filter_blocks),
                static_cast<unsigned>(plan_.boxes.count())),
           block_size, plan_.shared_bytes, stream, plan_, codes, images, parts_.data());
    const auto reduce = reduce_kernel<T, U>;
    launch(reduce,
           grid_for(reduce, thalweg::cuda::ceil_div(plan_.s.filter_size(), Index{block_size}), block_size, 0),
           block_size, 0, stream, plan_, parts_.data(), scale, is_added, gradient);
  }

 private:
  FilterGradientPlan plan_;
  Buffer<T> parts_;
};

}  // namespace thalweg::cuda
