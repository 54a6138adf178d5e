#include "bindings/cuda/array.hpp"
#include "bindings/cuda/bindings.hpp"
#include "kernels/lasso.hpp"

namespace thalweg::cuda::bindings {
namespace {

// alpha as the Python layer passes it: shape (1 or N, 1 or K).
template <class T>
BroadcastView<T> broadcast(Call& call, const Array<T>& alpha, Index rows, Index cols) {
  const auto view = call.matrix(alpha, "alpha");
  const bool fits = (view.rows == 1 || view.rows == rows) && (view.cols == 1 || view.cols == cols);
  require(fits, "alpha: expected a shape that broadcasts to (", rows, ", ", cols, "), got ",
          shape_text(alpha));
  return {view.data, view.rows == 1 ? 0 : view.cols, view.cols == 1 ? 0 : 1};
}

template <class T>
void encode(const CodingDictionary<T>& dictionary, const Array<T>& x, const Array<T>& alpha, Array<T>& codes,
            Array<double>& gap, Array<std::int32_t>& n_iter, Array<std::int8_t>& status,
            const LassoOptions& options) {
  Call call;
  call.use(dictionary.home());
  const auto samples = call.matrix(x, "X");
  const auto weights = broadcast(call, alpha, samples.rows, dictionary.n_components());
  const auto out =
      options.warm_start ? call.mutable_matrix(codes, "codes") : call.result_matrix(codes, "codes");
  const LassoReport report{call.result_vector(gap, samples.rows, "gap"),
                           call.result_vector(n_iter, samples.rows, "n_iter"),
                           call.result_vector(status, samples.rows, "status")};
  call.run([&](Stream& stream) { dictionary.encode(samples, weights, out, report, options, stream); });
}

template <class T>
std::unique_ptr<CodingDictionary<T>> prepare(const Array<T>& atoms, double l2, int /*n_jobs*/) {
  Call call;
  const auto d = call.matrix(atoms, "dictionary");
  std::unique_ptr<CodingDictionary<T>> made;
  call.run([&](Stream& stream) { made = std::make_unique<CodingDictionary<T>>(d, l2, stream); });
  return made;
}

template <class T>
void bind_dictionary(py::module_& m, const char* name) {
  py::class_<CodingDictionary<T>>(m, name)
      .def(py::init(&prepare<T>), py::arg("atoms").noconvert(), py::arg("l2"), py::arg("n_jobs"))
      .def("lipschitz", &CodingDictionary<T>::lipschitz)
      .def("encode", &encode<T>, py::arg("x").noconvert(), py::arg("alpha").noconvert(),
           py::arg("codes").noconvert(), py::arg("gap").noconvert(), py::arg("n_iter").noconvert(),
           py::arg("status").noconvert(), py::arg("options"));
  m.def(
      "split_signs",
      [](const Array<T>& codes, Array<T>& out) {
        Call call;
        const auto from = call.matrix(codes, "codes");
        const auto to = call.result_matrix(out, "out");
        call.run([&](Stream& stream) { split_signs<T>(from, to, stream); });
      },
      py::arg("codes").noconvert(), py::arg("out").noconvert());
  m.def(
      "reconstruct",
      [](const Array<T>& codes, const Array<T>& atoms, Array<T>& out) {
        Call call;
        const auto z = call.matrix(codes, "codes");
        const auto d = call.matrix(atoms, "dictionary");
        const auto to = call.result_matrix(out, "out");
        call.run([&](Stream& stream) { reconstruct<T>(z, d, to, stream); });
      },
      py::arg("codes").noconvert(), py::arg("atoms").noconvert(), py::arg("out").noconvert());
}

}  // namespace

void bind_lasso(py::module_& m) {
  share(m, {"Penalty", "LassoMethod", "Criterion", "LassoOptions"});
  bind_dictionary<float>(m, "CodingDictionary32");
  bind_dictionary<double>(m, "CodingDictionary64");
}

}  // namespace thalweg::cuda::bindings
