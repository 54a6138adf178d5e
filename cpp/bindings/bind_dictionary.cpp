#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "kernels/dictionary.hpp"

namespace thalweg::bindings {
namespace {

template <class T>
void accumulate(const Array<T>& codes, const Array<T>& x, double decay, Array<double>& a, Array<double>& b,
                int n_jobs) {
  const auto z = matrix(codes, "codes");
  const auto samples = matrix(x, "X");
  const auto a_view = mutable_matrix(a, "A");
  const auto b_view = mutable_matrix(b, "B");
  const py::gil_scoped_release release;
  accumulate_statistics(z, samples, decay, a_view, b_view, n_jobs);
}

template <class T>
void update(const Array<double>& a, const Array<double>& b, Array<T>& dictionary, Array<std::uint8_t>& dead,
            bool positive, bool unit_norm, Index sweeps, int n_jobs) {
  const auto a_view = matrix(a, "A");
  const auto b_view = matrix(b, "B");
  const auto d = mutable_matrix(dictionary, "dictionary");
  auto* marks = mutable_vector(dead, d.rows, "dead");
  const py::gil_scoped_release release;
  update_dictionary(a_view, b_view, d, marks, {positive, unit_norm, sweeps, n_jobs});
}

template <class T>
void bind(py::module_& m) {
  m.def("accumulate_statistics", &accumulate<T>, py::arg("codes").noconvert(), py::arg("x").noconvert(),
        py::arg("decay"), py::arg("a").noconvert(), py::arg("b").noconvert(), py::arg("n_jobs"));
  m.def("update_dictionary", &update<T>, py::arg("a").noconvert(), py::arg("b").noconvert(),
        py::arg("dictionary").noconvert(), py::arg("dead").noconvert(), py::arg("positive"),
        py::arg("unit_norm"), py::arg("sweeps"), py::arg("n_jobs"));
}

}  // namespace

void bind_dictionary(py::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace thalweg::bindings
