// Correlation, convolution and the gradient in the filters of whole batches: each one or a few launches of an
// implicit matrix product; what they cost stands in the heads of the files included.
#include "kernels/conv.hpp"

#include "cuda/correlation.cuh"
#include "cuda/filter_gradient.cuh"
#include "cuda/probes.hpp"
#include "cuda/synthesis.cuh"

namespace thalweg::cuda {
namespace {

template <class T>
struct Store {
  struct Operands {};
  T* codes;

  __device__ void begin() const {}
  __device__ Operands load(Index, int) const { return {}; }
  __device__ void finish(Index place, Operands, T sum) const { codes[place] = sum; }
  __device__ void end() const {}
  __device__ void close(double*) const {}
};

}  // namespace

template <class T>
void correlate(const ConvShape& shape, const T* images, const T* filters, T* codes, Stream& stream) {
  const Correlation<T> correlation(sizes_of(shape), filters, stream);
  correlation(images, Store<T>{codes}, stream);
}

template <class T>
void convolve(const ConvShape& shape, const T* codes, const T* filters, T* images, Stream& stream) {
  const Synthesis<T> synthesis(sizes_of(shape), filters, stream);
  synthesis(codes, images, stream);
}

template <class T>
void filter_gradient(const ConvShape& shape, const T* codes, const T* images, T* gradient, Stream& stream) {
  const FilterGradient<T> gradient_of(sizes_of(shape), stream);
  gradient_of(codes, images, 1.0, false, gradient, stream);
}

#define THALWEG_CONV(T)                                                       \
  template void correlate(const ConvShape&, const T*, const T*, T*, Stream&); \
  template void convolve(const ConvShape&, const T*, const T*, T*, Stream&);  \
  template void filter_gradient(const ConvShape&, const T*, const T*, T*, Stream&);

THALWEG_CONV(float)
THALWEG_CONV(double)

int filter_gradient_buffers(const ConvShape& shape, bool is_double) {
  const ConvSizes s = sizes_of(shape);
  const std::size_t room = device().shared_per_block;
  return (is_double ? filter_gradients::plan_for<double>(s, room)
                    : filter_gradients::plan_for<float>(s, room))
      .buffers;
}

}  // namespace thalweg::cuda
