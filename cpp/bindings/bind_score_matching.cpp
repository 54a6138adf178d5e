#include "kernels/score_matching.hpp"

#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "bindings/density_arrays.hpp"

namespace thalweg::bindings {
namespace {

template <class T>
double score_matching(const Array<T>& weights, const MaybeArray<T>& bias, const std::string& activation,
                      const Array<T>& top_weights, const Array<T>& top_bias, const Array<T>& visible_bias,
                      double inverse_variance, const Array<T>& X, Array<double>& objective,
                      Array<T>& d_weights, MaybeArray<T> d_bias, Array<T>& d_top_weights,
                      Array<T>& d_top_bias, Array<T>& d_visible_bias, int n_jobs) {
  const auto view =
      density_view<T>({weights}, {bias}, {activation}, top_weights, top_bias, visible_bias, inverse_variance);
  const auto rows = density_rows(X, view.n_features);
  double* const to = mutable_vector(objective, rows.rows, "objective");
  const auto& layer = view.layers[0].weights;
  std::vector<Array<T>> of_weights{d_weights};
  std::vector<MaybeArray<T>> of_bias{std::move(d_bias)};
  const auto gradient =
      density_gradient<T>({{layer.rows, layer.cols}, {view.top_weights.rows, layer.rows}}, view.n_features,
                          of_weights, of_bias, d_top_weights, d_top_bias, d_visible_bias);
  const py::gil_scoped_release release;
  return density_score_matching(view, rows, to, gradient, n_jobs);
}

template <class T>
void bind(py::module_& m) {
  m.def("density_score_matching", &score_matching<T>, py::arg("weights").noconvert(),
        py::arg("bias").noconvert(), py::arg("activation"), py::arg("top_weights").noconvert(),
        py::arg("top_bias").noconvert(), py::arg("visible_bias").noconvert(), py::arg("inverse_variance"),
        py::arg("X").noconvert(), py::arg("objective").noconvert(), py::arg("d_weights").noconvert(),
        py::arg("d_bias").noconvert(), py::arg("d_top_weights").noconvert(),
        py::arg("d_top_bias").noconvert(), py::arg("d_visible_bias").noconvert(), py::arg("n_jobs") = 0);
}

}  // namespace

void bind_score_matching(py::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace thalweg::bindings
