#include <pybind11/pybind11.h>

#include "bindings/array.hpp"
#include "bindings/bindings.hpp"
#include "kernels/chains.hpp"

namespace thalweg::bindings {
namespace {

template <class T>
Chains<T> chains_of(const Array<T>& unary, const Array<T>& pairwise, const Array<std::int64_t>& starts) {
  const auto u = matrix(unary, "unary");
  const auto p = matrix(pairwise, "pairwise");
  require(p.rows == u.cols && p.cols == u.cols, "pairwise: expected shape (", u.cols, ", ", u.cols,
          "), as unary has ", u.cols, " labels, got ", shape_text(pairwise));
  require_ndim(starts, 1, "starts");
  require(starts.shape(0) >= 1, "starts: expected at least one element");
  return {u, p.data, starts.data(), starts.shape(0) - 1};
}

template <class T>
void marginals(const Array<T>& unary, const Array<T>& pairwise, const Array<std::int64_t>& starts,
               double beta, const Array<double>& weights, Array<T>& out, Array<double>& pairs,
               Array<double>& free, int n_jobs) {
  const auto chains = chains_of(unary, pairwise, starts);
  const auto of_positions = mutable_matrix(out, "marginals");
  const auto of_pairs = mutable_matrix(pairs, "pairs");
  require(of_positions.rows == chains.unary.rows && of_positions.cols == chains.unary.cols,
          "marginals: expected the shape of unary, got ", shape_text(out));
  require(of_pairs.rows == chains.unary.cols && of_pairs.cols == chains.unary.cols,
          "pairs: expected the shape of pairwise, got ", shape_text(pairs));
  const double* const w = vector(weights, chains.n_sequences, "weights");
  double* const f = mutable_vector(free, chains.n_sequences, "free");
  const py::gil_scoped_release release;
  chain_marginals(chains, beta, w, of_positions, of_pairs.data, f, n_jobs);
}

template <class T>
void best(const Array<T>& unary, const Array<T>& pairwise, const Array<std::int64_t>& starts,
          Array<std::int64_t>& states, Array<double>& energy, int n_jobs) {
  const auto chains = chains_of(unary, pairwise, starts);
  std::int64_t* const s = mutable_vector(states, chains.unary.rows, "states");
  double* const e = mutable_vector(energy, chains.n_sequences, "energy");
  const py::gil_scoped_release release;
  chain_best(chains, s, e, n_jobs);
}

template <class T>
void offending(const Array<T>& unary, const Array<T>& pairwise, const Array<std::int64_t>& starts,
               const Array<std::int64_t>& right, Array<std::int64_t>& states, Array<double>& energy,
               int n_jobs) {
  const auto chains = chains_of(unary, pairwise, starts);
  const std::int64_t* const r = vector(right, chains.unary.rows, "right");
  std::int64_t* const s = mutable_vector(states, chains.unary.rows, "states");
  double* const e = mutable_vector(energy, chains.n_sequences, "energy");
  const py::gil_scoped_release release;
  chain_offending(chains, r, s, e, n_jobs);
}

template <class T>
void bind(py::module_& m) {
  m.def("chain_marginals", &marginals<T>, py::arg("unary").noconvert(), py::arg("pairwise").noconvert(),
        py::arg("starts").noconvert(), py::arg("beta"), py::arg("weights").noconvert(),
        py::arg("marginals").noconvert(), py::arg("pairs").noconvert(), py::arg("free").noconvert(),
        py::arg("n_jobs"));
  m.def("chain_best", &best<T>, py::arg("unary").noconvert(), py::arg("pairwise").noconvert(),
        py::arg("starts").noconvert(), py::arg("states").noconvert(), py::arg("energy").noconvert(),
        py::arg("n_jobs"));
  m.def("chain_offending", &offending<T>, py::arg("unary").noconvert(), py::arg("pairwise").noconvert(),
        py::arg("starts").noconvert(), py::arg("right").noconvert(), py::arg("states").noconvert(),
        py::arg("energy").noconvert(), py::arg("n_jobs"));
}

}  // namespace

void bind_chains(py::module_& m) {
  bind<float>(m);
  bind<double>(m);
}

}  // namespace thalweg::bindings
