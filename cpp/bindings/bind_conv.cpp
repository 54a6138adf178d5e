#include <pybind11/native_enum.h>
#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "kernels/conv.hpp"

namespace thalweg::bindings {
namespace {

// `filters` are the filters, or their gradient.
ConvShape shape_of(const py::array& images, const py::array& filters, const py::array& codes,
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

template <class T>
T* result(Array<T>& a, const char* name) {
  require(a.writeable(), name, ": expected a writeable array, got a read-only one");
  return a.mutable_data();
}

template <class T>
void bind(py::module_& m) {
  m.def(
      "correlate",
      [](const Array<T>& images, const Array<T>& filters, Array<T>& codes, Boundary boundary, int n_jobs) {
        const ConvShape shape = shape_of(images, filters, codes, boundary);
        T* out = result(codes, "codes");
        const py::gil_scoped_release release;
        correlate<T>(shape, images.data(), filters.data(), out, n_jobs);
      },
      py::arg("images").noconvert(), py::arg("filters").noconvert(), py::arg("codes").noconvert(),
      py::arg("boundary"), py::arg("n_jobs"));
  m.def(
      "convolve",
      [](const Array<T>& codes, const Array<T>& filters, Array<T>& images, Boundary boundary, int n_jobs) {
        const ConvShape shape = shape_of(images, filters, codes, boundary);
        T* out = result(images, "images");
        const py::gil_scoped_release release;
        convolve<T>(shape, codes.data(), filters.data(), out, n_jobs);
      },
      py::arg("codes").noconvert(), py::arg("filters").noconvert(), py::arg("images").noconvert(),
      py::arg("boundary"), py::arg("n_jobs"));
  m.def(
      "filter_gradient",
      [](const Array<T>& codes, const Array<T>& images, Array<T>& gradient, Boundary boundary, int n_jobs) {
        const ConvShape shape = shape_of(images, gradient, codes, boundary);
        T* out = result(gradient, "gradient");
        const py::gil_scoped_release release;
        filter_gradient<T>(shape, codes.data(), images.data(), out, n_jobs);
      },
      py::arg("codes").noconvert(), py::arg("images").noconvert(), py::arg("gradient").noconvert(),
      py::arg("boundary"), py::arg("n_jobs"));
}

}  // namespace

void bind_conv(py::module_& m) {
  py::native_enum<Boundary>(m, "Boundary", "enum.Enum")
      .value("valid", Boundary::valid)
      .value("same", Boundary::same)
      .value("full", Boundary::full)
      .value("circular", Boundary::circular)
      .finalize();
  bind<float>(m);
  bind<double>(m);
}

}  // namespace thalweg::bindings
