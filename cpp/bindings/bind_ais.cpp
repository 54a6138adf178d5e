#include "bindings/bindings.hpp"
#include "bindings/rbm_arrays.hpp"
#include "kernels/ais.hpp"

namespace thalweg::bindings {
namespace {

template <class T>
void run(const BoundRbm<T>& rbm, const Maybe<T>& base_bias, const Maybe<T>& base_sigma,
         const Array<double>& t, std::optional<WordArray> visible, Maybe<T> visible_real, std::uint64_t seed,
         std::uint32_t stream, std::uint64_t first_row, std::uint32_t step, Array<double>& log_weights,
         int n_jobs) {
  const auto view = rbm.view();
  const bool is_gaussian = view.sigma != nullptr;
  const Index rows = log_weights.size();
  require(visible.has_value() != is_gaussian && visible_real.has_value() == is_gaussian, "visible: expected ",
          is_gaussian ? "real numbers" : "bits");
  Bits v;
  if (visible) {
    v = bits_view(*visible, rows, view.n_visible, "visible");
    require_no_more_bits({v.data, v.rows, v.units, v.stride}, "visible");
  }
  const auto v_real = output_view<T>(visible_real, rows, view.n_visible, "visible_real");
  double* weights = mutable_vector(log_weights, rows, "log_weights");
  const std::span<const double> temperatures(vector(t, t.size(), "t"), static_cast<std::size_t>(t.size()));
  const auto base = tempering_view<T>({}, base_bias, base_sigma, rows, view.n_visible);
  const Draw draw = make_draw(seed, stream, first_row, step);
  const py::gil_scoped_release release;
  anneal(view, base, temperatures, v, v_real, draw, weights, *rbm.workspace, n_jobs);
}

template <class T>
void bind(py::module_& m) {
  m.def("anneal", &run<T>, py::arg("rbm"), py::arg("base_bias").noconvert(),
        py::arg("base_sigma").noconvert(), py::arg("t").noconvert(), py::arg("visible").noconvert(),
        py::arg("visible_real").noconvert(), py::arg("seed"), py::arg("stream"), py::arg("first_row"),
        py::arg("step"), py::arg("log_weights").noconvert(), py::arg("n_jobs"));
}

}  // namespace

void bind_ais(py::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace thalweg::bindings
