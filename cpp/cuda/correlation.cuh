// Correlation of images with filters as an implicit matrix product, and what is done with each of its
// results.
//
// codes[k, p] = sum_tap filters[k, tap] images[p + place(tap)] is the product of the filters, (K, taps), with
// a matrix (taps, pixels) that is never made: its elements are read where they lie in a patch of the image in
// shared memory. A warp computes 64 filters at 32 neighbouring pixels (16 in double), a block of 8 warps a
// tile of 256 pixels, and the filters, split and laid out as fragments, stay in shared memory from tile to
// tile where all their taps fit: 160 of them, or 130 to 144 where a block may have but 99 KB. Where they do
// not, they come with every tile, box of taps by box: 64 bytes from L2 for every 12 kFLOP on tensor cores.
//
// The roof: 2 K taps operations a pixel, three times over on tensor cores for float (180 to 250 TFLOP/s of
// mma.sync with tf32 on an H200), against the codes that the epilogue moves. With 64 filters of 12 x 12, 55 k
// operations and 768 bytes a pixel for FISTA: both take about 0.2 ns. Fragments of filters take 32 bytes a
// lane for 12 mma in shared memory, those of the image 4 for 3.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "cuda/async.cuh"
#include "cuda/conv_geometry.hpp"
#include "cuda/fragments.cuh"
#include "cuda/launch.hpp"
#include "cuda/memory.hpp"

namespace thalweg::cuda {

struct CorrelationPlan {
  ConvSizes s;
  TapBoxes boxes;
  int steps = 0;                     // of 8 taps in a box
  int strips = 0;                    // of 16 filters in a block, at most 4
  int filter_blocks = 0;             // of 64 filters
  int tile_rows = 0, tile_cols = 0;  // pixels of a block
  int tiles_down = 0, tiles_across = 0;
  int patch_rows = 0, patch_cols = 0;  // of a tile and one channel of a box
  unsigned grid = 1;
  std::size_t shared_bytes = 0;

  [[nodiscard]] __host__ __device__ Index tiles() const { return s.n * tiles_down * tiles_across; }
  [[nodiscard]] __host__ __device__ int fragment_size() const { return steps * strips * 64; }  // uint4
  [[nodiscard]] __host__ __device__ int patch_size() const {
    return boxes.channels * patch_rows * patch_cols;
  }
};

namespace correlation {

constexpr int block_size = 256;
constexpr int warps = block_size / 32;
constexpr int filters_of_block = 64;
constexpr int strips_of_block = filters_of_block / 16;
constexpr int most_taps = 160;

template <class T>
constexpr int blocks_across = sizeof(T) == 4 ? 4 : 2;  // of 8 pixels, of a warp
template <class T>
constexpr int pixels_of_warp = 8 * blocks_across<T>;
template <class T>
constexpr int pixels_of_block = pixels_of_warp<T> * warps;
template <class T>
constexpr int staged_stride = pixels_of_warp<T> + 8;  // rows of a warp's results, apart in the banks

// Filters (K, taps) as the fragments of left factors: [box][block of filters][step][strip][half][lane].
template <class T, class S>
__global__ void __launch_bounds__(block_size)
    pack_kernel(const CorrelationPlan plan, const S* filters, uint4* packed) {
  const ConvSizes& s = plan.s;
  const TapBoxes& boxes = plan.boxes;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const Index fragments = Index{boxes.count()} * plan.filter_blocks * plan.steps * plan.strips;
  const Index first = Index{blockIdx.x} * warps + threadIdx.x / 32;
  for (Index at = first; at < fragments; at += Index{gridDim.x} * warps) {
    const auto strip = static_cast<int>(at % plan.strips);
    const auto step = static_cast<int>(at / plan.strips % plan.steps);
    const Index outer = at / plan.strips / plan.steps;
    const auto block = static_cast<int>(outer % plan.filter_blocks);
    const TapCorner corner = corner_of(boxes, static_cast<int>(outer / plan.filter_blocks));
    T x[4];
    for (int i = 0; i < 4; ++i) {
      const int k = block * filters_of_block + strip * 16 + lane / 4 + 8 * (i % 2);
      const int tap = step * 8 + lane % 4 + 4 * (i / 2);
      const int col = corner.col + tap % boxes.cols;
      const int row = corner.row + tap / boxes.cols % boxes.rows;
      const int channel = corner.channel + tap / (boxes.cols * boxes.rows);
      const bool is_there = k < s.filters && tap < boxes.taps() && col < s.filter_width &&
                            row < s.filter_height && channel < s.channels;
      x[i] = T(0);
      if (is_there)
        x[i] = static_cast<T>(
            filters[((Index{k} * s.channels + channel) * s.filter_height + row) * s.filter_width + col]);
    }
    store_left(packed + at * 64, lane, split_rounded(x));
  }
}

// The patch of the image that a tile at code (y, x) and the box at `corner` see; zero outside of the image.
template <class S>
__device__ void load_patch(const CorrelationPlan& plan, const TapCorner& corner, const S* images, Index image,
                           int y, int x, S* patch) {
  const ConvSizes& s = plan.s;
  const int rows = plan.boxes.channels * plan.patch_rows;
  for (int r = static_cast<int>(threadIdx.x / 32); r < rows; r += warps) {
    const int channel = corner.channel + r / plan.patch_rows;
    const int at_y = around(y - s.top + corner.row + r % plan.patch_rows, s.height, s.is_circular);
    const bool has_row = channel < s.channels && at_y >= 0 && at_y < s.height;
    const S* const row = images + (has_row ? s.image_at(image, channel, at_y, 0) : 0);
    for (int c = static_cast<int>(threadIdx.x % 32); c < plan.patch_cols; c += 32) {
      const int at_x = around(x - s.left + corner.col + c, s.width, s.is_circular);
      const bool is_there = has_row && at_x >= 0 && at_x < s.width;
      copy_async<sizeof(S)>(patch + r * plan.patch_cols + c, row + (is_there ? at_x : 0), is_there);
    }
  }
}

// The results of a strip of 16 filters, by way of shared memory, so that a warp meets neighbouring pixels.
template <class T, class Epilogue>
__device__ void finish_strip(const ConvSizes& s, const T (&sums)[blocks_across<T>][4], T* staged,
                             Epilogue& epilogue, Index image, int k, int y, int x) {
  constexpr int width = pixels_of_warp<T>;
  constexpr int rows_at_once = 32 / width;
  constexpr int together = 4;  // results of a lane whose operands are under way at a time
  const int lane = static_cast<int>(threadIdx.x % 32);
#pragma unroll
  for (int b = 0; b < blocks_across<T>; ++b) {
    T* const at = staged + lane / 4 * staged_stride<T> + 8 * b + 2 * (lane % 4);
    at[0] = sums[b][0];
    at[1] = sums[b][1];
    at[8 * staged_stride<T>] = sums[b][2];
    at[8 * staged_stride<T> + 1] = sums[b][3];
  }
  __syncwarp();
  epilogue.begin();
  const int col = x + lane % width;
  const int row = lane / width;  // the lane's first one
  const Index place = s.code_at(image, k + row, y, min(col, s.code_width - 1));
  const Index apart = Index{rows_at_once} * s.code_height * s.code_width;
  const int rows = col < s.code_width ? s.filters - k - row : 0;  // that are there
#pragma unroll 1
  for (int first = 0; first < 16 / rows_at_once; first += together) {
    typename Epilogue::Operands operands[together];
#pragma unroll
    for (int i = 0; i < together; ++i) {
      const int down = (first + i) * rows_at_once;
      if (down < rows) operands[i] = epilogue.load(place + (first + i) * apart, k + row + down);
    }
#pragma unroll
    for (int i = 0; i < together; ++i) {
      const int down = (first + i) * rows_at_once;
      if (down < rows)
        epilogue.finish(place + (first + i) * apart, operands[i],
                        staged[(row + down) * staged_stride<T> + lane % width]);
    }
  }
  epilogue.end();
  __syncwarp();
}

// `Epilogue` has Operands, load(place, filter) and finish(place, operands, sum), between begin() and end()
// for some results at a time, and close(shared), which all threads of a block call at the end with room for
// one number a warp. What it keeps from one begin() to the next costs registers in the loop over the
// products.
template <class T, class S, class Epilogue>
__global__ void __launch_bounds__(block_size, sizeof(T) == 4 ? 2 : 1)
    kernel(const __grid_constant__ CorrelationPlan plan, const uint4* packed, const S* images,
           Epilogue epilogue) {
  constexpr int across = blocks_across<T>;
  const ConvSizes& s = plan.s;
  uint4* const fragments = shared_memory<uint4>();
  T* const staged_of_block = reinterpret_cast<T*>(fragments + plan.fragment_size());
  S* const patch = reinterpret_cast<S*>(staged_of_block + warps * 16 * staged_stride<T>);
  int* const places = reinterpret_cast<int*>(patch + plan.patch_size());
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  T* const staged = staged_of_block + warp * 16 * staged_stride<T>;
  const int first_filter = static_cast<int>(blockIdx.y) * filters_of_block;
  const int strips = min(plan.strips, (s.filters - first_filter + 15) / 16);
  const int chunks = plan.boxes.count();
  const int warp_row = warp * pixels_of_warp<T> / plan.tile_cols;
  const int warp_col = warp * pixels_of_warp<T> % plan.tile_cols;

  for (int tap = static_cast<int>(threadIdx.x); tap < plan.steps * 8; tap += block_size)
    places[tap] = tap_place(plan.boxes, tap, plan.patch_rows, plan.patch_cols);
  bool has_fragments = false;
  const auto tiles = static_cast<unsigned>(plan.tiles());
  for (unsigned tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const unsigned row_of_tiles = tile / static_cast<unsigned>(plan.tiles_across);
    const unsigned image = row_of_tiles / static_cast<unsigned>(plan.tiles_down);
    const int tile_y =
        static_cast<int>(row_of_tiles % static_cast<unsigned>(plan.tiles_down)) * plan.tile_rows;
    const int tile_x = static_cast<int>(tile % static_cast<unsigned>(plan.tiles_across)) * plan.tile_cols;
    const int y = tile_y + warp_row;
    const int x = tile_x + warp_col;
    const bool is_busy = y < s.code_height && x < s.code_width;
    T sums[strips_of_block][across][4] = {};
    for (int chunk = 0; chunk < chunks; ++chunk) {
      __syncthreads();  // nobody reads the last patch any more
      if (!has_fragments || chunks > 1) {
        const uint4* const from =
            packed + (Index{chunk} * plan.filter_blocks + blockIdx.y) * plan.fragment_size();
        for (int i = static_cast<int>(threadIdx.x); i < plan.fragment_size(); i += block_size)
          copy_async<16>(fragments + i, from + i);
        has_fragments = true;
      }
      load_patch(plan, corner_of(plan.boxes, chunk), images, image, tile_y, tile_x, patch);
      commit_copies();
      wait_for_copies<0>();
      __syncthreads();
      if (!is_busy) continue;
      const S* const pixels = patch + warp_row * plan.patch_cols + warp_col + lane / 4;
#pragma unroll 1
      for (int step = 0; step < plan.steps; ++step) {
        const int near = places[8 * step + lane % 4];
        const int far = places[8 * step + 4 + lane % 4];
        Parts<T, 2> right[across];
#pragma unroll
        for (int b = 0; b < across; ++b) {
          const T both[2] = {static_cast<T>(pixels[near + 8 * b]), static_cast<T>(pixels[far + 8 * b])};
          right[b] = split(both);
        }
#pragma unroll
        for (int strip = 0; strip < strips_of_block; ++strip)
          if (strip < strips)
            multiply(sums[strip], load_left<T>(fragments + (step * plan.strips + strip) * 64, lane), right);
      }
    }
    if (!is_busy) continue;
#pragma unroll
    for (int strip = 0; strip < strips_of_block; ++strip)
      if (strip < strips)
        finish_strip<T>(s, sums[strip], staged, epilogue, image, first_filter + strip * 16, y, x);
  }
  __syncthreads();
  epilogue.close(reinterpret_cast<double*>(staged_of_block));
}

// With boxes of at most `most` taps.
template <class T, class S>
CorrelationPlan plan_of(const ConvSizes& s, int most) {
  constexpr int most_patch = (48 << 10) / static_cast<int>(sizeof(S));  // elements
  CorrelationPlan plan;
  plan.s = s;
  // A channel of a tile takes at least its own pixels: no more of them than there is room for.
  plan.boxes = boxes_of(s, most, most_patch / (2 * pixels_of_block<T>));
  plan.steps = ceil_div(plan.boxes.taps(), 8);
  plan.strips = std::min(strips_of_block, ceil_div(s.filters, 16));
  plan.filter_blocks = ceil_div(s.filters, filters_of_block);
  plan.tile_rows = s.code_height < 4 ? 1 : std::min(8, pixels_of_block<T> / pixels_of_warp<T>);
  plan.tile_cols = pixels_of_block<T> / plan.tile_rows;
  plan.tiles_down = ceil_div(s.code_height, plan.tile_rows);
  plan.tiles_across = ceil_div(s.code_width, plan.tile_cols);
  plan.patch_rows = plan.tile_rows + plan.boxes.rows - 1;
  plan.patch_cols = plan.tile_cols + plan.boxes.cols - 1;
  plan.shared_bytes = static_cast<std::size_t>(plan.fragment_size()) * sizeof(uint4) +
                      static_cast<std::size_t>(warps * 16 * staged_stride<T>) * sizeof(T) +
                      static_cast<std::size_t>(plan.patch_size()) * sizeof(S) +
                      static_cast<std::size_t>(plan.steps) * 8 * sizeof(int);
  return plan;
}

// For blocks that may have `room` bytes of shared memory. Where the largest boxes do not fit, those with the
// fewest steps in all; to load a box takes about as long as one step.
template <class T, class S>
CorrelationPlan plan_for(const ConvSizes& s, std::size_t room) {
  CorrelationPlan best = plan_of<T, S>(s, most_taps);
  if (best.shared_bytes <= room) return best;
  auto fewest = std::numeric_limits<Index>::max();
  for (int most = most_taps - 8; most > 0; most -= 8) {
    const CorrelationPlan plan = plan_of<T, S>(s, most);
    const Index steps = Index{plan.boxes.count()} * (plan.steps + 1);
    if (plan.shared_bytes > room || steps >= fewest) continue;
    best = plan;
    fewest = steps;
  }
  return best;
}

}  // namespace correlation

// Correlations in T of images of type S with one bank of filters.
template <class T, class S = T>
class Correlation {
 public:
  // `filters` are of type F.
  template <class F>
  Correlation(const ConvSizes& s, const F* filters, Stream& stream) {
    using namespace correlation;
    plan_ = plan_for<T, S>(s, device().shared_per_block);
    require_shared(plan_.shared_bytes, s);
    require(plan_.tiles() < (Index{1} << 31), "shape: expected fewer images, got ", s.n);
    constexpr int most_blocks = (1 << 16) - 1;  // of a grid's second axis
    require(plan_.filter_blocks <= most_blocks, "filters: expected at most ", most_blocks * filters_of_block,
            " on device='cuda', got ", s.filters);
    const Index fragments = Index{plan_.boxes.count()} * plan_.filter_blocks * plan_.steps * plan_.strips;
    packed_ = Buffer<uint4>(fragments * 64, stream);
    launch(pack_kernel<T, F>,
           grid_for(pack_kernel<T, F>, thalweg::cuda::ceil_div(fragments, Index{warps}), block_size, 0),
           block_size, 0, stream, plan_, filters, packed_.data());
  }

  // Blocks that run `Epilogue`: what each of them closes with has a place of its own.
  template <class Epilogue>
  [[nodiscard]] Index blocks() const {
    using namespace correlation;
    const Index across = grid_for(kernel<T, S, Epilogue>, plan_.tiles(), block_size, plan_.shared_bytes);
    return across * plan_.filter_blocks;
  }

  template <class Epilogue>
  void operator()(const S* images, const Epilogue& epilogue, Stream& stream) const {
    using namespace correlation;
    if (plan_.tiles() == 0) return;
    const auto across = static_cast<unsigned>(blocks<Epilogue>() / plan_.filter_blocks);
    launch(kernel<T, S, Epilogue>, dim3(across, static_cast<unsigned>(plan_.filter_blocks)), block_size,
           plan_.shared_bytes, stream, plan_, packed_.data(), images, epilogue);
  }

 private:
  CorrelationPlan plan_;
  Buffer<uint4> packed_;
};

}  // namespace thalweg::cuda
