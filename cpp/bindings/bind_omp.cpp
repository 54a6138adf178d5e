#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "kernels/omp.hpp"

namespace thalweg::bindings {
namespace {

template <class T>
void encode(const CodingDictionary<T>& dictionary, const Array<T>& x, Array<T>& codes,
            Array<double>& residual_squared, Array<std::int32_t>& n_nonzero, Array<std::int8_t>& status,
            Index most, double tol, int n_jobs) {
  const auto samples = matrix(x, "X");
  const auto out = mutable_matrix(codes, "codes");
  const PursuitReport report{mutable_vector(residual_squared, samples.rows, "residual_squared"),
                             mutable_vector(n_nonzero, samples.rows, "n_nonzero"),
                             mutable_vector(status, samples.rows, "status")};
  const py::gil_scoped_release release;
  omp_encode(dictionary, samples, out, report, {most, tol, n_jobs});
}

template <class T>
void bind(py::module_& m) {
  m.def("omp_encode", &encode<T>, py::arg("dictionary"), py::arg("x").noconvert(),
        py::arg("codes").noconvert(), py::arg("residual_squared").noconvert(),
        py::arg("n_nonzero").noconvert(), py::arg("status").noconvert(), py::arg("most"), py::arg("tol"),
        py::arg("n_jobs"));
}

}  // namespace

void bind_omp(py::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace thalweg::bindings
