#include "bindings/cuda/array.hpp"
#include "bindings/cuda/bindings.hpp"
#include "cuda/rng.hpp"

namespace thalweg::cuda::bindings {
namespace {

rng::Sequence make_sequence(std::uint64_t seed, std::uint32_t stream, std::uint64_t row, std::uint32_t step) {
  require(stream < (1u << 16), "stream: expected a number below 65536, got ", stream);
  return {seed, stream, row, step};
}

void words(Array<std::uint32_t>& out, std::uint64_t seed, std::uint32_t stream, std::uint64_t row,
           std::uint32_t step) {
  const auto sequence = make_sequence(seed, stream, row, step);
  Call call;
  auto* const to = call.result_vector(out, out.size(), "out");
  call.run([&](Stream& s) { philox_words(to, out.size(), sequence, s); });
}

template <class T>
void normals(Array<T>& out, std::uint64_t seed, std::uint32_t stream, std::uint64_t row, std::uint32_t step) {
  const auto sequence = make_sequence(seed, stream, row, step);
  Call call;
  auto* const to = call.result_vector(out, out.size(), "out");
  call.run([&](Stream& s) { standard_normals(to, out.size(), sequence, s); });
}

}  // namespace

void bind_rng(py::module_& m) {
  m.def("philox_words", &words, py::arg("out").noconvert(), py::arg("seed"), py::arg("stream"),
        py::arg("row"), py::arg("step"));
  m.def("standard_normals", &normals<double>, py::arg("out").noconvert(), py::arg("seed"), py::arg("stream"),
        py::arg("row"), py::arg("step"));
  m.def("standard_normals", &normals<float>, py::arg("out").noconvert(), py::arg("seed"), py::arg("stream"),
        py::arg("row"), py::arg("step"));
}

}  // namespace thalweg::cuda::bindings
