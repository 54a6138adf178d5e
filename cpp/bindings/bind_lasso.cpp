#include <pybind11/native_enum.h>
#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "kernels/lasso.hpp"

namespace thalweg::bindings {
namespace {

// alpha as the Python layer passes it: shape (1 or N, 1 or K).
template <class T>
BroadcastView<T> broadcast(const Array<T>& alpha, Index rows, Index cols) {
  require_ndim(alpha, 2, "alpha");
  const bool fits =
      (alpha.shape(0) == 1 || alpha.shape(0) == rows) && (alpha.shape(1) == 1 || alpha.shape(1) == cols);
  require(fits, "alpha: expected a shape that broadcasts to (", rows, ", ", cols, "), got ",
          shape_text(alpha));
  return {alpha.data(), alpha.shape(0) == 1 ? 0 : alpha.shape(1), alpha.shape(1) == 1 ? 0 : 1};
}

template <class T>
void encode(const CodingDictionary<T>& dictionary, const Array<T>& x, const Array<T>& alpha, Array<T>& codes,
            Array<double>& gap, Array<std::int32_t>& n_iter, Array<std::int8_t>& status,
            const LassoOptions& options) {
  const auto samples = matrix(x, "X");
  const auto weights = broadcast(alpha, samples.rows, dictionary.n_components());
  const auto out = mutable_matrix(codes, "codes");
  const LassoReport report{mutable_vector(gap, samples.rows, "gap"),
                           mutable_vector(n_iter, samples.rows, "n_iter"),
                           mutable_vector(status, samples.rows, "status")};
  const py::gil_scoped_release release;
  dictionary.encode(samples, weights, out, report, options);
}

template <class T>
void bind_dictionary(py::module_& m, const char* name) {
  py::class_<CodingDictionary<T>>(m, name)
      .def(py::init([](const Array<T>& atoms, double l2, int n_jobs) {
             return std::make_unique<CodingDictionary<T>>(matrix(atoms, "dictionary"), l2, n_jobs);
           }),
           py::arg("atoms").noconvert(), py::arg("l2"), py::arg("n_jobs"))
      .def("lipschitz", &CodingDictionary<T>::lipschitz, py::call_guard<py::gil_scoped_release>())
      .def("encode", &encode<T>, py::arg("x").noconvert(), py::arg("alpha").noconvert(),
           py::arg("codes").noconvert(), py::arg("gap").noconvert(), py::arg("n_iter").noconvert(),
           py::arg("status").noconvert(), py::arg("options"));
}

}  // namespace

void bind_lasso(py::module_& m) {
  py::native_enum<Penalty>(m, "Penalty", "enum.Enum")
      .value("l0", Penalty::l0)
      .value("l_half", Penalty::l_half)
      .value("l_two_thirds", Penalty::l_two_thirds)
      .value("l1", Penalty::l1)
      .finalize();
  py::native_enum<LassoMethod>(m, "LassoMethod", "enum.Enum")
      .value("ista", LassoMethod::ista)
      .value("fista", LassoMethod::fista)
      .value("coordinate_descent", LassoMethod::coordinate_descent)
      .value("active_set", LassoMethod::active_set)
      .finalize();
  py::native_enum<Criterion>(m, "Criterion", "enum.Enum")
      .value("duality_gap", Criterion::duality_gap)
      .value("optimality_residual", Criterion::optimality_residual)
      .value("fixed_point_residual", Criterion::fixed_point_residual)
      .finalize();
  py::class_<LassoOptions>(m, "LassoOptions")
      .def(py::init<>())
      .def_readwrite("method", &LassoOptions::method)
      .def_readwrite("penalty", &LassoOptions::penalty)
      .def_readwrite("criterion", &LassoOptions::criterion)
      .def_readwrite("positive", &LassoOptions::positive)
      .def_readwrite("adaptive_restart", &LassoOptions::adaptive_restart)
      .def_readwrite("warm_start", &LassoOptions::warm_start)
      .def_readwrite("tol", &LassoOptions::tol)
      .def_readwrite("max_iter", &LassoOptions::max_iter)
      .def_readwrite("n_jobs", &LassoOptions::n_jobs);
  bind_dictionary<float>(m, "CodingDictionary32");
  bind_dictionary<double>(m, "CodingDictionary64");
}

}  // namespace thalweg::bindings
