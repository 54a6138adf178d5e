#include <pybind11/pybind11.h>

#include <memory>
#include <utility>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "bindings/density_arrays.hpp"
#include "core/density_checks.hpp"
#include "kernels/langevin.hpp"

namespace thalweg::bindings {
namespace {

// A density with the shapes of its parameters, which are asked of its gradients.
template <class T>
struct BoundDensity {
  DeepDensity<T> density;
  std::vector<std::pair<Index, Index>> shapes;  // of the layers' weights and the top's

  explicit BoundDensity(const DensityView<T>& view) : density(view) {
    for (const auto& layer : view.layers) shapes.emplace_back(layer.weights.rows, layer.weights.cols);
    shapes.emplace_back(view.top_weights.rows, view.top_weights.cols);
  }
};

template <class T>
std::shared_ptr<BoundDensity<T>> make_density(const std::vector<Array<T>>& weights,
                                              const std::vector<MaybeArray<T>>& bias,
                                              const std::vector<std::string>& activations,
                                              const Array<T>& top_weights, const Array<T>& top_bias,
                                              const Array<T>& visible_bias, double inverse_variance) {
  const auto view =
      density_view(weights, bias, activations, top_weights, top_bias, visible_bias, inverse_variance);
  const py::gil_scoped_release release;
  return std::make_shared<BoundDensity<T>>(view);
}

template <class T>
void energy(const BoundDensity<T>& self, const Array<T>& X, Array<double>& out, double hidden_weight,
            int n_jobs) {
  const auto rows = density_rows(X, self.density.n_features());
  double* const to = mutable_vector(out, rows.rows, "out");
  const py::gil_scoped_release release;
  self.density.energy(rows, hidden_weight, to, n_jobs);
}

template <class T>
void score(const BoundDensity<T>& self, const Array<T>& X, Array<T>& out, double hidden_weight, int n_jobs) {
  const auto rows = density_rows(X, self.density.n_features());
  const auto to = matrix_like(out, rows.rows, rows.cols, "out");
  const py::gil_scoped_release release;
  self.density.score(rows, hidden_weight, to, n_jobs);
}

template <class T>
std::unique_ptr<DensityTape<T>> value(const BoundDensity<T>& self, const Array<T>& X, Array<double>& out,
                                      int n_jobs) {
  const auto rows = density_rows(X, self.density.n_features());
  double* const to = mutable_vector(out, rows.rows, "out");
  const py::gil_scoped_release release;
  return self.density.value(rows, to, n_jobs);
}

template <class T>
void top_probabilities(const DensityTape<T>& tape, Array<T>& out) {
  const auto to = mutable_matrix(out, "out");
  const py::gil_scoped_release release;
  tape.top_probabilities(to);
}

template <class T>
double pull(const BoundDensity<T>& self, const DensityTape<T>& tape, const Array<T>& X,
            const Array<double>& gradient, std::vector<Array<T>> weights, std::vector<MaybeArray<T>> bias,
            Array<T>& top_weights, Array<T>& top_bias, Array<T>& visible_bias, int n_jobs) {
  const auto rows = density_rows(X, self.density.n_features());
  const double* const weight = vector(gradient, rows.rows, "gradient");
  const auto to =
      density_gradient(self.shapes, rows.cols, weights, bias, top_weights, top_bias, visible_bias);
  const py::gil_scoped_release release;
  return self.density.pull(tape, rows, weight, to, n_jobs);
}

template <class T>
void move(const BoundDensity<T>& self, Array<T>& X, double epsilon, Index n_leapfrog, bool is_tested,
          Index n_steps, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
          std::uint32_t step, Array<double>& acceptance, Array<std::int64_t>& accepted,
          Array<std::int64_t>& diverged, double hidden_weight, int n_jobs) {
  const auto chains = mutable_matrix(X, "X");
  require(chains.cols == self.density.n_features(), "X: expected ", self.density.n_features(),
          " columns, got shape ", shape_text(X));
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
  const DensityMoveReport report{mutable_vector(acceptance, chains.rows, "acceptance"),
                                 mutable_vector(accepted, chains.rows, "accepted"),
                                 mutable_vector(diverged, chains.rows, "diverged")};
  const py::gil_scoped_release release;
  self.density.move(chains, moves, report, n_jobs);
}

template <class T>
void fill_normals(Array<T>& out, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                  std::uint32_t step, int n_jobs) {
  const auto rows = mutable_matrix(out, "out");
  check_draws(stream, first_row);
  const py::gil_scoped_release release;
  normal_rows(rows, seed, stream, first_row, step, n_jobs);
}

template <class T>
void squares_of_rows(const Array<T>& X, const std::optional<Array<T>>& mean,
                     const std::optional<Array<T>>& scale, Array<double>& out, int n_jobs) {
  const auto rows = matrix(X, "X");
  require(mean.has_value() == scale.has_value(), "scale: expected one where mean is given");
  const T* const center = mean ? vector(*mean, rows.cols, "mean") : nullptr;
  const T* const factor = scale ? vector(*scale, rows.cols, "scale") : nullptr;
  double* const to = mutable_vector(out, rows.rows, "out");
  const py::gil_scoped_release release;
  row_squares<T>(rows, center, factor, to, n_jobs);
}

void fill_uniforms(Array<double>& out, std::uint64_t seed, std::uint32_t stream, std::uint64_t first_row,
                   std::uint32_t step) {
  require_ndim(out, 1, "out");
  double* const to = mutable_vector(out, out.shape(0), "out");
  const Index n = out.shape(0);
  check_draws(stream, first_row);
  const py::gil_scoped_release release;
  uniform_rows(to, n, seed, stream, first_row, step);
}

template <class T>
void bind(py::module_& m, const char* name, const char* tape_name) {
  using Density = BoundDensity<T>;
  py::class_<DensityTape<T>>(m, tape_name)
      .def_readonly("rows", &DensityTape<T>::rows)
      .def("top_probabilities", &top_probabilities<T>, py::arg("out").noconvert());
  py::class_<Density, std::shared_ptr<Density>>(m, name)
      .def_property_readonly("n_features", [](const Density& self) { return self.density.n_features(); })
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

}  // namespace thalweg::bindings
