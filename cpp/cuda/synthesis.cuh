// Images from codes as an implicit matrix product.
//
// A row p of the codes adds to kh rows of the image: sum_{k, j} filters[k, i, j] codes[k, p, x + o - j]
// belongs to row p - o + i. For all i at once that is the product of the codes of the row, (pixels, filters
// and taps of a row), with the filters, (filters and taps of a row, rows of a filter). A block goes down the
// image with a strip of columns and keeps the sums of the 8 or 16 rows under way in registers: row y in place
// y modulo that number, for which the filters' rows are turned, not the sums. A row of the image leaves when
// its last row of codes has passed. Rows of codes come in by asynchronous copies, some filters at a time.
//
// A warp takes 64 columns and 8 filters. So the 8 warps of a block are 4 groups of columns by 2 parts of
// filters where the image is wide, and 2 by 4 or 1 by 8 where it is narrow; few filters on a narrow image
// make blocks of fewer warps, of which a multiprocessor holds more. Shared memory holds the filters of a pass
// for as long as the block lives, beside two or three rows of codes: that decides with the shape, by
// rate_of().
//
// The roof: as in correlation.cuh, with 16 rows for 12 of a filter and with the codes of the rows above and
// below a segment, and left and right of a strip, a second time. Codes are read once a pass: with 64 filters
// 256 bytes a pixel. Shared memory gives 4 numbers a lane for 6 mma, and 16 bytes a lane of the filters
// for 12.
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
  int column_groups = 1;  // of 64 columns, of a block
  int parts = 1;          // of 8 filters, of a block: a warp for each group and part
  int chunks = 1;         // of as many filters as a block takes at a time, of a pass
  int filter_passes = 1;
  int strips = 0;
  int segment_rows = 0;  // rows of a block
  int segments = 0;
  int stages = 0;      // rows of codes of a chunk, in use or under way: 3 or 2
  int stage_cols = 0;  // numbers of a filter in a stage
  std::size_t shared_bytes = 0;

  [[nodiscard]] __host__ __device__ int strip_cols() const { return 64 * column_groups; }
  [[nodiscard]] __host__ __device__ int filters_of_chunk() const { return 8 * parts; }
  [[nodiscard]] __host__ __device__ int filters_of_pass() const { return filters_of_chunk() * chunks; }
  [[nodiscard]] __host__ __device__ int warps() const { return column_groups * parts; }
  [[nodiscard]] __host__ __device__ int steps() const { return parts * chunks * boxes.cols; }
  [[nodiscard]] __host__ __device__ int passes() const { return filter_passes * boxes.count(); }
};

namespace synthesis {

constexpr int pack_block = 256;
constexpr int most_warps = 8;
constexpr int most_groups = 4;
constexpr int cols_of_group = 64;
constexpr int blocks_down = cols_of_group / 16;
constexpr int most_stages = 3;

// Filters (K, C, kh, kw) as fragments of right factors: [pass][group of channels][8 filters][column][row of a
// channel of the group][t].
template <class T, class S>
__global__ void __launch_bounds__(pack_block)
    pack_kernel(const __grid_constant__ SynthesisPlan plan, int rows, const S* filters, uint4* packed) {
  const ConvSizes& s = plan.s;
  const TapBoxes& boxes = plan.boxes;
  const int rows_of_channel = rows / plan.channels_of_block;
  const Index size = Index{plan.passes()} * plan.channel_groups * plan.steps() * rows * 4;
  for (Index at = Index{blockIdx.x} * pack_block + threadIdx.x; at < size;
       at += Index{gridDim.x} * pack_block) {
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
      const int k = pass / boxes.count() * plan.filters_of_pass() + step / boxes.cols * 8 + t + 4 * i;
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

// Row `row` of the codes of a chunk of filters from `filter` on, columns from `col` on; zero where there are
// none.
template <class S>
__device__ void load_stage(const SynthesisPlan& plan, const S* codes, Index image, int filter, int row,
                           int col, S* stage) {
  const ConvSizes& s = plan.s;
  const int at_y = around(row, s.code_height, s.is_circular);
  const int cols = plan.strip_cols() + plan.boxes.cols - 1;
  for (int f = static_cast<int>(threadIdx.x / 32); f < plan.filters_of_chunk(); f += plan.warps()) {
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
__global__ void __launch_bounds__(32 * most_warps, 1)
    kernel(const __grid_constant__ SynthesisPlan plan, int pass, const uint4* packed, const S* codes,
           T* images) {
  const ConvSizes& s = plan.s;
  const TapBoxes& boxes = plan.boxes;
  const TapCorner corner = corner_of(boxes, pass % boxes.count());
  const int filters_of_chunk = plan.filters_of_chunk();
  const int first_filter = pass / boxes.count() * plan.filters_of_pass();
  const int chunks = min(plan.chunks, (s.filters - first_filter + filters_of_chunk - 1) / filters_of_chunk);
  const int strip_cols = plan.strip_cols();
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
  const int first_col = strip * strip_cols;

  uint4* const fragments = shared_memory<uint4>();
  const int fragment_size = plan.steps() * 8 * across * 4;
  const int row_size = plan.channels_of_block * strip_cols;
  T* const handed_over = reinterpret_cast<T*>(fragments + fragment_size);  // [2][part - 1][channel][column]
  S* const staged = reinterpret_cast<S*>(handed_over + 2 * (plan.parts - 1) * row_size);
  const int stage_size = filters_of_chunk * plan.stage_cols;

  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int part = warp / plan.column_groups;  // of the filters of a chunk
  const int warp_col = warp % plan.column_groups * cols_of_group;
  // Blocks of 16 columns that have a pixel.
  const int blocks = min(blocks_down, max(0, (s.width - first_col - warp_col + 15) / 16));

  // Rows of codes that reach the segment.
  int code_row = first_row + top - (boxes.rows - 1);
  int end_code_row = end_row + top;
  if (!s.is_circular) {
    code_row = max(code_row, 0);
    end_code_row = max(min(end_code_row, s.code_height), code_row);
  }

  const uint4* const from = packed + (Index{pass} * plan.channel_groups + group_of_channels) * fragment_size;
  for (int i = static_cast<int>(threadIdx.x); i < fragment_size; i += static_cast<int>(blockDim.x))
    copy_async<16>(fragments + i, from + i);
  int row_ahead = code_row;
  int chunk_ahead = 0;
  S* stage_ahead = staged;
  const auto load_next = [&] {
    if (row_ahead < end_code_row) {
      load_stage(plan, codes, image, first_filter + chunk_ahead * filters_of_chunk, row_ahead,
                 first_col + left - (boxes.cols - 1), stage_ahead);
      stage_ahead += stage_size;
      if (stage_ahead == staged + plan.stages * stage_size) stage_ahead = staged;
      if (++chunk_ahead == chunks) {
        chunk_ahead = 0;
        ++row_ahead;
      }
    }
    commit_copies();
  };
  for (int i = 0; i + 1 < plan.stages; ++i) load_next();

  T sums[blocks_down][across][4] = {};
  // Row y of the image is complete: all parts but the first hand their sums over, which the first one adds to
  // its own, in their order.
  const auto finish = [&](int y) {
    T* const handed = handed_over + (y & 1) * (plan.parts - 1) * row_size;
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
            T* other = handed + channel_of_block * strip_cols + col;
            if (part > 0) {
              other[(part - 1) * row_size] = sum;
            } else if (y >= first_row && y < end_row && channel < s.channels && first_col + col < s.width) {
#pragma unroll 1
              for (int p = 1; p < plan.parts; ++p, other += row_size) sum += *other;
              T& pixel = images[s.image_at(image, channel, y, first_col + col)];
              pixel = pass == 0 ? sum : pixel + sum;
            }
            sum = T(0);
          }
        }
      }
  };

  // Rows that no codes reach, or no further ones.
  const auto finish_by_all = [&](int y) {
    __syncthreads();
    if (part > 0) finish(y);
    __syncthreads();
    if (part == 0) finish(y);
  };

  for (int y = first_row; y < min(end_row, code_row - top); ++y) finish_by_all(y);
  const S* stage = staged;
  for (int row = code_row; row < end_code_row; ++row)
    for (int chunk = 0; chunk < chunks; ++chunk) {
      if (plan.stages == most_stages)
        wait_for_copies<most_stages - 2>();
      else
        wait_for_copies<0>();
      __syncthreads();
      load_next();
      if (chunk == 0 && row > code_row && part == 0) finish(row - 1 - top);
      const int filters_left = s.filters - first_filter - chunk * filters_of_chunk - 8 * part;
      if (filters_left > 0 && blocks > 0) {
        const S* const codes_of_lane =
            stage + (8 * part + lane % 4) * plan.stage_cols + warp_col + lane / 4 + boxes.cols - 1;
        const uint4* const of_part = fragments + (chunk * plan.parts + part) * boxes.cols * 8 * across * 4;
        const uint4* of_lane[across];
#pragma unroll
        for (int b = 0; b < across; ++b) {
          const int place = 8 * b + lane / 4;
          const int turned = place / ring * ring + ((place + top - row) & (ring - 1));
          of_lane[b] = of_part + turned * 4 + lane % 4;
        }
#pragma unroll 2
        for (int j = 0; j < boxes.cols; ++j) {
          Parts<T, 2> right[across];
#pragma unroll
          for (int b = 0; b < across; ++b) right[b] = load_right<T>(of_lane[b] + j * 8 * across * 4);
#pragma unroll
          for (int m = 0; m < blocks_down; ++m) {
            if (m >= blocks) continue;
            const S* const at = codes_of_lane - j + 16 * m;
            const T x[4] = {static_cast<T>(at[0]), static_cast<T>(at[8]),
                            static_cast<T>(at[4 * plan.stage_cols]),
                            static_cast<T>(at[4 * plan.stage_cols + 8])};
            multiply(sums[m], split(x), right);
          }
        }
      }
      stage += stage_size;
      if (stage == staged + plan.stages * stage_size) stage = staged;
      if (chunk == chunks - 1 && part > 0) finish(row - top);
    }
  wait_for_copies<0>();
  __syncthreads();
  const bool has_codes = end_code_row > code_row;
  if (has_codes && part == 0) finish(end_code_row - 1 - top);
  // Rows above the segment leave their places too, which others take after them.
  const int rest = end_code_row - top;
  for (int y = has_codes ? rest : max(first_row, rest); y < end_row; ++y) finish_by_all(y);
}

// A block of so many groups of columns and parts of filters, with at most so many columns of taps a pass, and
// as many chunks of filters as `room` bytes of shared memory hold; none where they do not hold one.
template <class T, class S>
SynthesisPlan with_passes(SynthesisPlan plan, int across, int groups, int parts, int stages, int most_cols,
                          std::size_t room) {
  constexpr int period = 64 / static_cast<int>(sizeof(S));  // of strides for which lanes meet all banks
  const ConvSizes& s = plan.s;
  plan.column_groups = groups;
  plan.parts = parts;
  plan.stages = stages;
  plan.strips = ceil_div(s.width, plan.strip_cols());
  ConvSizes of_channel = s;
  of_channel.channels = 1;
  TapBoxes& boxes = plan.boxes;
  boxes = boxes_of(of_channel, most_cols, 1);  // for its columns
  boxes.across_rows = ceil_div(s.filter_height, 8 * across / plan.channels_of_block);
  boxes.rows = ceil_div(s.filter_height, boxes.across_rows);
  const int needed_cols = plan.strip_cols() + boxes.cols - 1;
  plan.stage_cols = ceil_div(needed_cols - period / 2, period) * period + period / 2;
  const auto rest = Index{2} * (parts - 1) * plan.channels_of_block * plan.strip_cols() * Index{sizeof(T)} +
                    Index{stages} * plan.filters_of_chunk() * plan.stage_cols * Index{sizeof(S)};
  const auto of_chunk = Index{parts} * boxes.cols * 8 * across * 4 * Index{sizeof(uint4)};
  const int all_chunks = ceil_div(s.filters, plan.filters_of_chunk());
  const auto fitting =
      static_cast<int>(std::clamp<Index>((static_cast<Index>(room) - rest) / of_chunk, 0, all_chunks));
  plan.filter_passes = ceil_div(all_chunks, std::max(1, fitting));
  plan.chunks = fitting > 0 ? ceil_div(all_chunks, plan.filter_passes) : 0;
  plan.shared_bytes = static_cast<std::size_t>(rest + of_chunk * plan.chunks);
  return plan;
}

// Blocks that a multiprocessor of so much shared memory holds, but no more than have 8 warps together.
inline int blocks_at_once(const SynthesisPlan& plan, std::size_t shared) {
  constexpr std::size_t of_system = 1024;  // bytes a block
  return std::max(
      1, std::min(most_warps / plan.warps(), static_cast<int>(shared / (plan.shared_bytes + of_system))));
}

// Pixels a time, up to a factor: by the warps at work on a multiprocessor, and the columns of taps for each
// row of codes, to load which takes about as long as two of them. Two stages keep fewer copies under way.
inline double rate_of(const SynthesisPlan& plan, std::size_t shared) {
  if (plan.chunks == 0) return 0;
  const ConvSizes& s = plan.s;
  const double warps = plan.warps() * blocks_at_once(plan, shared);
  const double pace = std::min(warps, 2 + warps / 2);  // there are four tensor cores
  const int of_chunk = plan.filters_of_chunk();
  const double busy_filters = s.filters / (1.0 * ceil_div(s.filters, of_chunk) * of_chunk);
  const double busy_groups = ceil_div(s.width, cols_of_group) / (1.0 * plan.strips * plan.column_groups);
  const double loaded = (plan.strip_cols() + plan.boxes.cols - 1.0) / plan.strip_cols();
  const double time = plan.boxes.across_cols * (plan.boxes.cols + 2 * loaded);
  return pace * busy_filters * busy_groups / time * (plan.stages == most_stages ? 1 : 0.9);
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
    choose_passes();
    require_shared(plan_.shared_bytes, s);
    choose_segments(s);
    const Index size = Index{plan_.passes()} * plan_.channel_groups * plan_.steps() * 8 * across_ * 4;
    packed_ = Buffer<uint4>(size, stream);
    launch(pack_kernel<T, F>,
           grid_for(pack_kernel<T, F>, thalweg::cuda::ceil_div(size, Index{pack_block}), pack_block, 0),
           pack_block, 0, stream, plan_, 8 * across_, filters, packed_.data());
  }

  void operator()(const S* codes, T* images, Stream& stream) const {
    using namespace synthesis;
    const Index blocks = plan_.s.n * plan_.channel_groups * plan_.segments * plan_.strips;
    if (blocks == 0) return;
    const auto work = across_ == 1 ? kernel<T, S, 1> : kernel<T, S, 2>;
    for (int pass = 0; pass < plan_.passes(); ++pass)
      launch(work, static_cast<unsigned>(blocks), static_cast<unsigned>(32 * plan_.warps()),
             plan_.shared_bytes, stream, plan_, pass, packed_.data(), codes, images);
  }

 private:
  void choose_passes() {
    using namespace synthesis;
    const SynthesisPlan sizes = plan_;
    const int groups_of_image = ceil_div(sizes.s.width, cols_of_group);
    const int parts_of_filters = ceil_div(sizes.s.filters, 8);
    double best = 0;
    for (int groups = std::min(most_groups, groups_of_image); groups > 0; --groups)
      for (int parts = std::min(most_warps / groups, parts_of_filters); parts > 0; --parts)
        for (int stages = most_stages; stages > 1; --stages)
          for (int most_cols = 64; most_cols > 0; most_cols /= 2) {
            const SynthesisPlan plan = with_passes<T, S>(sizes, across_, groups, parts, stages, most_cols,
                                                         device().shared_per_block);
            const double rate = rate_of(plan, device().shared_per_multiprocessor);
            if (rate <= best) continue;
            best = rate;
            plan_ = plan;
          }
  }

  // As many blocks as the device holds at once, but segments of at least four times the filters' rows, for
  // the rows of codes around them are read by two blocks.
  void choose_segments(const ConvSizes& s) {
    const Index apart = std::max<Index>(1, s.n * plan_.channel_groups * plan_.strips);
    const Index at_once = Index{device().multiprocessors} *
                          synthesis::blocks_at_once(plan_, device().shared_per_multiprocessor);
    const Index wanted = std::max<Index>(1, at_once / apart);
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
