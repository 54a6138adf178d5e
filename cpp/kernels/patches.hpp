// Patches of an image as rows, and an image as the average of its patches.
//
// Parameters, in NumPy's terms
//   image     (h, w, c)  float32 or float64
//   positions (n, 2)     int64, row and column of every patch's top left pixel
//   patches   (n, c * ph * pw)  rows are patches in the order (channel, row, column)
//   rows      (n_rows,)  int64, increasing: the grid's patch rows; columns likewise. Patch g of the grid has
//   row
//                        rows[g / n_columns] and column columns[g % n_columns]
//
// extract copies: patches[i, (k, y, x)] = image[positions[i] + (y, x), k].
// average puts patches back: every pixel is the mean, taken in float64, of all patch values that cover it.
// Every pixel must be covered.
//
// Errors: std::invalid_argument where a patch does not lie in the image, shapes disagree, or a pixel is
// uncovered.
#pragma once

#include <cstdint>

#include "core/view.hpp"

namespace thalweg {

struct PatchShape {
  Index height = 0;
  Index width = 0;
  Index channels = 0;

  [[nodiscard]] Index size() const { return height * width * channels; }
};

struct ImageShape {
  Index height = 0;
  Index width = 0;
};

template <class T>
void extract_patches(const T* image, ImageShape image_shape, PatchShape shape,
                     MatrixView<const std::int64_t> positions, MatrixView<T> patches, int n_jobs);

template <class T>
void average_patches(MatrixView<const T> patches, PatchShape shape, const std::int64_t* rows, Index n_rows,
                     const std::int64_t* columns, Index n_columns, T* image, ImageShape image_shape,
                     int n_jobs);

}  // namespace thalweg
