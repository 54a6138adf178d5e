#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings/cuda/array.hpp"
#include "bindings/cuda/bindings.hpp"
#include "bindings/density_activation.hpp"
#include "core/density_checks.hpp"
#include "kernels/langevin.hpp"

namespace thalweg::cuda::bindings {
namespace {

// A density with the shapes of its parameters, which are asked of its gradients.
template <class T>
struct BoundDensity {
  std::unique_ptr<DeepDensity<T>> density;
  std::vector<std::pair<Index, Index>> shapes;  // of the layers' weights and the top's

  [[nodiscard]] Index n_features() const { return density->n_features(); }
};

template <class T>
std::shared_ptr<BoundDensity<T>> make_density(const std::vector<Array<T>>& weights,
                                              const std::vector<Maybe<T>>& bias,
                                              const std::vector<std::string>& activations,
                                              const Array<T>& top_weights, const Array<T>& top_bias,
                                              const Array<T>& visible_bias, double inverse_variance) {
  require(bias.size() == weights.size() && activations.size() == weights.size(),
          "bias: expected as many as weights, and as activations: ", weights.size(), ", got ", bias.size(),
          " and ", activations.size());
  Call call;
  auto made = std::make_shared<BoundDensity<T>>();
  DensityView<T> view;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    DensityLayer<T> layer;
    layer.weights = call.matrix(weights[i], "weights");
    if (bias[i]) layer.bias = call.vector(*bias[i], layer.weights.rows, "bias");
    layer.activation = thalweg::bindings::density_activation(activations[i]);
    made->shapes.emplace_back(layer.weights.rows, layer.weights.cols);
    view.layers.push_back(layer);
  }
  view.top_weights = call.matrix(top_weights, "top_weights");
  view.top_bias = call.vector(top_bias, view.top_weights.rows, "top_bias");
  require_ndim(visible_bias, 1, "visible_bias");
  view.visible_bias = call.data(visible_bias);
  view.n_features = visible_bias.shape(0);
  view.inverse_variance = inverse_variance;
  made->shapes.emplace_back(view.top_weights.rows, view.top_weights.cols);
  check_shapes(view);
  call.run([&](Stream& stream) { made->density = std::make_unique<DeepDensity<T>>(view, stream); });
  return made;
}

template <class T>
MatrixView<const T> density_rows(Call& call, const BoundDensity<T>& self, const Array<T>& X) {
  const auto rows = call.matrix(X, "X");
  require(rows.cols == self.n_features(), "X: expected ", self.n_features(), " columns, got shape ",
          shape_text(X));
  return rows;
}

template <class T>
MatrixView<T> result_like(Call& call, Array<T>& out, Index rows, Index cols, const char* name) {
  require_ndim(out, 2, name);
  require(out.shape(0) == rows && out.shape(1) == cols, name, ": expected shape (", rows, ", ", cols,
          "), got ", shape_text(out));
  return call.result_matrix(out, name);
}

template <class T>
void energy(const BoundDensity<T>& self, const Array<T>& X, Array<double>& out, double hidden_weight,
            int /*n_jobs*/) {
  Call call;
  call.use(self.density->home());
  const auto rows = density_rows(call, self, X);
  double* const to = call.result_vector(out, rows.rows, "out");
  call.run([&](Stream& stream) { self.density->energy(rows, hidden_weight, to, stream); });
}

template <class T>
void score(const BoundDensity<T>& self, const Array<T>& X, Array<T>& out, double hidden_weight,
           int /*n_jobs*/) {
  Call call;
  call.use(self.density->home());
  const auto rows = density_rows(call, self, X);
  const auto to = result_like(call, out, rows.rows, rows.cols, "out");
  require(to.data != rows.data, "out: expected memory that is not that of X");
  call.run([&](Stream& stream) { self.density->score(rows, hidden_weight, to, stream); });
}

template <class T>
std::unique_ptr<DensityTape<T>> value(const BoundDensity<T>& self, const Array<T>& X, Array<double>& out,
                                      int /*n_jobs*/) {
  Call call;
  call.use(self.density->home());
  const auto rows = density_rows(call, self, X);
  double* const to = call.result_vector(out, rows.rows, "out");
  std::unique_ptr<DensityTape<T>> tape;
  call.run([&](Stream& stream) { tape = self.density->value(rows, to, stream); });
  return tape;
}

template <class T>
void top_probabilities(const DensityTape<T>& tape, Array<T>& out) {
  Call call;
  call.use(tape.home());
  const auto to = call.result_matrix(out, "out");
  call.run([&](Stream& stream) { tape.top_probabilities(to, stream); });
}

// Where the gradient of a density with such layers goes.
template <class T>
DensityGradient<T> density_gradient(Call& call, const std::vector<std::pair<Index, Index>>& shapes,
                                    Index n_features, std::vector<Array<T>>& weights,
                                    std::vector<Maybe<T>>& bias, Array<T>& top_weights, Array<T>& top_bias,
                                    Array<T>& visible_bias) {
  const std::size_t n_layers = shapes.size() - 1;
  require(weights.size() == n_layers && bias.size() == n_layers, "weights: expected ", n_layers,
          " array(s), and of bias as many, got ", weights.size(), " and ", bias.size());
  DensityGradient<T> gradient;
  for (std::size_t i = 0; i < n_layers; ++i) {
    typename DensityGradient<T>::Layer layer;
    layer.weights = result_like(call, weights[i], shapes[i].first, shapes[i].second, "weights");
    if (bias[i]) layer.bias = call.result_vector(*bias[i], shapes[i].first, "bias");
    gradient.layers.push_back(layer);
  }
  const auto [n_top, n_hidden] = shapes.back();
  gradient.top_weights = result_like(call, top_weights, n_top, n_hidden, "top_weights");
  gradient.top_bias = call.result_vector(top_bias, n_top, "top_bias");
  gradient.visible_bias = call.result_vector(visible_bias, n_features, "visible_bias");
  return gradient;
}

template <class T>
double pull(const BoundDensity<T>& self, const DensityTape<T>& tape, const Array<T>& X,
            const Array<double>& gradient, std::vector<Array<T>> weights, std::vector<Maybe<T>> bias,
            Array<T>& top_weights, Array<T>& top_bias, Array<T>& visible_bias, int /*n_jobs*/) {
  Call call;
  call.use(self.density->home());
  call.use(tape.home());
  const auto rows = density_rows(call, self, X);
  require(tape.rows() == rows.rows, "tape: expected that of ", rows.rows,
          " row(s) from this density, got one of ", tape.rows());
  const double* const weight = call.vector(gradient, rows.rows, "gradient");
  const auto to =
      density_gradient(call, self.shapes, rows.cols, weights, bias, top_weights, top_bias, visible_bias);
  double of_log_sigma = 0;
  call.run([&](Stream& stream) { of_log_sigma = self.density->pull(tape, rows, weight, to, stream); });
  return of_log_sigma;
}

template <class T>
void move(const BoundDensity<T>& self, Array<T>& X, double epsilon, Index n_leapfrog, bool is_tested,
          Index n_steps, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
          std::uint32_t step, Array<double>& acceptance, Array<std::int64_t>& accepted,
          Array<std::int64_t>& diverged, double hidden_weight, int /*n_jobs*/) {
  require_ndim(X, 2, "X");
  require(X.shape(1) == self.n_features(), "X: expected ", self.n_features(), " columns, got shape ",
          shape_text(X));
  check_draws(stream, first_row);
  DensityMoves moves;
  moves.epsilon = epsilon;
  moves.n_leapfrog = n_leapfrog;
  moves.is_tested = is_tested;
  moves.hidden_weight = hidden_weight;
  moves.n_steps = n_steps;
  moves.seed = seed;
  moves.stream = stream;
  moves.first_row = first_row;
  moves.step = step;
  check_moves(moves);
  Call call;
  call.use(self.density->home());
  const auto chains = call.mutable_matrix(X, "X");
  const DensityMoveReport report{call.result_vector(acceptance, chains.rows, "acceptance"),
                                 call.result_vector(accepted, chains.rows, "accepted"),
                                 call.result_vector(diverged, chains.rows, "diverged")};
  call.run([&](Stream& s) { self.density->move(chains, moves, report, s); });
}

template <class T>
void fill_normals(Array<T>& out, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                  std::uint32_t step, int /*n_jobs*/) {
  require_ndim(out, 2, "out");
  check_draws(stream, first_row);
  Call call;
  const auto rows = call.result_matrix(out, "out");
  call.run([&](Stream& s) { normal_rows(rows, seed, stream, first_row, step, s); });
}

template <class T>
void squares_of_rows(const Array<T>& X, const Maybe<T>& mean, const Maybe<T>& scale, Array<double>& out,
                     int /*n_jobs*/) {
  require(mean.has_value() == scale.has_value(), "scale: expected one where mean is given");
  Call call;
  const auto rows = call.matrix(X, "X");
  const T* const center = mean ? call.vector(*mean, rows.cols, "mean") : nullptr;
  const T* const factor = scale ? call.vector(*scale, rows.cols, "scale") : nullptr;
  double* const to = call.result_vector(out, rows.rows, "out");
  call.run([&](Stream& s) { row_squares<T>(rows, center, factor, to, s); });
}

void fill_uniforms(Array<double>& out, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                   std::uint32_t step) {
  require_ndim(out, 1, "out");
  check_draws(stream, first_row);
  Call call;
  double* const to = call.result_vector(out, out.shape(0), "out");
  call.run([&](Stream& s) { uniform_rows(to, out.shape(0), seed, stream, first_row, step, s); });
}

template <class T>
void bind(py::module_& m, const char* name, const char* tape_name) {
  using Density = BoundDensity<T>;
  py::class_<DensityTape<T>>(m, tape_name)
      .def_property_readonly("rows", &DensityTape<T>::rows)
      .def("top_probabilities", &top_probabilities<T>, py::arg("out").noconvert());
  py::class_<Density, std::shared_ptr<Density>>(m, name)
      .def_property_readonly("n_features", &Density::n_features)
      .def("energy", &energy<T>, py::arg("X").noconvert(), py::arg("out").noconvert(),
           py::arg("hidden_weight") = 1.0, py::arg("n_jobs") = 0)
      .def("score", &score<T>, py::arg("X").noconvert(), py::arg("out").noconvert(),
           py::arg("hidden_weight") = 1.0, py::arg("n_jobs") = 0)
      .def("value", &value<T>, py::arg("X").noconvert(), py::arg("out").noconvert(), py::arg("n_jobs") = 0)
      .def("pull", &pull<T>, py::arg("tape"), py::arg("X").noconvert(), py::arg("gradient").noconvert(),
           py::arg("weights").noconvert(), py::arg("bias").noconvert(), py::arg("top_weights").noconvert(),
           py::arg("top_bias").noconvert(), py::arg("visible_bias").noconvert(), py::arg("n_jobs") = 0)
      .def("move", &move<T>, py::arg("X").noconvert(), py::arg("epsilon"), py::arg("n_leapfrog"),
           py::arg("is_tested"), py::arg("n_steps"), py::arg("seed"), py::arg("stream"), py::arg("first_row"),
           py::arg("step"), py::arg("acceptance").noconvert(), py::arg("accepted").noconvert(),
           py::arg("diverged").noconvert(), py::arg("hidden_weight") = 1.0, py::arg("n_jobs") = 0);
  m.def("deep_density", &make_density<T>, py::arg("weights").noconvert(), py::arg("bias").noconvert(),
        py::arg("activations"), py::arg("top_weights").noconvert(), py::arg("top_bias").noconvert(),
        py::arg("visible_bias").noconvert(), py::arg("inverse_variance"));
  m.def("normal_rows", &fill_normals<T>, py::arg("out").noconvert(), py::arg("seed"), py::arg("stream"),
        py::arg("first_row"), py::arg("step"), py::arg("n_jobs") = 0);
  m.def("row_squares", &squares_of_rows<T>, py::arg("X").noconvert(), py::arg("mean").noconvert(),
        py::arg("scale").noconvert(), py::arg("out").noconvert(), py::arg("n_jobs") = 0);
}

}  // namespace

void bind_langevin(py::module_& m) {
  bind<float>(m, "DeepDensityFloat32", "DensityTapeFloat32");
  bind<double>(m, "DeepDensityFloat64", "DensityTapeFloat64");
  m.def("uniform_rows", &fill_uniforms, py::arg("out").noconvert(), py::arg("seed"), py::arg("stream"),
        py::arg("first_row"), py::arg("step"));
}

}  // namespace thalweg::cuda::bindings
