#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <vector>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "kernels/descent.hpp"

namespace thalweg::bindings {
namespace {

template <class T>
MatrixView<const T> like(const Array<T>& a, const Array<T>& parameter, const char* name) {
  require(parameter.ndim() <= 2 && shape_text(a) == shape_text(parameter), name, ": expected shape ",
          shape_text(parameter), ", got ", shape_text(a));
  const Index cols = a.ndim() == 2 ? a.shape(1) : a.size();
  return {a.data(), cols == 0 ? 0 : a.size() / cols, cols};
}

template <class T>
MatrixView<T> mutable_like(Array<T>& a, const Array<T>& parameter, const char* name) {
  const auto view = like(a, parameter, name);
  require(a.writeable(), name, ": expected a writeable array, got a read-only one");
  return {a.mutable_data(), view.rows, view.cols};
}

template <class T>
bool step(const Array<T>& parameter, const std::optional<Array<T>>& velocity, const Array<T>& gradient,
          T rate, T momentum, T decay, Array<T>& next, std::optional<Array<T>> next_velocity, int n_jobs) {
  require(velocity.has_value() == next_velocity.has_value(),
          "next_velocity: expected one where velocity is given");
  const auto x = like(parameter, parameter, "parameter");
  const auto g = like(gradient, parameter, "gradient");
  const auto to = mutable_like(next, parameter, "next");
  MatrixView<const T> v;
  MatrixView<T> next_v;
  if (velocity) {
    v = like(*velocity, parameter, "velocity");
    next_v = mutable_like(*next_velocity, parameter, "next_velocity");
  }
  const py::gil_scoped_release release;
  return momentum_step<T>(x, v, g, rate, momentum, decay, to, next_v, n_jobs);
}

template <class T>
using Arrays = std::vector<Array<T>>;

// Arrays of any dimensions, of which only their elements count.
template <class T>
const T* elements(const Arrays<T>& of, std::size_t i, const Arrays<T>& parameters, const char* name) {
  require(of.size() == parameters.size(), name, ": expected ", parameters.size(), " array(s), got ",
          of.size());
  require(shape_text(of[i]) == shape_text(parameters[i]), name, ": expected shape ",
          shape_text(parameters[i]), ", got ", shape_text(of[i]));
  return of[i].data();
}

template <class T>
T* mutable_elements(Arrays<T>& of, std::size_t i, const Arrays<T>& parameters, const char* name) {
  elements(of, i, parameters, name);
  require(of[i].writeable(), name, ": expected a writeable array, got a read-only one");
  return of[i].mutable_data();
}

template <class T>
bool adam(const Arrays<T>& parameters, const Arrays<T>& means, const Arrays<T>& squares,
          const Arrays<T>& gradients, T rate, T first_decay, T second_decay, T epsilon, Index step_number,
          Arrays<T> next, Arrays<T> next_means, Arrays<T> next_squares, int n_jobs) {
  require(step_number >= 1, "step: expected an integer >= 1, got ", step_number);
  std::vector<AdamArrays<T>> all;
  for (std::size_t i = 0; i < parameters.size(); ++i)
    all.push_back({parameters[i].data(), elements(means, i, parameters, "means"),
                   elements(squares, i, parameters, "squares"),
                   elements(gradients, i, parameters, "gradients"),
                   mutable_elements(next, i, parameters, "next"),
                   mutable_elements(next_means, i, parameters, "next_means"),
                   mutable_elements(next_squares, i, parameters, "next_squares"), parameters[i].size()});
  const AdamRates<T> rates{rate, first_decay, second_decay, epsilon, step_number};
  const py::gil_scoped_release release;
  return adam_step<T>(all, rates, n_jobs);
}

template <class T>
void bind(py::module_& m) {
  m.def("adam_step", &adam<T>, py::arg("parameters").noconvert(), py::arg("means").noconvert(),
        py::arg("squares").noconvert(), py::arg("gradients").noconvert(), py::arg("rate"),
        py::arg("first_decay"), py::arg("second_decay"), py::arg("epsilon"), py::arg("step"),
        py::arg("next").noconvert(), py::arg("next_means").noconvert(), py::arg("next_squares").noconvert(),
        py::arg("n_jobs"));
  m.def("momentum_step", &step<T>, py::arg("parameter").noconvert(), py::arg("velocity").noconvert(),
        py::arg("gradient").noconvert(), py::arg("rate"), py::arg("momentum"), py::arg("decay"),
        py::arg("next").noconvert(), py::arg("next_velocity").noconvert(), py::arg("n_jobs"));
}

}  // namespace

void bind_descent(py::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace thalweg::bindings
