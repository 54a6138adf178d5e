#include "bindings/cuda/array.hpp"
#include "bindings/cuda/bindings.hpp"
#include "bindings/cuda/conv_arrays.hpp"
#include "kernels/conv.hpp"

namespace thalweg::cuda::bindings {
namespace {

template <class T>
void correlate_arrays(const Array<T>& images, const Array<T>& filters, Array<T>& codes, Boundary boundary,
                      int /*n_jobs*/) {
  const ConvShape shape = batch_shape_of(images, filters, codes, boundary);
  Call call;
  const T* const of_images = call.data(images);
  const T* const of_filters = call.data(filters);
  T* const out = call.result_data(codes, "codes");
  call.run([&](Stream& stream) { correlate(shape, of_images, of_filters, out, stream); });
}

template <class T>
void convolve_arrays(const Array<T>& codes, const Array<T>& filters, Array<T>& images, Boundary boundary,
                     int /*n_jobs*/) {
  const ConvShape shape = batch_shape_of(images, filters, codes, boundary);
  Call call;
  const T* const of_codes = call.data(codes);
  const T* const of_filters = call.data(filters);
  T* const out = call.result_data(images, "images");
  call.run([&](Stream& stream) { convolve(shape, of_codes, of_filters, out, stream); });
}

template <class T>
void filter_gradient_arrays(const Array<T>& codes, const Array<T>& images, Array<T>& gradient,
                            Boundary boundary, int /*n_jobs*/) {
  const ConvShape shape = batch_shape_of(images, gradient, codes, boundary);
  Call call;
  const T* const of_codes = call.data(codes);
  const T* const of_images = call.data(images);
  T* const out = call.result_data(gradient, "gradient");
  call.run([&](Stream& stream) { filter_gradient(shape, of_codes, of_images, out, stream); });
}

template <class T>
void bind_for(py::module_& m) {
  m.def("correlate", &correlate_arrays<T>, py::arg("images").noconvert(), py::arg("filters").noconvert(),
        py::arg("codes").noconvert(), py::arg("boundary"), py::arg("n_jobs"));
  m.def("convolve", &convolve_arrays<T>, py::arg("codes").noconvert(), py::arg("filters").noconvert(),
        py::arg("images").noconvert(), py::arg("boundary"), py::arg("n_jobs"));
  m.def("filter_gradient", &filter_gradient_arrays<T>, py::arg("codes").noconvert(),
        py::arg("images").noconvert(), py::arg("gradient").noconvert(), py::arg("boundary"),
        py::arg("n_jobs"));
}

}  // namespace

void bind_conv(py::module_& m) {
  share(m, {"Boundary"});
  bind_for<float>(m);
  bind_for<double>(m);
}

}  // namespace thalweg::cuda::bindings
