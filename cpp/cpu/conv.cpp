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

[[nodiscard]] int jobs_of(double operations, int n_jobs) {
  return jobs_for(static_cast<Index>(std::min(operations, 1e15)), n_jobs);
}

// What correlate and convolve have in common: every output plane q of an image is a sum over its input planes
// p, out_q(y, x) = sum_{p, i, j} bank(q, p, i, j) in_p(y - top + i, x - left + j).
struct Pass {
  Index n, in_planes, in_height, in_width, out_planes, out_height, out_width, kh, kw, top, left;
  bool wraps;

  // Multiply-adds; so many that an integer might not hold them.
  [[nodiscard]] double operations() const {
    return static_cast<double>(n * out_planes * out_height * out_width) *
           static_cast<double>(in_planes * kh * kw);
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

// Few outputs: one input plane of a block after the other is added to all of them.
template <class T>
class FewOutputs {
 public:
  FewOutputs(const Pass& pass, const T* in, const T* bank, T* out)
      : pass_(pass),
        in_(in),
        out_(out),
        taps_(pass.kh * pass.kw),
        padded_kw_(simd::padded<T>(pass.kw)),
        tile_rows_(cpu::synthesis_tile_rows(pass.kh, pass.out_height)),
        grid_(cpu::block_grid<T>(pass.out_height, pass.out_width, tile_rows_, block_rows, block_vectors)),
        stride_(window_stride<T>(grid_.cols, pass.kw)),
        window_rows_(grid_.rows + pass.kh - 1),
        margin_(simd::padded<T>(pass.kw - 1)),
        sums_stride_(margin_ + grid_.cols + padded_kw_),
        columns_(pass.in_planes * pass.out_planes * taps_),
        reversed_(pass.in_planes * pass.out_planes * pass.kh * padded_kw_, T(0)) {
    for (Index p = 0; p < pass.in_planes; ++p)
      for (Index q = 0; q < pass.out_planes; ++q)
        for (Index i = 0; i < pass.kh; ++i)
          for (Index j = 0; j < pass.kw; ++j) {
            const T tap = bank[(q * pass.in_planes + p) * taps_ + i * pass.kw + j];
            columns_[filter(p, q) * taps_ + j * pass.kh + i] = tap;
            reversed_[(filter(p, q) * pass.kh + i) * padded_kw_ + pass.kw - 1 - j] = tap;
          }
  }

  void write(int n_jobs) {
    const Index blocks = pass_.n * grid_.count();
    for (Index w = std::min<Index>(thread_count(n_jobs), blocks); w > 0; --w)
      workspaces_.push_back({Buffer<T>(window_rows_ * stride_, T(0)),
                             Buffer<T>(pass_.out_planes * grid_.rows * sums_stride_),
                             Buffer<unsigned char>(window_rows_)});
    parallel_for(blocks, n_jobs, [&](Index index, int worker) {
      const Workspace& work = workspaces_[static_cast<std::size_t>(worker)];
      const Index block = index % grid_.count();
      std::fill_n(work.sums.data(), work.sums.size(), T(0));
      for (Index p = 0; p < pass_.in_planes; ++p) {
        poll_interrupt();
        add_plane(index / grid_.count(), block, p, work);
      }
      for (Index q = 0; q < pass_.out_planes; ++q)
        for (Index y = 0; y < grid_.rows_of(block); ++y)
          std::copy_n(sums(work, q) + y * sums_stride_, grid_.cols_of(block),
                      pass_.output(out_, index / grid_.count(), q) +
                          (grid_.top(block) + y) * pass_.out_width + grid_.left(block));
    });
  }

 private:
  static constexpr Index long_taps = 1024;  // a plane may then take long, and a tile is no short time

  struct Workspace {
    Buffer<T> window, sums;
    Buffer<unsigned char> is_busy;
  };

  [[nodiscard]] Index filter(Index p, Index q) const { return p * pass_.out_planes + q; }
  [[nodiscard]] T* sums(const Workspace& work, Index q) const {
    return work.sums.data() + q * grid_.rows * sums_stride_ + margin_;
  }

  void add_plane(Index image, Index block, Index p, const Workspace& work) const {
    const Index top = grid_.top(block) - pass_.top;
    const Index left = grid_.left(block) - pass_.left;
    const Index height = block_count(grid_.rows_of(block), tile_rows_) * tile_rows_;
    const Index width = simd::padded<T>(grid_.cols_of(block));
    const Index rows = height + pass_.kh - 1;
    const Index cols = width + pass_.kw - 1;
    cpu::copy_window(pass_.input(in_, image, p), pass_.in_height, pass_.in_width, top, left, rows, cols,
                     pass_.wraps, work.window.data(), stride_);
    const cpu::PlaneWindow<T> window{work.window.data(), stride_, work.is_busy.data()};
    const Index limit = cpu::scatter_limit<T>(height, width, pass_.kw);
    Index nonzeros = 0;
    for (Index y = 0; y < rows; ++y) {
      const Index enough = std::max<Index>(limit - nonzeros, 1);
      const Index count = cpu::count_nonzeros(window.data + y * stride_, cols, enough);
      work.is_busy[y] = count > 0;
      nonzeros += count;
    }
    cpu::Prefetch<T> ahead;
    if (p + 1 < pass_.in_planes)
      ahead = {pass_.input(in_, image, p + 1), pass_.in_height, pass_.in_width, top, left, rows, cols};
    for (Index q = 0; q < pass_.out_planes; ++q)
      if (nonzeros < limit) {
        ahead.next(rows);
        cpu::scatter(window, reversed_.data() + filter(p, q) * pass_.kh * padded_kw_, pass_.kh, pass_.kw,
                     height, cols, sums(work, q), sums_stride_);
      } else {
        cpu::synthesise(window, columns_.data() + filter(p, q) * taps_, pass_.kh, pass_.kw, tile_rows_,
                        height, width, sums(work, q), sums_stride_, [&] {
                          ahead.next(6);
                          if (taps_ > long_taps) poll_interrupt();
                        });
      }
  }

  Pass pass_;
  const T* in_;
  T* out_;
  Index taps_;
  Index padded_kw_;
  Index tile_rows_;
  BlockGrid grid_;
  Index stride_;
  Index window_rows_;
  Index margin_;
  Index sums_stride_;
  Buffer<T> columns_;
  Buffer<T> reversed_;
  std::vector<Workspace> workspaces_;
};

template <class T>
void apply(const Pass& pass, const T* in, const T* bank, T* out, int n_jobs) {
  if (pass.n == 0) return;
  n_jobs = jobs_of(pass.operations(), n_jobs);
  // Low filters reach few rows, and leave the rows of an output little to share.
  const Index enough = pass.kh < 4 ? 2 : 8;
  if (pass.out_planes >= enough)
    many_outputs(pass, in, bank, out, n_jobs);
  else
    FewOutputs<T>(pass, in, bank, out).write(n_jobs);
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
    n_jobs =
        jobs_of(static_cast<double>(blocks() * grid_.rows * grid_.cols) * static_cast<double>(size), n_jobs);
    sums_ = Buffer<T>(parts_ * size, T(0));
    for (Index w = std::min<Index>(thread_count(n_jobs), tasks); w > 0; --w)
      workspaces_.push_back(
          {Buffer<T>(shape_.channels * plane_), cpu::TransposedCodes<T>(grid_.rows * grid_.cols)});
    parallel_for(tasks, n_jobs, [&](Index task, int worker) {
      const Index part = task / panels_;
      for (Index b = part * blocks() / parts_; b < (part + 1) * blocks() / parts_; ++b)
        add_block(b, (part + 1) * blocks() / parts_, task % panels_, sums_.data() + part * size,
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

  // Codes of a block, those of one panel of filters.
  struct CodeBlock {
    const T* data;
    Index filters, top, left, rows, cols;
  };

  [[nodiscard]] CodeBlock code_block(Index index, Index panel) const {
    const Index block = index % grid_.count();
    const Index first = panel * cpu::gradient_panel<T>;
    const T* data = codes_ + (index / grid_.count() * shape_.filters + first) * code_plane() +
                    grid_.top(block) * shape_.code_width() + grid_.left(block);
    return {data,
            std::min(cpu::gradient_panel<T>, shape_.filters - first),
            grid_.top(block),
            grid_.left(block),
            grid_.rows_of(block),
            grid_.cols_of(block)};
  }

  [[nodiscard]] Index code_plane() const { return shape_.code_height() * shape_.code_width(); }

  // Asks for the share [step, step + 1) of `steps` of a block's codes.
  [[gnu::always_inline]] void prefetch(const CodeBlock& block, Index step, Index steps) const {
    const Index rows = block.filters * block.rows;
    for (Index r = step * rows / steps; r < (step + 1) * rows / steps; ++r)
      cpu::prefetch_run(block.data + r / block.rows * code_plane() + r % block.rows * shape_.code_width(),
                        block.cols);
  }

  void add_block(Index index, Index end, Index panel, T* sums, Workspace& work) const {
    const CodeBlock block = code_block(index, panel);
    const CodeBlock next = code_block(std::min(index + 1, end - 1), panel);
    work.pixels.take(block.data, code_plane(), shape_.code_width(), block.filters, block.rows, block.cols,
                     stride_);
    if (work.pixels.count == 0) return;
    for (Index c = 0; c < shape_.channels; ++c) {
      const T* image = images_ + (index / grid_.count() * shape_.channels + c) * shape_.height * shape_.width;
      T* window = work.windows.data() + c * plane_;
      cpu::copy_window(image, shape_.height, shape_.width, block.top - shape_.top(),
                       block.left - shape_.left(), block.rows + shape_.filter_height - 1,
                       block.cols + shape_.filter_width - 1, shape_.boundary == Boundary::circular, window,
                       stride_);
      for (Index i = 0; i < shape_.filter_height; ++i) {
        poll_interrupt();
        const Index row = c * shape_.filter_height + i;
        prefetch(next, row, shape_.channels * shape_.filter_height);
        cpu::add_gradient(work.pixels, block.filters, window + i * stride_, shape_.filter_width,
                          sums + row * shape_.filter_width * padded_filters_ + panel * cpu::gradient_panel<T>,
                          padded_filters_);
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
