// Images from codes as an implicit matrix product.
//
// A row p of the codes adds to kh rows of the image: sum_{k, j} filters[k, i, j] codes[k, p, x + o - j]
// belongs to row p - o + i. For all i at once that is the product of the codes of the row, (pixels, filters
// and taps of a row), with the filters, (filters and taps of a row, rows of a filter). A block goes down the
// image with a strip of 256 columns and keeps the sums of the 8 or 16 rows under way in registers: row y in
// place y modulo that number, for which the filters' rows are turned, not the sums. A row of the image leaves
// when its last row of codes has passed. Rows of codes come in by asynchronous copies, 16 filters at a time,
// of which 4 warps take the one half and 4 the other. Where shared memory does not hold the filters too, with
// 16 columns of their taps, two rows of codes are in use or under way rather than three, and strips are
// narrower.
//
// The roof: as in correlation.cuh, with 16 rows for 12 of a filter and with the codes of the rows above and
// below a segment a second time. Codes are read once: with 64 filters 256 bytes a pixel. Shared memory gives
// 4 numbers a lane for 6 mma, and 16 bytes a lane of the filters for 12.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>

#include "cuda/async.cuh"
#include "cuda/conv_geometry.hpp"
#include "cuda/fragments.cuh"
#include "cuda/launch.hpp"
#include "cuda/memory.hpp"

namespace thalweg::cuda {

struct SynthesisPlan {
  ConvSizes s;
  TapBoxes boxes;             // of the taps of one channel: rows and columns of a pass
  int channels_of_block = 1;  // 2 where filters are few rows high
  int channel_groups = 1;
  int filters_of_pass = 0;  // a multiple of 16
  int filter_passes = 1;
  int strip_cols = 0;  // columns of a block, a multiple of 64
  int strips = 0;
  int segment_rows = 0;  // rows of a block
  int segments = 0;
  int stages = 0;      // rows of codes of 16 filters, in use or under way: 3 or 2
  int stage_cols = 0;  // numbers of a filter in a stage, 8 modulo 32
  std::size_t shared_bytes = 0;

  [[nodiscard]] __host__ __device__ int steps() const { return filters_of_pass / 8 * boxes.cols; }
  [[nodiscard]] __host__ __device__ int passes() const { return filter_passes * boxes.count(); }
};

namespace synthesis {

constexpr int block_size = 256;
constexpr int warps = block_size / 32;
constexpr int groups_across = 4;   // of warps, along the columns; there are two of them for each
constexpr int cols_of_group = 64;  // columns of a warp
constexpr int blocks_down = cols_of_group / 16;
constexpr int filters_of_stage = 16;
constexpr int most_stages = 3;

// Filters (K, C, kh, kw) as fragments of right factors: [pass][group of channels][8 filters][column][row of a
// channel of the group][t].
template <class T, class S>
__global__ void __launch_bounds__(block_size)
    pack_kernel(const __grid_constant__ SynthesisPlan plan, int rows, const S* filters, uint4* packed) {
  const ConvSizes& s = plan.s;
  const TapBoxes& boxes = plan.boxes;
  const int rows_of_channel = rows / plan.channels_of_block;
  const Index size = Index{plan.passes()} * plan.channel_groups * plan.steps() * rows * 4;
  for (Index at = Index{blockIdx.x} * block_size + threadIdx.x; at < size;
       at += Index{gridDim.x} * block_size) {
    const auto t = static_cast<int>(at % 4);
    const auto place = static_cast<int>(at / 4 % rows);
    const auto step = static_cast<int>(at / 4 / rows % plan.steps());
    const Index outer = at / 4 / rows / plan.steps();
    const auto pass = static_cast<int>(outer / plan.channel_groups);
    const TapCorner corner = corner_of(boxes, pass % boxes.count());
    const int channel =
        static_cast<int>(outer % plan.channel_groups) * plan.channels_of_block + place / rows_of_channel;
    const int row_of_box = place % rows_of_channel;
    const int row = corner.row + row_of_box;
    const int col = corner.col + step % boxes.cols;
    T x[2];
    for (int i = 0; i < 2; ++i) {
      const int k = pass / boxes.count() * plan.filters_of_pass + step / boxes.cols * 8 + t + 4 * i;
      const bool is_there = k < s.filters && channel < s.channels && row_of_box < boxes.rows &&
                            row < s.filter_height && col < s.filter_width;
      x[i] = T(0);
      if (is_there)
        x[i] = static_cast<T>(
            filters[((Index{k} * s.channels + channel) * s.filter_height + row) * s.filter_width + col]);
    }
    store_right(packed + at, split_rounded(x));
  }
}

// Row `row` of the codes of 16 filters from `filter` on, columns from `col` on; zero where there are none.
template <class S>
__device__ void load_stage(const SynthesisPlan& plan, const S* codes, Index image, int filter, int row,
                           int col, S* stage) {
  const ConvSizes& s = plan.s;
  const int at_y = around(row, s.code_height, s.is_circular);
  const int cols = plan.strip_cols + plan.boxes.cols - 1;
  for (int f = static_cast<int>(threadIdx.x / 32); f < filters_of_stage; f += warps) {
    const bool has_filter = filter + f < s.filters;
    const S* const from = codes + s.code_at(image, has_filter ? filter + f : 0, at_y, 0);
    for (int c = static_cast<int>(threadIdx.x % 32); c < cols; c += 32) {
      const int at_x = around(col + c, s.code_width, s.is_circular);
      const bool is_there = has_filter && at_x >= 0 && at_x < s.code_width;
      copy_async<sizeof(S)>(stage + f * plan.stage_cols + c, from + (is_there ? at_x : 0), is_there);
    }
  }
}

// One pass: the filters and taps of box number `pass`. Passes after the first add to what is in `images`.
// There are `across` times 8 places for rows.
template <class T, class S, int across>
__global__ void __launch_bounds__(block_size, 1) kernel(const __grid_constant__ SynthesisPlan plan, int pass,
                                                        const uint4* packed, const S* codes, T* images) {
  const ConvSizes& s = plan.s;
  const TapBoxes& boxes = plan.boxes;
  const TapCorner corner = corner_of(boxes, pass % boxes.count());
  const int first_filter = pass / boxes.count() * plan.filters_of_pass;
  const int chunks =
      (min(plan.filters_of_pass, s.filters - first_filter) + filters_of_stage - 1) / filters_of_stage;
  const int top = s.top - corner.row;
  const int left = s.left - corner.col;
  const int ring = 8 * across / plan.channels_of_block;  // rows under way, a power of two

  // Which part of which image.
  const auto strip = static_cast<int>(blockIdx.x % static_cast<unsigned>(plan.strips));
  const auto segment = static_cast<int>(blockIdx.x / static_cast<unsigned>(plan.strips) %
                                        static_cast<unsigned>(plan.segments));
  const Index outer = blockIdx.x / static_cast<unsigned>(plan.strips) / static_cast<unsigned>(plan.segments);
  const Index image = outer / plan.channel_groups;
  const auto group_of_channels = static_cast<int>(outer % plan.channel_groups);
  const int first_row = segment * plan.segment_rows;
  const int end_row = min(s.height, first_row + plan.segment_rows);
  const int first_col = strip * plan.strip_cols;

  uint4* const fragments = shared_memory<uint4>();
  const int fragment_size = plan.steps() * 8 * across * 4;
  T* const handed_over = reinterpret_cast<T*>(fragments + fragment_size);  // [2][channel][column]
  S* const staged = reinterpret_cast<S*>(handed_over + 2 * plan.channels_of_block * plan.strip_cols);
  const int stage_size = filters_of_stage * plan.stage_cols;

  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int half = warp / groups_across;  // of the filters of a stage
  const int warp_col = warp % groups_across * cols_of_group;
  // Blocks of 16 columns that have a pixel.
  const int blocks =
      warp_col >= plan.strip_cols ? 0 : min(blocks_down, max(0, (s.width - first_col - warp_col + 15) / 16));

  // Rows of codes that reach the segment.
  int code_row = first_row + top - (boxes.rows - 1);
  int end_code_row = end_row + top;
  if (!s.is_circular) {
    code_row = max(code_row, 0);
    end_code_row = max(min(end_code_row, s.code_height), code_row);
  }
  const Index turns = Index{end_code_row - code_row} * chunks;

  const uint4* const from = packed + (Index{pass} * plan.channel_groups + group_of_channels) * fragment_size;
  for (int i = static_cast<int>(threadIdx.x); i < fragment_size; i += block_size)
    copy_async<16>(fragments + i, from + i);
  const auto load = [&](Index turn) {
    if (turn < turns)
      load_stage(plan, codes, image, first_filter + static_cast<int>(turn % chunks) * filters_of_stage,
                 code_row + static_cast<int>(turn / chunks), first_col + left - (boxes.cols - 1),
                 staged + turn % plan.stages * stage_size);
    commit_copies();
  };
  for (int i = 0; i + 1 < plan.stages; ++i) load(i);

  T sums[blocks_down][across][4] = {};
  // Row y of the image is complete: one half of the warps hands its sums over, the other writes both.
  const auto finish = [&](int y, bool is_last_half) {
    T* const handed = handed_over + (y & 1) * plan.channels_of_block * plan.strip_cols;
#pragma unroll
    for (int b = 0; b < across; ++b)
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int place = 8 * b + 2 * (lane % 4) + h;
        if (place % ring != (y & (ring - 1))) continue;
        const int channel_of_block = place / ring;
        const int channel = group_of_channels * plan.channels_of_block + channel_of_block;
#pragma unroll
        for (int m = 0; m < blocks_down; ++m) {
          if (m >= blocks) continue;
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            const int col = warp_col + 16 * m + 8 * r + lane / 4;
            T& sum = sums[m][b][2 * r + h];
            T& other = handed[channel_of_block * plan.strip_cols + col];
            if (is_last_half) {
              other = sum;
            } else if (y >= first_row && y < end_row && channel < s.channels && first_col + col < s.width) {
              T& pixel = images[s.image_at(image, channel, y, first_col + col)];
              pixel = pass == 0 ? sum + other : pixel + (sum + other);
            }
            sum = T(0);
          }
        }
      }
  };

  // Rows that no codes reach, or no further ones.
  const auto finish_by_all = [&](int y) {
    __syncthreads();
    if (half == 1) finish(y, true);
    __syncthreads();
    if (half == 0) finish(y, false);
  };

  for (int y = first_row; y < min(end_row, code_row - top); ++y) finish_by_all(y);
  for (Index turn = 0; turn < turns; ++turn) {
    if (plan.stages == most_stages)
      wait_for_copies<most_stages - 2>();
    else
      wait_for_copies<0>();
    __syncthreads();
    load(turn + plan.stages - 1);
    const auto chunk = static_cast<int>(turn % chunks);
    const int row = code_row + static_cast<int>(turn / chunks);
    if (chunk == 0 && turn > 0 && half == 0) finish(row - 1 - top, false);
    const int filters_left = s.filters - first_filter - chunk * filters_of_stage - 8 * half;
    if (filters_left > 0 && blocks > 0) {
      const S* const stage = staged + turn % plan.stages * stage_size +
                             (8 * half + lane % 4) * plan.stage_cols + warp_col + lane / 4 + boxes.cols - 1;
      const uint4* const of_chunk = fragments + (chunk * 2 + half) * boxes.cols * 8 * across * 4;
      const uint4* of_lane[across];
#pragma unroll
      for (int b = 0; b < across; ++b) {
        const int place = 8 * b + lane / 4;
        const int turned = place / ring * ring + ((place + top - row) & (ring - 1));
        of_lane[b] = of_chunk + turned * 4 + lane % 4;
      }
#pragma unroll 2
      for (int j = 0; j < boxes.cols; ++j) {
        Parts<T, 2> right[across];
#pragma unroll
        for (int b = 0; b < across; ++b) right[b] = load_right<T>(of_lane[b] + j * 8 * across * 4);
#pragma unroll
        for (int m = 0; m < blocks_down; ++m) {
          if (m >= blocks) continue;
          const S* const at = stage - j + 16 * m;
          const T x[4] = {static_cast<T>(at[0]), static_cast<T>(at[8]),
                          static_cast<T>(at[4 * plan.stage_cols]),
                          static_cast<T>(at[4 * plan.stage_cols + 8])};
          multiply(sums[m], split(x), right);
        }
      }
    }
    if (chunk == chunks - 1 && half == 1) finish(row - top, true);
  }
  wait_for_copies<0>();
  __syncthreads();
  if (turns > 0 && half == 0) finish(end_code_row - 1 - top, false);
  // Rows above the segment leave their places too, which others take after them.
  const int rest = end_code_row - top;
  for (int y = turns > 0 ? rest : max(first_row, rest); y < end_row; ++y) finish_by_all(y);
}

}  // namespace synthesis

// Images in T from codes of type S with one bank of filters.
template <class T, class S = T>
class Synthesis {
 public:
  template <class F>
  Synthesis(const ConvSizes& s, const F* filters, Stream& stream) {
    using namespace synthesis;
    plan_.s = s;
    across_ = s.filter_height <= 8 && s.channels == 1 ? 1 : 2;
    plan_.channels_of_block = s.filter_height <= 8 ? across_ : 1;
    plan_.channel_groups = ceil_div(s.channels, plan_.channels_of_block);
    choose_passes(s);
    require_shared(plan_.shared_bytes, s);
    choose_segments(s);
    const Index size = Index{plan_.passes()} * plan_.channel_groups * plan_.steps() * 8 * across_ * 4;
    packed_ = Buffer<uint4>(size, stream);
    launch(pack_kernel<T, F>,
           grid_for(pack_kernel<T, F>, thalweg::cuda::ceil_div(size, Index{block_size}), block_size, 0),
           block_size, 0, stream, plan_, 8 * across_, filters, packed_.data());
  }

  void operator()(const S* codes, T* images, Stream& stream) const {
    using namespace synthesis;
    const Index blocks = plan_.s.n * plan_.channel_groups * plan_.segments * plan_.strips;
    if (blocks == 0) return;
    const auto work = across_ == 1 ? kernel<T, S, 1> : kernel<T, S, 2>;
    for (int pass = 0; pass < plan_.passes(); ++pass)
      launch(work, static_cast<unsigned>(blocks), block_size, plan_.shared_bytes, stream, plan_, pass,
             packed_.data(), codes, images);
  }

 private:
  // The widest strips and the most stages with which shared memory holds enough columns of taps for a pass,
  // or else those with which it holds the most of them.
  void choose_passes(const ConvSizes& s) {
    using namespace synthesis;
    constexpr int enough = 16;  // passes of fewer columns read the codes for little work
    const int wanted = std::min(s.filter_width, enough);
    SynthesisPlan best;
    for (int groups = std::min(groups_across, ceil_div(s.width, cols_of_group)); groups > 0; --groups)
      for (int stages = most_stages; stages > 1; --stages) {
        const SynthesisPlan plan = passes_of(groups * cols_of_group, stages);
        if (plan.boxes.cols > best.boxes.cols || best.shared_bytes == 0) best = plan;
        if (best.boxes.cols >= wanted) {
          plan_ = best;
          return;
        }
      }
    plan_ = best;
  }

  // As many filters and columns of taps a pass as shared memory holds beside the stages; no bytes of it where
  // not even one column fits.
  [[nodiscard]] SynthesisPlan passes_of(int strip_cols, int stages) const {
    using namespace synthesis;
    SynthesisPlan plan = plan_;
    plan.strip_cols = strip_cols;
    plan.strips = ceil_div(plan.s.width, strip_cols);
    plan.stages = stages;
    const auto room = static_cast<Index>(device().shared_per_block);
    ConvSizes of_channel = plan.s;
    of_channel.channels = 1;
    const int all_filters = ceil_div(plan.s.filters, filters_of_stage);  // by 16
    for (int most_cols = 64; most_cols > 0; most_cols /= 2) {
      plan.boxes = boxes_of(of_channel, most_cols, 1);  // for its columns
      cut_rows(plan.boxes, plan.s.filter_height, 8 * across_ / plan.channels_of_block);
      plan.stage_cols = ceil_div(plan.strip_cols + plan.boxes.cols - 1, 32) * 32 + 8;
      const Index rest = (Index{2} * plan.channels_of_block * plan.strip_cols) * Index{sizeof(T)} +
                         Index{stages} * filters_of_stage * plan.stage_cols * Index{sizeof(S)};
      const Index of_stage =
          Index{filters_of_stage} / 8 * plan.boxes.cols * 8 * across_ * 4 * Index{sizeof(uint4)};
      if (rest + of_stage > room) continue;
      const auto stages_of_pass = static_cast<int>(std::min<Index>((room - rest) / of_stage, all_filters));
      plan.filter_passes = ceil_div(all_filters, stages_of_pass);
      plan.filters_of_pass = ceil_div(all_filters, plan.filter_passes) * filters_of_stage;
      plan.shared_bytes =
          static_cast<std::size_t>(rest + of_stage * (plan.filters_of_pass / filters_of_stage));
      return plan;
    }
    plan.boxes.cols = 0;
    return plan;
  }

  static void cut_rows(TapBoxes& boxes, int filter_height, int most) {
    boxes.across_rows = ceil_div(filter_height, most);
    boxes.rows = ceil_div(filter_height, boxes.across_rows);
  }

  // As many blocks as the device holds at once, but segments of at least four times the filters' rows, for
  // the rows of codes around them are read by two blocks.
  void choose_segments(const ConvSizes& s) {
    const Index apart = std::max<Index>(1, s.n * plan_.channel_groups * plan_.strips);
    const Index wanted = std::max<Index>(1, device().multiprocessors / apart);
    const auto rows = static_cast<int>(thalweg::cuda::ceil_div(Index{s.height}, wanted));
    plan_.segment_rows = std::min(s.height, std::max(rows, 4 * plan_.boxes.rows));
    plan_.segments = ceil_div(s.height, plan_.segment_rows);
    require(apart * plan_.segments < (Index{1} << 31), "shape: expected fewer images, got ", s.n);
  }

  SynthesisPlan plan_;
  int across_ = 1;
  Buffer<uint4> packed_;
};

}  // namespace thalweg::cuda
