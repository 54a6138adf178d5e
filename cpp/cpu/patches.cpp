#include "kernels/patches.hpp"

#include <algorithm>
#include <vector>

#include "core/buffer.hpp"
#include "core/error.hpp"
#include "core/parallel.hpp"

namespace thalweg {
namespace {

void require_fit(ImageShape image, PatchShape shape) {
  require(shape.height > 0 && shape.width > 0 && shape.channels > 0,
          "patch_size: expected positive sizes, got ", shape.height, " x ", shape.width);
  require(shape.height <= image.height && shape.width <= image.width, "patch_size: ", shape.height, " x ",
          shape.width, " does not fit into an image of ", image.height, " x ", image.width);
}

// The grid's first place whose patches, `extent` long, reach pixel i, and the first place after pixel i.
struct Covering {
  Index first;
  Index last;
};

Covering covering(const std::int64_t* starts, Index count, Index extent, Index i) {
  const auto first = std::upper_bound(starts, starts + count, i - extent) - starts;
  const auto last = std::upper_bound(starts, starts + count, i) - starts;
  return {first, last};
}

void require_cover(const std::int64_t* starts, Index count, Index extent, Index size, const char* name) {
  require(count > 0 && starts[0] == 0 && starts[count - 1] + extent == size, name,
          ": the grid does not cover the image");
  for (Index i = 1; i < count; ++i)
    require(starts[i] > starts[i - 1] && starts[i] - starts[i - 1] <= extent, name,
            ": the grid's places must increase by at most the patch's size");
}

}  // namespace

template <class T>
void extract_patches(const T* image, ImageShape image_shape, PatchShape shape,
                     MatrixView<const std::int64_t> positions, MatrixView<T> patches, int n_jobs) {
  require_fit(image_shape, shape);
  require(positions.cols == 2 && patches.rows == positions.rows && patches.cols == shape.size(),
          "patches: expected shape (", positions.rows, ", ", shape.size(), "), got (", patches.rows, ", ",
          patches.cols, ")");
  for (Index i = 0; i < positions.rows; ++i)
    require(positions(i, 0) >= 0 && positions(i, 0) <= image_shape.height - shape.height &&
                positions(i, 1) >= 0 && positions(i, 1) <= image_shape.width - shape.width,
            "positions: patch ", i, " at (", positions(i, 0), ", ", positions(i, 1),
            ") does not lie in the image");
  constexpr Index block = 512;
  parallel_for(block_count(positions.rows, block), n_jobs, [&](Index b, int) {
    for (Index i = b * block; i < std::min((b + 1) * block, positions.rows); ++i) {
      T* out = patches.row(i);
      const T* corner = image + (positions(i, 0) * image_shape.width + positions(i, 1)) * shape.channels;
      for (Index k = 0; k < shape.channels; ++k)
        for (Index y = 0; y < shape.height; ++y)
          for (Index x = 0; x < shape.width; ++x)
            *out++ = corner[(y * image_shape.width + x) * shape.channels + k];
    }
  });
}

template <class T>
void average_patches(MatrixView<const T> patches, PatchShape shape, const std::int64_t* rows, Index n_rows,
                     const std::int64_t* columns, Index n_columns, T* image, ImageShape image_shape,
                     int n_jobs) {
  require_fit(image_shape, shape);
  require(patches.rows == n_rows * n_columns && patches.cols == shape.size(), "patches: expected shape (",
          n_rows * n_columns, ", ", shape.size(), "), got (", patches.rows, ", ", patches.cols, ")");
  require_cover(rows, n_rows, shape.height, image_shape.height, "grid rows");
  require_cover(columns, n_columns, shape.width, image_shape.width, "grid columns");
  const Index line = image_shape.width * shape.channels;
  std::vector<Buffer<double>> sums;
  const Index threads = std::min<Index>(thread_count(n_jobs), image_shape.height);
  for (Index t = 0; t < threads; ++t) sums.emplace_back(line);
  // One image line at a time, so that every pixel is summed over its patches in the grid's order, whoever
  // does it. What is summed are differences to the first patch: where all agree, nothing is rounded.
  parallel_for(image_shape.height, n_jobs, [&](Index i, int worker) {
    double* sum = sums[static_cast<std::size_t>(worker)].data();
    std::fill_n(sum, line, 0.0);
    const Covering above = covering(rows, n_rows, shape.height, i);
    T* out = image + i * line;
    for (Index j = 0; j < image_shape.width; ++j) {
      const Index h = covering(columns, n_columns, shape.width, j).first;
      const T* patch = patches.row(above.first * n_columns + h);
      for (Index k = 0; k < shape.channels; ++k)
        out[j * shape.channels + k] =
            patch[(k * shape.height + i - rows[above.first]) * shape.width + j - columns[h]];
    }
    for (Index g = above.first; g < above.last; ++g) {
      const Index y = i - rows[g];
      for (Index h = 0; h < n_columns; ++h) {
        const T* patch = patches.row(g * n_columns + h);
        for (Index k = 0; k < shape.channels; ++k) {
          const T* from = patch + (k * shape.height + y) * shape.width;
          double* to = sum + columns[h] * shape.channels + k;
          const T* base = out + columns[h] * shape.channels + k;
          for (Index x = 0; x < shape.width; ++x)
            to[x * shape.channels] +=
                static_cast<double>(from[x]) - static_cast<double>(base[x * shape.channels]);
        }
      }
    }
    for (Index j = 0; j < image_shape.width; ++j) {
      const Covering beside = covering(columns, n_columns, shape.width, j);
      const auto count = static_cast<double>((above.last - above.first) * (beside.last - beside.first));
      for (Index k = 0; k < shape.channels; ++k)
        out[j * shape.channels + k] = static_cast<T>(static_cast<double>(out[j * shape.channels + k]) +
                                                     sum[j * shape.channels + k] / count);
    }
  });
}

#define THALWEG_INSTANTIATE(T)                                                                    \
  template void extract_patches(const T*, ImageShape, PatchShape, MatrixView<const std::int64_t>, \
                                MatrixView<T>, int);                                              \
  template void average_patches(MatrixView<const T>, PatchShape, const std::int64_t*, Index,      \
                                const std::int64_t*, Index, T*, ImageShape, int);
THALWEG_INSTANTIATE(float)
THALWEG_INSTANTIATE(double)
#undef THALWEG_INSTANTIATE

}  // namespace thalweg
