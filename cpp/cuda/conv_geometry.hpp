// The sizes that kernels over images, codes and filters go by.
#pragma once

#include <algorithm>
#include <limits>

#include "core/error.hpp"
#include "cuda/launch.hpp"
#include "kernels/conv.hpp"

namespace thalweg::cuda {

// A ConvShape in the integers of device code.
struct ConvSizes {
  Index n = 0;
  int channels = 0, height = 0, width = 0;
  int filters = 0, filter_height = 0, filter_width = 0;
  int code_height = 0, code_width = 0;
  int top = 0, left = 0;
  bool is_circular = false;

  [[nodiscard]] __device__ Index image_at(Index image, int channel, int y, int x) const {
    return ((image * channels + channel) * height + y) * width + x;
  }
  [[nodiscard]] __device__ Index code_at(Index image, int filter, int y, int x) const {
    return ((image * filters + filter) * code_height + y) * code_width + x;
  }
  [[nodiscard]] Index image_size() const { return n * channels * height * width; }
  [[nodiscard]] Index code_size() const { return n * filters * code_height * code_width; }
  [[nodiscard]] Index filter_size() const { return Index{filters} * channels * filter_height * filter_width; }
};

// Throws std::invalid_argument where a size is not positive or a filter does not fit.
inline ConvSizes sizes_of(const ConvShape& s) {
  constexpr Index most = std::numeric_limits<int>::max() / 4;
  for (const Index size : {s.channels, s.height, s.width, s.filters, s.filter_height, s.filter_width,
                           s.code_height(), s.code_width()})
    require(size > 0 && size <= most, "shape: expected sizes from 1 to ", most, ", got ", size);
  ConvSizes sizes;
  sizes.n = s.n;
  sizes.channels = static_cast<int>(s.channels);
  sizes.height = static_cast<int>(s.height);
  sizes.width = static_cast<int>(s.width);
  sizes.filters = static_cast<int>(s.filters);
  sizes.filter_height = static_cast<int>(s.filter_height);
  sizes.filter_width = static_cast<int>(s.filter_width);
  sizes.code_height = static_cast<int>(s.code_height());
  sizes.code_width = static_cast<int>(s.code_width());
  sizes.top = static_cast<int>(s.top());
  sizes.left = static_cast<int>(s.left());
  sizes.is_circular = s.boundary == Boundary::circular;
  return sizes;
}

// Where `at` lies along an axis of this size: itself, or around the circle.
[[nodiscard]] __host__ __device__ inline int around(int at, int size, bool is_circular) {
  if (!is_circular || (at >= 0 && at < size)) return at;
  const int rest = at % size;
  return rest < 0 ? rest + size : rest;
}

// Throws std::invalid_argument where a block may not have so much shared memory.
inline void require_shared(std::size_t bytes, const ConvSizes& s) {
  require(bytes <= device().shared_per_block, "filters: ", s.filters, " of ", s.filter_height, " x ",
          s.filter_width, " take ", bytes, " bytes of shared memory, of which device='cuda' has ",
          device().shared_per_block);
}

[[nodiscard]] inline int ceil_div(int n, int size) { return (n + size - 1) / size; }

// Boxes of taps (channel, row, column), all of one size, that together cover a filter; those at the end may
// reach beyond it.
struct TapBoxes {
  int channels = 1, rows = 1, cols = 1;                       // of a box
  int across_channels = 1, across_rows = 1, across_cols = 1;  // boxes

  [[nodiscard]] __host__ __device__ int taps() const { return channels * rows * cols; }
  [[nodiscard]] __host__ __device__ int count() const { return across_channels * across_rows * across_cols; }
};

// Boxes of at most `most` taps, and of no more channels than `most_channels`, of nearly equal size.
inline TapBoxes boxes_of(const ConvSizes& s, int most, int most_channels) {
  TapBoxes boxes;
  const auto cut = [](int size, int at_most, int& of_box, int& across) {
    across = ceil_div(size, std::clamp(at_most, 1, size));
    of_box = ceil_div(size, across);
    across = ceil_div(size, of_box);
  };
  cut(s.filter_width, most, boxes.cols, boxes.across_cols);
  cut(s.filter_height, most / boxes.cols, boxes.rows, boxes.across_rows);
  cut(s.channels, std::min(most_channels, most / (boxes.cols * boxes.rows)), boxes.channels,
      boxes.across_channels);
  return boxes;
}

// The corner of box number `chunk`.
struct TapCorner {
  int channel, row, col;
};
[[nodiscard]] __host__ __device__ inline TapCorner corner_of(const TapBoxes& boxes, int chunk) {
  const int col = chunk % boxes.across_cols;
  const int row = chunk / boxes.across_cols % boxes.across_rows;
  const int channel = chunk / (boxes.across_cols * boxes.across_rows);
  return {channel * boxes.channels, row * boxes.rows, col * boxes.cols};
}

// Place of tap number `tap` of a box in a patch of so many rows and elements a row; 0 beyond the box.
[[nodiscard]] __host__ __device__ inline int tap_place(const TapBoxes& boxes, int tap, int patch_rows,
                                                       int patch_stride) {
  if (tap >= boxes.taps()) return 0;
  const int col = tap % boxes.cols;
  const int row = tap / boxes.cols % boxes.rows;
  const int channel = tap / (boxes.cols * boxes.rows);
  return (channel * patch_rows + row) * patch_stride + col;
}

}  // namespace thalweg::cuda
