#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "kernels/csc.hpp"

namespace thalweg::bindings {
namespace {

using Indices = Array<std::int64_t>;

ConvShape shape_of(const py::array& image, const py::array& filters, Boundary boundary) {
  require_ndim(image, 3, "image");
  require_ndim(filters, 4, "filters");
  require(filters.shape(1) == image.shape(0), "filters: expected ", image.shape(0), " channel(s), got shape ",
          shape_text(filters));
  const ConvShape shape{1,
                        image.shape(0),
                        image.shape(1),
                        image.shape(2),
                        filters.shape(0),
                        filters.shape(2),
                        filters.shape(3),
                        boundary};
  require(image.size() > 0 && filters.size() > 0, "image, filters: expected no empty axis");
  require(shape.filter_height <= shape.height && shape.filter_width <= shape.width,
          "filters: expected to fit into the image of ", shape.height, " x ", shape.width, ", got ",
          shape.filter_height, " x ", shape.filter_width);
  return shape;
}

// The arrays of one problem; lives as long as its arguments.
template <class T>
CscProblem<T> problem_of(const Array<T>& image, const std::optional<Array<T>>& weights,
                         const Array<T>& filters, const Array<T>& alpha, Boundary boundary, bool positive) {
  CscProblem<T> problem;
  problem.shape = shape_of(image, filters, boundary);
  problem.image = image.data();
  if (weights.has_value()) {
    require(weights->ndim() == 3 && weights->size() == image.size() && weights->shape(0) == image.shape(0) &&
                weights->shape(1) == image.shape(1),
            "weights: expected shape ", shape_text(image), ", got ", shape_text(*weights));
    problem.weights = weights->data();
  }
  problem.filters = filters.data();
  problem.alpha = vector(alpha, problem.shape.filters, "alpha");
  problem.positive = positive;
  return problem;
}

template <class T>
SparseMapsView<T> maps_of(const Indices& index, const Array<T>& value) {
  require_ndim(index, 1, "index");
  return {index.data(), vector(value, index.shape(0), "value"), index.shape(0)};
}

// A vector as an array that owns it.
template <class T>
py::array_t<T> owned(std::vector<T>&& values) {
  auto* kept = new std::vector<T>(std::move(values));
  const py::capsule owner(kept, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(kept->size()), kept->data(), owner);
}

template <class T>
void bind(py::module_& m) {
  m.def(
      "csc_encode",
      [](const Array<T>& image, const std::optional<Array<T>>& weights, const Array<T>& filters,
         const Array<T>& alpha, Boundary boundary, bool positive, const Indices& index, const Array<T>& value,
         const CscOptions& options) {
        const auto problem = problem_of(image, weights, filters, alpha, boundary, positive);
        const auto start = maps_of(index, value);
        CscReport report;
        SparseMaps<T> maps;
        {
          const py::gil_scoped_release release;
          maps = csc_encode(problem, start, options, report);
        }
        return py::make_tuple(owned(std::move(maps.index)), owned(std::move(maps.value)), report);
      },
      py::arg("image").noconvert(), py::arg("weights").noconvert().none(true), py::arg("filters").noconvert(),
      py::arg("alpha").noconvert(), py::arg("boundary"), py::arg("positive"), py::arg("index").noconvert(),
      py::arg("value").noconvert(), py::arg("options"));
  m.def(
      "csc_fista",
      [](const Array<T>& image, const std::optional<Array<T>>& weights, const Array<T>& filters,
         const Array<T>& alpha, Boundary boundary, bool positive, double lipschitz, Array<T>& codes,
         const CscOptions& options) {
        const auto problem = problem_of(image, weights, filters, alpha, boundary, positive);
        const auto& s = problem.shape;
        require_ndim(codes, 3, "codes");
        require(codes.shape(0) == s.filters && codes.shape(1) == s.code_height() &&
                    codes.shape(2) == s.code_width() && codes.writeable(),
                "codes: expected a writeable array of shape (", s.filters, ", ", s.code_height(), ", ",
                s.code_width(), "), got ", shape_text(codes));
        T* out = codes.mutable_data();
        CscReport report;
        const py::gil_scoped_release release;
        csc_fista(problem, lipschitz, out, options, report);
        return report;
      },
      py::arg("image").noconvert(), py::arg("weights").noconvert().none(true), py::arg("filters").noconvert(),
      py::arg("alpha").noconvert(), py::arg("boundary"), py::arg("positive"), py::arg("lipschitz"),
      py::arg("codes").noconvert(), py::arg("options"));
  m.def(
      "csc_certify",
      [](const Array<T>& image, const std::optional<Array<T>>& weights, const Array<T>& filters,
         const Array<T>& alpha, Boundary boundary, bool positive, const Indices& index, const Array<T>& value,
         int n_jobs) {
        const auto problem = problem_of(image, weights, filters, alpha, boundary, positive);
        const auto maps = maps_of(index, value);
        CscReport report;
        const py::gil_scoped_release release;
        csc_certify(problem, maps, n_jobs, report);
        return report;
      },
      py::arg("image").noconvert(), py::arg("weights").noconvert().none(true), py::arg("filters").noconvert(),
      py::arg("alpha").noconvert(), py::arg("boundary"), py::arg("positive"), py::arg("index").noconvert(),
      py::arg("value").noconvert(), py::arg("n_jobs"));
  m.def(
      "csc_synthesize",
      [](const Array<T>& filters, const Indices& index, const Array<T>& value, Boundary boundary,
         Array<T>& image, int n_jobs) {
        const auto shape = shape_of(image, filters, boundary);
        const auto maps = maps_of(index, value);
        require(image.writeable(), "image: expected a writeable array, got a read-only one");
        T* out = image.mutable_data();
        const py::gil_scoped_release release;
        csc_synthesize(shape, filters.data(), maps, out, n_jobs);
      },
      py::arg("filters").noconvert(), py::arg("index").noconvert(), py::arg("value").noconvert(),
      py::arg("boundary"), py::arg("image").noconvert(), py::arg("n_jobs"));
  m.def(
      "csc_filter_gradient",
      [](const Array<T>& image, const std::optional<Array<T>>& weights, const Array<T>& filters,
         const Array<T>& alpha, Boundary boundary, const Indices& index, const Array<T>& value,
         Array<double>& gradient, int n_jobs) {
        const auto problem = problem_of(image, weights, filters, alpha, boundary, false);
        const auto maps = maps_of(index, value);
        double* out = mutable_vector(gradient, filters.size(), "gradient");
        const py::gil_scoped_release release;
        return csc_filter_gradient(problem, maps, out, n_jobs);
      },
      py::arg("image").noconvert(), py::arg("weights").noconvert().none(true), py::arg("filters").noconvert(),
      py::arg("alpha").noconvert(), py::arg("boundary"), py::arg("index").noconvert(),
      py::arg("value").noconvert(), py::arg("gradient").noconvert(), py::arg("n_jobs"));
  m.def(
      "csc_statistics",
      [](const Array<T>& image, const Array<T>& filters, const Array<T>& alpha, Boundary boundary,
         const Indices& index, const Array<T>& value, Array<double>& a, Array<double>& b, int n_jobs) {
        const auto problem = problem_of(image, std::optional<Array<T>>(), filters, alpha, boundary, false);
        const auto& s = problem.shape;
        const auto maps = maps_of(index, value);
        double* pairs = mutable_vector(
            a, s.filters * s.filters * (2 * s.filter_height - 1) * (2 * s.filter_width - 1), "a");
        double* products = mutable_vector(b, filters.size(), "b");
        const py::gil_scoped_release release;
        csc_statistics(problem, maps, pairs, products, n_jobs);
      },
      py::arg("image").noconvert(), py::arg("filters").noconvert(), py::arg("alpha").noconvert(),
      py::arg("boundary"), py::arg("index").noconvert(), py::arg("value").noconvert(),
      py::arg("a").noconvert(), py::arg("b").noconvert(), py::arg("n_jobs"));
}

}  // namespace

void bind_csc(py::module_& m) {
  py::class_<CscOptions>(m, "CscOptions")
      .def(py::init<>())
      .def_readwrite("tol", &CscOptions::tol)
      .def_readwrite("max_iter", &CscOptions::max_iter)
      .def_readwrite("n_jobs", &CscOptions::n_jobs);
  py::class_<CscReport>(m, "CscReport")
      .def_readonly("objective", &CscReport::objective)
      .def_readonly("gap", &CscReport::gap)
      .def_readonly("n_iter", &CscReport::n_iter);
  bind<float>(m);
  bind<double>(m);
}

}  // namespace thalweg::bindings
