#include "bindings/cuda/array.hpp"
#include "bindings/cuda/bindings.hpp"
#include "bindings/cuda/conv_arrays.hpp"
#include "kernels/csc.hpp"

namespace thalweg::cuda::bindings {
namespace {

using Indices = Array<std::int64_t>;

template <class T>
ConvShape shape_of(const Array<T>& image, const Array<T>& filters, Boundary boundary) {
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

template <class T>
CscProblem<T> problem_of(Call& call, const Array<T>& image, const Maybe<T>& weights, const Array<T>& filters,
                         const Array<T>& alpha, Boundary boundary, bool positive) {
  CscProblem<T> problem;
  problem.shape = shape_of(image, filters, boundary);
  problem.image = call.data(image);
  if (weights.has_value()) {
    require(weights->shape() == image.shape(), "weights: expected shape ", shape_text(image), ", got ",
            shape_text(*weights));
    problem.weights = call.data(*weights);
  }
  problem.filters = call.data(filters);
  problem.alpha = call.vector(alpha, problem.shape.filters, "alpha");
  problem.positive = positive;
  return problem;
}

template <class T>
SparseMapsView<T> maps_of(Call& call, const Indices& index, const Array<T>& value) {
  require_ndim(index, 1, "index");
  return {call.data(index), call.vector(value, index.shape(0), "value"), index.shape(0)};
}

// A vector as an array that owns it.
template <class T>
py::array_t<T> owned(std::vector<T>&& values) {
  auto* kept = new std::vector<T>(std::move(values));
  const py::capsule owner(kept, [](void* p) { delete static_cast<std::vector<T>*>(p); });
  return py::array_t<T>(static_cast<py::ssize_t>(kept->size()), kept->data(), owner);
}

template <class T>
CscReport fista(const Array<T>& image, const Maybe<T>& weights, const Array<T>& filters,
                const Array<T>& alpha, Boundary boundary, bool positive, double lipschitz, Array<T>& codes,
                const CscOptions& options) {
  Call call;
  const auto problem = problem_of(call, image, weights, filters, alpha, boundary, positive);
  const auto& s = problem.shape;
  require(codes.shape() == std::vector<Index>{s.filters, s.code_height(), s.code_width()},
          "codes: expected a writeable array of shape (", s.filters, ", ", s.code_height(), ", ",
          s.code_width(), "), got ", shape_text(codes));
  T* const out = call.mutable_data(codes, "codes");
  CscReport report;
  call.run([&](Stream& stream) { csc_fista(problem, lipschitz, out, options, stream, report); });
  return report;
}

template <class T>
py::tuple fista_maps(const Array<T>& image, const Maybe<T>& weights, const Array<T>& filters,
                     const Array<T>& alpha, Boundary boundary, bool positive, double lipschitz,
                     const Indices& index, const Array<T>& value, const CscOptions& options) {
  Call call;
  const auto problem = problem_of(call, image, weights, filters, alpha, boundary, positive);
  const auto start = maps_of(call, index, value);
  CscReport report;
  SparseMaps<T> maps;
  call.run(
      [&](Stream& stream) { maps = csc_fista_maps(problem, lipschitz, start, options, stream, report); });
  return py::make_tuple(owned(std::move(maps.index)), owned(std::move(maps.value)), report);
}

template <class T>
CscReport certify(const Array<T>& image, const Maybe<T>& weights, const Array<T>& filters,
                  const Array<T>& alpha, Boundary boundary, bool positive, const Indices& index,
                  const Array<T>& value, int /*n_jobs*/) {
  Call call;
  const auto problem = problem_of(call, image, weights, filters, alpha, boundary, positive);
  const auto maps = maps_of(call, index, value);
  CscReport report;
  call.run([&](Stream& stream) { csc_certify(problem, maps, stream, report); });
  return report;
}

template <class T>
void expand(const Indices& index, const Array<T>& value, Array<T>& codes) {
  require_ndim(codes, 3, "codes");
  require(codes.size() > 0, "codes: expected no empty axis, got shape ", shape_text(codes));
  ConvShape shape{1, 1, codes.shape(1), codes.shape(2), codes.shape(0), 1, 1, Boundary::valid};
  Call call;
  const auto maps = maps_of(call, index, value);
  T* const out = call.result_data(codes, "codes");
  call.run([&](Stream& stream) { csc_expand(shape, maps, out, stream); });
}

template <class T>
void synthesize(const Array<T>& filters, const Indices& index, const Array<T>& value, Boundary boundary,
                Array<T>& image, int /*n_jobs*/) {
  const ConvShape shape = shape_of(image, filters, boundary);
  Call call;
  const T* const bank = call.data(filters);
  const auto maps = maps_of(call, index, value);
  T* const out = call.result_data(image, "image");
  call.run([&](Stream& stream) { csc_synthesize(shape, bank, maps, out, stream); });
}

template <class T>
double gradient_in_filters(const Array<T>& image, const Maybe<T>& weights, const Array<T>& filters,
                           const Array<T>& alpha, Boundary boundary, const Indices& index,
                           const Array<T>& value, Array<double>& gradient, int /*n_jobs*/) {
  Call call;
  const auto problem = problem_of(call, image, weights, filters, alpha, boundary, false);
  const auto maps = maps_of(call, index, value);
  double* const out = call.result_vector(gradient, filters.size(), "gradient");
  double half_square = 0;
  call.run([&](Stream& stream) { half_square = csc_filter_gradient(problem, maps, out, stream); });
  return half_square;
}

template <class T>
void statistics(const Array<T>& image, const Array<T>& filters, const Array<T>& alpha, Boundary boundary,
                const Indices& index, const Array<T>& value, Array<double>& a, Array<double>& b,
                int /*n_jobs*/) {
  Call call;
  const auto problem = problem_of(call, image, Maybe<T>(), filters, alpha, boundary, false);
  const auto& s = problem.shape;
  const auto maps = maps_of(call, index, value);
  double* const pairs = call.mutable_vector(
      a, s.filters * s.filters * (2 * s.filter_height - 1) * (2 * s.filter_width - 1), "a");
  double* const products = call.mutable_vector(b, filters.size(), "b");
  call.run([&](Stream& stream) { csc_statistics(problem, maps, pairs, products, stream); });
}

// --- codes that an encoder predicts

using PerImage = py::array_t<double, py::array::c_style>;

void require_per_image(const PerImage& a, Index n, const char* name) {
  require(a.ndim() == 1 && a.shape(0) == n, name, ": expected ", n, " element(s), got ", a.size());
}

template <class T>
void predict(const Array<T>& images, const Array<T>& filters, const Array<T>& intercept, const Array<T>& gain,
             const Maybe<T>& threshold, Boundary boundary, Array<T>& prediction) {
  const ConvShape shape = batch_shape_of(images, filters, prediction, boundary);
  Call call;
  const T* const pixels = call.data(images);
  CscEncoder<T> encoder;
  encoder.filters = call.data(filters);
  encoder.intercept = call.vector(intercept, shape.filters, "intercept");
  encoder.gain = call.vector(gain, shape.filters, "gain");
  if (threshold.has_value()) encoder.threshold = call.vector(*threshold, shape.filters, "threshold");
  T* const out = call.result_data(prediction, "prediction");
  call.run([&](Stream& stream) { csc_predict(shape, pixels, encoder, out, stream); });
}

template <class T>
CscPredicted<T> predicted_of(Call& call, const Array<T>& images, const Array<T>& filters,
                             const Array<T>& prediction, double alpha, double weight, Boundary boundary) {
  CscPredicted<T> problem;
  problem.shape = batch_shape_of(images, filters, prediction, boundary);
  problem.images = call.data(images);
  problem.filters = call.data(filters);
  problem.prediction = call.data(prediction);
  problem.alpha = alpha;
  problem.weight = weight;
  return problem;
}

template <class T>
void predicted_at_zero(const Array<T>& images, const Array<T>& filters, const Array<T>& prediction,
                       double alpha, double weight, Boundary boundary, PerImage& energies) {
  Call call;
  const auto problem = predicted_of(call, images, filters, prediction, alpha, weight, boundary);
  require_per_image(energies, problem.shape.n, "energies");
  double* const out = energies.mutable_data();
  call.run([&](Stream& stream) { csc_predicted_at_zero(problem, out, stream); });
}

template <class T>
Index predicted_fista(const Array<T>& images, const Array<T>& filters, const Array<T>& prediction,
                      double alpha, double weight, Boundary boundary, double lipschitz, const Array<T>& start,
                      const std::optional<PerImage>& tolerance, Index max_iter, Array<T>& codes,
                      PerImage& gap) {
  Call call;
  const auto problem = predicted_of(call, images, filters, prediction, alpha, weight, boundary);
  require(start.shape() == prediction.shape(), "start: expected shape ", shape_text(prediction), ", got ",
          shape_text(start));
  require(codes.shape() == prediction.shape(), "codes: expected shape ", shape_text(prediction), ", got ",
          shape_text(codes));
  require(max_iter >= 0, "max_iter: expected an integer >= 0, got ", max_iter);
  require_per_image(gap, problem.shape.n, "gap");
  CscPredictedOptions options;
  options.max_iter = max_iter;
  if (tolerance.has_value()) {
    require_per_image(*tolerance, problem.shape.n, "tolerance");
    options.tolerance = tolerance->data();
  }
  const T* const from = call.data(start);
  T* const out = call.result_data(codes, "codes");
  double* const certificates = gap.mutable_data();
  Index n_iter = 0;
  call.run([&](Stream& stream) {
    n_iter = csc_predicted_fista(problem, lipschitz, from, options, out, certificates, stream);
  });
  return n_iter;
}

template <class T>
void bind_for(py::module_& m) {
  m.def("csc_fista", &fista<T>, py::arg("image").noconvert(), py::arg("weights").noconvert().none(true),
        py::arg("filters").noconvert(), py::arg("alpha").noconvert(), py::arg("boundary"),
        py::arg("positive"), py::arg("lipschitz"), py::arg("codes").noconvert(), py::arg("options"));
  m.def("csc_fista_maps", &fista_maps<T>, py::arg("image").noconvert(),
        py::arg("weights").noconvert().none(true), py::arg("filters").noconvert(),
        py::arg("alpha").noconvert(), py::arg("boundary"), py::arg("positive"), py::arg("lipschitz"),
        py::arg("index").noconvert(), py::arg("value").noconvert(), py::arg("options"));
  m.def("csc_certify", &certify<T>, py::arg("image").noconvert(), py::arg("weights").noconvert().none(true),
        py::arg("filters").noconvert(), py::arg("alpha").noconvert(), py::arg("boundary"),
        py::arg("positive"), py::arg("index").noconvert(), py::arg("value").noconvert(), py::arg("n_jobs"));
  m.def("csc_expand", &expand<T>, py::arg("index").noconvert(), py::arg("value").noconvert(),
        py::arg("codes").noconvert());
  m.def("csc_synthesize", &synthesize<T>, py::arg("filters").noconvert(), py::arg("index").noconvert(),
        py::arg("value").noconvert(), py::arg("boundary"), py::arg("image").noconvert(), py::arg("n_jobs"));
  m.def("csc_filter_gradient", &gradient_in_filters<T>, py::arg("image").noconvert(),
        py::arg("weights").noconvert().none(true), py::arg("filters").noconvert(),
        py::arg("alpha").noconvert(), py::arg("boundary"), py::arg("index").noconvert(),
        py::arg("value").noconvert(), py::arg("gradient").noconvert(), py::arg("n_jobs"));
  m.def("csc_statistics", &statistics<T>, py::arg("image").noconvert(), py::arg("filters").noconvert(),
        py::arg("alpha").noconvert(), py::arg("boundary"), py::arg("index").noconvert(),
        py::arg("value").noconvert(), py::arg("a").noconvert(), py::arg("b").noconvert(), py::arg("n_jobs"));
  m.def("csc_predict", &predict<T>, py::arg("images").noconvert(), py::arg("filters").noconvert(),
        py::arg("intercept").noconvert(), py::arg("gain").noconvert(),
        py::arg("threshold").noconvert().none(true), py::arg("boundary"), py::arg("prediction").noconvert());
  m.def("csc_predicted_at_zero", &predicted_at_zero<T>, py::arg("images").noconvert(),
        py::arg("filters").noconvert(), py::arg("prediction").noconvert(), py::arg("alpha"),
        py::arg("weight"), py::arg("boundary"), py::arg("energies").noconvert());
  m.def("csc_predicted_fista", &predicted_fista<T>, py::arg("images").noconvert(),
        py::arg("filters").noconvert(), py::arg("prediction").noconvert(), py::arg("alpha"),
        py::arg("weight"), py::arg("boundary"), py::arg("lipschitz"), py::arg("start").noconvert(),
        py::arg("tolerance").noconvert().none(true), py::arg("max_iter"), py::arg("codes").noconvert(),
        py::arg("gap").noconvert());
}

}  // namespace

void bind_csc(py::module_& m) {
  share(m, {"CscOptions", "CscReport"});
  bind_for<float>(m);
  bind_for<double>(m);
}

}  // namespace thalweg::cuda::bindings
