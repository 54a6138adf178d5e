#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "core/rng.hpp"

namespace thalweg::bindings {
namespace {

// Fills `out` with the words of the sequence (seed, stream, row, step).
void philox_words(Array<std::uint32_t>& out, std::uint64_t seed, std::uint32_t stream, std::uint64_t row,
                  std::uint32_t step) {
  require_ndim(out, 1, "out");
  require(stream < (1u << 16), "stream: expected a number below 65536, got ", stream);
  const rng::Sequence sequence{seed, stream, row, step};
  std::uint32_t* words = out.mutable_data();
  const auto size = static_cast<std::size_t>(out.size());
  const py::gil_scoped_release release;
  for (std::size_t i = 0; i < size; i += 4) {
    const rng::Block block = sequence.block(static_cast<std::uint32_t>(i / 4));
    for (std::size_t k = i; k < std::min(i + 4, size); ++k) words[k] = block.word[k - i];
  }
}

void standard_normals(Array<double>& out, std::uint64_t seed, std::uint32_t stream, std::uint64_t row,
                      std::uint32_t step) {
  require_ndim(out, 1, "out");
  require(stream < (1u << 16), "stream: expected a number below 65536, got ", stream);
  const rng::Sequence sequence{seed, stream, row, step};
  double* values = out.mutable_data();
  const auto size = static_cast<std::size_t>(out.size());
  const py::gil_scoped_release release;
  for (std::size_t i = 0; i < size; i += 2) {
    const auto pair = rng::normals(sequence.block(static_cast<std::uint32_t>(i / 2)));
    for (std::size_t k = i; k < std::min(i + 2, size); ++k) values[k] = pair[k - i];
  }
}

// The bijection on given counters and keys, for the known-answer test.
py::tuple philox_block(const std::array<std::uint32_t, 4>& counter, const std::array<std::uint32_t, 2>& key) {
  const rng::Block b = rng::philox({{counter[0], counter[1], counter[2], counter[3]}}, key[0], key[1]);
  return py::make_tuple(b.word[0], b.word[1], b.word[2], b.word[3]);
}

}  // namespace

void bind_rng(py::module_& m) {
  m.def("philox_block", &philox_block, py::arg("counter"), py::arg("key"));
  m.def("philox_words", &philox_words, py::arg("out").noconvert(), py::arg("seed"), py::arg("stream"),
        py::arg("row"), py::arg("step"));
  m.def("standard_normals", &standard_normals, py::arg("out").noconvert(), py::arg("seed"), py::arg("stream"),
        py::arg("row"), py::arg("step"));
}

}  // namespace thalweg::bindings
