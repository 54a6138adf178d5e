// Correlation and convolution of images with banks of filters, and the gradient in the filters.
//
// Parameters, in NumPy's terms, C-contiguous, float32 or float64
//   images    (n, C, H, W)
//   filters   (K, C, kh, kw)
//   codes     (n, K, Hc, Wc)
//   gradient  (K, C, kh, kw)
//
// Along each axis the boundary fixes the codes' size and an offset o; what lies outside is zero, or is found
// modulo the size where the boundary is circular:
//
//   valid     Hc = H + kh - 1   o = kh - 1          no code is left out that reaches the image
//   same      Hc = H            o = (kh - 1) / 2    rounded down
//   full      Hc = H - kh + 1   o = 0               every filter lies inside the image; kh <= H
//   circular  Hc = H            o = 0
//
//   correlate        codes[k, p]       = sum_{c, i} filters[k, c, i] images[c, p - o + i]
//   convolve         images[c, y]      = sum_{k, i} filters[k, c, i] codes[k, y + o - i]     its adjoint
//   filter_gradient  gradient[k, c, i] = sum_{image, p} codes[k, p] images[c, p - o + i]
//                    the gradient of <images, convolve(codes, filters)> in the filters
//
// with p, y and i running over rows and columns. Signals are images of height 1.
//
// The sums are taken directly, without Fourier transforms. An output of correlate or convolve is one chain of
// multiply-adds, in an order that the shape of one image and where its codes are zero fix: its bits do not
// depend on the batch. filter_gradient sums over blocks of pixels that the shape alone fixes. No result
// depends on the number of threads. Zeros among the codes save work: convolve adds the non-zeros one by one
// where they are few, filter_gradient leaves out pixels all of whose codes are zero.
//
// Errors: std::invalid_argument where a size is not positive (n may be 0) or a filter does not fit.
#pragma once

#include "core/view.hpp"

namespace thalweg {

enum class Boundary { valid, same, full, circular };

struct ConvShape {
  Index n = 0;
  Index channels = 0;
  Index height = 0;
  Index width = 0;
  Index filters = 0;
  Index filter_height = 0;
  Index filter_width = 0;
  Boundary boundary = Boundary::valid;

  [[nodiscard]] Index code_height() const { return code_size(height, filter_height); }
  [[nodiscard]] Index code_width() const { return code_size(width, filter_width); }
  [[nodiscard]] Index top() const { return offset(filter_height); }
  [[nodiscard]] Index left() const { return offset(filter_width); }
  [[nodiscard]] Index taps() const { return channels * filter_height * filter_width; }

 private:
  [[nodiscard]] Index code_size(Index size, Index filter_size) const {
    if (boundary == Boundary::valid) return size + filter_size - 1;
    return boundary == Boundary::full ? size - filter_size + 1 : size;
  }
  [[nodiscard]] Index offset(Index filter_size) const {
    if (boundary == Boundary::valid) return filter_size - 1;
    return boundary == Boundary::same ? (filter_size - 1) / 2 : 0;
  }
};

template <class T>
void correlate(const ConvShape& shape, const T* images, const T* filters, T* codes, int n_jobs);

template <class T>
void convolve(const ConvShape& shape, const T* codes, const T* filters, T* images, int n_jobs);

template <class T>
void filter_gradient(const ConvShape& shape, const T* codes, const T* images, T* gradient, int n_jobs);

// The twins on the device: pointers are the device's. Their sums are products of matrices, whose order the
// shape and the device fix; the codes' zeros save nothing there.
namespace cuda {

class Stream;

template <class T>
void correlate(const ConvShape& shape, const T* images, const T* filters, T* codes, Stream& stream);

template <class T>
void convolve(const ConvShape& shape, const T* codes, const T* filters, T* images, Stream& stream);

template <class T>
void filter_gradient(const ConvShape& shape, const T* codes, const T* images, T* gradient, Stream& stream);

}  // namespace cuda

}  // namespace thalweg
