#include "bindings/cuda/bindings.hpp"
#include "bindings/cuda/rbm_arrays.hpp"
#include "kernels/ais.hpp"

namespace thalweg::cuda::bindings {
namespace {

template <class T>
void run(const BoundRbm<T>& rbm, const Maybe<T>& base_bias, const Maybe<T>& base_sigma,
         const py::array_t<double, py::array::c_style>& t, std::optional<WordArray> visible,
         Maybe<T> visible_real, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
         std::uint32_t step, Array<double>& log_weights, int /*n_jobs*/) {
  const bool is_gaussian = rbm.is_gaussian();
  const Index rows = log_weights.size();
  require(visible.has_value() != is_gaussian && visible_real.has_value() == is_gaussian, "visible: expected ",
          is_gaussian ? "real numbers" : "bits");
  require(t.ndim() == 1, "t: expected 1 dimension(s), got ", t.ndim());
  Call call;
  Bits v;
  if (visible) {
    require_words(*visible, rows, rbm.n_visible(), "visible");
    v = {call.mutable_data(*visible, "visible"), rows, rbm.n_visible(), rows};
  }
  MatrixView<T> v_real;
  if (visible_real) {
    v_real = call.mutable_matrix(*visible_real, "visible_real");
    require(v_real.rows == rows && v_real.cols == rbm.n_visible(), "visible_real: expected shape (", rows,
            ", ", rbm.n_visible(), "), got ", shape_text(*visible_real));
  }
  double* const weights = call.mutable_vector(log_weights, rows, "log_weights");
  const std::span<const double> temperatures(t.data(), static_cast<std::size_t>(t.size()));
  const auto base = tempering_view<T>(call, {}, base_bias, base_sigma, rows, rbm.n_visible());
  const Draw draw = make_draw(seed, stream, first_row, step);
  const PreparedRbm<T>& prepared = rbm.in(call);
  call.run([&](Stream& s) {
    if (visible) require_no_more_bits({v.data, v.rows, v.units, v.stride}, "visible", s);
    anneal(prepared, base, temperatures, v, v_real, draw, weights, s);
  });
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

}  // namespace thalweg::cuda::bindings
