#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "kernels/patches.hpp"

namespace thalweg::bindings {
namespace {

template <class T>
void extract(const Array<T>& image, Index height, Index width, const Array<std::int64_t>& positions,
             Array<T>& patches, int n_jobs) {
  require_ndim(image, 3, "image");
  const ImageShape image_shape{image.shape(0), image.shape(1)};
  const PatchShape shape{height, width, image.shape(2)};
  const auto places = matrix(positions, "positions");
  const auto out = mutable_matrix(patches, "patches");
  const T* pixels = image.data();
  const py::gil_scoped_release release;
  extract_patches(pixels, image_shape, shape, places, out, n_jobs);
}

template <class T>
void average(const Array<T>& patches, Index height, Index width, const Array<std::int64_t>& rows,
             const Array<std::int64_t>& columns, Array<T>& image, int n_jobs) {
  require_ndim(image, 3, "image");
  require_ndim(rows, 1, "rows");
  require_ndim(columns, 1, "columns");
  require(image.writeable(), "image: expected a writeable array, got a read-only one");
  const ImageShape image_shape{image.shape(0), image.shape(1)};
  const PatchShape shape{height, width, image.shape(2)};
  const auto in = matrix(patches, "patches");
  T* pixels = image.mutable_data();
  const py::gil_scoped_release release;
  average_patches(in, shape, rows.data(), rows.shape(0), columns.data(), columns.shape(0), pixels,
                  image_shape, n_jobs);
}

template <class T>
void bind(py::module_& m) {
  m.def("extract_patches", &extract<T>, py::arg("image").noconvert(), py::arg("height"), py::arg("width"),
        py::arg("positions").noconvert(), py::arg("patches").noconvert(), py::arg("n_jobs"));
  m.def("average_patches", &average<T>, py::arg("patches").noconvert(), py::arg("height"), py::arg("width"),
        py::arg("rows").noconvert(), py::arg("columns").noconvert(), py::arg("image").noconvert(),
        py::arg("n_jobs"));
}

}  // namespace

void bind_patches(py::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace thalweg::bindings
