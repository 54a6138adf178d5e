// The shapes of a batch of images, filters and codes that belong together.
#pragma once

#include <vector>

#include "bindings/cuda/array.hpp"
#include "kernels/conv.hpp"

namespace thalweg::cuda::bindings {

// `filters` are the filters, or their gradient.
template <class T>
ConvShape batch_shape_of(const Array<T>& images, const Array<T>& filters, const Array<T>& codes,
                         Boundary boundary) {
  require_ndim(images, 4, "images");
  require_ndim(filters, 4, "filters");
  require_ndim(codes, 4, "codes");
  const ConvShape shape{images.shape(0),  images.shape(1),  images.shape(2),  images.shape(3),
                        filters.shape(0), filters.shape(2), filters.shape(3), boundary};
  require(filters.shape(1) == shape.channels, "filters: expected ", shape.channels, " channel(s), got shape ",
          shape_text(filters));
  require(codes.shape(0) == shape.n && codes.shape(1) == shape.filters &&
              codes.shape(2) == shape.code_height() && codes.shape(3) == shape.code_width(),
          "codes: expected shape (", shape.n, ", ", shape.filters, ", ", shape.code_height(), ", ",
          shape.code_width(), "), got ", shape_text(codes));
  return shape;
}

}  // namespace thalweg::cuda::bindings
