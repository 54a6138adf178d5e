#include <pybind11/native_enum.h>

#include "bindings/cuda/array.hpp"
#include "bindings/cuda/bindings.hpp"
#include "cuda/blas.hpp"
#include "cuda/elementwise_plan.hpp"
#include "cuda/launch.hpp"
#include "cuda/probes.hpp"

namespace thalweg::cuda::bindings {
namespace {

template <class T>
void mma(MmaKind kind, const Array<T>& a, const Array<T>& b, Array<T>& c) {
  Call call;
  const auto left = call.matrix(a, "a");
  const auto right = call.matrix(b, "b");
  const auto out = call.result_matrix(c, "c");
  require(left.rows == 16 && left.cols % 16 == 0 && right.rows == left.cols && right.cols == 8 &&
              out.rows == 16 && out.cols == 8,
          "shapes: expected (16, k), (k, 8) and (16, 8), k a multiple of 16");
  call.run([&](Stream& s) { probe_mma<T>(kind, left.data, right.data, out.data, left.cols, s); });
}

void async(const Array<float>& in, Array<float>& out) {
  Call call;
  const auto* const from = call.vector(in, in.size(), "in");
  auto* const to = call.result_vector(out, ceil_div(in.size(), 1024) * 1024, "out");
  call.run([&](Stream& s) { probe_async(from, to, in.size(), s); });
}

template <class T>
void row_sums(const Array<T>& in, Array<T>& out) {
  Call call;
  const auto from = call.matrix(in, "in");
  auto* const to = call.result_vector(out, from.rows, "out");
  call.run([&](Stream& s) { probe_row_sums<T>(from.data, to, from.rows, from.cols, s); });
}

void graph(Array<float>& x, Index times) {
  Call call;
  auto* const numbers = call.mutable_vector(x, x.size(), "x");
  require(x.size() > 0, "x: expected an element");
  call.run([&](Stream& s) { probe_graph(numbers, x.size(), times, s); });
}

// c = alpha op(a) op(b) + beta c, of matrices or of equally many matrices.
template <class T>
void product(const Array<T>& a, bool transpose_a, const Array<T>& b, bool transpose_b, T alpha, T beta,
             Array<T>& c, bool is_tf32) {
  require_ndim(a, 3, "a");
  require_ndim(b, 3, "b");
  require_ndim(c, 3, "c");
  const Index m = a.shape(transpose_a ? 2 : 1);
  const Index k = a.shape(transpose_a ? 1 : 2);
  const Index n = b.shape(transpose_b ? 1 : 2);
  require(b.shape(transpose_b ? 2 : 1) == k && c.shape() == std::vector<Index>{a.shape(0), m, n} &&
              b.shape(0) == a.shape(0),
          "shapes: expected products that fit");
  const auto transposed = [](bool is_so) { return is_so ? Transposed::yes : Transposed::no; };
  Call call;
  const Operand<const T> left{call.data(a), a.shape(2), transposed(transpose_a), a.shape(1) * a.shape(2)};
  const Operand<const T> right{call.data(b), b.shape(2), transposed(transpose_b), b.shape(1) * b.shape(2)};
  const Operand<T> out{call.mutable_data(c, "c"), n, Transposed::no, m * n};
  const Precision precision = is_tf32 ? Precision::tf32 : Precision::full;
  call.run([&](Stream& s) { gemm(s, m, n, k, alpha, left, right, beta, out, precision, a.shape(0)); });
}

template <class T>
void bind_for(py::module_& m) {
  m.def("mma", &mma<T>, py::arg("kind"), py::arg("a").noconvert(), py::arg("b").noconvert(),
        py::arg("c").noconvert());
  m.def("row_sums", &row_sums<T>, py::arg("x").noconvert(), py::arg("out").noconvert());
  m.def("product", &product<T>, py::arg("a").noconvert(), py::arg("transpose_a"), py::arg("b").noconvert(),
        py::arg("transpose_b"), py::arg("alpha"), py::arg("beta"), py::arg("c").noconvert(),
        py::arg("is_tf32"));
}

}  // namespace

void bind_probes(py::module_& m) {
  py::module_ probes = m.def_submodule("probes", "The building blocks of kernels, for tests.");
  py::native_enum<MmaKind>(probes, "MmaKind", "enum.Enum")
      .value("tf32", MmaKind::tf32)
      .value("tf32_split", MmaKind::tf32_split)
      .value("bf16", MmaKind::bf16)
      .value("real64", MmaKind::real64)
      .finalize();
  bind_for<float>(probes);
  bind_for<double>(probes);
  probes.def("async_tiles", &async, py::arg("x").noconvert(), py::arg("out").noconvert());
  probes.def("graph", &graph, py::arg("x").noconvert(), py::arg("times"));
  probes.def("tiles", &ceil_div, py::arg("n"), py::arg("size"));
  probes.def("shared_per_block", [] { return device().shared_per_block; });
  probes.def(
      "filter_gradient_buffers",
      [](Index channels, Index size, Index filters, Index filter_size, bool is_double) {
        return filter_gradient_buffers(
            {1, channels, size, size, filters, filter_size, filter_size, Boundary::full}, is_double);
      },
      py::arg("channels"), py::arg("size"), py::arg("filters"), py::arg("filter_size"), py::arg("is_double"));
  probes.def(
      "elementwise_plan",
      [](Index n, Index item_bytes, Index past) {
        const auto plan = plan_elementwise(n, item_bytes, past);
        return py::make_tuple(plan.head, plan.tiles, plan.tile, plan.tail(n), plan.blocks(n));
      },
      py::arg("n"), py::arg("item_bytes"), py::arg("past"));
}

}  // namespace thalweg::cuda::bindings
