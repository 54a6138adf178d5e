#include "kernels/conv.hpp"

#include <algorithm>
#include <vector>

#include "core/buffer.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"
#include "core/simd.hpp"
#include "cpu/conv_blocks.hpp"
#include "cpu/conv_gradient.hpp"
#include "cpu/conv_synthesis.hpp"
#include "cpu/correlation.hpp"

namespace thalweg {
namespace {

using cpu::BlockGrid;

void require_sizes(const ConvShape& s) {
  require(s.n >= 0 && s.channels > 0 && s.height > 0 && s.width > 0,
          "images: expected at least one channel and one pixel, got shape (", s.n, ", ", s.channels, ", ",
          s.height, ", ", s.width, ")");
  require(s.filters > 0 && s.filter_height > 0 && s.filter_width > 0,
          "filters: expected at least one filter and one tap, got shape (", s.filters, ", ", s.channels, ", ",
          s.filter_height, ", ", s.filter_width, ")");
  require(s.code_height() > 0 && s.code_width() > 0, "filters: filters of ", s.filter_height, " x ",
          s.filter_width, " do not fit into an image of ", s.height, " x ", s.width);
}

// What correlate and convolve have in common: every output plane q of an image is a sum over its input planes
// p, out_q(y, x) = sum_{p, i, j} bank(q, p, i, j) in_p(y - top + i, x - left + j).
struct Pass {
  Index n, in_planes, in_height, in_width, out_planes, out_height, out_width, kh, kw, top, left;
  bool wraps;

  [[nodiscard]] Index operations() const {
    return n * in_planes * out_planes * out_height * out_width * kh * kw;
  }
  template <class T>
  [[nodiscard]] const T* input(const T* in, Index image, Index p) const {
    return in + (image * in_planes + p) * in_height * in_width;
  }
  template <class T>
  [[nodiscard]] T* output(T* out, Index image, Index q) const {
    return out + (image * out_planes + q) * out_height * out_width;
  }
};

// Windows of blocks of up to rows x cols outputs, cols in whole vectors.
template <class T>
[[nodiscard]] Index window_stride(Index cols, Index kw) {
  return simd::padded<T>(cols + kw - 1);
}

constexpr Index block_rows = 32;
constexpr Index block_vectors = 192;

// Enough outputs to fill tiles with them: all input planes of a block at a time.
template <class T>
void many_outputs(const Pass& pass, const T* in, const T* bank, T* out, int n_jobs) {
  constexpr Index group = 32;  // of outputs that are one thread's
  constexpr Index window_limit = 1 << 19;
  std::vector<cpu::PackedFilters<T>> filters;
  const Index taps = pass.in_planes * pass.kh * pass.kw;
  for (Index q = 0; q < pass.out_planes; q += group)
    filters.emplace_back(bank + q * taps, std::min(group, pass.out_planes - q), pass.in_planes, pass.kh,
                         pass.kw);
  const auto groups = static_cast<Index>(filters.size());

  BlockGrid grid{};
  Index stride = 0;
  Index plane = 0;
  Index rows = 2 * block_rows;
  do {
    rows /= 2;
    grid = cpu::block_grid<T>(pass.out_height, pass.out_width, 1, rows, rows * block_vectors / block_rows);
    stride = window_stride<T>(grid.cols, pass.kw);
    plane = (grid.rows + pass.kh - 1) * stride;
  } while (rows > 4 && pass.in_planes * plane * Index{sizeof(T)} > window_limit);

  const Index blocks = pass.n * grid.count() * groups;
  std::vector<Buffer<T>> windows;
  for (Index w = std::min<Index>(thread_count(n_jobs), blocks); w > 0; --w)
    windows.emplace_back(pass.in_planes * plane);
  parallel_for(blocks, n_jobs, [&](Index index, int worker) {
    const Index image = index / groups / grid.count();
    const Index block = index / groups % grid.count();
    const Index top = grid.top(block);
    const Index left = grid.left(block);
    const Index height = grid.rows_of(block);
    const Index width = grid.cols_of(block);
    T* window = windows[static_cast<std::size_t>(worker)].data();
    for (Index p = 0; p < pass.in_planes; ++p)
      cpu::copy_window(pass.input(in, image, p), pass.in_height, pass.in_width, top - pass.top,
                       left - pass.left, height + pass.kh - 1, simd::padded<T>(width) + pass.kw - 1,
                       pass.wraps, window + p * plane, stride);
    T* first = pass.output(out, image, index % groups * group) + top * pass.out_width + left;
    const Index out_plane = pass.out_height * pass.out_width;
    cpu::correlate_block(filters[static_cast<std::size_t>(index % groups)], window, stride, plane, height,
                         width, [&](Index q, Index y, Index x, simd::Vec<T> acc) {
                           if (x == 0 && q % cpu::correlation_filters == 0) poll_interrupt();
                           cpu::store_some(first + q * out_plane + y * pass.out_width + x, acc, width - x);
                         });
  });
}

// Asks for the rows of a window before they are needed, a share at a time.
template <class T>
void prefetch_rows(const T* plane, Index height, Index width, Index top, Index left, Index rows, Index cols) {
  constexpr Index line = 64 / sizeof(T);
  const Index end = std::min(left + cols, width);
  for (Index y = std::max<Index>(top, 0); y < std::min(top + rows, height); ++y)
    for (Index x = std::max<Index>(left, 0); x < end; x += line) __builtin_prefetch(plane + y * width + x);
}

// Few outputs: one input plane of a block after the other is added to all of them.
template <class T>
void few_outputs(const Pass& pass, const T* in, const T* bank, T* out, int n_jobs) {
  // By input plane, output, column, row: the order in which synthesise reads taps.
  const Index taps = pass.kh * pass.kw;
  const Buffer<T> packed(pass.in_planes * pass.out_planes * taps);
  for (Index p = 0; p < pass.in_planes; ++p)
    for (Index q = 0; q < pass.out_planes; ++q)
      for (Index i = 0; i < pass.kh; ++i)
        for (Index j = 0; j < pass.kw; ++j)
          packed[(p * pass.out_planes + q) * taps + j * pass.kh + i] =
              bank[(q * pass.in_planes + p) * taps + i * pass.kw + j];

  const Index tile_rows = cpu::synthesis_tile_rows(pass.kh, pass.out_height);
  const BlockGrid grid =
      cpu::block_grid<T>(pass.out_height, pass.out_width, tile_rows, block_rows, block_vectors);
  const Index stride = window_stride<T>(grid.cols, pass.kw);
  const Index window_rows = grid.rows + pass.kh - 1;
  struct Workspace {
    Buffer<T> window, sums;
    Buffer<unsigned char> is_busy;
  };
  const Index blocks = pass.n * grid.count();
  std::vector<Workspace> workspaces;
  for (Index w = std::min<Index>(thread_count(n_jobs), blocks); w > 0; --w)
    workspaces.push_back({Buffer<T>(window_rows * stride), Buffer<T>(pass.out_planes * grid.rows * grid.cols),
                          Buffer<unsigned char>(window_rows)});

  parallel_for(blocks, n_jobs, [&](Index index, int worker) {
    const Workspace& work = workspaces[static_cast<std::size_t>(worker)];
    const Index image = index / grid.count();
    const Index block = index % grid.count();
    const Index top = grid.top(block);
    const Index left = grid.left(block);
    const Index height = block_count(grid.rows_of(block), tile_rows) * tile_rows;
    const Index width = simd::padded<T>(grid.cols_of(block));
    const Index rows = height + pass.kh - 1;
    const Index cols = width + pass.kw - 1;
    std::fill_n(work.sums.data(), work.sums.size(), T(0));
    for (Index p = 0; p < pass.in_planes; ++p) {
      poll_interrupt();
      cpu::copy_window(pass.input(in, image, p), pass.in_height, pass.in_width, top - pass.top,
                       left - pass.left, rows, cols, pass.wraps, work.window.data(), stride);
      for (Index y = 0; y < rows; ++y) {
        const T* row = work.window.data() + y * stride;
        work.is_busy[y] = std::any_of(row, row + cols, [](T z) { return z != 0; });
      }
      for (Index q = 0; q < pass.out_planes; ++q) {
        if (p + 1 < pass.in_planes) {
          const Index from = q * rows / pass.out_planes;
          const Index to = (q + 1) * rows / pass.out_planes;
          prefetch_rows(pass.input(in, image, p + 1), pass.in_height, pass.in_width, top - pass.top + from,
                        left - pass.left, to - from, cols);
        }
        cpu::synthesise<T>({work.window.data(), stride, work.is_busy.data()},
                           packed.data() + (p * pass.out_planes + q) * taps, pass.kh, pass.kw, tile_rows,
                           height, width, work.sums.data() + q * grid.rows * grid.cols, grid.cols);
      }
    }
    for (Index q = 0; q < pass.out_planes; ++q)
      for (Index y = 0; y < grid.rows_of(block); ++y)
        std::copy_n(work.sums.data() + (q * grid.rows + y) * grid.cols, grid.cols_of(block),
                    pass.output(out, image, q) + (top + y) * pass.out_width + left);
  });
}

template <class T>
void apply(const Pass& pass, const T* in, const T* bank, T* out, int n_jobs) {
  if (pass.n == 0) return;
  n_jobs = jobs_for(pass.operations(), n_jobs);
  // Low filters reach few rows, and leave the rows of an output little to share.
  const Index enough = pass.kh < 4 ? 2 : 8;
  if (pass.out_planes >= enough)
    many_outputs(pass, in, bank, out, n_jobs);
  else
    few_outputs(pass, in, bank, out, n_jobs);
}

// Filters (K, C, kh, kw) as (C, K, kh, kw), reversed in rows and columns.
template <class T>
Buffer<T> reversed(const ConvShape& s, const T* filters) {
  const Index taps = s.filter_height * s.filter_width;
  Buffer<T> out(s.filters * s.channels * taps);
  for (Index k = 0; k < s.filters; ++k)
    for (Index c = 0; c < s.channels; ++c)
      std::reverse_copy(filters + (k * s.channels + c) * taps, filters + (k * s.channels + c + 1) * taps,
                        out.data() + (c * s.filters + k) * taps);
  return out;
}

// The sums of filter_gradient are cut into parts, runs of blocks of pixels of all images, and panels of
// filters; each (part, panel) is one thread's.
template <class T>
class GradientSum {
 public:
  GradientSum(const ConvShape& shape, const T* codes, const T* images)
      : shape_(shape),
        codes_(codes),
        images_(images),
        grid_(cpu::block_grid<T>(shape.code_height(), shape.code_width(), 1, 16, 48)),
        stride_(window_stride<T>(grid_.cols, shape.filter_width)),
        plane_((grid_.rows + shape.filter_height - 1) * stride_),
        padded_filters_(simd::padded<T>(shape.filters)),
        panels_(block_count(shape.filters, cpu::gradient_panel<T>)) {
    const Index bytes = shape.taps() * padded_filters_ * Index{sizeof(T)};
    parts_ = std::clamp<Index>(std::min(most_bytes / bytes, most_parts), 1, std::max<Index>(blocks(), 1));
  }

  void write(T* gradient, int n_jobs) {
    const Index tasks = parts_ * panels_;
    const Index size = shape_.taps() * padded_filters_;
    n_jobs = jobs_for(blocks() * grid_.rows * grid_.cols * size, n_jobs);
    sums_ = Buffer<T>(parts_ * size, T(0));
    for (Index w = std::min<Index>(thread_count(n_jobs), tasks); w > 0; --w)
      workspaces_.push_back(
          {Buffer<T>(shape_.channels * plane_), cpu::TransposedCodes<T>(grid_.rows * grid_.cols)});
    parallel_for(tasks, n_jobs, [&](Index task, int worker) {
      const Index part = task / panels_;
      for (Index b = part * blocks() / parts_; b < (part + 1) * blocks() / parts_; ++b)
        add_block(b, task % panels_, sums_.data() + part * size,
                  workspaces_[static_cast<std::size_t>(worker)]);
    });
    parallel_for(shape_.filters, n_jobs, [&](Index k, int) {
      for (Index t = 0; t < shape_.taps(); ++t) {
        double sum = 0;
        for (Index part = 0; part < parts_; ++part)
          sum += static_cast<double>(sums_[part * size + t * padded_filters_ + k]);
        gradient[k * shape_.taps() + t] = static_cast<T>(sum);
      }
    });
  }

 private:
  static constexpr Index most_parts = 16;
  static constexpr Index most_bytes = Index{1} << 26;

  struct Workspace {
    Buffer<T> windows;
    cpu::TransposedCodes<T> pixels;
  };

  [[nodiscard]] Index blocks() const { return shape_.n * grid_.count(); }

  void add_block(Index index, Index panel, T* sums, Workspace& work) const {
    const Index image = index / grid_.count();
    const Index block = index % grid_.count();
    const Index top = grid_.top(block);
    const Index left = grid_.left(block);
    const Index rows = grid_.rows_of(block);
    const Index cols = grid_.cols_of(block);
    const Index first = panel * cpu::gradient_panel<T>;
    const Index filters = std::min(cpu::gradient_panel<T>, shape_.filters - first);
    const Index code_plane = shape_.code_height() * shape_.code_width();
    work.pixels.take(
        codes_ + (image * shape_.filters + first) * code_plane + top * shape_.code_width() + left, code_plane,
        shape_.code_width(), filters, rows, cols, stride_);
    if (work.pixels.count == 0) return;
    for (Index c = 0; c < shape_.channels; ++c) {
      T* window = work.windows.data() + c * plane_;
      cpu::copy_window(images_ + (image * shape_.channels + c) * shape_.height * shape_.width, shape_.height,
                       shape_.width, top - shape_.top(), left - shape_.left(),
                       rows + shape_.filter_height - 1, cols + shape_.filter_width - 1,
                       shape_.boundary == Boundary::circular, window, stride_);
      for (Index i = 0; i < shape_.filter_height; ++i) {
        poll_interrupt();
        const Index tap = (c * shape_.filter_height + i) * shape_.filter_width;
        cpu::add_gradient(work.pixels, filters, window + i * stride_, shape_.filter_width,
                          sums + tap * padded_filters_ + first, padded_filters_);
      }
    }
  }

  ConvShape shape_;
  const T* codes_;
  const T* images_;
  BlockGrid grid_;
  Index stride_;
  Index plane_;
  Index padded_filters_;
  Index panels_;
  Index parts_;
  Buffer<T> sums_;
  std::vector<Workspace> workspaces_;
};

}  // namespace

template <class T>
void correlate(const ConvShape& shape, const T* images, const T* filters, T* codes, int n_jobs) {
  require_sizes(shape);
  const Pass pass{shape.n,
                  shape.channels,
                  shape.height,
                  shape.width,
                  shape.filters,
                  shape.code_height(),
                  shape.code_width(),
                  shape.filter_height,
                  shape.filter_width,
                  shape.top(),
                  shape.left(),
                  shape.boundary == Boundary::circular};
  apply(pass, images, filters, codes, n_jobs);
}

template <class T>
void convolve(const ConvShape& shape, const T* codes, const T* filters, T* images, int n_jobs) {
  require_sizes(shape);
  const Pass pass{shape.n,
                  shape.filters,
                  shape.code_height(),
                  shape.code_width(),
                  shape.channels,
                  shape.height,
                  shape.width,
                  shape.filter_height,
                  shape.filter_width,
                  shape.filter_height - 1 - shape.top(),
                  shape.filter_width - 1 - shape.left(),
                  shape.boundary == Boundary::circular};
  apply(pass, codes, reversed(shape, filters).data(), images, n_jobs);
}

template <class T>
void filter_gradient(const ConvShape& shape, const T* codes, const T* images, T* gradient, int n_jobs) {
  require_sizes(shape);
  GradientSum<T>(shape, codes, images).write(gradient, n_jobs);
}

#define THALWEG_INSTANTIATE(T)                                            \
  template void correlate(const ConvShape&, const T*, const T*, T*, int); \
  template void convolve(const ConvShape&, const T*, const T*, T*, int);  \
  template void filter_gradient(const ConvShape&, const T*, const T*, T*, int);
THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg
